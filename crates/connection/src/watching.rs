//! Watchlists of one worker: who watches whom, and what each watcher was last told.
//!
//! Per watcher and subject the words alternate by construction: a level is told only if it differs from the last one
//! told.

use crate::connection::ConnectionId;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ids::{ShardId, Shards, UserId, UserKey};
use indexmap::IndexMap;
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
    pub(crate) watchers: Watchers,
}

/// Who watches a user, and what each was last told. Most users have a few watchers, for whom a list is smallest; a
/// celebrity has so many that coming and going must not cost a search.
#[derive(Debug)]
pub(crate) enum Watchers {
    Few(SmallVec<[(ConnectionId, Option<bool>); 1]>),
    Many(Box<IndexMap<ConnectionId, Option<bool>, RandomState>>),
}

impl Default for Watchers {
    fn default() -> Watchers {
        Watchers::Few(SmallVec::new())
    }
}

impl Watchers {
    const FEW: usize = 16;

    /// Adds a watcher, or has one that is there begin anew: it has been told nothing.
    fn insert(&mut self, watcher: ConnectionId) {
        match self {
            Watchers::Few(few) => match few.iter().position(|(id, _)| *id == watcher) {
                Some(at) => few[at].1 = None,
                None if few.len() < Self::FEW => few.push((watcher, None)),
                None => *self = Watchers::Many(Box::new(few.drain(..).chain([(watcher, None)]).collect())),
            },
            Watchers::Many(many) => {
                many.insert(watcher, None);
            }
        }
    }

    fn remove(&mut self, watcher: ConnectionId) {
        match self {
            Watchers::Few(few) => few.retain(|(id, _)| *id != watcher),
            Watchers::Many(many) => {
                many.swap_remove(&watcher);
            }
        }
    }

    fn told(&mut self, watcher: ConnectionId) -> Option<&mut Option<bool>> {
        match self {
            Watchers::Few(few) => few.iter_mut().find(|(id, _)| *id == watcher).map(|(_, told)| told),
            Watchers::Many(many) => many.get_mut(&watcher),
        }
    }

    pub(crate) fn for_each(&mut self, mut act: impl FnMut(ConnectionId, &mut Option<bool>)) {
        match self {
            Watchers::Few(few) => few.iter_mut().for_each(|(id, told)| act(*id, told)),
            Watchers::Many(many) => many.iter_mut().for_each(|(id, told)| act(*id, told)),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Watchers::Few(few) => few.len(),
            Watchers::Many(many) => many.len(),
        }
    }
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

    /// Adds a watcher, who begins anew if it is there; answers with whether it is the first, the subject's name as it is kept, and its level.
    pub(crate) fn watch(&mut self, key: UserKey, watcher: ConnectionId) -> (bool, UserId, Option<bool>) {
        let entry = self.all.entry(key);
        let user = entry.key().user.clone();
        let subject = entry.or_default();
        let first = subject.watchers.len() == 0;
        subject.watchers.insert(watcher);
        (first, user, subject.level)
    }

    /// Takes a watcher away; answers with whether it was the last.
    pub(crate) fn unwatch(&mut self, key: &UserKey, watcher: ConnectionId) -> bool {
        let Some(subject) = self.all.get_mut(key) else { return false };
        subject.watchers.remove(watcher);
        let last = subject.watchers.len() == 0;
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
        if let Some(told) = subject.watchers.told(watcher) {
            *told = said;
        }
        said
    }
}
