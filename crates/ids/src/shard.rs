//! Which presence process a user belongs to.

use crate::{UserKey, stable_hash};
use std::{fmt, num::NonZeroU16};

/// One slice of the users, owned by one presence process at a time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How many shards there are: the same number for the whole cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shards(NonZeroU16);

impl Shards {
    #[must_use]
    pub fn new(count: NonZeroU16) -> Shards {
        Shards(count)
    }

    #[must_use]
    pub fn count(self) -> u16 {
        self.0.get()
    }

    pub fn iter(self) -> impl Iterator<Item = ShardId> {
        (0..self.0.get()).map(ShardId)
    }

    /// The shard of a user, on which all processes agree.
    #[must_use]
    pub fn of(self, key: &UserKey) -> ShardId {
        let hash = stable_hash(key.app.as_str().bytes().chain([0]).chain(key.user.as_str().bytes()));
        ShardId((hash % u64::from(self.0.get())) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shard_of_a_user_is_fixed_for_ever() {
        let shards = Shards::new(NonZeroU16::new(16).expect("not zero"));
        let of = |app: &str, user: &str| {
            shards.of(&UserKey { app: app.parse().expect("app"), user: user.parse().expect("user") }).0
        };
        // Changing these splits a cluster in two while it is upgraded.
        assert_eq!([of("1", "ada"), of("1", "grace"), of("2", "ada"), of("1", "josé")], EXPECTED);
        let mut counts = [0; 16];
        (0..16_000).for_each(|n| counts[usize::from(of("1", &format!("user-{n}")))] += 1);
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }

    const EXPECTED: [u16; 4] = [13, 15, 11, 8];
}
