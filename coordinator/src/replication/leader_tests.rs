//! The rules of leaders: watermarks, and who is in sync.

use std::collections::BTreeSet;

use storage::types::{BrokerId, LeaderEpoch, Offset};

use super::*;
use crate::time::Monotonic;

const ME: BrokerId = BrokerId(1);
const T0: Monotonic = Monotonic(1_000_000);
const LAG_MAX_MS: u64 = 30_000;

fn at(ms: u64) -> Moment<'static> {
    Moment { now: Monotonic(T0.0 + ms), is_alive: &|_| true }
}

fn brokers(ids: &[i32]) -> BTreeSet<BrokerId> {
    ids.iter().copied().map(BrokerId).collect()
}

fn standing(leader_epoch: i32, partition_epoch: i32, replicas: &[i32], isr: &[i32]) -> Standing {
    Standing {
        leader_epoch: LeaderEpoch(leader_epoch),
        partition_epoch,
        replicas: replicas.iter().copied().map(BrokerId).collect(),
        isr: brokers(isr),
    }
}

fn leader_of(standing: Standing, min_in_sync: usize) -> Leader {
    let settings = LeaderSettings { lag_max_ms: LAG_MAX_MS, min_in_sync };
    Leader::new(ME, standing, settings, Offset(0), Offset(0), at(0))
}

/// Leads broker 1; `others` are replicas and in sync.
fn leader_with_isr(others: &[i32]) -> Leader {
    let replicas: Vec<i32> = std::iter::once(1).chain(others.iter().copied()).collect();
    leader_of(standing(0, 0, &replicas, &replicas), 1)
}

fn fetch(follower: i32, offset: i64, leader_end: i64) -> Fetch {
    Fetch {
        follower: BrokerId(follower),
        broker_epoch: -1,
        offset: Offset(offset),
        log_start: Offset(0),
        leader_end: Offset(leader_end),
    }
}

fn fetched(leader: &mut Leader, fetch: &Fetch, ms: u64) -> (i64, Option<Proposal>) {
    let moved = leader.on_fetch(fetch, at(ms)).expect("a replica");
    (moved.high_watermark.0, moved.proposal)
}

fn ids(proposal: &Proposal) -> Vec<i32> {
    proposal.isr.iter().map(|member| member.broker.0).collect()
}

fn altered(proposal: &Proposal, partition_epoch: i32) -> Verdict {
    let isr = proposal.isr.iter().map(|member| member.broker).collect();
    Verdict::Altered { leader_epoch: proposal.leader_epoch, partition_epoch, isr }
}

#[test]
fn alone_the_leaders_own_append_is_committed_at_once() {
    let mut leader = leader_with_isr(&[]);
    assert_eq!(leader.on_append(Offset(10), at(0)), Offset(10));
}

#[test]
fn high_watermark_waits_for_the_slowest_in_sync_replica() {
    let mut leader = leader_with_isr(&[2, 3]);
    assert_eq!(leader.on_append(Offset(10), at(0)), Offset(0));
    assert_eq!(fetched(&mut leader, &fetch(2, 10, 10), 1), (0, None));
    assert_eq!(fetched(&mut leader, &fetch(3, 4, 10), 2), (4, None));
}

#[test]
fn a_follower_that_starts_over_does_not_take_the_high_watermark_back() {
    let mut leader = leader_with_isr(&[2]);
    leader.on_append(Offset(10), at(0));
    assert_eq!(fetched(&mut leader, &fetch(2, 8, 10), 1).0, 8);
    assert_eq!(fetched(&mut leader, &fetch(2, 3, 10), 2).0, 8);
}

#[test]
fn a_broker_that_is_no_replica_moves_nothing() {
    let mut leader = leader_with_isr(&[2]);
    leader.on_append(Offset(10), at(0));
    assert_eq!(leader.on_fetch(&fetch(9, 10, 10), at(1)), Err(StaleFetch));
    assert_eq!(leader.high_watermark(), Offset(0));
}

#[test]
fn a_fetch_from_an_earlier_life_of_the_follower_is_not_noted() {
    let mut leader = leader_with_isr(&[2]);
    leader.on_append(Offset(10), at(0));
    let of_life = |broker_epoch, offset| Fetch { broker_epoch, ..fetch(2, offset, 10) };
    assert_eq!(fetched(&mut leader, &of_life(70, 3), 1).0, 3);
    assert_eq!(leader.on_fetch(&of_life(69, 10), at(2)), Err(StaleFetch));
    assert_eq!(fetched(&mut leader, &of_life(-1, 4), 3).0, 4);
    assert_eq!(leader.on_fetch(&of_life(69, 10), at(4)), Err(StaleFetch));
}

#[test]
fn min_insync_replicas_is_clipped_to_the_number_of_replicas() {
    assert!(leader_of(standing(0, 0, &[1], &[1]), 3).has_enough_in_sync());
    assert!(!leader_of(standing(0, 0, &[1, 2, 3], &[1]), 2).has_enough_in_sync());
}

#[test]
fn nothing_is_committed_while_too_few_are_in_sync() {
    let mut leader = leader_of(standing(0, 0, &[1, 2], &[1]), 2);
    assert_eq!(leader.on_append(Offset(10), at(0)), Offset(0));
    let lower = LeaderSettings { lag_max_ms: LAG_MAX_MS, min_in_sync: 1 };
    assert_eq!(leader.configure(lower, at(1)), Offset(10));
}

#[test]
fn a_silent_follower_leaves_after_the_lag_allowed_and_the_watermark_goes_on() {
    let mut leader = leader_with_isr(&[2]);
    leader.on_append(Offset(10), at(0));
    assert_eq!(leader.shrink(at(LAG_MAX_MS)), None);
    let proposal = leader.shrink(at(LAG_MAX_MS + 1)).expect("late");
    assert_eq!(ids(&proposal), [1]);
    // Until the controller has agreed, the follower counts.
    assert_eq!(leader.on_append(Offset(11), at(LAG_MAX_MS + 2)), Offset(0));
    assert_eq!(leader.shrink(at(LAG_MAX_MS + 3)), None);
    let after = leader.on_verdict(&proposal, altered(&proposal, 1), at(LAG_MAX_MS + 4));
    assert_eq!(after, AfterVerdict::Settled(Offset(11)));
    assert_eq!(leader.standing().partition_epoch, 1);
}

#[test]
fn a_follower_at_the_leaders_end_stays_however_quiet_it_is() {
    let mut leader = leader_with_isr(&[2]);
    leader.on_append(Offset(10), at(0));
    fetched(&mut leader, &fetch(2, 10, 10), 1);
    assert_eq!(leader.shrink(at(10 * LAG_MAX_MS)), None);
}

#[test]
fn a_follower_that_is_always_a_little_behind_a_steady_stream_stays() {
    let mut leader = leader_with_isr(&[2]);
    for step in 0..100 {
        let (ms, end) = (step * 1000, i64::try_from(step).expect("small") * 10 + 10);
        leader.on_append(Offset(end), at(ms));
        fetched(&mut leader, &fetch(2, end - 10, end), ms);
        assert_eq!(leader.shrink(at(ms)), None);
    }
}

#[test]
fn a_follower_that_has_all_that_is_committed_joins_and_counts_before_the_controller_agrees() {
    let mut leader = leader_of(standing(0, 0, &[1, 2], &[1]), 1);
    leader.on_append(Offset(10), at(0));
    assert_eq!(fetched(&mut leader, &fetch(2, 9, 10), 1), (10, None));
    let (_, proposal) = fetched(&mut leader, &fetch(2, 10, 10), 2);
    let proposal = proposal.expect("caught up");
    assert_eq!(ids(&proposal), [1, 2]);
    assert_eq!(leader.on_append(Offset(20), at(3)), Offset(10));
    assert!(!leader_of(standing(0, 0, &[1, 2], &[1]), 2).has_committed_to_enough());
    leader.on_verdict(&proposal, altered(&proposal, 1), at(4));
    assert_eq!(leader.standing().isr, brokers(&[1, 2]));
    assert_eq!(fetched(&mut leader, &fetch(2, 20, 20), 5), (20, None));
}

#[test]
fn a_follower_must_reach_what_a_new_leader_found_before_it_joins() {
    let standing = standing(5, 7, &[1, 2, 3], &[1, 3]);
    let settings = LeaderSettings { lag_max_ms: LAG_MAX_MS, min_in_sync: 1 };
    let mut leader = Leader::new(ME, standing, settings, Offset(100), Offset(50), at(0));
    assert_eq!(fetched(&mut leader, &fetch(2, 60, 100), 1).1, None);
    let (_, proposal) = fetched(&mut leader, &fetch(2, 100, 100), 2);
    let proposal = proposal.expect("caught up with the epoch");
    assert_eq!((proposal.leader_epoch, proposal.partition_epoch), (LeaderEpoch(5), 7));
}

#[test]
fn a_dead_broker_does_not_join_and_is_not_waited_for() {
    let mut leader = leader_of(standing(0, 0, &[1, 2], &[1]), 1);
    leader.on_append(Offset(10), at(0));
    let moment = Moment { is_alive: &|id| id != BrokerId(2), ..at(1) };
    let moved = leader.on_fetch(&fetch(2, 10, 10), moment).expect("a replica");
    assert_eq!(moved.proposal, None);
    assert_eq!(leader.on_append(Offset(20), moment), Offset(20));
}

#[test]
fn a_caught_up_follower_is_waited_for_so_that_it_can_join() {
    let mut leader = leader_of(standing(0, 0, &[1, 2], &[1]), 1);
    let (_, proposal) = fetched(&mut leader, &fetch(2, 0, 0), 1);
    leader.on_verdict(&proposal.expect("caught up"), Verdict::NotApplied, at(2));
    assert_eq!(leader.on_append(Offset(10), at(3)), Offset(0));
    assert_eq!(leader.on_append(Offset(20), at(LAG_MAX_MS + 5)), Offset(20));
}

#[test]
fn the_lives_of_followers_are_told_with_the_proposal() {
    let mut leader = leader_of(standing(0, 0, &[1, 2, 3], &[1, 3]), 1);
    let first = Fetch { broker_epoch: 88, ..fetch(2, 0, 0) };
    let proposal = fetched(&mut leader, &first, 1).1.expect("caught up");
    let told: Vec<_> = proposal.isr.iter().map(|one| (one.broker.0, one.broker_epoch)).collect();
    assert_eq!(told, [(1, -1), (2, 88), (3, -1)]);
}

#[test]
fn an_unclear_answer_is_asked_again_and_a_refused_change_is_forgotten() {
    let mut leader = leader_of(standing(0, 0, &[1, 2], &[1]), 1);
    let proposal = fetched(&mut leader, &fetch(2, 0, 0), 1).1.expect("caught up");
    let again = leader.on_verdict(&proposal, Verdict::Unclear, at(2));
    assert_eq!(again, AfterVerdict::Again(proposal.clone()));
    leader.on_verdict(&proposal, Verdict::NotApplied, at(3));
    assert_eq!(fetched(&mut leader, &fetch(2, 0, 0), 4).1, Some(proposal));
}

#[test]
fn an_outdated_proposal_stays_pending_until_the_controller_speaks() {
    let mut leader = leader_of(standing(0, 0, &[1, 2], &[1]), 1);
    let proposal = fetched(&mut leader, &fetch(2, 0, 0), 1).1.expect("caught up");
    leader.on_verdict(&proposal, Verdict::Outdated, at(2));
    assert_eq!(leader.on_append(Offset(5), at(3)), Offset(0));
    assert_eq!(fetched(&mut leader, &fetch(2, 0, 5), 4).1, None);
    assert_eq!(leader.update(standing(1, 3, &[1, 2], &[1]), at(LAG_MAX_MS * 2)), Offset(5));
    // What was on its way before means nothing now.
    leader.on_verdict(&proposal, altered(&proposal, 4), at(LAG_MAX_MS * 2));
    assert_eq!(leader.standing().isr, brokers(&[1]));
}

#[test]
fn an_older_word_of_the_controller_does_not_undo_what_it_said_since() {
    let mut leader = leader_of(standing(0, 0, &[1, 2], &[1]), 1);
    let proposal = fetched(&mut leader, &fetch(2, 0, 0), 1).1.expect("caught up");
    leader.on_verdict(&proposal, altered(&proposal, 3), at(2));
    leader.update(standing(0, 1, &[1, 2], &[1]), at(3));
    assert_eq!(leader.standing().isr, brokers(&[1, 2]));
}

#[test]
fn a_leader_in_a_new_epoch_keeps_what_it_knows_of_its_followers() {
    let mut leader = leader_with_isr(&[2]);
    leader.on_append(Offset(10), at(0));
    fetched(&mut leader, &fetch(2, 8, 10), 1);
    assert_eq!(leader.update(standing(1, 1, &[1, 2], &[1, 2]), at(2)), Offset(8));
    assert_eq!(leader.epoch_start(), Offset(10));
    assert_eq!(leader.since(), LeaderEpoch(0));
    assert!(leader.watermark_lags());
}

#[test]
fn a_reader_is_sent_to_the_replica_near_it_that_has_most_of_what_it_wants() {
    let mut leader = leader_of(standing(0, 0, &[1, 2, 3, 4], &[1, 2, 3]), 1);
    leader.on_append(Offset(10), at(0));
    for (follower, offset) in [(2, 5), (3, 7), (4, 9)] {
        fetched(&mut leader, &fetch(follower, offset, 10), 1);
    }
    let near = |ids: &'static [i32]| move |id: BrokerId| ids.contains(&id.0);
    assert_eq!(leader.nearest(Offset(4), near(&[2, 3, 4])), Some(BrokerId(3)));
    assert_eq!(leader.nearest(Offset(6), near(&[2])), None);
    assert_eq!(leader.nearest(Offset(4), near(&[4])), None);
    assert_eq!(leader.nearest(Offset(4), near(&[1, 2])), None);
}

#[test]
fn the_low_watermark_is_that_of_the_follower_that_deleted_least() {
    let mut leader = leader_with_isr(&[2, 3]);
    leader.on_append(Offset(10), at(0));
    assert_eq!(leader.low_watermark(Offset(6), at(0)), Offset(-1));
    let started = |follower, log_start| Fetch { log_start: Offset(log_start), ..fetch(follower, 10, 10) };
    fetched(&mut leader, &started(2, 6), 1);
    fetched(&mut leader, &started(3, 4), 1);
    assert_eq!(leader.low_watermark(Offset(6), at(1)), Offset(4));
    let without_3 = Moment { is_alive: &|id| id != BrokerId(3), ..at(2) };
    assert_eq!(leader.low_watermark(Offset(6), without_3), Offset(6));
}
