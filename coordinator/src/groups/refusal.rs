//! Why a coordinator says no. One table in `broker` maps these to wire codes.

use thiserror::Error;

use crate::machine::AppendFailure;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GroupError {
    #[error("the group id is not valid for this request")]
    InvalidGroupId,
    #[error("the coordinator is not available")]
    CoordinatorNotAvailable,
    #[error("the coordinator is loading the group")]
    LoadInProgress,
    #[error("this broker does not coordinate the group")]
    NotCoordinator,
    #[error("the session timeout is outside group.min.session.timeout.ms and group.max.session.timeout.ms")]
    InvalidSessionTimeout,
    #[error("the coordinator does not know this member")]
    UnknownMember,
    #[error("the generation is not the group's current one")]
    IllegalGeneration,
    #[error("the member's protocol type or protocols do not fit the group's")]
    InconsistentProtocol,
    #[error("the member has to join again with the id it has been given")]
    MemberIdRequired,
    #[error("the group has reached group.max.size")]
    GroupMaxSizeReached,
    #[error("the group instance id belongs to another member by now")]
    FencedInstance,
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    #[error("the metadata of the offset is longer than offset.metadata.max.bytes")]
    OffsetMetadataTooLarge,
    #[error("the committed offsets do not fit into one batch")]
    InvalidCommitOffsetSize,
    #[error("an open transaction may still change the offset")]
    UnstableOffset,
    #[error("the group still has members")]
    NonEmptyGroup,
    #[error("no such group")]
    GroupNotFound,
    #[error("a member of the group still subscribes to the topic")]
    SubscribedToTopic,
    #[error("the request was not committed in time")]
    TimedOut,
    #[error("a newer producer has the same transactional id")]
    ProducerFenced,
    #[error("the offsets were not added to the transaction")]
    NotInTransaction,
    #[error("{0}")]
    InvalidRequest(&'static str),
    #[error("the server-side assignor is not offered")]
    UnsupportedAssignor,
    #[error("the member epoch is not the member's; it has to give up its partitions and join again")]
    FencedMemberEpoch,
    #[error("the group instance id belongs to a member that has not left")]
    UnreleasedInstance,
    #[error("the member epoch is not the member's current one")]
    StaleMemberEpoch,
    #[error("members of the new protocol commit with OffsetCommit 9 or later")]
    UnsupportedVersion,
    #[error("the log refused the record")]
    Unknown,
}

impl GroupError {
    /// What a member hears when its group could not be stored.
    pub fn storing_group(failure: AppendFailure) -> GroupError {
        match failure {
            AppendFailure::UnknownPartition | AppendFailure::NotEnoughReplicas => {
                GroupError::CoordinatorNotAvailable
            }
            AppendFailure::NotLeader | AppendFailure::Storage => GroupError::NotCoordinator,
            AppendFailure::TimedOut => GroupError::RebalanceInProgress,
            AppendFailure::TooLarge | AppendFailure::ProducerFenced | AppendFailure::NotInTransaction => {
                GroupError::Unknown
            }
        }
    }

    /// What a client hears when its offsets could not be stored.
    pub fn storing_offsets(failure: AppendFailure) -> GroupError {
        match failure {
            AppendFailure::UnknownPartition | AppendFailure::NotEnoughReplicas => {
                GroupError::CoordinatorNotAvailable
            }
            AppendFailure::NotLeader | AppendFailure::Storage => GroupError::NotCoordinator,
            AppendFailure::TimedOut => GroupError::TimedOut,
            AppendFailure::TooLarge => GroupError::InvalidCommitOffsetSize,
            AppendFailure::ProducerFenced => GroupError::ProducerFenced,
            AppendFailure::NotInTransaction => GroupError::NotInTransaction,
        }
    }
}
