//! The presence service: owns shards of users, joins what the nodes report, and tells each node what it watches. What it
//! decides, [`roster::Replica`] decides; this is the shell that keeps leases, reads the shards' logs and publishes.

mod metrics;
mod question;
mod service;

pub use service::{Presence, Settings};
