//! The names of streams. One function each, so that publisher and subscriber cannot spell one differently.

use ids::{AppId, ChannelName, NodeId, ProcessId, ShardId, UserKey};
use std::{fmt, sync::Arc};

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

impl Topic {
    /// Events for a user, and questions about the user's connections.
    #[must_use]
    pub fn user(key: &UserKey) -> Topic {
        Topic(format!("u:{}:{}", key.app, key.user).into())
    }

    /// Events of a channel.
    #[must_use]
    pub fn channel(app: &AppId, channel: &ChannelName) -> Topic {
        Topic(format!("c:{app}:{channel}").into())
    }

    /// What nodes report of a shard's users: the shard's log.
    #[must_use]
    pub fn shard(shard: ShardId) -> Topic {
        Topic(format!("s:{shard}").into())
    }

    /// Statuses and questions for one node.
    #[must_use]
    pub fn node(node: NodeId) -> Topic {
        Topic(format!("n:{node}").into())
    }

    /// Everybody's beats.
    #[must_use]
    pub fn all() -> Topic {
        Topic("all".into())
    }

    /// Confirmations and replies to one control.
    #[must_use]
    pub fn replies(process: ProcessId) -> Topic {
        Topic(format!("r:{process}").into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
