//! The task that owns the core.

use crate::{metrics::Metrics, question};
use broker::{BoxFuture, Broker, Incoming, LeaseError, Outbound, Said, Subscription, Topic, Unavailable};
use bytes::Bytes;
use contracts::{cluster::v1, encode};
use futures_util::{FutureExt, StreamExt, future::join_all, stream::FuturesUnordered};
use ids::{Epoch, ProcessId, ShardId, Shards};
use prost::Message as _;
use roster::{Message, Replica, ReplicaEffect, Report, Timing};
use std::{collections::HashMap, sync::Arc, time::Duration};
use telemetry::{Part, Registry};
use tokio::{
    select,
    time::{Instant, Interval, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// What the presence service needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub shards: Shards,
    /// How many of its own beats a claim listens for before it may say offline: 4 in a cluster, 1 in one process.
    pub listen_beats: u32,
}

const BEAT: Duration = Duration::from_secs(2);

/// A lease outlives two renewals that fail.
const LEASE: Duration = Duration::from_secs(5);

/// Own beats without a sign of a node after which it is lost: 6 to 8 s.
const LOST_AFTER: u32 = 4;

/// 10 000 statuses that the broker has not taken: what they say is out of date, so the owner starts over.
const MAX_OUTBOUND: usize = 10_000;

/// See the crate.
pub struct Presence {
    id: ProcessId,
    core: Replica,
    shards: Shards,
    topics: HashMap<Topic, ShardId>,
    broker: Arc<dyn Broker>,
    subscription: Arc<dyn Subscription>,
    incoming: Incoming,
    outbound: Outbound,
    leases: FuturesUnordered<BoxFuture<'static, Lease>>,
    claiming: bool,
    ticks: Interval,
    ready: Part,
    metrics: Metrics,
    effects: Vec<ReplicaEffect>,
}

enum Lease {
    Claimed(Vec<(ShardId, Epoch)>),
    Lost(ShardId, Epoch),
    Unchanged,
}

impl Presence {
    /// Attaches the beats. Nothing is claimed before [`Presence::run`].
    ///
    /// # Errors
    /// `Unavailable` if the broker did not confirm the attachment in time.
    pub async fn start(
        settings: Settings,
        broker: Arc<dyn Broker>,
        ready: Part,
        registry: &mut Registry,
    ) -> Result<Presence, Unavailable> {
        let (subscription, incoming) = broker.subscribe();
        subscription.attach(vec![Topic::all()]).await?;
        let mut ticks = interval(BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let id = ProcessId::from_random(rand::random());
        let timing = Timing { listen_beats: settings.listen_beats, lost_after: LOST_AFTER };
        Ok(Presence {
            id,
            core: Replica::new(id, timing),
            shards: settings.shards,
            topics: settings.shards.iter().map(|shard| (Topic::shard(shard), shard)).collect(),
            outbound: Outbound::new(Arc::clone(&broker)),
            broker,
            subscription,
            incoming,
            leases: FuturesUnordered::new(),
            claiming: false,
            ticks,
            ready,
            metrics: Metrics::register(registry),
            effects: Vec::new(),
        })
    }

    /// Runs until `shutdown`, then gives its leases up.
    pub async fn run(mut self, shutdown: CancellationToken) {
        info!(replica = %self.id, shards = self.shards.count(), "presence started");
        loop {
            select! {
                () = shutdown.cancelled() => break,
                said = self.incoming.next() => match said {
                    Some(said) => self.said(said),
                    None => break,
                },
                result = self.outbound.flush(), if !self.outbound.is_empty() => {
                    if result.is_err() || self.outbound.len() > MAX_OUTBOUND {
                        warn!("the broker does not take statuses; every shard is claimed anew");
                        self.outbound = Outbound::new(Arc::clone(&self.broker));
                        self.core.interrupted(&mut self.effects);
                    }
                }
                Some(lease) = self.leases.next() => self.lease(lease),
                _ = self.ticks.tick() => self.tick(),
            }
            self.perform();
        }
        self.ready.not_ready();
        let owned = self.shards.iter().filter_map(|shard| self.core.owns(shard).map(|epoch| (shard, epoch)));
        let releases = owned.map(|(shard, epoch)| self.broker.release_lease(shard, epoch));
        drop(join_all(releases).await); // what is not released lapses
    }

    fn said(&mut self, said: Said) {
        match said {
            Said::Message { topic, message } => match self.topics.get(&topic) {
                Some(shard) => self.log(*shard, &message),
                None => self.beat(&message),
            },
            Said::Interrupted => {
                self.core.beats_interrupted();
                self.core.interrupted(&mut self.effects);
            }
            Said::Resumed => {}
        }
    }

    fn beat(&mut self, message: &Bytes) {
        use v1::beat::Said;
        let understood = match v1::Beat::decode(&message[..]).map(|beat| beat.said) {
            Ok(Some(Said::Node(beat))) => {
                beat.try_into().map(|beat| self.core.node_beat(&beat, now(), &mut self.effects))
            }
            Ok(Some(Said::Replica(beat))) => {
                beat.try_into().map(|beat| self.core.replica_beat(&beat, now(), &mut self.effects))
            }
            Ok(None) | Err(_) => return debug!("a beat was not understood"),
        };
        if let Err(error) = understood {
            debug!(%error, "a beat was not understood");
        }
    }

    fn log(&mut self, shard: ShardId, message: &Bytes) {
        use v1::to_shard::Said;
        let message = match v1::ToShard::decode(&message[..]).map(|message| message.said) {
            Ok(Some(Said::Report(report))) => Report::try_from(report).map(Message::Report),
            Ok(Some(Said::Digest(digest))) => Ok(Message::Digest(digest.into())),
            Ok(Some(Said::Farewell(farewell))) => {
                Ok(Message::Farewell(ids::NodeId::from_random(farewell.node)))
            }
            Ok(Some(Said::Question(question))) => {
                if let Some((asker, reply)) = question::answer(&self.core, shard, question) {
                    self.outbound.push(Topic::replies(asker), encode(&reply));
                }
                return;
            }
            Ok(None) | Err(_) => return debug!(%shard, "a message in the log was not understood"),
        };
        match message {
            Ok(message) => self.core.log(shard, message, now(), &mut self.effects),
            Err(error) => debug!(%shard, %error, "a message in the log was not understood"),
        }
    }

    fn tick(&mut self) {
        self.core.tick(now(), &mut self.effects);
        let (mut unowned, mut owned) = (Vec::new(), Vec::new());
        for shard in self.shards.iter() {
            match self.core.owns(shard) {
                Some(epoch) => owned.push((shard, epoch)),
                None => unowned.push((shard, self.core.floor(shard))),
            }
        }
        for (shard, epoch) in owned {
            let renewal = self.broker.renew_lease(shard, epoch, LEASE);
            let outcome = renewal.map(move |result| match result {
                Err(LeaseError::Held) => Lease::Lost(shard, epoch),
                // The epoch decides, not the clock: whoever takes the lease meanwhile will be heard of.
                Ok(()) | Err(LeaseError::Unavailable(_)) => Lease::Unchanged,
            });
            self.leases.push(outcome.boxed());
        }
        if !unowned.is_empty() && !self.claiming {
            self.claiming = true;
            let claims = claims(Arc::clone(&self.broker), Arc::clone(&self.subscription), self.id, unowned);
            self.leases.push(claims.boxed());
        }
        let (online, watched, _) = self.core.sizes();
        self.metrics.users_online.set(online as i64);
        self.metrics.users_watched.set(watched as i64);
    }

    fn lease(&mut self, lease: Lease) {
        match lease {
            Lease::Claimed(shards) => {
                self.claiming = false;
                if !shards.is_empty() {
                    info!(shards = shards.len(), "shards claimed");
                    self.metrics.lease_changes.inc_by(shards.len() as u64);
                    shards
                        .into_iter()
                        .for_each(|(shard, epoch)| self.core.claimed(shard, epoch, &mut self.effects));
                    self.core.claim(now(), &mut self.effects);
                }
                self.ready.ready();
            }
            Lease::Lost(shard, epoch) if self.core.owns(shard) == Some(epoch) => {
                self.core.step_down(shard, &mut self.effects);
            }
            Lease::Lost(..) | Lease::Unchanged => {}
        }
    }

    fn perform(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                ReplicaEffect::Status(node, status) => {
                    self.metrics.statuses.inc();
                    let said = Some(v1::to_node::Said::Status((&status).into()));
                    self.outbound.push(Topic::node(node), encode(&v1::ToNode { said }));
                }
                ReplicaEffect::Digest(node, digest) => {
                    let said = Some(v1::to_node::Said::Digest((&digest).into()));
                    self.outbound.push(Topic::node(node), encode(&v1::ToNode { said }));
                }
                ReplicaEffect::Beat(beat) => self.outbound.push(Topic::all(), encode(&v1::Beat::from(&beat))),
                ReplicaEffect::SteppedDown(shard, epoch) => {
                    info!(%shard, %epoch, "shard given up");
                    self.metrics.lease_changes.inc();
                    let release = self.broker.release_lease(shard, epoch);
                    self.leases.push(release.map(|_| Lease::Unchanged).boxed());
                }
                ReplicaEffect::NodeLost(node) => {
                    warn!(%node, "node lost");
                    self.metrics.nodes_lost.inc();
                }
                ReplicaEffect::Repair(shard) => {
                    warn!(%shard, "a node's reports had a gap; it is asked for all of them");
                    self.metrics.repairs.inc();
                }
            }
        }
        self.metrics.shards_owned.set(self.core.words().0 as i64);
    }
}

/// Attaches each shard's log first, then takes its lease: an owner has read everything since its claim. Topics stay
/// attached, so that a later claim is ready at once.
async fn claims(
    broker: Arc<dyn Broker>,
    subscription: Arc<dyn Subscription>,
    holder: ProcessId,
    unowned: Vec<(ShardId, Epoch)>,
) -> Lease {
    let topics = unowned.iter().map(|(shard, _)| Topic::shard(*shard)).collect();
    if subscription.attach(topics).await.is_err() {
        return Lease::Claimed(Vec::new());
    }
    let claims = unowned.into_iter().map(|(shard, floor)| {
        let lease = broker.take_lease(shard, holder, floor, LEASE);
        async move { lease.await.ok().map(|epoch| (shard, epoch)) }
    });
    Lease::Claimed(join_all(claims).await.into_iter().flatten().collect())
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
