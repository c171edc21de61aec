//! One process's part in presence.

use broker::{BoxFuture, Broker, Incoming, Said, Subscription, Topic, Unavailable};
use bytes::Bytes;
use contracts::{cluster::v1, encode};
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use ids::{NodeId, ProcessId, ShardId, Shards, UserKey};
use prost::Message as _;
use roster::{Message, Node, NodeEffect, ReplicaBeat, Status};
use std::{sync::Arc, time::Duration};
use tokio::{
    select,
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, sleep_until, timeout},
};
use tracing::debug;

/// How often everybody beats.
const BEAT: Duration = Duration::from_secs(2);

/// How long to wait before a report that was not taken is repeated.
const RETRY: Duration = Duration::from_millis(200);

/// How long the broker may take for the last reports of a node that leaves.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The most messages that are told as one.
const TOGETHER: usize = 256;

/// What a process learns from the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The presence of a user here was taken.
    Online(UserKey),
    /// The level of a watched user became known, or changed.
    Level(UserKey, bool),
    OwnerSilent(ShardId),
    OwnerHeard(ShardId),
    /// A control asks whether a termination has been carried out.
    Confirm {
        termination: u64,
        asker: ProcessId,
    },
    /// The node's own beat came back: from here on users may sign in.
    OwnBeat,
    /// A shard's reports or statuses had a gap and are said again.
    Repair(ShardId),
    /// Messages may be missing from here on, until `Resumed`.
    Interrupted,
    Resumed,
    /// The broker has closed: nothing more will be heard.
    Closed,
}

/// See the module. Owned by one task, which awaits [`Link::next`] for as long as it lives.
pub struct Link {
    core: Node,
    broker: Arc<dyn Broker>,
    incoming: Incoming,
    /// Kept so that the attachments last.
    _subscription: Arc<dyn Subscription>,
    in_flight: FuturesUnordered<BoxFuture<'static, Done>>,
    ticks: Interval,
    heard: Vec<Heard>,
    effects: Vec<NodeEffect>,
}

enum Done {
    Taken(ShardId),
    Other,
}

impl Link {
    /// Attaches the node's topics and beats for the first time.
    ///
    /// # Errors
    /// `Unavailable` if the broker did not confirm the attachments in time.
    pub async fn start(id: NodeId, shards: Shards, broker: Arc<dyn Broker>) -> Result<Link, Unavailable> {
        let (subscription, incoming) = broker.subscribe();
        subscription.attach(vec![Topic::node(id), Topic::all()]).await?;
        let mut ticks = interval_at(Instant::now() + BEAT, BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut link = Link {
            core: Node::new(id, shards),
            broker,
            incoming,
            _subscription: subscription,
            in_flight: FuturesUnordered::new(),
            ticks,
            heard: Vec::new(),
            effects: Vec::new(),
        };
        link.core.beat(&mut link.effects);
        link.perform();
        Ok(link)
    }

    #[must_use]
    pub fn id(&self) -> NodeId {
        self.core.id()
    }

    /// A user has a first connection here; [`Heard::Online`] follows.
    pub fn sign_in(&mut self, key: UserKey) {
        self.core.sign_in(key, now(), &mut self.effects);
        self.perform();
    }

    /// A user's last connection here has closed.
    pub fn sign_out(&mut self, key: &UserKey, grace: Duration) {
        self.core.sign_out(key, grace, now(), &mut self.effects);
        self.perform();
    }

    /// The user was terminated: no grace keeps them online.
    pub fn end_grace(&mut self, key: &UserKey) {
        self.core.end_grace(key, now(), &mut self.effects);
        self.perform();
    }

    /// Watches a user; what is not known yet follows as [`Heard::Level`].
    pub fn watch(&mut self, key: UserKey) -> Option<bool> {
        let known = self.core.watch(key, now(), &mut self.effects);
        self.perform();
        known
    }

    pub fn unwatch(&mut self, key: &UserKey) {
        self.core.unwatch(key, now());
    }

    /// What was heard since the last call, at least one thing. Moves everything along meanwhile. Cancel-safe.
    pub async fn next(&mut self) -> Vec<Heard> {
        while self.heard.is_empty() {
            self.step().await;
        }
        std::mem::take(&mut self.heard)
    }

    /// Waits for one thing to happen. Cancel-safe.
    async fn step(&mut self) {
        let expiry = self.core.next_expiry().map(Instant::from_std);
        let expired = async move {
            match expiry {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        select! {
            said = self.incoming.next() => {
                self.said(said);
                // What has come together is told together, up to a point: the rest of us must run, too.
                for _ in 0..TOGETHER {
                    let Some(said) = self.incoming.try_next() else { break };
                    self.said(Some(said));
                }
            }
            Some(done) = self.in_flight.next() => {
                if let Done::Taken(shard) = done {
                    self.core.taken(shard, now(), &mut self.effects);
                }
            }
            _ = self.ticks.tick() => self.core.tick(now(), &mut self.effects),
            () = expired => self.core.expire(now(), &mut self.effects),
        }
        self.perform();
    }

    /// Waits until everything is said and nobody is online here any more, not by a grace either, of which none lasts
    /// longer than `grace` from now; then says farewell.
    ///
    /// # Errors
    /// `Unavailable` if the broker did not take everything in time; the node is then found lost instead.
    pub async fn farewell(mut self, grace: Duration) -> Result<(), Unavailable> {
        self.core.limit_graces(now() + grace);
        let said = async {
            while !self.core.is_empty() {
                self.step().await;
                if self.heard.contains(&Heard::Closed) {
                    return Err(Unavailable);
                }
                self.heard.clear();
            }
            Ok(())
        };
        timeout(grace + LAST_WORDS, said).await.map_err(|_| Unavailable)??;
        let message = encode(&v1::ToShard::from(&Message::Farewell(self.core.id())));
        for shard in self.core.shards().iter() {
            self.broker.publish(Topic::shard(shard), message.clone()).await?;
        }
        Ok(())
    }

    fn said(&mut self, said: Option<Said>) {
        match said {
            Some(Said::Message { topic, message }) if topic == Topic::all() => self.beat(&message),
            Some(Said::Message { message, .. }) => self.told(&message),
            Some(Said::Interrupted) => self.heard.push(Heard::Interrupted),
            Some(Said::Resumed) => {
                self.core.resumed(now(), &mut self.effects);
                self.heard.push(Heard::Resumed);
            }
            None => self.heard.push(Heard::Closed),
        }
    }

    fn beat(&mut self, message: &Bytes) {
        use v1::beat::Said;
        match v1::Beat::decode(&message[..]).map(|beat| beat.said) {
            Ok(Some(Said::Node(beat))) => {
                let before = self.core.heard_own_beat();
                if let Ok(beat) = beat.try_into() {
                    self.core.node_beat(&beat);
                }
                if self.core.heard_own_beat() && !before {
                    self.heard.push(Heard::OwnBeat);
                }
            }
            Ok(Some(Said::Replica(beat))) => match ReplicaBeat::try_from(beat) {
                Ok(beat) => self.core.replica_beat(&beat, now(), &mut self.effects),
                Err(error) => debug!(%error, "a replica's beat was not understood"),
            },
            Ok(None) | Err(_) => debug!("a beat was not understood"),
        }
    }

    fn told(&mut self, message: &Bytes) {
        use v1::to_node::Said;
        match v1::ToNode::decode(&message[..]).map(|message| message.said) {
            Ok(Some(Said::Status(status))) => match Status::try_from(status) {
                Ok(status) => self.core.status(status, now(), &mut self.effects),
                Err(error) => debug!(%error, "a status was not understood"),
            },
            Ok(Some(Said::Digest(digest))) => match digest.try_into() {
                Ok(digest) => self.core.status_digest(digest, now(), &mut self.effects),
                Err(error) => debug!(%error, "a digest was not understood"),
            },
            Ok(Some(Said::Confirm(question))) => {
                let asker = ProcessId::from_random(question.asker);
                self.heard.push(Heard::Confirm { termination: question.termination, asker });
            }
            Ok(None) | Err(_) => debug!("a message to this node was not understood"),
        }
    }

    fn perform(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                NodeEffect::Report(shard, report) => {
                    let message = encode(&v1::ToShard::from(&Message::Report(report)));
                    self.in_flight
                        .push(publish_until_taken(Arc::clone(&self.broker), shard, message).boxed());
                }
                NodeEffect::Digest(shard, digest) => {
                    let message = encode(&v1::ToShard::from(&Message::Digest(digest)));
                    self.publish(Topic::shard(shard), message);
                }
                NodeEffect::Beat(beat) => self.publish(Topic::all(), encode(&v1::Beat::from(&beat))),
                NodeEffect::Online(key) => self.heard.push(Heard::Online(key)),
                NodeEffect::Level(key, online) => self.heard.push(Heard::Level(key, online)),
                NodeEffect::OwnerSilent(shard) => self.heard.push(Heard::OwnerSilent(shard)),
                NodeEffect::OwnerHeard(shard) => self.heard.push(Heard::OwnerHeard(shard)),
                NodeEffect::Repair(shard) => self.heard.push(Heard::Repair(shard)),
            }
        }
    }

    /// Publishes what may be lost.
    fn publish(&mut self, topic: Topic, message: Bytes) {
        let publish = self.broker.publish(topic, message);
        self.in_flight.push(publish.map(|_| Done::Other).boxed());
    }
}

async fn publish_until_taken(broker: Arc<dyn Broker>, shard: ShardId, message: Bytes) -> Done {
    while broker.publish(Topic::shard(shard), message.clone()).await.is_err() {
        sleep(RETRY).await;
    }
    Done::Taken(shard)
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
