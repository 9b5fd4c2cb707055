//! Appends on the leader, and the wait for them to be committed.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use storage::batch::{self, Origin, Prepared, ProduceRules};
use storage::error::AppendError;
use storage::log::LeaderAppend;
use storage::producers::VerificationGuard;
use storage::types::{LeaderEpoch, Offset, TimestampMs, TopicPartition};
use tokio::time::{Instant, timeout_at};

use crate::clock;
use crate::config::topic::TopicConfig;
use crate::partition::surroundings::Surroundings;
use crate::partition::{Inner, Partition, ProduceError, Role};

/// What a producer wants to have happened before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acks {
    None,
    Leader,
    All,
}

impl Acks {
    /// `None` for anything but 0, 1 and -1.
    pub(crate) fn from_wire(acks: i16) -> Option<Acks> {
        match acks {
            0 => Some(Acks::None),
            1 => Some(Acks::Leader),
            -1 => Some(Acks::All),
            _ => None,
        }
    }
}

/// Records that are in the leader's log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Appended {
    /// See `Leader::since`: as long as it lasts the records cannot have been replaced.
    pub(super) leadership: LeaderEpoch,
    pub(crate) base_offset: Offset,
    /// Exclusive: the offset after the last record.
    pub(crate) end: Offset,
    /// Only with `message.timestamp.type=LogAppendTime`.
    pub(crate) log_append_time: Option<TimestampMs>,
    pub(crate) log_start: Offset,
}

/// How far a partition is committed, for those that wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// See `Leader::since`. `None` while this broker is not the leader.
    pub(super) leading: Option<LeaderEpoch>,
    pub(super) high_watermark: Offset,
}

/// Why there is nothing new in the log.
#[derive(Debug)]
enum NotAppended {
    /// This replica may not, now.
    Role(ProduceError),
    Log(AppendError),
}

impl From<ProduceError> for NotAppended {
    fn from(error: ProduceError) -> Self {
        NotAppended::Role(error)
    }
}

impl From<AppendError> for NotAppended {
    fn from(error: AppendError) -> Self {
        NotAppended::Log(error)
    }
}

impl Partition {
    /// Checks the records, gives them offsets and writes them. On `Err` nothing was written.
    ///
    /// With `Acks::All` the caller still has to wait until they are [`committed`](Self::committed).
    pub(crate) fn append(
        &self,
        records: Bytes,
        origin: Origin,
        acks: Acks,
    ) -> Result<Appended, ProduceError> {
        self.append_verified(records, origin, acks, VerificationGuard::NONE)
    }

    /// Like [`append`](Self::append), for records that may begin a transaction in this partition: `guard` is of
    /// [`start_verification`](Self::start_verification), and the coordinator has confirmed it.
    pub(crate) fn append_verified(
        &self,
        records: Bytes,
        origin: Origin,
        acks: Acks,
        guard: VerificationGuard,
    ) -> Result<Appended, ProduceError> {
        let config = self.config();
        let now = clock::wall();
        let prepared = batch::prepare(records, &rules(&config, &self.id, origin), now)
            .map_err(|refusal| ProduceError::refused(refusal, || self.start_offset()))?;
        let mut inner = self.lock();
        let before = inner.log.high_watermark();
        let written = inner.append(prepared, (origin, guard), acks, &self.around, now);
        let (appended, rolled) = written.map_err(|error| self.not_appended(&inner, error))?;
        self.publish(&inner, before);
        if rolled {
            self.flush_later(&inner);
        }
        self.end_waiters.wake_all();
        Ok(appended)
    }

    /// The log's directory is told of what its disk did; the client of what follows for it.
    fn not_appended(&self, inner: &Inner, error: NotAppended) -> ProduceError {
        if let NotAppended::Log(AppendError::Storage(error)) = &error {
            self.directories.report_log(&inner.log.folder(), error);
        }
        let error = match error {
            NotAppended::Role(error) => error,
            NotAppended::Log(error) => error.into(),
        };
        error.told_with(inner.log.start())
    }

    /// A segment was completed: it goes to disk in the background, as Kafka does after a roll.
    pub(super) fn flush_later(&self, inner: &Inner) {
        let flush = inner.log.flush_inactive();
        let (directories, folder) = (Arc::clone(&self.directories), inner.log.folder());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = flush.run() {
                directories.report_log(&folder, &error);
            }
        });
    }

    /// Whether all in-sync replicas have the records.
    pub(crate) fn is_committed(&self, appended: &Appended) -> bool {
        let progress = *self.progress.borrow();
        progress.leading == Some(appended.leadership) && progress.high_watermark >= appended.end
    }

    /// Waits until all in-sync replicas have the records, `deadline` at the latest.
    pub(crate) async fn committed(&self, appended: &Appended, deadline: Instant) -> Result<(), ProduceError> {
        let mut progress = self.progress.subscribe();
        let epoch = Some(appended.leadership);
        let is_settled =
            |progress: &Progress| progress.leading != epoch || progress.high_watermark >= appended.end;
        // Copied out at once: what `wait_for` lends is locked, and `publish` waits for that lock with the partition's held.
        let settled = async { progress.wait_for(is_settled).await.map(|progress| progress.leading) };
        match timeout_at(deadline, settled).await {
            Ok(Ok(leading)) if leading != epoch => Err(ResponseError::NotLeaderOrFollower.into()),
            Ok(Ok(_)) => self.still_enough_in_sync(),
            Ok(Err(_)) => Err(ResponseError::NotLeaderOrFollower.into()),
            Err(_) => Err(ResponseError::RequestTimedOut.into()),
        }
    }

    /// The records are safe on those that are in sync, but those may have become too few meanwhile.
    fn still_enough_in_sync(&self) -> Result<(), ProduceError> {
        match &self.lock().role {
            Role::Leader(leader) if !leader.has_committed_to_enough() => {
                Err(ResponseError::NotEnoughReplicasAfterAppend.into())
            }
            _ => Ok(()),
        }
    }
}

impl Inner {
    /// Also tells whether a new segment was begun.
    fn append(
        &mut self,
        prepared: Option<Prepared>,
        (origin, verification): (Origin, VerificationGuard),
        acks: Acks,
        around: &Surroundings,
        now: TimestampMs,
    ) -> Result<(Appended, bool), NotAppended> {
        let Role::Leader(leader) = &mut self.role else {
            return Err(ProduceError::from(ResponseError::NotLeaderOrFollower).into());
        };
        if acks == Acks::All && !leader.has_enough_in_sync() {
            return Err(ProduceError::from(ResponseError::NotEnoughReplicas).into());
        }
        let (leader_epoch, leadership) = (leader.standing().leader_epoch, leader.since());
        let Some(prepared) = prepared else {
            let (end, log_start) = (self.log.end(), self.log.start());
            let nothing =
                Appended { leadership, base_offset: Offset::NONE, end, log_append_time: None, log_start };
            return Ok((nothing, false));
        };
        let written = self
            .log
            .append_as_leader(prepared, LeaderAppend { origin, epoch: leader_epoch, verification, now })?;
        let end = self.log.end();
        self.log.set_high_watermark(around.now(|moment| leader.on_append(end, moment)));
        let appended = Appended {
            leadership,
            base_offset: written.first,
            end: written.last.next(),
            log_append_time: written.append_time,
            log_start: written.log_start,
        };
        Ok((appended, written.rolled))
    }
}

fn rules(config: &TopicConfig, partition: &TopicPartition, origin: Origin) -> ProduceRules {
    ProduceRules {
        partition: partition.clone(),
        origin,
        compression: config.compression,
        timestamp_type: config.timestamp_type,
        timestamp_before_max_ms: config.timestamp_before_max_ms,
        timestamp_after_max_ms: config.timestamp_after_max_ms,
        max_message_bytes: config.max_message_bytes,
        compacted: config.log.cleanup.compact,
    }
}
