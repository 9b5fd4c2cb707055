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

impl From<Refusal> for ProduceError {
    fn from(refusal: Refusal) -> Self {
        ProduceError {
            code: refusal.wire(),
            message: refusal.message,
            record_errors: refusal.record_errors,
            log_start: Offset::NONE,
        }
    }
}

impl From<AppendError> for ProduceError {
    fn from(error: AppendError) -> Self {
        error.wire().into()
    }
}
