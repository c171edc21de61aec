//! Publishing in order, without waiting: a task that drains a subscription must never await a publish itself.

use crate::{BoxFuture, Broker, Topic, Unavailable};
use bytes::Bytes;
use std::{collections::VecDeque, sync::Arc};

/// Messages on their way out, one after the other.
pub struct Outbound {
    broker: Arc<dyn Broker>,
    waiting: VecDeque<(Topic, Bytes)>,
    current: Option<BoxFuture<'static, Result<usize, Unavailable>>>,
}

impl Outbound {
    #[must_use]
    pub fn new(broker: Arc<dyn Broker>) -> Outbound {
        Outbound { broker, waiting: VecDeque::new(), current: None }
    }

    /// Queues a message behind the others.
    pub fn push(&mut self, topic: Topic, message: Bytes) {
        self.waiting.push_back((topic, message));
    }

    /// How many wait. Whoever pushes decides what too many are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len() + usize::from(self.current.is_some())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Publishes one message after the other; returns only when one was not taken, or when none is left. Cancel-safe.
    ///
    /// # Errors
    /// `Unavailable` if the broker did not take a message; it is dropped, and the next call goes on with the one after.
    pub async fn flush(&mut self) -> Result<(), Unavailable> {
        loop {
            let current = match &mut self.current {
                Some(current) => current,
                None => match self.waiting.pop_front() {
                    Some((topic, message)) => self.current.insert(self.broker.publish(topic, message)),
                    None => return Ok(()),
                },
            };
            let result = current.await;
            self.current = None;
            result?;
        }
    }
}
