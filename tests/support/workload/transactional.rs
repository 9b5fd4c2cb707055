//! A transactional producer that goes on whatever happens: it sends again what may not have arrived, and takes its id
//! anew where the cluster has given up on a transaction of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest, ProducerId,
    TopicName, TransactionalId,
};
use kafka_protocol::protocol::Request;

use super::{
    ACCOUNTS, ALONE, COMMIT_WITHIN, DUPLICATE_SEQUENCE_NUMBER, PARTITIONS, PAUSE, Shared, connect, leader,
};
use crate::support::history::{Outcome, Seen, Transaction};
use crate::support::process::PATIENCE;
use crate::support::records::Batch;
use crate::support::requests::{is_passing, text, try_produce_as};
use crate::support::wire::Connection;

/// Records in each partition of a transaction.
const RECORDS: usize = 2;
/// One of so many transactions is aborted by its producer.
const ABORTED_EVERY: u64 = 4;

const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const CONCURRENT_TRANSACTIONS: i16 = 51;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const INVALID_TXN_STATE: i16 = 48;
const OPERATION_NOT_ATTEMPTED: i16 = 55;
const PRODUCER_FENCED: i16 = 90;

/// Why a transaction does not go on.
enum Stopped {
    /// The cluster has aborted it and given its producer's epoch away.
    Fenced,
    /// The rules were broken, or the cluster never recovered: what happened.
    Broken(String),
}

pub(super) struct Producer<'a> {
    shared: &'a Shared,
    id: &'static str,
    producer: i64,
    epoch: i16,
    /// Of each partition: the next record's.
    sequences: Vec<i32>,
    coordinator: Option<Connection>,
    leaders: BTreeMap<i32, Connection>,
    /// The next transaction's.
    number: u64,
}

impl Producer<'_> {
    pub(super) fn new<'a>(shared: &'a Shared, id: &'static str) -> Producer<'a> {
        Producer {
            shared,
            id,
            producer: -1,
            epoch: -1,
            sequences: Vec::new(),
            coordinator: None,
            leaders: BTreeMap::new(),
            number: 0,
        }
    }

    pub(super) fn run(mut self, progress: &AtomicU64) {
        if let Err(Stopped::Broken(what)) = self.work(progress) {
            self.shared.tell(format!("transactional id {}: {what}", self.id));
        }
    }

    fn work(&mut self, progress: &AtomicU64) -> Result<(), Stopped> {
        self.take_the_id()?;
        while !self.shared.stopped() {
            let records = self.records();
            let commit = self.number % ABORTED_EVERY != ABORTED_EVERY - 1;
            self.number += 1;
            let mut asked_to_commit = false;
            let outcome = match self.transact(&records, commit, &mut asked_to_commit) {
                Ok(()) if commit => Outcome::Committed,
                Ok(()) => Outcome::Aborted,
                Err(broken @ Stopped::Broken(_)) => return Err(broken),
                Err(Stopped::Fenced) => {
                    // Also ends what is left of the transaction.
                    self.take_the_id()?;
                    if asked_to_commit { Outcome::Unknown } else { Outcome::Aborted }
                }
            };
            progress.fetch_add(records.len() as u64, Ordering::AcqRel);
            self.shared.transactions.lock().unwrap().push(Transaction { outcome, records });
        }
        Ok(())
    }

    /// Those of the next transaction, in all partitions.
    fn records(&self) -> Vec<Seen> {
        let value = |partition, one| format!("{}/{}/{partition}/{one}", self.id, self.number);
        let of = |partition| {
            (0..RECORDS).map(move |one| Seen { partition, offset: None, value: value(partition, one) })
        };
        (0..PARTITIONS).flat_map(of).collect()
    }

    fn name(&self) -> TransactionalId {
        TransactionalId(text(self.id))
    }

    fn take_the_id(&mut self) -> Result<(), Stopped> {
        // The shorter one is over before a session and an election are, so that coordinators abort some by themselves.
        let timeout_ms = if self.id == super::TRANSACTIONAL_IDS[0] { 5_000 } else { 120_000 };
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(self.name()))
            .with_transaction_timeout_ms(timeout_ms)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let answer = self.ask(4, &request, |answer| answer.error_code)?;
        (self.producer, self.epoch) = (answer.producer_id.0, answer.producer_epoch);
        self.sequences = vec![0; PARTITIONS.cast_unsigned() as usize];
        Ok(())
    }

    fn transact(
        &mut self,
        records: &[Seen],
        commit: bool,
        asked_to_commit: &mut bool,
    ) -> Result<(), Stopped> {
        let topic = AddPartitionsToTxnTopic::default()
            .with_name(TopicName(text(ACCOUNTS)))
            .with_partitions((0..PARTITIONS).collect());
        let add = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.name())
            .with_v3_and_below_producer_id(ProducerId(self.producer))
            .with_v3_and_below_producer_epoch(self.epoch)
            .with_v3_and_below_topics(vec![topic]);
        self.ask(3, &add, |answer| {
            let topics = answer.results_by_topic_v3_and_below.iter();
            let mut codes =
                topics.flat_map(|topic| &topic.results_by_partition).map(|one| one.partition_error_code);
            codes.find(|code| ![0, OPERATION_NOT_ATTEMPTED].contains(code)).unwrap_or(0)
        })?;
        for partition in 0..PARTITIONS {
            let values: Vec<&str> = records
                .iter()
                .filter(|one| one.partition == partition)
                .map(|one| one.value.as_str())
                .collect();
            self.write(partition, &values)?;
        }
        let end = EndTxnRequest::default()
            .with_transactional_id(self.name())
            .with_producer_id(ProducerId(self.producer))
            .with_producer_epoch(self.epoch)
            .with_committed(commit);
        *asked_to_commit = commit;
        self.ask(3, &end, |answer| answer.error_code)?;
        Ok(())
    }

    /// Asks the coordinator until it has an answer that stands. One that says for long that it is ending a transaction may be
    /// cut off from all others, and then says so until that transaction's timeout: who coordinates is asked anew.
    fn ask<R: Request>(
        &mut self,
        version: i16,
        request: &R,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response, Stopped> {
        let (mut last, mut ending_since) = (None, Instant::now());
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let Some(mut coordinator) = self.coordinator.take().or_else(|| self.find_the_coordinator())
            else {
                thread::park_timeout(PAUSE);
                continue;
            };
            // Without an answer nobody knows whether it was done: asked again, the coordinator says the same.
            if let Ok(answer) = coordinator.try_request(version, request) {
                match code(&answer) {
                    0 => {
                        self.coordinator = Some(coordinator);
                        return Ok(answer);
                    }
                    INVALID_PRODUCER_EPOCH | PRODUCER_FENCED => return Err(Stopped::Fenced),
                    CONCURRENT_TRANSACTIONS if ending_since.elapsed() < ALONE => {
                        self.coordinator = Some(coordinator);
                    }
                    CONCURRENT_TRANSACTIONS => ending_since = Instant::now(),
                    COORDINATOR_LOAD_IN_PROGRESS => {}
                    code if is_passing(code) => {}
                    code => return Err(Stopped::Broken(format!("api {} answers error {code}", R::KEY))),
                }
                last = Some(code(&answer));
            }
            thread::park_timeout(PAUSE);
        }
        Err(Stopped::Broken(format!("api {} not within {PATIENCE:?}, but error {last:?}", R::KEY)))
    }

    fn find_the_coordinator(&self) -> Option<Connection> {
        let request = FindCoordinatorRequest::default().with_key(text(self.id)).with_key_type(1);
        self.shared.ask_any(|connection| {
            let answer = connection.try_request(3, &request).ok()?;
            if answer.error_code == 0 { connect(&answer.host, answer.port) } else { None }
        })
    }

    /// Brings one batch into a partition.
    fn write(&mut self, partition: i32, values: &[&str]) -> Result<(), Stopped> {
        const TRANSACTIONAL: i16 = 0x10;
        let place = usize::try_from(partition).expect("a partition");
        let batch = Batch::of(values).by_producer(self.producer, self.epoch, self.sequences[place]);
        let batch = Batch { attributes: TRANSACTIONAL, ..batch }.encode();
        let mut last = None;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let known = self.leaders.remove(&partition);
            let Some(mut leader) = known.or_else(|| leader(self.shared, ACCOUNTS, partition)) else {
                thread::park_timeout(PAUSE);
                continue;
            };
            match try_produce_as(&mut leader, Some(self.id), ACCOUNTS, partition, -1, &batch, COMMIT_WITHIN) {
                Ok((0 | DUPLICATE_SEQUENCE_NUMBER, _)) => {
                    self.leaders.insert(partition, leader);
                    self.sequences[place] += i32::try_from(values.len()).expect("few values");
                    return Ok(());
                }
                // The coordinator has ended it meanwhile.
                Ok((INVALID_PRODUCER_EPOCH | INVALID_TXN_STATE | PRODUCER_FENCED, _)) => {
                    return Err(Stopped::Fenced);
                }
                Ok((error, _)) if !is_passing(error) && error != CONCURRENT_TRANSACTIONS => {
                    return Err(Stopped::Broken(format!("{values:?} to {partition}: error {error}")));
                }
                answer => last = Some(answer.map(|(error, _)| error)),
            }
            thread::park_timeout(PAUSE);
        }
        Err(Stopped::Broken(format!("{values:?} to {partition}: not within {PATIENCE:?}, but {last:?}")))
    }
}
