//! Watching users without having any: for streams of who is online.

use crate::{Heard, Link};
use broker::{Broker, Unavailable};
use hashbrown::{HashMap, HashSet};
use ids::{NodeId, Shards, UserKey};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    select,
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What has come for a watch and was not read: 256 batches, each at most the users it watches.
const QUEUE: usize = 256;

/// Watches that wait to be taken up.
const COMMANDS: usize = 64;

/// How long the first answer waits for levels that are not known yet.
const SNAPSHOT_WAIT: Duration = Duration::from_millis(500);

/// How often ended watches are looked for.
const SWEEP: Duration = Duration::from_secs(1);

type Levels = Vec<(UserKey, bool)>;

/// Watches users for whoever asks. Clones share one node.
#[derive(Clone)]
pub struct Observer {
    commands: mpsc::Sender<Command>,
}

struct Command {
    users: Vec<UserKey>,
    levels: mpsc::Sender<Levels>,
    too_slow: Arc<AtomicBool>,
}

/// The levels of some users, from now on. Dropping it ends it.
pub struct Watch {
    wanted: usize,
    /// What is known until the first answer is given.
    first: Option<BTreeMap<UserKey, bool>>,
    deadline: Instant,
    levels: mpsc::Receiver<Levels>,
    too_slow: Arc<AtomicBool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnded {
    /// Too much came that was not read. Watch again, which starts from the present.
    #[error("the watch was read too slowly")]
    TooSlow,
    #[error("the process is shutting down")]
    ShuttingDown,
}

impl Observer {
    /// Starts a node without users.
    ///
    /// # Errors
    /// `Unavailable` if the broker did not confirm the node's attachments in time.
    pub async fn start(
        id: NodeId,
        shards: Shards,
        broker: Arc<dyn Broker>,
        tasks: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Result<Observer, Unavailable> {
        let link = Link::start(id, shards, broker).await?;
        let (commands, taken) = mpsc::channel(COMMANDS);
        tasks.spawn(async move {
            let observing = Observing { link, watched: HashMap::new(), watchers: HashMap::new(), next: 0 };
            shutdown.run_until_cancelled(observing.run(taken)).await;
        });
        Ok(Observer { commands })
    }

    /// Watches these users; a user named twice counts once.
    pub async fn watch(&self, users: Vec<UserKey>) -> Watch {
        let users: Vec<_> = users.into_iter().collect::<HashSet<_>>().into_iter().collect();
        let (sender, levels) = mpsc::channel(QUEUE);
        let too_slow = Arc::new(AtomicBool::new(false));
        let wanted = users.len();
        let command = Command { users, levels: sender, too_slow: Arc::clone(&too_slow) };
        // If the observer has ended, so has the watch.
        drop(self.commands.send(command).await);
        Watch {
            wanted,
            first: Some(BTreeMap::new()),
            deadline: Instant::now() + SNAPSHOT_WAIT,
            levels,
            too_slow,
        }
    }
}

impl Watch {
    /// First what every user is, as far as that is known within half a second (perhaps nothing); then, each time,
    /// what became known or changed. Cancel-safe.
    ///
    /// # Errors
    /// See [`WatchEnded`].
    pub async fn next(&mut self) -> Result<Levels, WatchEnded> {
        while let Some(first) = &mut self.first {
            if first.len() < self.wanted {
                match timeout_at(self.deadline, self.levels.recv()).await {
                    Ok(Some(levels)) => {
                        first.extend(levels);
                        continue;
                    }
                    Ok(None) => return Err(self.ended()),
                    Err(_) => {}
                }
            }
            return Ok(self.first.take().into_iter().flatten().collect());
        }
        self.levels.recv().await.ok_or_else(|| self.ended())
    }

    fn ended(&self) -> WatchEnded {
        if self.too_slow.load(Ordering::Relaxed) { WatchEnded::TooSlow } else { WatchEnded::ShuttingDown }
    }
}

struct Observing {
    link: Link,
    watched: HashMap<UserKey, Vec<u64>>,
    watchers: HashMap<u64, Command>,
    next: u64,
}

impl Observing {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            select! {
                Some(command) = commands.recv() => self.begin(command),
                heard = self.link.next() => {
                    if heard.contains(&Heard::Closed) {
                        return;
                    }
                    self.tell(heard);
                }
                _ = sweep.tick() => self.sweep(),
            }
        }
    }

    fn begin(&mut self, command: Command) {
        let id = self.next;
        self.next += 1;
        let mut known = Levels::new();
        for user in &command.users {
            let watchers = self.watched.entry(user.clone()).or_default();
            watchers.push(id);
            known.extend(self.link.watch(user.clone()).map(|online| (user.clone(), online)));
        }
        // The queue is empty; if the watch has ended already, the next sweep finds it.
        if !known.is_empty() {
            drop(command.levels.try_send(known));
        }
        self.watchers.insert(id, command);
    }

    fn tell(&mut self, heard: Vec<Heard>) {
        let mut news: BTreeMap<u64, Levels> = BTreeMap::new();
        for heard in heard {
            if let Heard::Level(user, online) = heard {
                for id in self.watched.get(&user).into_iter().flatten() {
                    news.entry(*id).or_default().push((user.clone(), online));
                }
            }
        }
        for (id, levels) in news {
            let Some(watcher) = self.watchers.get(&id) else { continue };
            if let Err(error) = watcher.levels.try_send(levels) {
                let full = matches!(error, mpsc::error::TrySendError::Full(_));
                watcher.too_slow.store(full, Ordering::Relaxed);
                self.end(id);
            }
        }
    }

    fn sweep(&mut self) {
        let ended = self.watchers.iter().filter(|(_, watcher)| watcher.levels.is_closed());
        let ended: Vec<_> = ended.map(|(id, _)| *id).collect();
        ended.into_iter().for_each(|id| self.end(id));
    }

    fn end(&mut self, id: u64) {
        let Some(command) = self.watchers.remove(&id) else { return };
        for user in command.users {
            let Some(watchers) = self.watched.get_mut(&user) else { continue };
            watchers.retain(|watcher| *watcher != id);
            if watchers.is_empty() {
                self.watched.remove(&user);
                self.link.unwatch(&user);
            }
        }
    }
}
