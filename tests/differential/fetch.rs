//! Fetch, ListOffsets, OffsetForLeaderEpoch, DeleteRecords.

use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    BrokerId, DeleteRecordsRequest, FetchRequest, FetchResponse, ListOffsetsRequest,
    OffsetForLeaderEpochRequest,
};
use uuid::Uuid;

use crate::asking::{Conversation, NOBODY, batches, topic};
use crate::produce::{produce, producing};
use crate::support::records::{Batch, now_ms};

pub(crate) fn fetching(name: &str, id: Uuid, offset: i64) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(0)
        .with_fetch_offset(offset)
        .with_current_leader_epoch(-1)
        .with_last_fetched_epoch(-1)
        .with_partition_max_bytes(1 << 20);
    let asked =
        FetchTopic::default().with_topic(topic(name)).with_topic_id(id).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_replica_id(NOBODY)
        .with_max_wait_ms(200)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![asked])
}

pub(crate) fn shown(answer: &FetchResponse) -> String {
    let partitions = answer.responses.iter().flat_map(|topic| {
        topic.partitions.iter().map(move |partition| {
            let records = batches(&partition.records);
            let mut partition = partition.clone();
            partition.records = None;
            format!("{:?} {:?} {partition:?} {records}", topic.topic, topic.topic_id)
        })
    });
    let partitions: Vec<String> = partitions.collect();
    format!(
        "throttle {} error {} session {} {}",
        answer.throttle_time_ms,
        answer.error_code,
        answer.session_id != 0,
        partitions.join(" ")
    )
}

fn fetch(
    talk: &mut Conversation,
    question: &str,
    version: i16,
    request: &FetchRequest,
) -> Option<FetchResponse> {
    talk.ask_for(question, version, request, shown)
}

/// Three batches of two records; the id of the topic.
fn filled(talk: &mut Conversation, name: &str) -> Uuid {
    talk.create(name, &[]);
    for _ in 0..3 {
        talk.prepare(9, &producing(name, 0, -1, Some(Batch::of(&["one", "two"]).encode())));
    }
    talk.metadata(&[name]).topics[0].topic_id
}

pub(crate) fn versions(talk: &mut Conversation) {
    let id = filled(talk, "fetched");
    for version in 4..=17 {
        fetch(talk, "from the beginning", version, &fetching("fetched", id, 0));
        fetch(talk, "from the middle of a batch", version, &fetching("fetched", id, 3));
        fetch(talk, "from the end", version, &fetching("fetched", id, 6));
        let mut committed = fetching("fetched", id, 0);
        committed.isolation_level = 1;
        fetch(talk, "read committed", version, &committed);
    }
}

pub(crate) fn refusals(talk: &mut Conversation) {
    let id = filled(talk, "fetch-refused");
    for version in [4, 9, 12] {
        fetch(talk, "an unknown topic", version, &fetching("nosuch", id, 0));
        let mut partition = fetching("fetch-refused", id, 0);
        partition.topics[0].partitions[0].partition = 7;
        fetch(talk, "an unknown partition", version, &partition);
        fetch(talk, "an offset above the end", version, &fetching("fetch-refused", id, 7));
        fetch(talk, "a negative offset", version, &fetching("fetch-refused", id, -1));
    }
    for version in [13, 15, 17] {
        fetch(talk, "an unknown topic id", version, &fetching("", Uuid::from_u128(42), 0));
        fetch(talk, "the zero topic id", version, &fetching("", Uuid::nil(), 0));
        fetch(talk, "an offset above the end", version, &fetching("", id, 7));
    }
    let mut epoch = fetching("fetch-refused", id, 0);
    epoch.topics[0].partitions[0].current_leader_epoch = 5;
    fetch(talk, "a leader epoch newer than the broker's", 12, &epoch);
    epoch.topics[0].partitions[0].current_leader_epoch = 0;
    fetch(talk, "the right leader epoch", 12, &epoch);
    let mut replica = fetching("fetch-refused", id, 0);
    replica.replica_id = BrokerId(2);
    fetch(talk, "a replica that is none", 12, &replica);
    let mut twice = fetching("fetch-refused", id, 0);
    twice.topics.push(twice.topics[0].clone());
    fetch(talk, "the same topic twice", 12, &twice);
    let mut nothing = fetching("fetch-refused", id, 0);
    nothing.topics.clear();
    fetch(talk, "nothing", 12, &nothing);
}

pub(crate) fn sizes(talk: &mut Conversation) {
    talk.create("sized", &[]);
    for _ in 0..5 {
        produce(talk, "a kilobyte", 9, "sized", &Batch::of(&[&"x".repeat(1000)]));
    }
    let id = talk.metadata(&["sized"]).topics[0].topic_id;
    for (partition_max, max) in
        [(1, 1), (0, 0), (1500, 1 << 20), (2500, 1 << 20), (1 << 20, 2500), (-1, -1), (1 << 20, 0)]
    {
        let mut request = fetching("sized", id, 0);
        request.max_bytes = max;
        request.topics[0].partitions[0].partition_max_bytes = partition_max;
        for version in [4, 12] {
            fetch(talk, &format!("at most {partition_max} a partition, {max} in all"), version, &request);
        }
        fetch(talk, &format!("at most {partition_max} a partition, before v3"), 3, &{
            // Old formats are converted: only the codes are compared here, tests/old_clients.rs reads the records.
            let mut request = request.clone();
            request.topics[0].partitions[0].fetch_offset = 5;
            request
        });
    }
    let mut patient = fetching("sized", id, 5);
    patient.min_bytes = 1 << 20;
    patient.max_wait_ms = 100;
    fetch(talk, "more than there is, after the wait", 12, &patient);
    patient.max_wait_ms = 0;
    fetch(talk, "more than there is, at once", 12, &patient);
}

pub(crate) fn sessions(talk: &mut Conversation) {
    let id = filled(talk, "session");
    let with = |session: i32, epoch: i32, offset: i64| {
        let mut request = fetching("session", id, offset);
        (request.session_id, request.session_epoch) = (session, epoch);
        request
    };
    for version in [7, 12, 13, 17] {
        fetch(talk, "an unknown session", version, &with(123_456, 1, 0));
        fetch(talk, "session 0 with an epoch", version, &with(0, 5, 0));
        let Some(opened) = fetch(talk, "a new session", version, &with(0, 0, 0)) else { continue };
        let session = opened.session_id;
        let empty = |epoch| {
            let mut request = with(session, epoch, 0);
            request.topics.clear();
            request
        };
        fetch(talk, "nothing new to ask, the same again", version, &empty(1));
        fetch(talk, "moved to the end", version, &with(session, 2, 6));
        fetch(talk, "nothing new at the end", version, &empty(3));
        talk.prepare(9, &producing("session", 0, -1, Some(Batch::of(&["more"]).encode())));
        fetch(talk, "something new at the end", version, &empty(4));
        fetch(talk, "a wrong epoch", version, &empty(9));
        let mut forgetting = empty(5);
        forgetting.forgotten_topics_data = vec![
            ForgottenTopic::default().with_topic(topic("session")).with_topic_id(id).with_partitions(vec![0]),
        ];
        fetch(talk, "forgetting the only partition", version, &forgetting);
        fetch(talk, "the end of the session", version, &with(session, -1, 0));
        fetch(talk, "after its end", version, &empty(6));
    }
}

pub(crate) fn listing(name: &str, partition: i32, timestamp: i64) -> ListOffsetsRequest {
    let partition = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_current_leader_epoch(-1)
        .with_timestamp(timestamp);
    let asked = ListOffsetsTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
    ListOffsetsRequest::default().with_replica_id(NOBODY).with_topics(vec![asked])
}

pub(crate) fn offsets(talk: &mut Conversation) {
    talk.create("dated", &[]);
    let start = now_ms() - 10_000;
    for (number, values) in [&["a", "b"][..], &["c"], &["d", "e", "f"]].into_iter().enumerate() {
        let batch = Batch { base_timestamp: start + 1000 * number as i64, ..Batch::of(values) };
        produce(talk, "a dated batch", 9, "dated", &batch);
    }
    talk.create("dateless", &[]);
    let times = [
        ("latest", -1),
        ("earliest", -2),
        ("of the largest timestamp", -3),
        ("earliest local", -4),
        ("latest tiered", -5),
        ("an undefined question", -9),
        ("of the first batch", start),
        ("between the first and the second", start + 500),
        ("of the last batch", start + 2000),
        ("after everything", start + 60_000),
        ("of time 0", 0),
    ];
    for version in 0..=9 {
        for (question, timestamp) in times {
            talk.ask(question, version, &listing("dated", 0, timestamp));
            if timestamp < 0 {
                talk.ask(
                    &format!("{question}, of an empty partition"),
                    version,
                    &listing("dateless", 0, timestamp),
                );
            }
        }
        talk.ask("of an unknown topic", version, &listing("nosuch", 0, -1));
        talk.ask("of an unknown partition", version, &listing("dated", 7, -1));
    }
    let mut epoch = listing("dated", 0, -1);
    epoch.topics[0].partitions[0].current_leader_epoch = 5;
    talk.ask("with a leader epoch newer than the broker's", 7, &epoch);
    let mut twice = listing("dated", 0, -1);
    let again = twice.topics[0].partitions[0].clone();
    twice.topics[0].partitions.push(again);
    talk.ask("of the same partition twice", 7, &twice);
    let mut committed = listing("dated", 0, -1);
    committed.isolation_level = 1;
    talk.ask("latest committed", 7, &committed);
    let mut replica = listing("dated", 0, -1);
    replica.replica_id = BrokerId(3);
    talk.ask("for a replica that is none", 7, &replica);
}

/// Where `epoch` ended, asked by one who takes `current` for the leader's epoch.
pub(crate) fn epoch_of(name: &str, partition: i32, current: i32, epoch: i32) -> OffsetForLeaderEpochRequest {
    let partition = OffsetForLeaderPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(current)
        .with_leader_epoch(epoch);
    let asked = OffsetForLeaderTopic::default().with_topic(topic(name)).with_partitions(vec![partition]);
    OffsetForLeaderEpochRequest::default().with_replica_id(NOBODY).with_topics(vec![asked])
}

pub(crate) fn epochs(talk: &mut Conversation) {
    filled(talk, "epochs");
    for version in 0..=4 {
        talk.ask("the first epoch", version, &epoch_of("epochs", 0, -1, 0));
        talk.ask("an epoch to come", version, &epoch_of("epochs", 0, -1, 7));
        talk.ask("an undefined epoch", version, &epoch_of("epochs", 0, -1, -1));
        talk.ask("an unknown partition", version, &epoch_of("epochs", 7, -1, 0));
        talk.ask("an unknown topic", version, &epoch_of("nosuch", 0, -1, 0));
    }
    talk.ask("with a leader epoch newer than the broker's", 4, &epoch_of("epochs", 0, 5, 0));
}

pub(crate) fn deleting(name: &str, partition: i32, offset: i64) -> DeleteRecordsRequest {
    let partition = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
    let asked = DeleteRecordsTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
    DeleteRecordsRequest::default().with_topics(vec![asked]).with_timeout_ms(10_000)
}

pub(crate) fn deleted_records(talk: &mut Conversation) {
    let id = filled(talk, "shortened");
    for version in 0..=2 {
        talk.ask("up to an offset", version, &deleting("shortened", 0, i64::from(version) + 1));
    }
    fetch(talk, "below the log start", 12, &fetching("shortened", id, 0));
    fetch(talk, "at the log start", 12, &fetching("shortened", id, 3));
    talk.ask("earliest after a deletion", 7, &listing("shortened", 0, -2));
    talk.ask("up to an offset already gone", 2, &deleting("shortened", 0, 1));
    talk.ask("above the high watermark", 2, &deleting("shortened", 0, 100));
    talk.ask("a negative offset", 2, &deleting("shortened", 0, -7));
    talk.ask("up to the high watermark", 2, &deleting("shortened", 0, -1));
    talk.ask("earliest of an emptied partition", 7, &listing("shortened", 0, -2));
    talk.ask("of an unknown topic", 2, &deleting("nosuch", 0, 1));
    talk.ask("of an unknown partition", 2, &deleting("shortened", 7, 1));
    talk.create("kept-by-key", &[("cleanup.policy", "compact")]);
    talk.ask("of a compacted topic", 2, &deleting("kept-by-key", 0, 0));
}
