//! What comes back on `r:<process>`, in our own types.

use contracts::{InvalidMessage, cluster::v1};
use ids::{NodeId, ShardId, SocketId, UserId};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use termination::TerminationId;

/// A reply, and what it replies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Answer { question: QuestionId, answer: Answer },
    Confirmation { termination: TerminationId, confirmation: Confirmation },
}

/// Names a question of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct QuestionId(pub(crate) u64);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Reached { node: NodeId, connections: u32 },
    Connections { node: NodeId, connections: Vec<Connection> },
    Users(ShardUsers),
}

/// What the owner of a shard says of the users it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShardUsers {
    pub(crate) shard: ShardId,
    /// Who is not listed as online is offline.
    pub(crate) complete: bool,
    pub(crate) users: Vec<UserNodes>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserNodes {
    pub(crate) user: UserId,
    pub(crate) online: bool,
    pub(crate) nodes: Vec<NodeId>,
}

/// A node has carried a termination out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Confirmation {
    pub(crate) node: NodeId,
    pub(crate) closed: u32,
}

/// One connection that is signed in as a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    pub node: NodeId,
    pub socket: SocketId,
    /// The client library and version as it named itself; may be empty.
    pub client: String,
    /// By the node's clock, in milliseconds.
    pub signed_in_at: SystemTime,
    /// The client's address and port.
    pub address: String,
}

impl TryFrom<v1::Reply> for Reply {
    type Error = InvalidMessage;

    fn try_from(reply: v1::Reply) -> Result<Reply, InvalidMessage> {
        use v1::reply::Said;
        let answer = match reply.said.ok_or(InvalidMessage("said"))? {
            Said::Reached(v1::Reached { node, connections }) => {
                Answer::Reached { node: NodeId::from_random(node), connections }
            }
            Said::Connections(v1::Connections { node, connections }) => {
                let node = NodeId::from_random(node);
                let connections = connections.into_iter().map(|connection| own_connection(node, connection));
                Answer::Connections { node, connections: connections.collect::<Result<_, _>>()? }
            }
            Said::Users(users) => Answer::Users(users.try_into()?),
            Said::Confirmation(v1::Confirmation { termination, node, closed }) => {
                let confirmation = Confirmation { node: NodeId::from_random(node), closed };
                return Ok(Reply::Confirmation { termination: TerminationId(termination), confirmation });
            }
        };
        Ok(Reply::Answer { question: QuestionId(reply.question), answer })
    }
}

fn own_connection(node: NodeId, connection: v1::Connection) -> Result<Connection, InvalidMessage> {
    let v1::Connection { socket_id, client, signed_in_at_ms, address } = connection;
    let since_1970 = u64::try_from(signed_in_at_ms).map_err(|_| InvalidMessage("sign-in time"))?;
    Ok(Connection {
        node,
        socket: socket_id.parse().map_err(|_| InvalidMessage("socket id"))?,
        client,
        signed_in_at: UNIX_EPOCH + Duration::from_millis(since_1970),
        address,
    })
}

impl TryFrom<v1::Users> for ShardUsers {
    type Error = InvalidMessage;

    fn try_from(users: v1::Users) -> Result<ShardUsers, InvalidMessage> {
        let own = |user: v1::UserNodes| {
            Ok(UserNodes {
                user: user.user.parse().map_err(|_| InvalidMessage("user"))?,
                online: user.online,
                nodes: user.nodes.into_iter().map(NodeId::from_random).collect(),
            })
        };
        Ok(ShardUsers {
            shard: users.shard.try_into().map(ShardId).map_err(|_| InvalidMessage("shard"))?,
            complete: users.complete,
            users: users.users.into_iter().map(own).collect::<Result<_, InvalidMessage>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::reply::Said;

    fn own(said: Option<Said>) -> Result<Reply, InvalidMessage> {
        v1::Reply { question: 7, said }.try_into()
    }

    #[test]
    fn a_reply_that_says_nothing_or_nonsense_is_refused() {
        let connection = |socket_id: &str, signed_in_at_ms| {
            let connection =
                v1::Connection { socket_id: socket_id.into(), signed_in_at_ms, ..v1::Connection::default() };
            Some(Said::Connections(v1::Connections { node: 1, connections: vec![connection] }))
        };
        let user = |user: &str, shard| {
            let user = v1::UserNodes { user: user.into(), ..v1::UserNodes::default() };
            Some(Said::Users(v1::Users { shard, complete: true, users: vec![user] }))
        };
        assert!(own(connection("1.2", 0)).is_ok());
        assert!(own(connection("1.2", i64::MAX)).is_ok());
        assert!(own(user("ada", 15)).is_ok());
        for invalid in [None, connection("", 0), connection("1.2", -1), user("", 0), user("ada", 1 << 16)] {
            assert!(own(invalid.clone()).is_err(), "{invalid:?}");
        }
    }

    #[test]
    fn a_confirmation_goes_by_its_termination() {
        let said = Said::Confirmation(v1::Confirmation { termination: 9, node: 1, closed: 3 });
        let confirmation = Confirmation { node: NodeId::from_random(1), closed: 3 };
        assert_eq!(own(Some(said)), Ok(Reply::Confirmation { termination: TerminationId(9), confirmation }));
    }
}
