//! What a runner needs of a log, and of a machine whose records go into one.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use coordinator::machine::{AppendFailure, Machine};
use storage::batch::TargetCompression;
use storage::types::{Offset, TimestampMs};
use tokio::time::Instant;

/// The log of one machine: a partition that this broker leads.
pub(crate) trait Journal: Send + Sync + 'static {
    /// Stands for an append, to wait for its commit by.
    type Receipt: Clone + Send + 'static;

    /// Appends one batch; on `Err` nothing was written.
    fn append(&self, batch: Bytes) -> Result<Self::Receipt, AppendFailure>;

    /// Where the first record of the batch is.
    fn base_offset(receipt: &Self::Receipt) -> Offset;

    fn is_committed(&self, receipt: &Self::Receipt) -> bool;

    /// Ends with `TimedOut` at the deadline, and with `NotLeader` where the leadership is lost before.
    fn committed(
        &self,
        receipt: &Self::Receipt,
        deadline: Instant,
    ) -> impl Future<Output = Result<(), AppendFailure>> + Send;

    /// Whole entries from `from` on; empty at the end of the log. `from` below the log's start begins there.
    fn read(&self, from: Offset) -> Result<Bytes, AppendFailure>;
}

/// How a room writes its records, and how long it waits for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writing {
    pub(crate) compression: TargetCompression,
    pub(crate) commit_timeout: Duration,
}

/// How the records of a machine look in its log.
pub(crate) trait Journaled:
    Machine<Command: Send, Record: Send, Note: Send, Reply: Send> + Send + 'static
{
    /// The batches that hold `records`, in order, each with how many of them it holds.
    ///
    /// Usually one, so that a decision is in the log as a whole or not at all; more only where the records do not
    /// depend on each other and would be too large for one.
    fn encode(
        records: &[Self::Record],
        now: TimestampMs,
        compression: TargetCompression,
    ) -> Result<Vec<(Bytes, usize)>, AppendFailure>;

    /// Reads one entry of the log; what cannot be understood is passed over, and said once.
    fn decode(entry: &Bytes, each: &mut dyn FnMut(Offset, Self::Record));
}
