//! Signing in. The order is the promise: success is said after everything addressed to the user would reach the
//! connection. `docs/PROTOCOL.md` §2.

use super::{Effect, Route, Wanted, Wish, Worker, error, send};
use crate::{
    audience::UserConnections,
    connection::{ConnectionId, SignedInAs, SigningIn, State},
    watching::Snapshot,
};
use ids::UserKey;
use protocol::{Close, CloseCode, ErrorCode, UserData, server, signature};
use std::time::{Duration, Instant};

/// After so many failures a client is guessing.
const MAX_FAILURES: u8 = 10;

/// How long a snapshot waits for levels that are not known yet.
const SNAPSHOT_WAIT: Duration = Duration::from_millis(500);

impl Worker {
    pub(super) fn sign_in(
        &mut self,
        id: ConnectionId,
        auth: Option<String>,
        user_data: Option<String>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let connection = &self.connections[id];
        let data =
            match signature::verify_sign_in(&connection.app, connection.socket, auth.as_deref(), user_data) {
                Ok(data) => data,
                Err(refusal) => return self.refuse_sign_in(id, &refusal.to_string(), effects),
            };
        if connection.user().is_some_and(|user| *user != data.id) {
            return self.refuse_sign_in(id, "the connection is signed in as another user", effects);
        }
        let key = UserKey { app: connection.app.id.clone(), user: data.id.clone() };
        if !self.fence.admits(connection.opened, &key, connection.socket) {
            self.sign_ins.fenced += 1;
            let reason = "the user was terminated after this connection was opened";
            return self.close(id, Close::new(CloseCode::ReconnectImmediately, reason), effects);
        }
        if data.watchlist_ignored {
            effects.push(Effect::WatchlistIgnored { connection: id, app: key.app.clone() });
        }
        self.register(id, key, data, now);
        if self.users_route_is_live(id) {
            self.complete_sign_in(id, now, effects);
        }
    }

    fn refuse_sign_in(&mut self, id: ConnectionId, message: &str, effects: &mut Vec<Effect>) {
        self.sign_ins.refused += 1;
        let connection = &mut self.connections[id];
        connection.failed_sign_ins += 1;
        let guessing = connection.failed_sign_ins >= MAX_FAILURES;
        error(effects, id, Some(ErrorCode::Unauthorized), message);
        if guessing {
            self.close(id, Close::new(CloseCode::Unauthorized, "too many failed sign-ins"), effects);
        }
    }

    /// Makes the connection one of the user's: from here on a termination closes it.
    fn register(&mut self, id: ConnectionId, key: UserKey, data: UserData, now: Instant) {
        let connection = &self.connections[id];
        let app = std::sync::Arc::clone(&connection.app);
        let (watchlist, cut_from) = match data.watchlist {
            _ if !app.watchlist_events => (Vec::new(), None),
            list if list.len() > app.watchlist_limit => {
                (list[..app.watchlist_limit].to_vec(), Some(list.len()))
            }
            list => (list, None),
        };
        if matches!(connection.state, State::Anonymous) {
            let ticket = self.tickets + 1;
            let user = self.users.entry(key.clone()).or_insert_with(|| UserConnections::asked(ticket));
            user.connections.push(id);
            if user.route == Route::Asked(ticket) {
                self.tickets = ticket;
                self.wish(Wish::User(key.clone()), Wanted::Yes { ticket });
            }
        }
        let watching = self.watch(id, &key, watchlist);
        let deadline = now + self.timing.sign_in_deadline;
        let signing_in = SigningIn { user: key.user, user_data: data.text, cut_from, deadline, watching };
        self.connections[id].state = State::SigningIn(Box::new(signing_in));
    }

    fn users_route_is_live(&self, id: ConnectionId) -> bool {
        let key = self.connections[id].user_key();
        key.and_then(|key| self.users.get(&key)).is_some_and(|user| user.route == Route::Live)
    }

    /// The routes are live: says so, then what of the watchlist is known, then goes on with what has come meanwhile.
    pub(super) fn complete_sign_in(&mut self, id: ConnectionId, now: Instant, effects: &mut Vec<Effect>) {
        let connection = &mut self.connections[id];
        let signing_in = match std::mem::replace(&mut connection.state, State::Anonymous) {
            State::SigningIn(signing_in) => *signing_in,
            other => {
                connection.state = other;
                return;
            }
        };
        let SigningIn { user, user_data, cut_from, mut watching, .. } = signing_in;
        // Before success: the .NET client subscribes the moment it sees success, and an error then fails that.
        if let Some(given) = cut_from {
            let limit = connection.app.watchlist_limit;
            let message = format!("the watchlist has {given} users; the first {limit} are watched");
            error(effects, id, Some(ErrorCode::WatchlistLimit), &message);
        }
        self.sign_ins.succeeded += 1;
        let form = connection.client.signin_success_data(&connection.app);
        send(effects, id, &server::signin_success(&user_data, form));
        let all_known = watching.unknown == 0;
        watching.snapshot = Snapshot::Due(now + SNAPSHOT_WAIT);
        connection.state = State::SignedIn(Box::new(SignedInAs { user, since: now, watching }));
        connection.authorize_by = None;
        if all_known {
            self.tell_snapshot(id, effects);
        }
        while let Some(text) = self.next_deferred(id) {
            self.frame(id, &text, now, effects);
        }
    }

    fn next_deferred(&mut self, id: ConnectionId) -> Option<String> {
        let connection = &mut self.connections[id];
        match connection.state {
            State::Anonymous | State::SignedIn(_) => connection.deferred.pop_front(),
            State::SigningIn(_) | State::Closing(_) => None,
        }
    }
}
