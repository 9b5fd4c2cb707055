//! Writes transaction markers into partitions that this broker leads.

use std::sync::Arc;

use coordinator::groups::Record;
use coordinator::transactions::{Identity, Outcome};
use kafka_protocol::error::ResponseError;
use storage::batch::{BatchBuilder, BatchError, BatchOptions, BatchProducer, EndTransaction, Origin};
use storage::types::TopicPartition;
use tokio::time::Instant;
use tracing::error;

use crate::clock;
use crate::colleagues::{Marker, MarkerResults};
use crate::house::House;
use crate::machines::group_room::OFFSETS_TOPIC;
use crate::partition::{Acks, Appended, Partition};

/// Appends the marker to each of the partitions, and waits until all in-sync replicas have it. Offsets of the
/// transaction count from then on.
pub(crate) async fn mark_own(
    house: &Arc<House>,
    marker: Marker,
    partitions: Vec<TopicPartition>,
) -> MarkerResults {
    let deadline = Instant::now() + house.config.between_brokers.request_timeout;
    let appended: Vec<_> = partitions.into_iter().map(|id| (append(house, marker, &id), id)).collect();
    let mut results = Vec::with_capacity(appended.len());
    for (appended, id) in appended {
        let result = match appended {
            Ok((partition, appended)) => match partition.committed(&appended, deadline).await {
                Ok(()) => {
                    tell_groups(house, marker, &id, &appended);
                    Ok(())
                }
                Err(error) => Err(error.code),
            },
            Err(error) => Err(error),
        };
        results.push((id, result));
    }
    results
}

fn append(
    house: &House,
    marker: Marker,
    id: &TopicPartition,
) -> Result<(Arc<Partition>, Appended), ResponseError> {
    let partition = house.partitions.find_by_id(&house.metadata, id)?;
    let batch = encode(marker).map_err(|error| {
        error!(%error, "a transaction marker cannot be put into a batch");
        ResponseError::UnknownServerError
    })?;
    let appended = partition.append(batch, Origin::Coordinator, Acks::All).map_err(|error| error.code)?;
    Ok((partition, appended))
}

fn encode(marker: Marker) -> Result<bytes::Bytes, BatchError> {
    let Identity { producer, epoch } = marker.identity;
    let mut builder = BatchBuilder::new(BatchOptions {
        producer: BatchProducer { id: producer, epoch, ..BatchProducer::NONE },
        is_transactional: true,
        is_control: true,
        ..BatchOptions::default()
    })?;
    let end = match marker.outcome {
        Outcome::Commit => EndTransaction::Commit,
        Outcome::Abort => EndTransaction::Abort,
    };
    builder.append_end_transaction(clock::wall(), end, marker.coordinator_epoch)?;
    builder.build()
}

fn tell_groups(house: &House, marker: Marker, id: &TopicPartition, appended: &Appended) {
    if &*id.topic == OFFSETS_TOPIC {
        let committed = marker.outcome == Outcome::Commit;
        let end = Record::TransactionEnd { producer: marker.identity.producer, committed };
        house.groups.seats().observe(id.partition, appended.base_offset, end);
    }
}
