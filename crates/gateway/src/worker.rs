//! One thread and the connections that it owns: the shell round [`connection::Worker`].

use crate::{
    http::Http,
    message::{FromWorker, TO_WORKER, ToWorker},
    metrics::{CloseLabel, Metrics, OutcomeLabel},
    outbox::Outbox,
    socket::{self, WebSocket},
};
use broker::{Broker, Outbound, Topic};
use bytes::Bytes;
use connection::{ConnectionId, Effect, Opening, Reading, SignIns, Subject, Timing, Worker};
use contracts::{cluster::v1, encode};
use ids::{AppId, Shards};
use indexmap::IndexMap;
use protocol::{Close, CloseCode};
use rand::seq::SliceRandom as _;
use slab::Slab;
use std::{
    cell::RefCell,
    collections::HashSet,
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use termination::{Termination, TerminationId};
use tokio::{
    net::TcpStream,
    runtime,
    sync::{Notify, mpsc},
    task::LocalSet,
    time::{interval, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

/// As many connections may come back at once.
const DRAINED_AT_ONCE: usize = 100;

/// Client events that wait for the broker: 1 000 of 10 KiB are 10 MiB. More are dropped.
const MAX_CLIENT_EVENTS: usize = 1_000;

/// How often the gauges are brought up to date.
const GAUGES: Duration = Duration::from_secs(1);

/// A worker, seen from the other threads.
pub(crate) struct Handle {
    pub(crate) messages: mpsc::Sender<ToWorker>,
    /// Sockets that it serves, or is about to.
    pub(crate) sockets: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

/// What every worker is given.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) timing: Timing,
    pub(crate) shards: Shards,
    pub(crate) outbox_bytes: usize,
    pub(crate) http: Arc<Http>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) node: mpsc::Sender<FromWorker>,
    pub(crate) metrics: Metrics,
    /// When to stop: after the drain.
    pub(crate) stop: CancellationToken,
}

impl Handle {
    pub(crate) fn spawn(index: usize, common: Common) -> io::Result<Handle> {
        let (messages, received) = mpsc::channel(TO_WORKER);
        let sockets = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&sockets);
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            let local = LocalSet::new();
            let shared = Rc::new(Shared::new(index, common, counted));
            runtime.block_on(local.run_until(run(shared, received)));
        })?;
        Ok(Handle { messages, sockets, thread })
    }

    /// Waits for the thread to end, which it does once `stop` is cancelled. Answers with whether it ended well.
    pub(crate) fn join(self) -> bool {
        drop(self.messages);
        self.thread.join().is_ok()
    }
}

async fn run(shared: Rc<Shared>, mut messages: mpsc::Receiver<ToWorker>) {
    let stop = shared.common.stop.clone();
    tokio::task::spawn_local(forward_wishes(Rc::clone(&shared)));
    tokio::task::spawn_local(publish_client_events(Rc::clone(&shared)));
    let mut gauges = interval(GAUGES);
    let mut told = Sizes::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            message = messages.recv() => match message {
                Some(message) => shared.received(message),
                None => break,
            },
            _ = gauges.tick() => told = shared.tell_sizes(&told),
        }
    }
    shared.tell_sizes(&told);
}

/// Hands what the core wants to the node. While the node is busy, wants join and cancel out.
async fn forward_wishes(shared: Rc<Shared>) {
    loop {
        shared.wished.notified().await;
        let Ok(permit) = shared.common.node.reserve().await else { return };
        let wishes = shared.core.borrow_mut().take_wishes();
        if !wishes.is_empty() {
            permit.send(FromWorker::Wishes { worker: shared.index, wishes });
        }
    }
}

async fn publish_client_events(shared: Rc<Shared>) {
    let mut outbound = Outbound::new(Arc::clone(&shared.common.broker));
    loop {
        shared.client_event.notified().await;
        for (topic, message) in shared.client_events.take() {
            outbound.push(topic, message);
        }
        while outbound.flush().await.is_err() {
            shared.common.metrics.client_events_dropped.inc();
        }
    }
}

/// What the tasks of a worker share. Borrows end before anything is awaited or performed.
pub(crate) struct Shared {
    index: usize,
    pub(crate) common: Common,
    core: RefCell<Worker>,
    outboxes: RefCell<Slab<Client>>,
    /// Terminations that wait for close frames to be handed over: how many yet, and how many in all.
    terminating: RefCell<IndexMap<TerminationId, (u32, u32)>>,
    wished: Notify,
    client_event: Notify,
    client_events: RefCell<Vec<(Topic, Bytes)>>,
    /// Apps whose watchlists the log has been told of.
    warned: RefCell<HashSet<AppId>>,
    sockets: Arc<AtomicUsize>,
    /// Cancelled when the gateway drains.
    pub(crate) drain: CancellationToken,
    /// Sockets, from their acceptance to their end.
    pub(crate) clients: TaskTracker,
}

struct Client {
    outbox: Rc<Outbox>,
    termination: Option<TerminationId>,
}

impl Shared {
    fn new(index: usize, common: Common, sockets: Arc<AtomicUsize>) -> Shared {
        Shared {
            index,
            core: RefCell::new(Worker::new(common.timing, common.shards)),
            common,
            outboxes: RefCell::default(),
            terminating: RefCell::default(),
            wished: Notify::new(),
            client_event: Notify::new(),
            client_events: RefCell::default(),
            warned: RefCell::default(),
            sockets,
            drain: CancellationToken::new(),
            clients: TaskTracker::new(),
        }
    }

    /// A client has come through the upgrade.
    pub(crate) fn open(self: &Rc<Self>, socket: WebSocket, opening: Opening) {
        let outbox = Rc::new(Outbox::new(self.common.outbox_bytes));
        let mut effects = Vec::new();
        let id = self.core.borrow_mut().open(opening, Instant::now(), &mut effects);
        let entry =
            self.outboxes.borrow_mut().insert(Client { outbox: Rc::clone(&outbox), termination: None });
        // Both slabs fill the same gap first, since entries come and go together.
        assert_eq!(id, entry, "a connection and its outbox share one id");
        self.sockets.fetch_add(1, Ordering::Relaxed);
        self.common.http.connections.fetch_add(1, Ordering::Relaxed);
        self.common.metrics.connections.inc();
        self.perform(effects);
        if self.drain.is_cancelled() {
            self.close(id, drained());
        }
        // A task of its own: awaited by the upgrade's, its size would be every connection's.
        self.clients.spawn_local(socket::run(socket, id, outbox, Rc::clone(self)));
    }

    pub(crate) fn refuse(self: &Rc<Self>, socket: WebSocket, close: Close) {
        let label = CloseLabel { code: close.code.number().into() };
        self.common.metrics.refusals.get_or_create(&label).inc();
        self.sockets.fetch_add(1, Ordering::Relaxed);
        let shared = Rc::clone(self);
        self.clients.spawn_local(async move {
            socket::refuse(socket, close, Rc::clone(&shared)).await;
            shared.sockets.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// When the connection has to be looked at next, and whether its next frame may be read.
    pub(crate) fn look(&self, id: ConnectionId) -> (Option<Instant>, Reading) {
        let core = self.core.borrow();
        (core.deadline(id), core.reading(id, Instant::now()))
    }

    pub(crate) fn text(&self, id: ConnectionId, text: String) {
        self.common.metrics.frames_received.inc();
        self.with_core(|core, effects| core.text(id, text, Instant::now(), effects));
    }

    pub(crate) fn binary(&self, id: ConnectionId) {
        self.common.metrics.frames_received.inc();
        self.with_core(|core, effects| core.binary(id, Instant::now(), effects));
    }

    pub(crate) fn heard(&self, id: ConnectionId) {
        self.core.borrow_mut().heard(id, Instant::now());
    }

    pub(crate) fn timeout(&self, id: ConnectionId) {
        self.with_core(|core, effects| core.timeout(id, Instant::now(), effects));
    }

    pub(crate) fn close(&self, id: ConnectionId, close: Close) {
        self.with_core(|core, effects| core.close(id, close, effects));
    }

    /// The connection's last frames are with its socket, or the socket was reset: nothing more reaches the client.
    pub(crate) fn handed_over(&self, id: ConnectionId) {
        let termination = self.outboxes.borrow_mut().get_mut(id).and_then(|client| client.termination.take());
        if let Some(termination) = termination {
            self.count_closed(termination);
        }
    }

    /// The connection's task has ended.
    pub(crate) fn closed(&self, id: ConnectionId) {
        self.handed_over(id);
        self.core.borrow_mut().closed(id);
        self.outboxes.borrow_mut().remove(id);
        self.sockets.fetch_sub(1, Ordering::Relaxed);
        self.common.http.connections.fetch_sub(1, Ordering::Relaxed);
        self.common.metrics.connections.dec();
        self.notify_wishes();
    }

    pub(crate) fn count_sent(&self, frames: u64, bytes: u64) {
        self.common.metrics.frames_sent.inc_by(frames);
        self.common.metrics.bytes_sent.inc_by(bytes);
    }

    fn received(self: &Rc<Self>, message: ToWorker) {
        match message {
            ToWorker::Socket(socket, address) => self.serve(socket, address),
            ToWorker::Confirmed(subject, ticket) => self.with_core(|core, effects| match &subject {
                Subject::User(key) => core.user_confirmed(key, ticket, Instant::now(), effects),
                Subject::Channel(app, channel) => core.channel_confirmed(app, channel, ticket, effects),
            }),
            ToWorker::Levels(levels) => self.with_core(|core, effects| core.levels(&levels, effects)),
            ToWorker::OwnerHeard(shard, heard) => {
                self.with_core(|core, effects| core.owner_heard(shard, heard, effects));
            }
            ToWorker::UserEvent { key, frame, except, reached } => self.with_core(|core, effects| {
                let count = core.user_event(&key, &frame, except, effects);
                if let Some(reached) = reached {
                    let _ = reached.send(count); // nobody waits any more
                }
            }),
            ToWorker::ChannelEvent { app, channel, frame, except } => {
                self.with_core(|core, effects| core.channel_event(&app, &channel, &frame, except, effects));
            }
            ToWorker::Terminate(termination) => self.terminate(&termination),
            ToWorker::Count { key, selector, answer } => {
                let _ = answer.send(self.core.borrow().count(&key, &selector));
            }
            ToWorker::List { key, answer } => drop(answer.send(self.core.borrow().signed_in(&key))),
            ToWorker::Drain(over, drained) => {
                self.drain.cancel();
                let shared = Rc::clone(self);
                tokio::task::spawn_local(async move {
                    drain(&shared, over).await;
                    shared.clients.close();
                    shared.clients.wait().await;
                    let _ = drained.send(()); // or the gateway has stopped waiting
                });
            }
        }
    }

    fn serve(self: &Rc<Self>, socket: std::net::TcpStream, address: std::net::SocketAddr) {
        match TcpStream::from_std(socket) {
            Ok(socket) => {
                let shared = Rc::clone(self);
                self.clients.spawn_local(async move {
                    crate::http::serve(socket, address, Rc::clone(&shared)).await;
                    shared.sockets.fetch_sub(1, Ordering::Relaxed);
                });
            }
            Err(error) => {
                debug!(%error, "a socket could not be served");
                self.sockets.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    fn terminate(&self, termination: &Arc<Termination>) {
        let mut effects = Vec::new();
        let closed = self.core.borrow_mut().terminate(termination, &mut effects);
        self.common.metrics.terminated.inc_by(closed.into());
        // One more than there are, taken back at the end: so it is not done before all are counted.
        self.terminating.borrow_mut().insert(termination.id, (closed + 1, closed));
        self.perform(effects);
        self.count_closed(termination.id);
    }

    fn count_closed(&self, termination: TerminationId) {
        let mut terminating = self.terminating.borrow_mut();
        let Some((left, closed)) = terminating.get_mut(&termination) else { return };
        *left -= 1;
        if *left == 0 {
            let closed = *closed;
            terminating.swap_remove(&termination);
            let node = self.common.node.clone();
            tokio::task::spawn_local(async move {
                // The node ends after the workers; if it has, nobody asks any more.
                drop(node.send(FromWorker::Terminated { termination, closed }).await);
            });
        }
    }

    fn with_core(&self, act: impl FnOnce(&mut Worker, &mut Vec<Effect>)) {
        let mut effects = Vec::new();
        act(&mut self.core.borrow_mut(), &mut effects);
        self.perform(effects);
    }

    fn perform(&self, effects: Vec<Effect>) {
        let mut slow = Vec::new();
        for effect in effects {
            match effect {
                Effect::Send { to, frame } => {
                    if self.outbox(to).push(frame).is_err() {
                        slow.push(to);
                    }
                }
                Effect::Close { connection, close, flush, termination } => {
                    let label = CloseLabel { code: close.code.number().into() };
                    self.common.metrics.closes.get_or_create(&label).inc();
                    if let Some(client) = self.outboxes.borrow_mut().get_mut(connection) {
                        client.termination = termination;
                    }
                    self.outbox(connection).finish(socket::last_frames(&close), flush);
                }
                Effect::Discard { connection } => self.outbox(connection).discard(),
                Effect::WatchlistIgnored { connection, app } => {
                    // Once for each app is enough to be seen; who wants all of them asks for debug.
                    if self.warned.borrow_mut().insert(app.clone()) {
                        warn!(%app, "a user signed in with a watchlist that is no array; it was ignored");
                    } else {
                        debug!(%app, connection, "a watchlist that is no array was ignored");
                    }
                }
                Effect::Publish { app, channel, event, data, except } => {
                    let event =
                        v1::Event { name: event.to_string(), data, except_socket_id: except.to_string() };
                    let mut waiting = self.client_events.borrow_mut();
                    if waiting.len() < MAX_CLIENT_EVENTS {
                        let message = encode(&v1::ToChannel { event: Some(event) });
                        waiting.push((Topic::channel(&app, &channel), message));
                        self.client_event.notify_one();
                    } else {
                        self.common.metrics.client_events_dropped.inc();
                    }
                }
            }
        }
        for id in slow {
            if !self.outbox(id).is_finished() {
                self.common.metrics.slow_consumers.inc();
                self.close(id, Close::new(CloseCode::OverCapacity, "the client reads too slowly"));
                // Else it would not read why in time.
                self.outbox(id).discard();
            }
        }
        self.notify_wishes();
    }

    fn notify_wishes(&self) {
        if self.core.borrow().has_wishes() {
            self.wished.notify_one();
        }
    }

    fn outbox(&self, id: ConnectionId) -> Rc<Outbox> {
        Rc::clone(&self.outboxes.borrow()[id].outbox)
    }

    /// Adds to the metrics what has changed since they were told `before`.
    fn tell_sizes(&self, before: &Sizes) -> Sizes {
        let core = self.core.borrow();
        let (_, signed_in, watch_edges) = core.sizes();
        let now = Sizes { signed_in, watch_edges, sign_ins: core.sign_ins() };
        let metrics = &self.common.metrics;
        metrics.signed_in.inc_by(now.signed_in as i64 - before.signed_in as i64);
        metrics.watch_edges.inc_by(now.watch_edges as i64 - before.watch_edges as i64);
        for (outcome, count, counted) in [
            ("succeeded", now.sign_ins.succeeded, before.sign_ins.succeeded),
            ("refused", now.sign_ins.refused, before.sign_ins.refused),
            ("fenced", now.sign_ins.fenced, before.sign_ins.fenced),
            ("unconfirmed", now.sign_ins.unconfirmed, before.sign_ins.unconfirmed),
        ] {
            metrics.sign_ins.get_or_create(&OutcomeLabel { outcome }).inc_by(count - counted);
        }
        now
    }
}

/// What of a worker is told by metrics from time to time.
#[derive(Default)]
struct Sizes {
    signed_in: usize,
    watch_edges: usize,
    sign_ins: SignIns,
}

/// Closes all connections: a few at once, many over some time and in no order, since each comes back elsewhere.
async fn drain(shared: &Shared, over: Duration) {
    const SLICES: u32 = 50;
    let mut ids: Vec<_> =
        shared.outboxes.borrow().iter().map(|(id, client)| (id, Rc::clone(&client.outbox))).collect();
    ids.shuffle(&mut rand::rng());
    let start = Instant::now();
    let slices = if ids.len() <= DRAINED_AT_ONCE { 1 } else { SLICES };
    for (index, slice) in ids.chunks(ids.len().div_ceil(slices as usize).max(1)).enumerate() {
        if slices > 1 {
            // By the clock, so that the jitter does not add up and all are closed in time.
            let at = over.mul_f64((index as f64 + rand::random_range(0.0..1.0)) / f64::from(SLICES));
            sleep_until((start + at).into()).await;
        }
        for (id, outbox) in slice {
            // The id may have been given out again meanwhile; the newcomer was closed when it came.
            let same =
                shared.outboxes.borrow().get(*id).is_some_and(|client| Rc::ptr_eq(&client.outbox, outbox));
            if same {
                shared.close(*id, drained());
            }
        }
    }
}

fn drained() -> Close {
    Close::new(CloseCode::ReconnectImmediately, "the server is shutting down: reconnect")
}
