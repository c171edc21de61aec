//! What nodes and owners say to each other.

use ids::{Epoch, NodeId, ProcessId, ShardId, UserKey};

/// A node's own levels in one shard, in the shard's log. `seq` grows by one with each report of a node's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub node: NodeId,
    pub seq: u64,
    /// The owner it speaks to. Another owner learns from it no more than that the node lives.
    pub epoch: Epoch,
    /// Everything the node has in this shard: replaces what was known of it.
    pub full: bool,
    /// Users signed in here: yes or no.
    pub users: Vec<(UserKey, bool)>,
    /// Users watched here: yes or no. Every yes is answered, repeated or not.
    pub watched: Vec<(UserKey, bool)>,
}

/// Says the number of the node's last report again, after some quiet, in the same log: so a lost last report shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportDigest {
    pub node: NodeId,
    pub seq: u64,
    pub epoch: Epoch,
    pub digest: u64,
}

/// What an owner tells a node of the users that it watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub shard: ShardId,
    pub epoch: Epoch,
    /// The node's full report that this goes back to.
    pub base: u64,
    /// Counts from `base`; the status that answers the full report is 0.
    pub seq: u64,
    /// The node's last report that this follows.
    pub after: u64,
    pub levels: Vec<(UserKey, bool)>,
}

/// Says the number of the owner's last status again, after some quiet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusDigest {
    pub shard: ShardId,
    pub epoch: Epoch,
    pub base: u64,
    pub seq: u64,
    pub after: u64,
    pub digest: u64,
}

/// A node's sign of life, heard by everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeBeat {
    pub node: NodeId,
    pub number: u64,
    /// The highest epoch it heard of each shard, so that no later owner stays below it.
    pub epochs: Vec<(ShardId, Epoch)>,
}

/// A replica's sign of life, by which it also claims shards and asks for reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaBeat {
    pub replica: ProcessId,
    pub number: u64,
    /// The shards it owns.
    pub owned: Vec<(ShardId, Epoch)>,
    /// Nodes whose full report it lacks.
    pub needs: Vec<(ShardId, NodeId)>,
}

/// What stands in a shard's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Report(Report),
    Digest(ReportDigest),
    /// The node's last message: it is gone, and forgotten.
    Farewell(NodeId),
}
