//! Other brokers, as transactions need them: leaders of partitions that wait for a marker, coordinators that are asked
//! about a partition.
//!
//! Markers for one broker are collected while a request is on its way, and go together with the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coordinator::transactions::{Identity, Outcome};
use kafka_protocol::error::{ParseResponseErrorCode, ResponseError};
use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, ProducerId, TopicName, TransactionalId, WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
};
use kafka_protocol::protocol::StrBytes;
use storage::types::{BrokerId, TopicPartition};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};
use tokio::time::timeout;
use tracing::info;

use crate::config::BrokerConfig;
use crate::metadata::MetadataCache;
use crate::peers::{Address, Peer, PeerSettings, versions};

/// Markers that go in one request at most.
const MARKERS_PER_REQUEST_MAX: usize = 1_000;
/// Markers that wait for one broker at most; who comes later waits to get in.
const MARKERS_WAITING_MAX: usize = 10_000;
/// Answers are as long as what was asked.
const RESPONSE_MAX: usize = 64 << 20;
const RECONNECT_BACKOFF: Duration = Duration::from_millis(50);

/// How a transaction ended, and by which coordinator's word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marker {
    pub(crate) identity: Identity,
    pub(crate) outcome: Outcome,
    /// Leader epoch of the partition of `__transaction_state`.
    pub(crate) coordinator_epoch: i32,
}

/// Each partition with what came of its marker.
pub(crate) type MarkerResults = Vec<(TopicPartition, Result<(), ResponseError>)>;

/// What a coordinator is asked.
pub(crate) struct Question<'a> {
    pub(crate) transactional_id: &'a str,
    pub(crate) identity: Identity,
    pub(crate) partitions: &'a [TopicPartition],
}

/// Partitions that were not confirmed, and why.
pub(crate) type Verdicts = BTreeMap<TopicPartition, ResponseError>;

/// One marker on its way, and who waits for what comes of it.
struct Letter {
    marker: Marker,
    partitions: Vec<TopicPartition>,
    answer: oneshot::Sender<MarkerResults>,
}

/// The brokers that this one speaks to about transactions, connected when first needed.
pub(crate) struct Colleagues {
    me: BrokerId,
    config: Arc<BrokerConfig>,
    metadata: Arc<MetadataCache>,
    /// A std mutex: held for a look-up, never across `.await`. An address that changes makes a new entry.
    letters: Mutex<BTreeMap<BrokerId, (Address, mpsc::Sender<Letter>)>>,
    questions: Mutex<BTreeMap<BrokerId, Arc<AsyncMutex<Peer>>>>,
}

impl Colleagues {
    pub(crate) fn new(me: BrokerId, config: &Arc<BrokerConfig>, metadata: &Arc<MetadataCache>) -> Colleagues {
        Colleagues {
            me,
            config: Arc::clone(config),
            metadata: Arc::clone(metadata),
            letters: Mutex::default(),
            questions: Mutex::default(),
        }
    }

    /// Has the leader write markers. A broker that cannot be reached, or answers with nonsense, is
    /// `NotLeaderOrFollower` for all: to be tried again where the leader is by then.
    pub(crate) async fn mark(
        &self,
        leader: BrokerId,
        marker: Marker,
        partitions: Vec<TopicPartition>,
    ) -> MarkerResults {
        let refused = |partitions: Vec<TopicPartition>| -> MarkerResults {
            partitions.into_iter().map(|id| (id, Err(ResponseError::NotLeaderOrFollower))).collect()
        };
        let Some(letters) = self.letterbox(leader) else { return refused(partitions) };
        let (answer, answered) = oneshot::channel();
        let letter = Letter { marker, partitions: partitions.clone(), answer };
        if letters.send(letter).await.is_err() {
            return refused(partitions);
        }
        answered.await.unwrap_or_else(|_| refused(partitions))
    }

    fn letterbox(&self, leader: BrokerId) -> Option<mpsc::Sender<Letter>> {
        let address = self.address(leader)?;
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, letterbox)) = letters.get(&leader)
            && *known == address
            && !letterbox.is_closed()
        {
            return Some(letterbox.clone());
        }
        let (sender, receiver) = mpsc::channel(MARKERS_WAITING_MAX);
        let peer = Peer::new(address.clone(), self.settings());
        tokio::spawn(deliver(peer, receiver, self.config.between_brokers.request_timeout));
        letters.insert(leader, (address, sender.clone()));
        Some(sender)
    }

    /// Asks the coordinator on another broker whether partitions belong to a transaction.
    pub(crate) async fn verify(
        &self,
        coordinator: BrokerId,
        question: &Question<'_>,
    ) -> Result<Verdicts, ResponseError> {
        let peer = self.peer(coordinator).ok_or(ResponseError::CoordinatorNotAvailable)?;
        let within = self.config.between_brokers.request_timeout;
        let request = AddPartitionsToTxnRequest::default().with_transactions(vec![transaction(question)]);
        let asked = async { peer.lock().await.call(&request, versions::ADD_PARTITIONS_TO_TXN, within).await };
        // Of a coordinator that hangs all are let go at once, and not one after the other.
        let Ok(answer) = timeout(within, asked).await else {
            info!(%coordinator, after = ?within, "a transaction could not be verified: others wait for this coordinator too");
            return Err(ResponseError::NetworkException);
        };
        let answer = answer.map_err(|error| {
            info!(%coordinator, %error, "a transaction could not be verified");
            ResponseError::NetworkException
        })?;
        match answer.error_code.err() {
            // Not for the eyes of the client.
            Some(ResponseError::ClusterAuthorizationFailed) => return Err(ResponseError::InvalidTxnState),
            Some(error) => return Err(error),
            None => {}
        }
        let results = answer.results_by_transaction.into_iter().flat_map(|result| result.topic_results);
        let verdicts = results.flat_map(|topic| {
            let name: Arc<str> = Arc::from(&*topic.name.0);
            topic.results_by_partition.into_iter().filter_map(move |result| {
                let id = TopicPartition::new(Arc::clone(&name), result.partition_index);
                result.partition_error_code.err().map(|error| (id, error))
            })
        });
        Ok(verdicts.collect())
    }

    fn peer(&self, coordinator: BrokerId) -> Option<Arc<AsyncMutex<Peer>>> {
        let address = self.address(coordinator)?;
        let mut questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Arc::new(AsyncMutex::new(Peer::new(address.clone(), self.settings())));
        let peer = questions.entry(coordinator).or_insert_with(fresh);
        // One that is being asked answers for its own address.
        if peer.try_lock().is_ok_and(|known| *known.address() != address) {
            *peer = fresh();
        }
        Some(Arc::clone(peer))
    }

    fn address(&self, broker: BrokerId) -> Option<Address> {
        Address::of(&self.metadata.snapshot(), broker, &self.config.network.inter_broker_listener)
    }

    fn settings(&self) -> PeerSettings {
        PeerSettings {
            client_id: self.me.to_string().into(),
            response_max: RESPONSE_MAX,
            setup_timeout: self.config.between_brokers.setup_timeout,
            reconnect_backoff: RECONNECT_BACKOFF,
            receive_buffer: None,
        }
    }
}

/// Takes letters to one broker, as many at once as are there, until nobody writes any more.
async fn deliver(mut peer: Peer, mut letters: mpsc::Receiver<Letter>, within: Duration) {
    let mut waiting = Vec::new();
    // What had to wait for the request before goes without waiting for another letter.
    while !waiting.is_empty() || letters.recv_many(&mut waiting, MARKERS_PER_REQUEST_MAX).await > 0 {
        let later = repeated_producers(&mut waiting);
        let request = WriteTxnMarkersRequest::default().with_markers(waiting.iter().map(writable).collect());
        match peer.call(&request, versions::WRITE_TXN_MARKERS, within).await {
            Ok(answer) => {
                let mut results = by_producer(&answer);
                for letter in waiting.drain(..) {
                    let found = results.remove(&letter.marker.identity.producer.0).unwrap_or_default();
                    // Whoever waited may have given up.
                    let _ = letter.answer.send(found);
                }
            }
            Err(error) => {
                info!(broker = %peer.address(), %error, "transaction markers could not be delivered, and are sent again");
                waiting.clear();
            }
        }
        waiting.extend(later);
    }
}

/// The answer tells results by producer id, so a request has one marker of each. Takes the others out; only a fenced
/// coordinator and its successor can have written them.
fn repeated_producers(letters: &mut Vec<Letter>) -> Vec<Letter> {
    let mut seen = BTreeSet::new();
    let (first, later) =
        std::mem::take(letters).into_iter().partition(|letter| seen.insert(letter.marker.identity.producer));
    *letters = first;
    later
}

fn writable(letter: &Letter) -> WritableTxnMarker {
    let Letter { marker, partitions, .. } = letter;
    let topics = by_topic(partitions.iter()).into_iter().map(|(topic, partitions)| {
        WritableTxnMarkerTopic::default().with_name(topic).with_partition_indexes(partitions)
    });
    WritableTxnMarker::default()
        .with_producer_id(ProducerId(marker.identity.producer.0))
        .with_producer_epoch(marker.identity.epoch)
        .with_transaction_result(marker.outcome == Outcome::Commit)
        .with_topics(topics.collect())
        .with_coordinator_epoch(marker.coordinator_epoch)
}

fn by_producer(answer: &WriteTxnMarkersResponse) -> BTreeMap<i64, MarkerResults> {
    let mut results: BTreeMap<i64, MarkerResults> = BTreeMap::new();
    for marker in &answer.markers {
        let of_producer = results.entry(marker.producer_id.0).or_default();
        for topic in &marker.topics {
            let name: Arc<str> = Arc::from(&*topic.name.0);
            of_producer.extend(topic.partitions.iter().map(|partition| {
                let id = TopicPartition::new(Arc::clone(&name), partition.partition_index);
                (id, partition.error_code.err().map_or(Ok(()), Err))
            }));
        }
    }
    results
}

fn transaction(question: &Question<'_>) -> AddPartitionsToTxnTransaction {
    let topics = by_topic(question.partitions.iter()).into_iter().map(|(topic, partitions)| {
        AddPartitionsToTxnTopic::default().with_name(topic).with_partitions(partitions)
    });
    AddPartitionsToTxnTransaction::default()
        .with_transactional_id(TransactionalId(StrBytes::from_string(question.transactional_id.to_owned())))
        .with_producer_id(ProducerId(question.identity.producer.0))
        .with_producer_epoch(question.identity.epoch)
        .with_verify_only(true)
        .with_topics(topics.collect())
}

/// Topics with their partitions, as requests name them.
pub(crate) fn by_topic<'a>(
    partitions: impl Iterator<Item = &'a TopicPartition>,
) -> BTreeMap<TopicName, Vec<i32>> {
    let mut topics: BTreeMap<TopicName, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        let name = TopicName(StrBytes::from_string(partition.topic.to_string()));
        topics.entry(name).or_default().push(partition.partition);
    }
    topics
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::UpdateMetadataRequest;
    use kafka_protocol::messages::update_metadata_request::{UpdateMetadataBroker, UpdateMetadataEndpoint};
    use kafka_protocol::messages::write_txn_markers_response::{
        WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
    };
    use storage::types;

    use super::*;
    use crate::config::layers::Layers;
    use crate::config::properties::Properties;
    use crate::peers::scripted::{accept, hear_of, listen, reply};

    const LEADER: BrokerId = BrokerId(2);
    const PATIENCE: Duration = Duration::from_secs(60);

    fn colleagues(leader: Option<&Address>) -> Arc<Colleagues> {
        let file = Properties::from([("log.dirs".to_owned(), "/nowhere".to_owned())]);
        let config = BrokerConfig::new(Layers::from_file(file)).expect("a configuration");
        let metadata = Arc::new(MetadataCache::default());
        let alive = leader.map(|address| {
            let endpoint = UpdateMetadataEndpoint::default()
                .with_listener(StrBytes::from_string(config.network.inter_broker_listener.clone()))
                .with_host(StrBytes::from_string(address.host.clone()))
                .with_port(i32::from(address.port));
            UpdateMetadataBroker::default().with_id(LEADER.0.into()).with_endpoints(vec![endpoint])
        });
        metadata.update(&UpdateMetadataRequest::default().with_live_brokers(alive.into_iter().collect()));
        Arc::new(Colleagues::new(BrokerId(1), &Arc::new(config), &metadata))
    }

    fn marker(coordinator_epoch: i32) -> Marker {
        let identity = Identity { producer: types::ProducerId(7), epoch: 0 };
        Marker { identity, outcome: Outcome::Commit, coordinator_epoch }
    }

    fn partition() -> TopicPartition {
        TopicPartition::new("orders", 0)
    }

    fn written(request: &WriteTxnMarkersRequest) -> WriteTxnMarkersResponse {
        let results = request.markers.iter().map(|marker| {
            let topics = marker.topics.iter().map(|topic| {
                let partitions = topic.partition_indexes.iter();
                let written = |index: &i32| {
                    WritableTxnMarkerPartitionResult::default()
                        .with_partition_index(*index)
                        .with_error_code(0)
                };
                WritableTxnMarkerTopicResult::default()
                    .with_name(topic.name.clone())
                    .with_partitions(partitions.map(written).collect())
            });
            WritableTxnMarkerResult::default()
                .with_producer_id(marker.producer_id)
                .with_topics(topics.collect())
        });
        WriteTxnMarkersResponse::default().with_markers(results.collect())
    }

    #[tokio::test]
    async fn a_leader_that_is_not_alive_refuses_its_markers_at_once() {
        let refused = timeout(PATIENCE, colleagues(None).mark(LEADER, marker(0), vec![partition()])).await;
        assert_eq!(refused, Ok(vec![(partition(), Err(ResponseError::NotLeaderOrFollower))]));
    }

    #[tokio::test(start_paused = true)]
    async fn questions_to_a_coordinator_that_hangs_are_all_given_up_at_once() {
        let (listener, address) = listen().await;
        let colleagues = colleagues(Some(&address));
        // It takes connections and says nothing.
        tokio::spawn(async move {
            let mut kept = Vec::new();
            loop {
                kept.push(accept(&listener).await);
            }
        });
        let began = tokio::time::Instant::now();
        let questions = (0..10).map(|producer| {
            let colleagues = Arc::clone(&colleagues);
            async move {
                let identity = Identity { producer: types::ProducerId(producer), epoch: 0 };
                let question = Question { transactional_id: "tx", identity, partitions: &[partition()] };
                colleagues.verify(LEADER, &question).await
            }
        });
        let answers = futures_util::future::join_all(questions).await;

        assert!(answers.iter().all(|answer| *answer == Err(ResponseError::NetworkException)), "{answers:?}");
        let within = colleagues.config.between_brokers.request_timeout;
        assert!(began.elapsed() < within * 2, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn two_markers_of_one_producer_go_one_after_the_other_and_wait_for_no_third() {
        let (listener, address) = listen().await;
        let colleagues = colleagues(Some(&address));
        let broker = tokio::spawn(async move {
            let mut stream = accept(&listener).await;
            let mut heard = Vec::new();
            while heard.len() < 3 {
                let (header, request) = hear_of::<WriteTxnMarkersRequest>(&mut stream).await;
                heard.extend(request.markers.iter().map(|marker| marker.coordinator_epoch));
                reply(&mut stream, &header, &written(&request)).await;
            }
            heard
        });
        // The first one opens the connection; the others gather meanwhile.
        let marks = [0, 1, 2].map(|epoch| {
            let colleagues = Arc::clone(&colleagues);
            tokio::spawn(async move { colleagues.mark(LEADER, marker(epoch), vec![partition()]).await })
        });
        for mark in marks {
            let done = timeout(PATIENCE, mark).await.expect("delivered").expect("no panic");
            assert_eq!(done, [(partition(), Ok(()))]);
        }
        assert_eq!(broker.await.expect("the broker"), [0, 1, 2]);
    }
}
