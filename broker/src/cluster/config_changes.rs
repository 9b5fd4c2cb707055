//! The notices below `/config/changes`: each tells whose configs were changed, none tells to what.
//!
//! Numbers follow each other without a gap, so a gap means that notices were removed before they were seen, and that
//! everything has to be read again.

use std::sync::Arc;
use std::time::Duration;

use storage::types::TimestampMs;
use tokio::sync::mpsc;
use tracing::warn;
use zookeeper_client as zk;

use super::client::ZooKeeper;
use super::znodes::{self, ConfigChange, paths};
use crate::clock;

/// Notices older than this are removed by whoever looks next. Kafka's value; there is no key for it.
const NOTICE_AGE_MAX_MS: i64 = 15 * 60 * 1000;
/// Pause before ZooKeeper is asked again after it failed to answer.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// Changes that wait to be applied. A full queue holds the reading back, it loses nothing.
const QUEUE_LENGTH: usize = 64;
const PREFIX: &str = "config_change_";

/// What to read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    One(ConfigChange),
    /// Notices were missed.
    Everything,
}

/// The notices seen so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bookmark {
    /// `None` while there has been no notice.
    last: Option<i64>,
}

impl Bookmark {
    /// Set before configs are read for the first time, so that no change falls between that and the first notice.
    pub(crate) async fn set(zookeeper: &ZooKeeper) -> Result<Bookmark, zk::Error> {
        let names = zookeeper.children(paths::CONFIG_CHANGES).await?.unwrap_or_default();
        Ok(Bookmark { last: numbers(names).last().map(|(number, _)| *number) })
    }

    /// Those of `names` that are new, in order, and whether some between are missing.
    fn new_ones(self, names: Vec<String>) -> (Vec<(i64, String)>, bool) {
        let mut numbers = numbers(names);
        numbers.retain(|(number, _)| self.last.is_none_or(|last| *number > last));
        let first = numbers.first().map(|(number, _)| *number);
        let gap = self.last.zip(first).is_some_and(|(last, first)| first > last + 1);
        (numbers, gap)
    }
}

/// By number.
fn numbers(names: Vec<String>) -> Vec<(i64, String)> {
    let number = |name: &str| name.strip_prefix(PREFIX)?.parse().ok();
    let mut numbers: Vec<(i64, String)> =
        names.into_iter().filter_map(|name| Some((number(&name)?, name))).collect();
    numbers.sort_unstable();
    numbers
}

/// Tells every change after `bookmark` until the receiver is dropped or ZooKeeper is closed.
pub(crate) fn follow(zookeeper: Arc<ZooKeeper>, bookmark: Bookmark) -> mpsc::Receiver<Changed> {
    let (changes, received) = mpsc::channel(QUEUE_LENGTH);
    tokio::spawn(async move {
        let mut follower = Follower { zookeeper, bookmark, changes };
        // Ends with the receiver, or with the client.
        while follower.step().await.is_some() {}
    });
    received
}

struct Follower {
    zookeeper: Arc<ZooKeeper>,
    bookmark: Bookmark,
    changes: mpsc::Sender<Changed>,
}

impl Follower {
    /// Reads what is new and waits for the next notice. `None`: there is nobody to tell, or nobody to ask.
    async fn step(&mut self) -> Option<()> {
        let (names, watcher) = match self.zookeeper.children_and_watch(paths::CONFIG_CHANGES).await {
            Ok(read) => read,
            Err(zk::Error::ClientClosed) => return None,
            Err(_) => {
                tokio::time::sleep(RETRY_PAUSE).await;
                return (!self.changes.is_closed()).then_some(());
            }
        };
        let (new, gap) = self.bookmark.new_ones(names.clone());
        if gap {
            self.changes.send(Changed::Everything).await.ok()?;
        }
        for (number, name) in new {
            if let Some(change) = self.read(&name).await? {
                self.changes.send(Changed::One(change)).await.ok()?;
            }
            self.bookmark.last = Some(number);
        }
        self.remove_old(names, clock::wall()).await;
        tokio::select! {
            _ = watcher.changed() => Some(()),
            () = self.changes.closed() => None,
        }
    }

    /// `Some(None)`: the notice is gone, or nobody can read it.
    async fn read(&self, name: &str) -> Option<Option<ConfigChange>> {
        let path = format!("{}/{name}", paths::CONFIG_CHANGES);
        loop {
            match self.zookeeper.get(&path).await {
                Ok(None) => return Some(None),
                Ok(Some((data, _))) => {
                    let read = znodes::config_change(&path, &data);
                    let told = read.inspect_err(|why| {
                        warn!("a notice of changed configs is passed over, the change takes effect at the next start: {why}");
                    });
                    return Some(told.ok());
                }
                Err(zk::Error::ClientClosed) => return None,
                Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
    }

    /// What fails here is done at the next notice, or by another broker.
    async fn remove_old(&self, names: Vec<String>, now: TimestampMs) {
        for (_, name) in numbers(names) {
            let path = format!("{}/{name}", paths::CONFIG_CHANGES);
            match self.zookeeper.stat(&path).await {
                Ok(Some(stat)) if now.0.saturating_sub(stat.ctime) > NOTICE_AGE_MAX_MS => {
                    let _ = self.zookeeper.delete(&path, None).await;
                }
                // They are in the order of their age.
                Ok(Some(_)) | Err(_) => return,
                Ok(None) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(numbers: &[i64]) -> Vec<String> {
        numbers.iter().map(|number| format!("{PREFIX}{number:010}")).collect()
    }

    fn new_numbers(last: Option<i64>, present: &[i64]) -> (Vec<i64>, bool) {
        let (new, gap) = Bookmark { last }.new_ones(names(present));
        (new.into_iter().map(|(number, _)| number).collect(), gap)
    }

    #[test]
    fn notices_are_taken_in_order_and_once() {
        assert_eq!(new_numbers(Some(3), &[5, 3, 4, 2]), (vec![4, 5], false));
        assert_eq!(new_numbers(None, &[7, 6]), (vec![6, 7], false));
        assert_eq!(new_numbers(Some(7), &[]), (vec![], false));
    }

    #[test]
    fn a_gap_before_the_first_new_notice_is_noticed() {
        assert_eq!(new_numbers(Some(3), &[5, 6]), (vec![5, 6], true));
        assert_eq!(new_numbers(Some(3), &[3]), (vec![], false));
    }

    #[test]
    fn strangers_below_changes_are_no_notices() {
        assert_eq!(
            numbers(vec!["x".into(), "config_change_".into(), "config_change_0000000004".into()]),
            [(4, "config_change_0000000004".to_owned())]
        );
    }
}
