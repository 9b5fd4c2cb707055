//! What a partition knows of transactional producers: which of them are active, and whether a transaction was verified.

use kafka_protocol::error::ResponseError;
use storage::producers::{ProducerEntry, VerificationGuard};
use storage::types::{LeaderEpoch, ProducerId};

use crate::clock;
use crate::partition::Partition;

impl Partition {
    /// What is to be presented with the next batch of `producer` once the transaction coordinator has confirmed that
    /// the partition belongs to its transaction (KIP-890). [`VerificationGuard::NONE`]: it is known to, nobody is to
    /// be asked.
    pub(crate) fn start_verification(
        &self,
        producer: ProducerId,
        epoch: i16,
        sequence: i32,
    ) -> Result<VerificationGuard, ResponseError> {
        let mut inner = self.lock();
        inner.check_epoch(LeaderEpoch::NONE, true)?;
        Ok(inner.log.start_verification(producer, sequence, epoch, clock::wall()))
    }

    /// The coordinator has confirmed what `guard` was made for: the group coordinator may append for `producer`.
    pub(crate) fn confirm_verification(&self, producer: ProducerId, guard: VerificationGuard) {
        self.lock().log.confirm_verification(producer, guard);
    }

    /// Idempotent and transactional producers that have written here lately.
    pub(crate) fn active_producers(&self) -> Result<Vec<ProducerEntry>, ResponseError> {
        let inner = self.lock();
        inner.check_epoch(LeaderEpoch::NONE, false)?;
        Ok(inner.log.producers().copied().collect())
    }
}
