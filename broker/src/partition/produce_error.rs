//! Why records were not appended, in the words a producer gets.

use std::fmt;

use kafka_protocol::error::ResponseError;
use storage::batch::Refusal;
use storage::error::AppendError;
use storage::types::Offset;

use crate::errors::WireError;

/// Nothing was appended, or it could not be committed.
#[derive(Clone, Debug)]
pub(crate) struct ProduceError {
    pub(crate) code: ResponseError,
    /// Told to the client where Kafka tells it.
    pub(crate) message: Option<String>,
    /// Index of a record in its batch, and what is wrong with it.
    pub(crate) record_errors: Vec<(i32, Option<String>)>,
    /// The partition's log start where it is known, else -1.
    pub(crate) log_start: Offset,
}

impl fmt::Display for ProduceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            Some(message) => write!(f, "{:?} ({message})", self.code),
            None => write!(f, "{:?}", self.code),
        }
    }
}

impl From<ResponseError> for ProduceError {
    fn from(code: ResponseError) -> Self {
        ProduceError { code, message: None, record_errors: Vec::new(), log_start: Offset::NONE }
    }
}

impl ProduceError {
    /// A refusal by what the records are. Refusals by the request's version never came to the partition, so they tell
    /// nothing of its start.
    pub(super) fn refused(refusal: Refusal, log_start: impl FnOnce() -> Offset) -> Self {
        let by_version = refusal.by_version;
        let error = ProduceError {
            code: refusal.wire(),
            message: refusal.message,
            record_errors: refusal.record_errors,
            log_start: Offset::NONE,
        };
        if by_version { error } else { error.told_with(log_start()) }
    }

    /// With the log's start, where Kafka tells it: not with errors that say the partition or the batch is no good at all.
    pub(super) fn told_with(self, log_start: Offset) -> Self {
        match self.code {
            ResponseError::NotLeaderOrFollower
            | ResponseError::UnknownTopicOrPartition
            | ResponseError::MessageTooLarge
            | ResponseError::RecordListTooLarge
            | ResponseError::CorruptMessage
            | ResponseError::KafkaStorageError => self,
            _ => ProduceError { log_start, ..self },
        }
    }
}

impl From<AppendError> for ProduceError {
    fn from(error: AppendError) -> Self {
        error.wire().into()
    }
}
