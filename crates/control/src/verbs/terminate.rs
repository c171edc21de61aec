//! Terminate: close a user's connections on every node, and answer when they are closed.
//!
//! The journal carries the termination, so every node reads it for certain; only confirmations can get lost, and so
//! nodes that are silent are asked again.

use super::{Missing, VerbError, Verbs, key};
use crate::{
    metrics::{Outcome as Outcomes, Verb},
    random,
};
use broker::Topic;
use contracts::{cluster::v1, encode};
use futures_util::stream::{FuturesUnordered, StreamExt};
use ids::{NodeId, UserId};
use protocol::{App, Close, TerminationClose};
use std::{collections::BTreeSet, str::FromStr, sync::Arc, time::Duration};
use termination::{Outcome, Selector, Tally, Termination, TerminationId};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{info, warn};

/// After how long a node that has not confirmed is asked, and asked again.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// What clients are told when the backend gives no reason.
const STANDARD_REASON: &str = "The application has closed this user's connections";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TerminateOptions {
    pub selector: Selector,
    /// `None`: as the app's settings say.
    pub close: Option<TerminationClose>,
    /// `None`: a standard text.
    pub reason: Option<Reason>,
}

/// What clients are told: at most 123 bytes, which is what fits a close frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be at most 123 bytes")]
pub struct InvalidReason;

impl Verbs {
    /// Closes the user's connections that the selector means, on every node. Returns when every node registered has
    /// confirmed, or after `terminate_deadline` with those that have not: they carry it out when they can. A repeat
    /// closes what has been opened since.
    ///
    /// # Errors
    /// `Unavailable` if the broker did not take the termination in time. It may be carried out all the same.
    pub async fn terminate(
        &self,
        app: &Arc<App>,
        user: &UserId,
        options: TerminateOptions,
    ) -> Result<Outcome, VerbError> {
        let started = Instant::now();
        let outcome = self.terminate_until(started + self.0.terminate_deadline, app, user, options).await;
        if let Ok(outcome) = &outcome {
            self.0.metrics.terminated(outcome.complete(), started.elapsed());
        }
        self.0.metrics.request(Verb::Terminate, Outcomes::of(&outcome, Outcome::complete));
        outcome
    }

    async fn terminate_until(
        &self,
        deadline: Instant,
        app: &App,
        user: &UserId,
        options: TerminateOptions,
    ) -> Result<Outcome, VerbError> {
        let id = TerminationId(random::id());
        // Before the append: a node may confirm before the append is answered.
        let mut confirmations = self.0.replies.confirmations(id);
        let termination = Termination {
            id,
            asker: self.0.process,
            user: key(app, user),
            selector: options.selector,
            close: options.close.unwrap_or(app.user_termination_close),
            reason: options.reason.map_or_else(|| STANDARD_REASON.to_owned(), |Reason(reason)| reason),
        };
        let appended = self.0.broker.append(encode(&v1::Termination::from(&termination)));
        let appended = timeout_at(deadline, appended).await;
        let appended = appended.map_err(|_| VerbError::Unavailable { missing: Missing::Broker })??;

        let mut tally = Tally::new(appended.registered);
        let mut ask_at = Instant::now() + ASK_AGAIN;
        // Asking may itself have to wait for the broker, so it goes on beside the counting: one question a node.
        let mut asking = FuturesUnordered::new();
        let mut being_asked = BTreeSet::new();
        while !tally.silent().is_empty() {
            tokio::select! {
                // What has arrived counts before a deadline that has passed meanwhile.
                biased;
                confirmation = confirmations.next() => tally.confirm(confirmation.node, confirmation.closed),
                () = sleep_until(deadline) => break,
                Some(node) = asking.next() => { being_asked.remove(&node); }
                () = sleep_until(ask_at) => {
                    ask_at += ASK_AGAIN;
                    for node in tally.silent().into_iter().filter(|node| being_asked.insert(*node)) {
                        asking.push(self.ask_to_confirm(id, node));
                    }
                }
            }
        }
        let outcome = tally.outcome();
        if outcome.complete() {
            info!(app = %app.id, termination = %id, closed = outcome.closed(), "user terminated");
        } else {
            let (closed, unconfirmed) = (outcome.closed(), &outcome.unconfirmed);
            warn!(app = %app.id, termination = %id, closed, ?unconfirmed, "termination not confirmed by all nodes");
        }
        Ok(outcome)
    }

    /// A question that the broker did not take is asked again at the next turn, like one that was not answered.
    async fn ask_to_confirm(&self, id: TerminationId, node: NodeId) -> NodeId {
        let question = v1::ConfirmQuestion { termination: id.0, asker: self.0.process.bits() };
        let message = encode(&v1::ToNode { said: Some(v1::to_node::Said::Confirm(question)) });
        let _ = self.publish_message(Topic::node(node), message).await;
        node
    }
}

impl FromStr for Reason {
    type Err = InvalidReason;

    fn from_str(text: &str) -> Result<Reason, InvalidReason> {
        if text.len() <= Close::MAX_REASON_BYTES { Ok(Reason(text.to_owned())) } else { Err(InvalidReason) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_fits_a_close_frame() {
        assert!("é".repeat(61).parse::<Reason>().is_ok());
        assert_eq!("é".repeat(62).parse::<Reason>(), Err(InvalidReason));
        assert!(STANDARD_REASON.parse::<Reason>().is_ok());
    }
}
