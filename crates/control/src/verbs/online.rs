//! Who is online, a page at a time: each shard's page, merged.

use super::{Missing, VerbError, Verbs};
use crate::{
    answer::ShardUsers,
    metrics::{Outcome, Verb},
};
use contracts::cluster::v1;
use ids::UserId;
use protocol::App;
use std::{collections::BTreeSet, sync::Arc};

impl Verbs {
    /// The users online after `after`, by id in byte order: at most `limit`. Fewer: there are no more.
    ///
    /// # Errors
    /// `Unavailable` if a shard has no owner, or one that has not heard every node yet.
    pub async fn online_users(
        &self,
        app: &Arc<App>,
        after: Option<&UserId>,
        limit: u32,
    ) -> Result<Vec<UserId>, VerbError> {
        let cursor = after.map(ToString::to_string).unwrap_or_default();
        let asked = v1::OnlineUsers { app: app.id.to_string(), cursor, limit };
        let questions =
            self.0.shards.iter().map(|shard| (shard, v1::shard_question::Asked::Online(asked.clone())));
        let answers = self.ask_owners(questions).await;
        let page = answers.and_then(|answers| merge(answers.into_values(), after, limit));
        self.0.metrics.request(Verb::Online, Outcome::of(&page, |_| true));
        page
    }
}

/// The first `limit` of all: each shard has answered with its own first ones, so none before them is missing.
fn merge(
    answers: impl IntoIterator<Item = ShardUsers>,
    after: Option<&UserId>,
    limit: u32,
) -> Result<Vec<UserId>, VerbError> {
    let (mut online, mut incomplete) = (BTreeSet::new(), Vec::new());
    for answer in answers {
        if !answer.complete {
            incomplete.push(answer.shard);
        }
        let listed = answer.users.into_iter().filter(|known| known.online).map(|known| known.user);
        online.extend(listed.filter(|user| after.is_none_or(|after| user > after)));
    }
    if incomplete.is_empty() {
        Ok(online.into_iter().take(limit.try_into().unwrap_or(usize::MAX)).collect())
    } else {
        Err(VerbError::Unavailable { missing: Missing::Reports(incomplete) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::UserNodes;
    use ids::ShardId;

    fn user(id: &str) -> UserId {
        id.parse().expect("user id")
    }

    fn shard(shard: u16, complete: bool, users: &[&str]) -> ShardUsers {
        let online = |id: &&str| UserNodes { user: user(id), online: true, nodes: Vec::new() };
        ShardUsers { shard: ShardId(shard), complete, users: users.iter().map(online).collect() }
    }

    #[test]
    fn pages_are_merged_in_byte_order() {
        let answers = [shard(0, true, &["b", "z", "é"]), shard(1, true, &["B", "a", "c"])];
        let page = |after: Option<&str>, limit| {
            merge(answers.clone(), after.map(user).as_ref(), limit)
                .map(|users| users.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(page(None, 4), Ok("B a b c".to_owned()));
        assert_eq!(page(None, 100), Ok("B a b c z é".to_owned()));
        assert_eq!(page(Some("b"), 2), Ok("c z".to_owned()));
    }

    #[test]
    fn a_shard_that_does_not_know_all_nodes_makes_no_list() {
        let answers = [shard(0, true, &["a"]), shard(1, false, &[])];
        let missing = Missing::Reports(vec![ShardId(1)]);
        assert_eq!(merge(answers, None, 10), Err(VerbError::Unavailable { missing }));
    }
}
