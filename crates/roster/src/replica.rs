//! One presence replica: which nodes are live, which shards it owns, and when it has been succeeded.
//!
//! Silence is counted in own beats heard, so that a judge who was paused or cut off counts nothing. No clock decides
//! who owns a shard: the higher epoch does.

use crate::{
    Message, NodeBeat, ReplicaBeat, Report, Status, StatusDigest,
    shard::{Heard, Shard, UserView, Word},
};
use ids::{AppId, Epoch, NodeId, ProcessId, ShardId, UserId, UserKey};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// An own beat that has not come back for this long has not been heard: two beats.
const UNHEARD_AFTER: Duration = Duration::from_secs(4);

/// In how many own beats heard things happen.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// A replica must have listened for this many before it says offline. 4 in a cluster, where nodes beat in their own
    /// time; 1 in one process, where the only node has beaten before.
    pub listen_beats: u32,
    /// A node that was not heard during this many is lost.
    pub lost_after: u32,
}

/// What the replica's shell does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicaEffect {
    /// Publish to the node.
    Status(NodeId, Status),
    Digest(NodeId, StatusDigest),
    /// Publish to all.
    Beat(ReplicaBeat),
    /// The shard is no longer owned. Release the lease if this epoch still holds it.
    SteppedDown(ShardId, Epoch),
    /// Its levels in the shards owned here are gone. For the log and a metric.
    NodeLost(NodeId),
    /// Something was lost on the way, and is asked for again. For a metric: 0 in a healthy run.
    Repair(ShardId),
}

/// See the module.
#[derive(Debug)]
pub struct Replica {
    id: ProcessId,
    timing: Timing,
    /// The nodes that are live, and during how many own beats each has been silent.
    live: BTreeMap<NodeId, u32>,
    /// Own beats heard without interruption.
    attention: u32,
    beats: u64,
    on_its_way: Option<OwnBeat>,
    /// A claim was made while a beat was on its way.
    beat_again: bool,
    owned: BTreeMap<ShardId, Shard>,
    /// The highest epochs heard or held.
    floors: BTreeMap<ShardId, Epoch>,
}

#[derive(Debug, Clone)]
struct OwnBeat {
    number: u64,
    at: Instant,
    /// Whether it counts silence: one that was sent out of turn, to make a claim known, does not.
    counts: bool,
    owned: Vec<(ShardId, Epoch)>,
}

impl Replica {
    #[must_use]
    pub fn new(id: ProcessId, timing: Timing) -> Replica {
        Replica {
            id,
            timing,
            live: BTreeMap::new(),
            attention: 0,
            beats: 0,
            on_its_way: None,
            beat_again: false,
            owned: BTreeMap::new(),
            floors: BTreeMap::new(),
        }
    }

    /// The epoch that a claim must be above.
    #[must_use]
    pub fn floor(&self, shard: ShardId) -> Epoch {
        self.floors.get(&shard).copied().unwrap_or(Epoch::NONE)
    }

    /// The epoch under which it owns the shard.
    #[must_use]
    pub fn owns(&self, shard: ShardId) -> Option<Epoch> {
        self.owned.get(&shard).map(|shard| shard.epoch)
    }

    /// The shard's topic is attached and its lease taken. Call [`Replica::claim`] after the last of several. A lease whose
    /// epoch is not above every epoch heard meanwhile is good for nothing, and given up.
    pub fn claimed(&mut self, shard: ShardId, epoch: Epoch, effects: &mut Vec<ReplicaEffect>) {
        let floor = self.floors.entry(shard).or_insert(Epoch::NONE);
        if epoch > *floor {
            *floor = epoch;
            self.owned.insert(shard, Shard::new(shard, epoch));
        } else {
            effects.push(ReplicaEffect::SteppedDown(shard, epoch));
        }
    }

    /// Makes new claims known at once: the beat that names them is the question to all nodes.
    pub fn claim(&mut self, now: Instant, effects: &mut Vec<ReplicaEffect>) {
        if self.on_its_way.is_some() {
            self.beat_again = true;
        } else {
            self.beat(false, now, effects);
        }
    }

    /// The lease is lost, or given up.
    pub fn step_down(&mut self, shard: ShardId, effects: &mut Vec<ReplicaEffect>) {
        if let Some(shard) = self.owned.remove(&shard).map(|owned| (shard, owned.epoch)) {
            effects.push(ReplicaEffect::SteppedDown(shard.0, shard.1));
        }
    }

    /// Messages of the shards' topics may have been missed: an owner that may have missed one is none any more.
    pub fn interrupted(&mut self, effects: &mut Vec<ReplicaEffect>) {
        let owned: Vec<_> = self.owned.keys().copied().collect();
        owned.into_iter().for_each(|shard| self.step_down(shard, effects));
    }

    /// Beats may have been missed: the count of silence starts anew.
    pub fn beats_interrupted(&mut self) {
        self.attention = 0;
        self.on_its_way = None;
        self.live.values_mut().for_each(|silence| *silence = 0);
    }

    pub fn node_beat(&mut self, beat: &NodeBeat, now: Instant, effects: &mut Vec<ReplicaEffect>) {
        self.live.insert(beat.node, 0);
        for (shard, epoch) in &beat.epochs {
            self.heard_epoch(*shard, *epoch, effects);
        }
        self.speak(now, effects);
    }

    pub fn replica_beat(&mut self, beat: &ReplicaBeat, now: Instant, effects: &mut Vec<ReplicaEffect>) {
        if beat.replica != self.id {
            for (shard, epoch) in &beat.owned {
                self.heard_epoch(*shard, *epoch, effects);
            }
        } else if let Some(own) = self.on_its_way.take_if(|own| own.number == beat.number) {
            self.own_beat(&own, now, effects);
        }
        self.speak(now, effects);
    }

    /// What stands next in the shard's log.
    pub fn log(&mut self, shard: ShardId, message: Message, now: Instant, effects: &mut Vec<ReplicaEffect>) {
        let beats = self.beats;
        let Some(owned) = self.owned.get_mut(&shard) else { return };
        let repairs = owned.repairs;
        let (node, heard) = match message {
            Message::Report(report @ Report { node, .. }) => (node, owned.report(report, now)),
            Message::Digest(digest) => (digest.node, owned.digest(digest)),
            Message::Farewell(node) => {
                owned.farewell(node, beats);
                (node, Heard::Nothing)
            }
        };
        if owned.repairs > repairs {
            effects.push(ReplicaEffect::Repair(shard));
        }
        match heard {
            Heard::Node => {
                self.live.insert(node, 0);
            }
            Heard::Successor(epoch) => {
                self.live.insert(node, 0);
                self.heard_epoch(shard, epoch, effects);
            }
            Heard::Nothing => {}
        }
        self.speak_of(shard, now, effects);
    }

    /// Due every two seconds: beats, one at a time, and repeats numbers after some quiet.
    pub fn tick(&mut self, now: Instant, effects: &mut Vec<ReplicaEffect>) {
        if self.on_its_way.as_ref().is_some_and(|own| now >= own.at + UNHEARD_AFTER) {
            self.beats_interrupted();
        }
        if self.on_its_way.is_none() {
            self.beat(true, now, effects);
        }
        for shard in self.owned.values_mut() {
            shard.repeat_numbers(now, &mut |node, digest| effects.push(ReplicaEffect::Digest(node, digest)));
        }
    }

    /// What the owner of the shard knows of a user; `None` if this is not the owner.
    #[must_use]
    pub fn user(&self, shard: ShardId, key: &UserKey) -> Option<UserView> {
        Some(self.owned.get(&shard)?.user(key))
    }

    /// Users of an app who are online, after `after`, in byte order; `None` if this is not the shard's owner.
    #[must_use]
    pub fn online(
        &self,
        shard: ShardId,
        app: &AppId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Option<(Word, Vec<UserId>)> {
        let owned = self.owned.get(&shard)?;
        let after = after.map(|user| UserKey { app: app.clone(), user: user.clone() });
        Some((owned.word(), owned.online(app, after.as_ref()).take(limit).cloned().collect()))
    }

    /// Users online, users watched and (node, shard) pairs over the shards that it owns; counts them, so not for a hot
    /// path.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        self.owned
            .values()
            .map(Shard::sizes)
            .fold((0, 0, 0), |all, one| (all.0 + one.0, all.1 + one.1, all.2 + one.2))
    }

    /// How many shards it owns, and for how many of them it may say offline.
    #[must_use]
    pub fn words(&self) -> (usize, usize) {
        (self.owned.len(), self.owned.values().filter(|shard| shard.word() == Word::OfAll).count())
    }

    fn beat(&mut self, counts: bool, now: Instant, effects: &mut Vec<ReplicaEffect>) {
        self.beats += 1;
        let owned: Vec<_> = self.owned.iter().map(|(id, shard)| (*id, shard.epoch)).collect();
        let needs = self.owned.iter().flat_map(|(id, shard)| {
            shard.needs(self.live.keys().copied()).into_iter().map(move |node| (*id, node))
        });
        let needs = needs.collect();
        self.on_its_way = Some(OwnBeat { number: self.beats, at: now, counts, owned: owned.clone() });
        effects.push(ReplicaEffect::Beat(ReplicaBeat { replica: self.id, number: self.beats, owned, needs }));
    }

    fn own_beat(&mut self, own: &OwnBeat, now: Instant, effects: &mut Vec<ReplicaEffect>) {
        for (id, epoch) in &own.owned {
            if let Some(shard) = self.owned.get_mut(id).filter(|shard| shard.epoch == *epoch) {
                shard.claim_heard();
            }
        }
        if own.counts {
            self.count_silence(own, effects);
        }
        if std::mem::take(&mut self.beat_again) {
            self.beat(false, now, effects);
        }
    }

    fn count_silence(&mut self, own: &OwnBeat, effects: &mut Vec<ReplicaEffect>) {
        self.attention = self.attention.saturating_add(1);
        self.live.values_mut().for_each(|silence| *silence += 1);
        let lost = self.live.extract_if(.., |_, silence| *silence >= self.timing.lost_after);
        for (node, _) in lost {
            let had_it = |lost, shard: &mut Shard| shard.lose(node, self.beats) || lost;
            // A node that said farewell falls silent, too, and a standby has nothing to lose.
            if self.owned.values_mut().fold(false, had_it) {
                effects.push(ReplicaEffect::NodeLost(node));
            }
        }
        for (id, shard) in &mut self.owned {
            let with_this_epoch = own.owned.contains(&(*id, shard.epoch));
            shard.own_beat(with_this_epoch, self.live.keys().copied(), self.beats);
        }
    }

    /// Whoever hears of a higher epoch than its own has been succeeded, and is silent from there.
    fn heard_epoch(&mut self, shard: ShardId, epoch: Epoch, effects: &mut Vec<ReplicaEffect>) {
        let floor = self.floors.entry(shard).or_insert(Epoch::NONE);
        *floor = epoch.max(*floor);
        if self.owned.get(&shard).is_some_and(|owned| owned.epoch < epoch) {
            self.step_down(shard, effects);
        }
    }

    fn speak(&mut self, now: Instant, effects: &mut Vec<ReplicaEffect>) {
        let owned: Vec<_> = self.owned.keys().copied().collect();
        owned.into_iter().for_each(|shard| self.speak_of(shard, now, effects));
    }

    fn speak_of(&mut self, shard: ShardId, now: Instant, effects: &mut Vec<ReplicaEffect>) {
        let attentive = self.attention >= self.timing.listen_beats;
        if let Some(owned) = self.owned.get_mut(&shard) {
            let live = self.live.keys().copied();
            owned.speak(attentive, live, now, &mut |node, status| {
                effects.push(ReplicaEffect::Status(node, status));
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(0);
    const TIMING: Timing = Timing { listen_beats: 4, lost_after: 4 };

    /// A replica whose beats come back when the test says so.
    struct Bench {
        replica: Replica,
        now: Instant,
        effects: Vec<ReplicaEffect>,
        beats: Vec<ReplicaBeat>,
    }

    fn node(n: u64) -> NodeId {
        NodeId::from_random(n)
    }

    fn epoch(turn: u64) -> Epoch {
        (0..turn).fold(Epoch::NONE, |epoch, _| Epoch::above(epoch, ProcessId::from_random(7)))
    }

    impl Bench {
        fn new() -> Bench {
            let replica = Replica::new(ProcessId::from_random(7), TIMING);
            Bench { replica, now: Instant::now(), effects: Vec::new(), beats: Vec::new() }
        }

        fn claim(&mut self, turn: u64) {
            self.replica.claimed(SHARD, epoch(turn), &mut self.effects);
            self.replica.claim(self.now, &mut self.effects);
        }

        fn node_beat(&mut self, n: u64, epochs: Vec<(ShardId, Epoch)>) {
            let beat = NodeBeat { node: node(n), number: 1, epochs };
            self.replica.node_beat(&beat, self.now, &mut self.effects);
        }

        /// A full report of node `n`, which watches ada.
        fn full(&mut self, n: u64, seq: u64, turn: u64) {
            let ada = UserKey { app: "1".parse().expect("app id"), user: "ada".parse().expect("user id") };
            let (epoch, users, watched) = (epoch(turn), Vec::new(), vec![(ada, true)]);
            let report = Report { node: node(n), seq, epoch, full: true, users, watched };
            self.replica.log(SHARD, Message::Report(report), self.now, &mut self.effects);
        }

        /// Two seconds pass, and whatever beat is on its way comes back.
        fn tick(&mut self) {
            self.now += Duration::from_secs(2);
            self.replica.tick(self.now, &mut self.effects);
            self.own_beats();
        }

        fn own_beats(&mut self) {
            self.said_so_far();
            while let Some(beat) = self.beats.pop() {
                self.replica.replica_beat(&beat, self.now, &mut self.effects);
                self.said_so_far();
            }
        }

        fn said_so_far(&mut self) {
            self.effects.retain(|effect| match effect {
                ReplicaEffect::Beat(beat) => {
                    self.beats.push(beat.clone());
                    false
                }
                _ => true,
            });
        }

        /// What it has said and decided since the last call, but for beats and digests.
        fn said(&mut self) -> String {
            self.said_so_far();
            let words = std::mem::take(&mut self.effects).into_iter().filter_map(|effect| match effect {
                ReplicaEffect::Status(node, status) => {
                    let level = |(_, online): &(UserKey, bool)| if *online { " online" } else { " offline" };
                    let levels: String = status.levels.iter().map(level).collect();
                    Some(format!("{}:{levels}", node.bits()))
                }
                ReplicaEffect::NodeLost(node) => Some(format!("{} lost", node.bits())),
                ReplicaEffect::SteppedDown(..) => Some("stepped down".to_owned()),
                ReplicaEffect::Repair(_) => Some("repair".to_owned()),
                ReplicaEffect::Digest(..) | ReplicaEffect::Beat(_) => None,
            });
            words.collect::<Vec<_>>().join(", ")
        }
    }

    #[test]
    fn a_replica_that_just_started_says_offline_after_four_own_beats() {
        let mut bench = Bench::new();
        bench.claim(1);
        bench.own_beats();
        bench.node_beat(1, Vec::new());
        bench.full(1, 1, 1);
        assert_eq!(bench.said(), "1:");
        for _ in 0..3 {
            bench.tick();
            bench.node_beat(1, Vec::new());
            assert_eq!(bench.said(), "", "a node that it has not heard yet may have ada");
        }
        bench.tick();
        assert_eq!(bench.said(), "1: offline");
    }

    #[test]
    fn a_standby_says_offline_once_its_claim_has_come_back() {
        let mut bench = Bench::new();
        (0..4).for_each(|_| bench.tick());
        bench.claim(1);
        bench.full(1, 1, 1);
        assert_eq!(bench.said(), "1:", "a node that it has not heard yet cannot have heard of the claim");
        bench.own_beats();
        assert_eq!(bench.said(), "1: offline");
    }

    #[test]
    fn an_interruption_starts_the_listening_anew() {
        let mut bench = Bench::new();
        (0..4).for_each(|_| bench.tick());
        bench.replica.beats_interrupted();
        bench.claim(1);
        bench.own_beats();
        bench.full(1, 1, 1);
        for _ in 0..3 {
            bench.tick();
            bench.node_beat(1, Vec::new());
        }
        assert_eq!(bench.said(), "1:");
        bench.tick();
        assert_eq!(bench.said(), "1: offline");
    }

    #[test]
    fn silence_is_counted_in_own_beats_heard() {
        let mut bench = Bench::new();
        bench.claim(1);
        bench.own_beats();
        bench.full(1, 1, 1);
        (0..3).for_each(|_| bench.tick());
        // An hour passes for everybody else while this replica is paused: that counts nothing.
        bench.now += Duration::from_secs(3_600);
        assert_eq!(bench.said(), "1:");
        bench.node_beat(1, Vec::new());
        assert_eq!(bench.said(), "");
        (0..3).for_each(|_| bench.tick());
        bench.said();
        bench.tick();
        assert_eq!(bench.said(), "1 lost");
    }

    #[test]
    fn an_interruption_starts_the_silence_anew() {
        let mut bench = Bench::new();
        bench.claim(1);
        bench.own_beats();
        bench.full(1, 1, 1);
        (0..3).for_each(|_| bench.tick());
        bench.replica.beats_interrupted(); // the node may have beaten meanwhile
        (0..3).for_each(|_| bench.tick());
        assert_eq!(bench.said(), "1:");
        bench.tick();
        assert_eq!(bench.said(), "1 lost");
    }

    #[test]
    fn an_owner_that_may_have_missed_a_report_is_none_any_more() {
        let mut bench = Bench::new();
        bench.claim(1);
        bench.full(1, 1, 1);
        bench.said();
        bench.replica.interrupted(&mut bench.effects);
        assert_eq!(bench.said(), "stepped down");
        assert_eq!(bench.replica.owns(SHARD), None);
        bench.full(1, 2, 1);
        assert_eq!(bench.said(), "");
    }

    #[test]
    fn a_beat_sent_before_the_claim_asked_nobody_for_the_word() {
        let mut bench = Bench::new();
        for _ in 0..3 {
            bench.tick();
            bench.node_beat(2, Vec::new());
        }
        bench.replica.tick(bench.now, &mut bench.effects);
        bench.replica.claimed(SHARD, epoch(1), &mut bench.effects);
        bench.full(1, 1, 1);
        bench.own_beats(); // the fourth that it listened to
        for _ in 0..3 {
            (1..=2).for_each(|n| bench.node_beat(n, Vec::new()));
            bench.tick();
        }
        assert_eq!(bench.said(), "1:", "three beats have asked the other node");
        (1..=2).for_each(|n| bench.node_beat(n, Vec::new()));
        bench.tick();
        assert_eq!(bench.said(), "1: offline");
    }

    #[test]
    fn whoever_hears_of_a_higher_epoch_is_silent() {
        let owner = || {
            let mut bench = Bench::new();
            (0..4).for_each(|_| bench.tick());
            bench.claim(1);
            bench.own_beats();
            assert_eq!(bench.said(), "");
            bench
        };
        let check = |mut bench: Bench, why: &str| {
            assert_eq!(bench.said(), "stepped down", "{why}");
            bench.full(1, 9, 1);
            assert_eq!(bench.said(), "", "{why}");
            // Nor does it claim with an epoch that is not above what it has heard.
            assert_eq!(bench.replica.floor(SHARD), epoch(2), "{why}");
            bench.replica.claimed(SHARD, epoch(2), &mut bench.effects);
            assert_eq!((bench.replica.owns(SHARD), bench.said().as_str()), (None, "stepped down"), "{why}");
        };
        let mut bench = owner();
        bench.node_beat(1, vec![(SHARD, epoch(2))]);
        check(bench, "in a node's beat");
        let mut bench = owner();
        bench.full(1, 1, 2);
        check(bench, "in a report");
        let mut bench = owner();
        let (replica, owned) = (ProcessId::from_random(8), vec![(SHARD, epoch(2))]);
        let beat = ReplicaBeat { replica, number: 1, owned, needs: Vec::new() };
        bench.replica.replica_beat(&beat, bench.now, &mut bench.effects);
        check(bench, "in a replica's beat");
    }

    #[test]
    fn a_node_that_beats_and_owes_its_word_is_left_out_until_it_speaks() {
        let mut bench = Bench::new();
        bench.claim(1);
        bench.own_beats();
        bench.full(1, 1, 1);
        for _ in 0..3 {
            bench.tick();
            (1..=2).for_each(|n| bench.node_beat(n, Vec::new()));
        }
        bench.tick();
        assert_eq!(bench.said(), "1:");
        (1..=2).for_each(|n| bench.node_beat(n, Vec::new()));
        bench.tick();
        assert_eq!(bench.said(), "1: offline", "it has been asked with four beats");
        bench.full(2, 1, 0); // to no owner in particular, but it speaks
        bench.full(1, 2, 1);
        assert_eq!(bench.said(), "1:", "it may have signed ada in");
        bench.full(2, 2, 1);
        assert_eq!(bench.said(), "1: offline, 2: offline");
    }

    #[test]
    fn a_node_that_said_farewell_is_not_reported_lost() {
        let mut bench = Bench::new();
        bench.claim(1);
        bench.own_beats();
        bench.full(1, 1, 1);
        bench.said();
        bench.replica.log(SHARD, Message::Farewell(node(1)), bench.now, &mut bench.effects);
        bench.node_beat(1, Vec::new()); // was on its way
        (0..8).for_each(|_| bench.tick());
        assert_eq!(bench.said(), "");
        assert_eq!(bench.replica.words(), (1, 1));
    }
}
