//! The same requests to Apache Kafka 3.9.1 and to us, the same answers: given now, or written down earlier (`recorded`).
//!
//! Each conversation is written once and held with both; every answer is compared field by field.
//! What cannot be equal (ids, times, ports) is hidden behind a name; what may differ stands in
//! `ALLOWED`, with its reason, and leaves that list as soon as it no longer differs.
//! `ODRADEK_TRANSCRIPT=1` with `--nocapture` prints what Apache answers.

mod support;

#[path = "differential/asking.rs"]
mod asking;
#[path = "differential/configs.rs"]
mod configs;
#[path = "differential/controller.rs"]
mod controller;
#[path = "differential/dynamic.rs"]
mod dynamic;
#[path = "differential/fetch.rs"]
mod fetch;
#[path = "differential/groups.rs"]
mod groups;
#[path = "differential/produce.rs"]
mod produce;
#[path = "differential/quotas.rs"]
mod quotas;
#[path = "differential/recorded/mod.rs"]
mod recorded;
#[path = "differential/security.rs"]
mod security;
#[path = "differential/topics.rs"]
mod topics;
#[path = "differential/transactions.rs"]
mod transactions;

use std::sync::{LazyLock, PoisonError, RwLock};

use asking::Conversation;
use support::seat::{Broker, Kind, kind};

static APACHE: LazyLock<Broker> = LazyLock::new(|| Broker::start_with(Kind::Apache, SETTINGS));
/// Ours; with `ODRADEK_SEAT=apache` a second Apache, which shows that a conversation can be compared at all.
static OURS: LazyLock<Broker> = LazyLock::new(|| Broker::start_with(kind(), SETTINGS));

const SETTINGS: &[(&str, &str)] = &[];

/// Written to by who alters configs of whole brokers: that shows in the answers to everybody else.
static BROKER_CONFIGS: RwLock<()> = RwLock::new(());

/// What may differ, by the name of the question, and why.
const ALLOWED: &[(&str, &str)] = &[
    (
        "at most -1 a partition, -1 in all (v4)",
        "a negative size is a Java exception there; to us it is no room",
    ),
    (
        "at most -1 a partition, -1 in all (v12)",
        "a negative size is a Java exception there; to us it is no room",
    ),
    (
        r#"[("log.cleaner.min.compaction.lag.ms", "5"), ("log.cleaner.max.compaction.lag.ms", "4")] for this broker (v1)"#,
        "taken there while it runs, and refused at the next start; here refused at once",
    ),
    (
        r#"[("log.cleaner.min.compaction.lag.ms", "5"), ("log.cleaner.max.compaction.lag.ms", "4")] for all brokers (v1)"#,
        "taken there while it runs, and refused at the next start; here refused at once",
    ),
];

/// Holds each of `talks` with both and compares what was answered to each question.
#[track_caller]
fn same_answers(talks: &[fn(&mut Conversation)]) {
    let _unaltered = BROKER_CONFIGS.read().unwrap_or_else(PoisonError::into_inner);
    compare(talks);
}

#[track_caller]
fn compare(talks: &[fn(&mut Conversation)]) {
    let answers = asking::answers_of_both(&APACHE, &OURS, talks);
    let breaches = answers.iter().filter_map(|answer| {
        let allowed = ALLOWED.iter().any(|(name, _)| *name == answer.question);
        match answer.differs() {
            true if !allowed => Some(answer.to_string()),
            false if allowed && kind() == Kind::Ours => {
                Some(format!("{}: no longer differs; take it off the list", answer.question))
            }
            _ => None,
        }
    });
    asking::assert_none(breaches, answers.len());
}

#[test]
fn what_three_of_apaches_brokers_answered_once_is_answered_still() {
    recorded::same_answers_as_recorded(kind());
}

#[test]
fn api_versions_are_told_in_every_version() {
    same_answers(&[topics::api_versions]);
}

#[test]
fn metadata_is_told_in_every_version() {
    same_answers(&[topics::metadata]);
}

#[test]
fn topics_are_created_refused_grown_and_deleted() {
    same_answers(&[topics::creation, topics::partitions, topics::deletion]);
}

#[test]
fn the_cluster_and_its_log_directories_are_described() {
    same_answers(&[topics::cluster]);
}

#[test]
fn the_controllers_word_is_taken_and_refused() {
    same_answers(&[
        controller::orders,
        controller::removals,
        controller::announcements,
        controller::questions,
        controller::features,
    ]);
}

#[test]
fn records_are_accepted_and_refused() {
    same_answers(&[produce::versions, produce::refusals, produce::batches, produce::topic_rules]);
}

#[test]
fn idempotent_producers_are_checked() {
    same_answers(&[produce::idempotence]);
}

#[test]
fn records_are_fetched() {
    same_answers(&[fetch::versions, fetch::refusals, fetch::sizes, fetch::sessions]);
}

#[test]
fn offsets_are_looked_up() {
    same_answers(&[fetch::offsets, fetch::epochs, fetch::deleted_records]);
}

#[test]
fn groups_are_joined_synchronised_and_left() {
    same_answers(&[groups::coordinators, groups::membership, groups::static_membership]);
}

#[test]
fn offsets_are_committed_and_fetched_in_every_version() {
    same_answers(&[groups::offsets, groups::offsets_in_zookeeper, groups::deletion]);
}

#[test]
fn transactional_ids_are_taken_over_and_their_producers_fenced() {
    same_answers(&[transactions::producer_ids, transactions::fencing]);
}

#[test]
fn transactions_take_partitions_records_and_offsets() {
    same_answers(&[transactions::partitions, transactions::records, transactions::offsets]);
}

#[test]
fn transactions_end_and_are_described() {
    same_answers(&[transactions::outcomes, transactions::markers, transactions::listing]);
}

#[test]
fn quotas_are_set_described_removed_and_refused() {
    same_answers(&[quotas::entities, quotas::refusals]);
}

#[test]
fn who_takes_more_than_its_quota_is_told_how_long_to_wait() {
    let _altering = BROKER_CONFIGS.write().unwrap_or_else(PoisonError::into_inner);
    compare(&[quotas::waits, quotas::changes]);
}

#[test]
fn configs_are_described_key_by_key_altered_and_refused() {
    let _altering = BROKER_CONFIGS.write().unwrap_or_else(PoisonError::into_inner);
    compare(&[configs::of_topics, configs::of_the_broker, configs::altered, configs::replaced]);
}

#[test]
fn who_asks_a_broker_without_security_for_it_is_refused_in_kafkas_words() {
    same_answers(&[security::logins, security::acls, security::tokens]);
}

#[test]
fn scram_credentials_are_kept_for_those_who_have_logins() {
    same_answers(&[security::credentials]);
}

#[test]
fn every_key_of_a_broker_is_taken_or_refused_as_a_dynamic_config() {
    let _altering = BROKER_CONFIGS.write().unwrap_or_else(PoisonError::into_inner);
    compare(&[dynamic::every_key, dynamic::listeners]);
}
