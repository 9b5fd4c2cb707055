//! What tests of logs ask of one broker that leads everything: batches in, offsets, and everything that is in a partition.
//! Made of the requests of [`requests`].

use std::io;
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, ProduceResponse, ResponseHeader};
use kafka_protocol::protocol::{Decodable, HeaderVersion};
use storage::batch::Record;

use super::process::PATIENCE;
use super::requests::{self, fetch_request, is_passing, name, outcome, produce_request};
use super::seat::Broker;
use super::until;
use super::wire::Connection;

const PRODUCE: i16 = 9;
const READ_UNCOMMITTED: i8 = 0;
const READ_COMMITTED: i8 = 1;

/// Creates the topic and waits until all its partitions take records.
#[track_caller]
pub(crate) fn create_topic(broker: &Broker, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
    let mut connection = broker.connect();
    requests::create_topic(&mut connection, topic, partitions, 1, configs);
    until(&format!("all partitions of {topic}"), || {
        (0..partitions).all(|partition| list_offset(&mut connection, topic, partition, -1).0 == 0)
    });
}

/// Sends one batch; yields error code and base offset.
#[track_caller]
pub(crate) fn produce(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    batch: &Bytes,
    acks: i16,
) -> (i16, i64) {
    try_produce(connection, topic, partition, batch, acks).expect("an answer")
}

pub(crate) fn try_produce(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    batch: &Bytes,
    acks: i16,
) -> io::Result<(i16, i64)> {
    let request = produce_request(topic, partition, acks, batch);
    connection.try_request(PRODUCE, &request).map(|answer| outcome(&answer))
}

/// Sends one batch without waiting for its answer.
pub(crate) fn send_batch(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    batch: &Bytes,
    acks: i16,
) -> io::Result<()> {
    connection.send(PRODUCE, &produce_request(topic, partition, acks, batch))
}

/// Sends all batches before it reads an answer. `Err` only where there was none at all.
pub(crate) fn produce_pipelined(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    batches: &[Bytes],
    acks: i16,
) -> io::Result<Vec<(i16, i64)>> {
    let mut sent = 0;
    for batch in batches {
        match send_batch(connection, topic, partition, batch, acks) {
            Ok(()) => sent += 1,
            Err(_) => break,
        }
    }
    let mut answers = Vec::new();
    while answers.len() < sent {
        let Ok(Some(mut frame)) = connection.read_frame() else { break };
        ResponseHeader::decode(&mut frame, ProduceResponse::header_version(PRODUCE))
            .map_err(io::Error::other)?;
        let answer = ProduceResponse::decode(&mut frame, PRODUCE).map_err(io::Error::other)?;
        answers.push(outcome(&answer));
    }
    if answers.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(answers) }
}

/// Error code and offset.
pub(crate) fn list_offset(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    timestamp: i64,
) -> (i16, i64) {
    list_offset_for(connection, topic, partition, timestamp, READ_UNCOMMITTED)
}

/// Error code and last stable offset.
pub(crate) fn last_stable(connection: &mut Connection, topic: &str, partition: i32) -> (i16, i64) {
    list_offset_for(connection, topic, partition, -1, READ_COMMITTED)
}

fn list_offset_for(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    timestamp: i64,
    isolation: i8,
) -> (i16, i64) {
    let partition = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(isolation)
        .with_topics(vec![topic]);
    let answer = &connection.request(5, &request).topics[0].partitions[0];
    (answer.error_code, answer.offset)
}

/// Waits until the partition is led, as after a restart.
#[track_caller]
pub(crate) fn end_offset(connection: &mut Connection, topic: &str, partition: i32) -> i64 {
    let mut found = (-1, -1);
    until(&format!("the end of {topic}-{partition}"), || {
        found = list_offset(connection, topic, partition, -1);
        found.0 == 0
    });
    found.1
}

/// Records from `offset` on, as much as one answer holds. Error code and batches.
pub(crate) fn fetch(connection: &mut Connection, topic: &str, partition: i32, offset: i64) -> (i16, Bytes) {
    let request =
        fetch_request(topic, partition, offset).with_max_wait_ms(0).with_min_bytes(0).with_max_bytes(8 << 20);
    let answer = connection.request(11, &request);
    let answer = &answer.responses[0].partitions[0];
    (answer.error_code, answer.records.clone().unwrap_or_default())
}

const OFFSET_OUT_OF_RANGE: i16 = 1;

/// Offset and value of every record, checksums checked.
#[track_caller]
pub(crate) fn values(connection: &mut Connection, topic: &str, partition: i32) -> Vec<(i64, String)> {
    let all = all_records(connection, topic, partition).into_iter();
    all.map(|record| (record.offset.0, text(record.value))).collect()
}

/// Every record that is there, checksums checked.
#[track_caller]
pub(crate) fn all_records(connection: &mut Connection, topic: &str, partition: i32) -> Vec<Record> {
    let end = end_offset(connection, topic, partition);
    let mut offset = list_offset(connection, topic, partition, -2).1;
    let (mut all, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while offset < end {
        let (error, records) = fetch(connection, topic, partition, offset);
        // A broker that leads a partition after a start may not have heard of its topic yet.
        if is_passing(error) && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(20));
            continue;
        }
        // Retention goes on meanwhile.
        if error == OFFSET_OUT_OF_RANGE {
            let start = list_offset(connection, topic, partition, -2).1;
            assert!(start > offset, "{topic}-{partition} begins at {start} and cannot be read at {offset}");
            offset = start;
            continue;
        }
        assert_eq!(error, 0, "reading {topic}-{partition} at {offset}");
        assert!(records.has_remaining(), "nothing in {topic}-{partition} at {offset} below {end}");
        for located in storage::batch::headers(&records) {
            let located = located.expect("a batch");
            let entry = records.slice(located.position..located.position + located.size);
            located.batch.check_crc(&entry).expect("a good checksum");
            for record in storage::batch::records(&entry).expect("records") {
                let record = record.expect("a record");
                if record.offset.0 >= offset {
                    all.push(record);
                }
            }
            offset = located.batch.next_offset().0;
        }
    }
    all
}

fn text(value: Option<Bytes>) -> String {
    String::from_utf8_lossy(&value.unwrap_or_default()).into_owned()
}
