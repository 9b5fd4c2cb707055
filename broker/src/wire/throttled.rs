//! Where answers tell their client how long it has to wait (`throttle_time_ms`, KIP-219).

use kafka_protocol::messages::*;

use crate::wire::reply::{Encoded, Reply};

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

macro_rules! exempt {
    ($($response:ident)*) => { $(
        impl Throttled for $response {
            fn throttle_time_ms(&self) -> i32 {
                0
            }

            fn set_throttle_time_ms(&mut self, _: i32) {}

            fn is_exempt(&self) -> bool {
                true
            }
        }
    )* };
}

throttled! {
    AddOffsetsToTxnResponse AddPartitionsToTxnResponse AllocateProducerIdsResponse AlterClientQuotasResponse
    AlterConfigsResponse AlterPartitionReassignmentsResponse AlterReplicaLogDirsResponse ApiVersionsResponse
    ConsumerGroupDescribeResponse ConsumerGroupHeartbeatResponse
    CreatePartitionsResponse CreateTopicsResponse DeleteGroupsResponse DeleteRecordsResponse DeleteTopicsResponse
    DescribeClientQuotasResponse DescribeClusterResponse DescribeConfigsResponse DescribeGroupsResponse
    DescribeLogDirsResponse DescribeProducersResponse DescribeTransactionsResponse ElectLeadersResponse EndTxnResponse
    FindCoordinatorResponse HeartbeatResponse IncrementalAlterConfigsResponse InitProducerIdResponse JoinGroupResponse
    LeaveGroupResponse ListGroupsResponse ListOffsetsResponse ListPartitionReassignmentsResponse
    ListTransactionsResponse MetadataResponse OffsetCommitResponse OffsetDeleteResponse OffsetFetchResponse
    OffsetForLeaderEpochResponse SyncGroupResponse TxnOffsetCommitResponse UpdateFeaturesResponse
}

exempt! {
    AlterPartitionResponse ControlledShutdownResponse LeaderAndIsrResponse StopReplicaResponse UpdateMetadataResponse
    WriteTxnMarkersResponse Encoded Reply
}
