//! Gateways, replicas and the broker between them, moved by chance.

use crate::{
    random::Random,
    truth::{History, May},
};
use ids::{Epoch, NodeId, ProcessId, ShardId, Shards, UserKey};
use roster::{
    Message, Node, NodeBeat, NodeEffect, Replica, ReplicaBeat, ReplicaEffect, Status, StatusDigest, Timing,
};
use std::{
    collections::VecDeque,
    num::NonZeroU16,
    time::{Duration, Instant},
};

const NODES: usize = 3;
const REPLICAS: usize = 2;
const ALL: usize = NODES + REPLICAS;
const USERS: usize = 3;
const BEAT: Duration = Duration::from_secs(2);
/// All in beats. A lease lapses after 5 s, own proof missing is noticed after 4 s.
const LEASE: usize = 3;
const UNPROVEN: usize = 2;
const DRAIN_GRACE: usize = 4;
/// A node that was in trouble for longer may count as gone until it is heard again.
const EXCUSED: usize = 1;
/// Beats of fair running after which everything must be right.
const REST: usize = 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    Pause,
    Cut,
    /// One direction of one plane; noticed when proof is missing.
    HalfCut,
    /// The node's reports do not get out and its beats do, which proof should have prevented.
    Wedge,
    Stall,
    /// The broker forgets leases and epochs.
    Amnesia,
    KillNode,
    KillReplica,
    Drain,
    HandOver,
    /// The broker executes an old report again.
    Repeat,
    /// A message vanishes and nobody is told.
    Lose,
}

impl Fault {
    /// A different choice for each seed: a rule often shows only while others are not in the way.
    pub(crate) fn some(seed: u64) -> Vec<Fault> {
        use Fault::*;
        let all =
            [Pause, Cut, HalfCut, Wedge, Stall, Amnesia, KillNode, KillReplica, Drain, HandOver, Repeat];
        let mut random = Random::new(!seed);
        let chosen = random.next() & (random.next() | random.next());
        all.into_iter().enumerate().filter(|(n, _)| chosen >> n & 1 == 1).map(|(_, fault)| fault).collect()
    }
}

#[derive(Clone, Default)]
pub(crate) struct Options {
    pub(crate) shards: u16,
    pub(crate) faults: Vec<Fault>,
    pub(crate) wedged_at_the_end: bool,
    /// A process whose proof is missing counts as interrupted; else it is only silent until proof is back.
    pub(crate) doubtful: bool,
    /// Everything is heard within the beat in which it was sent, though in any order.
    pub(crate) prompt: bool,
    pub(crate) trace: bool,
}

/// What happened in a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) online: usize,
    pub(crate) offline: usize,
    pub(crate) repairs: usize,
    pub(crate) lost: usize,
    pub(crate) farewells: usize,
    pub(crate) claims: usize,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Tally) {
        self.online += other.online;
        self.offline += other.offline;
        self.repairs += other.repairs;
        self.lost += other.lost;
        self.farewells += other.farewells;
        self.claims += other.claims;
    }
}

/// The two planes have connections of their own, and fail apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Plane {
    Data,
    Beats,
}

#[derive(Clone, Debug)]
enum Packet {
    Log(ShardId, Message),
    Status(NodeId, Status),
    StatusDigest(NodeId, StatusDigest),
    NodeBeat(NodeBeat),
    ReplicaBeat(ReplicaBeat),
    /// By which a process knows that it can speak and hear.
    Probe,
    /// The lease has been taken: an answer, which is in no topic.
    Granted(ShardId, Epoch),
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Timer(usize),
    Flush(usize, Plane),
    Deliver(usize, usize),
}

#[derive(Clone, Copy, Debug)]
enum Act {
    SignIn,
    SignOut,
    EndGrace,
    Watch,
    Unwatch,
}

/// What a process has to do with the broker. Queues hold the beat at which each packet was sent.
struct Wire {
    paused: bool,
    due: bool,
    hears: [bool; 2],
    says: [bool; 2],
    proven_at: usize,
    /// The process was told that messages may be missing.
    interrupted: bool,
    outbox: [VecDeque<(Packet, usize)>; 2],
    /// By topic: beats, one log per shard, own topic.
    inbox: Vec<VecDeque<(Packet, usize)>>,
}

/// A user on one gateway, as the user sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Here {
    No,
    /// Waits for success.
    SigningIn,
    Yes,
    /// Gone, and online until that beat.
    Grace(usize),
}

struct Gateway {
    core: Node,
    draining: bool,
    /// It has nothing left but its farewells.
    leaving: bool,
    wedged: bool,
    here: [Here; USERS],
    /// What the log says of its users.
    taken: [bool; USERS],
    watching: [bool; USERS],
    /// A yes was sent and no no since.
    asked: [bool; USERS],
    /// The last word of each user, and the moment from which on the next may have been true.
    told: [Option<bool>; USERS],
    cursor: [usize; USERS],
    trouble_since: Option<usize>,
    beaten_since_trouble: bool,
    /// By shard: its levels may count as gone.
    excused: Vec<bool>,
    /// Reports that the broker may execute again.
    sent: VecDeque<Packet>,
}

pub(crate) struct World {
    seed: u64,
    options: Options,
    random: Random,
    start: Instant,
    beat: usize,
    step: usize,
    shards: Shards,
    users: Vec<UserKey>,
    wires: Vec<Wire>,
    gateways: Vec<Gateway>,
    replicas: Vec<Replica>,
    stalled: bool,
    /// By shard: holder, epoch, and the beat at which it lapses.
    leases: Vec<Option<(usize, Epoch, usize)>>,
    /// By shard: the highest epoch that the broker remembers.
    epochs: Vec<Epoch>,
    history: Vec<History>,
    tally: Tally,
    trace: VecDeque<String>,
}

impl World {
    pub(crate) fn new(seed: u64, options: Options) -> World {
        let shards = Shards::new(NonZeroU16::new(options.shards.max(1)).expect("not zero"));
        let count = usize::from(shards.count());
        let mut world = World {
            seed,
            options,
            random: Random::new(seed),
            start: Instant::now(),
            beat: 1_000,
            step: 0,
            shards,
            users: users(),
            wires: Vec::new(),
            gateways: Vec::new(),
            replicas: Vec::new(),
            stalled: false,
            leases: vec![None; count],
            epochs: vec![Epoch::NONE; count],
            history: (0..USERS).map(|_| History::new()).collect(),
            tally: Tally::default(),
            trace: VecDeque::new(),
        };
        for _ in 0..NODES {
            let gateway = world.new_gateway();
            world.gateways.push(gateway);
        }
        for _ in 0..REPLICAS {
            let replica = world.new_replica();
            world.replicas.push(replica);
        }
        world.wires = (0..ALL).map(|_| world.new_wire()).collect();
        world
    }

    /// Starts at rest, takes `steps` steps, heals everything, and checks what is true then.
    pub(crate) fn run(mut self, steps: usize) -> Tally {
        for _ in 0..6 {
            self.calm();
        }
        for _ in 0..steps {
            match self.random.below(100) {
                0..=57 => {
                    let moves = self.moves(false);
                    if !moves.is_empty() {
                        let chosen = self.random.one_of(&moves);
                        self.make(chosen);
                    }
                }
                58..=79 => self.act(),
                80..=87 => self.tick(),
                88..=90 => self.calm(),
                91..=96 => self.heal_something(),
                _ => self.fail_something(),
            }
            self.observe();
        }
        self.rest();
        self.tally
    }

    // ---- truth ---------------------------------------------------------------------------------------------------

    fn observe(&mut self) {
        self.step += 1;
        for (gateway, wire) in self.gateways.iter_mut().zip(&self.wires) {
            if wire.is_whole() {
                gateway.trouble_since = None;
            } else {
                let since = *gateway.trouble_since.get_or_insert(self.beat);
                gateway.beaten_since_trouble = false;
                if self.beat - since >= EXCUSED {
                    gateway.excused.fill(true);
                }
            }
        }
        for user in 0..USERS {
            let shard = usize::from(self.shards.of(&self.users[user]).0);
            let be_online = |gateway: &Gateway| gateway.here[user] != Here::No || gateway.taken[user];
            let counts = |gateway: &Gateway| {
                !gateway.excused[shard]
                    && match gateway.here[user] {
                        Here::Yes => true,
                        Here::Grace(until) => self.beat < until,
                        Here::No | Here::SigningIn => false,
                    }
            };
            let may = May {
                be_online: self.gateways.iter().any(be_online),
                be_offline: !self.gateways.iter().any(counts),
            };
            self.history[user].observe(self.step, may);
        }
    }

    fn told(&mut self, n: usize, key: &UserKey, online: bool) {
        let user = self.users.iter().position(|known| known == key).expect("a known user");
        let before = self.gateways[n].told[user].replace(online);
        if before == Some(online) {
            self.fail(&format!("node {n} is told twice that {key:?} is online: {online}"));
        }
        // A first `online` may be of a node that was killed and is not found lost yet.
        let from = if online && before.is_none() { 0 } else { self.gateways[n].cursor[user] };
        match self.history[user].moment(online, from) {
            Some(moment) => self.gateways[n].cursor[user] = moment,
            None if self.options.faults.contains(&Fault::Lose) => {}
            None => {
                self.fail(&format!("node {n} is told that {key:?} is online: {online}, which is not true"));
            }
        }
        if online { self.tally.online += 1 } else { self.tally.offline += 1 }
    }

    fn fail(&self, why: &str) -> ! {
        self.trace.iter().for_each(|line| println!("{line}"));
        panic!("seed {}, step {}: {why}", self.seed, self.step);
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if self.options.trace {
            if self.trace.len() == 400 {
                self.trace.pop_front();
            }
            self.trace.push_back(format!("{:>5} beat {}: {}", self.step, self.beat, line()));
        }
    }

    // ---- broker --------------------------------------------------------------------------------------------------

    /// What can happen next; `overdue`: only what has waited for a beat or more.
    fn moves(&self, overdue: bool) -> Vec<Move> {
        let mut moves = Vec::new();
        let ready = |queue: &VecDeque<(Packet, usize)>| {
            queue.front().is_some_and(|(_, since)| !overdue || *since < self.beat)
        };
        for (p, wire) in self.wires.iter().enumerate().filter(|(_, wire)| !wire.paused) {
            if wire.due {
                moves.push(Move::Timer(p));
            }
            for plane in [Plane::Data, Plane::Beats] {
                if !self.stalled && wire.says[plane as usize] && ready(&wire.outbox[plane as usize]) {
                    moves.push(Move::Flush(p, plane));
                }
            }
            let topics = (0..wire.inbox.len()).filter(|topic| ready(&wire.inbox[*topic]));
            moves.extend(topics.map(|topic| Move::Deliver(p, topic)));
        }
        moves
    }

    fn make(&mut self, chosen: Move) {
        match chosen {
            Move::Timer(p) if !self.wires[p].due => {}
            Move::Timer(p) => self.timer(p),
            Move::Flush(p, plane) => {
                let Some((packet, since)) = self.wires[p].outbox[plane as usize].pop_front() else { return };
                self.note(|| format!("the broker takes of {p} {packet:?}"));
                self.execute(p, &packet, since);
                self.taken(p, packet);
            }
            Move::Deliver(p, topic) => {
                let Some((packet, _)) = self.wires[p].inbox[topic].pop_front() else { return };
                self.note(|| format!("{p} hears {packet:?}"));
                if p < NODES { self.node_hears(p, packet) } else { self.replica_hears(p - NODES, packet) }
            }
        }
        self.observe();
    }

    /// Puts a packet into its topic, for all who listen.
    fn execute(&mut self, from: usize, packet: &Packet, since: usize) {
        let own = usize::from(self.shards.count()) + 1;
        for p in 0..ALL {
            let (reached, topic) = match packet {
                Packet::Log(shard, _) => (p >= NODES, usize::from(shard.0) + 1),
                Packet::Status(node, _) | Packet::StatusDigest(node, _) => {
                    (p < NODES && self.gateways[p].core.id() == *node, own)
                }
                Packet::NodeBeat(_) | Packet::ReplicaBeat(_) => (true, 0),
                Packet::Probe | Packet::Granted(..) => (p == from, own),
            };
            let gone = p < NODES && self.gateways[p].leaving;
            if reached && !gone && self.wires[p].hears[packet.plane() as usize] {
                self.wires[p].inbox[topic].push_back((packet.clone(), since));
            }
        }
    }

    /// The broker has taken a packet: what a node said is in the log now.
    fn taken(&mut self, p: usize, packet: Packet) {
        match &packet {
            Packet::NodeBeat(_) => {
                self.gateways[p].beaten_since_trouble |= self.wires[p].is_whole();
            }
            Packet::Log(shard, Message::Report(report)) => {
                let current = self.replicas.iter().all(|replica| replica.owns(*shard) <= Some(report.epoch));
                let gateway = &mut self.gateways[p];
                // Whoever owns the shard reads this before it reads anything later. A node that speaks to an owner of
                // the past may still be given up on by the one of the day.
                if self.wires[p].is_whole() && gateway.beaten_since_trouble && current {
                    gateway.excused[usize::from(shard.0)] = false;
                }
                for (user, key) in self.users.iter().enumerate() {
                    if self.shards.of(key) == *shard {
                        let said = report.users.iter().find(|(said, _)| said == key).map(|(_, here)| *here);
                        gateway.taken[user] = said.unwrap_or(gateway.taken[user] && !report.full);
                    }
                }
                if report.full || !report.users.is_empty() {
                    gateway.sent.push_back(packet.clone());
                    gateway.sent.truncate(4);
                    if gateway.sent.len() == 4 {
                        gateway.sent.pop_front();
                    }
                }
                let shard = *shard;
                self.observe();
                self.with_node(p, |core, now, effects| core.taken(shard, now, effects));
            }
            Packet::Log(_, Message::Farewell(_)) => {
                self.tally.farewells += 1;
                if self.wires[p].outbox[Plane::Data as usize].is_empty() {
                    self.replace_node(p);
                }
            }
            _ => {}
        }
    }

    fn send(&mut self, p: usize, packet: Packet) {
        let beat = self.beat;
        self.wires[p].outbox[packet.plane() as usize].push_back((packet, beat));
    }

    /// Messages may be missing from here on.
    fn interrupt(&mut self, p: usize) {
        if !std::mem::replace(&mut self.wires[p].interrupted, true) && p >= NODES {
            self.note(|| format!("{p} is interrupted"));
            self.replicas[p - NODES].beats_interrupted();
            self.with_replica(p - NODES, |core, _, effects| core.interrupted(effects));
        }
    }

    /// Nothing is missing from here on.
    fn resume(&mut self, p: usize) {
        self.wires[p].proven_at = self.beat;
        if std::mem::take(&mut self.wires[p].interrupted) && p < NODES && !self.gateways[p].leaving {
            self.note(|| format!("{p} resumes"));
            self.with_node(p, Node::resumed);
        }
    }

    fn deafen(&mut self, p: usize, plane: Plane) {
        let wire = &mut self.wires[p];
        wire.hears[plane as usize] = false;
        let range = if plane == Plane::Beats { 0..1 } else { 1..wire.inbox.len() };
        wire.inbox[range].iter_mut().for_each(VecDeque::clear);
    }

    fn restore(&mut self, p: usize) {
        let wire = &mut self.wires[p];
        wire.says = [true; 2];
        if p < NODES {
            self.gateways[p].wedged = false;
        }
        if self.wires[p].hears != [true; 2] {
            self.interrupt(p);
            self.wires[p].hears = [true; 2];
            self.resume(p);
        }
    }

    // ---- processes -----------------------------------------------------------------------------------------------

    fn new_wire(&self) -> Wire {
        Wire {
            paused: false,
            due: false,
            hears: [true; 2],
            says: [true; 2],
            proven_at: self.beat,
            interrupted: false,
            outbox: Default::default(),
            inbox: vec![VecDeque::new(); usize::from(self.shards.count()) + 2],
        }
    }

    fn new_gateway(&mut self) -> Gateway {
        let id = NodeId::from_random(self.random.next());
        Gateway {
            core: Node::new(id, self.shards),
            draining: false,
            leaving: false,
            wedged: false,
            here: [Here::No; USERS],
            taken: [false; USERS],
            watching: [false; USERS],
            asked: [false; USERS],
            told: [None; USERS],
            cursor: [self.step; USERS],
            trouble_since: None,
            beaten_since_trouble: true,
            excused: vec![false; usize::from(self.shards.count())],
            sent: VecDeque::new(),
        }
    }

    fn new_replica(&mut self) -> Replica {
        Replica::new(ProcessId::from_random(self.random.next()), Timing { listen_beats: 4, lost_after: 4 })
    }

    /// The process ends, and starts again as another.
    fn replace_node(&mut self, n: usize) {
        self.gateways[n] = self.new_gateway();
        self.wires[n] = self.new_wire();
    }

    fn replace_replica(&mut self, r: usize) {
        self.replicas[r] = self.new_replica();
        self.wires[NODES + r] = self.new_wire();
    }

    fn now(&self) -> Instant {
        self.start + BEAT * self.beat as u32
    }

    fn with_node(&mut self, n: usize, call: impl FnOnce(&mut Node, Instant, &mut Vec<NodeEffect>)) {
        let (now, mut effects) = (self.now(), Vec::new());
        call(&mut self.gateways[n].core, now, &mut effects);
        for effect in effects {
            self.note(|| format!("{n} {effect:?}"));
            match effect {
                NodeEffect::Report(shard, report) => {
                    let gateway = &mut self.gateways[n];
                    for (user, key) in self.users.iter().enumerate() {
                        if self.shards.of(key) == shard {
                            let said = report.watched.iter().find(|(said, _)| said == key);
                            let asked = said.map_or(gateway.asked[user] && !report.full, |(_, yes)| *yes);
                            gateway.asked[user] = asked;
                            // The level is forgotten when the no is sent.
                            gateway.told[user] = gateway.told[user].filter(|_| asked);
                        }
                    }
                    self.send(n, Packet::Log(shard, Message::Report(report)));
                }
                NodeEffect::Digest(shard, digest) => {
                    self.send(n, Packet::Log(shard, Message::Digest(digest)));
                }
                NodeEffect::Beat(beat) => {
                    // Without proof no beat, so that no half-dead process passes for a live one.
                    let proven = self.beat - self.wires[n].proven_at <= UNPROVEN;
                    if proven || self.gateways[n].wedged {
                        self.send(n, Packet::NodeBeat(beat));
                    }
                }
                NodeEffect::Online(key) => {
                    let user = self.users.iter().position(|known| *known == key).expect("a known user");
                    self.gateways[n].here[user] = Here::Yes;
                }
                NodeEffect::Level(key, online) => self.told(n, &key, online),
                NodeEffect::Repair(_) => self.tally.repairs += 1,
                NodeEffect::OwnerSilent(_) | NodeEffect::OwnerHeard(_) => {}
            }
        }
    }

    fn with_replica(&mut self, r: usize, call: impl FnOnce(&mut Replica, Instant, &mut Vec<ReplicaEffect>)) {
        let (now, mut effects, p) = (self.now(), Vec::new(), NODES + r);
        call(&mut self.replicas[r], now, &mut effects);
        for effect in effects {
            self.note(|| format!("{p} {effect:?}"));
            match effect {
                ReplicaEffect::Status(node, status) => self.send(p, Packet::Status(node, status)),
                ReplicaEffect::Digest(node, digest) => self.send(p, Packet::StatusDigest(node, digest)),
                ReplicaEffect::Beat(beat) => {
                    if !self.wires[p].interrupted {
                        self.send(p, Packet::ReplicaBeat(beat));
                    }
                }
                ReplicaEffect::SteppedDown(shard, epoch) => {
                    let lease = &mut self.leases[usize::from(shard.0)];
                    let reached = self.wires[p].says == [true; 2] && !self.stalled;
                    *lease = lease.filter(|(holder, held, _)| !reached || (*holder, *held) != (r, epoch));
                }
                ReplicaEffect::NodeLost(_) => self.tally.lost += 1,
                ReplicaEffect::Repair(_) => self.tally.repairs += 1,
            }
        }
    }

    fn node_hears(&mut self, n: usize, packet: Packet) {
        match packet {
            Packet::Status(_, status) => {
                self.with_node(n, |core, now, effects| core.status(status, now, effects));
            }
            Packet::StatusDigest(_, digest) => {
                self.with_node(n, |core, now, effects| core.status_digest(digest, now, effects));
            }
            Packet::NodeBeat(beat) => self.gateways[n].core.node_beat(&beat),
            Packet::ReplicaBeat(beat) => {
                self.with_node(n, |core, now, effects| core.replica_beat(&beat, now, effects));
            }
            Packet::Probe => self.resume(n),
            Packet::Log(..) | Packet::Granted(..) => unreachable!("not for nodes"),
        }
    }

    fn replica_hears(&mut self, r: usize, packet: Packet) {
        match packet {
            Packet::Log(shard, message) => {
                self.with_replica(r, |core, now, effects| core.log(shard, message, now, effects));
            }
            Packet::NodeBeat(beat) => {
                self.with_replica(r, |core, now, effects| core.node_beat(&beat, now, effects));
            }
            Packet::ReplicaBeat(beat) => {
                self.with_replica(r, |core, now, effects| core.replica_beat(&beat, now, effects));
            }
            Packet::Probe => self.resume(NODES + r),
            Packet::Granted(shard, epoch) => {
                self.tally.claims += 1;
                self.with_replica(r, |core, now, effects| {
                    core.claimed(shard, epoch, effects);
                    core.claim(now, effects);
                });
            }
            Packet::Status(..) | Packet::StatusDigest(..) => unreachable!("not for replicas"),
        }
    }

    fn timer(&mut self, p: usize) {
        self.wires[p].due = false;
        if p < NODES && self.gateways[p].leaving {
            return;
        }
        if self.options.doubtful && self.beat - self.wires[p].proven_at > UNPROVEN {
            self.interrupt(p);
        }
        self.send(p, Packet::Probe);
        if p >= NODES {
            self.with_replica(p - NODES, Replica::tick);
            return self.shards.iter().for_each(|shard| self.lease(p - NODES, shard));
        }
        self.with_node(p, Node::tick);
        for user in 0..USERS {
            if matches!(self.gateways[p].here[user], Here::Grace(until) if until <= self.beat) {
                self.gateways[p].here[user] = Here::No;
            }
        }
        if self.gateways[p].draining && self.gateways[p].core.is_empty() {
            self.gateways[p].leaving = true;
            self.wires[p].inbox.iter_mut().for_each(VecDeque::clear);
            let id = self.gateways[p].core.id();
            self.shards.iter().for_each(|shard| self.send(p, Packet::Log(shard, Message::Farewell(id))));
        }
    }

    /// Renews the lease, gives up what is not held any more, takes what is free.
    fn lease(&mut self, r: usize, shard: ShardId) {
        let wire = &self.wires[NODES + r];
        let proven = self.beat - wire.proven_at <= UNPROVEN && !wire.interrupted;
        if !wire.says[Plane::Data as usize] || self.stalled || !proven {
            return;
        }
        let at = usize::from(shard.0);
        let held = self.leases[at].filter(|(_, _, until)| *until > self.beat);
        match (self.replicas[r].owns(shard), held) {
            (Some(epoch), Some((holder, taken, _))) if (holder, taken) == (r, epoch) => {
                self.leases[at] = Some((r, epoch, self.beat + LEASE));
            }
            (Some(_), _) => self.with_replica(r, |core, _, effects| core.step_down(shard, effects)),
            (None, Some(_)) => {}
            (None, None) => {
                let floor = self.epochs[at].max(self.replicas[r].floor(shard));
                // The low bits are the replica's.
                let epoch = Epoch::above(floor, ProcessId::from_random(self.random.next() << 1 | r as u64));
                self.epochs[at] = epoch;
                self.leases[at] = Some((r, epoch, self.beat + LEASE));
                self.execute(NODES + r, &Packet::Granted(shard, epoch), self.beat);
            }
        }
    }

    // ---- what users do -------------------------------------------------------------------------------------------

    fn act(&mut self) {
        let mut acts = Vec::new();
        for n in 0..NODES {
            let (gateway, wire) = (&self.gateways[n], &self.wires[n]);
            if gateway.leaving || wire.paused {
                continue;
            }
            let proven = self.beat - wire.proven_at <= UNPROVEN && !wire.interrupted;
            let accepts = proven && !gateway.draining && gateway.core.heard_own_beat();
            for user in 0..USERS {
                match gateway.here[user] {
                    Here::No | Here::Grace(_) if accepts => acts.extend([(n, user, Act::SignIn); 3]),
                    Here::Yes | Here::SigningIn => acts.extend([(n, user, Act::SignOut); 3]),
                    Here::No | Here::Grace(_) => {}
                }
                if matches!(gateway.here[user], Here::Grace(_)) {
                    acts.push((n, user, Act::EndGrace));
                }
                if gateway.watching[user] {
                    acts.push((n, user, Act::Unwatch));
                } else if accepts {
                    acts.extend([(n, user, Act::Watch); 3]);
                }
            }
        }
        if !acts.is_empty() {
            let (n, user, act) = self.random.one_of(&acts);
            self.note(|| format!("{n}: {act:?} user {user}"));
            match act {
                Act::SignIn => self.sign_in(n, user),
                Act::SignOut => {
                    let grace = self.random.below(4);
                    self.sign_out(n, user, grace);
                }
                Act::EndGrace => self.end_grace(n, user),
                Act::Watch => self.watch(n, user),
                Act::Unwatch => self.unwatch(n, user),
            }
        }
    }

    fn sign_in(&mut self, n: usize, user: usize) {
        let key = self.users[user].clone();
        self.gateways[n].here[user] = Here::SigningIn;
        self.with_node(n, |core, now, effects| core.sign_in(key, now, effects));
    }

    fn sign_out(&mut self, n: usize, user: usize, grace: usize) {
        let (key, gateway) = (self.users[user].clone(), &mut self.gateways[n]);
        let stays = grace > 0 && gateway.here[user] == Here::Yes;
        gateway.here[user] = if stays { Here::Grace(self.beat + grace) } else { Here::No };
        let grace = BEAT * grace as u32;
        self.with_node(n, |core, now, effects| core.sign_out(&key, grace, now, effects));
    }

    fn end_grace(&mut self, n: usize, user: usize) {
        let key = self.users[user].clone();
        self.gateways[n].here[user] = Here::No;
        self.with_node(n, |core, now, effects| core.end_grace(&key, now, effects));
    }

    fn watch(&mut self, n: usize, user: usize) {
        let (key, gateway) = (self.users[user].clone(), &mut self.gateways[n]);
        gateway.watching[user] = true;
        // The answer to a question that was asked before serves this watcher, too.
        if !gateway.asked[user] {
            gateway.cursor[user] = self.step;
        }
        let (before, mut known) = (gateway.told[user], None);
        self.with_node(n, |core, now, effects| known = core.watch(key, now, effects));
        if known != before {
            self.fail(&format!("node {n} answers {known:?} for user {user}, was told {before:?}"));
        }
    }

    fn unwatch(&mut self, n: usize, user: usize) {
        self.gateways[n].watching[user] = false;
        let now = self.now();
        self.gateways[n].core.unwatch(&self.users[user], now);
    }

    fn drain(&mut self, n: usize) {
        self.gateways[n].draining = true;
        for user in 0..USERS {
            if self.gateways[n].watching[user] {
                self.unwatch(n, user);
            }
            if matches!(self.gateways[n].here[user], Here::Yes | Here::SigningIn) {
                self.sign_out(n, user, DRAIN_GRACE);
            }
        }
    }

    // ---- time and faults -----------------------------------------------------------------------------------------

    /// A beat passes. Whoever is up has heard by then what was sent in the beat before, at the latest.
    fn tick(&mut self) {
        self.drain_queues(!self.options.prompt);
        self.beat += 1;
        self.wires.iter_mut().for_each(|wire| wire.due = true);
    }

    /// A beat in which everything arrives.
    fn calm(&mut self) {
        self.drain_queues(false);
        self.tick();
        self.drain_queues(false);
    }

    fn drain_queues(&mut self, overdue: bool) {
        loop {
            let moves = self.moves(overdue);
            if moves.is_empty() {
                return;
            }
            // All of them, in turn from any: choosing anew after each takes most of the time of a run.
            let first = self.random.below(moves.len());
            moves.iter().cycle().skip(first).take(moves.len()).for_each(|chosen| self.make(*chosen));
        }
    }

    fn heal_something(&mut self) {
        let mut ill: Vec<usize> = (0..ALL).filter(|p| !self.wires[*p].is_whole()).collect();
        if self.stalled {
            ill.push(ALL);
        }
        if ill.is_empty() {
            return;
        }
        let p = self.random.one_of(&ill);
        self.note(|| format!("{p} is healed"));
        if p == ALL {
            self.stalled = false;
        } else if !std::mem::take(&mut self.wires[p].paused) {
            self.restore(p);
        }
    }

    fn fail_something(&mut self) {
        if self.options.faults.is_empty() {
            return;
        }
        let faults = std::mem::take(&mut self.options.faults);
        let fault = self.random.one_of(&faults);
        self.options.faults = faults;
        let (p, n, r) = (self.random.below(ALL), self.random.below(NODES), self.random.below(REPLICAS));
        self.note(|| format!("{fault:?} of {p}, node {n} or replica {r}"));
        self.fail_by(fault, p, n, r);
        // Often it lasts: long enough for a node to be found lost and for a lease to lapse.
        if self.random.below(4) == 0 {
            for _ in 0..6 {
                self.act();
                self.calm();
            }
        }
    }

    fn fail_by(&mut self, fault: Fault, p: usize, n: usize, r: usize) {
        match fault {
            Fault::Pause => self.wires[p].paused = true,
            Fault::Cut => {
                self.deafen(p, Plane::Data);
                self.deafen(p, Plane::Beats);
                self.wires[p].says = [false; 2];
            }
            Fault::HalfCut => match self.random.below(4) {
                0 => self.deafen(p, Plane::Data),
                1 => self.deafen(p, Plane::Beats),
                2 => self.wires[p].says[Plane::Data as usize] = false,
                _ => self.wires[p].says[Plane::Beats as usize] = false,
            },
            Fault::Wedge => self.wedge(n),
            Fault::Stall => self.stalled = true,
            Fault::Amnesia => {
                self.leases.fill(None);
                self.epochs.fill(Epoch::NONE);
                for p in 0..ALL {
                    self.deafen(p, Plane::Data);
                    self.deafen(p, Plane::Beats);
                }
            }
            Fault::KillNode => self.replace_node(n),
            Fault::KillReplica => self.replace_replica(r),
            Fault::Drain if self.gateways[n].draining || !self.wires[n].is_whole() => {}
            Fault::Drain => self.drain(n),
            Fault::HandOver => {
                let shard = ShardId(self.random.below(usize::from(self.shards.count())) as u16);
                self.with_replica(r, |core, _, effects| core.step_down(shard, effects));
            }
            Fault::Repeat => {
                let sent: Vec<Packet> = self.gateways[n].sent.iter().cloned().collect();
                if !sent.is_empty() && !self.stalled {
                    let which = self.random.below(sent.len());
                    self.execute(n, &sent[which], self.beat);
                }
            }
            Fault::Lose => {
                let topic = self.random.below(self.wires[p].inbox.len());
                if !matches!(self.wires[p].inbox[topic].front(), Some((Packet::Granted(..), _))) {
                    self.wires[p].inbox[topic].pop_front();
                }
            }
        }
    }

    /// What nothing follows that would show the gap.
    fn lose_the_last(&mut self) {
        for _ in 0..4 {
            self.act();
            for _ in 0..20 {
                let moves = self.moves(false);
                if !moves.is_empty() {
                    let chosen = self.random.one_of(&moves);
                    match chosen {
                        Move::Deliver(p, _) if self.random.below(3) == 0 => {
                            self.fail_by(Fault::Lose, p, 0, 0)
                        }
                        _ => self.make(chosen),
                    }
                }
            }
        }
    }

    fn wedge(&mut self, n: usize) {
        self.gateways[n].wedged = true;
        self.wires[n].says[Plane::Data as usize] = false;
    }

    // ---- rest ----------------------------------------------------------------------------------------------------

    fn rest(&mut self) {
        self.stalled = false;
        for p in 0..ALL {
            self.wires[p].paused = false;
            self.restore(p);
        }
        if self.options.faults.contains(&Fault::Lose) {
            self.lose_the_last();
        }
        let mut wedged = None;
        if self.options.wedged_at_the_end {
            let n = self.random.below(NODES);
            self.drain_queues(false);
            // Those who never gave their word to the next owner are left out by it.
            self.wedge(n);
            (0..REPLICAS).for_each(|r| self.replace_replica(r));
            wedged = Some(n);
        }
        for _ in 0..REST {
            self.calm();
        }
        let nodes = (0..NODES).filter(|n| Some(*n) != wedged).map(|n| &self.gateways[n]);
        let gateways: Vec<&Gateway> = nodes.collect();
        let online = |user: &usize| gateways.iter().any(|gateway| gateway.here[*user] == Here::Yes);
        for user in 0..USERS {
            for gateway in gateways.iter().filter(|gateway| gateway.watching[user]) {
                let (told, truth) = (gateway.told[user], online(&user));
                if told != Some(truth) {
                    let node = gateway.core.id();
                    self.fail(&format!("at rest: user {user} is {truth} and node {node} heard {told:?}"));
                }
            }
        }
        let shards = usize::from(self.shards.count());
        let known = self.replicas.iter().map(Replica::sizes);
        let known = known.fold((0, 0, 0), |all, one| (all.0 + one.0, all.1 + one.1, all.2 + one.2));
        let watched = |user: &usize| gateways.iter().any(|gateway| gateway.watching[*user]);
        let truth =
            ((0..USERS).filter(online).count(), (0..USERS).filter(watched).count(), gateways.len() * shards);
        if known != truth {
            self.fail(&format!("at rest: users online, users watched, views are {known:?}, not {truth:?}"));
        }
        let words = self.replicas.iter().map(Replica::words);
        let words = words.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        if words != (shards, shards) {
            self.fail(&format!("at rest: {} shards owned, {} with the word of all", words.0, words.1));
        }
    }
}

impl Packet {
    fn plane(&self) -> Plane {
        match self {
            Packet::NodeBeat(_) | Packet::ReplicaBeat(_) => Plane::Beats,
            Packet::Log(..)
            | Packet::Status(..)
            | Packet::StatusDigest(..)
            | Packet::Probe
            | Packet::Granted(..) => Plane::Data,
        }
    }
}

impl Wire {
    fn is_whole(&self) -> bool {
        !self.paused && self.hears == [true; 2] && self.says == [true; 2]
    }
}

fn users() -> Vec<UserKey> {
    let user = |n: usize| UserKey {
        app: "1".parse().expect("app id"),
        user: format!("user-{n}").parse().expect("user id"),
    };
    (0..USERS).map(user).collect()
}
