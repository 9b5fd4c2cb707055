//! Transactions.

use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    DescribeTransactionsRequest, InitProducerIdRequest, ListTransactionsRequest, ProducerId,
    TxnOffsetCommitRequest,
};

use super::Asker;
use crate::asking::{group, text, topic};
use crate::support::until;
use crate::transactions::{Producer, adding, adding_offsets, ending, init, name};

const ID: &str = "recorded";
/// No coordinator, none loaded, not here, not finished with the transaction before.
const NOT_YET: [i16; 4] = [14, 15, 16, 51];

/// The coordinator of an id, once it answers.
#[track_caller]
pub(super) fn loaded(asker: &mut Asker, id: &str) -> i32 {
    let coordinator = asker.coordinator(id, 1);
    asker.at(coordinator);
    let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![name(id)]);
    until("the coordinator's transactional ids", || {
        !NOT_YET.contains(&asker.prepare(0, &request).transaction_states[0].error_code)
    });
    coordinator
}

pub(super) fn ask(asker: &mut Asker) {
    asker.at(0);
    let here = loaded(asker, ID);
    let elsewhere = (here + 1) % 3;
    let producer = initialised(asker, here, elsewhere);
    partitions(asker, here, elsewhere, producer);
    ends(asker, here, elsewhere, producer);
    offsets(asker, here, producer);
    described(asker, here, elsewhere);
}

fn initialised(asker: &mut Asker, here: i32, elsewhere: i32) -> Producer {
    let timeout = |ms: i32| init(ID).with_transaction_timeout_ms(ms);
    let current = |request: InitProducerIdRequest, id: i64, epoch: i16| {
        request.with_producer_id(ProducerId(id)).with_producer_epoch(epoch)
    };
    asker.at(elsewhere).ask(4, "not the coordinator", &init(ID));
    asker.at(here);
    asker.ask(4, "empty transactional id", &init(""));
    let long = "transaction timeout above transaction.max.timeout.ms (900000)";
    asker.ask(4, long, &timeout(900_001));
    asker.ask(4, "transaction timeout 0", &timeout(0));
    // A block of ids has to be fetched first, which may be answered with an error that passes.
    let anonymous = init(ID).with_transactional_id(None);
    until("a block of producer ids", || asker.prepare(4, &anonymous).error_code == 0);
    let answer = asker.ask(4, "good", &init(ID)).expect("an answer");
    let (id, epoch) = (answer.producer_id.0, answer.producer_epoch);
    let wrong = current(init(ID), id, 9);
    asker.ask(4, "current producer id with a wrong epoch (9)", &wrong);
    let other = current(init(ID), id + 1000, 0);
    asker.ask(4, "other producer id than the current", &other);
    asker.ask(4, "producer id without epoch", &current(init(ID), id, -1));
    Producer { id, epoch }
}

fn partitions(asker: &mut Asker, here: i32, elsewhere: i32, producer: Producer) {
    let pt: &[(&str, &[i32])] = &[("pt", &[0])];
    let stranger = Producer { id: producer.id + 1000, ..producer };
    let stale = Producer { epoch: producer.epoch + 5, ..producer };
    asker.at(elsewhere).ask(3, "not the coordinator", &adding(ID, producer, pt));
    asker.at(here);
    asker.ask(3, "wrong producer id", &adding(ID, stranger, pt));
    asker.ask(3, "stale or wrong epoch", &adding(ID, stale, pt));
    asker.ask(3, "unknown topic", &adding(ID, producer, &[("nosuch", &[0])]));
    let both = adding(ID, producer, &[("pt", &[0]), ("nosuch", &[0])]);
    asker.ask(3, "a known and an unknown partition together", &both);
    asker.ask(3, "empty transactional id", &adding("", producer, pt));
    asker.ask(3, "nothing added yet (Empty)", &ending(ID, producer, true));
    asker.ask(3, "good", &adding(ID, producer, pt));
    loaded(asker, "nosuch");
    asker.ask(3, "unknown transactional id", &adding("nosuch", producer, pt));
}

fn ends(asker: &mut Asker, here: i32, elsewhere: i32, producer: Producer) {
    let stranger = Producer { id: producer.id + 1000, ..producer };
    let stale = Producer { epoch: producer.epoch + 5, ..producer };
    asker.at(elsewhere).ask(3, "not the coordinator", &ending(ID, producer, true));
    asker.at(here);
    asker.ask(3, "wrong producer id", &ending(ID, stranger, true));
    asker.ask(3, "wrong epoch", &ending(ID, stale, true));
    asker.ask(3, "good commit", &ending(ID, producer, true));
    until("the end of the transaction", || {
        let again = asker.prepare(3, &ending(ID, producer, true)).error_code;
        assert!([0, 51].contains(&again), "committing again: error {again}");
        again == 0
    });
    asker.ask(3, "abort after the commit", &ending(ID, producer, false));
    loaded(asker, "nosuch");
    asker.ask(3, "unknown transactional id", &ending("nosuch", producer, true));
}

fn offsets(asker: &mut Asker, here: i32, producer: Producer) {
    let offsets = adding_offsets("nosuch", producer, "recorded");
    loaded(asker, "nosuch");
    asker.ask(3, "unknown transactional id", &offsets);
    asker.at(here).ask(3, "empty group id", &adding_offsets(ID, producer, ""));

    // Not in the partition of the offsets topic that the empty group id has, which is in the transaction by now.
    let outside = "a";
    super::groups::loaded(asker, outside);
    let partition =
        TxnOffsetCommitRequestPartition::default().with_partition_index(0).with_committed_offset(1);
    let asked =
        TxnOffsetCommitRequestTopic::default().with_name(topic("pt")).with_partitions(vec![partition]);
    let commit = TxnOffsetCommitRequest::default()
        .with_transactional_id(name(ID))
        .with_group_id(group(outside))
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_generation_id(1)
        .with_member_id(text("stranger"))
        .with_topics(vec![asked]);
    asker.ask(3, "no transaction open (plus unknown member)", &commit);
}

fn described(asker: &mut Asker, here: i32, elsewhere: i32) {
    let of = |id: &str| DescribeTransactionsRequest::default().with_transactional_ids(vec![name(id)]);
    asker.at(elsewhere).ask(0, "not the coordinator", &of(ID));
    loaded(asker, "nosuch");
    asker.ask(0, "unknown transactional id", &of("nosuch"));
    let filter =
        ListTransactionsRequest::default().with_duration_filter(-1).with_state_filters(vec![text("Odd")]);
    asker.at(here).ask(1, "unknown state filter", &filter);
}
