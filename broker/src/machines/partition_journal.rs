//! A partition that this broker leads, as the log of a machine.

use std::sync::Arc;

use bytes::Bytes;
use coordinator::machine::AppendFailure;
use kafka_protocol::error::ResponseError;
use storage::batch::Origin;
use storage::types::{LeaderEpoch, Offset};
use tokio::time::Instant;

use crate::machines::journal::Journal;
use crate::partition::reading::{Isolation, Read};
use crate::partition::{Acks, Appended, Partition};

/// Read at once when a machine is loaded; a larger batch is read whole all the same. Unit: bytes.
const READ_BYTES: usize = 4 << 20;

#[derive(Clone)]
pub(crate) struct PartitionJournal {
    pub(crate) partition: Arc<Partition>,
    /// `offsets.commit.required.acks` and the like; `All` unless an operator insists.
    pub(crate) acks: Acks,
}

impl Journal for PartitionJournal {
    type Receipt = Appended;

    fn append(&self, batch: Bytes) -> Result<Appended, AppendFailure> {
        self.partition.append(batch, Origin::Coordinator, self.acks).map_err(|error| failure(error.code))
    }

    fn base_offset(receipt: &Appended) -> Offset {
        receipt.base_offset
    }

    fn is_committed(&self, receipt: &Appended) -> bool {
        self.acks != Acks::All || self.partition.is_committed(receipt)
    }

    async fn committed(&self, receipt: &Appended, deadline: Instant) -> Result<(), AppendFailure> {
        self.partition.committed(receipt, deadline).await.map_err(|error| failure(error.code))
    }

    fn read(&self, from: Offset) -> Result<Bytes, AppendFailure> {
        let read = Read {
            offset: from.max(self.partition.start_offset()),
            max_bytes: READ_BYTES,
            isolation: Isolation::LogEnd,
            current_leader_epoch: LeaderEpoch::NONE,
            last_fetched_epoch: LeaderEpoch::NONE,
            leader_only: true,
            at_least_one: true,
            follower: None,
        };
        Ok(self.partition.read(&read).map_err(failure)?.records.into_bytes())
    }
}

fn failure(code: ResponseError) -> AppendFailure {
    match code {
        ResponseError::UnknownTopicOrPartition => AppendFailure::UnknownPartition,
        ResponseError::NotLeaderOrFollower => AppendFailure::NotLeader,
        ResponseError::NotEnoughReplicas | ResponseError::NotEnoughReplicasAfterAppend => {
            AppendFailure::NotEnoughReplicas
        }
        ResponseError::MessageTooLarge | ResponseError::RecordListTooLarge => AppendFailure::TooLarge,
        ResponseError::RequestTimedOut => AppendFailure::TimedOut,
        ResponseError::InvalidProducerEpoch => AppendFailure::ProducerFenced,
        ResponseError::InvalidTxnState => AppendFailure::NotInTransaction,
        _ => AppendFailure::Storage,
    }
}
