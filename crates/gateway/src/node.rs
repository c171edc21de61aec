//! This process as a node of the cluster: the one task that joins what the workers want, speaks to the broker, and
//! hands on what comes from it.

use crate::{
    message::{FromWorker, ToWorker},
    metrics::Metrics,
    settings::Settings,
};
use broker::{
    BoxFuture, Broker, Entry, Incoming, JournalError, Position, Said, Subscription, Topic, Unavailable,
};
use bytes::Bytes;
use connection::{InterestEffect, Interests, SignedIn, Subject};
use contracts::{cluster::v1, encode};
use futures_util::{FutureExt, StreamExt, future::join_all, stream::FuturesUnordered};
use ids::{NodeId, ProcessId, ShardId, Shards, SocketId, UserKey};
use indexmap::IndexMap;
use node::{Heard, Link};
use prost::Message as _;
use protocol::{server, websocket};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use telemetry::Part;
use termination::{Fence, Selector, Termination, TerminationId};
use tokio::{
    select,
    sync::{mpsc, oneshot},
    time::{Instant, interval, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

/// How often topics that nobody wants any more are looked for.
const TICK: Duration = Duration::from_secs(1);

/// How long to wait before something that the broker did not take is repeated.
const RETRY: Duration = Duration::from_millis(200);

/// See the module.
pub(crate) struct Node {
    link: Link,
    interests: Interests,
    workers: Vec<mpsc::Sender<ToWorker>>,
    broker: Arc<dyn Broker>,
    subscription: Arc<dyn Subscription>,
    incoming: Incoming,
    from_workers: mpsc::Receiver<FromWorker>,
    in_flight: FuturesUnordered<BoxFuture<'static, Done>>,
    journal: BoxFuture<'static, Result<Vec<Entry>, JournalError>>,
    read_to: Position,
    topics: HashMap<Topic, Subject>,
    /// Terminations that workers are carrying out.
    carrying_out: IndexMap<TerminationId, CarryingOut>,
    /// Those that are done, as long as the fence remembers them: for a control that asks again.
    carried_out: IndexMap<TerminationId, u32>,
    handover_grace: Duration,
    draining: bool,
    ready: Part,
    known: CancellationToken,
    metrics: Metrics,
}

struct CarryingOut {
    termination: Arc<Termination>,
    /// How many have not carried it out yet.
    workers: usize,
    closed: u32,
}

enum Done {
    Attached(Subject),
    Detached(Subject),
    Other,
}

/// What the gateway hands the node's task besides its own.
pub(crate) struct Parts {
    pub(crate) workers: Vec<mpsc::Sender<ToWorker>>,
    pub(crate) from_workers: mpsc::Receiver<FromWorker>,
    pub(crate) ready: Part,
    /// Cancelled when the node's own beat has come back: no owner can overlook the node any more.
    pub(crate) known: CancellationToken,
    pub(crate) metrics: Metrics,
}

impl Node {
    /// Registers the node, so that from here on terminations wait for it, and beats for the first time.
    pub(crate) async fn start(
        settings: &Settings,
        shards: Shards,
        broker: Arc<dyn Broker>,
        parts: Parts,
    ) -> Result<Node, Unavailable> {
        let id = NodeId::from_random(rand::random());
        let (subscription, incoming) = broker.subscribe();
        let read_to = broker.register(id).await?;
        let link = Link::start(id, shards, Arc::clone(&broker)).await?;
        let journal = broker.read_journal(read_to);
        Ok(Node {
            link,
            interests: Interests::default(),
            workers: parts.workers,
            broker,
            subscription,
            incoming,
            from_workers: parts.from_workers,
            in_flight: FuturesUnordered::new(),
            journal,
            read_to,
            topics: HashMap::new(),
            carrying_out: IndexMap::new(),
            carried_out: IndexMap::new(),
            handover_grace: settings.handover_grace,
            draining: false,
            ready: parts.ready,
            known: parts.known,
            metrics: parts.metrics,
        })
    }

    /// Runs until `drained`, when no worker has connections any more; then takes leave of the cluster. `draining`
    /// begins the hand-over graces.
    pub(crate) async fn run(mut self, draining: CancellationToken, drained: CancellationToken) {
        info!(node = %self.link.id(), "node started");
        let mut ticks = interval(TICK);
        loop {
            select! {
                () = drained.cancelled() => break,
                () = draining.cancelled(), if !self.draining => self.draining = true,
                heard = self.link.next() => {
                    if heard.contains(&Heard::Closed) {
                        error!("the broker has closed; the gateway can no longer serve");
                        break;
                    }
                    self.heard(heard).await;
                }
                Some(said) = self.incoming.next() => self.said(said).await,
                Some(message) = self.from_workers.recv() => self.worker_message(message).await,
                Some(done) = self.in_flight.next() => self.done(done).await,
                entries = &mut self.journal => self.journal(entries).await,
                _ = ticks.tick() => {
                    let mut effects = Vec::new();
                    self.interests.tick(now(), &mut effects);
                    self.perform(effects).await;
                }
            }
        }
        self.leave().await;
    }

    /// What the workers said last still counts: that their users are gone.
    async fn leave(mut self) {
        self.draining = true;
        while let Ok(message) = self.from_workers.try_recv() {
            self.worker_message(message).await;
        }
        let mut effects = Vec::new();
        self.interests.sign_out_all(&mut effects); // or the farewell would wait for them
        self.perform(effects).await;
        let id = self.link.id();
        if self.link.farewell(self.handover_grace).await.is_err() || self.broker.leave(id).await.is_err() {
            warn!(node = %id, "the broker did not take the farewell; the node will be found lost");
        }
    }

    async fn heard(&mut self, heard: Vec<Heard>) {
        // Levels that came together are told together: one frame for each watcher.
        let mut levels: Vec<Vec<(UserKey, bool)>> = vec![Vec::new(); self.workers.len()];
        let mut effects = Vec::new();
        for heard in heard {
            match heard {
                Heard::Online(key) => self.interests.online(&key, &mut effects),
                Heard::Level(key, online) => {
                    for worker in self.interests.watchers(&key) {
                        levels[*worker].push((key.clone(), online));
                    }
                }
                Heard::OwnerSilent(shard) => self.owner_heard(shard, false, &mut levels).await,
                Heard::OwnerHeard(shard) => self.owner_heard(shard, true, &mut levels).await,
                Heard::Confirm { termination, asker } => {
                    self.confirm_again(TerminationId(termination), asker)
                }
                Heard::OwnBeat => {
                    self.known.cancel();
                    self.ready.ready();
                }
                Heard::Repair(shard) => self.repair(shard),
                Heard::Interrupted => {
                    self.metrics.interruptions.inc();
                }
                Heard::Resumed | Heard::Closed => {}
            }
        }
        self.tell_levels(&mut levels).await;
        self.perform(effects).await;
    }

    /// Behind the levels that came before it: what was withheld while the owner was silent may be out of date by them.
    async fn owner_heard(&mut self, shard: ShardId, heard: bool, levels: &mut [Vec<(UserKey, bool)>]) {
        self.tell_levels(levels).await;
        self.tell_all(|| ToWorker::OwnerHeard(shard, heard)).await;
    }

    async fn tell_levels(&mut self, levels: &mut [Vec<(UserKey, bool)>]) {
        for (worker, levels) in levels.iter_mut().enumerate().filter(|(_, levels)| !levels.is_empty()) {
            self.tell(worker, ToWorker::Levels(std::mem::take(levels))).await;
        }
    }

    fn repair(&self, shard: ShardId) {
        warn!(%shard, "something of the shard was lost on the way and is said again");
        self.metrics.repairs.inc();
    }

    async fn said(&mut self, said: Said) {
        let Said::Message { topic, message } = said else { return };
        match self.topics.get(&topic).cloned() {
            Some(Subject::User(key)) => self.user_message(key, &message).await,
            Some(Subject::Channel(app, channel)) => {
                let Ok(v1::ToChannel { event: Some(event) }) = v1::ToChannel::decode(&message[..]) else {
                    return debug!("a channel's message was not understood");
                };
                let frame = websocket::text(&server::event(&event.name, channel.as_str(), &event.data));
                let except = except(&event);
                let workers: Vec<_> =
                    self.interests.workers(&Subject::Channel(app.clone(), channel.clone())).collect();
                for worker in workers {
                    let (app, channel, frame) = (app.clone(), channel.clone(), frame.clone());
                    self.tell(worker, ToWorker::ChannelEvent { app, channel, frame, except }).await;
                }
            }
            None => {} // detached meanwhile
        }
    }

    async fn user_message(&mut self, key: UserKey, message: &Bytes) {
        use v1::to_user::Said;
        let Ok(v1::ToUser { question, said: Some(said) }) = v1::ToUser::decode(&message[..]) else {
            return debug!("a user's message was not understood");
        };
        let workers: Vec<_> = self.interests.workers(&Subject::User(key.clone())).collect();
        let mut counts = Vec::new();
        match said {
            Said::Event(event) => {
                let channel = server::user_channel(&key.user);
                let frame = websocket::text(&server::event(&event.name, &channel, &event.data));
                let except = except(&event);
                for worker in workers {
                    let (key, frame) = (key.clone(), frame.clone());
                    let reached = question.as_ref().map(|_| answer(&mut counts));
                    self.tell(worker, ToWorker::UserEvent { key, frame, except, reached }).await;
                }
            }
            Said::CountConnections(count) => {
                let Ok(selector) = Selector::try_from(count.selector.unwrap_or_default()) else { return };
                let selector = Arc::new(selector);
                for worker in workers {
                    let (key, selector, answer) = (key.clone(), Arc::clone(&selector), answer(&mut counts));
                    self.tell(worker, ToWorker::Count { key, selector, answer }).await;
                }
            }
            Said::ListConnections(v1::ListConnections {}) => {
                let mut lists = Vec::new();
                for worker in workers {
                    let (key, answer) = (key.clone(), answer(&mut lists));
                    self.tell(worker, ToWorker::List { key, answer }).await;
                }
                let node = self.link.id().bits();
                self.reply(question, async move {
                    let connections = join_all(lists).await.into_iter().filter_map(Result::ok).flatten();
                    let connections = connections.map(connection).collect();
                    v1::reply::Said::Connections(v1::Connections { node, connections })
                });
                return;
            }
        }
        let node = self.link.id().bits();
        self.reply(question, async move {
            let connections = join_all(counts).await.into_iter().filter_map(Result::ok).sum();
            v1::reply::Said::Reached(v1::Reached { node, connections })
        });
    }

    async fn worker_message(&mut self, message: FromWorker) {
        match message {
            FromWorker::Wishes { worker, wishes } => {
                let mut effects = Vec::new();
                for (wish, wanted) in wishes {
                    self.interests.wish(worker, wish, wanted, now(), &mut effects);
                }
                self.perform(effects).await;
            }
            FromWorker::Terminated { termination, closed } => {
                let Some(carrying_out) = self.carrying_out.get_mut(&termination) else { return };
                carrying_out.workers -= 1;
                carrying_out.closed += closed;
                if carrying_out.workers == 0
                    && let Some(done) = self.carrying_out.swap_remove(&termination)
                {
                    // Again: of a connection that closed just before, the node may have heard only now.
                    self.link.end_grace(&done.termination.user);
                    if self.carried_out.len() == Fence::KEPT {
                        self.carried_out.shift_remove_index(0);
                    }
                    self.carried_out.insert(termination, done.closed);
                    self.confirm(termination, done.closed, done.termination.asker);
                }
            }
        }
    }

    async fn journal(&mut self, entries: Result<Vec<Entry>, JournalError>) {
        match entries {
            Ok(entries) => {
                for Entry { position, entry } in entries {
                    self.read_to = position;
                    let termination = v1::Termination::decode(&entry[..]).ok();
                    match termination.and_then(|termination| Termination::try_from(termination).ok()) {
                        Some(termination) => self.terminate(termination).await,
                        None => warn!("an entry of the journal was not understood"),
                    }
                }
            }
            Err(JournalError::Unavailable(_)) => sleep(RETRY).await,
            Err(JournalError::Trimmed) => {
                // Terminations that were missed can no longer be carried out one by one.
                error!("the journal was trimmed before this node read it; restart the gateway");
                self.ready.not_ready();
                self.journal = std::future::pending().boxed();
                return;
            }
        }
        self.journal = self.broker.read_journal(self.read_to);
    }

    async fn terminate(&mut self, termination: Termination) {
        debug!(termination = %termination.id, app = %termination.user.app, "termination read");
        self.link.end_grace(&termination.user);
        let termination = Arc::new(termination);
        let (workers, closed) = (self.workers.len(), 0);
        let carrying_out = CarryingOut { termination: Arc::clone(&termination), workers, closed };
        self.carrying_out.insert(termination.id, carrying_out);
        self.tell_all(|| ToWorker::Terminate(Arc::clone(&termination))).await;
    }

    fn confirm_again(&mut self, termination: TerminationId, asker: ProcessId) {
        // Unknown: not read yet, or still being carried out; the control will ask again.
        if let Some(closed) = self.carried_out.get(&termination) {
            self.confirm(termination, *closed, asker);
        }
    }

    fn confirm(&self, termination: TerminationId, closed: u32, asker: ProcessId) {
        let confirmation =
            v1::Confirmation { termination: termination.0, node: self.link.id().bits(), closed };
        let reply = v1::Reply { question: 0, said: Some(v1::reply::Said::Confirmation(confirmation)) };
        let publish = self.broker.publish(Topic::replies(asker), encode(&reply));
        self.in_flight.push(publish.map(|_| Done::Other).boxed()); // lost: the control asks again
    }

    fn reply(
        &self,
        question: Option<v1::Question>,
        said: impl Future<Output = v1::reply::Said> + Send + 'static,
    ) {
        let Some(question) = question else { return };
        let broker = Arc::clone(&self.broker);
        let reply = async move {
            let reply = v1::Reply { question: question.id, said: Some(said.await) };
            let asker = Topic::replies(ProcessId::from_random(question.asker));
            let _ = broker.publish(asker, encode(&reply)).await; // the asker has a deadline
            Done::Other
        };
        self.in_flight.push(reply.boxed());
    }

    async fn done(&mut self, done: Done) {
        let mut effects = Vec::new();
        match done {
            Done::Attached(subject) => self.interests.attached(&subject, now(), &mut effects),
            Done::Detached(subject) => {
                self.topics.remove(&topic(&subject));
                self.interests.detached(&subject, &mut effects);
            }
            Done::Other => {}
        }
        self.perform(effects).await;
    }

    async fn perform(&mut self, effects: Vec<InterestEffect>) {
        for effect in effects {
            match effect {
                InterestEffect::Attach(subject) => {
                    let topic = topic(&subject);
                    self.topics.insert(topic.clone(), subject.clone());
                    let subscription = Arc::clone(&self.subscription);
                    let attach = async move {
                        while subscription.attach(vec![topic.clone()]).await.is_err() {
                            sleep(RETRY).await;
                        }
                        Done::Attached(subject)
                    };
                    self.in_flight.push(attach.boxed());
                }
                InterestEffect::Detach(subject) => {
                    let detach = self.subscription.detach(vec![topic(&subject)]);
                    // If it was not taken, what still arrives is dropped.
                    self.in_flight.push(detach.map(|_| Done::Detached(subject)).boxed());
                }
                InterestEffect::SignIn(key) => self.link.sign_in(key),
                InterestEffect::SignOut(key, grace) => {
                    // A node that leaves cannot keep a longer one.
                    let grace = if self.draining { self.handover_grace } else { grace };
                    self.link.sign_out(&key, grace);
                }
                InterestEffect::Watch { worker, user } => {
                    if let Some(online) = self.link.watch(user.clone()) {
                        self.tell(worker, ToWorker::Levels(vec![(user, online)])).await;
                    }
                }
                InterestEffect::Unwatch(user) => self.link.unwatch(&user),
                InterestEffect::Confirm { worker, subject, ticket } => {
                    self.tell(worker, ToWorker::Confirmed(subject, ticket)).await;
                }
            }
        }
    }

    /// Waits while the worker's queue is full. A worker never waits for the node, so this ends.
    async fn tell(&mut self, worker: usize, message: ToWorker) {
        if self.workers[worker].send(message).await.is_err() {
            debug!(worker, "the worker has ended");
        }
    }

    async fn tell_all(&mut self, message: impl Fn() -> ToWorker) {
        for worker in 0..self.workers.len() {
            self.tell(worker, message()).await;
        }
    }
}

fn topic(subject: &Subject) -> Topic {
    match subject {
        Subject::User(key) => Topic::user(key),
        Subject::Channel(app, channel) => Topic::channel(app, channel),
    }
}

fn answer<T>(answers: &mut Vec<oneshot::Receiver<T>>) -> oneshot::Sender<T> {
    let (sender, receiver) = oneshot::channel();
    answers.push(receiver);
    sender
}

fn except(event: &v1::Event) -> Option<SocketId> {
    event.except_socket_id.parse().ok()
}

fn connection(connection: SignedIn) -> v1::Connection {
    let since = SystemTime::now().checked_sub(connection.since.elapsed()).unwrap_or(UNIX_EPOCH);
    let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
    v1::Connection {
        socket_id: connection.socket.to_string(),
        client: connection.client.to_string(),
        signed_in_at_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        address: connection.address.to_string(),
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
