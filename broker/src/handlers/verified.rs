//! The transactional part of a Produce request: which partitions it may write to (KIP-890).
//!
//! A partition that knows the producer's transaction takes its records at once; for the others the coordinator is
//! asked, together.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ProduceRequest;
use storage::batch::{self, ProducerStamp};
use storage::producers::VerificationGuard;
use storage::types::TopicPartition;

use crate::colleagues::Question;
use crate::house::House;
use crate::partition::ProduceError;
use crate::transactions::verification::{self, Asker};
use coordinator::transactions::Identity;

const ABORTABLE_SINCE: i16 = 11;

/// What came of it for each partition; one that is not here needs nothing.
#[derive(Default)]
pub(super) struct Verified {
    partitions: BTreeMap<TopicPartition, Result<VerificationGuard, ResponseError>>,
}

impl Verified {
    /// What is to be presented with the records for a partition, or why they are refused.
    pub(super) fn guard(&self, topic: &str, partition: i32) -> Result<VerificationGuard, ProduceError> {
        if self.partitions.is_empty() {
            return Ok(VerificationGuard::NONE);
        }
        let found = self.partitions.get(&TopicPartition::new(topic, partition));
        found.copied().unwrap_or(Ok(VerificationGuard::NONE)).map_err(refusal)
    }
}

/// `Err` refuses the whole request.
pub(super) async fn verify(
    house: &House,
    version: i16,
    request: &ProduceRequest,
) -> Result<Verified, ProduceError> {
    let Some((identity, first_sequences)) = transactional(house, request)? else {
        return Ok(Verified::default());
    };
    let Some(transactional_id) = &request.transactional_id else { return Ok(Verified::default()) };
    if !house.live.current().transactions.verification {
        return Ok(Verified::default());
    }
    let mut verified = Verified::default();
    let mut open = Vec::new();
    for (id, sequence) in first_sequences {
        let started = house
            .partitions
            .find_by_id(&house.metadata, &id)
            .and_then(|partition| partition.start_verification(identity.producer, identity.epoch, sequence));
        match started {
            Ok(VerificationGuard::NONE) => {}
            Ok(guard) => {
                verified.partitions.insert(id.clone(), Ok(guard));
                open.push(id);
            }
            Err(error) => {
                verified.partitions.insert(id, Err(error));
            }
        }
    }
    if !open.is_empty() {
        let asker = if version >= ABORTABLE_SINCE { Asker::Recent } else { Asker::Old };
        let question = Question { transactional_id: &transactional_id.0, identity, partitions: &open };
        for (id, error) in verification::verify(house, &question, asker).await {
            verified.partitions.insert(id, Err(error));
        }
    }
    Ok(verified)
}

/// Partitions that exist, each with the first sequence that is written to it.
type FirstSequences = BTreeMap<TopicPartition, i32>;

/// The one producer whose transactional records these are, and where they go.
fn transactional(
    house: &House,
    request: &ProduceRequest,
) -> Result<Option<(Identity, FirstSequences)>, ProduceError> {
    let metadata = house.metadata.snapshot();
    let mut producer: Option<Identity> = None;
    let mut first_sequences = FirstSequences::new();
    for topic in &request.topic_data {
        let name: Arc<str> = Arc::from(&*topic.name.0);
        for data in &topic.partition_data {
            let Some(records) = &data.records else { continue };
            if metadata.partition(&name, data.index).is_none() {
                continue;
            }
            let batches = batch::headers(records).filter_map(Result::ok).map(|located| located.batch);
            for stamp in batches.filter(|it| it.is_transactional()).filter_map(|it| it.producer()) {
                let identity = identity(&stamp);
                if producer.is_some_and(|known| known != identity) {
                    let message = "Transactional records contained more than one producer ID";
                    return Err(worded(ResponseError::InvalidProducerIdMapping, message.to_owned()));
                }
                producer = Some(identity);
                let id = TopicPartition::new(Arc::clone(&name), data.index);
                first_sequences.entry(id).or_insert(stamp.first_sequence);
            }
        }
    }
    Ok(producer.map(|producer| (producer, first_sequences)))
}

fn identity(stamp: &ProducerStamp) -> Identity {
    Identity { producer: stamp.id, epoch: stamp.epoch }
}

fn worded(code: ResponseError, message: String) -> ProduceError {
    ProduceError { message: Some(message), ..code.into() }
}

/// In words that producers know what to do about.
fn refusal(error: ResponseError) -> ProduceError {
    match error {
        ResponseError::InvalidTxnState => {
            worded(error, "Partition was not added to the transaction".to_owned())
        }
        ResponseError::ConcurrentTransactions
        | ResponseError::NetworkException
        | ResponseError::CoordinatorLoadInProgress
        | ResponseError::CoordinatorNotAvailable
        | ResponseError::NotCoordinator => worded(
            ResponseError::NotEnoughReplicas,
            format!(
                "Unable to verify the partition has been added to the transaction. Underlying error: {}",
                kafka_name(error)
            ),
        ),
        error => error.into(),
    }
}

/// As Kafka's own enumeration calls it.
fn kafka_name(error: ResponseError) -> &'static str {
    match error {
        ResponseError::ConcurrentTransactions => "CONCURRENT_TRANSACTIONS",
        ResponseError::NetworkException => "NETWORK_EXCEPTION",
        ResponseError::CoordinatorLoadInProgress => "COORDINATOR_LOAD_IN_PROGRESS",
        ResponseError::CoordinatorNotAvailable => "COORDINATOR_NOT_AVAILABLE",
        _ => "NOT_COORDINATOR",
    }
}
