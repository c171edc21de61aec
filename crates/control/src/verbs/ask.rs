//! Asking over the broker: publish a question, collect what is answered until a deadline.

use super::{Missing, VerbError, Verbs};
use crate::{
    answer::{Answer, ShardUsers},
    replies::Asked,
};
use broker::Topic;
use contracts::{cluster::v1, encode};
use futures_util::future::try_join_all;
use ids::{ShardId, UserKey};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::{Instant, timeout_at};

/// How long a question waits for its answers. Nodes and owners answer at once, so who is silent for a second is not well.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// The answers to a question, by who gave them; how many were expected is known from the broker.
pub(super) struct Answers<K, A> {
    pub(super) by: BTreeMap<K, A>,
    pub(super) expected: usize,
}

impl<K, A> Answers<K, A> {
    pub(super) fn silent(&self) -> usize {
        self.expected.saturating_sub(self.by.len())
    }
}

impl Verbs {
    /// Asks each node that holds the user. `pick` takes the answers that fit the question.
    pub(super) async fn ask_nodes<K: Ord, A>(
        &self,
        user: &UserKey,
        said: v1::to_user::Said,
        pick: impl Fn(Answer) -> Option<(K, A)>,
    ) -> Result<Answers<K, A>, VerbError> {
        let mut asked = self.0.replies.ask();
        let question = Some(self.0.replies.question(&asked));
        let message = encode(&v1::ToUser { question, said: Some(said) });
        let expected = self.publish_message(Topic::user(user), message).await?;
        let by = collect(&mut asked, expected, pick).await;
        Ok(Answers { by, expected })
    }

    /// Asks the owner of each shard; all of them must answer.
    ///
    /// # Errors
    /// `Unavailable` naming the shards whose owner did not.
    pub(super) async fn ask_owners(
        &self,
        questions: impl IntoIterator<Item = (ShardId, v1::shard_question::Asked)>,
    ) -> Result<BTreeMap<ShardId, ShardUsers>, VerbError> {
        // One question asked in several shards: the answers say which shard they are for.
        let mut asked = self.0.replies.ask();
        let question = self.0.replies.question(&asked);
        let (mut shards, mut publishes) = (Vec::new(), Vec::new());
        for (shard, said) in questions {
            let question = v1::ShardQuestion { question: Some(question), asked: Some(said) };
            let message = encode(&v1::ToShard { said: Some(v1::to_shard::Said::Question(question)) });
            shards.push(shard);
            publishes.push(self.publish_message(Topic::shard(shard), message));
        }
        try_join_all(publishes).await?;
        let users = |answer| match answer {
            Answer::Users(users) if shards.contains(&users.shard) => Some((users.shard, users)),
            Answer::Users(_) | Answer::Reached { .. } | Answer::Connections { .. } => None,
        };
        let answers = collect(&mut asked, shards.len(), users).await;
        let silent: Vec<_> = shards.into_iter().filter(|shard| !answers.contains_key(shard)).collect();
        if silent.is_empty() {
            Ok(answers)
        } else {
            Err(VerbError::Unavailable { missing: Missing::Owners(silent) })
        }
    }
}

/// The first answer of each of `expected` others, as far as they come in time.
async fn collect<K: Ord, A>(
    asked: &mut Asked,
    expected: usize,
    pick: impl Fn(Answer) -> Option<(K, A)>,
) -> BTreeMap<K, A> {
    let deadline = Instant::now() + ANSWER_TIME;
    let mut answers = BTreeMap::new();
    while answers.len() < expected {
        let Ok(answer) = timeout_at(deadline, asked.next()).await else { break };
        if let Some((who, answer)) = pick(answer) {
            answers.entry(who).or_insert(answer);
        }
    }
    answers
}
