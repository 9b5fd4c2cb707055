//! How this broker copies partitions from others, and when it counts those that copy from it as in sync.

use std::time::Duration;

use coordinator::quotas::Window;

use super::quotas::QuotaWindows;
use super::settings::Settings;
use super::value::Value;

#[derive(Clone, Debug)]
pub(crate) struct Replication {
    /// How long a follower may lag before it leaves the in-sync set. Default: 30 s.
    pub(crate) lag_max: Duration,
    /// Connections to each broker that replicas are copied from. Range: `1..`. Dynamic.
    pub(crate) fetchers: u32,
    /// Asked for of one partition. Unit: bytes. Default: 1 MiB.
    pub(crate) fetch_max_bytes: i32,
    /// Worth an answer before `fetch_wait_max`. Unit: bytes. Default: 1.
    pub(crate) fetch_min_bytes: i32,
    /// Asked for in one answer. Unit: bytes. Default: 10 MiB.
    pub(crate) fetch_response_max_bytes: i32,
    /// How long the leader may wait for records. Default: 500 ms.
    pub(crate) fetch_wait_max: Duration,
    /// Pause after a failure. Default: 1 s.
    pub(crate) backoff: Duration,
    /// How long an answer may take. Default: 30 s.
    pub(crate) socket_timeout: Duration,
    /// SO_RCVBUF; `None` leaves it to the system. Unit: bytes.
    pub(crate) receive_buffer: Option<usize>,
    /// What throttled replicas may take. Unit: bytes per second. `None`: no limit. Dynamic.
    pub(crate) leader_rate: Option<u64>,
    /// As `leader_rate`, in the other direction.
    pub(crate) follower_rate: Option<u64>,
    pub(crate) throttle_window: Window,
    pub(crate) selector: ReplicaSelector,
}

/// Which replica a consumer is sent to (`replica.selector.class`, KIP-392).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplicaSelector {
    /// Always the leader.
    Leader,
    /// One in the consumer's rack, where there is one.
    RackAware,
}

impl Replication {
    pub(super) fn new(settings: &Settings) -> Replication {
        Replication {
            lag_max: settings.millis("replica.lag.time.max.ms"),
            fetchers: u32::try_from(settings.int("num.replica.fetchers")).unwrap_or(1).max(1),
            fetch_max_bytes: settings.int("replica.fetch.max.bytes"),
            fetch_min_bytes: settings.int("replica.fetch.min.bytes"),
            fetch_response_max_bytes: settings.int("replica.fetch.response.max.bytes"),
            fetch_wait_max: settings.millis("replica.fetch.wait.max.ms"),
            backoff: settings.millis("replica.fetch.backoff.ms"),
            socket_timeout: settings.millis("replica.socket.timeout.ms"),
            receive_buffer: usize::try_from(settings.int("replica.socket.receive.buffer.bytes")).ok(),
            leader_rate: rate(settings, "leader.replication.throttled.rate"),
            follower_rate: rate(settings, "follower.replication.throttled.rate"),
            throttle_window: QuotaWindows::new(settings).replication,
            selector: match settings.text("replica.selector.class") {
                Some(RACK_AWARE) => ReplicaSelector::RackAware,
                _ => ReplicaSelector::Leader,
            },
        }
    }
}

pub(crate) const RACK_AWARE: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
pub(crate) const LEADER: &str = "org.apache.kafka.common.replica.LeaderSelector";

/// A key that exists as a dynamic config only.
fn rate(settings: &Settings, name: &str) -> Option<u64> {
    let limit = settings.given().get(name)?.trim().parse::<i64>().ok()?;
    u64::try_from(limit).ok().filter(|_| limit != i64::MAX)
}

/// Replicas whose copying is throttled, of one topic and in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ThrottledReplicas {
    All,
    /// Partition and broker.
    Some(Vec<(i32, i32)>),
}

impl ThrottledReplicas {
    /// Of a value that the table's rule has let pass: `*`, or partitions and brokers.
    pub(super) fn new(value: Option<&Value>) -> ThrottledReplicas {
        let Some(Value::List(items)) = value else { return ThrottledReplicas::Some(Vec::new()) };
        if items.iter().any(|item| item == "*") {
            return ThrottledReplicas::All;
        }
        let pair = |item: &String| {
            let (partition, broker) = item.split_once(':')?;
            Some((partition.trim().parse().ok()?, broker.trim().parse().ok()?))
        };
        ThrottledReplicas::Some(items.iter().filter_map(pair).collect())
    }

    pub(crate) fn contains(&self, partition: i32, broker: i32) -> bool {
        match self {
            ThrottledReplicas::All => true,
            ThrottledReplicas::Some(pairs) => pairs.contains(&(partition, broker)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttled_replicas_are_all_or_those_named() {
        let list = |items: &[&str]| Value::List(items.iter().map(|item| (*item).to_owned()).collect());
        assert!(ThrottledReplicas::new(Some(&list(&["*"]))).contains(3, 9));
        let named = ThrottledReplicas::new(Some(&list(&["0:101", "1:102"])));
        assert!(named.contains(0, 101) && named.contains(1, 102));
        assert!(!named.contains(1, 101));
        assert!(!ThrottledReplicas::new(None).contains(0, 0));
    }
}
