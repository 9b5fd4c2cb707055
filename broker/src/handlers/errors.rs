//! From what can go wrong in our rooms to Kafka's error codes; `crate::errors` has those of the pure crates.

use kafka_protocol::error::ResponseError;

use super::describe_configs::DescribeError;
use crate::cluster::producer_ids::ProducerIdError;
use crate::config::operations::OperationError;
use crate::errors::WireError;
use crate::producer_ids::NoProducerId;
use crate::reconfiguration::alter::AlterError;
use crate::reconfiguration::credentials::CredentialError;
use crate::reconfiguration::quotas::alter::AlterQuotasError;
use crate::reconfiguration::quotas::describe::DescribeQuotasError;
use crate::telemetry::loggers::LoggerError;

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

impl WireError for CredentialError {
    fn wire(&self) -> ResponseError {
        match self {
            CredentialError::UnknownMechanism => ResponseError::UnsupportedSaslMechanism,
            CredentialError::NoName
            | CredentialError::TooFewIterations
            | CredentialError::TooManyIterations => ResponseError::UnacceptableCredential,
            CredentialError::AlteredTwice | CredentialError::AskedTwice(_) => {
                ResponseError::DuplicateResource
            }
            CredentialError::NothingToDelete | CredentialError::Unknown(_) | CredentialError::NoNameAsked => {
                ResponseError::ResourceNotFound
            }
            CredentialError::Failed => ResponseError::UnknownServerError,
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
