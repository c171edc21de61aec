//! Random histories of nodes and replicas, checked against what was true.
//!
//! A topic has one order, as the broker promises; everything else is late at random, and processes crash, pause, are cut
//! off whole or by halves, drain, hand over, and meet a broker that stalls or has forgotten everything. Checked at each
//! word: it was true at some moment not before that of the word before. Checked at rest: every last word is the truth,
//! and nothing is left over.
//!
//! A seed gives the same run each time; one that fails runs again and shows its last moves.

mod random;
mod truth;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use world::{Fault, Options, Tally, World};

const STEPS: usize = 1_000;

/// Runs one world per seed and adds up what happened.
fn run(seeds: impl Iterator<Item = u64>, options: fn(u64) -> Options) -> Tally {
    let mut all = Tally::default();
    for seed in seeds {
        match catch_unwind(AssertUnwindSafe(|| World::new(seed, options(seed)).run(STEPS))) {
            Ok(tally) => all.add(tally),
            Err(_) => {
                World::new(seed, Options { trace: true, ..options(seed) }).run(STEPS);
                resume_unwind(Box::new(format!("seed {seed} failed only once: it is not deterministic")));
            }
        }
    }
    all
}

/// Every second seed has several shards, every third ends with a node that beats and says nothing.
fn options(seed: u64) -> Options {
    Options {
        shards: if seed.is_multiple_of(2) { 4 } else { 1 },
        faults: Fault::some(seed),
        wedged_at_the_end: seed.is_multiple_of(3),
        doubtful: seed.is_multiple_of(5),
        ..Options::default()
    }
}

#[test]
fn every_word_was_true_and_the_last_is_the_truth_whatever_fails() {
    exercised(run((1..).step_by(2).take(220), options));
}

#[test]
fn and_so_in_several_shards() {
    exercised(run((2..).step_by(2).take(110), options));
}

/// The machinery has run: otherwise the checks check nothing.
fn exercised(tally: Tally) {
    assert!(tally.online > 1_000 && tally.offline > 1_000 && tally.repairs > 100, "{tally:?}");
    assert!(tally.lost > 100 && tally.farewells > 100 && tally.claims > 1_000, "{tally:?}");
}

#[test]
fn a_healthy_run_has_no_repairs_and_loses_nobody() {
    let calm = |seed| Options { faults: Vec::new(), prompt: true, wedged_at_the_end: false, ..options(seed) };
    let tally = run(1..=60, calm);
    assert!(tally.online > 100 && tally.offline > 100, "{tally:?}");
    assert_eq!((tally.repairs, tally.lost), (0, 0), "{tally:?}");
}

#[test]
fn drains_and_hand_overs_need_no_repairs_and_lose_nobody() {
    let planned = |seed| Options {
        faults: vec![Fault::Drain, Fault::HandOver],
        prompt: true,
        wedged_at_the_end: false,
        ..options(seed)
    };
    let tally = run(1..=100, planned);
    assert!(tally.farewells > 10 && tally.claims > 100, "{tally:?}");
    assert_eq!((tally.repairs, tally.lost), (0, 0), "{tally:?}");
}

/// Outside the broker's promise: only that nobody is told a thing twice, and that quiet brings the truth back.
#[test]
fn messages_lost_without_a_word_are_found_by_digests() {
    let lossy = |seed| Options { faults: vec![Fault::Lose], ..options(seed) };
    let tally = run(1..=200, lossy);
    assert!(tally.repairs > 100, "{tally:?}");
}
