//! The name a client knows its connection by.

use std::{fmt, str::FromStr};

/// One connection, in the form `^\d+\.\d+$` that server SDKs check. Signatures cover it, so a predictable or soon
/// re-used id would let an old token be used on another connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId {
    high: u64,
    low: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a socket id must be two decimal numbers joined by a dot, such as 1234.5678")]
pub struct InvalidSocketId;

impl SocketId {
    /// Each part that a server draws is below this, which keeps ids short: 66 random bits in at most 21 characters.
    const PART: u64 = 10_000_000_000;

    /// An id from 128 bits of a cryptographically secure generator. The remainder's bias, below 2^-30, tells nothing.
    #[must_use]
    pub fn from_random(bits: u128) -> SocketId {
        SocketId { high: (bits >> 64) as u64 % Self::PART, low: bits as u64 % Self::PART }
    }
}

impl FromStr for SocketId {
    type Err = InvalidSocketId;

    fn from_str(text: &str) -> Result<SocketId, InvalidSocketId> {
        let (high, low) = text.split_once('.').ok_or(InvalidSocketId)?;
        let part = |digits: &str| digits.parse().map_err(|_| InvalidSocketId);
        let id = SocketId { high: part(high)?, low: part(low)? };
        // One id, one spelling: `u64::from_str` also takes `+7` and `007`, and signatures cover the spelling.
        if id.to_string() == text { Ok(id) } else { Err(InvalidSocketId) }
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.high, self.low)
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_id_has_one_spelling() {
        assert_eq!("1234.5678".parse::<SocketId>().map(|id| id.to_string()), Ok("1234.5678".to_owned()));
        for invalid in [
            "",
            ".",
            "1",
            "1.",
            ".1",
            "+1.2",
            "01.2",
            "1.2.3",
            " 1.2",
            "1.2\n",
            "-1.2",
            "99999999999999999999.1",
        ] {
            assert_eq!(invalid.parse::<SocketId>(), Err(InvalidSocketId), "{invalid:?}");
        }
    }

    proptest! {
        #[test]
        fn a_drawn_id_reads_back(bits: u128) {
            let id = SocketId::from_random(bits);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }
}
