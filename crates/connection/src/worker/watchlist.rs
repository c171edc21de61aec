//! Watchlists: the snapshot after a sign-in, and the changes that follow it. `docs/PROTOCOL.md` §4.

use super::{Effect, Wanted, Wish, Worker};
use crate::{
    connection::{ConnectionId, State},
    watching::{Changes, Snapshot, Watching},
};
use bytes::Bytes;
use ids::{ShardId, UserId, UserKey};
use indexmap::IndexMap;
use protocol::{server, websocket};
use std::time::Duration;

impl Worker {
    /// Makes a connection watch these users and no others. Itself it needs nobody to tell: it is online.
    pub(super) fn watch(&mut self, id: ConnectionId, own: &UserKey, watchlist: Vec<UserId>) -> Watching {
        let app = own.app.clone();
        let before = self.connections[id].watching().map(|watching| std::mem::take(&mut watching.users));
        let mut unknown = 0;
        let mut users = Vec::with_capacity(watchlist.len());
        for user in watchlist {
            let key = UserKey { app: app.clone(), user };
            if key == *own {
                users.push(own.user.clone());
                continue;
            }
            let (first, user, level) = self.subjects.watch(key, id);
            if first {
                let ticket = self.ticket();
                let key = UserKey { app: app.clone(), user: user.clone() };
                self.wish(Wish::Watch(key), Wanted::Yes { ticket });
            }
            unknown += usize::from(level.is_none());
            users.push(user);
        }
        // After the new ones, so that nobody is forgotten who is on both lists.
        for user in before.unwrap_or_default() {
            if !users.contains(&user) {
                self.unwatch(id, UserKey { app: app.clone(), user });
            }
        }
        Watching { users: users.into(), unknown, snapshot: Snapshot::NotYet }
    }

    pub(super) fn unwatch_all(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id];
        let app = connection.app.id.clone();
        let Some(watching) = connection.watching() else { return };
        for user in std::mem::take(&mut watching.users) {
            self.unwatch(id, UserKey { app: app.clone(), user });
        }
    }

    fn unwatch(&mut self, id: ConnectionId, key: UserKey) {
        if self.subjects.unwatch(&key, id) {
            self.wish(Wish::Watch(key), Wanted::No { grace: Duration::ZERO });
        }
    }

    /// Says all levels that are known, before any other watchlist frame.
    pub(super) fn tell_snapshot(&mut self, id: ConnectionId, effects: &mut Vec<Effect>) {
        let connection = &mut self.connections[id];
        let State::SignedIn(signed_in) = &mut connection.state else { return };
        signed_in.watching.snapshot = Snapshot::Told;
        let mut changes = Changes::default();
        for user in &signed_in.watching.users {
            if *user == signed_in.user {
                changes.add(user.clone(), true);
                continue;
            }
            let key = UserKey { app: connection.app.id.clone(), user: user.clone() };
            if let Some(online) = self.subjects.tell(&key, id) {
                changes.add(key.user, online);
            }
        }
        tell(effects, id, &changes, &mut None);
    }

    /// The levels of watched users, as the node was told them. Each watcher gets one frame for all of them; two if
    /// somebody went there and back.
    pub fn levels(&mut self, levels: &[(UserKey, bool)], effects: &mut Vec<Effect>) {
        let mut changed: IndexMap<ConnectionId, Changes> = IndexMap::new();
        let mut complete = Vec::new();
        for (key, online) in levels {
            let Some(subject) = self.subjects.all.get_mut(key) else { continue };
            let first = subject.level.replace(*online).is_none();
            subject.watchers.for_each(|id, told| {
                let Some(watching) = self.connections[id].watching() else { return };
                if first {
                    watching.unknown = watching.unknown.saturating_sub(1);
                }
                match watching.snapshot {
                    Snapshot::Due(_) if watching.unknown == 0 => complete.push(id),
                    Snapshot::Told if *told != Some(*online) => {
                        *told = Some(*online);
                        // There and back within these levels: two frames, since one says offline before online.
                        if changed.get(&id).is_some_and(|changes| changes.names(&key.user)) {
                            tell_all(effects, &changed);
                            changed.clear();
                        }
                        changed.entry(id).or_default().add(key.user.clone(), *online);
                    }
                    Snapshot::NotYet | Snapshot::Due(_) | Snapshot::Told => {}
                }
            });
        }
        tell_all(effects, &changed);
        for id in complete {
            if self.connections[id].watching().is_some_and(|watching| watching.snapshot != Snapshot::Told) {
                self.tell_snapshot(id, effects);
            }
        }
    }

    /// The owner of a shard is heard again: says the offline levels that snapshots left out.
    pub(super) fn tell_withheld(&mut self, shard: ShardId, effects: &mut Vec<Effect>) {
        let mut changed: IndexMap<ConnectionId, Changes> = IndexMap::new();
        for key in self.subjects.of_shard(shard) {
            let Some(subject) = self.subjects.all.get_mut(&key) else { continue };
            let Some(online) = subject.level else { continue };
            subject.watchers.for_each(|id, told| {
                let watching = self.connections[id].watching();
                if told.is_none() && watching.is_some_and(|watching| watching.snapshot == Snapshot::Told) {
                    *told = Some(online);
                    changed.entry(id).or_default().add(key.user.clone(), online);
                }
            });
        }
        tell_all(effects, &changed);
    }
}

/// One frame per watcher; watchers who are told the same share its bytes.
fn tell_all<'a>(
    effects: &mut Vec<Effect>,
    changed: impl IntoIterator<Item = (&'a ConnectionId, &'a Changes)>,
) {
    let mut last = None;
    for (id, changes) in changed {
        tell(effects, *id, changes, &mut last);
    }
}

fn tell<'a>(
    effects: &mut Vec<Effect>,
    to: ConnectionId,
    changes: &'a Changes,
    last: &mut Option<(&'a Changes, Bytes)>,
) {
    if changes.is_empty() {
        return;
    }
    let frame = match last {
        Some((same, frame)) if *same == changes => frame.clone(),
        _ => websocket::text(&server::watchlist_events(&changes.offline, &changes.online)),
    };
    *last = Some((changes, frame.clone()));
    effects.push(Effect::Send { to, frame });
}
