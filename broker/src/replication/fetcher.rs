//! One fetcher: a connection to a leader, a fetch session, and the replicas that are copied over it.
//!
//! It goes round: takes notice of roles, asks for the ends of logs where offsets do not fit, fetches, and carries out what
//! the rules order. Records go from the frame they came in into the log without being decoded. A round costs what has
//! happened since the last one: replicas that nothing was heard of are not looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use coordinator::fetching::{AskingSession, Told};
use coordinator::replication::{Follower, History, LeaderAnswer, LeaderError, Order, Question, Step};
use coordinator::time::Monotonic;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use kafka_protocol::protocol::Request;
use storage::checkpoint::OffsetCheckpoint;
use storage::log::LogReader;
use storage::types::{BrokerId, LeaderEpoch, Offset, TopicId, TopicPartition};
use tracing::{debug, error, info, warn};

use super::Replicating;
use super::fetchers::{Change, Inbox};
use super::messages::{self, Me};
use crate::clock;
use crate::partition::Partition;
use crate::partition::replicating::{FromLeader, ReplicationError};
use crate::peers::{Address, Peer, PeerError, versions};

/// How often every replica is looked at, whether something was heard of it or not: retention moves the starts of logs,
/// and the leader is to know.
const SWEEP_MS: i64 = 5_000;

/// Why the leader was not asked, or did not answer.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("broker {0} is not known to be alive")]
    NoAddress(BrokerId),
    #[error(transparent)]
    Peer(#[from] PeerError),
}

/// A replica that is copied.
struct Replica {
    partition: Arc<Partition>,
    /// Reads the log's start without the partition's lock.
    reader: LogReader,
    topic_id: TopicId,
    follower: Follower,
    told: Told,
}

impl Replica {
    fn next(&self, now: Monotonic) -> Step {
        self.follower.next(now, &Glance(self))
    }

    /// Copying it now would take more than its share.
    fn is_held_back(&self, replicating: &Replicating) -> bool {
        !self.follower.is_in_sync()
            && self.partition.is_throttled_as_follower()
            && replicating.partitions.around().from_leaders.is_exceeded()
    }
}

/// The log of a replica: what is asked for most costs no lock.
struct Glance<'a>(&'a Replica);

impl History for Glance<'_> {
    fn log_start(&self) -> Offset {
        self.0.reader.start()
    }

    fn log_end(&self) -> Offset {
        self.0.reader.end().offset
    }

    fn high_watermark(&self) -> Offset {
        self.0.reader.high_watermark()
    }

    fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.0.partition.with_history(|log| log.latest_epoch())
    }

    fn end_offset_for(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.0.partition.with_history(|log| log.end_offset_for(epoch))
    }
}

pub(super) struct Fetcher {
    shared: Arc<Replicating>,
    inbox: Arc<Inbox>,
    leader: BrokerId,
    client_id: String,
    peer: Option<Peer>,
    session: AskingSession,
    replicas: BTreeMap<TopicPartition, Replica>,
    /// Those whose next step may be another than what the leader was asked. All others want what they wanted.
    stirred: BTreeSet<TopicPartition>,
    next_sweep: Monotonic,
    names: HashMap<TopicId, Arc<str>>,
    /// Every topic has an id.
    by_id: bool,
    /// The last call failed, and that was told.
    in_trouble: bool,
    /// Logs were cut below what the checkpoint of recovery points says.
    cut_below_checkpoint: bool,
}

impl Fetcher {
    pub(super) fn new(shared: Arc<Replicating>, inbox: Arc<Inbox>, leader: BrokerId, number: u32) -> Fetcher {
        let me = shared.partitions.around().me;
        Fetcher {
            inbox,
            leader,
            client_id: format!("broker-{me}-fetcher-{number}"),
            peer: None,
            session: AskingSession::default(),
            replicas: BTreeMap::new(),
            stirred: BTreeSet::new(),
            next_sweep: clock::now().mono.after_ms(SWEEP_MS),
            names: HashMap::new(),
            by_id: true,
            in_trouble: false,
            cut_below_checkpoint: false,
            shared,
        }
    }

    /// Until it is dropped.
    pub(super) async fn run(mut self) {
        loop {
            self.take_changes();
            self.sweep(clock::now().mono);
            let questions = self.carry_orders(clock::now().mono);
            self.ask_where_logs_end(questions).await;
            if std::mem::take(&mut self.cut_below_checkpoint) {
                // Before other records come in the place of those that were flushed.
                self.shared.partitions.checkpoint(OffsetCheckpoint::RecoveryPoints);
            }
            match self.request() {
                Some((request, version)) => self.fetch(&request, version).await,
                None => self.rest().await,
            }
        }
    }

    /// Looks at everybody now and then, and as long as throttled replicas must be held back.
    fn sweep(&mut self, now: Monotonic) {
        if now >= self.next_sweep || self.shared.partitions.around().from_leaders.is_exceeded() {
            self.next_sweep = now.after_ms(SWEEP_MS);
            self.stir_all();
        }
    }

    fn stir_all(&mut self) {
        self.stirred.extend(self.replicas.keys().cloned());
    }

    /// The leader was not reached, or did not take the request.
    fn delay_all(&mut self) {
        let now = clock::now().mono;
        self.replicas.values_mut().for_each(|replica| replica.follower.delay(now));
        self.stir_all();
    }

    fn take_changes(&mut self) {
        let changes = self.inbox.take();
        if changes.is_empty() {
            return;
        }
        let new = changes.values().filter(|change| matches!(change, Change::Follow(_))).count();
        if new > 0 {
            info!(leader = %self.leader, partitions = new, "copying from the leader");
        }
        for (id, change) in changes {
            match change {
                Change::Leave => self.let_go(&id),
                Change::Follow(epoch) => self.follow(id, epoch),
            }
        }
        if self.names.len() > 2 * self.replicas.len() {
            let replicas = self.replicas.iter().filter(|(_, replica)| !replica.topic_id.is_zero());
            self.names = replicas.map(|(id, replica)| (replica.topic_id, Arc::clone(&id.topic))).collect();
        }
        let has_ids = || self.replicas.values().all(|replica| !replica.topic_id.is_zero());
        self.by_id = self.shared.speaks.fetch >= versions::FETCH_BY_ID && has_ids();
    }

    fn follow(&mut self, id: TopicPartition, epoch: LeaderEpoch) {
        let Some(partition) = self.shared.partitions.get(&id) else { return self.let_go(&id) };
        self.stirred.insert(id.clone());
        let topic_id = partition.topic_id();
        if !topic_id.is_zero() {
            self.names.insert(topic_id, Arc::clone(&id.topic));
        }
        match self.replicas.get_mut(&id) {
            Some(replica)
                if replica.follower.leader_epoch() == epoch
                    && Arc::ptr_eq(&replica.partition, &partition) =>
            {
                replica.topic_id = topic_id;
                return;
            }
            _ => {}
        }
        let Some(follower) = partition.begin_following(epoch, self.shared.follower_settings()) else {
            return self.let_go(&id);
        };
        let told = self.replicas.get(&id).map(|former| former.told).unwrap_or_default();
        debug!(
            partition = %id, leader = %self.leader, %epoch, end = %partition.end_offset(),
            "copying from the leader"
        );
        let reader = partition.reader();
        self.replicas.insert(id, Replica { partition, reader, topic_id, follower, told });
    }

    fn let_go(&mut self, id: &TopicPartition) {
        self.stirred.remove(id);
        if let Some(replica) = self.replicas.remove(id) {
            self.session.drop_member(id, replica.told);
        }
    }

    /// Carries out what is ordered without a question, and yields the questions besides fetches.
    fn carry_orders(&mut self, now: Monotonic) -> Vec<(TopicPartition, Question)> {
        let mut orders = Vec::new();
        let mut questions = Vec::new();
        for id in &self.stirred {
            let Some(replica) = self.replicas.get(id) else { continue };
            match replica.next(now) {
                Step::Carry(order) => orders.push((id.clone(), order)),
                Step::Ask(Question::Records { .. }) | Step::Wait(_) | Step::Rest => {}
                Step::Ask(question) => questions.push((id.clone(), question)),
            }
        }
        for (id, order) in orders {
            self.cut(&id, order);
        }
        questions
    }

    async fn ask_where_logs_end(&mut self, questions: Vec<(TopicPartition, Question)>) {
        let (epochs, ends): (Vec<_>, Vec<_>) =
            questions.into_iter().partition(|(_, question)| matches!(question, Question::EpochEnd { .. }));
        if !ends.is_empty() {
            let request = messages::list_offsets(self.me(), &ends);
            let answered = self.call(&request, self.shared.speaks.list_offsets).await;
            let mut answers = BTreeMap::new();
            for topic in answered.map(|answer| answer.topics).unwrap_or_default() {
                for one in &topic.partitions {
                    answers.insert((topic.name.to_string(), one.partition_index), messages::offset(one));
                }
            }
            self.take_answers(&ends, &answers);
        }
        if !epochs.is_empty() {
            let request = messages::offset_for_leader_epoch(self.me(), &epochs);
            let answered = self.call(&request, versions::OFFSET_FOR_LEADER_EPOCH).await;
            let mut answers = BTreeMap::new();
            for topic in answered.map(|answer| answer.topics).unwrap_or_default() {
                for one in &topic.partitions {
                    answers.insert((topic.topic.to_string(), one.partition), messages::epoch_end(one));
                }
            }
            self.take_answers(&epochs, &answers);
        }
    }

    fn take_answers(
        &mut self,
        questions: &[(TopicPartition, Question)],
        answers: &BTreeMap<(String, i32), LeaderAnswer>,
    ) {
        let now = clock::now().mono;
        for (id, question) in questions {
            let key = (id.topic.to_string(), id.partition);
            let answer = answers.get(&key).copied().unwrap_or(LeaderAnswer::Error(LeaderError::Other));
            let Some(replica) = self.replicas.get_mut(id) else { continue };
            let partition = Arc::clone(&replica.partition);
            let order = partition.with_history(|log| replica.follower.on_answer(question, answer, now, log));
            self.cut(id, order);
        }
    }

    /// `None`: there is nothing to fetch for now.
    fn request(&mut self) -> Option<(FetchRequest, i16)> {
        let now = clock::now().mono;
        if self.session.begin(self.by_id) {
            self.stir_all();
        }
        let shared = Arc::clone(&self.shared);
        let mut draft = self.session.draft();
        self.stirred.retain(|id| {
            let Some(replica) = self.replicas.get_mut(id) else { return false };
            let step = replica.next(now);
            let wanted = match &step {
                Step::Ask(question) if !replica.is_held_back(&shared) => {
                    messages::wanted(question, &shared.settings)
                }
                _ => None,
            };
            draft.want(id, replica.topic_id, wanted, &mut replica.told);
            // What the leader was asked for stays as it is until the answer names it.
            wanted.is_none() && step != Step::Rest
        });
        let ask = draft.done()?;
        Some(messages::fetch(ask, self.by_id, self.me(), (&self.shared.settings, self.shared.speaks)))
    }

    async fn fetch(&mut self, request: &FetchRequest, version: i16) {
        let Some(response) = self.call(request, version).await else {
            self.session.failed();
            return self.delay_all();
        };
        match ResponseError::try_from_code(response.error_code) {
            None if response.error_code == 0 => self.session.answered(response.session_id),
            Some(ResponseError::FetchSessionIdNotFound) => return self.session.lost(),
            refusal => {
                debug!(leader = %self.leader, ?refusal, "the leader did not take the fetch");
                self.session.failed();
                if refusal != Some(ResponseError::InvalidFetchSessionEpoch) {
                    self.delay_all();
                }
                return;
            }
        }
        self.take_records(response).await;
    }

    async fn take_records(&mut self, response: FetchResponse) {
        for topic in response.responses {
            let id = TopicId(topic.topic_id.into_bytes());
            let name = match id.is_zero() {
                true => Some(Arc::from(topic.topic.as_str())),
                false => self.names.get(&id).cloned(),
            };
            let Some(name) = name else { continue };
            for data in topic.partitions {
                let id = TopicPartition { topic: Arc::clone(&name), partition: data.partition_index };
                self.take_partition(&id, data);
                // A long answer must not keep a thread from everybody else.
                tokio::task::yield_now().await;
            }
        }
    }

    fn take_partition(&mut self, id: &TopicPartition, data: PartitionData) {
        let Some(replica) = self.replicas.get_mut(id) else { return };
        self.stirred.insert(id.clone());
        let Some(question) = replica.told.wanted().map(messages::records_question) else { return };
        let now = clock::now().mono;
        let partition = Arc::clone(&replica.partition);
        let answer = messages::fetched(&data);
        let order = partition.with_history(|log| replica.follower.on_answer(&question, answer, now, log));
        match order {
            Order::Append => self.append(id, &question, data),
            Order::Nothing => {
                if let LeaderAnswer::Error(_) = answer {
                    let error = ResponseError::try_from_code(data.error_code);
                    debug!(partition = %id, leader = %self.leader, ?error, "the leader sent no records");
                }
            }
            order => self.cut(id, order),
        }
    }

    fn append(&mut self, id: &TopicPartition, question: &Question, data: PartitionData) {
        let Question::Records { leader_epoch, offset, .. } = *question else { return };
        let Some(replica) = self.replicas.get_mut(id) else { return };
        let from = FromLeader {
            leader_epoch,
            offset,
            records: data.records.unwrap_or_default(),
            high_watermark: Offset(data.high_watermark),
            log_start: Offset(data.log_start_offset),
        };
        let partition = Arc::clone(&replica.partition);
        let done = partition.replicate(&from).map(|last_epoch| {
            if partition.is_throttled_as_follower() {
                self.shared.partitions.around().from_leaders.record(from.records.len());
            }
            partition.with_history(|log| replica.follower.appended(last_epoch, from.high_watermark, log));
        });
        self.settle(id, done);
    }

    fn cut(&mut self, id: &TopicPartition, order: Order) {
        if matches!(order, Order::Nothing | Order::Append) {
            return;
        }
        let Some(replica) = self.replicas.get_mut(id) else { return };
        let partition = Arc::clone(&replica.partition);
        let done = partition
            .cut(replica.follower.leader_epoch(), order)
            .inspect(|_| partition.with_history(|log| replica.follower.cut(order, log)));
        self.cut_below_checkpoint |= matches!(done, Ok(true));
        self.settle(id, done.map(drop));
    }

    /// What a change of the log came to.
    fn settle(&mut self, id: &TopicPartition, done: Result<(), ReplicationError>) {
        let Err(error) = done else { return };
        if matches!(error, ReplicationError::Outdated) {
            return self.let_go(id);
        }
        let Some(replica) = self.replicas.get_mut(id) else { return };
        if error.is_corrupt() {
            warn!(partition = %id, leader = %self.leader, %error, "records came damaged; they are fetched again");
            replica.follower.delay(clock::now().mono);
            return;
        }
        if let Some(storage) = error.storage() {
            self.shared.partitions.report_failure(id, storage);
            // Room may be made while the broker runs.
            if storage.is_out_of_space() {
                return replica.follower.delay(clock::now().mono);
            }
        }
        replica.follower.fail();
        error!(
            partition = %id, leader = %self.leader, %error,
            "copying has ended until the controller gives the replica a role again"
        );
    }

    /// Until something may be done: a pause is over, or roles have changed.
    async fn rest(&mut self) {
        let now = clock::now().mono;
        let backoff = u64::try_from(self.shared.settings.backoff.as_millis()).unwrap_or(u64::MAX);
        let stirred = self.stirred.iter().filter_map(|id| self.replicas.get(id));
        let pauses = stirred.filter_map(|replica| match replica.next(now) {
            Step::Wait(until) => Some(now.ms_until(until)),
            Step::Rest => None,
            Step::Ask(_) | Step::Carry(_) => Some(backoff.min(1000)),
        });
        let pause = pauses.min().map(Duration::from_millis);
        tokio::select! {
            () = self.inbox.more.notified() => {}
            () = tokio::time::sleep(pause.unwrap_or(Duration::MAX)), if pause.is_some() => {}
        }
    }

    /// `None` where there was no answer; that is told once until it gets better.
    async fn call<Q: Request>(&mut self, request: &Q, version: i16) -> Option<Q::Response> {
        match self.try_call(request, version).await {
            Ok(answer) => {
                if std::mem::take(&mut self.in_trouble) {
                    info!(leader = %self.leader, "the leader answers again");
                }
                Some(answer)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.in_trouble, true) {
                    warn!(leader = %self.leader, %error, "nothing can be copied from this leader; trying further");
                }
                None
            }
        }
    }

    async fn try_call<Q: Request>(&mut self, request: &Q, version: i16) -> Result<Q::Response, CallError> {
        let snapshot = self.shared.partitions.around().metadata.snapshot();
        let address = Address::of(&snapshot, self.leader, &self.shared.listener)
            .ok_or(CallError::NoAddress(self.leader))?;
        drop(snapshot);
        let settings = || self.shared.peer_settings(self.client_id.clone());
        let peer = match &mut self.peer {
            Some(peer) if *peer.address() == address => peer,
            peer => peer.insert(Peer::new(address, settings())),
        };
        Ok(peer.call(request, version, self.shared.settings.socket_timeout).await?)
    }

    fn me(&self) -> Me {
        let around = self.shared.partitions.around();
        Me { id: around.me, broker_epoch: around.broker_epoch() }
    }
}
