//! An owner's side of one shard: the join of what the nodes reported, and what each watching node was told.
//!
//! Online needs one witness; offline needs the word of all. Until the owner has a full report, to its own epoch, from
//! every node that it counts as live, it names nobody offline.

use crate::{
    Report, ReportDigest, Status, StatusDigest,
    digest::{About, level},
};
use ids::{AppId, Epoch, NodeId, ShardId, UserId, UserKey};
use smallvec::SmallVec;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    time::{Duration, Instant},
};

/// After this much quiet towards a node the last number is said again.
const QUIET: Duration = Duration::from_secs(10);

/// Own beats after which a node that beats, but does not give its word, is left out.
const OWED_FOR: u32 = 4;

/// Own beats for which a lost node's number is remembered: an hour.
const REMEMBERED_FOR: u64 = 1_800;

/// What a shard's owner knows of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserView {
    /// `None`: no witness, and not the word of all.
    pub online: Option<bool>,
    /// The nodes that say the user is there.
    pub nodes: Vec<NodeId>,
}

/// Whether an owner may say offline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It has the word of all: who has no witness is offline.
    OfAll,
    OfSome,
}

#[derive(Debug)]
pub(crate) struct Shard {
    id: ShardId,
    pub(crate) epoch: Epoch,
    /// The claim has come back in an own beat: every node heard since has heard it, too.
    claim_heard: bool,
    word: Word,
    users: BTreeMap<UserKey, User>,
    views: BTreeMap<NodeId, View>,
    /// Own beats with this epoch during which a node that is live has owed its word; `None`: given up on.
    owed: BTreeMap<NodeId, Option<u32>>,
    gone: BTreeMap<NodeId, Gone>,
    /// Users whose level may have changed.
    touched: BTreeSet<UserKey>,
    pub(crate) repairs: u64,
}

#[derive(Debug, Default)]
struct User {
    holders: SmallVec<[NodeId; 2]>,
    /// Who watches, and what it was told.
    watchers: SmallVec<[(NodeId, Option<bool>); 1]>,
}

/// One node, as the owner knows it.
#[derive(Debug)]
struct View {
    /// Its full report to this epoch has been read, and nothing is missing since.
    word: bool,
    seq: u64,
    base: u64,
    status_seq: u64,
    /// The next status answers the full report `base`.
    answer_full: bool,
    to_say: Vec<(UserKey, bool)>,
    /// Of the levels it reported, and of those it was told.
    reported: u64,
    told: u64,
    said: Instant,
}

#[derive(Debug, Clone, Copy)]
enum Gone {
    /// Its last report had this number; only a full one above it brings it back. `at` is the own beat of the loss.
    Lost { seq: u64, at: u64 },
    /// It said farewell: nothing of it is believed any more.
    Farewell { at: u64 },
}

/// What became of a message in the log.
pub(crate) enum Heard {
    /// It was of the owner's time, or told no more than that the node lives.
    Node,
    /// The node speaks to a later owner.
    Successor(Epoch),
    /// The node said farewell before: not a sign of life.
    Nothing,
}

impl Shard {
    pub(crate) fn new(id: ShardId, epoch: Epoch) -> Shard {
        Shard {
            id,
            epoch,
            claim_heard: false,
            word: Word::OfSome,
            users: BTreeMap::new(),
            views: BTreeMap::new(),
            owed: BTreeMap::new(),
            gone: BTreeMap::new(),
            touched: BTreeSet::new(),
            repairs: 0,
        }
    }

    pub(crate) fn claim_heard(&mut self) {
        self.claim_heard = true;
    }

    pub(crate) fn word(&self) -> Word {
        self.word
    }

    pub(crate) fn report(&mut self, report: Report, now: Instant) -> Heard {
        let Report { node, seq, epoch, full, users, watched } = report;
        let lost_at = match self.gone.get(&node) {
            Some(Gone::Farewell { .. }) => return Heard::Nothing,
            Some(Gone::Lost { seq, .. }) => Some(*seq),
            None => None,
        };
        self.speaks_again(node);
        if epoch != self.epoch {
            return if epoch > self.epoch { Heard::Successor(epoch) } else { Heard::Node };
        }
        if lost_at.is_some_and(|lost_at| !full || seq <= lost_at) {
            return Heard::Node;
        }
        let known = self.views.get(&node).map(|view| (view.word, view.seq));
        match (full, known) {
            // A repeat. Nor is an old full report the word of a node that is in doubt.
            (true, Some((_, last))) if seq <= last => return Heard::Node,
            (true, _) => self.start_over(node, seq, now),
            (false, Some((true, last))) if seq <= last => return Heard::Node,
            (false, Some((true, last))) if seq == last + 1 => {}
            (false, Some((true, _))) => {
                self.doubt(node);
                return Heard::Node;
            }
            (false, _) => return Heard::Node, // nothing to add to
        }
        if let Some(view) = self.views.get_mut(&node) {
            view.seq = seq;
        }
        users.into_iter().for_each(|(key, here)| self.hold(node, key, here));
        watched.into_iter().for_each(|(key, wanted)| self.watch(node, key, wanted));
        Heard::Node
    }

    pub(crate) fn digest(&mut self, digest: ReportDigest) -> Heard {
        let node = digest.node;
        if matches!(self.gone.get(&node), Some(Gone::Farewell { .. })) {
            return Heard::Nothing;
        }
        self.speaks_again(node);
        if digest.epoch != self.epoch {
            return if digest.epoch > self.epoch { Heard::Successor(digest.epoch) } else { Heard::Node };
        }
        let view = self.views.get(&node).filter(|view| view.word && digest.seq >= view.seq);
        if view.is_some_and(|view| digest.seq > view.seq || digest.digest != view.reported) {
            self.doubt(node);
        }
        Heard::Node
    }

    pub(crate) fn farewell(&mut self, node: NodeId, at: u64) {
        self.forget(node);
        self.owed.remove(&node);
        self.gone.insert(node, Gone::Farewell { at });
    }

    /// The node is lost: its levels go, and its number stays known. Whether there was anything to lose.
    pub(crate) fn lose(&mut self, node: NodeId, at: u64) -> bool {
        // If it beats again it owes its word from then on, even if it had been given up on.
        self.owed.remove(&node);
        let seq = self.forget(node);
        if let Some(seq) = seq {
            self.gone.insert(node, Gone::Lost { seq, at });
        }
        seq.is_some()
    }

    /// An own beat was heard, with this epoch in it or not: counts how long each live node has owed its word.
    pub(crate) fn own_beat(&mut self, with_this_epoch: bool, live: impl Iterator<Item = NodeId>, at: u64) {
        let mut overdue = Vec::new();
        for node in live.filter(|node| !matches!(self.gone.get(node), Some(Gone::Farewell { .. }))) {
            if self.views.get(&node).is_some_and(|view| view.word) {
                self.owed.remove(&node);
            } else if let Some(beats) = self.owed.entry(node).or_insert(Some(0)) {
                *beats += u32::from(with_this_epoch);
                if *beats >= OWED_FOR {
                    overdue.push(node);
                }
            }
        }
        for node in overdue {
            self.lose(node, at);
            self.owed.insert(node, None);
        }
        self.gone.retain(|_, gone| match gone {
            Gone::Lost { at: then, .. } | Gone::Farewell { at: then } => at - *then < REMEMBERED_FOR,
        });
    }

    /// Nodes that are asked for a full report: those that are live or may come back, and have not given their word.
    pub(crate) fn needs(&self, live: impl Iterator<Item = NodeId>) -> BTreeSet<NodeId> {
        let lost =
            self.gone.iter().filter(|(_, gone)| matches!(gone, Gone::Lost { .. })).map(|(node, _)| *node);
        let silent = live.filter(|node| {
            !self.gone.contains_key(node) && !self.views.get(node).is_some_and(|view| view.word)
        });
        silent.chain(lost).collect()
    }

    /// Tells each node what changed for it. `attentive`: the replica has listened long enough to know all live nodes.
    pub(crate) fn speak(
        &mut self,
        attentive: bool,
        live: impl Iterator<Item = NodeId>,
        now: Instant,
        say: &mut dyn FnMut(NodeId, Status),
    ) {
        let before = self.word;
        self.word = self.word_of(attentive, live);
        if self.word == Word::OfAll && before == Word::OfSome {
            self.touched = self.users.keys().cloned().collect();
        }
        for key in std::mem::take(&mut self.touched) {
            self.weigh(&key);
        }
        let (shard, epoch) = (self.id, self.epoch);
        for (node, view) in self.views.iter_mut().filter(|(_, view)| view.word) {
            if view.answer_full || !view.to_say.is_empty() {
                view.status_seq = if view.answer_full { 0 } else { view.status_seq + 1 };
                view.answer_full = false;
                view.said = now;
                let (base, seq, after) = (view.base, view.status_seq, view.seq);
                let levels = std::mem::take(&mut view.to_say);
                say(*node, Status { shard, epoch, base, seq, after, levels });
            }
        }
    }

    /// After some quiet, says again to a node what number it has come to.
    pub(crate) fn repeat_numbers(&mut self, now: Instant, say: &mut dyn FnMut(NodeId, StatusDigest)) {
        let (shard, epoch) = (self.id, self.epoch);
        for (node, view) in self.views.iter_mut().filter(|(_, view)| view.word && now >= view.said + QUIET) {
            view.said = now;
            let (base, seq, after, digest) = (view.base, view.status_seq, view.seq, view.told);
            say(*node, StatusDigest { shard, epoch, base, seq, after, digest });
        }
    }

    pub(crate) fn user(&self, key: &UserKey) -> UserView {
        let nodes = self.users.get(key).map_or_else(Vec::new, |user| user.holders.to_vec());
        let online = if nodes.is_empty() { (self.word == Word::OfAll).then_some(false) } else { Some(true) };
        UserView { online, nodes }
    }

    /// Users of an app who are online, in byte order.
    pub(crate) fn online<'a>(
        &'a self,
        app: &'a AppId,
        after: Option<&'a UserKey>,
    ) -> impl Iterator<Item = &'a UserId> {
        let start = match after {
            Some(key) => Bound::Excluded(key.clone()),
            None => Bound::Included(UserKey { app: app.clone(), user: UserId::first() }),
        };
        let users = self.users.range((start, Bound::Unbounded)).take_while(move |(key, _)| key.app == *app);
        users.filter(|(_, user)| !user.holders.is_empty()).map(|(key, _)| &key.user)
    }

    /// Users online, watched users, and nodes.
    pub(crate) fn sizes(&self) -> (usize, usize, usize) {
        let online = self.users.values().filter(|user| !user.holders.is_empty()).count();
        let watched = self.users.values().filter(|user| !user.watchers.is_empty()).count();
        (online, watched, self.views.len())
    }

    fn word_of(&self, attentive: bool, mut live: impl Iterator<Item = NodeId>) -> Word {
        let given = |node: NodeId| {
            self.views.get(&node).is_some_and(|view| view.word)
                || self.owed.get(&node) == Some(&None)
                || matches!(self.gone.get(&node), Some(Gone::Farewell { .. }))
        };
        if attentive && self.claim_heard && live.all(given) { Word::OfAll } else { Word::OfSome }
    }

    /// A node that was given up on says something: nobody is offline before its word is in.
    fn speaks_again(&mut self, node: NodeId) {
        if self.owed.get(&node) == Some(&None) {
            self.owed.insert(node, Some(0));
        }
    }

    /// Something of the node is missing, so it has to say everything again. What it said still witnesses.
    fn doubt(&mut self, node: NodeId) {
        if let Some(view) = self.views.get_mut(&node) {
            view.word = false;
            self.repairs += 1;
        }
    }

    /// A full report replaces what was known of the node, and is answered by a full status.
    fn start_over(&mut self, node: NodeId, seq: u64, now: Instant) {
        self.forget(node);
        self.gone.remove(&node);
        self.owed.remove(&node);
        let view = View {
            word: true,
            seq,
            base: seq,
            status_seq: 0,
            answer_full: true,
            to_say: Vec::new(),
            reported: 0,
            told: 0,
            said: now,
        };
        self.views.insert(node, view);
    }

    /// Takes all of a node's levels out; answers with its last number.
    fn forget(&mut self, node: NodeId) -> Option<u64> {
        let view = self.views.remove(&node)?;
        for (key, user) in &mut self.users {
            let before = user.holders.len();
            user.holders.retain(|holder| *holder != node);
            user.watchers.retain(|(watcher, _)| *watcher != node);
            // An entry that nothing is left of is removed when it is weighed.
            if user.holders.len() != before || user.is_empty() {
                self.touched.insert(key.clone());
            }
        }
        Some(view.seq)
    }

    fn hold(&mut self, node: NodeId, key: UserKey, here: bool) {
        let Some(view) = self.views.get_mut(&node) else { return };
        let user = self.users.entry(key.clone()).or_default();
        let held = user.holders.contains(&node);
        if held != here {
            view.reported ^= level(About::SignedIn, &key, true);
            if here {
                user.holders.push(node);
            } else {
                user.holders.retain(|holder| *holder != node);
            }
        }
        self.touched.insert(key);
    }

    fn watch(&mut self, node: NodeId, key: UserKey, wanted: bool) {
        let Some(view) = self.views.get_mut(&node) else { return };
        let user = self.users.entry(key.clone()).or_default();
        if let Some(at) = user.watchers.iter().position(|(watcher, _)| *watcher == node) {
            let (_, told) = user.watchers.swap_remove(at);
            view.reported ^= level(About::Watched, &key, true);
            view.forget_told(&key, told);
        }
        if wanted {
            view.reported ^= level(About::Watched, &key, true);
            user.watchers.push((node, None)); // asked anew, so answered anew
        }
        self.touched.insert(key);
    }

    /// Tells the watchers of a user what they have not been told yet.
    fn weigh(&mut self, key: &UserKey) {
        let Some(user) = self.users.get_mut(key) else { return };
        if user.is_empty() {
            self.users.remove(key);
            return;
        }
        let online = match self.word {
            _ if !user.holders.is_empty() => true,
            Word::OfAll => false,
            Word::OfSome => return,
        };
        for (watcher, told) in &mut user.watchers {
            let Some(view) = self.views.get_mut(watcher).filter(|view| view.word) else { continue };
            if *told != Some(online) {
                view.forget_told(key, *told);
                view.told ^= level(About::Told, key, online);
                view.to_say.push((key.clone(), online));
                *told = Some(online);
            }
        }
    }
}

impl View {
    fn forget_told(&mut self, key: &UserKey, told: Option<bool>) {
        if let Some(yes) = told {
            self.told ^= level(About::Told, key, yes);
        }
    }
}

impl User {
    fn is_empty(&self) -> bool {
        self.holders.is_empty() && self.watchers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ids::ProcessId;

    /// What stands in the log, or happens to a node. All nodes named here are live until they are lost.
    enum Event {
        Full { node: u64, seq: u64, has: &'static str, watches: &'static str },
        Changed { node: u64, seq: u64, user: &'static str, here: bool },
        Watched { node: u64, seq: u64, user: &'static str, wanted: bool },
        Old { node: u64, seq: u64, has: &'static str },
        Lost { node: u64 },
        Farewell { node: u64 },
    }
    use Event::*;

    fn user(name: &str) -> UserKey {
        UserKey { app: "1".parse().expect("app id"), user: name.parse().expect("user id") }
    }

    /// One row an event: what the owner then says, as `node: user level`, and `node:` for an answer without levels.
    fn check(live: &[u64], rows: &[(Event, &str)]) {
        let epoch =
            |turn| (0..turn).fold(Epoch::NONE, |epoch, _| Epoch::above(epoch, ProcessId::from_random(7)));
        let (now, id) = (Instant::now(), NodeId::from_random);
        let mut shard = Shard::new(ShardId(0), epoch(2));
        shard.claim_heard();
        let mut live: BTreeSet<NodeId> = live.iter().copied().map(id).collect();
        for (row, (event, expected)) in rows.iter().enumerate() {
            let all = |names: &str| names.split_whitespace().map(|name| (user(name), true)).collect();
            let empty = |node: u64, seq: u64| Report {
                node: id(node),
                seq,
                epoch: epoch(2),
                full: false,
                users: Vec::new(),
                watched: Vec::new(),
            };
            let report = match *event {
                Full { node, seq, has, watches } => {
                    Some(Report { full: true, users: all(has), watched: all(watches), ..empty(node, seq) })
                }
                Changed { node, seq, user: name, here } => {
                    Some(Report { users: vec![(user(name), here)], ..empty(node, seq) })
                }
                Watched { node, seq, user: name, wanted } => {
                    Some(Report { watched: vec![(user(name), wanted)], ..empty(node, seq) })
                }
                Old { node, seq, has } => {
                    Some(Report { full: true, epoch: epoch(1), users: all(has), ..empty(node, seq) })
                }
                Lost { node } => {
                    shard.lose(id(node), 1);
                    live.remove(&id(node));
                    None
                }
                Farewell { node } => {
                    shard.farewell(id(node), 1);
                    None
                }
            };
            if let Some(report) = report {
                live.insert(report.node);
                shard.report(report, now);
            }
            let mut said = Vec::new();
            shard.speak(true, live.iter().copied(), now, &mut |node, status| {
                let levels = status.levels.iter().map(|(key, online)| {
                    format!(" {} {}", key.user, if *online { "online" } else { "offline" })
                });
                said.push(format!("{}:{}", node.bits(), levels.collect::<String>()));
            });
            assert_eq!(said.join(", "), *expected, "row {row}");
        }
    }

    #[test]
    fn a_user_on_a_second_node_is_silent_and_so_is_leaving_one_of_two() {
        check(
            &[1, 2],
            &[
                (Full { node: 1, seq: 1, has: "", watches: "ada" }, "1:"),
                (Full { node: 2, seq: 1, has: "", watches: "" }, "1: ada offline, 2:"),
                (Changed { node: 1, seq: 2, user: "ada", here: true }, "1: ada online"),
                (Changed { node: 2, seq: 2, user: "ada", here: true }, ""),
                (Changed { node: 1, seq: 3, user: "ada", here: false }, ""),
                (Changed { node: 2, seq: 3, user: "ada", here: false }, "1: ada offline"),
            ],
        );
    }

    #[test]
    fn online_needs_one_witness_and_offline_the_word_of_all() {
        check(
            &[1, 2, 3],
            &[
                (Full { node: 1, seq: 1, has: "", watches: "ada bea" }, "1:"),
                (Full { node: 2, seq: 1, has: "ada", watches: "" }, "1: ada online, 2:"),
                (Changed { node: 2, seq: 2, user: "ada", here: false }, ""),
                (Full { node: 3, seq: 1, has: "", watches: "" }, "1: ada offline bea offline, 3:"),
            ],
        );
    }

    #[test]
    fn a_report_to_another_owner_says_no_more_than_that_the_node_lives() {
        check(
            &[1],
            &[
                (Full { node: 1, seq: 1, has: "", watches: "ada" }, "1: ada offline"),
                (Old { node: 2, seq: 4, has: "ada" }, ""),
                // Until its word is in, nobody is offline.
                (Watched { node: 1, seq: 2, user: "bea", wanted: true }, ""),
                (Full { node: 2, seq: 5, has: "", watches: "" }, "1: bea offline, 2:"),
            ],
        );
    }

    #[test]
    fn a_lost_nodes_levels_go_and_its_number_stays() {
        check(
            &[1, 2],
            &[
                (Full { node: 1, seq: 1, has: "", watches: "ada bea" }, "1:"),
                (Full { node: 2, seq: 3, has: "ada", watches: "" }, "1: ada online bea offline, 2:"),
                (Lost { node: 2 }, "1: ada offline"),
                // What it says next goes back to levels that are not known any more, and holds offline back.
                (Changed { node: 2, seq: 4, user: "bea", here: true }, ""),
                (Full { node: 2, seq: 3, has: "ada", watches: "" }, ""),
                (Watched { node: 1, seq: 2, user: "carl", wanted: true }, ""),
                (
                    Full { node: 2, seq: 5, has: "ada bea", watches: "" },
                    "1: ada online bea online carl offline, 2:",
                ),
            ],
        );
    }

    #[test]
    fn a_farewell_forgets_the_node_for_good() {
        check(
            &[1, 2],
            &[
                (Full { node: 1, seq: 1, has: "", watches: "ada bea" }, "1:"),
                (
                    Full { node: 2, seq: 1, has: "ada", watches: "bea" },
                    "1: ada online bea offline, 2: bea offline",
                ),
                (Farewell { node: 2 }, "1: ada offline"),
                (Full { node: 2, seq: 9, has: "ada", watches: "" }, ""),
                (Changed { node: 1, seq: 2, user: "bea", here: true }, "1: bea online"),
                (Changed { node: 1, seq: 3, user: "bea", here: false }, "1: bea offline"),
            ],
        );
    }

    #[test]
    fn a_gap_is_doubt_until_a_later_full_report() {
        check(
            &[1, 2],
            &[
                (Full { node: 1, seq: 1, has: "", watches: "ada bea" }, "1:"),
                (Full { node: 2, seq: 1, has: "ada", watches: "" }, "1: ada online bea offline, 2:"),
                (Changed { node: 2, seq: 3, user: "ada", here: false }, ""),
                // What it said before still witnesses; what it says now adds to nothing.
                (Changed { node: 2, seq: 4, user: "bea", here: true }, ""),
                (Full { node: 2, seq: 1, has: "", watches: "" }, ""),
                (Full { node: 2, seq: 5, has: "bea", watches: "" }, "1: ada offline bea online, 2:"),
            ],
        );
    }

    #[test]
    fn an_old_report_is_not_read_again() {
        check(
            &[1],
            &[
                (Full { node: 1, seq: 1, has: "", watches: "ada" }, "1: ada offline"),
                (Changed { node: 1, seq: 2, user: "ada", here: true }, "1: ada online"),
                (Full { node: 1, seq: 1, has: "", watches: "" }, ""),
                (Changed { node: 1, seq: 3, user: "ada", here: false }, "1: ada offline"),
                (Changed { node: 1, seq: 2, user: "ada", here: true }, ""),
                (Changed { node: 1, seq: 4, user: "ada", here: true }, "1: ada online"),
            ],
        );
    }

    #[test]
    fn a_digest_that_differs_at_the_same_number_is_doubt() {
        let (node, epoch, now) = (NodeId::from_random(1), Epoch::from_number(9), Instant::now());
        let check = |seq, digest, repairs| {
            let mut shard = Shard::new(ShardId(0), epoch);
            let (users, watched) = (vec![(user("ada"), true)], Vec::new());
            shard.report(Report { node, seq: 2, epoch, full: true, users, watched }, now);
            shard.digest(ReportDigest { node, seq, epoch, digest });
            assert_eq!(shard.repairs, repairs, "{seq} {digest}");
        };
        let ada = level(About::SignedIn, &user("ada"), true);
        check(2, ada, 0);
        check(2, 0, 1);
        check(1, 0, 0); // an old one
        check(3, ada, 1); // a report is missing
    }

    #[test]
    fn every_yes_to_watching_is_answered_repeated_or_not() {
        check(
            &[1],
            &[
                (Full { node: 1, seq: 1, has: "ada", watches: "ada" }, "1: ada online"),
                (Watched { node: 1, seq: 2, user: "ada", wanted: true }, "1: ada online"),
                (Watched { node: 1, seq: 3, user: "ada", wanted: false }, ""),
                (Changed { node: 1, seq: 4, user: "ada", here: false }, ""),
                (Watched { node: 1, seq: 5, user: "ada", wanted: true }, "1: ada offline"),
            ],
        );
    }
}
