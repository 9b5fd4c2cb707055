//! Those who take the steps of moves between log directories: `num.replica.alter.log.dirs.threads` of them, within
//! `replica.alter.log.dirs.io.max.bytes.per.second` together.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::partition::Partitions;
use crate::partition::moving::Step;

/// After a step that could do nothing. `replica.fetch.backoff.ms` by default.
const BACKOFF: Duration = Duration::from_secs(1);

/// While nothing but the end of a cleaning is waited for, and while a rate is: it may be changed.
const NAP: Duration = Duration::from_millis(100);

/// One of them: step after step, each of another partition in turn.
pub(crate) async fn carry(partitions: Arc<Partitions>) {
    loop {
        let id = partitions.moves().next().await;
        while partitions.move_rate().is_exceeded() {
            sleep(NAP).await;
        }
        let step = {
            let (partitions, id) = (Arc::clone(&partitions), id.clone());
            spawn_blocking(move || partitions.move_on(&id)).await
        };
        match step {
            Ok(Step::Copied(bytes)) => {
                partitions.move_rate().record(bytes);
                partitions.moves().again(id);
            }
            Ok(Step::Wait) => {
                let partitions = Arc::clone(&partitions);
                // The others of the queue do not wait with it.
                tokio::spawn(async move {
                    sleep(BACKOFF).await;
                    partitions.moves().again(id);
                });
            }
            // A panic in there was reported by the hook.
            Ok(Step::Done) | Err(_) => {}
        }
    }
}
