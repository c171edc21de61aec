//! Reach: an event for a user, with the nodes and connections that it was handed to; and the same count without an
//! event, for a termination that is only tried.

use super::{Event, NodeCounts, VerbError, Verbs, ask::Answers, key};
use crate::{
    answer::Answer,
    metrics::{Outcome, Verb},
};
use contracts::cluster::v1;
use ids::{NodeId, UserId};
use protocol::{App, http::Audience};
use std::sync::Arc;
use termination::Selector;

/// The connections of a user that were reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// How many on each node, in the order of the nodes.
    pub nodes: NodeCounts,
    /// Every node that holds the user has answered.
    pub complete: bool,
}

impl Reached {
    /// The connections reached on all nodes that answered.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.nodes.iter().fold(0, |sum, (_, connections)| sum.saturating_add(*connections))
    }
}

impl Verbs {
    /// Sends an event to every connection signed in as the user, and says which were reached. Takes a second if a node
    /// does not answer.
    ///
    /// # Errors
    /// `Unavailable` if the broker did not take it in time. It may be delivered all the same.
    pub async fn send_to_user(
        &self,
        app: &Arc<App>,
        user: &UserId,
        event: Event,
    ) -> Result<Reached, VerbError> {
        let reached = self.ask_reached(app, user, v1::to_user::Said::Event(event.into())).await;
        if reached.is_ok() {
            self.0.metrics.published(&Audience::User(user.clone()));
        }
        self.0.metrics.request(Verb::Send, Outcome::of(&reached, |reached| reached.complete));
        reached
    }

    /// Counts the connections that a termination would close now, and closes none.
    ///
    /// # Errors
    /// `Unavailable` if the broker did not take the question in time.
    pub async fn count_connections(
        &self,
        app: &Arc<App>,
        user: &UserId,
        selector: &Selector,
    ) -> Result<Reached, VerbError> {
        let count = v1::CountConnections { selector: Some(selector.into()) };
        let reached = self.ask_reached(app, user, v1::to_user::Said::CountConnections(count)).await;
        self.0.metrics.request(Verb::Count, Outcome::of(&reached, |reached| reached.complete));
        reached
    }

    async fn ask_reached(
        &self,
        app: &App,
        user: &UserId,
        said: v1::to_user::Said,
    ) -> Result<Reached, VerbError> {
        let reached = |answer| match answer {
            Answer::Reached { node, connections } => Some((node, connections)),
            Answer::Connections { .. } | Answer::Users(_) => None,
        };
        let answers: Answers<NodeId, u32> = self.ask_nodes(&key(app, user), said, reached).await?;
        Ok(Reached { complete: answers.silent() == 0, nodes: answers.by.into_iter().collect() })
    }
}
