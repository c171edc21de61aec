//! When it was true to call a user online, and when offline.

/// Both may hold at once: a sign-out that no owner can have read yet, or a node that is cut off.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct May {
    pub(crate) be_online: bool,
    pub(crate) be_offline: bool,
}

/// The past of one user.
pub(crate) struct History(Vec<(usize, May)>);

impl History {
    pub(crate) fn new() -> History {
        History(vec![(0, May { be_online: false, be_offline: true })])
    }

    pub(crate) fn observe(&mut self, step: usize, may: May) {
        if self.0.last().is_none_or(|(_, before)| *before != may) {
            self.0.push((step, may));
        }
    }

    /// The first step, not before `from`, at which `online` was true of the user.
    pub(crate) fn moment(&self, online: bool, from: usize) -> Option<usize> {
        let at = self.0.partition_point(|(step, _)| *step <= from).saturating_sub(1);
        let true_of = |may: &May| if online { may.be_online } else { may.be_offline };
        let (step, _) = self.0[at..].iter().find(|(_, may)| true_of(may))?;
        Some(from.max(*step))
    }
}
