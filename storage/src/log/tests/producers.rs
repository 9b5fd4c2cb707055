//! Idempotent and transactional producers.

use super::support::*;
use crate::batch::{BatchOptions, BatchProducer, EndTransaction, Origin};
use crate::config::LogConfig;
use crate::directory::LastStop;
use crate::error::AppendError;
use crate::log::Log;
use crate::types::{Offset, ProducerId};

fn write(log: &mut Log, producer: BatchProducer, values: &[&str]) -> Result<(i64, bool), AppendError> {
    let appended = append(log, batch_at(options(producer), NOW.0, values))?;
    Ok((appended.first.0, appended.duplicate))
}

fn write_in_transaction(log: &mut Log, producer: BatchProducer, values: &[&str]) -> i64 {
    let options = BatchOptions { is_transactional: true, ..options(producer) };
    append(log, batch_at(options, NOW.0, values)).expect("appended").first.0
}

#[test]
fn a_repeated_batch_is_answered_with_its_first_offsets() {
    let place = Place::new(LogConfig::default());
    let mut log = place.open(LastStop::Clean);
    for sequence in 0..6 {
        assert_eq!(
            write(&mut log, producer(7, 0, sequence * 2), &["a", "b"]).expect("new"),
            (i64::from(sequence) * 2, false)
        );
    }

    assert_eq!(write(&mut log, producer(7, 0, 10), &["a", "b"]).expect("repeated"), (10, true));
    assert_eq!(write(&mut log, producer(7, 0, 2), &["a", "b"]).expect("repeated"), (2, true));
    assert!(matches!(
        write(&mut log, producer(7, 0, 0), &["a", "b"]),
        Err(AppendError::OutOfOrderSequence { sequence: 0, last: 11, .. })
    ));
    assert_eq!(log.end(), Offset(12));
}

#[test]
fn a_repeated_batch_is_known_after_a_clean_restart_and_after_a_crash() {
    for stop in [LastStop::Clean, LastStop::Killed, LastStop::Unclean] {
        let place = Place::new(small_segments(400));
        let mut log = place.open(LastStop::Clean);
        for sequence in 0..5 {
            write(&mut log, producer(7, 3, sequence), &["a value of some length"]).expect("appended");
        }
        match stop {
            LastStop::Clean => drop(log.close().expect("closed")),
            LastStop::Killed | LastStop::Unclean => drop(log),
        }

        let mut log = place.open(stop);

        let repeated = write(&mut log, producer(7, 3, 4), &["a value of some length"]);
        assert_eq!(repeated.expect("known"), (4, true), "{stop:?}");
        assert!(matches!(
            write(&mut log, producer(7, 2, 5), &["x"]),
            Err(AppendError::InvalidProducerEpoch { epoch: 2, current: 3, .. })
        ));
        assert!(matches!(
            write(&mut log, producer(7, 3, 6), &["x"]),
            Err(AppendError::OutOfOrderSequence { .. })
        ));
        assert_eq!(write(&mut log, producer(7, 3, 5), &["x"]).expect("next"), (5, false));
    }
}

#[test]
fn a_new_epoch_starts_at_sequence_zero() {
    let place = Place::new(LogConfig::default());
    let mut log = place.open(LastStop::Clean);
    write(&mut log, producer(7, 0, 0), &["a"]).expect("appended");

    assert!(matches!(
        write(&mut log, producer(7, 1, 1), &["b"]),
        Err(AppendError::OutOfOrderSequence { .. })
    ));
    assert_eq!(write(&mut log, producer(7, 1, 0), &["b"]).expect("new epoch"), (1, false));
}

#[test]
fn an_unknown_producer_may_start_anywhere_and_sequences_wrap() {
    let place = Place::new(LogConfig::default());
    let mut log = place.open(LastStop::Clean);

    write(&mut log, producer(7, 0, i32::MAX - 1), &["a", "b"]).expect("unknown producer");

    assert_eq!(write(&mut log, producer(7, 0, 0), &["c"]).expect("wrapped"), (2, false));
}

#[test]
fn committed_readers_wait_for_open_transactions_and_learn_of_aborted_ones() {
    let place = Place::new(LogConfig::default());
    let mut log = place.open(LastStop::Clean);
    put(&mut log, &["plain"]);
    write_in_transaction(&mut log, producer(1, 0, 0), &["aborted"]);
    write_in_transaction(&mut log, producer(2, 0, 0), &["committed"]);
    log.set_high_watermark(log.end());
    assert_eq!(log.last_stable(), Offset(1));
    assert!(log.has_ongoing_transaction(ProducerId(1)));

    mark(&mut log, producer(1, 0, -1), EndTransaction::Abort);
    assert_eq!(log.last_stable(), Offset(1), "the marker is not replicated");
    log.set_high_watermark(log.end());
    assert_eq!(log.last_stable(), Offset(2));
    mark(&mut log, producer(2, 0, -1), EndTransaction::Commit);
    log.set_high_watermark(log.end());
    assert_eq!(log.last_stable(), log.end());

    let reader = log.reader();
    let slice = reader.read(Offset(0), 1 << 20, log.end(), true).expect("read");
    let aborted = reader.aborted_transactions(Offset(0), &slice).expect("collected");
    assert_eq!(aborted.len(), 1);
    assert_eq!(
        (aborted[0].producer, aborted[0].first, aborted[0].last),
        (ProducerId(1), Offset(1), Offset(3))
    );
    assert_eq!(aborted[0].last_stable, Offset(2));
    let slice = reader.read(Offset(4), 1 << 20, log.end(), true).expect("read");
    assert!(reader.aborted_transactions(Offset(4), &slice).expect("collected").is_empty());
}

#[test]
fn transactions_survive_a_crash() {
    let place = Place::new(LogConfig::default());
    let mut log = place.open(LastStop::Clean);
    write_in_transaction(&mut log, producer(1, 0, 0), &["aborted"]);
    mark(&mut log, producer(1, 0, -1), EndTransaction::Abort);
    write_in_transaction(&mut log, producer(2, 0, 0), &["open"]);
    let index = std::fs::read(place.file("00000000000000000000.txnindex")).expect("an index");
    drop(log);

    let mut log = place.open(LastStop::Unclean);

    assert_eq!(std::fs::read(place.file("00000000000000000000.txnindex")).expect("an index"), index);
    log.set_high_watermark(log.end());
    assert_eq!(log.last_stable(), Offset(2));
    mark(&mut log, producer(2, 0, -1), EndTransaction::Commit);
    log.set_high_watermark(log.end());
    assert_eq!(log.last_stable(), Offset(4));
}

#[test]
fn a_transactional_batch_needs_the_coordinators_word() {
    let mut place = Place::new(LogConfig::default());
    place.producers.verify_transactions = true;
    let mut log = place.open(LastStop::Clean);
    let batch = |sequence| {
        let options = BatchOptions { is_transactional: true, ..options(producer(1, 0, sequence)) };
        prepared(batch_at(options, NOW.0, &["x"]), CLIENT)
    };

    let refused = log.append_as_leader(batch(0), lead(0, CLIENT));
    assert!(matches!(refused, Err(AppendError::InvalidTransactionState { .. })));

    let verification = log.start_verification(ProducerId(1), 0, 0, NOW);
    let how = crate::log::LeaderAppend { verification, ..lead(0, CLIENT) };
    log.append_as_leader(batch(0), how).expect("verified");
    log.append_as_leader(batch(1), lead(0, CLIENT)).expect("within the transaction");

    mark(&mut log, producer(1, 0, -1), EndTransaction::Commit);
    let refused = log.append_as_leader(batch(2), how);
    assert!(matches!(refused, Err(AppendError::InvalidTransactionState { .. })), "a guard counts once");
}

#[test]
fn the_brokers_own_transactional_batch_needs_the_coordinators_word_too() {
    let mut place = Place::new(LogConfig::default());
    place.producers.verify_transactions = true;
    let mut log = place.open(LastStop::Clean);
    let offsets = || {
        let options = BatchOptions { is_transactional: true, ..options(producer(1, 0, 0)) };
        prepared(batch_at(options, NOW.0, &["x"]), Origin::Coordinator)
    };
    let is_refused = |refused| matches!(refused, Err(AppendError::InvalidTransactionState { .. }));
    let own = lead(0, Origin::Coordinator);
    let stale = log.start_verification(ProducerId(1), -1, 0, NOW);
    assert!(is_refused(log.append_as_leader(offsets(), own)), "asked, not answered");

    mark(&mut log, producer(1, 0, -1), EndTransaction::Abort);
    let guard = log.start_verification(ProducerId(1), -1, 0, NOW);
    log.confirm_verification(ProducerId(1), stale);
    assert!(is_refused(log.append_as_leader(offsets(), own)), "the answer was about an earlier transaction");

    log.confirm_verification(ProducerId(1), guard);
    log.append_as_leader(offsets(), own).expect("verified");
    log.append_as_leader(offsets(), own).expect("within the transaction");
}

#[test]
fn a_zombie_coordinator_is_fenced() {
    let place = Place::new(LogConfig::default());
    let mut log = place.open(LastStop::Clean);
    write_in_transaction(&mut log, producer(1, 0, 0), &["x"]);
    let marker = |epoch| {
        prepared(marker_batch(producer(1, 0, -1), EndTransaction::Commit, epoch), Origin::Coordinator)
    };
    log.append_as_leader(marker(5), lead(0, Origin::Coordinator)).expect("appended");

    let refused = log.append_as_leader(marker(4), lead(0, Origin::Coordinator));

    assert!(matches!(refused, Err(AppendError::CoordinatorFenced { epoch: 4, current: 5, .. })));
}

#[test]
fn silent_producers_are_forgotten_unless_their_transaction_is_open() {
    let place = Place::new(LogConfig::default());
    let mut log = place.open(LastStop::Clean);
    write(&mut log, producer(1, 0, 0), &["x"]).expect("appended");
    write_in_transaction(&mut log, producer(2, 0, 0), &["x"]);

    log.remove_expired_producers(crate::types::TimestampMs(NOW.0 + 86_400_001));

    let left: Vec<ProducerId> = log.producers().map(|entry| entry.producer).collect();
    assert_eq!(left, [ProducerId(2)]);
}
