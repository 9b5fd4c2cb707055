//! ElectLeaders: an administrator asks for elections, of preferred replicas or out of sync (KIP-460).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use coordinator::cluster::{ElectionKind, ElectionRefusal, Reply};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use storage::types::{BrokerId, TopicPartition};
use tokio::time::{Instant, timeout_at};

use crate::cluster::controller::Question;
use crate::handlers::Context;
use crate::house::House;

/// What became of one election; `None` is success. The message is the client's to read.
type Verdict = Option<(ResponseError, Option<String>)>;

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: ElectLeadersRequest,
) -> ElectLeadersResponse {
    let patience = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let deadline = Instant::now() + patience;
    let asked = request.topic_partitions.as_ref().map(|topics| {
        let named = topics.iter().flat_map(|topic| {
            let name: Arc<str> = topic.topic.0.as_str().into();
            topic.partitions.iter().map(move |index| TopicPartition::new(Arc::clone(&name), *index))
        });
        named.collect::<BTreeSet<_>>()
    });
    let all = asked.is_none();
    let partitions = asked.unwrap_or_else(|| known_partitions(house));
    let kind = match request.election_type {
        0 => ElectionKind::Preferred,
        1 => ElectionKind::Unclean,
        _ => {
            let unknown = Some((ResponseError::UnknownServerError, None));
            let verdicts = partitions.into_iter().map(|partition| (partition, unknown.clone()));
            let verdicts = if all { BTreeMap::new() } else { verdicts.collect() };
            return respond(verdicts).with_error_code(ResponseError::UnknownServerError.code());
        }
    };
    let question = Question::ElectLeaders { kind, partitions: Some(partitions.clone()) };
    let Ok(Reply::ElectLeaders(results)) = house.to_controller().here().ask(question).await else {
        let elsewhere = Some((ResponseError::NotController, None));
        return respond(partitions.into_iter().map(|partition| (partition, elsewhere.clone())).collect());
    };
    let mut verdicts = BTreeMap::new();
    let mut elected = BTreeMap::new();
    for (partition, result) in results {
        match result {
            Ok(leader) => {
                elected.insert(partition, leader);
            }
            Err(refusal) => {
                let refused = verdict(&partition, refusal, kind);
                // Who asks for all wants to hear only of those that were concerned.
                let unconcerned = matches!(refused, Some((ResponseError::ElectionNotNeeded, _)));
                if !(all && unconcerned) {
                    verdicts.insert(partition, refused);
                }
            }
        }
    }
    verdicts.extend(seen(house, elected, deadline).await);
    respond(verdicts)
}

fn known_partitions(house: &House) -> BTreeSet<TopicPartition> {
    let cluster = house.metadata.snapshot();
    let of_topic = |topic: &Arc<crate::metadata::TopicMetadata>| {
        let name = Arc::clone(&topic.name);
        let indexes: Vec<i32> = topic.partitions.keys().copied().collect();
        indexes.into_iter().map(move |index| TopicPartition::new(Arc::clone(&name), index))
    };
    cluster.topics().flat_map(of_topic).collect()
}

/// Waits until this broker's metadata show the new leaders.
async fn seen(
    house: &House,
    mut elected: BTreeMap<TopicPartition, BrokerId>,
    deadline: Instant,
) -> Vec<(TopicPartition, Verdict)> {
    let mut verdicts = Vec::new();
    let mut changes = house.metadata.changes();
    loop {
        let cluster = house.metadata.snapshot();
        elected.retain(|partition, leader| {
            let known = cluster.partition(&partition.topic, partition.partition);
            let shown = known.is_some_and(|known| known.leader == *leader);
            if shown {
                verdicts.push((partition.clone(), None));
            }
            !shown
        });
        if elected.is_empty() {
            return verdicts;
        }
        if !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
            let late = Some((ResponseError::RequestTimedOut, None));
            verdicts.extend(elected.into_keys().map(|partition| (partition, late.clone())));
            return verdicts;
        }
    }
}

fn verdict(partition: &TopicPartition, refusal: ElectionRefusal, kind: ElectionKind) -> Verdict {
    Some(match refusal {
        ElectionRefusal::NotNeeded => (
            ResponseError::ElectionNotNeeded,
            Some("Leader election not needed for topic partition.".to_owned()),
        ),
        ElectionRefusal::TopicBeingDeleted => {
            (ResponseError::InvalidTopicException, Some("The topic is being deleted".to_owned()))
        }
        ElectionRefusal::UnknownPartition => {
            (ResponseError::UnknownTopicOrPartition, Some("The partition does not exist.".to_owned()))
        }
        ElectionRefusal::NoEligibleLeader(_) => {
            let (error, strategy) = match kind {
                ElectionKind::Preferred => (
                    ResponseError::PreferredLeaderNotAvailable,
                    "PreferredReplicaPartitionLeaderElectionStrategy",
                ),
                ElectionKind::Unclean => (
                    ResponseError::EligibleLeadersNotAvailable,
                    "OfflinePartitionLeaderElectionStrategy(true)",
                ),
            };
            let message =
                format!("Failed to elect leader for partition {partition} under strategy {strategy}");
            (error, Some(message))
        }
        ElectionRefusal::Failed(reason) => (ResponseError::UnknownServerError, Some(reason)),
    })
}

fn respond(verdicts: BTreeMap<TopicPartition, Verdict>) -> ElectLeadersResponse {
    let mut topics: BTreeMap<Arc<str>, Vec<PartitionResult>> = BTreeMap::new();
    for (partition, verdict) in verdicts {
        let (code, message) = verdict.map_or((0, None), |(error, message)| (error.code(), message));
        let result = PartitionResult::default()
            .with_partition_id(partition.partition)
            .with_error_code(code)
            .with_error_message(message.map(StrBytes::from_string));
        topics.entry(partition.topic).or_default().push(result);
    }
    let results = topics.into_iter().map(|(topic, partitions)| {
        ReplicaElectionResult::default()
            .with_topic(TopicName(StrBytes::from_string(topic.to_string())))
            .with_partition_result(partitions)
    });
    ElectLeadersResponse::default().with_replica_election_results(results.collect())
}
