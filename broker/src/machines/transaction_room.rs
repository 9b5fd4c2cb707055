//! Where the handlers of the transaction APIs go: finds the seat that a transactional id belongs to.
//!
//! Knows which partition an id hashes to and how many there are; the rules are the machine's. What the machine has
//! decided, the markers, is carried out by [`crate::transactions`], which is told of every seat taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use coordinator::transactions::{Command, Reply, TransactionConfig, TransactionError, Transactions};
use storage::batch::TargetCompression;
use tokio::sync::mpsc;

use crate::config::Transactions as TransactionSettings;
use crate::machines::group_room::partition_for;
use crate::machines::journal::{Journal, Writing};
use crate::machines::runner::Runner;
use crate::machines::seats::{Seats, Taken, Vacant};

/// The internal topic of transactional ids.
pub(crate) const TRANSACTION_TOPIC: &str = "__transaction_state";

/// How long a step may take to be replicated; a client asks again after that.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Seats as they are taken. Bounded by the elections of partitions; nothing waits in it longer than a task's start.
pub(crate) type TakenSeats<J> = mpsc::UnboundedReceiver<Taken<Transactions, J>>;

pub(crate) struct TransactionRoom<J: Journal> {
    config: TransactionConfig,
    seats: Arc<Seats<Transactions, J>>,
    closed: AtomicBool,
}

impl<J: Journal> TransactionRoom<J> {
    /// Whoever writes the markers listens to what comes second.
    pub(crate) fn new(settings: &TransactionSettings) -> (Self, TakenSeats<J>) {
        let config = transaction_config(settings);
        let (told, taken) = mpsc::unbounded_channel();
        let writing =
            Writing { compression: TargetCompression::Uncompressed, commit_timeout: COMMIT_TIMEOUT };
        let make = move || Transactions::new(config);
        let attend = move |seat| {
            // Without a listener the broker is at its end.
            let _ = told.send(seat);
        };
        let seats = Seats::new(TRANSACTION_TOPIC, writing, make, attend);
        (TransactionRoom { config, seats, closed: AtomicBool::new(false) }, taken)
    }

    pub(crate) fn seats(&self) -> &Arc<Seats<Transactions, J>> {
        &self.seats
    }

    pub(crate) fn config(&self) -> &TransactionConfig {
        &self.config
    }

    /// The runner that serves `id`, where the transaction topic has `partitions` partitions.
    pub(crate) fn find(
        &self,
        id: &str,
        partitions: i32,
    ) -> Result<Arc<Runner<Transactions, J>>, TransactionError> {
        if id.is_empty() {
            return Err(TransactionError::InvalidRequest);
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(TransactionError::CoordinatorNotAvailable);
        }
        self.seats.find(partition_for(id, partitions)).map_err(|vacant| match vacant {
            Vacant::Loading => TransactionError::LoadInProgress,
            Vacant::NotHere => TransactionError::NotCoordinator,
        })
    }

    /// All runners that serve.
    pub(crate) fn all(&self) -> Result<Vec<Arc<Runner<Transactions, J>>>, TransactionError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(TransactionError::CoordinatorNotAvailable);
        }
        if self.seats.is_loading() {
            return Err(TransactionError::LoadInProgress);
        }
        Ok(self.seats.taken())
    }

    /// The broker stops: nobody is served any more, and whoever waits is told so.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.seats.close();
    }
}

/// Asks, and waits for the answer; a seat lost meanwhile is `NotCoordinator`.
pub(crate) async fn ask<J: Journal>(
    runner: &Arc<Runner<Transactions, J>>,
    command: Command,
) -> Result<Reply, TransactionError> {
    runner.ask(command).await.map_err(|_| TransactionError::NotCoordinator)
}

fn transaction_config(settings: &TransactionSettings) -> TransactionConfig {
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    TransactionConfig {
        timeout_max_ms: i32::try_from(ms(settings.timeout_max)).unwrap_or(i32::MAX),
        abort_interval_ms: ms(settings.abort_interval),
        id_expiration_ms: ms(settings.id_expiration),
        expiration_interval_ms: ms(settings.id_expiration_interval),
    }
}
