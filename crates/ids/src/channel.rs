//! Names of channels and of the events published on them.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

/// The name of a channel: 1 to 200 of `A-Z a-z 0-9 _ - = @ , . ;`.
///
/// `#` is not among them, so a user's own channel (`#server-to-user-…`) can never pass for an ordinary one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(Arc<str>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a channel name must be 1 to 200 characters of A-Z, a-z, 0-9 and _ - = @ , . ;")]
pub struct InvalidChannelName;

/// What a channel's prefix makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelKind {
    Public,
    Private,
    Encrypted,
    Presence,
    /// `cache-…` and the cache forms of the others.
    Cache,
}

impl ChannelName {
    pub const MAX_BYTES: usize = 200;

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The kind by the longest prefix that fits: `private-encrypted-x` is encrypted, `privateer` is public.
    #[must_use]
    pub fn kind(&self) -> ChannelKind {
        const PREFIXES: [(&str, ChannelKind); 7] = [
            ("private-encrypted-cache-", ChannelKind::Cache),
            ("private-encrypted-", ChannelKind::Encrypted),
            ("private-cache-", ChannelKind::Cache),
            ("private-", ChannelKind::Private),
            ("presence-cache-", ChannelKind::Cache),
            ("presence-", ChannelKind::Presence),
            ("cache-", ChannelKind::Cache),
        ];
        PREFIXES
            .iter()
            .find(|(prefix, _)| self.0.starts_with(prefix))
            .map_or(ChannelKind::Public, |(_, kind)| *kind)
    }
}

impl FromStr for ChannelName {
    type Err = InvalidChannelName;

    fn from_str(text: &str) -> Result<Self, InvalidChannelName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-=@,.;".contains(&byte);
        let valid = (1..=Self::MAX_BYTES).contains(&text.len()) && text.bytes().all(allowed);
        if valid { Ok(Self(text.into())) } else { Err(InvalidChannelName) }
    }
}

impl Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a published event: 1 to 200 characters, outside the protocol's own `pusher:` and `pusher_internal:`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct EventName(Arc<str>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEventName {
    #[error("an event name must be 1 to 200 characters")]
    Length,
    #[error("event names that begin with `pusher:` or `pusher_internal:` are reserved")]
    Reserved,
}

impl EventName {
    pub const MAX_CHARS: usize = 200;

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EventName {
    type Err = InvalidEventName;

    fn from_str(text: &str) -> Result<Self, InvalidEventName> {
        if text.is_empty() || text.chars().nth(Self::MAX_CHARS).is_some() {
            return Err(InvalidEventName::Length);
        }
        if text.starts_with("pusher:") || text.starts_with("pusher_internal:") {
            return Err(InvalidEventName::Reserved);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_name_has_no_hash_colon_or_space() {
        for valid in ["a", "my-channel", "presence-room.42", "A_b=@,.;9", &"x".repeat(200)] {
            assert!(valid.parse::<ChannelName>().is_ok(), "{valid:?}");
        }
        for invalid in
            ["", "#server-to-user-x", "a:b", ":user::{}", "a b", "a\n", "é", "a/b", &"x".repeat(201)]
        {
            assert_eq!(invalid.parse::<ChannelName>(), Err(InvalidChannelName), "{invalid:?}");
        }
    }

    #[test]
    fn the_longest_prefix_decides_the_kind() {
        let check =
            |name: &str, kind| assert_eq!(name.parse::<ChannelName>().map(|n| n.kind()), Ok(kind), "{name}");
        check("news", ChannelKind::Public);
        check("privateer", ChannelKind::Public);
        check("foo-cache-x", ChannelKind::Public);
        check("private-x", ChannelKind::Private);
        check("private-encrypted-x", ChannelKind::Encrypted);
        check("presence-x", ChannelKind::Presence);
        check("cache-x", ChannelKind::Cache);
        check("private-cache-x", ChannelKind::Cache);
        check("private-encrypted-cache-x", ChannelKind::Cache);
        check("presence-cache-x", ChannelKind::Cache);
    }

    #[test]
    fn an_event_name_stays_out_of_the_protocol() {
        assert!("order-filled".parse::<EventName>().is_ok());
        assert!("é".repeat(200).parse::<EventName>().is_ok());
        assert_eq!("".parse::<EventName>(), Err(InvalidEventName::Length));
        assert_eq!("é".repeat(201).parse::<EventName>(), Err(InvalidEventName::Length));
        assert_eq!("pusher:ping".parse::<EventName>(), Err(InvalidEventName::Reserved));
        assert_eq!("pusher_internal:x".parse::<EventName>(), Err(InvalidEventName::Reserved));
    }
}
