//! Reports, statuses and beats.

use crate::{InvalidMessage, cluster::v1};
use ids::{Epoch, NodeId, ProcessId, ShardId, UserKey};
use roster::{Message, NodeBeat, ReplicaBeat, Report, ReportDigest, Status, StatusDigest};

fn levels(levels: &[(UserKey, bool)]) -> Vec<v1::Level> {
    levels.iter().map(|(key, yes)| v1::Level { user: Some(key.into()), yes: *yes }).collect()
}

fn own_levels(levels: Vec<v1::Level>) -> Result<Vec<(UserKey, bool)>, InvalidMessage> {
    let own = |level: v1::Level| Ok((level.user.ok_or(InvalidMessage("user"))?.try_into()?, level.yes));
    levels.into_iter().map(own).collect()
}

fn shard(shard: u32) -> Result<ShardId, InvalidMessage> {
    shard.try_into().map(ShardId).map_err(|_| InvalidMessage("shard"))
}

fn shard_epochs(epochs: &[(ShardId, Epoch)]) -> Vec<v1::ShardEpoch> {
    epochs
        .iter()
        .map(|(shard, epoch)| v1::ShardEpoch { shard: shard.0.into(), epoch: epoch.number() })
        .collect()
}

fn own_epochs(epochs: Vec<v1::ShardEpoch>) -> Result<Vec<(ShardId, Epoch)>, InvalidMessage> {
    epochs.into_iter().map(|pair| Ok((shard(pair.shard)?, Epoch::from_number(pair.epoch)))).collect()
}

impl From<&Message> for v1::ToShard {
    fn from(message: &Message) -> v1::ToShard {
        use v1::to_shard::Said;
        let said = match message {
            Message::Report(report) => Said::Report(v1::Report {
                node: report.node.bits(),
                seq: report.seq,
                epoch: report.epoch.number(),
                full: report.full,
                users: levels(&report.users),
                watched: levels(&report.watched),
            }),
            Message::Digest(digest) => Said::Digest(v1::ReportDigest {
                node: digest.node.bits(),
                seq: digest.seq,
                epoch: digest.epoch.number(),
                digest: digest.digest,
            }),
            Message::Farewell(node) => Said::Farewell(v1::Farewell { node: node.bits() }),
        };
        v1::ToShard { said: Some(said) }
    }
}

impl TryFrom<v1::Report> for Report {
    type Error = InvalidMessage;

    fn try_from(report: v1::Report) -> Result<Report, InvalidMessage> {
        Ok(Report {
            node: NodeId::from_random(report.node),
            seq: report.seq,
            epoch: Epoch::from_number(report.epoch),
            full: report.full,
            users: own_levels(report.users)?,
            watched: own_levels(report.watched)?,
        })
    }
}

impl From<v1::ReportDigest> for ReportDigest {
    fn from(digest: v1::ReportDigest) -> ReportDigest {
        ReportDigest {
            node: NodeId::from_random(digest.node),
            seq: digest.seq,
            epoch: Epoch::from_number(digest.epoch),
            digest: digest.digest,
        }
    }
}

impl From<&Status> for v1::Status {
    fn from(status: &Status) -> v1::Status {
        v1::Status {
            shard: status.shard.0.into(),
            epoch: status.epoch.number(),
            base: status.base,
            seq: status.seq,
            after: status.after,
            levels: levels(&status.levels),
        }
    }
}

impl TryFrom<v1::Status> for Status {
    type Error = InvalidMessage;

    fn try_from(status: v1::Status) -> Result<Status, InvalidMessage> {
        Ok(Status {
            shard: shard(status.shard)?,
            epoch: Epoch::from_number(status.epoch),
            base: status.base,
            seq: status.seq,
            after: status.after,
            levels: own_levels(status.levels)?,
        })
    }
}

impl From<&StatusDigest> for v1::StatusDigest {
    fn from(digest: &StatusDigest) -> v1::StatusDigest {
        v1::StatusDigest {
            shard: digest.shard.0.into(),
            epoch: digest.epoch.number(),
            base: digest.base,
            seq: digest.seq,
            after: digest.after,
            digest: digest.digest,
        }
    }
}

impl TryFrom<v1::StatusDigest> for StatusDigest {
    type Error = InvalidMessage;

    fn try_from(digest: v1::StatusDigest) -> Result<StatusDigest, InvalidMessage> {
        Ok(StatusDigest {
            shard: shard(digest.shard)?,
            epoch: Epoch::from_number(digest.epoch),
            base: digest.base,
            seq: digest.seq,
            after: digest.after,
            digest: digest.digest,
        })
    }
}

impl From<&NodeBeat> for v1::Beat {
    fn from(beat: &NodeBeat) -> v1::Beat {
        let epochs = shard_epochs(&beat.epochs);
        let said = v1::NodeBeat { node: beat.node.bits(), number: beat.number, epochs };
        v1::Beat { said: Some(v1::beat::Said::Node(said)) }
    }
}

impl TryFrom<v1::NodeBeat> for NodeBeat {
    type Error = InvalidMessage;

    fn try_from(beat: v1::NodeBeat) -> Result<NodeBeat, InvalidMessage> {
        let epochs = own_epochs(beat.epochs)?;
        Ok(NodeBeat { node: NodeId::from_random(beat.node), number: beat.number, epochs })
    }
}

impl From<&ReplicaBeat> for v1::Beat {
    fn from(beat: &ReplicaBeat) -> v1::Beat {
        let need = |(shard, node): &(ShardId, NodeId)| v1::Need { shard: shard.0.into(), node: node.bits() };
        let said = v1::ReplicaBeat {
            replica: beat.replica.bits(),
            number: beat.number,
            owned: shard_epochs(&beat.owned),
            needs: beat.needs.iter().map(need).collect(),
        };
        v1::Beat { said: Some(v1::beat::Said::Replica(said)) }
    }
}

impl TryFrom<v1::ReplicaBeat> for ReplicaBeat {
    type Error = InvalidMessage;

    fn try_from(beat: v1::ReplicaBeat) -> Result<ReplicaBeat, InvalidMessage> {
        let need = |need: v1::Need| Ok((shard(need.shard)?, NodeId::from_random(need.node)));
        Ok(ReplicaBeat {
            replica: ProcessId::from_random(beat.replica),
            number: beat.number,
            owned: own_epochs(beat.owned)?,
            needs: beat.needs.into_iter().map(need).collect::<Result<_, InvalidMessage>>()?,
        })
    }
}
