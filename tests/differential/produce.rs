//! Produce and InitProducerId.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest, TransactionalId};

use crate::asking::{Conversation, text, topic};
use crate::support::process::PATIENCE;
use crate::support::records::{Batch, message_set, now_ms};

pub(crate) fn producing(name: &str, partition: i32, acks: i16, records: Option<Bytes>) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(records);
    let data = TopicProduceData::default().with_name(topic(name)).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![data])
}

/// Produces to partition 0 with acks=-1.
pub(crate) fn produce(talk: &mut Conversation, question: &str, version: i16, name: &str, batch: &Batch) {
    talk.ask(question, version, &producing(name, 0, -1, Some(batch.encode())));
}

pub(crate) fn versions(talk: &mut Conversation) {
    talk.create("produced", &[]);
    for version in 0..=11 {
        let records = match version {
            0 | 1 => message_set(0, &[(Some("k"), Some("v"))]),
            2 => message_set(1, &[(Some("k"), Some("v"))]),
            _ => Batch::of(&["one", "two"]).encode(),
        };
        for acks in [1, -1] {
            talk.ask(
                &format!("good records, acks={acks}"),
                version,
                &producing("produced", 0, acks, Some(records.clone())),
            );
        }
    }
    for version in 0..=2 {
        let newer = producing("produced", 0, 1, Some(Batch::of(&["too new"]).encode()));
        talk.ask("magic 2 before its time", version, &newer);
    }
    talk.ask("magic 1 in v1", 1, &producing("produced", 0, 1, Some(message_set(1, &[(None, Some("v"))]))));
    for magic in [0, 1] {
        let older = producing("produced", 0, 1, Some(message_set(magic, &[(None, Some("v"))])));
        talk.ask(&format!("magic {magic} after its time"), 9, &older);
        talk.ask(&format!("magic {magic} after its time"), 3, &older);
    }
}

pub(crate) fn refusals(talk: &mut Conversation) {
    talk.create("refusing", &[]);
    let good = Some(Batch::of(&["good"]).encode());
    talk.ask("to an unknown topic", 9, &producing("nosuch", 0, 1, good.clone()));
    talk.ask("to an invalid name", 9, &producing("no such", 0, 1, good.clone()));
    talk.ask("to an unknown partition", 9, &producing("refusing", 7, 1, good.clone()));
    talk.ask("to a negative partition", 9, &producing("refusing", -1, 1, good.clone()));
    talk.ask("with acks=2", 9, &producing("refusing", 0, 2, good.clone()));
    talk.ask("with acks=-2", 9, &producing("refusing", 0, -2, good.clone()));
    let mut transactional = producing("refusing", 0, -1, good.clone());
    transactional.transactional_id = Some(TransactionalId(text("tx")));
    talk.ask("with a transactional id and no transactional batch", 9, &transactional);
    let mut two = producing("refusing", 0, 1, good.clone());
    two.topic_data.push(producing("nosuch", 0, 1, good.clone()).topic_data[0].clone());
    two.topic_data[0]
        .partition_data
        .push(PartitionProduceData::default().with_index(9).with_records(good.clone()));
    talk.ask_for("to several partitions, some unknown", 9, &two, |answer| {
        let mut partitions: Vec<String> = answer
            .responses
            .iter()
            .flat_map(|topic| {
                topic.partition_responses.iter().map(|partition| format!("{:?} {partition:?}", topic.name))
            })
            .collect();
        partitions.sort();
        partitions.join(" ")
    });
    talk.ask("nothing", 9, &ProduceRequest::default().with_acks(1).with_timeout_ms(1000));
    talk.ask("an empty record set", 9, &producing("refusing", 0, 1, Some(Bytes::new())));
    let pair = [Batch::of(&["first"]).encode(), Batch::of(&["second"]).encode()].concat();
    talk.ask("two batches for one partition", 9, &producing("refusing", 0, 1, Some(pair.into())));
    let large = Batch::of(&[&"x".repeat(1_100_000)]);
    produce(talk, "a batch above message.max.bytes", 9, "refusing", &large);
    crate::groups::settle(talk, "makes the offsets topic");
    let internal = producing("__consumer_offsets", 0, 1, good.clone());
    talk.ask("to __consumer_offsets", 9, &internal);
    let zstd = Batch { attributes: 4, ..Batch::of(&["not really zstd"]) };
    produce(talk, "zstd before v7", 6, "refusing", &zstd);
}

pub(crate) fn batches(talk: &mut Conversation) {
    talk.create("lying", &[]);
    let good = Batch::of(&["one", "two"]);
    let cases = [
        ("good", good.clone()),
        ("a wrong CRC", Batch { crc: Some(1), ..good.clone() }),
        ("magic 3", Batch { magic: 3, ..good.clone() }),
        ("a negative magic", Batch { magic: -1, ..good.clone() }),
        ("a length of 0", Batch { length: Some(0), ..good.clone() }),
        ("a negative length", Batch { length: Some(-5), ..good.clone() }),
        ("a length below the header", Batch { length: Some(10), ..good.clone() }),
        ("a length one too short", Batch { length: Some(good.encode().len() as i32 - 13), ..good.clone() }),
        ("a length one too long", Batch { length: Some(good.encode().len() as i32 - 11), ..good.clone() }),
        ("a count too small", Batch { count: Some(1), ..good.clone() }),
        ("a count too large", Batch { count: Some(3), ..good.clone() }),
        ("a count of 0", Batch { count: Some(0), ..good.clone() }),
        ("a negative count", Batch { count: Some(-7), ..good.clone() }),
        ("a last offset delta too large", Batch { last_offset_delta: Some(9), ..good.clone() }),
        ("a negative last offset delta", Batch { last_offset_delta: Some(-1), ..good.clone() }),
        (
            "a count and a delta that agree on 3",
            Batch { count: Some(3), last_offset_delta: Some(2), ..good.clone() },
        ),
        ("a base offset of 5", Batch { base_offset: 5, ..good.clone() }),
        ("a leader epoch of 9", Batch { partition_leader_epoch: 9, ..good.clone() }),
        ("a control batch", Batch { attributes: 0x20, ..good.clone() }),
        ("a transactional batch", Batch { attributes: 0x10, ..good.clone() }),
        ("the log append time flag", Batch { attributes: 0x08, ..good.clone() }),
        ("a max timestamp that lies", Batch { max_timestamp: Some(now_ms() + 10_000), ..good.clone() }),
        ("no timestamp", Batch { base_timestamp: -1, ..good.clone() }),
        ("a timestamp of 1", Batch { base_timestamp: 1, ..good.clone() }),
        ("a sequence without a producer", Batch { base_sequence: 4, ..good.clone() }),
        ("an epoch without a producer", Batch { producer_epoch: 4, ..good.clone() }),
        ("no records", Batch { records: vec![], ..good.clone() }),
        ("a null key and a null value", Batch { records: vec![(None, None)], ..good.clone() }),
    ];
    for (question, batch) in cases {
        produce(talk, question, 9, "lying", &batch);
    }
    produce(talk, "what the log end is after all that", 9, "lying", &good);
}

pub(crate) fn topic_rules(talk: &mut Conversation) {
    talk.create("compacted", &[("cleanup.policy", "compact")]);
    produce(talk, "a record without a key into a compacted topic", 9, "compacted", &Batch::of(&["keyless"]));
    let keyed = |key: Option<&str>| (key.map(|key| key.as_bytes().to_vec()), Some(b"value".to_vec()));
    let half = Batch {
        records: vec![keyed(Some("a")), keyed(None), keyed(Some("b")), keyed(None)],
        ..Batch::of(&[])
    };
    produce(talk, "two of four records without a key", 9, "compacted", &half);
    produce(talk, "the same in v7, before record errors", 7, "compacted", &half);
    let all = Batch { records: vec![keyed(Some("a")), keyed(Some("b"))], ..Batch::of(&[]) };
    produce(talk, "records with keys", 9, "compacted", &all);

    talk.create(
        "strict",
        &[("message.timestamp.before.max.ms", "1000"), ("message.timestamp.after.max.ms", "1000")],
    );
    let at = |time: i64| Batch { base_timestamp: time, ..Batch::of(&["dated"]) };
    // Only the code: the message tells the present time.
    for (question, batch) in
        [("too old", at(now_ms() - 60_000)), ("too new", at(now_ms() + 60_000)), ("now", at(now_ms()))]
    {
        let request = producing("strict", 0, 1, Some(batch.encode()));
        talk.ask_for(question, 9, &request, |answer| {
            let partition = &answer.responses[0].partition_responses[0];
            format!("{} record errors {}", partition.error_code, partition.record_errors.len())
        });
    }
    talk.create("stamped", &[("message.timestamp.type", "LogAppendTime")]);
    produce(talk, "into a topic of log append time", 9, "stamped", &Batch::of(&["stamped"]));
    talk.create("small", &[("max.message.bytes", "100")]);
    produce(talk, "a batch above max.message.bytes", 9, "small", &Batch::of(&[&"x".repeat(100)]));
    produce(talk, "a batch below it", 9, "small", &Batch::of(&["x"]));
    talk.create("insured", &[("min.insync.replicas", "3")]);
    for acks in [1, -1] {
        let request = producing("insured", 0, acks, Some(Batch::of(&["v"]).encode()));
        talk.ask(&format!("fewer replicas than min.insync.replicas, acks={acks}"), 9, &request);
    }
    talk.create("squeezed", &[("compression.type", "gzip")]);
    produce(talk, "into a topic that compresses", 9, "squeezed", &Batch::of(&[&"x".repeat(500)]));
    talk.create("segmented", &[("segment.bytes", "200")]);
    produce(talk, "a batch larger than a segment", 9, "segmented", &Batch::of(&[&"x".repeat(500)]));
}

fn anonymous() -> InitProducerIdRequest {
    InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000)
}

/// Asks until the broker has a block of ids: the first ask fetches it, and says so with a retriable error.
fn producer_id(talk: &mut Conversation) -> i64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = talk.prepare(4, &anonymous());
        if answer.error_code == 0 {
            return answer.producer_id.0;
        }
        assert!(Instant::now() < deadline, "no producer id: {answer:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

pub(crate) fn idempotence(talk: &mut Conversation) {
    talk.create("idempotent", &[]);
    producer_id(talk);
    for version in 0..=5 {
        let anonymous = anonymous();
        // Ids are dealt from one counter to all who ask, so only the first block can be compared.
        talk.ask_for("a producer id", version, &anonymous, |answer| {
            format!(
                "error {} epoch {} id given {}",
                answer.error_code,
                answer.producer_epoch,
                answer.producer_id.0 >= 0
            )
        });
    }
    let id = producer_id(talk);
    let batch = |epoch, sequence| Batch::of(&["once"]).by_producer(id, epoch, sequence);
    for (question, epoch, sequence) in [
        ("the first batch", 0, 0),
        ("the second", 0, 1),
        ("the second again", 0, 1),
        ("the first again", 0, 0),
        ("a gap", 0, 5),
        ("the third", 0, 2),
        ("the fourth", 0, 3),
        ("the fifth", 0, 4),
        ("the sixth", 0, 5),
        ("the seventh", 0, 6),
        ("the first, no longer among the last five", 0, 0),
        ("the third, the oldest remembered", 0, 2),
        ("a new epoch that does not start at 0", 1, 3),
        ("a new epoch", 1, 0),
        ("the old epoch", 0, 7),
        ("a negative epoch", -1, 0),
        ("a negative sequence", 1, -5),
        ("the new epoch goes on", 1, 1),
    ] {
        produce(talk, question, 9, "idempotent", &batch(epoch, sequence));
    }
    let unknown = Batch::of(&["late"]).by_producer(id + 700_000, 0, 5);
    produce(talk, "an unknown producer in the middle of its sequence", 9, "idempotent", &unknown);
    let wrapped = Batch::of(&["last", "first"]).by_producer(id + 700_001, 0, i32::MAX);
    produce(talk, "a sequence that wraps around", 9, "idempotent", &wrapped);
    produce(
        talk,
        "and goes on after it",
        9,
        "idempotent",
        &Batch::of(&["x"]).by_producer(id + 700_001, 0, 1),
    );
    let request = producing("idempotent", 0, 1, Some(batch(1, 2).encode()));
    talk.ask("with acks=1", 9, &request);
    let wrong = InitProducerIdRequest::default().with_transactional_id(Some(TransactionalId(text(""))));
    talk.ask("an empty transactional id", 4, &wrong.with_transaction_timeout_ms(60_000));
}
