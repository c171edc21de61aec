//! The identity that a sign-in binds a connection to.

use crate::AppId;
use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

/// A signed-in user of an app: 1 to 200 characters without control characters.
///
/// Compared byte for byte: no trimming, case folding or Unicode normalisation, so composed and decomposed `é` are two
/// users. The characters are not limited to those that Pusher recommends, since ids such as `auth0|5f7c` and e-mail
/// addresses are in use. Not to be confused with a presence channel's member, who need not be signed in.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Arc<str>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a user id must be 1 to 200 characters without control characters")]
pub struct InvalidUserId;

impl UserId {
    /// The most characters (not bytes) in a user id.
    pub const MAX_CHARS: usize = 200;

    /// The first of all user ids in byte order: the characters before a space are control characters.
    #[must_use]
    pub fn first() -> UserId {
        UserId(" ".into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserId {
    type Err = InvalidUserId;

    fn from_str(text: &str) -> Result<Self, InvalidUserId> {
        let valid = !text.is_empty()
            && text.chars().nth(Self::MAX_CHARS).is_none()
            && !text.chars().any(char::is_control);
        if valid { Ok(Self(text.into())) } else { Err(InvalidUserId) }
    }
}

impl Borrow<str> for UserId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A user of one app among the users of all apps.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserKey {
    pub app: AppId,
    pub user: UserId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_keeps_its_bytes() {
        for valid in ["u", "auth0|5f7c", "a+b@x.com", "josé", "  spaced ", "日本", &"é".repeat(200)] {
            assert_eq!(valid.parse::<UserId>().map(|id| id.to_string()), Ok(valid.to_owned()));
        }
        assert_ne!("\u{e9}".parse::<UserId>(), "e\u{301}".parse::<UserId>());
    }

    #[test]
    fn an_empty_long_or_controlling_id_is_refused() {
        for invalid in ["", "a\nb", "\u{0}", "\u{7f}", "\u{85}", &"é".repeat(201)] {
            assert_eq!(invalid.parse::<UserId>(), Err(InvalidUserId), "{invalid:?}");
        }
    }
}
