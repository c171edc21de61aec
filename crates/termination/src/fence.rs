//! What a worker remembers of the terminations it has read: whoever opened a connection before one of them, and so may
//! hold a token older than it, is refused when it tries to sign in as that user.

use crate::Termination;
use hashbrown::HashMap;
use ids::{SocketId, UserKey};
use std::{collections::VecDeque, sync::Arc};

/// How many terminations had been read when something happened.
///
/// A connection keeps the mark of its opening. A termination concerns exactly the connections opened before it was
/// read: no clock is asked, and none opened later is ever affected.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Mark(u64);

/// The last terminations read, in order.
#[derive(Debug, Default)]
pub struct Fence {
    /// How many have been forgotten: the mark of the oldest one kept.
    forgotten: u64,
    kept: VecDeque<Arc<Termination>>,
    /// Where those of a user stand, counted from the first ever read.
    by_user: HashMap<UserKey, Vec<u64>>,
}

impl Fence {
    /// 65 536 terminations of some 200 bytes each: 13 MB at most, shared by all workers of a node.
    pub const KEPT: usize = 65_536;

    /// The mark for a connection that is opened now.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.forgotten + self.kept.len() as u64)
    }

    /// Takes note of a termination that was read from the journal.
    pub fn read(&mut self, termination: Arc<Termination>) {
        if self.kept.len() == Self::KEPT {
            self.forget_oldest();
        }
        let Mark(at) = self.mark();
        self.by_user.entry(termination.user.clone()).or_default().push(at);
        self.kept.push_back(termination);
    }

    /// Whether a connection opened at `opened` may sign in as `user`.
    ///
    /// Connections older than the oldest forgotten termination are refused whoever they are: what they missed is not
    /// known any more. An honest client comes back on a new connection, and is let in.
    #[must_use]
    pub fn admits(&self, opened: Mark, user: &UserKey, socket: SocketId) -> bool {
        // From the latest on, back to the opening: what was read before does not concern it.
        let since = |ats: &Vec<u64>| {
            let mut later = ats.iter().rev().take_while(|at| **at >= opened.0);
            later.any(|at| self.kept[(at - self.forgotten) as usize].selector.matches(socket))
        };
        opened.0 >= self.forgotten && !self.by_user.get(user).is_some_and(since)
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.kept.pop_front() else { return };
        if let Some(ats) = self.by_user.get_mut(&oldest.user) {
            ats.retain(|at| *at != self.forgotten);
            if ats.is_empty() {
                self.by_user.remove(&oldest.user);
            }
        }
        self.forgotten += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Selector, TerminationId};
    use ids::ProcessId;
    use protocol::TerminationClose;

    fn user(name: &str) -> UserKey {
        UserKey { app: "1".parse().expect("app id"), user: name.parse().expect("user id") }
    }

    fn socket(id: &str) -> SocketId {
        id.parse().expect("socket id")
    }

    fn termination(name: &str, selector: Selector) -> Arc<Termination> {
        let (id, asker) = (TerminationId(1), ProcessId::from_random(1));
        let close = TerminationClose::Reconnect;
        Arc::new(Termination { id, asker, user: user(name), selector, close, reason: String::new() })
    }

    #[test]
    fn a_connection_opened_before_is_refused_and_one_opened_after_is_not() {
        let mut fence = Fence::default();
        let before = fence.mark();
        assert!(fence.admits(before, &user("ada"), socket("1.1")));
        fence.read(termination("ada", Selector::All));
        assert!(!fence.admits(before, &user("ada"), socket("1.1")));
        assert!(fence.admits(before, &user("bob"), socket("1.1")));
        assert!(fence.admits(fence.mark(), &user("ada"), socket("1.1")));
    }

    #[test]
    fn the_fence_has_the_terminations_selector() {
        let mut fence = Fence::default();
        let before = fence.mark();
        fence.read(termination("ada", Selector::Except(vec![socket("1.1")])));
        assert!(fence.admits(before, &user("ada"), socket("1.1")));
        assert!(!fence.admits(before, &user("ada"), socket("1.2")));
        fence.read(termination("bob", Selector::Only(vec![socket("1.1")])));
        assert!(!fence.admits(before, &user("bob"), socket("1.1")));
        assert!(fence.admits(before, &user("bob"), socket("1.2")));
    }

    #[test]
    fn who_is_older_than_what_was_forgotten_is_refused() {
        let mut fence = Fence::default();
        let oldest = fence.mark();
        fence.read(termination("ada", Selector::All));
        let second = fence.mark();
        (0..Fence::KEPT).for_each(|_| fence.read(termination("bob", Selector::All)));
        assert!(!fence.admits(oldest, &user("eve"), socket("1.1")), "ada's termination is forgotten");
        assert!(fence.admits(second, &user("ada"), socket("1.1")));
        assert!(!fence.admits(second, &user("bob"), socket("1.1")));
        assert_eq!(fence.by_user.len(), 1);
    }
}
