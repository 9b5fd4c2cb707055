//! InitProducerId with a transactional id, and all that may follow: partitions, offsets, markers, outcomes, and what
//! readers see of it.

use std::time::{Duration, Instant};

use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeProducersRequest, DescribeTransactionsRequest,
    EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest, ListOffsetsRequest,
    ListTransactionsRequest, OffsetFetchRequest, ProducerId, TransactionalId, TxnOffsetCommitRequest,
    WriteTxnMarkersRequest,
};

use crate::asking::{Conversation, IN_EVERY_PARTITION, NOBODY, group, sorted, text, topic};
use crate::fetch::{fetching, shown};
use crate::produce::producing;
use crate::support::process::PATIENCE;
use crate::support::records::Batch;
use crate::support::until;

const COORDINATOR: i8 = 1;
const TRANSACTIONAL: i16 = 0x10;
const NOT_YET: [i16; 4] = [14, 15, 16, 51];

pub(crate) fn name(id: &str) -> TransactionalId {
    TransactionalId(text(id))
}

pub(crate) fn init(id: &str) -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transactional_id(Some(name(id)))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}

/// One who may write.
#[derive(Clone, Copy)]
pub(crate) struct Producer {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

impl Producer {
    fn wire(self) -> ProducerId {
        ProducerId(self.id)
    }
}

/// Waits until the transactional id has a coordinator, and its last transaction ended; its producer id is hidden.
#[track_caller]
fn settled(talk: &mut Conversation, id: &str) -> Producer {
    let deadline = Instant::now() + PATIENCE;
    let find = FindCoordinatorRequest::default().with_key(text(id)).with_key_type(COORDINATOR);
    while talk.prepare(3, &find).error_code != 0 {
        assert!(Instant::now() < deadline, "no coordinator for {id}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    // Found is not yet loaded, and each partition of the transaction log is read by itself.
    let probes = IN_EVERY_PARTITION.map(name).to_vec();
    let probes = DescribeTransactionsRequest::default().with_transactional_ids(probes);
    while talk.prepare(0, &probes).transaction_states.iter().any(|one| NOT_YET.contains(&one.error_code)) {
        assert!(Instant::now() < deadline, "the transactional ids are not loaded");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    // An id of 0 could not be told from one that is not given.
    let nameless = init(id).with_transactional_id(None);
    while talk.prepare(4, &nameless).error_code != 0 {
        assert!(Instant::now() < deadline, "no block of producer ids");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    loop {
        let answer = talk.prepare(4, &init(id));
        if !NOT_YET.contains(&answer.error_code) {
            assert_eq!(answer.error_code, 0, "{answer:?}");
            talk.hide(&format!("producer_id: {},", answer.producer_id.0), &format!("PRODUCER-{id},"));
            return Producer { id: answer.producer_id.0, epoch: answer.producer_epoch };
        }
        assert!(Instant::now() < deadline, "{id} is not settled: {answer:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Waits until no markers are on their way.
#[track_caller]
fn wait_for_the_end(talk: &mut Conversation, id: &str) {
    let deadline = Instant::now() + PATIENCE;
    let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![name(id)]);
    while talk.prepare(0, &request).transaction_states[0].transaction_state.starts_with("Prepare") {
        assert!(Instant::now() < deadline, "the transaction of {id} does not end");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn adding_topics(topics: &[(&str, &[i32])]) -> Vec<AddPartitionsToTxnTopic> {
    let one = |(name, partitions): &(&str, &[i32])| {
        AddPartitionsToTxnTopic::default().with_name(topic(name)).with_partitions(partitions.to_vec())
    };
    topics.iter().map(one).collect()
}

pub(crate) fn adding(id: &str, producer: Producer, topics: &[(&str, &[i32])]) -> AddPartitionsToTxnRequest {
    AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(name(id))
        .with_v3_and_below_producer_id(producer.wire())
        .with_v3_and_below_producer_epoch(producer.epoch)
        .with_v3_and_below_topics(adding_topics(topics))
}

fn add(talk: &mut Conversation, id: &str, producer: Producer, topics: &[(&str, &[i32])]) {
    let answer = talk.prepare(3, &adding(id, producer, topics));
    for topic in &answer.results_by_topic_v3_and_below {
        assert!(topic.results_by_partition.iter().all(|it| it.partition_error_code == 0), "{answer:?}");
    }
}

fn verifying(id: &str, producer: Producer, topics: &[(&str, &[i32])]) -> AddPartitionsToTxnTransaction {
    AddPartitionsToTxnTransaction::default()
        .with_transactional_id(name(id))
        .with_producer_id(producer.wire())
        .with_producer_epoch(producer.epoch)
        .with_verify_only(true)
        .with_topics(adding_topics(topics))
}

fn ask_batched(
    talk: &mut Conversation,
    question: &str,
    version: i16,
    transactions: Vec<AddPartitionsToTxnTransaction>,
) {
    let request = AddPartitionsToTxnRequest::default().with_transactions(transactions);
    talk.ask_for(question, version, &request, |answer| {
        let results = answer.results_by_transaction.iter().flat_map(|result| {
            result.topic_results.iter().flat_map(move |topic| {
                topic.results_by_partition.iter().map(move |partition| {
                    format!("{:?} {:?} {partition:?}", result.transactional_id, topic.name)
                })
            })
        });
        format!("error {} {}", answer.error_code, sorted(results))
    });
}

pub(crate) fn adding_offsets(id: &str, producer: Producer, group_id: &str) -> AddOffsetsToTxnRequest {
    AddOffsetsToTxnRequest::default()
        .with_transactional_id(name(id))
        .with_producer_id(producer.wire())
        .with_producer_epoch(producer.epoch)
        .with_group_id(group(group_id))
}

pub(crate) fn ending(id: &str, producer: Producer, committed: bool) -> EndTxnRequest {
    EndTxnRequest::default()
        .with_transactional_id(name(id))
        .with_producer_id(producer.wire())
        .with_producer_epoch(producer.epoch)
        .with_committed(committed)
}

#[track_caller]
fn end(talk: &mut Conversation, id: &str, producer: Producer, committed: bool) {
    let answer = talk.prepare(3, &ending(id, producer, committed));
    assert_eq!(answer.error_code, 0, "{answer:?}");
    wait_for_the_end(talk, id);
}

fn batch(producer: Producer, sequence: i32) -> Batch {
    let batch = Batch::of(&["in a transaction"]).by_producer(producer.id, producer.epoch, sequence);
    Batch { attributes: TRANSACTIONAL, ..batch }
}

fn writing(
    id: &str,
    producer: Producer,
    sequence: i32,
    place: (&str, i32),
) -> kafka_protocol::messages::ProduceRequest {
    let records = batch(producer, sequence).encode();
    producing(place.0, place.1, -1, Some(records)).with_transactional_id(Some(name(id)))
}

/// What readers of both kinds find in partition 0, and where it ends for them.
fn read(talk: &mut Conversation, question: &str, name: &str) {
    let id = talk.metadata(&[name]).topics[0].topic_id;
    for (kind, level) in [("uncommitted", 0), ("committed", 1)] {
        for version in [4, 11, 12, 17] {
            let request = fetching(name, id, 0).with_isolation_level(level).with_max_wait_ms(0);
            talk.ask_for(&format!("{question}: {kind} records"), version, &request, shown);
        }
        let partition = ListOffsetsPartition::default()
            .with_partition_index(0)
            .with_current_leader_epoch(-1)
            .with_timestamp(-1);
        let asked = ListOffsetsTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default()
            .with_replica_id(NOBODY)
            .with_isolation_level(level)
            .with_topics(vec![asked]);
        talk.ask(&format!("{question}: the end of {kind} records"), 7, &request);
    }
}

pub(crate) fn producer_ids(talk: &mut Conversation) {
    settled(talk, "init");
    for version in 0..=6 {
        let request = match version {
            0..=3 => FindCoordinatorRequest::default().with_key(text("init")),
            _ => FindCoordinatorRequest::default().with_coordinator_keys(vec![text("init"), text("other")]),
        };
        let request = if version == 0 { request } else { request.with_key_type(COORDINATOR) };
        if version > 0 {
            talk.ask("the coordinator of a transactional id", version, &request);
        }
    }
    for version in 0..=5 {
        talk.ask("a producer starts", version, &init("init"));
        talk.ask("an empty transactional id", version, &init(""));
        for timeout_ms in [0, -1, 900_001, 900_000] {
            let request = init("init").with_transaction_timeout_ms(timeout_ms);
            talk.ask(&format!("a timeout of {timeout_ms} ms"), version, &request);
        }
    }
    let current = settled(talk, "init");
    let expecting =
        |id: i64, epoch: i16| init("init").with_producer_id(ProducerId(id)).with_producer_epoch(epoch);
    let mut epoch = current.epoch;
    for version in 3..=5 {
        talk.ask("an id without an epoch", version, &expecting(current.id, -1));
        talk.ask("an epoch without an id", version, &expecting(-1, 3));
        talk.ask("the producer goes on", version, &expecting(current.id, epoch));
        talk.ask("the producer goes on, once more", version, &expecting(current.id, epoch));
        talk.ask("the producer goes on with its new epoch", version, &expecting(current.id, epoch + 1));
        talk.ask("an epoch that was replaced", version, &expecting(current.id, epoch - 1));
        talk.ask("an epoch that is not there yet", version, &expecting(current.id, epoch + 9));
        talk.ask("somebody else's id", version, &expecting(current.id + 500_000, epoch));
        epoch += 2;
    }
    let unheard = init("unheard-of").with_producer_id(ProducerId(4)).with_producer_epoch(5);
    let answer = talk.prepare(4, &unheard);
    talk.note(
        "an id and an epoch for an unknown transactional id",
        format!("{} {} {}", answer.error_code, answer.producer_epoch, answer.producer_id.0 == 4),
    );
}

pub(crate) fn partitions(talk: &mut Conversation) {
    talk.create_wide("joined", 3, &[]);
    let producer = settled(talk, "adding");
    let stale = Producer { epoch: producer.epoch - 1, ..producer };
    let future = Producer { epoch: producer.epoch + 1, ..producer };
    let other = Producer { id: producer.id + 500_000, ..producer };
    for version in 0..=3 {
        for (question, id, producer, topics) in [
            ("an unknown transactional id", "nosuch", producer, &[("joined", &[0][..])][..]),
            ("an empty transactional id", "", producer, &[("joined", &[0])]),
            ("somebody else's producer id", "adding", other, &[("joined", &[0])]),
            ("an old epoch", "adding", stale, &[("joined", &[0])]),
            ("an epoch that is not there yet", "adding", future, &[("joined", &[0])]),
            ("an unknown partition", "adding", producer, &[("joined", &[7])]),
            ("an unknown topic", "adding", producer, &[("unjoined", &[0])]),
            ("two partitions", "adding", producer, &[("joined", &[0, 1])]),
            ("the same again", "adding", producer, &[("joined", &[0, 1])]),
            ("one of them", "adding", producer, &[("joined", &[1])]),
            ("none", "adding", producer, &[]),
        ] {
            talk.ask(&format!("adding partitions: {question}"), version, &adding(id, producer, topics));
        }
        let mixed = adding("adding", producer, &[("joined", &[0, 9]), ("unjoined", &[0])]);
        talk.ask_for("adding partitions: some unknown", version, &mixed, |answer| {
            sorted(answer.results_by_topic_v3_and_below.iter().flat_map(|topic| {
                topic.results_by_partition.iter().map(|partition| format!("{:?} {partition:?}", topic.name))
            }))
        });
    }
    for version in 4..=5 {
        let asked =
            |id: &str, producer, partitions: &[i32]| verifying(id, producer, &[("joined", partitions)]);
        ask_batched(talk, "verifying one", version, vec![asked("adding", producer, &[0])]);
        ask_batched(talk, "verifying several", version, vec![asked("adding", producer, &[0, 1, 2])]);
        ask_batched(talk, "verifying an old epoch", version, vec![asked("adding", stale, &[0])]);
        ask_batched(talk, "verifying somebody else", version, vec![asked("adding", other, &[0])]);
        ask_batched(
            talk,
            "verifying an unknown partition",
            version,
            vec![asked("adding", producer, &[0, 9])],
        );
        ask_batched(talk, "verifying an empty id", version, vec![asked("", producer, &[0])]);
        ask_batched(
            talk,
            "verifying two transactions",
            version,
            vec![asked("adding", producer, &[0]), asked("nosuch", producer, &[1])],
        );
        let added = asked("adding", producer, &[0, 2]).with_verify_only(false);
        ask_batched(talk, "adding in the words of a broker", version, vec![added]);
    }
    describe(talk, "with partitions", "adding");
    end(talk, "adding", producer, false);
    ask_batched(talk, "verifying what is over", 5, vec![verifying("adding", producer, &[("joined", &[0])])]);
}

fn describe(talk: &mut Conversation, question: &str, id: &str) {
    let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![name(id)]);
    talk.ask_for(&format!("described {question}"), 0, &request, |answer| {
        let mut answer = answer.clone();
        for state in &mut answer.transaction_states {
            state.topics.sort_by_key(|topic| topic.topic.to_string());
            state.topics.iter_mut().for_each(|topic| topic.partitions.sort_unstable());
        }
        format!("{answer:?}")
    });
}

pub(crate) fn outcomes(talk: &mut Conversation) {
    talk.create("ended", &[]);
    let mut producer = settled(talk, "ending");
    talk.ask("ending an unknown transactional id", 3, &ending("nosuch", producer, true));
    talk.ask("ending an empty transactional id", 3, &ending("", producer, true));
    for version in 0..=4 {
        talk.ask("a commit before anything", version, &ending("ending", producer, true));
        talk.ask("an abort before anything", version, &ending("ending", producer, false));
        let stale = Producer { epoch: producer.epoch - 1, ..producer };
        let other = Producer { id: producer.id + 500_000, ..producer };
        talk.ask("a commit of an old epoch", version, &ending("ending", stale, true));
        talk.ask("a commit of somebody else", version, &ending("ending", other, true));
        for committed in [true, false] {
            add(talk, "ending", producer, &[("ended", &[0])]);
            describe(talk, "while it is open", "ending");
            talk.ask(
                &format!("ended, committed: {committed}"),
                version,
                &ending("ending", producer, committed),
            );
            wait_for_the_end(talk, "ending");
            describe(talk, "when it is over", "ending");
            talk.ask("a commit afterwards", version, &ending("ending", producer, true));
            talk.ask("an abort afterwards", version, &ending("ending", producer, false));
        }
        producer = settled(talk, "ending");
    }
    describe(talk, "before its first transaction", "ending");
    describe(talk, "where there is none", "nosuch");
    describe(talk, "without a name", "");
}

pub(crate) fn records(talk: &mut Conversation) {
    talk.create_wide("written", 2, &[]);
    let producer = settled(talk, "writing");
    let place = ("written", 0);
    for version in [3, 9, 10, 11] {
        talk.ask("records for nothing", version, &writing("writing", producer, 0, place));
        let unnamed = writing("writing", producer, 0, place).with_transactional_id(None);
        talk.ask("records without a transactional id", version, &unnamed);
        talk.ask("records of an unknown transactional id", version, &writing("nosuch", producer, 0, place));
        let other = Producer { id: producer.id + 500_000, ..producer };
        talk.ask("records of an unknown producer", version, &writing("writing", other, 0, place));
        let stale = Producer { epoch: producer.epoch - 1, ..producer };
        talk.ask("records of an old epoch", version, &writing("writing", stale, 0, place));
    }
    let mut two = writing("writing", producer, 0, place);
    let other = Producer { id: producer.id + 1, ..producer };
    let second = writing("writing", other, 0, ("written", 1)).topic_data.remove(0).partition_data;
    two.topic_data[0].partition_data.extend(second);
    talk.ask("records of two producers", 9, &two);

    add(talk, "writing", producer, &[("written", &[0])]);
    talk.ask("the first records", 9, &writing("writing", producer, 0, place));
    talk.ask("the first records again", 9, &writing("writing", producer, 0, place));
    talk.ask("more records", 11, &writing("writing", producer, 1, place));
    talk.ask("records for another partition", 9, &writing("writing", producer, 0, ("written", 1)));
    talk.ask("records for another partition", 11, &writing("writing", producer, 0, ("written", 1)));
    let plain = Batch { attributes: 0, ..batch(producer, 2) };
    talk.ask("records outside of the transaction", 9, &producing("written", 0, -1, Some(plain.encode())));
    talk.ask("plain records", 9, &producing("written", 0, -1, Some(Batch::of(&["plain"]).encode())));
    read(talk, "an open transaction", "written");
    producers(talk, "while a transaction is open", "written");

    end(talk, "writing", producer, false);
    read(talk, "aborted", "written");
    talk.ask("records after the end", 9, &writing("writing", producer, 2, place));
    add(talk, "writing", producer, &[("written", &[0, 1])]);
    talk.ask("records of the next transaction", 9, &writing("writing", producer, 2, place));
    talk.ask("and elsewhere", 9, &writing("writing", producer, 0, ("written", 1)));
    end(talk, "writing", producer, true);
    read(talk, "committed", "written");
    producers(talk, "when it is over", "written");
}

fn producers(talk: &mut Conversation, question: &str, name: &str) {
    let asked = TopicRequest::default().with_name(topic(name)).with_partition_indexes(vec![0, 1, 9]);
    let unknown = TopicRequest::default().with_name(topic("nosuch")).with_partition_indexes(vec![0]);
    let invalid = TopicRequest::default().with_name(topic("no such")).with_partition_indexes(vec![0]);
    let request = DescribeProducersRequest::default().with_topics(vec![asked, unknown, invalid]);
    talk.ask(&format!("producers {question}"), 0, &request);
}

fn committing(id: &str, producer: Producer, group_id: &str, partition: i32) -> TxnOffsetCommitRequest {
    let partition = TxnOffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(41)
        .with_committed_leader_epoch(-1)
        .with_committed_metadata(Some(text("noted")));
    let asked =
        TxnOffsetCommitRequestTopic::default().with_name(topic("read")).with_partitions(vec![partition]);
    TxnOffsetCommitRequest::default()
        .with_transactional_id(name(id))
        .with_group_id(group(group_id))
        .with_producer_id(producer.wire())
        .with_producer_epoch(producer.epoch)
        .with_generation_id(-1)
        .with_topics(vec![asked])
}

fn fetching_offsets(group_id: &str, stable: bool) -> OffsetFetchRequest {
    let asked = OffsetFetchRequestTopics::default().with_name(topic("read")).with_partition_indexes(vec![0]);
    let asked = OffsetFetchRequestGroup::default()
        .with_group_id(group(group_id))
        .with_member_epoch(-1)
        .with_topics(Some(vec![asked]));
    OffsetFetchRequest::default().with_groups(vec![asked]).with_require_stable(stable)
}

fn offsets_of(talk: &mut Conversation, question: &str, group_id: &str) {
    for stable in [false, true] {
        talk.ask(&format!("offsets {question}, stable: {stable}"), 9, &fetching_offsets(group_id, stable));
    }
}

/// A transaction ends when its markers are written; a group hears of that a moment later.
#[track_caller]
fn wait_until_stable(talk: &mut Conversation, group_id: &str) {
    const UNSTABLE_OFFSET_COMMIT: i16 = 88;
    let request = fetching_offsets(group_id, true);
    until("the offsets of the group to be stable", || {
        talk.prepare(9, &request).groups[0].topics[0].partitions[0].error_code != UNSTABLE_OFFSET_COMMIT
    });
}

pub(crate) fn offsets(talk: &mut Conversation) {
    talk.create("read", &[]);
    crate::groups::settle(talk, "reading");
    let producer = settled(talk, "reading");
    let stale = Producer { epoch: producer.epoch - 1, ..producer };
    for version in 0..=4 {
        talk.ask("offsets for nothing", version, &committing("reading", producer, "reading", 0));
        talk.ask("offsets of an old epoch", version, &committing("reading", stale, "reading", 0));
        talk.ask("offsets of an unknown id", version, &committing("nosuch", producer, "reading", 0));
        talk.ask("adding offsets of an old epoch", version, &adding_offsets("reading", stale, "reading"));
        talk.ask("adding offsets of an unknown id", version, &adding_offsets("nosuch", producer, "reading"));
        talk.ask("adding offsets of no id", version, &adding_offsets("", producer, "reading"));
    }
    for version in 0..=4 {
        for committed in [false, true] {
            talk.ask("adding offsets", version, &adding_offsets("reading", producer, "reading"));
            talk.ask("adding offsets again", version, &adding_offsets("reading", producer, "reading"));
            talk.ask("offsets", version, &committing("reading", producer, "reading", 0));
            talk.ask("offsets again", version, &committing("reading", producer, "reading", 0));
            talk.ask(
                "offsets of an unknown partition",
                version,
                &committing("reading", producer, "reading", 8),
            );
            if version >= 3 {
                let stranger = committing("reading", producer, "reading", 0)
                    .with_generation_id(3)
                    .with_member_id(text("stranger"));
                talk.ask("offsets of a stranger", version, &stranger);
            }
            offsets_of(talk, "while the transaction is open", "reading");
            end(talk, "reading", producer, committed);
            wait_until_stable(talk, "reading");
            offsets_of(talk, "when it is over", "reading");
        }
    }
    let mut long = committing("reading", producer, "reading", 0);
    long.topics[0].partitions[0].committed_metadata = Some(text(&"x".repeat(5000)));
    talk.prepare(3, &adding_offsets("reading", producer, "reading"));
    talk.ask("metadata above offset.metadata.max.bytes", 3, &long);
    end(talk, "reading", producer, true);
}

pub(crate) fn fencing(talk: &mut Conversation) {
    talk.create("fenced", &[]);
    let old = settled(talk, "fencing");
    add(talk, "fencing", old, &[("fenced", &[0])]);
    talk.ask("records of the first", 9, &writing("fencing", old, 0, ("fenced", 0)));
    talk.ask("a second takes over", 4, &init("fencing"));
    wait_for_the_end(talk, "fencing");
    describe(talk, "when it was fenced", "fencing");
    let new = settled(talk, "fencing");
    for version in [1, 3] {
        talk.ask("the first adds", version, &adding("fencing", old, &[("fenced", &[0])]));
        talk.ask("the first adds offsets", version, &adding_offsets("fencing", old, "g"));
        talk.ask("the first ends", version, &ending("fencing", old, true));
    }
    for version in [9, 11] {
        talk.ask("the first writes", version, &writing("fencing", old, 1, ("fenced", 0)));
    }
    let goes_on = init("fencing").with_producer_id(old.wire()).with_producer_epoch(old.epoch);
    talk.ask("the first goes on", 3, &goes_on);
    talk.ask("the first goes on", 4, &goes_on);
    add(talk, "fencing", new, &[("fenced", &[0])]);
    talk.ask("the second writes", 9, &writing("fencing", new, 0, ("fenced", 0)));
    end(talk, "fencing", new, true);
    read(talk, "after the second", "fenced");
}

pub(crate) fn markers(talk: &mut Conversation) {
    talk.create("marked", &[]);
    settled(talk, "marking");
    let producer = settled(talk, "marking");
    let marker = |epoch: i16, coordinator_epoch: i32, topic_name: &str, partitions: &[i32]| {
        let asked = WritableTxnMarkerTopic::default()
            .with_name(topic(topic_name))
            .with_partition_indexes(partitions.to_vec());
        WritableTxnMarker::default()
            .with_producer_id(producer.wire())
            .with_producer_epoch(epoch)
            .with_transaction_result(true)
            .with_coordinator_epoch(coordinator_epoch)
            .with_topics(vec![asked])
    };
    let epoch = producer.epoch;
    for version in 0..=1 {
        for (question, markers) in [
            ("none", vec![]),
            ("for a partition without records", vec![marker(epoch, 4, "marked", &[0])]),
            ("of an older coordinator", vec![marker(epoch, 3, "marked", &[0])]),
            ("of an older producer", vec![marker(epoch - 1, 4, "marked", &[0])]),
            ("without an epoch", vec![marker(-1, 4, "marked", &[0])]),
            ("of nobody", vec![marker(epoch, 4, "marked", &[0]).with_producer_id(ProducerId(-1))]),
            ("for an unknown topic", vec![marker(epoch, 4, "unmarked", &[0])]),
            ("for a partition, and an unknown one", vec![marker(epoch, 4, "marked", &[0, 5])]),
        ] {
            let request = WriteTxnMarkersRequest::default().with_markers(markers);
            talk.ask_for(&format!("markers {question}"), version, &request, |answer| {
                sorted(answer.markers.iter().flat_map(|marker| {
                    marker.topics.iter().flat_map(move |topic| {
                        topic.partitions.iter().map(move |it| {
                            format!("producer_id: {:?}, {:?} {it:?}", marker.producer_id, topic.name)
                        })
                    })
                }))
            });
        }
    }
    read(talk, "markers alone", "marked");
}

pub(crate) fn listing(talk: &mut Conversation) {
    talk.create("listed", &[]);
    let open = settled(talk, "list-open");
    let idle = settled(talk, "list-idle");
    add(talk, "list-open", open, &[("listed", &[0])]);
    let list = |states: &[&str], producers: &[Producer], duration: i64| {
        ListTransactionsRequest::default()
            .with_state_filters(states.iter().map(|state| text(state)).collect())
            .with_producer_id_filters(producers.iter().map(|producer| producer.wire()).collect())
            .with_duration_filter(duration)
    };
    let both = [open, idle];
    let nobody = Producer { id: open.id + 900_000, ..open };
    for (question, version, request) in [
        ("both", 0, list(&[], &both, -1)),
        ("both", 1, list(&[], &both, -1)),
        ("the open one", 1, list(&["Ongoing"], &both, -1)),
        ("the idle one", 1, list(&["Empty"], &both, -1)),
        ("either", 1, list(&["Empty", "Ongoing"], &both, -1)),
        ("a state that is none", 1, list(&["Empty", "ongoing", "Nonsense"], &both, -1)),
        ("only a state that is none", 1, list(&["Nonsense"], &both, -1)),
        ("nobody", 1, list(&[], &[nobody], -1)),
        ("open for an hour", 1, list(&[], &[open], 3_600_000)),
        ("idle for an hour", 1, list(&[], &[idle], 3_600_000)),
        ("open for any time", 1, list(&[], &[open], -5)),
    ] {
        talk.ask_for(&format!("transactions listed: {question}"), version, &request, |answer| {
            let states = sorted(answer.transaction_states.iter().map(|state| format!("{state:?}")));
            let unknown = sorted(answer.unknown_state_filters.iter().map(|name| name.to_string()));
            format!("error {} unknown {unknown} {states}", answer.error_code)
        });
    }
    end(talk, "list-open", open, true);
}
