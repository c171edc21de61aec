//! The pure core of terminating a user's connections: which connections a termination concerns, the fence that keeps
//! old tokens from coming back, and the tally of the nodes' confirmations. No I/O, no clock, no randomness.

mod fence;
mod tally;
mod termination;

pub use fence::{Fence, Mark};
pub use tally::{Outcome, Tally};
pub use termination::{Selector, Termination, TerminationId};
