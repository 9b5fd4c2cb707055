//! The versions in which Apache 3.9.1 sends each request to other brokers at `inter.broker.protocol.version` 3.9, the
//! only one this broker takes (`MetadataVersion`, `AbstractControlRequest` builders, `AlterPartitionRequest.Builder`).

pub(crate) const FETCH: i16 = 17;
pub(crate) const LIST_OFFSETS: i16 = 9;
pub(crate) const OFFSET_FOR_LEADER_EPOCH: i16 = 4;
pub(crate) const LEADER_AND_ISR: i16 = 7;
pub(crate) const STOP_REPLICA: i16 = 4;
pub(crate) const UPDATE_METADATA: i16 = 8;
pub(crate) const CONTROLLED_SHUTDOWN: i16 = 3;
pub(crate) const ADD_PARTITIONS_TO_TXN: i16 = 5;
pub(crate) const WRITE_TXN_MARKERS: i16 = 1;
pub(crate) const ALTER_PARTITION: i16 = 3;
pub(crate) const ALLOCATE_PRODUCER_IDS: i16 = 0;
