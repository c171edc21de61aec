//! The broker of services that share a process. It forgets nothing and never interrupts; when a subscriber lags,
//! publishing to it waits.

use crate::{
    Appended, BoxFuture, Broker, Entry, Incoming, JournalError, LeaseError, Position, Said, Subscription,
    Topic, Unavailable,
};
use bytes::Bytes;
use futures_util::FutureExt;
use hashbrown::HashMap;
use ids::{Epoch, NodeId, ProcessId, ShardId};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};

/// 1 024 messages of 10 KiB, the largest event: 10 MiB for one service that lags.
const QUEUE: usize = 1_024;

/// How long a publish waits for a subscriber that lags.
const PATIENCE: Duration = Duration::from_secs(5);

/// The journal keeps what the fence of a node keeps.
const JOURNAL: usize = 65_536;

/// See the module. Clones share one broker.
#[derive(Clone, Default)]
pub struct InProcess(Arc<Shared>);

#[derive(Default)]
struct Shared {
    topics: Mutex<Topics>,
    leases: Mutex<HashMap<ShardId, Lease>>,
    journal: Mutex<Journal>,
    /// The number of entries ever appended.
    appended: watch::Sender<u64>,
}

#[derive(Default)]
struct Topics {
    next_subscriber: u64,
    subscribers: HashMap<Topic, Vec<Subscriber>>,
}

#[derive(Clone)]
struct Subscriber {
    id: u64,
    queue: mpsc::Sender<Said>,
}

struct Lease {
    epoch: Epoch,
    until: Instant,
}

#[derive(Default)]
struct Journal {
    registered: BTreeSet<NodeId>,
    first: u64,
    entries: VecDeque<Bytes>,
}

/// A panic while one of these is held leaves nothing half done that matters, so poison is no reason to stop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl InProcess {
    #[must_use]
    pub fn new() -> InProcess {
        InProcess::default()
    }
}

impl Shared {
    /// Hands the message to all subscribers of the topic at once, or to none: then it names one whose queue is full.
    /// The lock is what gives a topic one order.
    fn try_publish(&self, topic: &Topic, message: &Bytes) -> Result<usize, mpsc::Sender<Said>> {
        let topics = lock(&self.topics);
        let Some(subscribers) = topics.subscribers.get(topic) else { return Ok(0) };
        let mut permits = Vec::with_capacity(subscribers.len());
        for subscriber in subscribers {
            match subscriber.queue.try_reserve() {
                Ok(permit) => permits.push(permit),
                Err(mpsc::error::TrySendError::Full(())) => return Err(subscriber.queue.clone()),
                Err(mpsc::error::TrySendError::Closed(())) => {}
            }
        }
        let reached = permits.len();
        for permit in permits {
            permit.send(Said::Message { topic: topic.clone(), message: message.clone() });
        }
        Ok(reached)
    }

    async fn publish(&self, topic: Topic, message: Bytes) -> usize {
        loop {
            match self.try_publish(&topic, &message) {
                Ok(reached) => return reached,
                // Wait for room, give it back, and try to have room everywhere at once.
                Err(full) => drop(full.reserve().await),
            }
        }
    }
}

impl Broker for InProcess {
    fn publish(&self, topic: Topic, message: Bytes) -> BoxFuture<'static, Result<usize, Unavailable>> {
        let shared = Arc::clone(&self.0);
        async move {
            match shared.try_publish(&topic, &message) {
                Ok(reached) => Ok(reached),
                Err(_) => timeout(PATIENCE, shared.publish(topic, message)).await.map_err(|_| Unavailable),
            }
        }
        .boxed()
    }

    fn subscribe(&self) -> (Arc<dyn Subscription>, Incoming) {
        let (queue, incoming) = mpsc::channel(QUEUE);
        let mut topics = lock(&self.0.topics);
        topics.next_subscriber += 1;
        let subscriber = Subscriber { id: topics.next_subscriber, queue };
        (Arc::new(Attachments { shared: Arc::downgrade(&self.0), subscriber }), Incoming(incoming))
    }

    fn take_lease(
        &self,
        shard: ShardId,
        holder: ProcessId,
        floor: Epoch,
        ttl: Duration,
    ) -> BoxFuture<'static, Result<Epoch, LeaseError>> {
        let shared = Arc::clone(&self.0);
        async move {
            let (mut leases, now) = (lock(&shared.leases), Instant::now());
            let given = match leases.get(&shard) {
                Some(lease) if lease.until > now => return Err(LeaseError::Held),
                Some(lease) => lease.epoch,
                None => Epoch::NONE,
            };
            let epoch = Epoch::above(floor.max(given), holder);
            leases.insert(shard, Lease { epoch, until: now + ttl });
            Ok(epoch)
        }
        .boxed()
    }

    fn renew_lease(
        &self,
        shard: ShardId,
        epoch: Epoch,
        ttl: Duration,
    ) -> BoxFuture<'static, Result<(), LeaseError>> {
        let shared = Arc::clone(&self.0);
        async move {
            let (mut leases, now) = (lock(&shared.leases), Instant::now());
            match leases.get_mut(&shard) {
                Some(lease) if lease.epoch == epoch && lease.until > now => {
                    lease.until = now + ttl;
                    Ok(())
                }
                _ => Err(LeaseError::Held),
            }
        }
        .boxed()
    }

    fn release_lease(&self, shard: ShardId, epoch: Epoch) -> BoxFuture<'static, Result<(), Unavailable>> {
        let shared = Arc::clone(&self.0);
        async move {
            // The epoch stays known, so that the next one is above it.
            if let Some(lease) = lock(&shared.leases).get_mut(&shard).filter(|lease| lease.epoch == epoch) {
                lease.until = Instant::now();
            }
            Ok(())
        }
        .boxed()
    }

    fn register(&self, node: NodeId) -> BoxFuture<'static, Result<Position, Unavailable>> {
        let shared = Arc::clone(&self.0);
        async move {
            let mut journal = lock(&shared.journal);
            journal.registered.insert(node);
            Ok(Position { memory: 0, number: journal.end() })
        }
        .boxed()
    }

    fn leave(&self, node: NodeId) -> BoxFuture<'static, Result<(), Unavailable>> {
        let shared = Arc::clone(&self.0);
        async move {
            lock(&shared.journal).registered.remove(&node);
            Ok(())
        }
        .boxed()
    }

    fn append(&self, entry: Bytes) -> BoxFuture<'static, Result<Appended, Unavailable>> {
        let shared = Arc::clone(&self.0);
        async move {
            let mut journal = lock(&shared.journal);
            if journal.entries.len() == JOURNAL {
                journal.entries.pop_front();
                journal.first += 1;
            }
            journal.entries.push_back(entry);
            let position = Position { memory: 0, number: journal.end() };
            shared.appended.send_replace(position.number);
            Ok(Appended { position, registered: journal.registered.iter().copied().collect() })
        }
        .boxed()
    }

    fn read_journal(&self, after: Position) -> BoxFuture<'static, Result<Vec<Entry>, JournalError>> {
        let shared = Arc::clone(&self.0);
        let mut appended = self.0.appended.subscribe();
        async move {
            let more = appended.wait_for(|end| *end > after.number).await.map(|_| ());
            more.map_err(|_| Unavailable)?;
            lock(&shared.journal).after(after.number).ok_or(JournalError::Trimmed)
        }
        .boxed()
    }
}

impl Journal {
    /// The number of the last entry, counted from 1.
    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn after(&self, number: u64) -> Option<Vec<Entry>> {
        let skip = number.checked_sub(self.first)? as usize;
        let entries = self.entries.iter().zip(self.first + 1..).skip(skip);
        Some(
            entries
                .map(|(entry, number)| Entry {
                    position: Position { memory: 0, number },
                    entry: entry.clone(),
                })
                .collect(),
        )
    }
}

struct Attachments {
    shared: Weak<Shared>,
    subscriber: Subscriber,
}

impl Subscription for Attachments {
    fn attach(&self, topics: Vec<Topic>) -> BoxFuture<'static, Result<(), Unavailable>> {
        let (shared, subscriber) = (self.shared.clone(), self.subscriber.clone());
        async move {
            let shared = shared.upgrade().ok_or(Unavailable)?;
            let mut all = lock(&shared.topics);
            for topic in topics {
                let subscribers = all.subscribers.entry(topic).or_default();
                if !subscribers.iter().any(|known| known.id == subscriber.id) {
                    subscribers.push(subscriber.clone());
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn detach(&self, topics: Vec<Topic>) -> BoxFuture<'static, Result<(), Unavailable>> {
        let (shared, id) = (self.shared.clone(), self.subscriber.id);
        async move {
            let shared = shared.upgrade().ok_or(Unavailable)?;
            let mut all = lock(&shared.topics);
            for topic in topics {
                if let Some(subscribers) = all.subscribers.get_mut(&topic) {
                    subscribers.retain(|known| known.id != id);
                    if subscribers.is_empty() {
                        all.subscribers.remove(&topic);
                    }
                }
            }
            Ok(())
        }
        .boxed()
    }
}

impl Drop for Attachments {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            lock(&shared.topics).subscribers.retain(|_, subscribers| {
                subscribers.retain(|known| known.id != self.subscriber.id);
                !subscribers.is_empty()
            });
        }
    }
}
