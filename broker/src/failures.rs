//! What follows when a log directory goes out of service: its replicas give up their roles, and the controller is told
//! (KIP-112), so that others lead.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use crate::cluster::znodes;
use crate::house::House;

/// Pause before the controller is told once more, when ZooKeeper was away.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Until the broker stops.
pub(crate) async fn follow(house: Arc<House>) {
    let mut failed = house.partitions.directories().failed();
    let mut known = BTreeSet::new();
    loop {
        failed.borrow_and_update();
        let directories = house.partitions.directories().iter().enumerate();
        let offline = directories.filter(|(_, state)| state.is_offline()).map(|(index, _)| index);
        let news: Vec<usize> = offline.filter(|index| !known.contains(index)).collect();
        for index in &news {
            let replicas = house.leave_directory(*index);
            let path = house.partitions.directories()[*index].path().display().to_string();
            info!(path, replicas, "replicas of a failed log directory are out of service");
        }
        if !news.is_empty() {
            tell_controller(&house).await;
        }
        known.extend(news);
        if failed.changed().await.is_err() {
            return;
        }
    }
}

/// The controller asks for the state of all replicas here when it sees the znode, and removes it.
async fn tell_controller(house: &House) {
    let notice = znodes::encode_log_dir_event(house.me);
    while let Err(error) =
        house.zookeeper.create_sequential(znodes::paths::LOG_DIR_EVENT_PREFIX, &notice).await
    {
        if matches!(error, zookeeper_client::Error::ClientClosed) {
            return;
        }
        warn!(%error, "the controller does not know of a failed log directory yet; trying again");
        sleep(RETRY_PAUSE).await;
    }
}
