//! What a control knows of a termination that it waits for.

use ids::NodeId;
use std::collections::BTreeMap;

/// The confirmations of one termination. Complete when every node that was registered at the append has confirmed.
#[derive(Debug, Clone)]
pub struct Tally {
    confirmed: BTreeMap<NodeId, Option<u32>>,
}

/// What is known when the answer is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The connections that each node closed.
    pub nodes: Vec<(NodeId, u32)>,
    /// Registered at the append, and silent.
    pub unconfirmed: Vec<NodeId>,
}

impl Outcome {
    #[must_use]
    pub fn complete(&self) -> bool {
        self.unconfirmed.is_empty()
    }

    /// The connections closed on all nodes that confirmed.
    #[must_use]
    pub fn closed(&self) -> u32 {
        self.nodes.iter().map(|(_, closed)| closed).sum()
    }
}

impl Tally {
    /// `registered`: the nodes that the append answered with.
    #[must_use]
    pub fn new(registered: impl IntoIterator<Item = NodeId>) -> Tally {
        Tally { confirmed: registered.into_iter().map(|node| (node, None)).collect() }
    }

    /// A repeated confirmation changes nothing; one of a node that was not waited for (it registered after the append
    /// and read the entry all the same) is counted, since it closed connections.
    pub fn confirm(&mut self, node: NodeId, closed: u32) {
        self.confirmed.entry(node).or_default().get_or_insert(closed);
    }

    #[must_use]
    pub fn silent(&self) -> Vec<NodeId> {
        self.confirmed.iter().filter(|(_, closed)| closed.is_none()).map(|(node, _)| *node).collect()
    }

    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let nodes = self.confirmed.iter().filter_map(|(node, closed)| closed.map(|closed| (*node, closed)));
        Outcome { nodes: nodes.collect(), unconfirmed: self.silent() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_means_every_registered_node_confirmed() {
        let node = NodeId::from_random;
        let mut tally = Tally::new([node(1), node(2)]);
        tally.confirm(node(1), 3);
        assert_eq!(tally.outcome(), Outcome { nodes: vec![(node(1), 3)], unconfirmed: vec![node(2)] });
        assert!(!tally.outcome().complete());
        tally.confirm(node(1), 9);
        tally.confirm(node(3), 1);
        tally.confirm(node(2), 0);
        let outcome = tally.outcome();
        assert!(outcome.complete());
        assert_eq!(outcome.closed(), 4, "a repeat counts once");
    }

    #[test]
    fn without_nodes_there_is_nothing_to_wait_for() {
        assert!(Tally::new([]).outcome().complete());
    }
}
