//! Fetch: records for consumers and followers, with sessions (KIP-227) and long polls.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, NodeEndpoint, PartitionData};
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use kafka_protocol::protocol::StrBytes;
use storage::disk::FileBytes;
use storage::types::{BrokerId, LeaderEpoch, TopicPartition};

use crate::clock;
use crate::config::replication::ReplicaSelector;
use crate::fetching::{self, Answer, Asked, FetchParams, LeaderHint, Source, Style, TopicStyle};
use crate::handlers::Context;
use crate::house::House;
use crate::metadata::MetadataSnapshot;
use crate::partition::Partition;
use crate::partition::reading::{Isolation, Read, Seen};
use crate::partition::waiters::{Registration, Waiter};
use crate::quota;
use crate::wire::reply::{self, Encoded};

/// From this version on a follower's id comes with its epoch.
const REPLICA_STATE_SINCE: i16 = 15;
/// From this version on an error of the whole request has a place of its own.
const ERROR_WITHOUT_PARTITIONS_SINCE: i16 = 13;

pub(crate) async fn handle(house: &Arc<House>, context: &Context, request: FetchRequest) -> Encoded {
    let version = context.version;
    let (response, records) = match params(house, version, &request) {
        Ok(mut params) => {
            if !params.is_follower() {
                params.limit(house.quotas.fetched_at_once_max(context));
            } else if let Some(stopwatch) = &context.stopwatch {
                stopwatch.charge_nobody();
            }
            serve(house, context, &params, &request).await
        }
        Err(error) => (refused(version, &request, error), Vec::new()),
    };
    Encoded(reply::encode(&response, version, context.correlation_id, &records))
}

fn params(house: &House, version: i16, request: &FetchRequest) -> Result<FetchParams, ResponseError> {
    let (replica, replica_epoch) = match version {
        REPLICA_STATE_SINCE.. => (request.replica_state.replica_id, request.replica_state.replica_epoch),
        _ => (request.replica_id, -1),
    };
    let read_committed = match request.isolation_level {
        0 => false,
        1 => true,
        _ => return Err(ResponseError::UnknownServerError),
    };
    let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0).min(house.config.fetch.max_bytes);
    Ok(FetchParams {
        version,
        replica: replica.0,
        replica_epoch,
        read_committed,
        min_bytes: usize::try_from(request.min_bytes).unwrap_or(0).min(max_bytes),
        max_bytes,
        max_wait: Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)),
    })
}

async fn serve(
    house: &House,
    context: &Context,
    params: &FetchParams,
    request: &FetchRequest,
) -> (FetchResponse, Vec<FileBytes>) {
    let metadata = house.metadata.snapshot();
    let now = clock::now().mono;
    let sessions = &house.fetch_sessions;
    let (session, asked) = sessions.begin(now, request, params.version, params.is_follower(), &metadata);
    let (readable, unknown) = known(&metadata, asked);
    drop(metadata);
    let rooms = Rooms { house, listener: &context.connection.listener, rack: rack(house, params, request) };
    let seen = match readable.is_empty() {
        true => Vec::new(),
        false => fetching::fetch(&rooms, params, &readable).await,
    };
    let read = readable.into_iter().zip(seen).map(|(asked, outcome)| Answer { asked, outcome });
    let mut answers: Vec<Answer> = read.chain(unknown).collect();
    if params.is_follower() {
        rooms.count_throttled(&answers);
    } else if house.quotas.are_enabled() {
        let sent = sessions.would_send(&session, &answers);
        let size = fetching::size(params.version, &answers, &sent);
        let wait = house.quotas.fetched(context, size);
        if wait > 0 {
            let response = fetching::empty(sessions.settle_unsent(&session));
            return (response.with_throttle_time_ms(quota::wire_ms(wait)), Vec::new());
        }
    }
    let settled = sessions.settle(clock::now().mono, session, &mut answers);
    fetching::respond(&rooms, params.version, params.is_follower(), settled, answers)
}

/// Parts what the cluster has from what it has not.
fn known(metadata: &MetadataSnapshot, asked: Vec<Asked>) -> (Vec<Asked>, Vec<Answer>) {
    let mut unknown = Vec::new();
    let readable = asked.into_iter().filter_map(|asked| {
        let error = match &asked.topic.name {
            None => ResponseError::UnknownTopicId,
            Some(name) if metadata.partition(name, asked.partition).is_none() => {
                ResponseError::UnknownTopicOrPartition
            }
            Some(_) => return Some(asked),
        };
        unknown.push(Answer { asked, outcome: Err(error) });
        None
    });
    (readable.collect(), unknown)
}

/// The answer to a request that makes no sense as a whole.
fn refused(version: i16, request: &FetchRequest, error: ResponseError) -> FetchResponse {
    let response = FetchResponse::default().with_error_code(error.code());
    if version >= ERROR_WITHOUT_PARTITIONS_SINCE {
        return response.with_session_id(request.session_id);
    }
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            PartitionData::default()
                .with_partition_index(partition.partition)
                .with_error_code(error.code())
                .with_high_watermark(-1)
                .with_records(None)
        });
        FetchableTopicResponse::default()
            .with_topic(topic.topic.clone())
            .with_partitions(partitions.collect())
    });
    // Versions without sessions read 0 here.
    response.with_session_id(request.session_id).with_responses(topics.collect())
}

/// Where a consumer is that may be sent to a replica near it.
fn rack<'a>(house: &House, params: &FetchParams, request: &'a FetchRequest) -> Option<&'a str> {
    let rack: &str = &request.rack_id;
    let may = params.is_consumer() && house.config.replication.selector == ReplicaSelector::RackAware;
    (may && !rack.is_empty()).then_some(rack)
}

/// What a fetch reaches of the house.
struct Rooms<'a> {
    house: &'a House,
    /// The client's listener: where it can reach other brokers.
    listener: &'a str,
    /// See [`rack`].
    rack: Option<&'a str>,
}

impl Rooms<'_> {
    /// The replica that the consumer had better read from.
    fn preferred(&self, partition: &Partition, read: &Read) -> Option<BrokerId> {
        let rack = self.rack?;
        let metadata = self.house.metadata.snapshot();
        let is_near = |id: BrokerId| {
            let broker = metadata.broker(id);
            broker.is_some_and(|broker| {
                broker.rack.as_deref() == Some(rack) && broker.endpoint(self.listener).is_some()
            })
        };
        partition.nearest_replica(read.offset, is_near)
    }

    /// What throttled replicas were given counts, whether they are held back or not.
    fn count_throttled(&self, answers: &[Answer]) {
        let throttled = answers.iter().filter_map(|answer| {
            let records = &answer.outcome.as_ref().ok()?.records;
            let counts = !records.is_empty() && self.get(&answer.asked)?.is_throttled_as_leader();
            counts.then_some(records.len())
        });
        let bytes: usize = throttled.sum();
        if bytes > 0 {
            self.house.partitions.around().to_followers.record(bytes);
        }
    }

    fn find(&self, asked: &Asked) -> Result<Arc<Partition>, ResponseError> {
        let id = partition_id(asked).ok_or(ResponseError::UnknownTopicId)?;
        self.house.partitions.find_by_id(&self.house.metadata, &id)
    }

    fn get(&self, asked: &Asked) -> Option<Arc<Partition>> {
        self.house.partitions.get(&partition_id(asked)?)
    }
}

/// `None` while no topic is known by the id asked for.
fn partition_id(asked: &Asked) -> Option<TopicPartition> {
    Some(TopicPartition { topic: asked.topic.name.clone()?, partition: asked.partition })
}

impl Source for Rooms<'_> {
    fn read(&self, asked: &Asked, read: &Read) -> Result<Seen, ResponseError> {
        let partition = self.find(asked)?;
        let id = asked.topic.id;
        if !id.is_zero() {
            let here = partition.topic_id();
            if !here.is_zero() && here != id {
                return Err(ResponseError::InconsistentTopicId);
            }
        }
        match self.preferred(&partition, read) {
            Some(replica) => partition.send_to(replica, read),
            None => partition.read(read),
        }
    }

    fn is_held_back(&self, asked: &Asked, follower: BrokerId) -> bool {
        let around = self.house.partitions.around();
        self.get(asked).is_some_and(|partition| {
            partition.is_throttled_as_leader()
                && !partition.is_in_sync(follower)
                && around.to_followers.is_exceeded()
        })
    }

    fn register(&self, asked: &Asked, isolation: Isolation, waiter: &Arc<Waiter>) -> Option<Registration> {
        Some(self.get(asked)?.waiters(isolation).register(waiter))
    }
}

impl Style for Rooms<'_> {
    fn topic(&self, asked: &Asked) -> Option<TopicStyle> {
        let config = self.get(asked)?.config();
        Some(TopicStyle { compression: config.compression, down_conversion: config.downconversion })
    }

    fn leader(&self, asked: &Asked) -> LeaderHint {
        let metadata = self.house.metadata.snapshot();
        let name = asked.topic.name.as_deref().unwrap_or_default();
        let (leader, epoch) = metadata
            .partition(name, asked.partition)
            .map_or((BrokerId::NONE, LeaderEpoch::NONE), |state| (state.leader, state.leader_epoch));
        let endpoint = metadata.node(leader, self.listener).map(|endpoint| {
            let rack = metadata.broker(leader).and_then(|broker| broker.rack.clone());
            NodeEndpoint::default()
                .with_node_id(leader.0.into())
                .with_host(StrBytes::from_string(endpoint.host.clone()))
                .with_port(endpoint.port)
                .with_rack(rack.map(StrBytes::from_string))
        });
        LeaderHint { leader, epoch, endpoint }
    }
}
