//! The connections of one thread: plain data, owned outright, without locks.
//!
//! What happens comes in by the methods; what is to be done goes out as [`Effect`]s. What the worker wants of its node
//! collects until it is taken ([`Worker::take_wishes`]), so that changes in between cancel out.

mod channels;
mod sign_in;
mod watchlist;

use crate::{
    audience::{Route, Subscribers, UserConnections},
    connection::{Connection, ConnectionId, PONG_TIMEOUT, Reading, State},
    rate::{Limit, Rate},
    watching::{Snapshot, Subjects},
};
use bytes::Bytes;
use hashbrown::HashMap;
use ids::{AppId, ChannelName, EventName, ShardId, Shards, SocketId, UserKey};
use indexmap::{IndexMap, IndexSet};
use protocol::{
    App, ClientFrame, Close, CloseCode, ErrorCode, InvalidFrame, connect::Client, server, websocket,
};
use slab::Slab;
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use termination::{Fence, Selector, Termination, TerminationId};

/// What the worker's shell does next, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Push this frame onto the connection's outbox.
    Send { to: ConnectionId, frame: Bytes },
    /// Push nothing more to it; send the error frame and the close frame, after what waits already if `flush`.
    Close { connection: ConnectionId, close: Close, flush: bool, termination: Option<TerminationId> },
    /// Drop what still waits to be sent to a connection that is closing, but for its last frames.
    Discard { connection: ConnectionId },
    /// Say in the log that an app signs watchlists that are no arrays.
    WatchlistIgnored { connection: ConnectionId, app: AppId },
    /// Publish a client event.
    Publish { app: AppId, channel: ChannelName, event: EventName, data: String, except: SocketId },
}

/// What a worker wants of its node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wish {
    /// To receive what is addressed to the user, and that the user counts as online.
    User(UserKey),
    /// To receive the channel's events.
    Channel(AppId, ChannelName),
    /// To be told whether the user is online.
    Watch(UserKey),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Confirm under this number.
    Yes { ticket: u64 },
    /// No more; a user stays online for `grace`.
    No { grace: Duration },
}

/// What a client brings along when it connects.
#[derive(Debug)]
pub struct Opening {
    pub app: Arc<App>,
    pub socket: SocketId,
    pub address: SocketAddr,
    pub client: Client,
}

/// A connection that is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    pub socket: SocketId,
    pub address: SocketAddr,
    pub client: Client,
    pub since: Instant,
}

/// How sign-ins have ended so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SignIns {
    pub succeeded: u64,
    /// For a check that failed; the connection stays open.
    pub refused: u64,
    /// By a termination that came after the connection was opened.
    pub fenced: u64,
    /// Closed since the broker did not confirm in time.
    pub unconfirmed: u64,
}

#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub activity_timeout: Duration,
    pub sign_in_deadline: Duration,
    /// Between two frames of a client in the long run; twice as many as fit a second may come at once.
    pub frame_interval: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct Worker {
    timing: Timing,
    frame_limit: Limit,
    connections: Slab<Connection>,
    users: HashMap<UserKey, UserConnections>,
    channels: HashMap<AppId, HashMap<ChannelName, Subscribers>>,
    subjects: Subjects,
    fence: Fence,
    /// Closing, while something of a user may still wait to be sent.
    closing: IndexSet<ConnectionId>,
    wishes: IndexMap<Wish, Wanted>,
    tickets: u64,
    sign_ins: SignIns,
}

impl Worker {
    #[must_use]
    pub fn new(timing: Timing, shards: Shards) -> Worker {
        let per_second = (Duration::from_secs(1).as_nanos() / timing.frame_interval.as_nanos().max(1)).max(1);
        Worker {
            timing,
            frame_limit: Limit { interval: timing.frame_interval, burst: per_second as u32 * 2 },
            connections: Slab::new(),
            users: HashMap::new(),
            channels: HashMap::new(),
            subjects: Subjects::new(shards),
            fence: Fence::default(),
            closing: IndexSet::new(),
            wishes: IndexMap::new(),
            tickets: 0,
            sign_ins: SignIns::default(),
        }
    }

    /// A client has connected.
    pub fn open(&mut self, opening: Opening, now: Instant, effects: &mut Vec<Effect>) -> ConnectionId {
        let Opening { app, socket, address, client } = opening;
        let authorize_by = app.authorization_timeout.map(|timeout| now + timeout);
        let connection = Connection {
            app,
            socket,
            address,
            client,
            opened: self.fence.mark(),
            state: State::Anonymous,
            failed_sign_ins: 0,
            authorize_by,
            channels: Vec::new(),
            heard: now,
            pinged: None,
            frames: Rate::unused(now),
            pause: None,
            client_events: None,
            deferred: Default::default(),
        };
        let id = self.connections.insert(connection);
        send(effects, id, &server::connection_established(socket, self.timing.activity_timeout));
        id
    }

    /// The socket is gone, whoever closed it. The id may be given out again.
    pub fn closed(&mut self, id: ConnectionId) {
        self.withdraw(id, false);
        self.closing.swap_remove(&id);
        self.connections.remove(id);
    }

    /// A text frame came.
    pub fn text(&mut self, id: ConnectionId, text: String, now: Instant, effects: &mut Vec<Effect>) {
        self.heard(id, now);
        match self.connections[id].state {
            State::Closing(_) => {}
            State::SigningIn(_) => self.connections[id].deferred.push_back(text),
            State::Anonymous | State::SignedIn(_) => self.frame(id, &text, now, effects),
        }
    }

    /// A binary frame came.
    pub fn binary(&mut self, id: ConnectionId, now: Instant, effects: &mut Vec<Effect>) {
        self.heard(id, now);
        if !self.connections[id].is_closing() {
            error(effects, id, None, &InvalidFrame::Binary.to_string());
        }
    }

    /// Anything came, a control frame for instance. All of it counts towards the limit of frames: each ping is answered.
    pub fn heard(&mut self, id: ConnectionId, now: Instant) {
        let connection = &mut self.connections[id];
        connection.heard = now;
        connection.pinged = None;
        connection.pause = connection.frames.count(self.frame_limit, now);
    }

    #[must_use]
    pub fn reading(&self, id: ConnectionId, now: Instant) -> Reading {
        self.connections[id].reading(now)
    }

    /// When to call [`Worker::timeout`], if nothing else happens.
    #[must_use]
    pub fn deadline(&self, id: ConnectionId) -> Option<Instant> {
        self.connections[id].deadline(self.timing.activity_timeout)
    }

    /// Does what is due. Harmless when nothing is.
    pub fn timeout(&mut self, id: ConnectionId, now: Instant, effects: &mut Vec<Effect>) {
        let connection = &mut self.connections[id];
        match &connection.state {
            State::Closing(_) => return,
            State::SigningIn(signing_in) if signing_in.deadline <= now => {
                self.sign_ins.unconfirmed += 1;
                let close = Close::new(CloseCode::OverCapacity, "the sign-in could not be confirmed in time");
                return self.close(id, close, effects);
            }
            State::SignedIn(signed_in) if matches!(signed_in.watching.snapshot, Snapshot::Due(at) if at <= now) =>
            {
                self.tell_snapshot(id, effects);
            }
            State::Anonymous | State::SigningIn(_) | State::SignedIn(_) => {}
        }
        let connection = &mut self.connections[id];
        if connection.authorize_by.is_some_and(|at| at <= now)
            && !matches!(connection.state, State::SigningIn(_))
        {
            let reason = "the connection neither signed in nor joined a private channel in time";
            return self.close(id, Close::new(CloseCode::Unauthorized, reason), effects);
        }
        match connection.pinged {
            Some(at) if at + PONG_TIMEOUT <= now => {
                self.close(id, Close::new(CloseCode::PongNotReceived, "no pong was received"), effects);
            }
            None if connection.heard + self.timing.activity_timeout <= now => {
                connection.pinged = Some(now);
                effects.push(Effect::Send { to: id, frame: websocket::ping() });
            }
            Some(_) | None => {}
        }
    }

    /// Closes a connection for a reason outside the protocol's course: a drain, a full outbox, a frame too large.
    pub fn close(&mut self, id: ConnectionId, close: Close, effects: &mut Vec<Effect>) {
        self.begin_close(id, close, true, None, effects);
    }

    /// Carries a termination out: closes the connections that it concerns, exactly those opened until now. Answers with
    /// how many.
    pub fn terminate(&mut self, termination: &Arc<Termination>, effects: &mut Vec<Effect>) -> u32 {
        self.fence.read(Arc::clone(termination));
        let Termination { id, user, selector, close, reason, .. } = &**termination;
        for closing in &self.closing {
            let connection = &self.connections[*closing];
            let same_user = matches!(&connection.state, State::Closing(Some(was)) if *was == user.user);
            if same_user && connection.app.id == user.app && selector.matches(connection.socket) {
                effects.push(Effect::Discard { connection: *closing });
            }
        }
        // A last connection that has just closed leaves no grace behind.
        if let Some(Wanted::No { grace }) = self.wishes.get_mut(&Wish::User(user.clone())) {
            *grace = Duration::ZERO;
        }
        let concerned = self.matching(user, selector);
        let close = Close::new(close.code(), reason.clone());
        for connection in &concerned {
            self.begin_close(*connection, close.clone(), false, Some(*id), effects);
        }
        concerned.len() as u32
    }

    /// How many connections a termination would close.
    #[must_use]
    pub fn count(&self, user: &UserKey, selector: &Selector) -> u32 {
        self.matching(user, selector).len() as u32
    }

    /// The node receives what is addressed to the user, and the user counts as online.
    pub fn user_confirmed(&mut self, key: &UserKey, ticket: u64, now: Instant, effects: &mut Vec<Effect>) {
        let Some(user) = self.users.get_mut(key) else { return };
        if !user.route.confirm(ticket) {
            return;
        }
        for id in user.connections.clone() {
            self.complete_sign_in(id, now, effects);
        }
    }

    /// The node receives the channel's events.
    pub fn channel_confirmed(
        &mut self,
        app: &AppId,
        channel: &ChannelName,
        ticket: u64,
        effects: &mut Vec<Effect>,
    ) {
        let subscribers = self.channels.get_mut(app).and_then(|channels| channels.get_mut(channel));
        let Some(subscribers) = subscribers else { return };
        if !subscribers.route.confirm(ticket) {
            return;
        }
        let frame = websocket::text(&server::subscription_succeeded(channel.as_str()));
        for id in &subscribers.connections {
            effects.push(Effect::Send { to: *id, frame: frame.clone() });
        }
    }

    /// An event for a user: to each of the user's connections, once. Answers with how many.
    pub fn user_event(
        &self,
        key: &UserKey,
        frame: &Bytes,
        except: Option<SocketId>,
        effects: &mut Vec<Effect>,
    ) -> u32 {
        let Some(user) = self.users.get(key) else { return 0 };
        let before = effects.len();
        for id in &user.connections {
            let connection = &self.connections[*id];
            // Who is still signing in has not been promised anything.
            if matches!(connection.state, State::SignedIn(_)) && Some(connection.socket) != except {
                effects.push(Effect::Send { to: *id, frame: frame.clone() });
            }
        }
        (effects.len() - before) as u32
    }

    /// An event on a channel: to each subscriber whose subscription was acknowledged.
    pub fn channel_event(
        &self,
        app: &AppId,
        channel: &ChannelName,
        frame: &Bytes,
        except: Option<SocketId>,
        effects: &mut Vec<Effect>,
    ) {
        let subscribers = self.channels.get(app).and_then(|channels| channels.get(channel));
        let Some(subscribers) = subscribers.filter(|subscribers| subscribers.route == Route::Live) else {
            return;
        };
        let others = subscribers.connections.iter();
        let others = others.filter(|id| except.is_none_or(|except| self.connections[**id].socket != except));
        effects.extend(others.map(|id| Effect::Send { to: *id, frame: frame.clone() }));
    }

    /// Whether the owner of a shard is heard: if not, snapshots name the online users only.
    pub fn owner_heard(&mut self, shard: ShardId, heard: bool, effects: &mut Vec<Effect>) {
        self.subjects.set_heard(shard, heard);
        if heard {
            self.tell_withheld(shard, effects);
        }
    }

    /// The connections signed in as a user.
    #[must_use]
    pub fn signed_in(&self, key: &UserKey) -> Vec<SignedIn> {
        let connections = self.users.get(key).into_iter().flat_map(|user| &user.connections);
        let signed_in = |id: &ConnectionId| {
            let connection = &self.connections[*id];
            let State::SignedIn(signed_in) = &connection.state else { return None };
            let (socket, address, client) =
                (connection.socket, connection.address, connection.client.clone());
            Some(SignedIn { socket, address, client, since: signed_in.since })
        };
        connections.filter_map(signed_in).collect()
    }

    /// What the worker has come to want, or no longer wants, since this was last taken.
    pub fn take_wishes(&mut self) -> Vec<(Wish, Wanted)> {
        std::mem::take(&mut self.wishes).into_iter().collect()
    }

    #[must_use]
    pub fn has_wishes(&self) -> bool {
        !self.wishes.is_empty()
    }

    /// Open connections, those signed in, and pairs of watcher and watched user.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        let signed_in = self.users.values().map(|user| user.connections.len()).sum();
        let edges = self.subjects.all.values().map(|subject| subject.watchers.len()).sum();
        (self.connections.len(), signed_in, edges)
    }

    #[must_use]
    pub fn sign_ins(&self) -> SignIns {
        self.sign_ins
    }

    fn frame(&mut self, id: ConnectionId, text: &str, now: Instant, effects: &mut Vec<Effect>) {
        match ClientFrame::parse(text) {
            Ok(ClientFrame::Ping) => send(effects, id, &server::pong()),
            Ok(ClientFrame::Pong) => {}
            Ok(ClientFrame::SignIn { auth, user_data }) => self.sign_in(id, auth, user_data, now, effects),
            Ok(ClientFrame::Subscribe(subscribe)) => self.subscribe(id, subscribe, effects),
            Ok(ClientFrame::Unsubscribe { channel }) => self.unsubscribe(id, &channel),
            Ok(ClientFrame::ClientEvent(event)) => self.client_event(id, event, now, effects),
            Err(invalid) => error(effects, id, None, &invalid.to_string()),
        }
    }

    fn matching(&self, user: &UserKey, selector: &Selector) -> Vec<ConnectionId> {
        let connections = self.users.get(user).into_iter().flat_map(|user| user.connections.iter().copied());
        connections.filter(|id| selector.matches(self.connections[*id].socket)).collect()
    }

    fn begin_close(
        &mut self,
        id: ConnectionId,
        close: Close,
        flush: bool,
        termination: Option<TerminationId>,
        effects: &mut Vec<Effect>,
    ) {
        if self.connections[id].is_closing() {
            return;
        }
        let user = self.connections[id].user().cloned();
        self.withdraw(id, termination.is_some());
        if flush && user.is_some() {
            self.closing.insert(id);
        }
        self.connections[id].state = State::Closing(user);
        effects.push(Effect::Close { connection: id, close, flush, termination });
    }

    /// Takes a connection out of everything it is part of: from here on no event finds it.
    fn withdraw(&mut self, id: ConnectionId, terminated: bool) {
        let connection = &mut self.connections[id];
        connection.deferred = Default::default();
        let app = Arc::clone(&connection.app);
        for channel in std::mem::take(&mut connection.channels) {
            self.leave(&app.id, id, &channel);
        }
        self.unwatch_all(id);
        let connection = &mut self.connections[id];
        if let Some(key) = connection.user_key() {
            connection.state = State::Closing(None);
            let grace = if terminated { Duration::ZERO } else { app.watchlist_offline_grace };
            self.leave_user(&key, id, grace);
        }
    }

    fn leave_user(&mut self, key: &UserKey, id: ConnectionId, grace: Duration) {
        if let Some(user) = self.users.get_mut(key) {
            user.connections.retain(|connection| *connection != id);
            if user.connections.is_empty() {
                self.users.remove(key);
                self.wish(Wish::User(key.clone()), Wanted::No { grace });
            }
        }
    }

    fn wish(&mut self, wish: Wish, wanted: Wanted) {
        self.wishes.insert(wish, wanted);
    }

    fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }
}

fn send(effects: &mut Vec<Effect>, to: ConnectionId, json: &str) {
    effects.push(Effect::Send { to, frame: websocket::text(json) });
}

fn error(effects: &mut Vec<Effect>, to: ConnectionId, code: Option<ErrorCode>, message: &str) {
    send(effects, to, &server::error(code.map(ErrorCode::number), message));
}
