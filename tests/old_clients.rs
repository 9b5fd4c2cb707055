//! Clients from before record batches: messages of magic 0 and 1, converted as Kafka 3.9 converts them.

mod support;

use std::sync::LazyLock;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{BrokerId, FetchRequest, ListOffsetsRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use support::records::{Batch, message_set};
use support::seat::Broker;
use support::stock;
use support::wire::Connection;

static BROKER: LazyLock<Broker> = LazyLock::new(Broker::start);

fn topic_name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_string()))
}

#[track_caller]
fn create_topic(topic: &str, more: &[&str]) {
    let bootstrap = BROKER.bootstrap();
    let arguments = ["--create", "--topic", topic, "--partitions", "1", "--bootstrap-server", &bootstrap];
    stock::tool("3.9.1", "kafka-topics", &[&arguments[..], more].concat(), "").success();
}

/// Produces to partition 0 with acks=1; the error code, the base offset and the log append time.
#[track_caller]
fn produce(connection: &mut Connection, version: i16, topic: &str, records: Bytes) -> (i16, i64, i64) {
    let data = PartitionProduceData::default().with_index(0).with_records(Some(records));
    let request = ProduceRequest::default().with_acks(1).with_timeout_ms(5_000).with_topic_data(vec![
        TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]),
    ]);
    let answer = connection.request(version, &request);
    let partition = &answer.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset, partition.log_append_time_ms)
}

/// Fetches partition 0 from `offset`; the error code and the records as they came.
#[track_caller]
fn fetch(connection: &mut Connection, version: i16, topic: &str, offset: i64) -> (i16, Bytes) {
    let partition = FetchPartition::default()
        .with_partition(0)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(5_000)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_topics(vec![
            FetchTopic::default().with_topic(topic_name(topic)).with_partitions(vec![partition]),
        ]);
    let answer = connection.request(version, &request);
    let partition = &answer.responses[0].partitions[0];
    (partition.error_code, partition.records.clone().unwrap_or_default())
}

/// Offset, magic and value of every message of a set of magic 0 or 1.
fn messages(mut set: &[u8]) -> Vec<(i64, u8, String)> {
    let mut found = Vec::new();
    while set.len() >= 12 {
        let offset = i64::from_be_bytes(set[..8].try_into().unwrap());
        let length = u32::from_be_bytes(set[8..12].try_into().unwrap()) as usize;
        // The last message of an answer may be cut.
        let Some(message) = set.get(12..12 + length) else { break };
        let magic = message[4];
        assert_eq!(crc32fast::hash(&message[4..]), u32::from_be_bytes(message[..4].try_into().unwrap()));
        assert_eq!(message[5] & 7, 0, "not compressed");
        let mut rest = &message[if magic == 0 { 6 } else { 14 }..];
        for field in 0..2 {
            let length = i32::from_be_bytes(rest[..4].try_into().unwrap()).max(0) as usize;
            if field == 1 {
                found.push((offset, magic, String::from_utf8(rest[4..4 + length].to_vec()).unwrap()));
            }
            rest = &rest[4 + length..];
        }
        set = &set[12 + length..];
    }
    found
}

fn expected(magic: u8, from: i64, values: &[&str]) -> Vec<(i64, u8, String)> {
    values.iter().enumerate().map(|(i, value)| (from + i as i64, magic, value.to_string())).collect()
}

#[test]
fn messages_of_magic_0_and_1_are_stored_as_batches_of_magic_2() {
    create_topic("old-in", &[]);
    let mut connection = BROKER.connect();
    let set = |magic, text| message_set(magic, &[(Some("k"), Some(text)), (None, Some("second"))]);
    assert_eq!(produce(&mut connection, 0, "old-in", set(0, "v0")).0, 0);
    assert_eq!(produce(&mut connection, 1, "old-in", set(0, "v1")).1, 2);
    let (error, offset, append_time) = produce(&mut connection, 2, "old-in", set(1, "v2"));
    assert_eq!((error, offset, append_time), (0, 4, -1));

    let (error, records) = fetch(&mut connection, 11, "old-in", 0);
    assert_eq!((error, records[16]), (0, 2), "magic 2 in the log");
    let arguments = ["--bootstrap-server", &BROKER.bootstrap(), "--topic", "old-in", "--from-beginning"];
    let more = ["--max-messages", "6", "--timeout-ms", "60000", "--property", "print.key=true"];
    let seen =
        stock::tool("4.1.0", "kafka-console-consumer", &[&arguments[..], &more].concat(), "").success();
    assert_eq!(seen, "k\tv0\nnull\tsecond\nk\tv1\nnull\tsecond\nk\tv2\nnull\tsecond\n");
}

#[test]
fn batches_of_magic_2_are_converted_down_for_old_fetches() {
    create_topic("old-out", &[]);
    let mut connection = BROKER.connect();
    assert_eq!(produce(&mut connection, 9, "old-out", Batch::of(&["a", "b"]).encode()), (0, 0, -1));
    assert_eq!(produce(&mut connection, 9, "old-out", Batch::of(&["c"]).encode()), (0, 2, -1));
    for (version, magic) in [(0, 0), (1, 0), (2, 1), (3, 1)] {
        let (error, records) = fetch(&mut connection, version, "old-out", 0);
        assert_eq!(
            (error, messages(&records)),
            (0, expected(magic, 0, &["a", "b", "c"])),
            "Fetch v{version}"
        );
    }
    // Converted from the middle of a batch: Kafka starts at the asked offset.
    let (error, records) = fetch(&mut connection, 2, "old-out", 1);
    let from_middle = messages(&records);
    assert_eq!(error, 0);
    assert!(from_middle.ends_with(&expected(1, 1, &["b", "c"])), "{from_middle:?}");
    let (_, records) = fetch(&mut connection, 4, "old-out", 0);
    assert_eq!(records[16], 2, "Fetch v4 gets batches as they are");
}

#[test]
fn a_message_with_a_wrong_checksum_is_refused() {
    create_topic("old-crc", &[]);
    let mut connection = BROKER.connect();
    for magic in [0, 1] {
        let mut set = message_set(magic, &[(None, Some("value"))]).to_vec();
        *set.last_mut().expect("a message") ^= 1;
        let (error, ..) = produce(&mut connection, if magic == 0 { 1 } else { 2 }, "old-crc", set.into());
        assert_eq!(error, 2, "CORRUPT_MESSAGE for magic {magic}");
    }
}

#[test]
fn log_append_time_is_told_to_magic_1_producers() {
    create_topic("old-append-time", &["--config", "message.timestamp.type=LogAppendTime"]);
    let mut connection = BROKER.connect();
    let before = support::records::now_ms();
    let (error, offset, time) =
        produce(&mut connection, 2, "old-append-time", message_set(1, &[(None, Some("value"))]));
    assert_eq!((error, offset), (0, 0));
    assert!((before..=support::records::now_ms()).contains(&time), "{time}");
}

#[test]
fn list_offsets_version_0_answers_a_list_of_offsets() {
    create_topic("old-offsets", &[]);
    let mut connection = BROKER.connect();
    assert_eq!(produce(&mut connection, 9, "old-offsets", Batch::of(&["a", "b", "c"]).encode()).0, 0);
    for (timestamp, offsets) in [(-1, vec![3, 0]), (-2, vec![0])] {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(0)
            .with_timestamp(timestamp)
            .with_max_num_offsets(5);
        let topic =
            ListOffsetsTopic::default().with_name(topic_name("old-offsets")).with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        let answer = connection.request(0, &request);
        let partition = &answer.topics[0].partitions[0];
        assert_eq!(
            (partition.error_code, &partition.old_style_offsets),
            (0, &offsets),
            "timestamp {timestamp}"
        );
    }
}

/// Kafka 0.10.2 is the last whose own producer writes magic 1; its consumer's Fetch v3 asks for magic 1.
#[test]
fn the_console_tools_of_0_10_2_exchange_records() {
    create_topic("from-0.10", &[]);
    let bootstrap = BROKER.bootstrap();
    let lines: String = ["none", "gzip", "snappy", "lz4"]
        .into_iter()
        .map(|codec| {
            let line = format!("{codec} from 0.10\n");
            let arguments =
                ["--broker-list", &bootstrap, "--topic", "from-0.10", "--compression-codec", codec];
            stock::tool("0.10.2.2", "kafka-console-producer", &arguments, &line).success();
            line
        })
        .collect();
    let arguments = ["--bootstrap-server", &bootstrap, "--topic", "from-0.10", "--from-beginning"];
    let arguments = [&arguments[..], &["--max-messages", "4", "--timeout-ms", "60000"]].concat();
    for version in ["0.10.2.2", "3.9.1"] {
        let arguments = if version == "0.10.2.2" {
            [&["--new-consumer"], &arguments[..]].concat()
        } else {
            arguments.clone()
        };
        let seen = stock::tool(version, "kafka-console-consumer", &arguments, "").success();
        assert_eq!(seen, lines, "{version}");
    }
}
