//! Runner, seats and the log of groups together, on a log in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use coordinator::groups::{
    Command, Commit, GroupConfig, Groups, Handshake, Join, OffsetCommit, Record, Reply, SkipAssignment, Sync,
    TransactionalProducer,
};
use coordinator::machine::AppendFailure;
use storage::batch::{
    self, BatchBuilder, BatchHeader, BatchOptions, BatchProducer, BatchView, EndTransaction,
    TargetCompression,
};
use storage::types::{LeaderEpoch, Offset, ProducerId, TimestampMs, TopicPartition};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::machines::journal::{Journal, Journaled, Writing};
use crate::machines::seats::{Seats, Vacant};

/// A log in memory whose commits the test gives.
#[derive(Clone)]
struct Memory {
    entries: Arc<Mutex<Vec<(Offset, Bytes)>>>,
    /// Everything before it is committed.
    committed: watch::Sender<Offset>,
    jammed: Arc<Mutex<Option<AppendFailure>>>,
}

impl Memory {
    /// Commits at once whatever is appended.
    fn new() -> Memory {
        Memory {
            entries: Arc::default(),
            committed: watch::Sender::new(Offset(i64::MAX)),
            jammed: Arc::default(),
        }
    }

    fn end(&self) -> Offset {
        let entries = self.entries.lock().expect("entries");
        entries.last().map_or(Offset::ZERO, |(_, entry)| {
            match BatchView::parse(entry).expect("ours").expect("whole") {
                BatchView::V2(header) => header.last_offset().next(),
                BatchView::Legacy(_) => panic!("we write magic 2"),
            }
        })
    }

    fn headers(&self) -> Vec<BatchHeader> {
        let entries = self.entries.lock().expect("entries");
        entries.iter().map(|(_, entry)| BatchHeader::parse(entry).expect("ours")).collect()
    }
}

impl Journal for Memory {
    type Receipt = (Offset, Offset);

    fn append(&self, batch: Bytes) -> Result<(Offset, Offset), AppendFailure> {
        if let Some(failure) = *self.jammed.lock().expect("jam") {
            return Err(failure);
        }
        let base = self.end();
        let mut entry = BytesMut::from(&batch[..]);
        entry[..8].copy_from_slice(&base.0.to_be_bytes());
        self.entries.lock().expect("entries").push((base, entry.freeze()));
        Ok((base, self.end()))
    }

    fn base_offset(receipt: &(Offset, Offset)) -> Offset {
        receipt.0
    }

    fn is_committed(&self, receipt: &(Offset, Offset)) -> bool {
        *self.committed.borrow() >= receipt.1
    }

    async fn committed(&self, receipt: &(Offset, Offset), deadline: Instant) -> Result<(), AppendFailure> {
        let mut committed = self.committed.subscribe();
        let wait = committed.wait_for(|committed| *committed >= receipt.1);
        match timeout_at(deadline, wait).await {
            Ok(_) => Ok(()),
            Err(_) => Err(AppendFailure::TimedOut),
        }
    }

    fn read(&self, from: Offset) -> Result<Bytes, AppendFailure> {
        let entries = self.entries.lock().expect("entries");
        // One entry at a time, so that the reader has to come again.
        Ok(entries.iter().find(|(base, _)| *base >= from).map(|(_, entry)| entry.clone()).unwrap_or_default())
    }
}

fn seats(compression: TargetCompression) -> Arc<Seats<Groups, Memory>> {
    let config =
        GroupConfig { initial_rebalance_delay_ms: 10, session_timeout_min_ms: 1, ..GroupConfig::default() };
    let writing = Writing { compression, commit_timeout: Duration::from_millis(200) };
    Seats::new("__consumer_offsets", writing, move || Groups::new(config), |_| {})
}

async fn seated(seats: &Arc<Seats<Groups, Memory>>, epoch: i32, log: &Memory) {
    seats.lead(0, LeaderEpoch(epoch), log.clone());
    while seats.find(0).err() == Some(Vacant::Loading) {
        tokio::task::yield_now().await;
    }
}

fn join(group: &str, session_timeout_ms: i32) -> Command {
    Command::Join(Join {
        group: Arc::from(group),
        member_id: Arc::from(""),
        instance_id: None,
        client_id: Arc::from("c"),
        client_host: Arc::from("/127.0.0.1"),
        rebalance_timeout_ms: 1_000,
        session_timeout_ms,
        protocol_type: Arc::from("consumer"),
        protocols: vec![(Arc::from("range"), Bytes::from_static(b"meta"))],
        handshake: Handshake::None,
        skip_assignment: SkipAssignment::Unknown,
        fresh_id: [7; 16],
    })
}

fn commit(group: &str, offset: i64, producer: Option<TransactionalProducer>) -> Command {
    let commit = OffsetCommit {
        offset: Offset(offset),
        leader_epoch: LeaderEpoch::NONE,
        metadata: Arc::from(""),
        committed_at: TimestampMs(1),
        expires_at: None,
    };
    Command::Commit(Commit {
        group: Arc::from(group),
        member_id: Arc::from(""),
        instance_id: None,
        generation: -1,
        knows_epochs: true,
        producer,
        offsets: vec![(TopicPartition::new("orders", 0), commit)],
    })
}

fn is_fine(reply: &Reply) -> bool {
    matches!(reply, Reply::Commit(results) if results.iter().all(|(_, result)| result.is_ok()))
}

async fn offset(seats: &Seats<Groups, Memory>, group: &str) -> Option<i64> {
    let partition = TopicPartition::new("orders", 0);
    let runner = seats.find(0).expect("seated");
    runner
        .read(|groups| groups.offset(group, &partition).map(|commit| commit.offset.0))
        .await
        .expect("committed")
}

#[tokio::test]
async fn a_group_forms_and_falls_apart_by_the_clock_alone() {
    let (seats, log) = (seats(TargetCompression::Uncompressed), Memory::new());
    seated(&seats, 0, &log).await;
    let runner = seats.find(0).expect("seated");

    let Ok(Reply::Join(Ok(joined))) = runner.ask(join("g", 1_500)).await else { panic!("joins") };
    assert_eq!((joined.generation, joined.members.len()), (1, 1));
    let sync = Sync {
        group: Arc::from("g"),
        member_id: Arc::clone(&joined.member_id),
        instance_id: None,
        generation: 1,
        protocol_type: None,
        protocol: None,
        assignments: vec![(joined.member_id, Bytes::from_static(b"all"))],
    };
    let Ok(Reply::Sync(Ok(synced))) = runner.ask(Command::Sync(sync)).await else { panic!("syncs") };
    assert_eq!(synced.assignment, "all");

    let state = || runner.look(|groups| groups.describe("g").map(|group| group.state));
    assert_eq!(state(), Some("Stable"));
    while state() != Some("Empty") {
        tokio::task::yield_now().await;
    }
    assert_eq!(log.headers().len(), 2, "the generation and its end are written down");
}

#[tokio::test]
async fn a_new_leader_finds_what_the_old_one_wrote_with_any_codec() {
    for compression in [
        TargetCompression::Uncompressed,
        TargetCompression::Gzip { level: -1 },
        TargetCompression::Snappy,
        TargetCompression::Lz4 { level: 9 },
        TargetCompression::Zstd { level: 3 },
    ] {
        let (seats, log) = (seats(compression), Memory::new());
        seated(&seats, 0, &log).await;
        let runner = seats.find(0).expect("seated");
        assert!(is_fine(&runner.ask(commit("g", 5, None)).await.expect("open")));
        assert!(is_fine(&runner.ask(commit("h", 6, None)).await.expect("open")));

        seats.resign(0);
        assert_eq!(seats.find(0).err(), Some(Vacant::NotHere));
        assert!(runner.ask(commit("g", 7, None)).await.is_err(), "nobody decides any more");

        seated(&seats, 1, &log).await;
        assert_eq!((offset(&seats, "g").await, offset(&seats, "h").await), (Some(5), Some(6)));
    }
}

#[tokio::test]
async fn whoever_waits_is_told_when_the_seat_is_lost() {
    let (seats, log) = (seats(TargetCompression::Uncompressed), Memory::new());
    seated(&seats, 0, &log).await;
    let parked = seats.find(0).expect("seated").ask(join("g", 60_000));
    seats.lead(0, LeaderEpoch(1), log.clone());
    assert!(parked.await.is_err());
}

#[tokio::test]
async fn a_commit_is_answered_when_the_replicas_have_it() {
    let (seats, log) = (seats(TargetCompression::Uncompressed), Memory::new());
    seated(&seats, 0, &log).await;
    let runner = seats.find(0).expect("seated");
    log.committed.send_replace(Offset::ZERO);

    let late = runner.ask(commit("g", 5, None)).await.expect("open");
    assert!(!is_fine(&late), "the replicas did not get it in time");

    let waiting = runner.ask(commit("g", 6, None));
    log.committed.send_replace(Offset(2));
    assert!(is_fine(&waiting.await.expect("open")));
    assert_eq!(offset(&seats, "g").await, Some(6));
}

#[tokio::test]
async fn a_log_that_takes_nothing_changes_nothing() {
    let (seats, log) = (seats(TargetCompression::Uncompressed), Memory::new());
    seated(&seats, 0, &log).await;
    let runner = seats.find(0).expect("seated");
    *log.jammed.lock().expect("jam") = Some(AppendFailure::NotEnoughReplicas);
    assert!(!is_fine(&runner.ask(commit("g", 5, None)).await.expect("open")));
    assert_eq!(offset(&seats, "g").await, None);
}

#[tokio::test]
async fn offsets_of_a_transaction_come_with_its_marker() {
    let (seats, log) = (seats(TargetCompression::Uncompressed), Memory::new());
    seated(&seats, 0, &log).await;
    let runner = seats.find(0).expect("seated");
    let producer = TransactionalProducer { id: ProducerId(9), epoch: 3 };
    assert!(is_fine(&runner.ask(commit("g", 5, Some(producer))).await.expect("open")));
    let header = log.headers()[0];
    assert!(header.attributes.is_transactional());
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (ProducerId(9), 3, 0));

    let options = BatchOptions {
        producer: BatchProducer { id: ProducerId(9), epoch: 3, base_sequence: -1 },
        is_transactional: true,
        is_control: true,
        ..BatchOptions::default()
    };
    let mut marker = BatchBuilder::new(options).expect("options");
    marker.append_end_transaction(TimestampMs(1), EndTransaction::Commit, 0).expect("marker");
    let (at, _) = log.append(marker.build().expect("marker")).expect("appended");

    assert_eq!(offset(&seats, "g").await, None, "this room has not heard of it yet");
    seats.observe(0, at, Record::TransactionEnd { producer: ProducerId(9), committed: true });
    assert_eq!(offset(&seats, "g").await, Some(5));
    seated(&seats, 1, &log).await;
    assert_eq!(offset(&seats, "g").await, Some(5), "the log says the same");
}

#[tokio::test]
async fn plain_offsets_are_batched_as_kafka_does() {
    let (seats, log) = (seats(TargetCompression::Uncompressed), Memory::new());
    seated(&seats, 0, &log).await;
    seats.find(0).expect("seated").ask(commit("g", 5, None)).await.expect("open");
    let header = log.headers()[0];
    assert!(!header.attributes.is_transactional());
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (ProducerId::NONE, -1, 0));
}

/// A partition of `__consumer_offsets` that Apache Kafka 3.9.1 wrote, taken from its log directory: the group `two` with
/// a dynamic and a static member, then empty; the group `tx` with offsets in a committed, an aborted and an open
/// transaction.
const APACHES: &[u8] = include_bytes!("fixtures/consumer_offsets_3_9_1.log");

#[tokio::test]
async fn what_apache_wrote_is_taken_over() {
    let log = Memory::new();
    log.entries.lock().expect("entries").extend(entries_of_apache());
    let seats = seats(TargetCompression::Uncompressed);
    seated(&seats, 1, &log).await;
    let runner = seats.find(0).expect("seated");

    let state = |group: &str| runner.look(|groups| groups.describe(group).map(|group| group.state));
    assert_eq!((state("two"), state("tx"), state("simple")), (Some("Empty"), Some("Empty"), None));
    assert_eq!(runner.look(|groups| groups.stored("two").map(|group| group.generation)), Some(2));
    let at = |group: &str, partition| {
        let found =
            runner.look(|groups| groups.offset(group, &TopicPartition::new("orders", partition)).cloned());
        found.map(|commit| (commit.offset.0, commit.metadata.to_string()))
    };
    assert_eq!(at("two", 0), Some((3, "hällo".to_string())));
    assert_eq!(at("two", 1), Some((4, String::new())));
    assert_eq!((at("tx", 0), at("tx", 1), at("tx", 2)), (Some((1, String::new())), None, None));
    let unstable =
        runner.look(|groups| groups.stable_offset("tx", &TopicPartition::new("orders", 2)).is_err());
    assert!(unstable, "the third transaction is still open");
}

#[test]
fn what_we_write_is_what_apache_writes() {
    let mut compared = 0;
    for (_, entry) in entries_of_apache() {
        let header = BatchHeader::parse(&entry).expect("a batch");
        let mut records = Vec::new();
        Groups::decode(&entry, &mut |_, record| records.push(record));
        if header.attributes.is_control() {
            continue;
        }
        let written =
            Groups::encode(&records, header.base_timestamp, TargetCompression::Uncompressed).expect("fits");
        let [(batch, count)] = &written[..] else { panic!("one batch") };
        assert_eq!(*count, records.len());
        // Offset, length and leader epoch are the log's to give, the checksum begins behind them.
        assert_eq!(batch[16..], entry[16..], "{records:?}");
        compared += records.len();
    }
    assert_eq!(compared, 10);
}

fn entries_of_apache() -> Vec<(Offset, Bytes)> {
    let log = Bytes::from_static(APACHES);
    let located = batch::headers(APACHES).map(|located| located.expect("whole"));
    let entries =
        located.map(|it| (it.batch.first_or_last_offset(), log.slice(it.position..it.position + it.size)));
    entries.collect()
}
