//! The one table from what can go wrong in our rooms to Kafka's error codes.

use coordinator::groups::GroupError;
use coordinator::replication::EpochMismatch;
use coordinator::transactions::TransactionError;
use kafka_protocol::error::ResponseError;
use storage::batch::{Refusal, RefusalKind};
use storage::error::{AppendError, ReadError, StorageError};

use crate::cluster::producer_ids::ProducerIdError;
use crate::config::operations::OperationError;
use crate::handlers::describe_configs::DescribeError;
use crate::producer_ids::NoProducerId;
use crate::quota::alter::AlterQuotasError;
use crate::quota::describe::DescribeQuotasError;
use crate::reconfiguration::alter::AlterError;
use crate::telemetry::loggers::LoggerError;

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

impl WireError for AlterError {
    fn wire(&self) -> ResponseError {
        match self {
            AlterError::UnknownTopic(_) => ResponseError::UnknownTopicOrPartition,
            AlterError::Operation(OperationError::UnknownKey(_))
            | AlterError::UnknownOperationOnTopic(_)
            | AlterError::Store(_) => ResponseError::UnknownServerError,
            AlterError::Operation(_) | AlterError::Topic(_) | AlterError::TopicValue { .. } => {
                ResponseError::InvalidConfig
            }
            AlterError::Logger(LoggerError::Unknown(_) | LoggerError::UnknownLevel { .. }) => {
                ResponseError::InvalidConfig
            }
            AlterError::ResourceTwice
            | AlterError::KeyTwice
            | AlterError::NullValue(_)
            | AlterError::UnknownKind(_)
            | AlterError::ClientMetrics
            | AlterError::NoBrokerId(_)
            | AlterError::OtherBroker { .. }
            | AlterError::NoTopic
            | AlterError::UnknownOperation(_)
            | AlterError::Broker(_)
            | AlterError::Logger(_) => ResponseError::InvalidRequest,
        }
    }
}

impl WireError for DescribeError {
    fn wire(&self) -> ResponseError {
        match self {
            DescribeError::InvalidTopic(_) => ResponseError::InvalidTopicException,
            DescribeError::UnknownTopic => ResponseError::UnknownTopicOrPartition,
            DescribeError::Store(_) => ResponseError::UnknownServerError,
            DescribeError::NoBrokerId(_)
            | DescribeError::OtherBroker { .. }
            | DescribeError::OtherBrokersLoggers { .. }
            | DescribeError::LoggersOfNobody
            | DescribeError::EmptySubscription
            | DescribeError::ClientMetrics
            | DescribeError::UnknownKind => ResponseError::InvalidRequest,
        }
    }
}

impl WireError for DescribeQuotasError {
    fn wire(&self) -> ResponseError {
        match self {
            DescribeQuotasError::CustomType(_) => ResponseError::UnsupportedVersion,
            DescribeQuotasError::Twice(_)
            | DescribeQuotasError::EmptyType
            | DescribeQuotasError::IpWithOthers => ResponseError::InvalidRequest,
            DescribeQuotasError::NoMatch(_)
            | DescribeQuotasError::NoNumber { .. }
            | DescribeQuotasError::Store(_) => ResponseError::UnknownServerError,
        }
    }
}

impl WireError for AlterQuotasError {
    fn wire(&self) -> ResponseError {
        match self {
            AlterQuotasError::NoEntity
            | AlterQuotasError::UnknownType(_)
            | AlterQuotasError::EmptyName(_)
            | AlterQuotasError::UnknownHost(_)
            | AlterQuotasError::IpWithOthers
            | AlterQuotasError::UnknownKey(_)
            | AlterQuotasError::NotWhole { .. } => ResponseError::InvalidRequest,
            AlterQuotasError::NoQuota(_) | AlterQuotasError::Invalid(_) | AlterQuotasError::Store(_) => {
                ResponseError::UnknownServerError
            }
        }
    }
}

impl WireError for ProducerIdError {
    fn wire(&self) -> ResponseError {
        match self {
            // Older clients give up at a timeout, but ask again while a coordinator loads.
            ProducerIdError::ZooKeeper(_) => ResponseError::CoordinatorLoadInProgress,
            ProducerIdError::Unreadable(_) | ProducerIdError::Exhausted => ResponseError::UnknownServerError,
        }
    }
}

impl WireError for NoProducerId {
    fn wire(&self) -> ResponseError {
        match self {
            // Older clients give up at a timeout, but ask again while a coordinator loads.
            NoProducerId::NoAnswer(_) => ResponseError::CoordinatorLoadInProgress,
            NoProducerId::Refused(
                error @ (ResponseError::UnknownServerError | ResponseError::CoordinatorLoadInProgress),
            ) => *error,
            // A registration that the controller has not seen yet.
            NoProducerId::Refused(_) => ResponseError::CoordinatorLoadInProgress,
            NoProducerId::Empty => ResponseError::UnknownServerError,
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
