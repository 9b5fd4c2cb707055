//! Ends transactions whose outcome is decided: markers to the leaders of their partitions, again and again until all
//! have them, then the word that all is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use coordinator::transactions::{Command, Ending, Reply, TransactionError, TransactionalId, Transactions};
use kafka_protocol::error::ResponseError;
use storage::types::{BrokerId, LeaderEpoch, TopicPartition};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::marking;
use crate::colleagues::Marker;
use crate::house::House;
use crate::machines::partition_journal::PartitionJournal;
use crate::machines::runner::Runner;
use crate::machines::seats::Taken;
use crate::machines::transaction_room::{self, TRANSACTION_TOPIC};

/// Pauses between two attempts to reach a partition that has no leader, or whose leader does not answer.
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// The news of a role come milliseconds after it, unless their controller falls.
const NEWS_MAX: Duration = Duration::from_secs(2);
/// After so long it is said which marker is missing.
const OVERDUE: Duration = Duration::from_secs(10);

type TransactionRunner = Arc<Runner<Transactions, PartitionJournal>>;

/// Ends the transactions of one seat until the seat is given up. What was under way then ends with it: the next
/// coordinator begins anew.
pub(super) async fn attend(house: Arc<House>, seat: Taken<Transactions, PartitionJournal>) {
    let Taken { partition, epoch, runner } = seat;
    hear_the_news(&house, partition, epoch).await;
    let mut progress = runner.progress();
    let mut under_way: BTreeSet<TransactionalId> = BTreeSet::new();
    let mut endings: JoinSet<TransactionalId> = JoinSet::new();
    loop {
        if progress.borrow_and_update().closed {
            return;
        }
        let found = runner.read(|machine| machine.endings(|id| !under_way.contains(id))).await;
        match found {
            Ok(found) => {
                for ending in found {
                    under_way.insert(Arc::clone(&ending.id));
                    endings.spawn(end(Arc::clone(&house), Arc::clone(&runner), epoch, ending));
                }
            }
            // Decided, but not committed: nobody may hear of it yet.
            Err(_) => {
                sleep(RETRY_MAX).await;
                continue;
            }
        }
        tokio::select! {
            _ = progress.changed() => {}
            Some(ended) = endings.join_next() => match ended {
                Ok(id) => {
                    under_way.remove(&id);
                }
                // A panic in there was reported by the hook; which one it was is not known any more.
                Err(_) => under_way.clear(),
            }
        }
    }
}

/// Waits until the metadata knows of the seat's leader epoch. Roles come before the news of them: who takes over from a
/// broker that is cut off would ask it for the markers of what it has led until then, and wait for its silence.
async fn hear_the_news(house: &House, partition: i32, epoch: LeaderEpoch) {
    let mut changes = house.metadata.changes();
    let known = || Some(house.metadata.snapshot().partition(TRANSACTION_TOPIC, partition)?.leader_epoch);
    let heard =
        async { while known().is_none_or(|known| known < epoch) && changes.changed().await.is_ok() {} };
    let _later_than_usual = timeout(NEWS_MAX, heard).await;
}

/// Ends one transaction, however long that takes.
async fn end(
    house: Arc<House>,
    runner: TransactionRunner,
    epoch: LeaderEpoch,
    ending: Ending,
) -> TransactionalId {
    let Ending { id, identity, outcome, partitions: mut left } = ending;
    let marker = Marker { identity, outcome, coordinator_epoch: epoch.0 };
    let mut pause = RETRY_MIN;
    let (began, mut told) = (Instant::now(), false);
    loop {
        let marked = mark(&house, marker, &left).await;
        if marked.fenced {
            // Kafka leaves it at that too: whoever has fenced this one goes on with the transaction.
            warn!(
                transactional_id = &*id,
                ?identity,
                "a partition has heard of a newer producer or coordinator"
            );
            return std::future::pending().await;
        }
        left.retain(|partition| !marked.done.contains(partition));
        if !told && began.elapsed() >= OVERDUE {
            told = marked.tell_what_is_missing(&id);
        }
        let command = Command::Marked { id: Arc::clone(&id), identity, partitions: marked.done };
        match transaction_room::ask(&runner, command).await {
            Ok(Reply::Marked(Err(
                error @ (TransactionError::CoordinatorNotAvailable
                | TransactionError::NotCoordinator
                | TransactionError::Unknown),
            ))) => {
                info!(transactional_id = &*id, %error, "the end of a transaction cannot be written down yet");
            }
            Ok(_) if left.is_empty() => {
                if told {
                    info!(transactional_id = &*id, after = ?began.elapsed(), "the transaction has all its markers");
                }
                debug!(transactional_id = &*id, ?identity, ?outcome, "transaction ended");
                return id;
            }
            Ok(_) => {}
            Err(_) => return id,
        }
        sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

/// What came of one attempt.
#[derive(Default)]
struct Marked {
    /// These have their marker, or are gone.
    done: BTreeSet<TopicPartition>,
    /// These have none yet.
    missing: BTreeMap<TopicPartition, Missing>,
    /// A partition knows of a newer producer epoch or coordinator.
    fenced: bool,
}

/// Who was asked for a marker, `BrokerId::NONE` where there is no leader, and what came of it.
struct Missing {
    broker: BrokerId,
    error: ResponseError,
}

impl Marked {
    fn note(&mut self, broker: BrokerId, partition: TopicPartition, result: Result<(), ResponseError>) {
        match result {
            // A partition in an old format took no records of the transaction either.
            Ok(()) | Err(ResponseError::UnsupportedForMessageFormat | ResponseError::UnsupportedVersion) => {
                self.missing.remove(&partition);
                self.done.insert(partition);
            }
            Err(ResponseError::InvalidProducerEpoch | ResponseError::TransactionCoordinatorFenced) => {
                self.fenced = true;
            }
            Err(error) => {
                debug!(%partition, %broker, ?error, "no transaction marker yet");
                self.missing.insert(partition, Missing { broker, error });
            }
        }
    }

    /// Yields whether there was anything to tell.
    fn tell_what_is_missing(&self, id: &TransactionalId) -> bool {
        let Some((partition, Missing { broker, error })) = self.missing.first_key_value() else {
            return false;
        };
        warn!(
            transactional_id = &**id,
            %partition,
            %broker,
            ?error,
            missing = self.missing.len(),
            "a transaction that is decided has waited for {OVERDUE:?} for its markers, and its producer with it; they are \
             asked for until the leaders of all its partitions have written them"
        );
        true
    }
}

async fn mark(house: &Arc<House>, marker: Marker, partitions: &BTreeSet<TopicPartition>) -> Marked {
    let mut marked = Marked::default();
    let mut by_leader: BTreeMap<BrokerId, Vec<TopicPartition>> = BTreeMap::new();
    let metadata = house.metadata.snapshot();
    // A broker that has only started knows no topic yet, which does not mean that there is none.
    let knows_topics = metadata.topic(TRANSACTION_TOPIC).is_some();
    for partition in partitions {
        let mut missing = |broker, error| marked.missing.insert(partition.clone(), Missing { broker, error });
        match metadata.partition(&partition.topic, partition.partition) {
            Some(known) if known.leader == BrokerId::NONE => {
                missing(BrokerId::NONE, ResponseError::LeaderNotAvailable);
            }
            Some(known) => {
                // Until it is answered, or where the answer does not name it.
                missing(known.leader, ResponseError::NetworkException);
                by_leader.entry(known.leader).or_default().push(partition.clone());
            }
            None if knows_topics => {
                info!(%partition, "a partition of a transaction was deleted and gets no marker");
                marked.done.insert(partition.clone());
            }
            None => {
                missing(BrokerId::NONE, ResponseError::UnknownTopicOrPartition);
            }
        }
    }
    drop(metadata);
    let mut answers = JoinSet::new();
    for (leader, partitions) in by_leader {
        let house = Arc::clone(house);
        answers.spawn(async move {
            let results = match leader == house.me {
                true => marking::mark_own(&house, marker, partitions).await,
                false => house.colleagues.mark(leader, marker, partitions).await,
            };
            (leader, results)
        });
    }
    while let Some(answer) = answers.join_next().await {
        let Ok((leader, results)) = answer else { continue };
        for (partition, result) in results {
            marked.note(leader, partition, result);
        }
    }
    marked
}
