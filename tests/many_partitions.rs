//! What we promise about many partitions: each costs little memory and, while nobody uses it, neither a descriptor nor a
//! mapping, so that 30,000 fit on one broker with the limits as distributions have them.

mod support;

use std::collections::BTreeMap;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{CreateTopicsRequest, MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use support::process::PATIENCE;
use support::records::Batch;
use support::seat::Broker;
use support::wire::Connection;
use support::{talk, until};

const TOPICS: usize = 30;
const PARTITIONS: i32 = 100;

/// Descriptors of the process. Of them half may be record files.
const DESCRIPTORS: u64 = 1024;

/// What a partition that nobody uses may take, wherever it is kept: the replica, the metadata, the controller's and the
/// embedded coordinator's view of it. 30,000 of them stay far below 500 MB. Unit: bytes.
const MEMORY_OF_ONE: u64 = 8_000;
/// What the threads that made or opened them leave behind, however many there are. Unit: bytes.
const MEMORY_OF_WORK: u64 = 40 << 20;

fn name(topic: usize) -> String {
    format!("topic-{topic:03}")
}

fn create(connection: &mut Connection) {
    connection.patience(PATIENCE);
    let topic = |number: usize| {
        CreatableTopic::default()
            .with_name(TopicName(StrBytes::from_string(name(number))))
            .with_num_partitions(PARTITIONS)
            .with_replication_factor(1)
    };
    let request =
        CreateTopicsRequest::default().with_topics((0..TOPICS).map(topic).collect()).with_timeout_ms(120_000);
    for created in connection.request(5, &request).topics {
        assert_eq!(created.error_code, 0, "{:?}", created.error_message);
    }
}

/// Waits until every partition has a leader that serves it.
fn wait_for_leaders(broker: &Broker) {
    let mut connection = broker.connect();
    until("leaders everywhere", || {
        let answer = connection.request(9, &MetadataRequest::default().with_topics(None));
        let led: BTreeMap<String, usize> = answer
            .topics
            .iter()
            .map(|topic| {
                let led = topic.partitions.iter().filter(|partition| partition.error_code == 0);
                (topic.name.as_ref().map(|name| name.to_string()).unwrap_or_default(), led.count())
            })
            .collect();
        (0..TOPICS).all(|topic| led.get(&name(topic)).is_some_and(|led| *led == PARTITIONS as usize))
    });
    for topic in 0..TOPICS {
        talk::end_offset(&mut connection, &name(topic), PARTITIONS - 1);
    }
}

/// What the broker needs now, beside what it needed without partitions.
fn assert_frugal(broker: &Broker, memory_before: u64, when: &str) {
    let count = TOPICS as u64 * PARTITIONS as u64;
    let memory = broker.resident_bytes().saturating_sub(memory_before);
    assert!(memory < count * MEMORY_OF_ONE + MEMORY_OF_WORK, "{when}: {memory} bytes for {count} partitions");
    let (open, mapped) = broker.open_files_and_mappings();
    assert!(open < 100 && mapped < 600, "{when}: {open} descriptors, {mapped} mappings");
}

#[test]
fn three_thousand_partitions_take_little_memory_and_few_descriptors() {
    let mut broker = Broker::start_with_descriptors(DESCRIPTORS, &[]);
    let before = broker.resident_bytes();
    create(&mut broker.connect());
    wait_for_leaders(&broker);
    assert_frugal(&broker, before, "after they were made");

    broker.stop();
    broker.restart();
    wait_for_leaders(&broker);
    assert_frugal(&broker, before, "after a clean stop");
    let log = broker.whole_log();
    assert!(log.contains("ulimit -n is 1024: 512 of the 3000 partitions"), "{log}");

    let mut connection = broker.connect();
    let batch = Batch::of(&["v"]).encode();
    let used = || (0..TOPICS).flat_map(|topic| (0..PARTITIONS / 3).map(move |partition| (topic, partition)));
    for (topic, partition) in used() {
        until("the topic to be known", || {
            match talk::produce(&mut connection, &name(topic), partition, &batch, 1) {
                (0, offset) => offset == 0,
                (error, _) => {
                    assert!(matches!(error, 3 | 5 | 6), "refused with {error}");
                    false
                }
            }
        });
    }
    let (open, mapped) = broker.open_files_and_mappings();
    assert!(
        open < DESCRIPTORS as usize - 400,
        "files that were written are let go of: {open}, {mapped} mappings"
    );

    broker.kill();
    broker.restart();
    wait_for_leaders(&broker);
    assert_frugal(&broker, before, "after a kill");
    let mut connection = broker.connect();
    for (topic, partition) in used() {
        assert_eq!(talk::fetch(&mut connection, &name(topic), partition, 0).1.len(), batch.len());
    }
    let (open, mapped) = broker.open_files_and_mappings();
    assert!(open < DESCRIPTORS as usize - 400 && mapped < 2000, "{open} descriptors, {mapped} mappings");
}
