//! The gateway: terminates WebSockets, verifies sign-ins, delivers events. One thread per core owns its connections
//! outright (`worker`); one task joins what the threads want and speaks to the broker (`node`).
//!
//! It keeps nothing that another node needs: losing one costs its clients a reconnect.

mod accept;
mod gateway;
mod http;
mod message;
mod metrics;
mod node;
mod outbox;
mod settings;
mod socket;
mod worker;

pub use gateway::{Gateway, WorkerPanicked};
pub use http::Fallback;
pub use settings::Settings;
