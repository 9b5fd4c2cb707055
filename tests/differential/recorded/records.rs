//! Produce, Fetch, ListOffsets, DeleteRecords, OffsetForLeaderEpoch.

use bytes::Bytes;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    BrokerId, FetchRequest, InitProducerIdRequest, MetadataRequest, TransactionalId,
};
use uuid::Uuid;

use super::Asker;
use crate::asking::{text, topic};
use crate::fetch::{deleting, epoch_of, fetching, listing};
use crate::produce::producing;
use crate::support::records::{Batch, message_set};
use crate::support::requests::metadata;
use crate::topics::{creating, with_config};

/// The leader of `pt`, its follower, and who has no replica of it.
const LEADER: i32 = 1;
const FOLLOWER: i32 = 2;
const STRANGER: i32 = 0;

pub(super) fn ask(asker: &mut Asker) {
    produced(asker);
    idempotence(asker);
    fetched(asker);
    offsets(asker);
    deleted_and_epochs(asker);
}

fn leader_of(asker: &mut Asker, name: &str) -> i32 {
    let answer = metadata(asker.connection(), name).expect("metadata");
    answer.topics[0].partitions[0].leader_id.0
}

fn produced(asker: &mut Asker) {
    let good = Some(Batch::of(&["good"]).encode());
    let to = |name: &str, partition: i32, acks: i16| producing(name, partition, acks, good.clone());
    let with = |records: Bytes| producing("pt", 0, 1, Some(records));
    asker.at(FOLLOWER).ask(9, "to a follower", &to("pt", 0, 1));
    asker.at(STRANGER).ask(9, "to a broker without a replica", &to("pt", 0, 1));
    asker.at(LEADER);
    asker.ask(9, "good record, acks=1", &to("pt", 0, 1));
    asker.ask(3, "good record, acks=-1, v3", &to("pt", 0, -1));
    asker.ask(11, "good record v11", &to("pt", 0, 1));
    asker.ask(9, "unknown topic", &to("nosuch", 0, 1));
    asker.ask(9, "unknown partition of a known topic", &to("pt", 7, 1));
    asker.ask(9, "acks=2", &to("pt", 0, 2));
    asker.ask(9, "invalid topic name", &to("a b", 0, 1));
    asker.ask(9, "batch larger than message.max.bytes", &with(Batch::of(&[&"x".repeat(1_100_000)]).encode()));
    asker.ask(9, "bad CRC", &with(Batch { crc: Some(1), ..Batch::of(&["bad"]) }.encode()));
    asker.ask(9, "magic 1 records in v9", &with(message_set(1, &[(None, Some("v"))])));
    asker.ask(2, "magic 1 records in v2", &with(message_set(1, &[(None, Some("v"))])));
    let pair = [Batch::of(&["first"]).encode(), Batch::of(&["second"]).encode()].concat();
    asker.ask(9, "two batches for one partition", &with(pair.into()));
    asker.ask(9, "empty record set", &with(Bytes::new()));
    asker.ask_in_vain(9, "null records", &producing("pt", 0, 1, None));
    let zstd = Batch { attributes: 4, ..Batch::of(&["not really zstd"]) };
    asker.ask(6, "zstd batch in v6 (zstd needs v7)", &with(zstd.encode()));

    asker.controller();
    let insured = with_config("insured", "min.insync.replicas", Some("3"));
    let strict = with_config("strict", "message.timestamp.before.max.ms", Some("1000"));
    asker.prepare(7, &creating(vec![insured, strict]));
    for name in ["insured", "strict"] {
        asker.wait_for_topic(name);
    }
    let leader = leader_of(asker, "cmpt");
    asker.at(leader).ask(9, "compacted topic, record without key", &to("cmpt", 0, 1));
    let leader = leader_of(asker, "insured");
    asker.at(leader);
    asker.ask(9, "acks=-1, topic has RF 1 and min.insync.replicas=3", &to("insured", 0, -1));
    asker.ask(9, "acks=1, topic has RF 1 and min.insync.replicas=3", &to("insured", 0, 1));
    let leader = leader_of(asker, "strict");
    let old = Batch { base_timestamp: 1000, ..Batch::of(&["old"]) }.encode();
    asker.at(leader).ask(
        9,
        "timestamp older than message.timestamp.before.max.ms allows",
        &producing("strict", 0, 1, Some(old)),
    );
    let coordinator = asker.coordinator("any", 0);
    // A coordinator leads one of its partitions; any leader gives the same answer.
    let known = metadata(asker.connection(), "__consumer_offsets").expect("metadata");
    let led = known.topics[0].partitions.iter().find(|one| one.leader_id.0 == coordinator);
    let partition = led.expect("a partition of the coordinator").partition_index;
    asker.at(coordinator).ask(
        9,
        "to __consumer_offsets with client id not __admin_client",
        &to("__consumer_offsets", partition, 1),
    );
}

fn idempotence(asker: &mut Asker) {
    asker.at(LEADER);
    let anonymous =
        InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
    // The first ask fetches a block of ids, and may say so with an error that passes.
    crate::support::until("a block of producer ids", || asker.prepare(4, &anonymous).error_code == 0);
    let answer = asker.ask(4, "no transactional id", &anonymous).expect("an answer");
    let id = answer.producer_id.0;
    let of = |epoch: i16, sequence: i32, acks: i16| {
        producing("pt", 0, acks, Some(Batch::of(&["once"]).by_producer(id, epoch, sequence).encode()))
    };
    asker.ask(9, "idempotent, first batch of a producer with sequence 5", &of(0, 5, -1));
    asker.ask(9, "idempotent, sequence 6 after 5", &of(0, 6, -1));
    asker.ask(9, "idempotent, sequence gap (9 after 6)", &of(0, 9, -1));
    asker.ask(9, "idempotent, same sequence again (6), still cached", &of(0, 6, -1));
    for sequence in 7..13 {
        asker.prepare(9, &of(0, sequence, -1));
    }
    asker.ask(9, "idempotent, old sequence no longer among the 5 cached batches", &of(0, 5, -1));
    asker.ask(9, "idempotent, new epoch but sequence not 0", &of(1, 3, -1));
    asker.ask(9, "idempotent, epoch 1 sequence 0", &of(1, 0, -1));
    asker.ask(9, "idempotent, stale epoch 0 after 1", &of(0, 13, -1));
    asker.ask(9, "idempotent with acks=1", &of(1, 1, 1));
    let batch = Batch { attributes: 0x10, ..Batch::of(&["never"]).by_producer(id, 1, 2) };
    let transactional = producing("pt", 0, -1, Some(batch.encode()));
    super::transactions::loaded(asker, "nobody");
    asker.at(LEADER);
    let named = transactional.clone().with_transactional_id(Some(TransactionalId(text("nobody"))));
    asker.ask(9, "transactional batch, partition not added to a transaction", &named);
    asker.ask(9, "transactional batch but request without transactional id", &transactional);
}

fn fetched(asker: &mut Asker) {
    let id = id_of(asker, "pt");
    let of = |offset: i64| fetching("pt", Uuid::nil(), offset).with_max_wait_ms(0);
    let by_id = |id: Uuid| fetching("", id, 0).with_max_wait_ms(0);
    let changed = |change: &dyn Fn(&mut FetchRequest)| {
        let mut request = of(0);
        change(&mut request);
        request
    };
    asker.at(FOLLOWER);
    asker.ask(12, "from a follower replica (allowed since KIP-392)", &of(0));
    asker.ask(10, "consumer fetch v10 from a follower", &of(0));
    asker.at(STRANGER).ask(12, "from a broker without a replica", &of(0));
    asker.at(LEADER);
    asker.ask(12, "good, by name", &of(0));
    asker.ask(17, "good, by topic id", &by_id(id));
    asker.ask(12, "unknown topic name", &fetching("nosuch", Uuid::nil(), 0).with_max_wait_ms(0));
    asker.ask(15, "unknown topic id", &by_id(Uuid::from_u128(42)));
    asker.ask(15, "zero topic id", &by_id(Uuid::nil()));
    asker.ask(12, "unknown partition", &changed(&|request| request.topics[0].partitions[0].partition = 7));
    asker.ask(12, "offset above the log end", &of(1_000_000));
    asker.ask(12, "offset -1", &of(-1));
    let newer = changed(&|request| request.topics[0].partitions[0].current_leader_epoch = 99);
    asker.ask(12, "current leader epoch newer than the broker's", &newer);
    let session = changed(&|request| (request.session_id, request.session_epoch) = (77, 5));
    asker.ask(12, "unknown fetch session id", &session);
    asker.ask(12, "session id 0, epoch 5", &changed(&|request| request.session_epoch = 5));
    // Of `pt` broker 2 is a replica; of a topic on one broker every other is none.
    let leader = leader_of(asker, "insured");
    let replica = fetching("insured", Uuid::nil(), 0).with_replica_id(BrokerId((leader + 1) % 3));
    asker.at(leader).ask(12, "replica id 2 that is not a replica", &replica.with_max_wait_ms(0));
}

fn id_of(asker: &mut Asker, name: &str) -> Uuid {
    let asked = MetadataRequestTopic::default().with_name(Some(topic(name)));
    let request = MetadataRequest::default().with_topics(Some(vec![asked]));
    asker.prepare(12, &request).topics[0].topic_id
}

fn offsets(asker: &mut Asker) {
    asker.at(FOLLOWER).ask(7, "on a follower", &listing("pt", 0, -1));
    asker.at(STRANGER).ask(7, "broker without a replica", &listing("pt", 0, -1));
    asker.at(LEADER);
    asker.ask(7, "latest", &listing("pt", 0, -1));
    asker.ask(7, "unknown topic", &listing("nosuch", 0, -1));
    asker.ask(7, "unknown partition", &listing("pt", 7, -1));
    asker.ask(7, "timestamp -9 (undefined)", &listing("pt", 0, -9));
    asker.ask(7, "timestamp -3 (max timestamp)", &listing("pt", 0, -3));
    asker.ask(6, "timestamp -3 in v6 (needs v7)", &listing("pt", 0, -3));
    asker.ask(8, "timestamp -4 (earliest local) v8", &listing("pt", 0, -4));
    asker.ask(9, "timestamp -5 (latest tiered) v9, no remote storage", &listing("pt", 0, -5));
    asker.ask(7, "timestamp in the future", &listing("pt", 0, i64::MAX / 2));
    let mut newer = listing("pt", 0, -1);
    newer.topics[0].partitions[0].current_leader_epoch = 99;
    asker.ask(7, "leader epoch newer than the broker's", &newer);
    let mut twice = listing("pt", 0, -1);
    let again = twice.topics[0].partitions[0].clone();
    twice.topics[0].partitions.push(again);
    asker.ask(7, "same partition twice", &twice);
}

fn deleted_and_epochs(asker: &mut Asker) {
    asker.at(FOLLOWER);
    asker.ask(2, "follower", &deleting("pt", 0, 1));
    asker.ask(4, "follower", &epoch_of("pt", 0, -1, 0));
    asker.at(LEADER);
    asker.ask(2, "unknown topic", &deleting("nosuch", 0, 1));
    asker.ask(2, "offset above high watermark", &deleting("pt", 0, 1_000_000));
    asker.ask(4, "current leader epoch too new", &epoch_of("pt", 0, 99, 0));
    asker.ask(4, "asked epoch unknown (offset -1 in answer)", &epoch_of("pt", 0, -1, 99));
    let leader = leader_of(asker, "cmpt");
    asker.at(leader).ask(2, "compacted topic", &deleting("cmpt", 0, 0));
}
