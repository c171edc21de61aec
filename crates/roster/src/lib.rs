//! The pure core of presence. Nodes report levels ("ada is signed in here") to the owner of a shard, in the shard's one
//! log; the owner joins them and tells the nodes that watch. No I/O, no clock, no randomness.
//!
//! The rules, and what goes wrong without each, are in `docs/ARCHITECTURE.md`, "Presence".

mod digest;
mod message;
mod node;
mod replica;
mod shard;

pub use message::{Message, NodeBeat, ReplicaBeat, Report, ReportDigest, Status, StatusDigest};
pub use node::{Node, NodeEffect};
pub use replica::{Replica, ReplicaEffect, Timing};
pub use shard::{UserView, Word};
