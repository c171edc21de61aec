//! A digest of a set of levels that does not depend on their order, so that adding and removing one is a single step.

use ids::{UserKey, stable_hash};

/// What a level is about.
#[derive(Clone, Copy)]
pub(crate) enum About {
    SignedIn,
    Watched,
    Told,
}

/// One level's share; a set's digest is the exclusive or of its levels'. Both sides of a digest compute the same.
pub(crate) fn level(about: About, key: &UserKey, yes: bool) -> u64 {
    let bytes = key.app.as_str().bytes().chain([0]).chain(key.user.as_str().bytes());
    stable_hash(bytes.chain([0, about as u8, u8::from(yes)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Message, Node, NodeEffect, Replica, ReplicaEffect, Timing};
    use ids::{Epoch, NodeId, ProcessId, ShardId, Shards};
    use proptest::{collection::vec, prelude::any};
    use std::{
        num::NonZeroU16,
        time::{Duration, Instant},
    };

    const SHARD: ShardId = ShardId(0);

    fn user(n: u8) -> UserKey {
        UserKey { app: "1".parse().expect("app id"), user: format!("user-{n}").parse().expect("user id") }
    }

    /// One node and its owner, between whom nothing takes any time.
    struct Pair {
        node: Node,
        replica: Replica,
        now: Instant,
        digests: usize,
        repairs: usize,
    }

    impl Pair {
        fn new() -> Pair {
            let shards = Shards::new(NonZeroU16::new(1).expect("not zero"));
            let id = ProcessId::from_random(7);
            let node = Node::new(NodeId::from_random(1), shards);
            let replica = Replica::new(id, Timing { listen_beats: 1, lost_after: 4 });
            let mut pair = Pair { node, replica, now: Instant::now(), digests: 0, repairs: 0 };
            pair.replica.claimed(SHARD, Epoch::above(Epoch::NONE, id), &mut Vec::new());
            (0..3).for_each(|_| pair.tick());
            pair
        }

        fn tick(&mut self) {
            self.now += Duration::from_secs(2);
            let (mut of_node, mut of_replica) = (Vec::new(), Vec::new());
            self.node.tick(self.now, &mut of_node);
            self.replica.tick(self.now, &mut of_replica);
            self.perform(of_node, of_replica, false);
        }

        fn change(&mut self, what: u8, n: u8, lose: bool) {
            let (key, mut effects) = (user(n), Vec::new());
            match what {
                0 => self.node.sign_in(key, self.now, &mut effects),
                1 => self.node.sign_out(&key, Duration::ZERO, self.now, &mut effects),
                2 => drop(self.node.watch(key, self.now, &mut effects)),
                _ => self.node.unwatch(&key, self.now),
            }
            self.perform(effects, Vec::new(), lose);
        }

        fn perform(&mut self, mut of_node: Vec<NodeEffect>, mut of_replica: Vec<ReplicaEffect>, lose: bool) {
            while !of_node.is_empty() || !of_replica.is_empty() {
                let (mut next_node, mut next_replica) = (Vec::new(), Vec::new());
                for effect in of_node {
                    match effect {
                        NodeEffect::Report(shard, report) => {
                            if !lose {
                                self.replica.log(shard, Message::Report(report), self.now, &mut next_replica);
                            }
                            self.node.taken(shard, self.now, &mut next_node);
                        }
                        NodeEffect::Digest(shard, digest) => {
                            self.digests += 1;
                            self.replica.log(shard, Message::Digest(digest), self.now, &mut next_replica);
                        }
                        NodeEffect::Beat(beat) => self.replica.node_beat(&beat, self.now, &mut next_replica),
                        NodeEffect::Repair(_) => self.repairs += 1,
                        _ => {}
                    }
                }
                for effect in of_replica {
                    match effect {
                        ReplicaEffect::Status(_, status) => {
                            self.node.status(status, self.now, &mut next_node)
                        }
                        ReplicaEffect::Digest(_, digest) => {
                            self.digests += 1;
                            self.node.status_digest(digest, self.now, &mut next_node);
                        }
                        ReplicaEffect::Beat(beat) => {
                            self.node.replica_beat(&beat, self.now, &mut next_node);
                            self.replica.replica_beat(&beat, self.now, &mut next_replica);
                        }
                        ReplicaEffect::Repair(_) => self.repairs += 1,
                        _ => {}
                    }
                }
                (of_node, of_replica) = (next_node, next_replica);
            }
        }

        fn quiet(&mut self) {
            let before = self.digests;
            (0..8).for_each(|_| self.tick());
            assert!(self.digests >= before + 2, "both sides have said theirs");
        }
    }

    proptest::proptest! {
        #[test]
        fn both_sides_come_to_the_same_digests(changes in vec((0..4_u8, 0..4_u8, any::<bool>()), 0..60)) {
            let mut pair = Pair::new();
            for (what, n, pause) in changes {
                pair.change(what, n, false);
                if pause {
                    pair.tick();
                }
            }
            pair.quiet();
            assert_eq!(pair.repairs, 0);
        }
    }

    #[test]
    fn a_lost_last_report_is_found_after_some_quiet() {
        let mut pair = Pair::new();
        pair.change(0, 1, true);
        assert_eq!(pair.replica.sizes(), (0, 0, 1));
        pair.quiet();
        assert_eq!((pair.replica.sizes(), pair.repairs > 0), ((1, 0, 1), true));
    }

    #[test]
    fn levels_differ_by_what_they_are_about_and_do_not_cancel_out() {
        let keys = [user(1), user(2)];
        let all = keys.iter().flat_map(|key| {
            [About::SignedIn, About::Watched, About::Told]
                .map(|about| [level(about, key, true), level(about, key, false)])
        });
        let all: Vec<u64> = all.flatten().collect();
        let subsets = (0..1_u32 << all.len()).map(|subset| {
            let chosen = all.iter().enumerate().filter(|(n, _)| subset >> n & 1 == 1);
            chosen.fold(0, |digest, (_, share)| digest ^ share)
        });
        assert_eq!(subsets.collect::<std::collections::BTreeSet<_>>().len(), 1 << all.len());
    }
}
