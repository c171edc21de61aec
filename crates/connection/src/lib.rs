//! The pure core of a gateway. No I/O, no clock, no randomness: [`Worker`] decides for the connections of one thread,
//! [`Interests`] joins what the workers of a node want.

mod audience;
mod connection;
mod interest;
mod rate;
mod watching;
mod worker;

pub use connection::{ConnectionId, Reading};
pub use interest::{InterestEffect, Interests, Subject};
pub use worker::{Effect, Opening, SignIns, SignedIn, Timing, Wanted, Wish, Worker};
