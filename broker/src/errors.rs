//! From what can go wrong in `storage` and `coordinator` to Kafka's error codes. The errors of our own rooms follow in
//! `handlers::errors`.

use coordinator::groups::GroupError;
use coordinator::replication::EpochMismatch;
use coordinator::transactions::TransactionError;
use kafka_protocol::error::ResponseError;
use storage::batch::{Refusal, RefusalKind};
use storage::error::{AppendError, ReadError, StorageError};

/// KIP-890; younger than our crate of codes.
pub(crate) const TRANSACTION_ABORTABLE: ResponseError = ResponseError::Unknown(120);

/// KIP-848; younger than our crate of codes.
const FENCED_MEMBER_EPOCH: ResponseError = ResponseError::Unknown(110);
const UNRELEASED_INSTANCE_ID: ResponseError = ResponseError::Unknown(111);
const UNSUPPORTED_ASSIGNOR: ResponseError = ResponseError::Unknown(112);
const STALE_MEMBER_EPOCH: ResponseError = ResponseError::Unknown(113);

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

impl WireError for EpochMismatch {
    fn wire(&self) -> ResponseError {
        match self {
            EpochMismatch::Fenced => ResponseError::FencedLeaderEpoch,
            EpochMismatch::Unknown => ResponseError::UnknownLeaderEpoch,
        }
    }
}

impl WireError for ReadError {
    fn wire(&self) -> ResponseError {
        match self {
            ReadError::OutOfRange { .. } => ResponseError::OffsetOutOfRange,
            // Not the disk's error: consumers would ask for ever and say nothing.
            ReadError::Storage(StorageError::Corrupt { .. }) => ResponseError::CorruptMessage,
            ReadError::Storage(error) => error.wire(),
        }
    }
}

impl WireError for StorageError {
    fn wire(&self) -> ResponseError {
        ResponseError::KafkaStorageError
    }
}

impl WireError for TransactionError {
    fn wire(&self) -> ResponseError {
        match self {
            TransactionError::InvalidRequest => ResponseError::InvalidRequest,
            TransactionError::InvalidTimeout => ResponseError::InvalidTransactionTimeout,
            TransactionError::CoordinatorNotAvailable => ResponseError::CoordinatorNotAvailable,
            TransactionError::LoadInProgress => ResponseError::CoordinatorLoadInProgress,
            TransactionError::NotCoordinator => ResponseError::NotCoordinator,
            TransactionError::InvalidProducerIdMapping => ResponseError::InvalidProducerIdMapping,
            TransactionError::ProducerFenced => ResponseError::ProducerFenced,
            TransactionError::ConcurrentTransactions => ResponseError::ConcurrentTransactions,
            TransactionError::InvalidState => ResponseError::InvalidTxnState,
            TransactionError::Abortable => TRANSACTION_ABORTABLE,
            TransactionError::NotFound => ResponseError::TransactionalIdNotFound,
            TransactionError::Unknown => ResponseError::UnknownServerError,
        }
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
            GroupError::ProducerFenced => ResponseError::InvalidProducerEpoch,
            GroupError::NotInTransaction => ResponseError::InvalidTxnState,
            GroupError::InvalidRequest(_) => ResponseError::InvalidRequest,
            GroupError::UnsupportedAssignor => UNSUPPORTED_ASSIGNOR,
            GroupError::FencedMemberEpoch => FENCED_MEMBER_EPOCH,
            GroupError::UnreleasedInstance => UNRELEASED_INSTANCE_ID,
            GroupError::StaleMemberEpoch => STALE_MEMBER_EPOCH,
            GroupError::UnsupportedVersion => ResponseError::UnsupportedVersion,
            GroupError::Unknown => ResponseError::UnknownServerError,
        }
    }
}
