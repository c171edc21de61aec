//! The names of an app: its id, which paths and topics carry, and its public key, which clients connect with.

use std::{fmt, str::FromStr, sync::Arc};

/// An app id or key is 1 to 64 of `A-Z a-z 0-9 - _`: it stands in paths and broker topics without escaping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 characters of A-Z, a-z, 0-9, `-` and `_`")]
pub struct InvalidAppId;

macro_rules! app_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidAppId;

            fn from_str(text: &str) -> Result<Self, InvalidAppId> {
                let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                let valid = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
                if valid { Ok(Self(text.into())) } else { Err(InvalidAppId) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

app_name! {
    /// Identifies an app in API paths and on the broker. Several server SDKs accept digits only, so generate those.
    AppId
}

app_name! {
    /// The public half of an app's credentials: clients connect with it and signatures name it.
    AppKey
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_id_is_short_and_plain() {
        for valid in ["1", "app-key", "A_b-9", &"x".repeat(64)] {
            assert_eq!(valid.parse::<AppId>().map(|id| id.to_string()), Ok(valid.to_owned()));
        }
        for invalid in ["", "a:b", "a/b", "a b", "é", "a\n", &"x".repeat(65)] {
            assert_eq!(invalid.parse::<AppId>(), Err(InvalidAppId), "{invalid:?}");
        }
    }
}
