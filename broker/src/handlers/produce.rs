//! Produce: appends in arrival order, then waits for the in-sync replicas where acks=all asks for it. What it costs its client's
//! quotas is settled before that wait: the next request must not come in meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{BrokerId, ProduceRequest, ProduceResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use storage::batch::{self, Origin};
use storage::producers::VerificationGuard;
use storage::types::{LeaderEpoch, Offset};
use tokio::time::Instant;
use tracing::info;

use crate::handlers::Context;
use crate::handlers::topics::is_internal;
use crate::handlers::verified::{self, Verified};
use crate::house::House;
use crate::partition::{Acks, Appended, Partition, ProduceError};
use crate::quota;
use crate::wire::reply::{self, Reply};

/// `client.id` of Kafka's own admin tools, the only producers to internal topics.
const ADMIN_CLIENT_ID: &str = "__admin_client";

const CURRENT_LEADER_SINCE: i16 = 10;
const RECORD_ERRORS_SINCE: i16 = 8;
const LOG_START_SINCE: i16 = 5;
const APPEND_TIME_SINCE: i16 = 2;

/// One partition's outcome, and what is left to wait for.
struct Outcome {
    partition: i32,
    result: Result<Appended, ProduceError>,
    wait: Option<Arc<Partition>>,
}

pub(crate) async fn handle(house: &Arc<House>, context: &Context, request: ProduceRequest) -> Reply {
    let deadline = Instant::now() + Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let mut topics = match has_transactional_records(&request) {
        Ok(true) if request.transactional_id.is_none() => {
            refuse_all(&request, &ResponseError::TransactionalIdAuthorizationFailed.into())
        }
        Ok(false) => append_all(house, context, &request, &Verified::default()),
        Ok(true) => match verified::verify(house, context.version, &request).await {
            Ok(verified) => append_all(house, context, &request, &verified),
            Err(refused) => refuse_all(&request, &refused),
        },
        Err(unreadable) => refuse_all(&request, &unreadable),
    };
    let wait = quota::wire_ms(house.quotas.produced(context, request.acks != 0));
    if request.acks == 0 {
        return without_answer(context, &topics);
    }
    if topics.iter().all(|(_, outcomes)| outcomes.iter().all(|outcome| outcome.wait.is_none())) {
        let response = response(house, context, topics).with_throttle_time_ms(wait);
        return match reply::encode(&response, context.version, context.correlation_id, &[]) {
            Ok(pieces) => Reply::Ready(pieces),
            Err(error) => Reply::Later(Box::pin(std::future::ready(Err(error)))),
        };
    }
    let (house, context) = (Arc::clone(house), context.clone());
    Reply::Later(Box::pin(async move {
        for (_, outcomes) in &mut topics {
            for outcome in outcomes {
                outcome.settle(deadline).await;
            }
        }
        let response = response(&house, &context, topics).with_throttle_time_ms(wait);
        reply::encode(&response, context.version, context.correlation_id, &[])
    }))
}

fn refuse_all(request: &ProduceRequest, error: &ProduceError) -> Vec<(TopicName, Vec<Outcome>)> {
    let refused = |data: &PartitionProduceData| Outcome {
        partition: data.index,
        result: Err(error.clone()),
        wait: None,
    };
    let topics = request.topic_data.iter();
    topics.map(|topic| (topic.name.clone(), topic.partition_data.iter().map(refused).collect())).collect()
}

/// Looks at the batches of the whole request, as Kafka does before it takes any of them: bytes that are no batch at
/// all refuse everything.
fn has_transactional_records(request: &ProduceRequest) -> Result<bool, ProduceError> {
    let data = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    for records in data.filter_map(|data| data.records.as_ref()) {
        for located in batch::headers(records) {
            match located {
                Ok(located) if located.batch.is_transactional() => return Ok(true),
                Ok(_) => {}
                Err(error) => {
                    let code = ResponseError::CorruptMessage;
                    return Err(ProduceError { message: Some(error.to_string()), ..code.into() });
                }
            }
        }
    }
    Ok(false)
}

impl Outcome {
    /// Waits until the records are committed; a lost leadership or the deadline turns success into an error.
    async fn settle(&mut self, deadline: Instant) {
        let (Some(partition), Ok(appended)) = (self.wait.take(), &self.result) else { return };
        if let Err(error) = partition.committed(appended, deadline).await {
            self.result = Err(error);
        }
    }
}

fn append_all(
    house: &House,
    context: &Context,
    request: &ProduceRequest,
    verified: &Verified,
) -> Vec<(TopicName, Vec<Outcome>)> {
    let acks = Acks::from_wire(request.acks);
    request
        .topic_data
        .iter()
        .map(|topic| {
            let outcomes = topic
                .partition_data
                .iter()
                .map(|data| {
                    let guard = verified.guard(&topic.name, data.index);
                    append(house, context, acks, &topic.name, data, guard)
                })
                .collect();
            (topic.name.clone(), outcomes)
        })
        .collect()
}

fn append(
    house: &House,
    context: &Context,
    acks: Option<Acks>,
    topic: &TopicName,
    data: &PartitionProduceData,
    guard: Result<VerificationGuard, ProduceError>,
) -> Outcome {
    let refused = |result| Outcome { partition: data.index, result: Err(result), wait: None };
    let Some(acks) = acks else { return refused(ResponseError::InvalidRequiredAcks.into()) };
    if house.metadata.snapshot().partition(topic, data.index).is_none() {
        return refused(ResponseError::UnknownTopicOrPartition.into());
    }
    if is_internal(topic) && &*context.client_id != ADMIN_CLIENT_ID {
        return refused(ResponseError::InvalidTopicException.into());
    }
    let partition = match house.partitions.find(&house.metadata, topic, data.index) {
        Ok(partition) => partition,
        Err(error) => return refused(error.into()),
    };
    let guard = match guard {
        Ok(guard) => guard,
        Err(error) => return refused(error),
    };
    let records = data.records.clone().unwrap_or_default();
    let origin = Origin::Client { produce_version: context.version };
    let result = partition.append_verified(records, origin, acks, guard);
    let wait = (acks == Acks::All && result.is_ok()).then_some(partition);
    let wait =
        wait.filter(|partition| result.as_ref().is_ok_and(|appended| !partition.is_committed(appended)));
    Outcome { partition: data.index, result, wait }
}

/// acks=0: the only answer to a failure is a closed connection, so that the producer refreshes its metadata.
fn without_answer(context: &Context, topics: &[(TopicName, Vec<Outcome>)]) -> Reply {
    let failures = topics.iter().flat_map(|(topic, outcomes)| {
        outcomes.iter().filter_map(move |outcome| {
            let error = outcome.result.as_ref().err()?;
            Some(format!("{}-{}: {error}", topic.0, outcome.partition))
        })
    });
    let failures: Vec<String> = failures.collect();
    if failures.is_empty() {
        return Reply::None;
    }
    info!(
        client = %context.connection.address,
        client_id = %context.client_id,
        failures = failures.join(", "),
        "closing the connection of a producer with acks=0 so that it learns of the failure"
    );
    Reply::Close
}

fn response(house: &House, context: &Context, topics: Vec<(TopicName, Vec<Outcome>)>) -> ProduceResponse {
    let mut leaders = Leaders { house, context, endpoints: BTreeMap::new() };
    let responses = topics
        .into_iter()
        .map(|(name, outcomes)| {
            let partitions = outcomes
                .into_iter()
                .map(|outcome| {
                    let response = partition_response(context.version, &outcome);
                    leaders.point_out(&name, &outcome, response)
                })
                .collect();
            TopicProduceResponse::default().with_name(name).with_partition_responses(partitions)
        })
        .collect();
    ProduceResponse::default()
        .with_responses(responses)
        .with_node_endpoints(leaders.endpoints.into_values().collect())
}

fn partition_response(version: i16, outcome: &Outcome) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(outcome.partition);
    match &outcome.result {
        Ok(appended) => {
            let response = response.with_base_offset(appended.base_offset.0);
            let response = match appended.log_append_time {
                Some(time) if version >= APPEND_TIME_SINCE => response.with_log_append_time_ms(time.0),
                _ => response,
            };
            match version {
                LOG_START_SINCE.. => response.with_log_start_offset(appended.log_start.0),
                _ => response,
            }
        }
        Err(error) => {
            let response = response.with_error_code(error.code.code()).with_base_offset(Offset::NONE.0);
            let response = match (version, error.log_start) {
                (LOG_START_SINCE.., start) => response.with_log_start_offset(start.0),
                _ => response,
            };
            if version < RECORD_ERRORS_SINCE {
                return response;
            }
            let record_errors = error.record_errors.iter().map(|(index, message)| {
                BatchIndexAndErrorMessage::default()
                    .with_batch_index(*index)
                    .with_batch_index_error_message(message.clone().map(StrBytes::from_string))
            });
            response
                .with_record_errors(record_errors.collect())
                .with_error_message(error.message.clone().map(StrBytes::from_string))
        }
    }
}

/// Tells a producer that came to the wrong broker where the leader is (KIP-951).
struct Leaders<'a> {
    house: &'a House,
    context: &'a Context,
    endpoints: BTreeMap<i32, NodeEndpoint>,
}

impl Leaders<'_> {
    fn point_out(
        &mut self,
        topic: &TopicName,
        outcome: &Outcome,
        response: PartitionProduceResponse,
    ) -> PartitionProduceResponse {
        let moved =
            outcome.result.as_ref().is_err_and(|error| error.code == ResponseError::NotLeaderOrFollower);
        if !moved || self.context.version < CURRENT_LEADER_SINCE {
            return response;
        }
        let metadata = self.house.metadata.snapshot();
        let (leader, epoch) = metadata
            .partition(topic, outcome.partition)
            .map_or((storage::types::BrokerId::NONE, LeaderEpoch::NONE), |state| {
                (state.leader, state.leader_epoch)
            });
        if let Some(endpoint) = metadata.node(leader, &self.context.connection.listener) {
            let rack = metadata.broker(leader).and_then(|broker| broker.rack.clone());
            self.endpoints.insert(
                leader.0,
                NodeEndpoint::default()
                    .with_node_id(BrokerId(leader.0))
                    .with_host(StrBytes::from_string(endpoint.host.clone()))
                    .with_port(endpoint.port)
                    .with_rack(rack.map(StrBytes::from_string)),
            );
        }
        response.with_current_leader(
            LeaderIdAndEpoch::default().with_leader_id(BrokerId(leader.0)).with_leader_epoch(epoch.0),
        )
    }
}
