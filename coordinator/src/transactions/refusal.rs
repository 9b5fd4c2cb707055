//! Why a transaction coordinator says no. One table in `broker` maps these to wire codes.

use thiserror::Error;

use crate::machine::AppendFailure;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TransactionError {
    #[error("the request names no transactional id")]
    InvalidRequest,
    #[error("the transaction timeout is not between 1 ms and transaction.max.timeout.ms")]
    InvalidTimeout,
    #[error("the coordinator is not available")]
    CoordinatorNotAvailable,
    #[error("the coordinator is loading the transactional id")]
    LoadInProgress,
    #[error("this broker does not coordinate the transactional id")]
    NotCoordinator,
    #[error("the transactional id is not known with this producer id")]
    InvalidProducerIdMapping,
    #[error("a newer producer has the same transactional id")]
    ProducerFenced,
    #[error("the previous transaction is still being ended")]
    ConcurrentTransactions,
    #[error("the transaction cannot do this in its state")]
    InvalidState,
    #[error("the partition was not added to the transaction")]
    Abortable,
    #[error("no such transactional id")]
    NotFound,
    #[error("the coordinator cannot do what was asked")]
    Unknown,
}

impl TransactionError {
    /// What a client hears when the step of its transaction could not be stored.
    pub fn storing(failure: AppendFailure) -> TransactionError {
        match failure {
            AppendFailure::UnknownPartition | AppendFailure::NotEnoughReplicas | AppendFailure::TimedOut => {
                TransactionError::CoordinatorNotAvailable
            }
            AppendFailure::NotLeader | AppendFailure::Storage => TransactionError::NotCoordinator,
            AppendFailure::TooLarge | AppendFailure::ProducerFenced | AppendFailure::NotInTransaction => {
                TransactionError::Unknown
            }
        }
    }
}
