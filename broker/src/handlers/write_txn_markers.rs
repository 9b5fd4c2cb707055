//! WriteTxnMarkers: a transaction coordinator tells the leaders of partitions how a transaction ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use coordinator::transactions::Outcome;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::write_txn_markers_request::WritableTxnMarker;
use kafka_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use kafka_protocol::messages::{ProducerId, WriteTxnMarkersRequest, WriteTxnMarkersResponse};
use kafka_protocol::protocol::StrBytes;
use storage::types::TopicPartition;
use tokio::task::JoinSet;

use crate::colleagues::{Marker, MarkerResults};
use crate::handlers::Context;
use crate::handlers::transaction_words::identity;
use crate::house::House;
use crate::transactions::marking;

/// By producer id, topic and partition; a producer that is named twice has its results together.
type Results = BTreeMap<i64, BTreeMap<Arc<str>, BTreeMap<i32, i16>>>;

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: WriteTxnMarkersRequest,
) -> WriteTxnMarkersResponse {
    if request.markers.iter().any(is_of_nobody) {
        return refuse_all(&request);
    }
    let mut writing = JoinSet::new();
    for marker in &request.markers {
        let (marker, partitions) = read(marker);
        let house = Arc::clone(house);
        // Each appends at its first step, and then only waits.
        writing.spawn(async move {
            (marker.identity.producer.0, marking::mark_own(&house, marker, partitions).await)
        });
    }
    let mut results = Results::new();
    while let Some(written) = writing.join_next().await {
        if let Ok((producer, written)) = written {
            note(results.entry(producer).or_default(), written);
        }
    }
    WriteTxnMarkersResponse::default().with_markers(results.into_iter().map(told).collect())
}

/// Kafka fails over such a marker, and with it over the whole request.
fn is_of_nobody(marker: &WritableTxnMarker) -> bool {
    marker.producer_id.0 < 0 || marker.producer_epoch < 0
}

fn refuse_all(request: &WriteTxnMarkersRequest) -> WriteTxnMarkersResponse {
    let mut results = Results::new();
    for (marker, partitions) in request.markers.iter().map(read) {
        let refused = partitions.into_iter().map(|id| (id, Err(ResponseError::UnknownServerError)));
        note(results.entry(marker.identity.producer.0).or_default(), refused.collect());
    }
    WriteTxnMarkersResponse::default().with_markers(results.into_iter().map(told).collect())
}

fn read(marker: &WritableTxnMarker) -> (Marker, Vec<TopicPartition>) {
    let outcome = if marker.transaction_result { Outcome::Commit } else { Outcome::Abort };
    let partitions = marker.topics.iter().flat_map(|topic| {
        let name: Arc<str> = Arc::from(&*topic.name.0);
        let of_topic = topic.partition_indexes.iter();
        of_topic.map(move |partition| TopicPartition::new(Arc::clone(&name), *partition))
    });
    let marker = Marker {
        identity: identity(marker.producer_id, marker.producer_epoch),
        outcome,
        coordinator_epoch: marker.coordinator_epoch,
    };
    (marker, partitions.collect())
}

fn note(results: &mut BTreeMap<Arc<str>, BTreeMap<i32, i16>>, written: MarkerResults) {
    for (partition, result) in written {
        let code = result.err().map_or(0, |error| error.code());
        results.entry(partition.topic).or_default().insert(partition.partition, code);
    }
}

fn told((producer, topics): (i64, BTreeMap<Arc<str>, BTreeMap<i32, i16>>)) -> WritableTxnMarkerResult {
    let topics = topics.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(partition, code)| {
            WritableTxnMarkerPartitionResult::default().with_partition_index(partition).with_error_code(code)
        });
        WritableTxnMarkerTopicResult::default()
            .with_name(kafka_protocol::messages::TopicName(StrBytes::from_string(name.to_string())))
            .with_partitions(partitions.collect())
    });
    WritableTxnMarkerResult::default().with_producer_id(ProducerId(producer)).with_topics(topics.collect())
}
