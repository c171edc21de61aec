//! The shell round [`roster::Node`]: moves its beats, reports and statuses over the broker, and decides nothing. A
//! gateway drives a [`Link`] with the users that it has; a control watches through an [`Observer`], a node without
//! users.

mod link;
mod observer;

pub use link::{Heard, Link};
pub use observer::{Observer, Watch, WatchEnded};
