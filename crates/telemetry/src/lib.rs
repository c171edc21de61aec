//! What operators see of a process: its logs, whether it is well, and its metrics.
//!
//! A service takes its [`Part`] of the process's health and the [`Registry`] for its metrics through its constructor;
//! nothing here is global but the log subscriber, which `tracing` wants to be.

mod admin;
mod health;
mod logs;

pub use admin::serve_admin;
pub use health::{Health, Part};
pub use logs::{InitError, LogFormat, LogSettings, check_filter, init};
pub use prometheus_client::{self, registry::Registry};
