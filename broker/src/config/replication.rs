//! How this broker copies partitions from others, and when it counts those that copy from it as in sync.

use std::time::Duration;

use super::settings::Settings;

#[derive(Clone, Debug)]
pub(crate) struct Replication {
    /// How long a follower may lag before it leaves the in-sync set. Default: 30 s.
    pub(crate) lag_max: Duration,
}

impl Replication {
    pub(super) fn new(settings: &Settings) -> Replication {
        Replication { lag_max: settings.millis("replica.lag.time.max.ms") }
    }
}
