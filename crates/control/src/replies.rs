//! Who waits for what on `r:<process>`. One task drains that subscription and hands each reply to whoever asked.
//!
//! The task never waits for anybody: the broker may be waiting for this very queue. So a reply that nobody waits for any
//! more is dropped, and so is one that finds its asker's queue full: each is counted.

use crate::{
    answer::{Answer, Confirmation, QuestionId, Reply},
    metrics::{DroppedReply, Metrics},
    random,
};
use broker::{Broker, Incoming, Said, Topic, Unavailable};
use bytes::Bytes;
use contracts::cluster::v1;
use hashbrown::HashMap;
use ids::ProcessId;
use prost::Message as _;
use std::{
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use termination::TerminationId;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, error};

/// Replies that one question holds until they are read: more than the nodes of a large cluster. A page of online users
/// is the largest reply, some 30 KiB for ids of ordinary length.
const QUEUE: usize = 256;

/// This process's replies. Clones share one subscription.
#[derive(Clone)]
pub(crate) struct Replies {
    process: ProcessId,
    questions: Arc<Waiting<QuestionId, Answer>>,
    terminations: Arc<Waiting<TerminationId, Confirmation>>,
}

/// Who waits, by what they wait for.
struct Waiting<K, A>(Mutex<HashMap<K, mpsc::Sender<A>>>);

/// A place in `Waiting`, which is given up when this is dropped.
pub(crate) struct Awaited<K: Eq + Hash, A> {
    key: K,
    arrived: mpsc::Receiver<A>,
    waiting: Arc<Waiting<K, A>>,
}

/// A question of this process, whose answers arrive here.
pub(crate) type Asked = Awaited<QuestionId, Answer>;

/// A termination of this process, whose confirmations arrive here.
pub(crate) type Confirmations = Awaited<TerminationId, Confirmation>;

impl Replies {
    /// Attaches `r:<process>` and drains it until `stop`.
    ///
    /// # Errors
    /// `Unavailable` if the broker did not confirm the attachment.
    pub(crate) async fn start(
        process: ProcessId,
        broker: &dyn Broker,
        metrics: Arc<Metrics>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Replies, Unavailable> {
        let (subscription, incoming) = broker.subscribe();
        subscription.attach(vec![Topic::replies(process)]).await?;
        let replies = Replies { process, questions: Arc::default(), terminations: Arc::default() };
        let drain = replies.clone().drain(incoming, metrics);
        tasks.spawn(async move {
            // Dropped, the subscription would detach.
            let _attached = subscription;
            if stop.run_until_cancelled(drain).await.is_some() {
                error!("the broker has closed: no call will be answered, restart this process");
            }
        });
        Ok(replies)
    }

    /// A new question. What is answered from now on is kept for the asker.
    pub(crate) fn ask(&self) -> Asked {
        Waiting::enter(&self.questions, QuestionId(random::id()))
    }

    /// The place for the confirmations of `id`: take it before anybody can hear of the termination.
    pub(crate) fn confirmations(&self, id: TerminationId) -> Confirmations {
        Waiting::enter(&self.terminations, id)
    }

    /// As the question says where its answers go.
    pub(crate) fn question(&self, asked: &Asked) -> v1::Question {
        v1::Question { id: asked.key.0, asker: self.process.bits() }
    }

    async fn drain(self, mut incoming: Incoming, metrics: Arc<Metrics>) {
        while let Some(said) = incoming.next().await {
            match said {
                Said::Message { message, .. } => {
                    if let Err(why) = self.route(message) {
                        metrics.dropped_reply(why);
                    }
                }
                // What is missing makes an answer incomplete at its deadline, and nodes are asked again to confirm.
                Said::Interrupted => debug!("replies interrupted"),
                Said::Resumed => debug!("replies resumed"),
            }
        }
    }

    fn route(&self, message: Bytes) -> Result<(), DroppedReply> {
        let reply = v1::Reply::decode(message).map_err(|_| DroppedReply::Invalid)?;
        match Reply::try_from(reply).map_err(|_| DroppedReply::Invalid)? {
            Reply::Answer { question, answer } => self.questions.hand(&question, answer),
            Reply::Confirmation { termination, confirmation } => {
                self.terminations.hand(&termination, confirmation)
            }
        }
    }
}

impl<K: Eq + Hash, A> Waiting<K, A> {
    fn enter(waiting: &Arc<Waiting<K, A>>, key: K) -> Awaited<K, A>
    where
        K: Copy,
    {
        let (arrive, arrived) = mpsc::channel(QUEUE);
        waiting.lock().insert(key, arrive);
        Awaited { key, arrived, waiting: Arc::clone(waiting) }
    }

    fn hand(&self, key: &K, answer: A) -> Result<(), DroppedReply> {
        let waiting = self.lock();
        let arrive = waiting.get(key).ok_or(DroppedReply::Late)?;
        arrive.try_send(answer).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => DroppedReply::QueueFull,
            mpsc::error::TrySendError::Closed(_) => DroppedReply::Late,
        })
    }

    /// A panic while this is held leaves nothing half done, so poison is no reason to stop.
    fn lock(&self) -> MutexGuard<'_, HashMap<K, mpsc::Sender<A>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, A> Default for Waiting<K, A> {
    fn default() -> Self {
        Waiting(Mutex::default())
    }
}

impl<K: Eq + Hash, A> Awaited<K, A> {
    /// The next reply, repeats included. Cancel-safe; waits for ever, so give it a deadline.
    pub(crate) async fn next(&mut self) -> A {
        match self.arrived.recv().await {
            Some(answer) => answer,
            // The sender stays in `waiting` until this is dropped.
            None => std::future::pending().await,
        }
    }
}

impl<K: Eq + Hash, A> Drop for Awaited<K, A> {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ids::NodeId;

    fn replies() -> Replies {
        let process = ProcessId::from_random(1);
        Replies { process, questions: Arc::default(), terminations: Arc::default() }
    }

    fn reached(question: u64, connections: u32) -> Bytes {
        let said = v1::reply::Said::Reached(v1::Reached { node: 1, connections });
        contracts::encode(&v1::Reply { question, said: Some(said) })
    }

    #[tokio::test]
    async fn a_reply_goes_to_whoever_asked_and_to_nobody_else() {
        let replies = replies();
        let (mut first, mut second) = (replies.ask(), replies.ask());
        assert_eq!(replies.route(reached(second.key.0, 2)), Ok(()));
        assert_eq!(replies.route(reached(first.key.0, 1)), Ok(()));
        let answer = |connections| Answer::Reached { node: NodeId::from_random(1), connections };
        assert_eq!(first.next().await, answer(1));
        assert_eq!(second.next().await, answer(2));
    }

    #[test]
    fn what_nobody_waits_for_is_dropped() {
        let replies = replies();
        let asked = replies.ask();
        let id = asked.key.0;
        assert_eq!(replies.route(reached(id ^ 1, 1)), Err(DroppedReply::Late));
        assert_eq!(replies.route(reached(0, 1)), Err(DroppedReply::Late));
        drop(asked);
        assert_eq!(replies.route(reached(id, 1)), Err(DroppedReply::Late));
        assert!(replies.questions.lock().is_empty());
        assert_eq!(replies.route(Bytes::from_static(b"\xff")), Err(DroppedReply::Invalid));
        assert_eq!(replies.route(Bytes::new()), Err(DroppedReply::Invalid));
    }

    #[test]
    fn an_asker_who_does_not_read_fills_only_its_own_queue() {
        let replies = replies();
        let (lazy, other) = (replies.ask(), replies.ask());
        let routed: Vec<_> = (0..QUEUE + 3).map(|_| replies.route(reached(lazy.key.0, 1))).collect();
        assert!(routed[..QUEUE].iter().all(Result::is_ok));
        assert_eq!(routed[QUEUE..], [Err(DroppedReply::QueueFull); 3]);
        assert_eq!(replies.route(reached(other.key.0, 1)), Ok(()));
    }
}
