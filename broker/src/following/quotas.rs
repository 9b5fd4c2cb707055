//! Quotas as they are set and removed while the broker runs.

use tracing::info;
use zookeeper_client as zk;

use super::{RETRY_PAUSE, Running};
use crate::reconfiguration::quotas::stored::{self, Change, Subject};

/// Everything that is set when the broker starts.
pub(crate) async fn load(running: &Running) -> Result<(), zk::Error> {
    for change in stored::read_all(&running.house.zookeeper).await? {
        apply(running, &change);
    }
    Ok(())
}

/// What is set for `subject` has changed.
pub(super) async fn follow(running: &Running, subject: &Subject) {
    loop {
        match stored::read(&running.house.zookeeper, subject).await {
            Ok(None) | Err(zk::Error::ClientClosed) => return,
            Ok(Some(change)) => {
                apply(running, &change);
                return info!("quotas are now: {change}");
            }
            Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
}

/// Anything may have changed. What was set and is gone entirely is found by what is known here.
pub(super) async fn follow_all(running: &Running) {
    loop {
        match stored::read_all(&running.house.zookeeper).await {
            Err(zk::Error::ClientClosed) => return,
            Ok(changes) => {
                running.house.quotas.clear();
                running.front.clear_ip_rates();
                return changes.iter().for_each(|change| apply(running, change));
            }
            Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
}

fn apply(running: &Running, change: &Change) {
    match change {
        Change::Client(entity, values) => running.house.quotas.set(entity, *values),
        Change::Ip(rate) => running.front.set_ip_rate(*rate),
    }
}
