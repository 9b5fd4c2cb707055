//! The promises.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::messages::Counts;
use super::scenario::Broken;
use super::world::{Report, World};

/// Runs of a default test.
const RUNS: u64 = 2_000;
const SOAK_RUNS: u64 = 50_000;
/// As many violations are shown at once.
const VIOLATIONS_MAX: usize = 5;

/// A panic is a finding like any other.
fn run(seed: u64, broken: Option<Broken>, traced: bool) -> Report {
    let done = catch_unwind(AssertUnwindSafe(|| World::new(seed, broken, traced).run()));
    done.unwrap_or_else(|_| Report {
        counts: Counts::new(),
        violation: Some("a panic, see above".to_owned()),
        trace: Vec::new(),
    })
}

#[test]
fn what_was_promised_holds_whatever_breaks() {
    if let Some(seed) = std::env::var("ODRADEK_SEED").ok().and_then(|seed| seed.parse().ok()) {
        let report = run(seed, None, true);
        println!("{}", report.trace.join("\n"));
        println!("{:#?}", report.counts);
        assert_eq!(report.violation, None, "seed {seed}");
        return;
    }
    let soak = std::env::var_os("ODRADEK_SOAK").is_some();
    let runs = if soak { SOAK_RUNS } else { RUNS };
    let mut counts: BTreeMap<&str, u64> = Counts::new();
    let mut violations = Vec::new();
    for seed in 0..runs {
        let report = run(seed, None, false);
        for (what, count) in report.counts {
            *counts.entry(what).or_default() += count;
        }
        violations.extend(report.violation.map(|violation| format!("ODRADEK_SEED={seed}: {violation}")));
        if violations.len() >= VIOLATIONS_MAX {
            break;
        }
    }
    println!("{runs} runs: {counts:#?}");
    assert!(violations.is_empty(), "replay a seed with --nocapture\n{}", violations.join("\n"));
}

/// How many runs until the simulation notices a broken rule, and what it says.
#[track_caller]
fn notices(broken: Broken, runs: u64) -> String {
    // What a panic would print belongs to the broken rule.
    let found = (0..runs).find_map(|seed| Some((seed, run(seed, Some(broken), false).violation?)));
    let (seed, violation) = found.unwrap_or_else(|| panic!("{broken:?} goes unnoticed in {runs} runs"));
    println!("{broken:?}: seed {seed}: {violation}");
    violation
}

#[test]
fn followers_that_cut_to_their_high_watermark_lose_records() {
    notices(Broken::TruncatesToHighWatermark, 3_000);
}

#[test]
fn a_controller_that_does_not_fence_its_writes_is_noticed() {
    assert!(notices(Broken::WritesUnfenced, 3_000).contains("wrote in ZooKeeper while the epoch was"));
}

#[test]
fn brokers_that_obey_what_was_meant_for_former_lives_lose_records() {
    notices(Broken::ObeysForFormerLives, 3_000);
}

#[test]
fn a_controller_that_admits_who_restarted_since_it_was_in_sync_loses_records() {
    notices(Broken::AdmitsFormerLives, 3_000);
}

#[test]
fn a_new_controller_that_trusts_who_restarted_loses_records() {
    notices(Broken::TrustsWhoRestarted, 3_000);
}

#[test]
fn leaders_that_answer_followers_of_any_epoch_lose_records() {
    notices(Broken::ServesAnyLeaderEpoch, 3_000);
}

#[test]
fn leaders_that_alter_the_in_sync_set_without_asking_are_noticed() {
    assert!(notices(Broken::AltersWithoutAsking, 3_000).contains("which was never written"));
}
