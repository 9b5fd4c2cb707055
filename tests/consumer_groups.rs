//! Groups of the new protocol (KIP-848): the same conversations, plans and tools as with Apache Kafka 3.9.1.
//!
//! Apache serves them in KRaft mode only, so that is what stands beside ours; `ODRADEK_SEAT=apache` puts a second one
//! in our place.

mod support;

#[path = "differential/asking.rs"]
#[allow(dead_code, reason = "the conversations of `differential` use the rest of it")]
mod asking;
#[path = "consumer_groups/conversations.rs"]
mod conversations;
#[path = "consumer_groups/plans.rs"]
mod plans;
#[path = "consumer_groups/records.rs"]
mod records;
#[path = "consumer_groups/takeover.rs"]
mod takeover;
#[path = "consumer_groups/timeouts.rs"]
mod timeouts;
#[path = "consumer_groups/tools.rs"]
mod tools;

use std::sync::LazyLock;

use asking::Conversation;
use support::seat::{Broker, Kind, kind};

const SETTINGS: &[(&str, &str)] = &[
    ("group.coordinator.rebalance.protocols", "classic,consumer"),
    ("group.consumer.migration.policy", "bidirectional"),
    ("group.consumer.min.session.timeout.ms", "1000"),
    ("group.consumer.max.session.timeout.ms", "600000"),
    ("group.consumer.session.timeout.ms", "300000"),
];

static APACHE: LazyLock<Broker> = LazyLock::new(|| Broker::start_with(Kind::Kraft, SETTINGS));
static OURS: LazyLock<Broker> = LazyLock::new(|| Broker::start_with(seat(), SETTINGS));

/// Who is asked: ours, or Apache where it has this protocol.
fn seat() -> Kind {
    match kind() {
        Kind::Ours => Kind::Ours,
        _ => Kind::Kraft,
    }
}

/// Holds the conversation with both and compares what was answered to each question.
#[track_caller]
fn same_answers(talk: fn(&mut Conversation)) {
    let answers = asking::answers_of_both(&APACHE, &OURS, &[talk]);
    asking::assert_none(
        answers.iter().filter(|answer| answer.differs()).map(ToString::to_string),
        answers.len(),
    );
}

#[test]
fn members_come_reconcile_and_go_with_the_same_answers() {
    same_answers(conversations::members);
}

#[test]
fn what_makes_no_sense_is_refused_with_the_same_codes() {
    same_answers(conversations::refusals);
}

#[test]
fn static_members_keep_their_place_with_the_same_answers() {
    same_answers(conversations::static_members);
}

#[test]
fn offsets_and_administration_know_member_epochs() {
    same_answers(conversations::offsets);
}

#[test]
fn groups_change_their_protocol_with_the_same_answers() {
    same_answers(conversations::migration);
}

#[test]
fn plans_are_those_of_kafkas_own_assignors() {
    plans::compare();
}

#[test]
fn who_is_silent_or_holds_on_loses_its_partitions_when_its_time_is_over() {
    timeouts::sessions_and_rebalances();
}

#[test]
fn console_consumers_share_a_topic_and_outlive_each_other_and_the_broker() {
    tools::consumers();
}

#[test]
fn a_group_outlives_the_time_its_coordinator_is_apaches_on_zookeeper() {
    takeover::there_and_back();
}
