//! What a transaction coordinator is asked, and what it answers: the words between `broker` and the machine.

use std::collections::BTreeSet;

use storage::types::{ProducerId, TimestampMs, TopicPartition};

use super::record::TransactionalId;
use super::refusal::TransactionError;
use super::state::{Outcome, State};

/// A producer as the coordinator tells it from its predecessors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    pub producer: ProducerId,
    pub epoch: i16,
}

/// Whatever may change a transaction. Questions that change nothing are methods of [`super::Transactions`].
#[derive(Clone, Debug)]
pub enum Command {
    Init(Init),
    /// AddPartitionsToTxn, and AddOffsetsToTxn with the partition of the group's offsets.
    AddPartitions {
        id: TransactionalId,
        identity: Identity,
        partitions: BTreeSet<TopicPartition>,
    },
    End {
        id: TransactionalId,
        identity: Identity,
        outcome: Outcome,
    },
    /// These partitions have their markers, or are gone.
    Marked {
        id: TransactionalId,
        identity: Identity,
        partitions: BTreeSet<TopicPartition>,
    },
}

/// InitProducerId with a transactional id.
#[derive(Clone, Debug)]
pub struct Init {
    pub id: TransactionalId,
    /// Unit: ms. Range: `1..=transaction.max.timeout.ms`.
    pub timeout_ms: i32,
    /// Who the producer believes to be (KIP-360); a producer that starts does not say.
    pub expected: Option<Identity>,
    /// A producer id that nobody has had, where one may be needed; see [`Initialized::NeedsProducerId`].
    pub fresh: Option<ProducerId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Init(Result<Initialized, TransactionError>),
    AddPartitions(Result<(), TransactionError>),
    End(Result<(), TransactionError>),
    Marked(Result<(), TransactionError>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initialized {
    Ready(Identity),
    /// Nothing was changed: to be asked again with a fresh producer id.
    NeedsProducerId,
}

/// A transaction whose outcome is decided, for whoever writes the markers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    pub id: TransactionalId,
    pub identity: Identity,
    pub outcome: Outcome,
    /// Those without a marker yet; when none is left, the end is still to be written down.
    pub partitions: BTreeSet<TopicPartition>,
}

/// A transactional id as DescribeTransactions shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub state: State,
    pub identity: Identity,
    /// Unit: ms.
    pub timeout_ms: i32,
    pub started_at: TimestampMs,
    pub partitions: BTreeSet<TopicPartition>,
}

/// A transactional id as ListTransactions shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    pub id: TransactionalId,
    pub producer: ProducerId,
    pub state: State,
    pub started_at: TimestampMs,
}
