//! A node's side of presence: what it has and watches in each shard, its reports, and the levels it was told.
//!
//! It never decides who is online elsewhere: that is the owner's word. It never waits: whoever drives it publishes what
//! it is given and says when the broker has taken it.

use crate::{
    NodeBeat, ReplicaBeat, Report, ReportDigest, Status, StatusDigest,
    digest::{About, level},
};
use ids::{Epoch, NodeId, ShardId, Shards, UserKey};
use indexmap::{IndexMap, IndexSet};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// How long a watch that nobody wants any more is kept: a page reload does not ask anew.
const WATCH_LINGER: Duration = Duration::from_secs(2);

/// After this long without a beat of the owner its silence is taken into account: two beats.
const OWNER_SILENT_AFTER: Duration = Duration::from_secs(4);

/// An owner that still lacks a full report which was said within the last beat asked before it could read it; one that
/// really lacks it asks again with its next beat.
const QUESTION_CROSSED: Duration = Duration::from_secs(2);

/// After this much quiet in a shard the last number is said again.
const QUIET: Duration = Duration::from_secs(10);

/// What the node's shell does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeEffect {
    /// Publish in the shard's log, repeating until it is taken, then call [`Node::taken`].
    Report(ShardId, Report),
    /// Publish in the shard's log; may be lost.
    Digest(ShardId, ReportDigest),
    /// Publish to all; may be lost.
    Beat(NodeBeat),
    /// The user's presence here has been taken: sign-ins may succeed.
    Online(UserKey),
    /// The level of a watched user became known, or changed.
    Level(UserKey, bool),
    /// The owner of this shard is not heard: its offline levels may be out of date.
    OwnerSilent(ShardId),
    OwnerHeard(ShardId),
    /// Something was lost on the way, and everything is said again. For a metric: 0 in a healthy run.
    Repair(ShardId),
}

/// See the module.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    shards: Shards,
    logs: Vec<Log>,
    /// The graces that run, by their end; one that was cut short is passed over.
    graces: BTreeSet<(Instant, UserKey)>,
    beats: u64,
    heard_own_beat: bool,
}

/// One shard, as the node sees it.
#[derive(Debug)]
struct Log {
    /// The highest epoch heard.
    epoch: Epoch,
    /// The epoch that the last full report was for, and that report's number.
    full_for: Epoch,
    full_seq: u64,
    full_said: Option<Instant>,
    need_full: bool,
    seq: u64,
    /// A report is on its way; what changes meanwhile joins the next one.
    in_flight: bool,
    /// The last status heard since the full report.
    heard: Option<u64>,
    users: IndexMap<UserKey, User>,
    watched: IndexMap<UserKey, Watched>,
    dirty_users: IndexSet<UserKey>,
    dirty_watched: IndexSet<UserKey>,
    /// The users that are new in the report on its way.
    reported: Vec<UserKey>,
    owner_heard: Option<Instant>,
    owner_silent: bool,
    said: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    /// Signed in; in no report yet.
    New,
    /// In the report on its way, which is not known to be taken.
    Reported,
    Online,
    /// The last connection has closed, a grace keeps the user online.
    Lingering(Instant),
    /// Gone; in no report yet.
    Gone,
}

#[derive(Debug, Clone, Copy)]
struct Watched {
    /// Wanted until then; `None`: somebody watches.
    until: Option<Instant>,
    /// The report that asked; an answer that follows an earlier one is an old answer. `None`: not asked yet.
    asked: Option<u64>,
    level: Option<bool>,
}

impl Node {
    #[must_use]
    pub fn new(id: NodeId, shards: Shards) -> Node {
        let log = || Log {
            epoch: Epoch::NONE,
            full_for: Epoch::NONE,
            full_seq: 0,
            full_said: None,
            need_full: true,
            seq: 0,
            in_flight: false,
            heard: None,
            users: IndexMap::new(),
            watched: IndexMap::new(),
            dirty_users: IndexSet::new(),
            dirty_watched: IndexSet::new(),
            reported: Vec::new(),
            owner_heard: None,
            owner_silent: true,
            said: None,
        };
        let logs = shards.iter().map(|_| log()).collect();
        Node { id, shards, logs, graces: BTreeSet::new(), beats: 0, heard_own_beat: false }
    }

    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    #[must_use]
    pub fn shards(&self) -> Shards {
        self.shards
    }

    /// Whether the node's own beat has come back. Before, no owner can be relied on to know that the node exists, so
    /// nobody may sign in.
    #[must_use]
    pub fn heard_own_beat(&self) -> bool {
        self.heard_own_beat
    }

    /// A user is signed in here from now on. [`NodeEffect::Online`] follows, at once or when the report is taken.
    pub fn sign_in(&mut self, key: UserKey, now: Instant, effects: &mut Vec<NodeEffect>) {
        let shard = self.shards.of(&key);
        let log = &mut self.logs[usize::from(shard.0)];
        match log.users.get(&key) {
            Some(User::Online | User::Lingering(_)) => {
                log.users.insert(key.clone(), User::Online);
                effects.push(NodeEffect::Online(key));
            }
            Some(User::New | User::Reported) => {}
            Some(User::Gone) | None => {
                log.users.insert(key.clone(), User::New);
                log.dirty_users.insert(key);
                self.pump(shard, now, effects);
            }
        }
    }

    /// The last connection of a user has closed; the user stays online for `grace`, unless no sign-in had succeeded.
    pub fn sign_out(&mut self, key: &UserKey, grace: Duration, now: Instant, effects: &mut Vec<NodeEffect>) {
        let shard = self.shards.of(key);
        let log = &mut self.logs[usize::from(shard.0)];
        let Some(user) = log.users.get_mut(key) else { return };
        match user {
            User::Gone => return,
            User::Online if !grace.is_zero() => {
                *user = User::Lingering(now + grace);
                self.graces.insert((now + grace, key.clone()));
                return;
            }
            User::Lingering(_) if !grace.is_zero() => return,
            User::New | User::Reported | User::Online | User::Lingering(_) => *user = User::Gone,
        }
        log.dirty_users.insert(key.clone());
        self.pump(shard, now, effects);
    }

    /// The user was terminated: a grace that keeps them online ends.
    pub fn end_grace(&mut self, key: &UserKey, now: Instant, effects: &mut Vec<NodeEffect>) {
        let shard = self.shards.of(key);
        if matches!(self.logs[usize::from(shard.0)].users.get(key), Some(User::Lingering(_))) {
            self.sign_out(key, Duration::ZERO, now, effects);
        }
    }

    /// The node is leaving: no grace that runs ends later than `latest`.
    pub fn limit_graces(&mut self, latest: Instant) {
        let later: Vec<_> =
            self.graces.iter().rev().take_while(|(until, _)| *until > latest).cloned().collect();
        for (until, key) in later {
            let log = &mut self.logs[usize::from(self.shards.of(&key).0)];
            if let Some(user) = log.users.get_mut(&key).filter(|user| **user == User::Lingering(until)) {
                *user = User::Lingering(latest);
                self.graces.insert((latest, key));
            }
        }
    }

    /// Somebody here watches the user from now on. What is known is answered at once, the rest by
    /// [`NodeEffect::Level`].
    pub fn watch(&mut self, key: UserKey, now: Instant, effects: &mut Vec<NodeEffect>) -> Option<bool> {
        let shard = self.shards.of(&key);
        let log = &mut self.logs[usize::from(shard.0)];
        if let Some(watched) = log.watched.get_mut(&key) {
            watched.until = None;
            return watched.level;
        }
        log.watched.insert(key.clone(), Watched { until: None, asked: None, level: None });
        log.dirty_watched.insert(key);
        self.pump(shard, now, effects);
        None
    }

    /// Nobody here watches the user any more.
    pub fn unwatch(&mut self, key: &UserKey, now: Instant) {
        let log = &mut self.logs[usize::from(self.shards.of(key).0)];
        if let Some(watched) = log.watched.get_mut(key) {
            watched.until = Some(now + WATCH_LINGER);
        }
    }

    /// The broker took the shard's report.
    pub fn taken(&mut self, shard: ShardId, now: Instant, effects: &mut Vec<NodeEffect>) {
        let log = &mut self.logs[usize::from(shard.0)];
        log.in_flight = false;
        for key in std::mem::take(&mut log.reported) {
            if let Some(user) = log.users.get_mut(&key).filter(|user| **user == User::Reported) {
                *user = User::Online;
                effects.push(NodeEffect::Online(key));
            }
        }
        self.pump(shard, now, effects);
    }

    /// What an owner told this node.
    pub fn status(&mut self, status: Status, now: Instant, effects: &mut Vec<NodeEffect>) {
        let shard = status.shard;
        let Some(log) = self.logs.get_mut(usize::from(shard.0)) else { return };
        if log.concerns(status.epoch, status.base) {
            match log.heard {
                Some(heard) if status.seq <= heard => {}
                Some(heard) if status.seq == heard + 1 => log.apply(status, effects),
                None if status.seq == 0 => log.apply(status, effects),
                Some(_) | None => log.repair(shard, effects),
            }
        }
        self.pump(shard, now, effects);
    }

    /// An owner repeats what number it had come to.
    pub fn status_digest(&mut self, digest: StatusDigest, now: Instant, effects: &mut Vec<NodeEffect>) {
        let shard = digest.shard;
        let Some(log) = self.logs.get_mut(usize::from(shard.0)) else { return };
        if log.concerns(digest.epoch, digest.base) {
            let missing = log.heard.is_none_or(|heard| heard < digest.seq);
            // Comparable only if the owner has read all that this node has said.
            let same = log.heard == Some(digest.seq) && digest.after == log.seq && log.settled();
            if missing || same && log.told_digest() != digest.digest {
                log.repair(shard, effects);
            }
        }
        self.pump(shard, now, effects);
    }

    /// A replica's beat: its claims, and whose word it lacks.
    pub fn replica_beat(&mut self, beat: &ReplicaBeat, now: Instant, effects: &mut Vec<NodeEffect>) {
        for (shard, epoch) in &beat.owned {
            let Some(log) = self.logs.get_mut(usize::from(shard.0)) else { continue };
            log.epoch = log.epoch.max(*epoch);
            if *epoch < log.epoch {
                continue;
            }
            log.owner_heard = Some(now);
            if std::mem::take(&mut log.owner_silent) {
                effects.push(NodeEffect::OwnerHeard(*shard));
            }
            let asked = log.full_for == *epoch && beat.needs.contains(&(*shard, self.id));
            let crossed = log.in_flight || log.full_said.is_some_and(|at| now < at + QUESTION_CROSSED);
            if asked && !crossed {
                log.repair(*shard, effects);
            }
            log.need_full |= log.full_for != *epoch;
            self.pump(*shard, now, effects);
        }
    }

    /// A node's beat; only its own means anything to a node.
    pub fn node_beat(&mut self, beat: &NodeBeat) {
        self.heard_own_beat |= beat.node == self.id;
    }

    /// The subscription hears everything again after an interruption. Beats before anything else: the node may have
    /// been taken for lost, and an owner that follows the one who reads the reports must know of it again.
    pub fn resumed(&mut self, now: Instant, effects: &mut Vec<NodeEffect>) {
        self.beat(effects);
        for shard in self.shards.iter() {
            self.logs[usize::from(shard.0)].repair(shard, effects);
            self.pump(shard, now, effects);
        }
    }

    /// Due every two seconds: beats, ends graces, notices a silent owner, repeats numbers after some quiet.
    pub fn tick(&mut self, now: Instant, effects: &mut Vec<NodeEffect>) {
        self.beat(effects);
        for shard in self.shards.iter() {
            let log = &mut self.logs[usize::from(shard.0)];
            if !log.owner_silent && log.owner_heard.is_none_or(|at| now >= at + OWNER_SILENT_AFTER) {
                log.owner_silent = true;
                effects.push(NodeEffect::OwnerSilent(shard));
            }
            let quiet = log.said.is_some_and(|at| now >= at + QUIET);
            if quiet && log.settled() && log.full_for == log.epoch {
                log.said = Some(now);
                let (node, seq, epoch, digest) = (self.id, log.seq, log.epoch, log.reported_digest());
                effects.push(NodeEffect::Digest(shard, ReportDigest { node, seq, epoch, digest }));
            }
        }
        self.expire(now, effects);
        for shard in self.shards.iter() {
            let log = &mut self.logs[usize::from(shard.0)];
            let over = |watched: &Watched| watched.until.is_some_and(|until| until <= now);
            let ended = log.watched.iter().filter(|(_, watched)| over(watched)).map(|(key, _)| key.clone());
            log.dirty_watched.extend(ended);
            self.pump(shard, now, effects);
        }
    }

    /// Ends the graces that are over.
    pub fn expire(&mut self, now: Instant, effects: &mut Vec<NodeEffect>) {
        while let Some((until, key)) = self.graces.pop_first() {
            if until > now {
                self.graces.insert((until, key));
                return;
            }
            let log = &self.logs[usize::from(self.shards.of(&key).0)];
            if log.users.get(&key) == Some(&User::Lingering(until)) {
                self.sign_out(&key, Duration::ZERO, now, effects);
            }
        }
    }

    /// When [`Node::expire`] has something to do.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Instant> {
        self.graces.first().map(|(until, _)| *until)
    }

    /// Says that it is alive, and which owners it has heard of.
    pub fn beat(&mut self, effects: &mut Vec<NodeEffect>) {
        self.beats += 1;
        let epochs = self.shards.iter().map(|shard| (shard, self.logs[usize::from(shard.0)].epoch));
        let epochs = epochs.filter(|(_, epoch)| *epoch != Epoch::NONE).collect();
        effects.push(NodeEffect::Beat(NodeBeat { node: self.id, number: self.beats, epochs }));
    }

    /// Whether everything has been said and taken, and nobody is online here: a drained node may say farewell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.logs.iter().all(|log| log.users.is_empty() && !log.in_flight)
    }

    /// At most one report is on its way. What changes meanwhile joins the next.
    fn pump(&mut self, shard: ShardId, now: Instant, effects: &mut Vec<NodeEffect>) {
        let id = self.id;
        let log = &mut self.logs[usize::from(shard.0)];
        // Nobody reads a full report before there is an owner.
        let full = log.need_full && log.epoch != Epoch::NONE;
        if log.in_flight || !(full || !log.dirty_users.is_empty() || !log.dirty_watched.is_empty()) {
            return;
        }
        let (users, watched) = log.changes(full);
        log.in_flight = true;
        log.said = Some(now);
        if full {
            log.full_said = Some(now);
        }
        let (node, seq, epoch) = (id, log.seq, log.epoch);
        effects.push(NodeEffect::Report(shard, Report { node, seq, epoch, full, users, watched }));
    }
}

type Levels = Vec<(UserKey, bool)>;

impl Log {
    /// Takes the next report's levels: what changed, or everything.
    fn changes(&mut self, full: bool) -> (Levels, Levels) {
        self.seq += 1;
        if full {
            self.need_full = false;
            self.full_for = self.epoch;
            self.full_seq = self.seq;
            self.heard = None;
            self.dirty_users.extend(self.users.keys().cloned());
            self.dirty_watched.extend(self.watched.keys().cloned());
        }
        let mut users = Levels::new();
        for key in std::mem::take(&mut self.dirty_users) {
            let Some(user) = self.users.get_mut(&key) else { continue };
            if *user == User::New {
                *user = User::Reported;
                self.reported.push(key.clone());
            }
            let gone = *user == User::Gone;
            if gone {
                self.users.swap_remove(&key);
            }
            if !full || !gone {
                users.push((key, !gone));
            }
        }
        let mut watched = Levels::new();
        for key in std::mem::take(&mut self.dirty_watched) {
            let Some(entry) = self.watched.get_mut(&key) else { continue };
            // A linger that is not over yet is only met in a full report, where it may end as well.
            let wanted = entry.until.is_none();
            if wanted {
                entry.asked.get_or_insert(self.seq);
            } else {
                // The level is forgotten when the no is sent: whatever is answered to an earlier yes is old.
                self.watched.swap_remove(&key);
            }
            if !full || wanted {
                watched.push((key, wanted));
            }
        }
        (users, watched)
    }

    /// Whether something that an owner says is of the owner that this node turned to last, about its last full report.
    fn concerns(&mut self, epoch: Epoch, base: u64) -> bool {
        self.epoch = self.epoch.max(epoch);
        self.need_full |= self.full_for != self.epoch;
        epoch == self.epoch && self.full_for == epoch && base == self.full_seq
    }

    fn apply(&mut self, status: Status, effects: &mut Vec<NodeEffect>) {
        self.heard = Some(status.seq);
        for (key, yes) in status.levels {
            let Some(watched) = self.watched.get_mut(&key) else { continue };
            let answers = watched.asked.is_some_and(|asked| status.after >= asked);
            if answers && watched.level != Some(yes) {
                watched.level = Some(yes);
                effects.push(NodeEffect::Level(key, yes));
            }
        }
    }

    fn repair(&mut self, shard: ShardId, effects: &mut Vec<NodeEffect>) {
        if !std::mem::replace(&mut self.need_full, true) {
            effects.push(NodeEffect::Repair(shard));
        }
    }

    /// Whether the last report says all there is to say.
    fn settled(&self) -> bool {
        !self.in_flight && !self.need_full && self.dirty_users.is_empty() && self.dirty_watched.is_empty()
    }

    fn reported_digest(&self) -> u64 {
        let users = self.users.keys().map(|key| level(About::SignedIn, key, true));
        let watched = self.watched.keys().map(|key| level(About::Watched, key, true));
        users.chain(watched).fold(0, |digest, share| digest ^ share)
    }

    fn told_digest(&self) -> u64 {
        let told = self.watched.iter().filter_map(|(key, watched)| watched.level.map(|yes| (key, yes)));
        told.fold(0, |digest, (key, yes)| digest ^ level(About::Told, key, yes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ids::ProcessId;
    use std::num::NonZeroU16;

    const SHARD: ShardId = ShardId(0);

    /// A node that has turned to its first owner, with what it said last.
    struct Bench {
        node: Node,
        start: Instant,
        effects: Vec<NodeEffect>,
    }

    fn ada() -> UserKey {
        UserKey { app: "1".parse().expect("app id"), user: "ada".parse().expect("user id") }
    }

    fn epoch(turn: u64) -> Epoch {
        (0..turn).fold(Epoch::NONE, |epoch, _| Epoch::above(epoch, ProcessId::from_random(7)))
    }

    impl Bench {
        fn new() -> Bench {
            let shards = Shards::new(NonZeroU16::new(1).expect("not zero"));
            let node = Node::new(NodeId::from_random(1), shards);
            let mut bench = Bench { node, start: Instant::now(), effects: Vec::new() };
            bench.owner(0, 1, false);
            assert_eq!(bench.said(), "full report 1");
            bench.taken(0);
            bench
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        /// The beat of an owner, who may lack this node's full report.
        fn owner(&mut self, seconds: u64, turn: u64, needs: bool) {
            let needs = if needs { vec![(SHARD, self.node.id())] } else { Vec::new() };
            let owned = vec![(SHARD, epoch(turn))];
            let beat = ReplicaBeat { replica: ProcessId::from_random(7), number: 1, owned, needs };
            self.node.replica_beat(&beat, self.at(seconds), &mut self.effects);
        }

        fn taken(&mut self, seconds: u64) {
            self.node.taken(SHARD, self.at(seconds), &mut self.effects);
        }

        fn sign_in(&mut self, seconds: u64) {
            self.node.sign_in(ada(), self.at(seconds), &mut self.effects);
        }

        fn sign_out(&mut self, seconds: u64, grace_seconds: u64) {
            let grace = Duration::from_secs(grace_seconds);
            self.node.sign_out(&ada(), grace, self.at(seconds), &mut self.effects);
        }

        fn watch(&mut self, seconds: u64) -> Option<bool> {
            self.node.watch(ada(), self.at(seconds), &mut self.effects)
        }

        fn unwatch(&mut self, seconds: u64) {
            self.node.unwatch(&ada(), self.at(seconds));
        }

        fn tick(&mut self, seconds: u64) {
            self.node.tick(self.at(seconds), &mut self.effects);
        }

        fn status(&mut self, seq: u64, after: u64, levels: &[bool]) {
            let levels = levels.iter().map(|level| (ada(), *level)).collect();
            let status = Status { shard: SHARD, epoch: epoch(1), base: 1, seq, after, levels };
            self.node.status(status, self.start, &mut self.effects);
        }

        /// What it has said and learnt since the last call, but for beats.
        fn said(&mut self) -> String {
            let words = std::mem::take(&mut self.effects).into_iter().filter_map(|effect| match effect {
                NodeEffect::Report(_, report) => {
                    let level = |what: &'static str| {
                        move |(_, yes): &(UserKey, bool)| {
                            format!(" {what} {}", if *yes { "yes" } else { "no" })
                        }
                    };
                    let users: String = report.users.iter().map(level("here")).collect();
                    let watched: String = report.watched.iter().map(level("watched")).collect();
                    let full = if report.full { "full " } else { "" };
                    Some(format!("{full}report {}{users}{watched}", report.seq))
                }
                NodeEffect::Online(_) => Some("success".to_owned()),
                NodeEffect::Level(_, online) => Some(format!("level {}", if online { "yes" } else { "no" })),
                NodeEffect::Repair(_) => Some("repair".to_owned()),
                NodeEffect::Digest(..) => Some("digest".to_owned()),
                NodeEffect::Beat(_) | NodeEffect::OwnerSilent(_) | NodeEffect::OwnerHeard(_) => None,
            });
            words.collect::<Vec<_>>().join(", ")
        }
    }

    #[test]
    fn a_sign_in_succeeds_when_the_log_has_it_and_a_second_connection_is_silent() {
        let mut bench = Bench::new();
        bench.sign_in(1);
        assert_eq!(bench.said(), "report 2 here yes");
        bench.sign_in(1);
        assert_eq!(bench.said(), "");
        bench.taken(1);
        assert_eq!(bench.said(), "success");
        bench.sign_in(1);
        assert_eq!(bench.said(), "success", "nothing is reported");
    }

    #[test]
    fn what_changes_while_a_report_is_on_its_way_joins_the_next_one() {
        let mut bench = Bench::new();
        bench.sign_in(1);
        bench.sign_out(1, 9);
        bench.watch(1);
        assert_eq!(bench.said(), "report 2 here yes");
        bench.taken(1);
        assert_eq!(bench.said(), "report 3 here no watched yes", "no success, so no grace");
    }

    #[test]
    fn a_grace_keeps_a_user_also_for_a_new_owner() {
        let mut bench = Bench::new();
        bench.sign_in(1);
        bench.taken(1);
        bench.said();
        bench.sign_out(1, 5);
        bench.tick(5);
        assert_eq!(bench.said(), "");
        bench.owner(5, 2, false);
        assert_eq!(bench.said(), "full report 3 here yes");
        bench.taken(5);
        assert_eq!(bench.node.next_expiry(), Some(bench.at(6)));
        bench.tick(6);
        assert_eq!(bench.said(), "report 4 here no");
    }

    #[test]
    fn whoever_returns_within_a_grace_makes_no_event_and_a_termination_ends_it() {
        let mut bench = Bench::new();
        bench.sign_in(1);
        bench.taken(1);
        bench.sign_out(1, 5);
        bench.said();
        bench.sign_in(2);
        bench.tick(7);
        assert_eq!(bench.said(), "success");
        bench.sign_out(7, 5);
        assert_eq!(bench.said(), "");
        bench.node.end_grace(&ada(), bench.at(8), &mut bench.effects);
        assert_eq!(bench.said(), "report 3 here no");
    }

    #[test]
    fn an_old_answer_is_not_taken_for_a_new_one() {
        let mut bench = Bench::new();
        bench.status(0, 1, &[]);
        assert_eq!(bench.watch(1), None);
        bench.taken(1);
        bench.unwatch(1);
        bench.tick(3);
        bench.taken(3);
        assert_eq!(bench.said(), "report 2 watched yes, report 3 watched no");
        assert_eq!(bench.watch(3), None);
        bench.taken(3);
        assert_eq!(bench.said(), "report 4 watched yes");
        bench.status(1, 2, &[false]); // the answer to report 2
        assert_eq!(bench.said(), "");
        bench.status(2, 4, &[true]);
        assert_eq!(bench.said(), "level yes");
    }

    #[test]
    fn a_watch_that_is_taken_up_again_within_two_seconds_asks_nothing() {
        let mut bench = Bench::new();
        bench.status(0, 1, &[]);
        bench.watch(1);
        bench.taken(1);
        bench.status(1, 2, &[true]);
        assert_eq!(bench.said(), "report 2 watched yes, level yes");
        bench.unwatch(2);
        bench.tick(3);
        assert_eq!(bench.watch(3), Some(true));
        bench.tick(5);
        assert_eq!(bench.said(), "");
    }

    #[test]
    fn a_gap_in_what_the_owner_says_is_repaired_by_a_full_report() {
        let check = |heard: &[u64], expected: &str| {
            let mut bench = Bench::new();
            heard.iter().for_each(|seq| bench.status(*seq, 1, &[]));
            assert_eq!(bench.said(), expected, "{heard:?}");
        };
        check(&[0, 1, 2], "");
        check(&[0, 1, 1, 0, 2], "");
        check(&[0, 2], "repair, full report 2");
        check(&[1], "repair, full report 2");
    }

    #[test]
    fn what_answers_an_earlier_full_report_is_old() {
        let mut bench = Bench::new();
        bench.watch(1);
        bench.taken(1);
        bench.owner(2, 2, false);
        bench.taken(2);
        assert_eq!(bench.said(), "report 2 watched yes, full report 3 watched yes");
        bench.status(0, 2, &[false]); // of the owner before
        assert_eq!(bench.said(), "");
        let mut bench = Bench::new();
        bench.status(0, 1, &[]);
        bench.owner(2, 1, true);
        assert_eq!(bench.said(), "repair, full report 2");
        bench.status(1, 1, &[]); // of the same owner, but it goes back to report 1
        assert_eq!(bench.said(), "");
    }

    #[test]
    fn a_digest_is_compared_when_the_owner_has_read_all_and_differs_in_a_repair() {
        let check = |seq: u64, after: u64, digest: u64, expected: &str| {
            let mut bench = Bench::new();
            bench.status(0, 1, &[]);
            let digest = StatusDigest { shard: SHARD, epoch: epoch(1), base: 1, seq, after, digest };
            bench.node.status_digest(digest, bench.start, &mut bench.effects);
            assert_eq!(bench.said(), expected, "{digest:?}");
        };
        check(0, 1, 0, "");
        check(0, 1, 5, "repair, full report 2");
        check(0, 0, 5, ""); // it has not read report 1 yet
        check(1, 1, 0, "repair, full report 2"); // a status is missing
    }

    #[test]
    fn after_an_interruption_it_beats_first_and_then_says_everything_again() {
        let mut bench = Bench::new();
        bench.sign_in(1);
        bench.taken(1);
        bench.effects.clear();
        bench.node.resumed(bench.at(2), &mut bench.effects);
        assert!(matches!(bench.effects[0], NodeEffect::Beat(_)), "{:?}", bench.effects);
        assert_eq!(bench.said(), "repair, full report 3 here yes");
    }

    #[test]
    fn it_is_known_to_others_once_its_own_beat_has_come_back() {
        let mut bench = Bench::new();
        let beat = |node| NodeBeat { node, number: 1, epochs: Vec::new() };
        bench.node.node_beat(&beat(NodeId::from_random(2)));
        assert!(!bench.node.heard_own_beat());
        bench.node.node_beat(&beat(bench.node.id()));
        assert!(bench.node.heard_own_beat());
    }

    #[test]
    fn an_owner_that_asked_before_it_could_read_the_answer_gets_no_second_one() {
        let mut bench = Bench::new();
        bench.owner(1, 1, true);
        assert_eq!(bench.said(), "");
        bench.owner(2, 1, true);
        assert_eq!(bench.said(), "repair, full report 2");
    }
}
