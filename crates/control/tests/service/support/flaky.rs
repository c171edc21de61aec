//! A broker that can be away.

use broker::{
    Appended, BoxFuture, Broker, Entry, InProcess, Incoming, JournalError, LeaseError, Position,
    Subscription, Topic, Unavailable,
};
use bytes::Bytes;
use futures_util::FutureExt;
use ids::{Epoch, NodeId, ProcessId, ShardId};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

pub(crate) struct Flaky {
    inner: InProcess,
    away: AtomicBool,
}

impl Flaky {
    pub(crate) fn new(inner: InProcess) -> Flaky {
        Flaky { inner, away: AtomicBool::new(false) }
    }

    /// From now on nothing is published or appended.
    pub(crate) fn go_away(&self) {
        self.away.store(true, Ordering::SeqCst);
    }

    fn unless_away<T: Send + 'static>(
        &self,
        here: impl FnOnce() -> BoxFuture<'static, Result<T, Unavailable>>,
    ) -> BoxFuture<'static, Result<T, Unavailable>> {
        if self.away.load(Ordering::SeqCst) { async { Err(Unavailable) }.boxed() } else { here() }
    }
}

impl Broker for Flaky {
    fn publish(&self, topic: Topic, message: Bytes) -> BoxFuture<'static, Result<usize, Unavailable>> {
        self.unless_away(|| self.inner.publish(topic, message))
    }

    fn append(&self, entry: Bytes) -> BoxFuture<'static, Result<Appended, Unavailable>> {
        self.unless_away(|| self.inner.append(entry))
    }

    fn subscribe(&self) -> (Arc<dyn Subscription>, Incoming) {
        self.inner.subscribe()
    }

    fn take_lease(
        &self,
        shard: ShardId,
        holder: ProcessId,
        floor: Epoch,
        ttl: Duration,
    ) -> BoxFuture<'static, Result<Epoch, LeaseError>> {
        self.inner.take_lease(shard, holder, floor, ttl)
    }

    fn renew_lease(
        &self,
        shard: ShardId,
        epoch: Epoch,
        ttl: Duration,
    ) -> BoxFuture<'static, Result<(), LeaseError>> {
        self.inner.renew_lease(shard, epoch, ttl)
    }

    fn release_lease(&self, shard: ShardId, epoch: Epoch) -> BoxFuture<'static, Result<(), Unavailable>> {
        self.inner.release_lease(shard, epoch)
    }

    fn register(&self, node: NodeId) -> BoxFuture<'static, Result<Position, Unavailable>> {
        self.inner.register(node)
    }

    fn leave(&self, node: NodeId) -> BoxFuture<'static, Result<(), Unavailable>> {
        self.inner.leave(node)
    }

    fn read_journal(&self, after: Position) -> BoxFuture<'static, Result<Vec<Entry>, JournalError>> {
        self.inner.read_journal(after)
    }
}
