//! Watchlists of one worker: who watches whom, and what each watcher was last told.
//!
//! Per watcher and subject the words alternate by construction: a level is told only if it differs from the last one
//! told.

use crate::connection::ConnectionId;
use hashbrown::HashMap;
use ids::{ShardId, Shards, UserId, UserKey};
use smallvec::SmallVec;
use std::time::Instant;

/// The users that a connection watches, itself among them if it named itself.
#[derive(Debug)]
pub(crate) struct Watching {
    pub(crate) users: Box<[UserId]>,
    /// Of those, how many have no known level.
    pub(crate) unknown: usize,
    pub(crate) snapshot: Snapshot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Snapshot {
    /// The sign-in has not succeeded.
    NotYet,
    /// As soon as all levels are known, and then at the latest.
    Due(Instant),
    Told,
}

/// What became of levels for one watcher.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) offline: Vec<UserId>,
    pub(crate) online: Vec<UserId>,
}

impl Changes {
    pub(crate) fn add(&mut self, user: UserId, online: bool) {
        if online { self.online.push(user) } else { self.offline.push(user) }
    }

    pub(crate) fn names(&self, user: &UserId) -> bool {
        self.offline.contains(user) || self.online.contains(user)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.offline.is_empty() && self.online.is_empty()
    }
}

/// One user who is watched on this worker.
#[derive(Debug, Default)]
pub(crate) struct Subject {
    /// As the node was last told; `None`: not yet.
    pub(crate) level: Option<bool>,
    pub(crate) watchers: SmallVec<[Edge; 1]>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Edge {
    pub(crate) watcher: ConnectionId,
    pub(crate) told: Option<bool>,
}

#[derive(Debug)]
pub(crate) struct Subjects {
    shards: Shards,
    pub(crate) all: HashMap<UserKey, Subject>,
    /// Per shard, whether its owner is heard: if not, an offline level may be out of date and is not told anew.
    heard: Vec<bool>,
}

impl Subjects {
    pub(crate) fn new(shards: Shards) -> Subjects {
        Subjects { shards, all: HashMap::new(), heard: shards.iter().map(|_| false).collect() }
    }

    pub(crate) fn set_heard(&mut self, shard: ShardId, heard: bool) {
        if let Some(entry) = self.heard.get_mut(usize::from(shard.0)) {
            *entry = heard;
        }
    }

    /// Users of a shard that somebody watches, in no particular order.
    pub(crate) fn of_shard(&self, shard: ShardId) -> Vec<UserKey> {
        let mut keys: Vec<_> = self.all.keys().filter(|key| self.shards.of(key) == shard).cloned().collect();
        keys.sort_unstable(); // so that a run can be repeated
        keys
    }

    /// Adds a watcher; answers with whether it is the first, the subject's name as it is kept, and its level.
    pub(crate) fn watch(&mut self, key: UserKey, watcher: ConnectionId) -> (bool, UserId, Option<bool>) {
        let entry = self.all.entry(key);
        let user = entry.key().user.clone();
        let subject = entry.or_default();
        let first = subject.watchers.is_empty();
        subject.watchers.push(Edge { watcher, told: None });
        (first, user, subject.level)
    }

    /// Takes a watcher away; answers with whether it was the last.
    pub(crate) fn unwatch(&mut self, key: &UserKey, watcher: ConnectionId) -> bool {
        let Some(subject) = self.all.get_mut(key) else { return false };
        subject.watchers.retain(|edge| edge.watcher != watcher);
        let last = subject.watchers.is_empty();
        if last {
            self.all.remove(key);
        }
        last
    }

    /// What a snapshot says of a user; taken as told.
    pub(crate) fn tell(&mut self, key: &UserKey, watcher: ConnectionId) -> Option<bool> {
        let heard = self.heard[usize::from(self.shards.of(key).0)];
        let subject = self.all.get_mut(key)?;
        let said = subject.level.filter(|online| *online || heard);
        if let Some(edge) = subject.watchers.iter_mut().find(|edge| edge.watcher == watcher) {
            edge.told = said;
        }
        said
    }
}
