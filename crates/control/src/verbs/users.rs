//! Who a user is now: what the owner of the user's shard knows, and what the nodes that hold the user say themselves.

use super::{Missing, VerbError, Verbs, ask::Answers, key};
use crate::{
    answer::{Answer, Connection, ShardUsers, UserNodes},
    metrics::{Outcome, Verb},
};
use contracts::cluster::v1;
use hashbrown::HashMap;
use ids::{NodeId, ShardId, UserId};
use protocol::App;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// One user, as seen at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserView {
    pub online: bool,
    /// By node and socket id.
    pub connections: Vec<Connection>,
    /// The nodes that keep the user online, among them those where only a grace does.
    pub nodes: Vec<NodeId>,
}

impl Verbs {
    /// One user: whether online, where, and with which connections.
    ///
    /// # Errors
    /// `Unavailable` if a node that holds the user did not list its connections within a second, or if nobody could say
    /// that a user without connections is offline.
    pub async fn user(&self, app: &Arc<App>, user: &UserId) -> Result<UserView, VerbError> {
        let (listed, looked_up) = tokio::join!(self.list_connections(app, user), self.look_up_one(app, user));
        let view = listed.and_then(|connections| view(connections, looked_up));
        self.0.metrics.request(Verb::User, Outcome::of(&view, |_| true));
        view
    }

    /// Whether each of these users is online, in their order.
    ///
    /// # Errors
    /// `Unavailable` if that cannot be said of all of them.
    pub async fn users(&self, app: &Arc<App>, users: &[UserId]) -> Result<Vec<(UserId, bool)>, VerbError> {
        let levels = self.look_up_all(app, users).await;
        self.0.metrics.request(Verb::Users, Outcome::of(&levels, |_| true));
        levels
    }

    async fn list_connections(&self, app: &App, user: &UserId) -> Result<Vec<Connection>, VerbError> {
        let listed = |answer| match answer {
            Answer::Connections { node, connections } => Some((node, connections)),
            Answer::Reached { .. } | Answer::Users(_) => None,
        };
        let said = v1::to_user::Said::ListConnections(v1::ListConnections {});
        let answers: Answers<NodeId, Vec<Connection>> = self.ask_nodes(&key(app, user), said, listed).await?;
        if answers.silent() > 0 {
            return Err(VerbError::Unavailable { missing: Missing::Nodes(answers.silent()) });
        }
        let mut connections: Vec<_> = answers.by.into_values().flatten().collect();
        connections.sort_by_key(|connection| (connection.node, connection.socket));
        Ok(connections)
    }

    async fn look_up_one(&self, app: &App, user: &UserId) -> Result<UserNodes, VerbError> {
        let shard = self.0.shards.of(&key(app, user));
        let mut answers = self.ask_owners([(shard, look_up(app, [user]))]).await?;
        let found = answers.remove(&shard);
        let found = found.into_iter().map(|answer| level(answer, user)).next();
        found.unwrap_or(Err(VerbError::Unavailable { missing: Missing::Owners(vec![shard]) }))
    }

    async fn look_up_all(&self, app: &App, users: &[UserId]) -> Result<Vec<(UserId, bool)>, VerbError> {
        let mut by_shard: BTreeMap<ShardId, BTreeSet<&UserId>> = BTreeMap::new();
        for user in users {
            by_shard.entry(self.0.shards.of(&key(app, user))).or_default().insert(user);
        }
        let questions = by_shard.into_iter().map(|(shard, users)| (shard, look_up(app, users)));
        let answers = self.ask_owners(questions).await?;
        levels(users, |user| self.0.shards.of(&key(app, user)), &answers)
    }
}

fn look_up<'a>(app: &App, users: impl IntoIterator<Item = &'a UserId>) -> v1::shard_question::Asked {
    let users = users.into_iter().map(ToString::to_string).collect();
    v1::shard_question::Asked::LookUp(v1::LookUp { app: app.id.to_string(), users })
}

/// A connection is a witness: the user is online whatever the owner has heard yet. Offline only the owner can say.
fn view(
    connections: Vec<Connection>,
    looked_up: Result<UserNodes, VerbError>,
) -> Result<UserView, VerbError> {
    let mut nodes: BTreeSet<_> = connections.iter().map(|connection| connection.node).collect();
    let online = match looked_up {
        Ok(known) => {
            nodes.extend(known.nodes);
            known.online || !connections.is_empty()
        }
        Err(_) if !connections.is_empty() => true,
        Err(error) => return Err(error),
    };
    Ok(UserView { online, connections, nodes: nodes.into_iter().collect() })
}

/// What an owner's answer says of one user.
fn level(answer: ShardUsers, user: &UserId) -> Result<UserNodes, VerbError> {
    let ShardUsers { shard, complete, users } = answer;
    match users.into_iter().find(|known| known.user == *user) {
        Some(known) if known.online || complete => Ok(known),
        None if complete => Ok(UserNodes { user: user.clone(), online: false, nodes: Vec::new() }),
        Some(_) | None => Err(VerbError::Unavailable { missing: Missing::Reports(vec![shard]) }),
    }
}

/// Whether each of `users` is online, by the answers of their shards.
fn levels(
    users: &[UserId],
    shard_of: impl Fn(&UserId) -> ShardId,
    answers: &BTreeMap<ShardId, ShardUsers>,
) -> Result<Vec<(UserId, bool)>, VerbError> {
    let listed = answers.values().flat_map(|answer| &answer.users);
    let online: HashMap<&UserId, bool> = listed.map(|known| (&known.user, known.online)).collect();
    let mut unknown = BTreeSet::new();
    let level = |user: &UserId| {
        let online = online.get(user).copied().unwrap_or_default();
        let shard = shard_of(user);
        if !online && !answers.get(&shard).is_some_and(|answer| answer.complete) {
            unknown.insert(shard);
        }
        (user.clone(), online)
    };
    let levels = users.iter().map(level).collect();
    if unknown.is_empty() {
        Ok(levels)
    } else {
        Err(VerbError::Unavailable { missing: Missing::Reports(unknown.into_iter().collect()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    const SHARD: ShardId = ShardId(0);

    fn id(user: &str) -> UserId {
        user.parse().expect("user id")
    }

    fn known(user: &str, online: bool, nodes: &[u64]) -> UserNodes {
        UserNodes { user: id(user), online, nodes: nodes.iter().copied().map(NodeId::from_random).collect() }
    }

    fn answer(complete: bool, users: Vec<UserNodes>) -> ShardUsers {
        ShardUsers { shard: SHARD, complete, users }
    }

    fn silent() -> VerbError {
        VerbError::Unavailable { missing: Missing::Owners(vec![SHARD]) }
    }

    fn unheard() -> VerbError {
        VerbError::Unavailable { missing: Missing::Reports(vec![SHARD]) }
    }

    #[test]
    fn only_an_owner_that_heard_all_nodes_says_offline() {
        let check =
            |complete, users, expected| assert_eq!(level(answer(complete, users), &id("ada")), expected);
        let offline = known("ada", false, &[]);
        check(true, vec![], Ok(offline.clone()));
        check(true, vec![known("bob", true, &[1]), offline.clone()], Ok(offline.clone()));
        check(false, vec![known("ada", true, &[1])], Ok(known("ada", true, &[1])));
        check(false, vec![], Err(unheard()));
        check(false, vec![offline], Err(unheard()));
    }

    #[test]
    fn a_connection_is_a_witness() {
        let connection = Connection {
            node: NodeId::from_random(7),
            socket: "1.2".parse().expect("socket id"),
            client: String::new(),
            signed_in_at: UNIX_EPOCH,
            address: String::new(),
        };
        let check = |connected: bool, looked_up, expected: Result<(bool, &[u64]), VerbError>| {
            let connections = connected.then(|| connection.clone()).into_iter().collect();
            let view = view(connections, looked_up).map(|view| (view.online, view.nodes));
            let nodes = |nodes: &[u64]| nodes.iter().copied().map(NodeId::from_random).collect();
            assert_eq!(view, expected.map(|(online, numbers)| (online, nodes(numbers))));
        };
        check(true, Ok(known("ada", true, &[9, 7])), Ok((true, &[7, 9])));
        check(true, Ok(known("ada", false, &[])), Ok((true, &[7])));
        check(true, Err(silent()), Ok((true, &[7])));
        check(false, Ok(known("ada", true, &[9])), Ok((true, &[9])));
        check(false, Ok(known("ada", false, &[])), Ok((false, &[])));
        check(false, Err(silent()), Err(silent()));
    }

    #[test]
    fn levels_come_in_the_order_asked() {
        let check = |complete, expected: Result<[bool; 3], VerbError>| {
            let answers = BTreeMap::from([(SHARD, answer(complete, vec![known("ada", true, &[1])]))]);
            let users = [id("bob"), id("ada"), id("bob")];
            let levels = levels(&users, |_| SHARD, &answers);
            let expected = expected.map(|online| users.iter().cloned().zip(online).collect());
            assert_eq!(levels, expected);
        };
        check(true, Ok([false, true, false]));
        check(false, Err(unheard()));
    }
}
