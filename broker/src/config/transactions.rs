//! What `server.properties` says of transactions.

use std::time::Duration;

use super::settings::Settings;

#[derive(Clone, Debug)]
pub(crate) struct Transactions {
    /// The longest timeout a producer may ask for. Default: 15 min.
    pub(crate) timeout_max: Duration,
    /// How often transactions that are open for too long are looked for.
    pub(crate) abort_interval: Duration,
    /// How long an idle transactional id is remembered.
    pub(crate) id_expiration: Duration,
    /// How often expired transactional ids are looked for.
    pub(crate) id_expiration_interval: Duration,
    /// Whether a partition asks the coordinator before it takes the first record of a transaction (KIP-890).
    pub(crate) verification: bool,
    pub(crate) topic_partitions: i32,
    pub(crate) topic_replication_factor: i16,
    pub(crate) topic_segment_bytes: i32,
    pub(crate) topic_min_isr: i32,
}

impl Transactions {
    pub(super) fn new(settings: &Settings) -> Transactions {
        Transactions {
            timeout_max: settings.millis("transaction.max.timeout.ms"),
            abort_interval: settings.millis("transaction.abort.timed.out.transaction.cleanup.interval.ms"),
            id_expiration: settings.millis("transactional.id.expiration.ms"),
            id_expiration_interval: settings
                .millis("transaction.remove.expired.transaction.cleanup.interval.ms"),
            verification: settings.boolean("transaction.partition.verification.enable"),
            topic_partitions: settings.int("transaction.state.log.num.partitions"),
            topic_replication_factor: settings.short("transaction.state.log.replication.factor"),
            topic_segment_bytes: settings.int("transaction.state.log.segment.bytes"),
            topic_min_isr: settings.int("transaction.state.log.min.isr"),
        }
    }
}
