//! Questions about users, asked of a shard's owner by a control.

use contracts::cluster::v1;
use ids::{AppId, ProcessId, ShardId, UserId, UserKey};
use roster::{Replica, Word};

/// The most users that one answer names.
const LIMIT: usize = 1_000;

/// What the owner of the shard answers, and to whom; `None` if this is not the owner, or the question is none.
pub(crate) fn answer(
    core: &Replica,
    shard: ShardId,
    asked: v1::ShardQuestion,
) -> Option<(ProcessId, v1::Reply)> {
    let question = asked.question?;
    let users = match asked.asked? {
        v1::shard_question::Asked::Online(online) => list_online(core, shard, &online)?,
        v1::shard_question::Asked::LookUp(look_up) => look_up_users(core, shard, &look_up)?,
    };
    let reply = v1::Reply { question: question.id, said: Some(v1::reply::Said::Users(users)) };
    Some((ProcessId::from_random(question.asker), reply))
}

fn list_online(core: &Replica, shard: ShardId, online: &v1::OnlineUsers) -> Option<v1::Users> {
    let app: AppId = online.app.parse().ok()?;
    let after: Option<UserId> =
        if online.cursor.is_empty() { None } else { Some(online.cursor.parse().ok()?) };
    let limit = usize::try_from(online.limit).map_or(LIMIT, |limit| limit.min(LIMIT));
    let (word, users) = core.online(shard, &app, after.as_ref(), limit)?;
    let user = |user: UserId| v1::UserNodes { user: user.to_string(), online: true, nodes: Vec::new() };
    let users = users.into_iter().map(user).collect();
    Some(v1::Users { shard: shard.0.into(), complete: word == Word::OfAll, users })
}

fn look_up_users(core: &Replica, shard: ShardId, look_up: &v1::LookUp) -> Option<v1::Users> {
    let app: AppId = look_up.app.parse().ok()?;
    let mut complete = true;
    let mut users = Vec::with_capacity(look_up.users.len().min(LIMIT));
    for name in look_up.users.iter().take(LIMIT) {
        let view = core.user(shard, &UserKey { app: app.clone(), user: name.parse().ok()? })?;
        complete &= view.online.is_some();
        let nodes = view.nodes.iter().map(|node| node.bits()).collect();
        users.push(v1::UserNodes { user: name.clone(), online: view.online == Some(true), nodes });
    }
    Some(v1::Users { shard: shard.0.into(), complete, users })
}
