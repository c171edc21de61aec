//! The verbs: what a backend can have done, whichever API it calls. One file each; gRPC and HTTP only translate.

mod ask;
mod online;
mod publish;
mod reach;
mod terminate;
mod users;

pub use publish::Event;
pub use reach::Reached;
pub use terminate::{InvalidReason, Reason, TerminateOptions};
pub use users::UserView;

use crate::{
    metrics::{Metrics, Outcome, Verb},
    replies::Replies,
};
use broker::{Broker, Topic};
use bytes::Bytes;
use ids::{NodeId, ProcessId, ShardId, Shards, UserId, UserKey};
use protocol::App;
use std::{fmt, sync::Arc, time::Duration};
use tokio_util::sync::DropGuard;

/// What a backend can have done. Clones share everything.
///
/// Every verb returns within a few seconds. Dropping its future abandons the answer, not the effect: what the broker
/// took is carried out.
#[derive(Clone)]
pub struct Verbs(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) process: ProcessId,
    pub(crate) shards: Shards,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) replies: Replies,
    pub(crate) observer: node::Observer,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) terminate_deadline: Duration,
    /// The tasks of `replies` and `observer` end with the last clone of the verbs.
    pub(crate) _tasks: DropGuard,
}

/// Why a verb has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerbError {
    /// The effect, or the answer, cannot be confirmed now. Repeat the call.
    #[error("{missing}; repeat the call")]
    Unavailable { missing: Missing },
}

/// What was waited for in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// The broker did not take a message in time. It may arrive all the same.
    Broker,
    /// No presence process answered for these shards.
    Owners(Vec<ShardId>),
    /// The presence processes of these shards have not yet heard every node, so cannot say who is offline.
    Reports(Vec<ShardId>),
    /// This many of the nodes asked did not answer.
    Nodes(usize),
}

impl Verbs {
    pub(crate) fn new(inner: Inner) -> Verbs {
        Verbs(Arc::new(inner))
    }

    /// Follows these users: first what each is, then each change. A watch that is read too slowly is ended.
    pub async fn watch(&self, app: &Arc<App>, users: Vec<UserId>) -> node::Watch {
        self.0.metrics.request(Verb::Watch, Outcome::Ok);
        self.0.observer.watch(users.iter().map(|user| key(app, user)).collect()).await
    }

    async fn publish_message(&self, topic: Topic, message: Bytes) -> Result<usize, VerbError> {
        Ok(self.0.broker.publish(topic, message).await?)
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }
}

fn key(app: &App, user: &UserId) -> UserKey {
    UserKey { app: app.id.clone(), user: user.clone() }
}

/// The connections that each node named, in the order of the nodes.
pub(crate) type NodeCounts = Vec<(NodeId, u32)>;

impl From<broker::Unavailable> for VerbError {
    fn from(broker::Unavailable: broker::Unavailable) -> VerbError {
        VerbError::Unavailable { missing: Missing::Broker }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missing::Broker => f.write_str("the broker did not answer in time"),
            Missing::Owners(shards) => write!(f, "no presence process answered for shards {shards:?}"),
            Missing::Reports(shards) => write!(f, "presence has not heard all nodes for shards {shards:?}"),
            Missing::Nodes(silent) => write!(f, "{silent} of the nodes did not answer in time"),
        }
    }
}
