//! The one table from what can go wrong in our rooms to Kafka's error codes.

use coordinator::groups::GroupError;
use kafka_protocol::error::ResponseError;
use storage::batch::{Refusal, RefusalKind};
use storage::error::{AppendError, ReadError, StorageError};

/// The wire code of a failure.
pub(crate) trait WireError {
    fn wire(&self) -> ResponseError;
}

impl WireError for Refusal {
    fn wire(&self) -> ResponseError {
        match self.kind {
            RefusalKind::CorruptMessage => ResponseError::CorruptMessage,
            RefusalKind::MessageTooLarge => ResponseError::MessageTooLarge,
            RefusalKind::InvalidTimestamp => ResponseError::InvalidTimestamp,
            RefusalKind::UnsupportedCompressionType => ResponseError::UnsupportedCompressionType,
            RefusalKind::InvalidRecord => ResponseError::InvalidRecord,
            RefusalKind::UnknownServerError => ResponseError::UnknownServerError,
        }
    }
}

impl WireError for AppendError {
    fn wire(&self) -> ResponseError {
        match self {
            AppendError::OutOfOrderSequence { .. } => ResponseError::OutOfOrderSequenceNumber,
            AppendError::InvalidProducerEpoch { .. } => ResponseError::InvalidProducerEpoch,
            AppendError::InvalidTransactionState { .. } => ResponseError::InvalidTxnState,
            AppendError::CoordinatorFenced { .. } => ResponseError::TransactionCoordinatorFenced,
            AppendError::LargerThanSegment { .. } => ResponseError::RecordListTooLarge,
            AppendError::Corrupt { .. } => ResponseError::CorruptMessage,
            AppendError::UnexpectedOffset { .. }
            | AppendError::OffsetsOutOfOrder { .. }
            | AppendError::InvalidEpoch { .. } => ResponseError::UnknownServerError,
            AppendError::Storage(error) => error.wire(),
        }
    }
}

impl WireError for ReadError {
    fn wire(&self) -> ResponseError {
        match self {
            ReadError::OutOfRange { .. } => ResponseError::OffsetOutOfRange,
            ReadError::Storage(error) => error.wire(),
        }
    }
}

impl WireError for StorageError {
    fn wire(&self) -> ResponseError {
        ResponseError::KafkaStorageError
    }
}

impl WireError for GroupError {
    fn wire(&self) -> ResponseError {
        match self {
            GroupError::InvalidGroupId => ResponseError::InvalidGroupId,
            GroupError::CoordinatorNotAvailable => ResponseError::CoordinatorNotAvailable,
            GroupError::LoadInProgress => ResponseError::CoordinatorLoadInProgress,
            GroupError::NotCoordinator => ResponseError::NotCoordinator,
            GroupError::InvalidSessionTimeout => ResponseError::InvalidSessionTimeout,
            GroupError::UnknownMember => ResponseError::UnknownMemberId,
            GroupError::IllegalGeneration => ResponseError::IllegalGeneration,
            GroupError::InconsistentProtocol => ResponseError::InconsistentGroupProtocol,
            GroupError::MemberIdRequired => ResponseError::MemberIdRequired,
            GroupError::GroupMaxSizeReached => ResponseError::GroupMaxSizeReached,
            GroupError::FencedInstance => ResponseError::FencedInstanceId,
            GroupError::RebalanceInProgress => ResponseError::RebalanceInProgress,
            GroupError::OffsetMetadataTooLarge => ResponseError::OffsetMetadataTooLarge,
            GroupError::InvalidCommitOffsetSize => ResponseError::InvalidCommitOffsetSize,
            GroupError::UnstableOffset => ResponseError::UnstableOffsetCommit,
            GroupError::NonEmptyGroup => ResponseError::NonEmptyGroup,
            GroupError::GroupNotFound => ResponseError::GroupIdNotFound,
            GroupError::SubscribedToTopic => ResponseError::GroupSubscribedToTopic,
            GroupError::TimedOut => ResponseError::RequestTimedOut,
            GroupError::Unknown => ResponseError::UnknownServerError,
        }
    }
}
