//! A transactional producer of the wire protocol, so that a transaction can be left open at any point.

use std::time::{Duration, Instant};

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeProducersRequest, DescribeTransactionsRequest,
    EndTxnRequest, FindCoordinatorRequest, GroupId, InitProducerIdRequest, ListTransactionsRequest,
    ProduceRequest, ProducerId, TopicName, TransactionalId, TxnOffsetCommitRequest, WriteTxnMarkersRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::process::PATIENCE;
use super::records::Batch;
use super::seat::Broker;
use super::wire::Connection;

const TRANSACTIONAL: i16 = 0x10;
/// No coordinator, none loaded, not here, not finished with the transaction before; no leader, no such topic yet.
const NOT_YET: [i16; 6] = [14, 15, 16, 51, 6, 3];

/// Writes the marker of a transaction into partition 0, as a coordinator would: for producers that never had one.
#[track_caller]
pub(crate) fn write_marker(connection: &mut Connection, topic: &str, producer: i64, commit: bool) {
    let topic =
        WritableTxnMarkerTopic::default().with_name(TopicName(text(topic))).with_partition_indexes(vec![0]);
    let marker = WritableTxnMarker::default()
        .with_producer_id(ProducerId(producer))
        .with_producer_epoch(0)
        .with_transaction_result(commit)
        .with_coordinator_epoch(0)
        .with_topics(vec![topic]);
    let answer = connection.request(1, &WriteTxnMarkersRequest::default().with_markers(vec![marker]));
    assert_eq!(answer.markers[0].topics[0].partitions[0].error_code, 0);
}

pub(crate) struct Producer {
    id: String,
    pub(crate) producer: i64,
    pub(crate) epoch: i16,
    sequence: i32,
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Repeats a request until it is answered with a code that is not one of [`NOT_YET`].
#[track_caller]
fn patiently(what: &str, mut ask: impl FnMut() -> i16) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask() {
            0 => return,
            code if NOT_YET.contains(&code) && Instant::now() < deadline => {
                std::thread::park_timeout(Duration::from_millis(20));
            }
            code => panic!("{what}: error {code}"),
        }
    }
}

/// Waits until a coordinator is found: `kind` 0 for groups, 1 for transactions.
#[track_caller]
fn find_coordinator(broker: &Broker, key: &str, kind: i8) {
    let request = FindCoordinatorRequest::default().with_key(text(key)).with_key_type(kind);
    let mut connection = broker.connect();
    patiently("a coordinator", || connection.request(3, &request).error_code);
}

impl Producer {
    /// Takes over the transactional id `id`.
    #[track_caller]
    pub(crate) fn start(broker: &Broker, id: &str, timeout_ms: i32) -> Producer {
        find_coordinator(broker, id, 1);
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(text(id))))
            .with_transaction_timeout_ms(timeout_ms)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let mut connection = broker.connect();
        let mut started = Producer { id: id.to_owned(), producer: -1, epoch: -1, sequence: 0 };
        patiently("a producer id", || {
            let answer = connection.request(4, &request);
            (started.producer, started.epoch) = (answer.producer_id.0, answer.producer_epoch);
            answer.error_code
        });
        started
    }

    fn name(&self) -> TransactionalId {
        TransactionalId(text(&self.id))
    }

    #[track_caller]
    pub(crate) fn add(&self, broker: &Broker, topic: &str, partitions: &[i32]) {
        let topics = vec![
            AddPartitionsToTxnTopic::default()
                .with_name(TopicName(text(topic)))
                .with_partitions(partitions.to_vec()),
        ];
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.name())
            .with_v3_and_below_producer_id(ProducerId(self.producer))
            .with_v3_and_below_producer_epoch(self.epoch)
            .with_v3_and_below_topics(topics);
        let mut connection = broker.connect();
        patiently("adding partitions", || {
            let answer = connection.request(3, &request);
            let mut partitions =
                answer.results_by_topic_v3_and_below.iter().flat_map(|topic| &topic.results_by_partition);
            partitions.find_map(|it| Some(it.partition_error_code).filter(|code| *code != 0)).unwrap_or(0)
        });
    }

    /// The error code.
    pub(crate) fn try_write(&self, broker: &Broker, topic: &str, partition: i32, batch: &Batch) -> i16 {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch.encode()));
        let data =
            TopicProduceData::default().with_name(TopicName(text(topic))).with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(Some(self.name()))
            .with_acks(-1)
            .with_timeout_ms(30_000)
            .with_topic_data(vec![data]);
        broker.connect().request(9, &request).responses[0].partition_responses[0].error_code
    }

    /// One record; this producer writes to one partition only.
    #[track_caller]
    pub(crate) fn write(&mut self, broker: &Broker, topic: &str, partition: i32, value: &str) {
        let batch = self.batch(value);
        patiently("records", || self.try_write(broker, topic, partition, &batch));
        self.sequence += 1;
    }

    pub(crate) fn batch(&self, value: &str) -> Batch {
        let batch = Batch::of(&[value]).by_producer(self.producer, self.epoch, self.sequence);
        Batch { attributes: TRANSACTIONAL, ..batch }
    }

    /// The group has read `topic`, partition 0, up to `offset`, when the transaction commits.
    #[track_caller]
    pub(crate) fn commit_offset(&self, broker: &Broker, group: &str, topic: &str, offset: i64) {
        find_coordinator(broker, group, 0);
        let mut connection = broker.connect();
        let add = AddOffsetsToTxnRequest::default()
            .with_transactional_id(self.name())
            .with_producer_id(ProducerId(self.producer))
            .with_producer_epoch(self.epoch)
            .with_group_id(GroupId(text(group)));
        patiently("adding offsets", || connection.request(3, &add).error_code);
        let partition = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(0)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(-1)
            .with_committed_metadata(Some(text("")));
        let asked = TxnOffsetCommitRequestTopic::default()
            .with_name(TopicName(text(topic)))
            .with_partitions(vec![partition]);
        let commit = TxnOffsetCommitRequest::default()
            .with_transactional_id(self.name())
            .with_group_id(GroupId(text(group)))
            .with_producer_id(ProducerId(self.producer))
            .with_producer_epoch(self.epoch)
            .with_generation_id(-1)
            .with_topics(vec![asked]);
        patiently("offsets", || connection.request(3, &commit).topics[0].partitions[0].error_code);
    }

    /// The outcome is decided; readers may hear of it a little later.
    #[track_caller]
    pub(crate) fn end(&self, broker: &Broker, commit: bool) {
        let request = EndTxnRequest::default()
            .with_transactional_id(self.name())
            .with_producer_id(ProducerId(self.producer))
            .with_producer_epoch(self.epoch)
            .with_committed(commit);
        let mut connection = broker.connect();
        patiently("the end", || connection.request(3, &request).error_code);
    }

    /// Waits until the transactional id is in `state`.
    #[track_caller]
    pub(crate) fn wait_for(&self, broker: &Broker, state: &str) {
        let deadline = Instant::now() + PATIENCE;
        let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![self.name()]);
        let mut connection = broker.connect();
        loop {
            let answer = connection.request(0, &request);
            if answer.transaction_states[0].transaction_state.as_str() == state {
                return;
            }
            assert!(Instant::now() < deadline, "{} is never {state}: {answer:?}", self.id);
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

/// The id of an idempotent producer, which belongs to no transaction.
#[track_caller]
pub(crate) fn anonymous_id(broker: &Broker) -> i64 {
    let request =
        InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
    let mut connection = broker.connect();
    let mut id = -1;
    // Apache's first answer says that a block of ids is on its way.
    patiently("a producer id", || {
        let answer = connection.request(4, &request);
        id = answer.producer_id.0;
        answer.error_code
    });
    id
}

/// The producers that partition 0 remembers, sorted.
#[track_caller]
pub(crate) fn remembered_producers(broker: &Broker, topic: &str) -> Vec<i64> {
    let asked = TopicRequest::default().with_name(TopicName(text(topic))).with_partition_indexes(vec![0]);
    let request = DescribeProducersRequest::default().with_topics(vec![asked]);
    let answer = broker.connect().request(0, &request);
    let partition = &answer.topics[0].partitions[0];
    assert_eq!(partition.error_code, 0, "{answer:?}");
    let mut ids: Vec<i64> =
        partition.active_producers.iter().map(|producer| producer.producer_id.0).collect();
    ids.sort_unstable();
    ids
}

/// Waits until the coordinators know no transactional id called `id` any more.
#[track_caller]
pub(crate) fn wait_until_forgotten(broker: &Broker, id: &str) {
    let deadline = Instant::now() + PATIENCE;
    let mut connection = broker.connect();
    loop {
        let answer = connection.request(1, &ListTransactionsRequest::default().with_duration_filter(-1));
        let known = answer.transaction_states.iter().any(|state| state.transactional_id.0.as_str() == id);
        if answer.error_code == 0 && !known {
            return;
        }
        assert!(Instant::now() < deadline, "{id} is never forgotten");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
