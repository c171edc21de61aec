//! Bearer tokens: who may call gRPC, and for which apps.

use ids::AppId;
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;

/// A token that a backend presents, and the apps it is for.
#[derive(Clone)]
pub struct Token {
    /// Of the token's digest, not of the token: digests have one length, so a comparison does not tell the token's.
    digest: [u8; 32],
    scope: Scope,
}

/// The apps that a token opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    All,
    Apps(Vec<AppId>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token must be 1 to 4096 printable ASCII characters without spaces")]
pub struct InvalidToken;

/// All tokens, in the order of the settings.
#[derive(Debug, Clone)]
pub(crate) struct Tokens(Vec<Token>);

impl Token {
    /// What fits a header with room to spare.
    pub const MAX_BYTES: usize = 4_096;

    /// `apps`: `None` for all.
    ///
    /// # Errors
    /// `InvalidToken` if `secret` could not be sent in a header as it is.
    pub fn new(secret: &str, apps: Option<Vec<AppId>>) -> Result<Token, InvalidToken> {
        let valid = (1..=Self::MAX_BYTES).contains(&secret.len())
            && secret.bytes().all(|byte| byte.is_ascii_graphic());
        let scope = apps.map_or(Scope::All, Scope::Apps);
        if valid { Ok(Token { digest: digest(secret), scope }) } else { Err(InvalidToken) }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("secret", &"…").field("scope", &self.scope).finish()
    }
}

impl Scope {
    pub(crate) fn allows(&self, app: &AppId) -> bool {
        match self {
            Scope::All => true,
            Scope::Apps(apps) => apps.contains(app),
        }
    }
}

impl Tokens {
    pub(crate) fn new(tokens: Vec<Token>) -> Tokens {
        Tokens(tokens)
    }

    /// The scope of the token in an `authorization` header. Looks at every token, so that the time does not tell which
    /// one was close or found.
    pub(crate) fn scope(&self, authorization: &str) -> Option<&Scope> {
        let (scheme, presented) = authorization.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let presented = digest(presented.trim_matches(' '));
        let mut found = None;
        for token in &self.0 {
            if bool::from(token.digest.ct_eq(&presented)) {
                found = Some(&token.scope);
            }
        }
        found
    }
}

fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(id: &str) -> AppId {
        id.parse().expect("app id")
    }

    #[test]
    fn only_a_whole_token_opens_its_apps() {
        let tokens = Tokens::new(vec![
            Token::new("all", None).expect("token"),
            Token::new("one", Some(vec![app("1")])).expect("token"),
        ]);
        assert_eq!(tokens.scope("Bearer all"), Some(&Scope::All));
        assert_eq!(tokens.scope("bearer  one"), Some(&Scope::Apps(vec![app("1")])));
        for refused in [
            "",
            "all",
            "Bearer",
            "Bearer ",
            "Bearer al",
            "Bearer all2",
            "Bearer ALL",
            "Basic all",
            "Bearer: all",
        ] {
            assert_eq!(tokens.scope(refused), None, "{refused:?}");
        }
        assert!(Scope::All.allows(&app("9")));
        let one = Scope::Apps(vec![app("1")]);
        assert!(one.allows(&app("1")) && !one.allows(&app("11")));
    }

    #[test]
    fn without_tokens_nobody_is_let_in() {
        assert_eq!(Tokens::new(Vec::new()).scope("Bearer "), None);
    }

    #[test]
    fn a_token_hides_itself_and_fits_a_header() {
        let shown = format!("{:?}", Token::new("hunter2", None));
        assert!(!shown.contains("hunter2"), "{shown}");
        for invalid in ["", "a b", "a\n", "é", &"x".repeat(4_097)] {
            assert!(Token::new(invalid, None).is_err(), "{invalid:?}");
        }
    }
}
