//! Members of a cluster die, freeze and come back, ZooKeeper's servers too, while idempotent and transactional producers
//! write at acks=all and groups read: nothing that was acknowledged is lost, nothing comes twice, transactions are whole,
//! and the replicas are equal in the end.
//!
//! One short trial is part of every run. With `ODRADEK_SOAK=1` every fault meets every kind of victim, in clusters of ours
//! and in mixed ones; each trial takes minutes. The checker itself is held to its rules in every run.

mod support;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use support::cluster::Cluster;
use support::ensemble::Ensemble;
use support::history::{History, Outcome, Seen, Transaction, Transactions};
use support::seat::Kind;
use support::trial::Fault::{
    FreezeBeyondTheSession, FreezeWithinTheSession, Kill, KillAll, KillZookeepersLeader, LoseTheQuorum, Roll,
    SlowEnsemble,
};
use support::trial::Victim::{Controller, Follower, GroupCoordinator, Leader, TransactionCoordinator};
use support::trial::{Fault, SESSION, Trial, soak};

/// One cluster at a time: several at once starve one another, and then time out for no fault of theirs.
static TURN: Mutex<()> = Mutex::new(());

/// A trial of every fault in `faults` on a cluster of these kinds.
#[track_caller]
fn long_trial(name: &str, kinds: [Kind; 3], faults: &[Fault]) {
    if !soak() {
        return;
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut trial = Trial::begin(name, Cluster::start(&kinds, &[SESSION]));
    trial.suffer(faults);
    trial.end();
}

macro_rules! long_trials {
    ($($cluster:ident: $kinds:expr;)*) => {$(
        mod $cluster {
            use super::*;

            #[test]
            fn nothing_is_lost_when_members_are_killed() {
                let victims = [Leader, Follower, Controller, GroupCoordinator, TransactionCoordinator];
                long_trial(concat!(stringify!($cluster), "-kills"), $kinds, &victims.map(Kill));
            }

            #[test]
            fn nothing_is_lost_when_all_are_killed_at_once_or_restarted_in_turn() {
                let faults = [KillAll, Roll, KillAll];
                long_trial(concat!(stringify!($cluster), "-all"), $kinds, &faults);
            }

            #[test]
            fn nothing_is_lost_when_members_freeze() {
                let victims = [Leader, Follower, Controller];
                let mut faults = victims.map(FreezeBeyondTheSession).to_vec();
                faults.extend(victims.map(FreezeWithinTheSession));
                long_trial(concat!(stringify!($cluster), "-freezes"), $kinds, &faults);
            }

            #[test]
            fn nothing_is_lost_when_zookeeper_fails_or_is_slow() {
                let faults = [KillZookeepersLeader, LoseTheQuorum(Duration::from_secs(60)), SlowEnsemble];
                long_trial(concat!(stringify!($cluster), "-zookeeper"), $kinds, &faults);
            }
        }
    )*};
}

long_trials! {
    ours_alone: [Kind::Ours; 3];
    apache_beside_two_of_ours: [Kind::Ours, Kind::Apache, Kind::Ours];
    ours_beside_two_of_apache: [Kind::Apache, Kind::Ours, Kind::Apache];
}

#[test]
fn nothing_is_lost_when_the_leader_dies_the_controller_freezes_and_all_restart_in_turn() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let kinds = [Kind::Ours, Kind::Apache, Kind::Ours];
    let mut trial = Trial::begin("sample", Cluster::start_on(Ensemble::of(1, 0), &kinds, &[SESSION]));
    trial.suffer(&[Kill(Leader), FreezeBeyondTheSession(Controller), Roll]);
    trial.end();
}

/// A change to a sound history, and how what the checker says of it begins.
type Doctored<'a, H> = (&'a str, fn(&mut H));

#[track_caller]
fn each_is_found<H: Clone>(sound: &H, violations: fn(&H) -> Vec<String>, doctored: &[Doctored<'_, H>]) {
    assert_eq!(violations(sound), [""; 0]);
    for (told, change) in doctored {
        let mut history = sound.clone();
        change(&mut history);
        let found = violations(&history);
        assert!(found.iter().any(|one| one.starts_with(told)), "{told}: {found:?}");
    }
}

#[test]
fn the_checker_finds_what_was_doctored() {
    let log = vec![Seen::new(0, 0, "0/0"), Seen::new(0, 1, "0/1"), Seen::new(0, 2, "0/2")];
    let mut read = log.clone();
    read.push(Seen::new(0, 1, "0/1"));
    let duplicate = Seen { partition: 0, offset: None, value: "0/2".into() };
    let acknowledged = vec![log[0].clone(), log[1].clone(), duplicate];
    each_is_found(
        &History { acknowledged, read, log },
        History::violations,
        &[
            ("acknowledged and lost", |history| drop(history.log.pop())),
            ("acknowledged and lost", |history| history.log[1].value = "0/2".into()),
            ("offsets do not ascend", |history| history.log.swap(0, 1)),
            ("written twice", |history| history.log.push(Seen::new(0, 3, "0/2"))),
            ("records before it are missing", |history| drop(history.log.remove(0))),
            ("read and not there", |history| history.read[0].value = "0/9".into()),
            ("read and not there", |history| history.read.push(Seen::new(0, 3, "0/3"))),
            ("acknowledged and never read", |history| history.read.retain(|one| one.offset != Some(2))),
        ],
    );
}

#[test]
fn the_checker_finds_what_was_doctored_in_transactions() {
    let written = |partition, value: &str| Seen { partition, offset: None, value: value.into() };
    let both = |number| vec![written(0, &format!("id/{number}/0")), written(1, &format!("id/{number}/1"))];
    let outcomes = [Outcome::Committed, Outcome::Aborted, Outcome::Unknown, Outcome::Committed];
    let ended = outcomes
        .into_iter()
        .zip(0..)
        .map(|(outcome, at)| Transaction { outcome, records: both(at) })
        .collect();
    let log = vec![
        Seen::new(0, 0, "id/0/0"),
        Seen::new(0, 4, "id/2/0"),
        Seen::new(0, 6, "id/3/0"),
        Seen::new(1, 0, "id/0/1"),
        Seen::new(1, 4, "id/2/1"),
        Seen::new(1, 6, "id/3/1"),
    ];
    each_is_found(
        &Transactions { ended, read: log.clone(), log },
        Transactions::violations,
        &[
            ("committed and lost", |all| drop(all.log.remove(0))),
            ("aborted and there", |all| all.log.insert(1, Seen::new(0, 2, "id/1/0"))),
            ("half a transaction", |all| drop(all.log.remove(1))),
            ("committed twice", |all| all.log.insert(3, Seen::new(0, 7, "id/3/0"))),
            ("out of order", |all| all.log.swap(0, 2)),
            ("there and never written", |all| all.log.push(Seen::new(1, 7, "id/9/1"))),
            ("read and not there", |all| all.read.push(Seen::new(0, 2, "id/1/0"))),
            ("committed and never read", |all| drop(all.read.pop())),
        ],
    );
}
