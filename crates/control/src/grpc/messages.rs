//! Answers as they go.

use crate::{
    answer::Connection,
    verbs::{NodeCounts, Reached, UserView},
};
use contracts::control::v1;
use ids::UserId;
use std::time::UNIX_EPOCH;
use termination::Outcome;

/// Not a `From`: neither type is of this crate.
pub(super) fn terminated(outcome: Outcome) -> v1::TerminateUserConnectionsResponse {
    v1::TerminateUserConnectionsResponse {
        closed: outcome.closed(),
        complete: outcome.complete(),
        unconfirmed_nodes: outcome.unconfirmed.iter().map(ToString::to_string).collect(),
        nodes: node_counts(outcome.nodes),
    }
}

/// A dry run. Which nodes did not answer is not known: only those that hold the user were asked.
impl From<Reached> for v1::TerminateUserConnectionsResponse {
    fn from(reached: Reached) -> Self {
        v1::TerminateUserConnectionsResponse {
            closed: reached.connections(),
            complete: reached.complete,
            unconfirmed_nodes: Vec::new(),
            nodes: node_counts(reached.nodes),
        }
    }
}

impl From<Reached> for v1::SendToUserResponse {
    fn from(reached: Reached) -> Self {
        v1::SendToUserResponse {
            connections: reached.connections(),
            complete: reached.complete,
            nodes: node_counts(reached.nodes),
        }
    }
}

impl From<UserView> for v1::GetUserResponse {
    fn from(user: UserView) -> Self {
        v1::GetUserResponse {
            online: user.online,
            connections: user.connections.into_iter().map(Into::into).collect(),
            node_ids: user.nodes.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<Connection> for v1::Connection {
    fn from(connection: Connection) -> Self {
        let since_1970 = connection.signed_in_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        v1::Connection {
            node_id: connection.node.to_string(),
            socket_id: connection.socket.to_string(),
            client: connection.client,
            signed_in_at_ms: since_1970.as_millis().try_into().unwrap_or(i64::MAX),
            address: connection.address,
        }
    }
}

pub(super) fn level((user, online): (UserId, bool)) -> v1::UserLevel {
    v1::UserLevel { user_id: user.to_string(), online }
}

fn node_counts(nodes: NodeCounts) -> Vec<v1::NodeCount> {
    let count =
        |(node, connections): (ids::NodeId, u32)| v1::NodeCount { node_id: node.to_string(), connections };
    nodes.into_iter().map(count).collect()
}
