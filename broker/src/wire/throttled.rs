//! Where answers tell their client how long it has to wait (`throttle_time_ms`, KIP-219).

use kafka_protocol::messages::*;

use crate::wire::reply::{Encoded, OrClosed, Reply};

/// An answer to a request that may have taken more than its client's quotas allow.
pub(crate) trait Throttled {
    fn throttle_time_ms(&self) -> i32;
    fn set_throttle_time_ms(&mut self, wait: i32);
    /// Whether the time of its request counts for nobody: brokers among themselves, and what has been counted already.
    fn is_exempt(&self) -> bool;
}

macro_rules! throttled {
    ($($response:ident)*) => { $(
        impl Throttled for $response {
            fn throttle_time_ms(&self) -> i32 {
                self.throttle_time_ms
            }

            fn set_throttle_time_ms(&mut self, wait: i32) {
                self.throttle_time_ms = wait;
            }

            fn is_exempt(&self) -> bool {
                false
            }
        }
    )* };
}

/// Answers without such a field, and whether their requests are exempt.
macro_rules! silent {
    ($exempt:literal: $($response:ident)*) => { $(
        impl Throttled for $response {
            fn throttle_time_ms(&self) -> i32 {
                0
            }

            fn set_throttle_time_ms(&mut self, _: i32) {}

            fn is_exempt(&self) -> bool {
                $exempt
            }
        }
    )* };
}

throttled! {
    AddOffsetsToTxnResponse AddPartitionsToTxnResponse AllocateProducerIdsResponse AlterClientQuotasResponse
    AlterConfigsResponse AlterPartitionReassignmentsResponse AlterReplicaLogDirsResponse
    AlterUserScramCredentialsResponse ApiVersionsResponse
    ConsumerGroupDescribeResponse ConsumerGroupHeartbeatResponse
    CreateAclsResponse CreateDelegationTokenResponse CreatePartitionsResponse CreateTopicsResponse DeleteAclsResponse
    DeleteGroupsResponse DeleteRecordsResponse DeleteTopicsResponse
    DescribeAclsResponse DescribeClientQuotasResponse DescribeClusterResponse DescribeConfigsResponse DescribeGroupsResponse
    DescribeDelegationTokenResponse DescribeLogDirsResponse DescribeProducersResponse DescribeTransactionsResponse
    DescribeUserScramCredentialsResponse ElectLeadersResponse EndTxnResponse ExpireDelegationTokenResponse
    FindCoordinatorResponse HeartbeatResponse IncrementalAlterConfigsResponse InitProducerIdResponse JoinGroupResponse
    LeaveGroupResponse ListGroupsResponse ListOffsetsResponse ListPartitionReassignmentsResponse
    ListTransactionsResponse MetadataResponse OffsetCommitResponse OffsetDeleteResponse OffsetFetchResponse
    OffsetForLeaderEpochResponse RenewDelegationTokenResponse SyncGroupResponse TxnOffsetCommitResponse UpdateFeaturesResponse
}

silent! {
    false: SaslAuthenticateResponse SaslHandshakeResponse
}

silent! {
    true: AlterPartitionResponse ControlledShutdownResponse LeaderAndIsrResponse StopReplicaResponse UpdateMetadataResponse
    WriteTxnMarkersResponse Encoded Reply
}

impl<R: Throttled> Throttled for OrClosed<R> {
    fn throttle_time_ms(&self) -> i32 {
        self.0.as_ref().map_or(0, R::throttle_time_ms)
    }

    fn set_throttle_time_ms(&mut self, wait: i32) {
        if let Some(answer) = &mut self.0 {
            answer.set_throttle_time_ms(wait);
        }
    }

    fn is_exempt(&self) -> bool {
        self.0.as_ref().is_none_or(R::is_exempt)
    }
}
