//! One termination, as it stands in the journal.

use ids::{ProcessId, SocketId, UserKey};
use protocol::TerminationClose;
use std::fmt;

/// Names a termination: drawn at random by the control that appends it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TerminationId(pub u64);

impl fmt::Display for TerminationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for TerminationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Termination {
    pub id: TerminationId,
    /// The control that waits for the confirmations.
    pub asker: ProcessId,
    pub user: UserKey,
    pub selector: Selector,
    pub close: TerminationClose,
    /// Told to the clients; at most 123 bytes.
    pub reason: String,
}

/// Which of the user's connections are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    All,
    Except(Vec<SocketId>),
    Only(Vec<SocketId>),
}

impl Selector {
    #[must_use]
    pub fn matches(&self, socket: SocketId) -> bool {
        match self {
            Selector::All => true,
            Selector::Except(spared) => !spared.contains(&socket),
            Selector::Only(meant) => meant.contains(&socket),
        }
    }
}
