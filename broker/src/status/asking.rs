//! Asks the brokers: one of them who is in the cluster, all of them how far their replicas are.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    DescribeConfigsRequest, ListOffsetsRequest, MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::{Request, StrBytes};
use storage::types::BrokerId;

use super::StatusError;
use super::report::{Node, Partition, Report};
use crate::config::setup_timeout::SetupTimeout;
use crate::peers::{Address, Peer, PeerError, PeerSettings};

/// Versions that Apache's brokers have known since 2.4, and still do.
const METADATA: i16 = 9;
const LIST_OFFSETS: i16 = 5;
const DESCRIBE_CONFIGS: i16 = 2;

/// A client that also asks followers, for the end of their logs (`ListOffsetsRequest.DEBUGGING_REPLICA_ID`).
const DEBUGGER: BrokerId = BrokerId(-2);
/// The end of the log.
const LATEST: i64 = -1;
const TOPIC_RESOURCE: i8 = 2;
const MIN_ISR: &str = "min.insync.replicas";

/// Largest answer read. Unit: bytes. A hundred thousand partitions need about ten million.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Partitions asked for in one request.
const PARTITIONS_AT_ONCE: usize = 5000;

/// End of the log of a replica, by topic, partition and broker.
type Ends = BTreeMap<(String, i32, i32), i64>;

fn peer(address: Address, timeout: Duration) -> Peer {
    let settings = PeerSettings {
        client_id: "broker-cluster-status".into(),
        response_max: ANSWER_BYTES_MAX,
        setup_timeout: SetupTimeout::constant(timeout),
        reconnect_backoff: Duration::ZERO,
        receive_buffer: None,
    };
    Peer::new(address, settings)
}

/// What the cluster says of itself, as the first seed that answers has it.
pub(super) async fn ask(seeds: Vec<Address>, timeout: Duration) -> Result<Report, StatusError> {
    let (mut spokesman, cluster) = first_answer(seeds, timeout).await?;
    let mut report = facts(&cluster);
    let mut ends = Ends::new();
    for node in &mut report.nodes {
        let Some(address) = &node.address else { continue };
        let mut peer = peer(address.clone(), timeout);
        match ask_ends(&mut peer, node.id, &report.partitions, &mut ends, timeout).await {
            Ok(()) => {}
            Err(why) => node.trouble = Some(why.to_string()),
        }
    }
    let min_isr = ask_min_isr(&mut spokesman, &report.partitions, timeout).await.unwrap_or_default();
    for partition in &mut report.partitions {
        partition.min_isr = min_isr.get(&partition.topic).copied();
        for replica in &partition.replicas {
            if let Some(end) = ends.get(&(partition.topic.clone(), partition.index, *replica)) {
                partition.ends.insert(*replica, *end);
            }
        }
    }
    Ok(report)
}

async fn first_answer(
    seeds: Vec<Address>,
    timeout: Duration,
) -> Result<(Peer, MetadataResponse), StatusError> {
    let mut refused = None;
    for seed in seeds {
        let mut peer = peer(seed.clone(), timeout);
        let request = MetadataRequest::default().with_topics(None).with_allow_auto_topic_creation(false);
        match call(&mut peer, &request, METADATA, timeout).await {
            Ok(answer) if answer.brokers.is_empty() => refused = Some(StatusError::Mute(seed)),
            Ok(answer) => return Ok((peer, answer)),
            Err(why) => refused = Some(StatusError::Unreachable(why)),
        }
    }
    Err(refused.expect("there is at least one seed"))
}

/// Brokers that live, and those that replicas are assigned to although they do not.
fn facts(cluster: &MetadataResponse) -> Report {
    let alive = |broker: &kafka_protocol::messages::metadata_response::MetadataResponseBroker| Node {
        id: broker.node_id.0,
        address: u16::try_from(broker.port).ok().map(|port| Address { host: broker.host.to_string(), port }),
        rack: broker.rack.as_ref().map(ToString::to_string),
        trouble: None,
    };
    let mut nodes: Vec<Node> = cluster.brokers.iter().map(alive).collect();
    let mut partitions = Vec::new();
    for topic in &cluster.topics {
        for partition in &topic.partitions {
            let ids = |ids: &[kafka_protocol::messages::BrokerId]| ids.iter().map(|id| id.0).collect();
            partitions.push(Partition {
                topic: topic.name.as_ref().map(|name| name.0.to_string()).unwrap_or_default(),
                index: partition.partition_index,
                leader: (partition.leader_id.0 >= 0).then_some(partition.leader_id.0),
                replicas: ids(&partition.replica_nodes),
                in_sync: ids(&partition.isr_nodes),
                min_isr: None,
                ends: BTreeMap::new(),
            });
        }
    }
    for replica in partitions.iter().flat_map(|partition: &Partition| &partition.replicas) {
        if nodes.iter().all(|node| node.id != *replica) {
            nodes.push(Node { id: *replica, address: None, rack: None, trouble: None });
        }
    }
    nodes.sort_by_key(|node| node.id);
    partitions.sort_by(|a, b| (&a.topic, a.index).cmp(&(&b.topic, b.index)));
    Report {
        cluster_id: cluster.cluster_id.as_ref().map(ToString::to_string),
        controller: (cluster.controller_id.0 >= 0).then_some(cluster.controller_id.0),
        nodes,
        partitions,
    }
}

/// Where the logs of one broker end.
async fn ask_ends(
    peer: &mut Peer,
    broker: i32,
    partitions: &[Partition],
    ends: &mut Ends,
    timeout: Duration,
) -> Result<(), PeerError> {
    let held: Vec<&Partition> =
        partitions.iter().filter(|partition| partition.replicas.contains(&broker)).collect();
    for some in held.chunks(PARTITIONS_AT_ONCE) {
        let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for partition in some {
            let asked =
                ListOffsetsPartition::default().with_partition_index(partition.index).with_timestamp(LATEST);
            topics.entry(&partition.topic).or_default().push(asked);
        }
        let topic = |(name, partitions): (&str, Vec<ListOffsetsPartition>)| {
            ListOffsetsTopic::default()
                .with_name(TopicName(StrBytes::from_string(name.to_owned())))
                .with_partitions(partitions)
        };
        let request = ListOffsetsRequest::default()
            .with_replica_id(kafka_protocol::messages::BrokerId(DEBUGGER.0))
            .with_topics(topics.into_iter().map(topic).collect());
        let answer = call(peer, &request, LIST_OFFSETS, timeout).await?;
        for topic in &answer.topics {
            for partition in topic.partitions.iter().filter(|partition| partition.error_code == 0) {
                ends.insert((topic.name.0.to_string(), partition.partition_index, broker), partition.offset);
            }
        }
    }
    Ok(())
}

/// `min.insync.replicas` of every topic.
async fn ask_min_isr(
    peer: &mut Peer,
    partitions: &[Partition],
    timeout: Duration,
) -> Result<BTreeMap<String, usize>, PeerError> {
    let mut names: Vec<&str> = partitions.iter().map(|partition| partition.topic.as_str()).collect();
    names.dedup();
    let mut found = BTreeMap::new();
    for some in names.chunks(PARTITIONS_AT_ONCE) {
        let resource = |name: &&str| {
            DescribeConfigsResource::default()
                .with_resource_type(TOPIC_RESOURCE)
                .with_resource_name(StrBytes::from_string((*name).to_owned()))
                .with_configuration_keys(Some(vec![StrBytes::from_static_str(MIN_ISR)]))
        };
        let request = DescribeConfigsRequest::default().with_resources(some.iter().map(resource).collect());
        for result in call(peer, &request, DESCRIBE_CONFIGS, timeout).await?.results {
            let value = result.configs.first().and_then(|config| config.value.as_ref()?.parse().ok());
            if let Some(value) = value {
                found.insert(result.resource_name.to_string(), value);
            }
        }
    }
    Ok(found)
}

async fn call<Q: Request>(
    peer: &mut Peer,
    request: &Q,
    version: i16,
    timeout: Duration,
) -> Result<Q::Response, PeerError> {
    peer.call(request, version, timeout).await
}
