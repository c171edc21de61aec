//! What carries messages between services: one small trait, whose promises everything else rests on, and the
//! implementation for services that share a process. `tests/suite.rs` holds every implementation to the same promises.

mod in_process;
mod outbound;
mod topic;

pub use futures_util::future::BoxFuture;
pub use in_process::InProcess;
pub use outbound::Outbound;
pub use topic::Topic;

use bytes::Bytes;
use ids::{Epoch, NodeId, ProcessId, ShardId};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// The broker did not take it in time, so nothing is known of the effect. Repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the broker did not answer in time")]
pub struct Unavailable;

/// The messages of one topic arrive in one order, the same for all who listen.
pub trait Broker: Send + Sync + 'static {
    /// Returns when the broker has taken the message, with how many subscribers it counted: a figure for answers and
    /// tests, no proof that anybody received it.
    ///
    /// Never await this in the task that drains a subscription: the broker may be waiting for that very queue.
    ///
    /// # Errors
    /// `Unavailable` if it was not taken in time. It may arrive all the same.
    fn publish(&self, topic: Topic, message: Bytes) -> BoxFuture<'static, Result<usize, Unavailable>>;

    /// A subscription to nothing yet, and the stream of what it will attach. Dropping the stream ends it.
    fn subscribe(&self) -> (Arc<dyn Subscription>, Incoming);

    /// Takes the lease of a shard, if nobody holds it. The epoch is above `floor` and above every epoch given before.
    ///
    /// # Errors
    /// See [`LeaseError`].
    fn take_lease(
        &self,
        shard: ShardId,
        holder: ProcessId,
        floor: Epoch,
        ttl: Duration,
    ) -> BoxFuture<'static, Result<Epoch, LeaseError>>;

    /// Holds a lease for another `ttl`.
    ///
    /// # Errors
    /// See [`LeaseError`].
    fn renew_lease(
        &self,
        shard: ShardId,
        epoch: Epoch,
        ttl: Duration,
    ) -> BoxFuture<'static, Result<(), LeaseError>>;

    /// Gives a lease up, if this epoch still holds it.
    fn release_lease(&self, shard: ShardId, epoch: Epoch) -> BoxFuture<'static, Result<(), Unavailable>>;

    /// Enters a node into the registry of those that terminations wait for. Answers with the end of the journal.
    ///
    /// # Errors
    /// `Unavailable` if it is not known to be registered.
    fn register(&self, node: NodeId) -> BoxFuture<'static, Result<Position, Unavailable>>;

    /// Takes a node out of the registry.
    fn leave(&self, node: NodeId) -> BoxFuture<'static, Result<(), Unavailable>>;

    /// Appends to the journal; answers with the nodes registered at that moment.
    ///
    /// # Errors
    /// `Unavailable` if it was not taken in time. It may have been appended.
    fn append(&self, entry: Bytes) -> BoxFuture<'static, Result<Appended, Unavailable>>;

    /// The journal's entries after `after`, in order; waits until there is one.
    ///
    /// # Errors
    /// `Unavailable` on a lost link; `Trimmed` if entries after `after` are no longer kept: start over as a new node.
    fn read_journal(&self, after: Position) -> BoxFuture<'static, Result<Vec<Entry>, JournalError>>;
}

/// Which topics one service hears.
pub trait Subscription: Send + Sync {
    /// Returns when every message published from now on will arrive. Attaching what is attached is harmless.
    ///
    /// # Errors
    /// `Unavailable` if that could not be confirmed in time.
    fn attach(&self, topics: Vec<Topic>) -> BoxFuture<'static, Result<(), Unavailable>>;

    /// Returns when nothing published from now on will arrive. What is on its way may still.
    fn detach(&self, topics: Vec<Topic>) -> BoxFuture<'static, Result<(), Unavailable>>;
}

/// What a subscription hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Message {
        topic: Topic,
        message: Bytes,
    },
    /// From here on messages may be missing. Stands in the stream before whatever follows the loss.
    Interrupted,
    /// Everything is attached again: from here on nothing is missing.
    Resumed,
}

/// The stream of a subscription.
pub struct Incoming(mpsc::Receiver<Said>);

impl Incoming {
    /// What came next; `None` when the broker has closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Said> {
        self.0.recv().await
    }

    /// What has arrived already, if anything has.
    pub fn try_next(&mut self) -> Option<Said> {
        self.0.try_recv().ok()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Another process holds it. Try again when its lease may have lapsed.
    #[error("another process holds the lease")]
    Held,
    /// Retry with back-off.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    #[error("entries after this position are no longer kept")]
    Trimmed,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A place in the journal: the memory of the broker it was written to, and the entry's number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub memory: u64,
    pub number: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    pub position: Position,
    pub registered: Vec<NodeId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub position: Position,
    pub entry: Bytes,
}
