//! Who an event is for.

use crate::server::{USER_CHANNEL_PREFIX, user_channel};
use ids::{ChannelName, InvalidChannelName, InvalidUserId, UserId};
use std::{fmt, str::FromStr};

/// Whom a backend can address. To server SDKs both are names of channels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Audience {
    Channel(ChannelName),
    /// Everyone signed in as this user; spelt `#server-to-user-…`.
    User(UserId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAudience {
    #[error(transparent)]
    Channel(#[from] InvalidChannelName),
    #[error(transparent)]
    User(#[from] InvalidUserId),
    #[error("names that begin with `#` are reserved, but for `#server-to-user-` and a user id")]
    Reserved,
}

impl FromStr for Audience {
    type Err = InvalidAudience;

    fn from_str(name: &str) -> Result<Audience, InvalidAudience> {
        // The prefix goes once: what follows is the id, even if it looks like another prefix.
        match name.strip_prefix(USER_CHANNEL_PREFIX) {
            Some(user) => Ok(Audience::User(user.parse()?)),
            None if name.starts_with('#') => Err(InvalidAudience::Reserved),
            None => Ok(Audience::Channel(name.parse()?)),
        }
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Audience::Channel(channel) => channel.fmt(f),
            Audience::User(user) => f.write_str(&user_channel(user)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_channel_addresses_the_user() {
        for id in ["ada", "auth0|5f7c", "josé", "#server-to-user-ada", " "] {
            let name = format!("#server-to-user-{id}");
            let audience: Audience = name.parse().expect("an audience");
            assert_eq!(audience, Audience::User(id.parse().expect("a user id")));
            assert_eq!(audience.to_string(), name);
        }
        assert_eq!("private-a".parse(), Ok(Audience::Channel("private-a".parse().expect("a channel"))));
    }

    #[test]
    fn other_names_with_a_hash_are_reserved() {
        for name in ["#", "#server-to-user", "#Server-to-user-ada", "#private-a", "##server-to-user-ada"] {
            assert_eq!(name.parse::<Audience>(), Err(InvalidAudience::Reserved), "{name}");
        }
        for name in ["", " #server-to-user-ada", "a#b", "%23server-to-user-ada"] {
            assert_eq!(name.parse::<Audience>(), Err(InvalidChannelName.into()), "{name}");
        }
        assert_eq!("#server-to-user-".parse::<Audience>(), Err(InvalidUserId.into()));
    }
}
