//! What members do all day: heartbeats, commits, rebalances.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kafka_protocol::messages::OffsetCommitRequest;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use tokio::task::JoinSet;
use tokio::time::{Instant as Moment, sleep, sleep_until};

use super::Span;
use super::broker::{
    Broker, Client, PARTITIONS, Progress, RETRY, connections_max, figure, is_passing, percentile, topic,
    unexpected,
};
use super::members::{Member, REBALANCE_IN_PROGRESS, assemble};

/// Answers of a measured span: how many, how long they took, and what the broker spent on them.
pub(crate) struct Measured {
    pub(crate) times: Vec<Duration>,
    pub(crate) cpu_seconds: f64,
    pub(crate) seconds: f64,
}

/// Takes down how long answers took while a span is measured.
#[derive(Clone)]
pub(crate) struct Recorder {
    times: Arc<Mutex<Option<Vec<Duration>>>>,
    progress: Arc<Progress>,
}

impl Recorder {
    pub(crate) fn of(what: &'static str) -> Recorder {
        Recorder { times: Arc::default(), progress: Arc::new(Progress::of(what)) }
    }

    pub(crate) fn record(&self, time: Duration) {
        self.progress.one_more();
        if let Some(times) = self.lock().as_mut() {
            times.push(time);
        }
    }

    /// Lets `workers` run through the warm-up and the measured span, and ends them. The first that fails fails all.
    pub(crate) async fn measure(
        &self,
        broker: &Broker,
        span: &Span,
        mut workers: JoinSet<io::Result<()>>,
    ) -> io::Result<Measured> {
        let measured = async {
            sleep(span.warm_up()).await;
            *self.lock() = Some(Vec::new());
            let (before, begun) = (broker.cpu_seconds()?, Instant::now());
            sleep(span.measured()).await;
            let (cpu_seconds, seconds) = (broker.cpu_seconds()? - before, begun.elapsed().as_secs_f64());
            let times = self.lock().take().unwrap_or_default();
            Ok(Measured { times, cpu_seconds, seconds })
        };
        tokio::select! {
            measured = measured => measured,
            Some(ended) = workers.join_next() => {
                ended.map_err(io::Error::other)??;
                Err(io::Error::other("a client ended before its time"))
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Vec<Duration>>> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Members that share a connection.
struct Lane {
    client: Client,
    members: Vec<Member>,
}

/// `members` in as many parts as there are to be connections; the other connections are closed.
fn lanes(members: Vec<(Member, Client)>, connections: usize) -> Vec<Lane> {
    let count = connections.clamp(1, members.len().max(1));
    let mut lanes: Vec<Lane> = Vec::with_capacity(count);
    for (number, (member, client)) in members.into_iter().enumerate() {
        match lanes.get_mut(number % count) {
            Some(lane) => lane.members.push(member),
            None => lanes.push(Lane { client, members: vec![member] }),
        }
    }
    lanes
}

pub(crate) async fn heartbeats(
    broker: &Broker,
    span: &Span,
    groups: usize,
    members: usize,
    interval: Duration,
    connections: usize,
) -> io::Result<()> {
    let members = assemble(broker, groups, members).await?;
    let recorder = Recorder::of("heartbeats");
    let mut workers = JoinSet::new();
    let lanes = lanes(members, connections.min(connections_max()));
    let count = lanes.len() as u32;
    let begin = Moment::now() + Duration::from_secs(1);
    for (number, lane) in lanes.into_iter().enumerate() {
        // Spread over the interval, as they are where members have come by and by.
        let first = begin + interval * number as u32 / count;
        workers.spawn(keep_alive(lane, first, interval, recorder.clone()));
    }
    let mut measured = recorder.measure(broker, span, workers).await?;
    let heartbeats = measured.times.len() as f64;
    figure("heartbeats", heartbeats / measured.seconds, "1/s");
    figure("CPU per heartbeat", measured.cpu_seconds / heartbeats * 1e6, "us");
    figure("heartbeat 50th", percentile(&mut measured.times, 0.5), "ms");
    figure("heartbeat 99th", percentile(&mut measured.times, 0.99), "ms");
    Ok(())
}

/// The members of one connection, each once in an interval.
async fn keep_alive(
    Lane { mut client, members }: Lane,
    first: Moment,
    interval: Duration,
    recorder: Recorder,
) -> io::Result<()> {
    let mut due = first;
    let pause = interval / members.len() as u32;
    loop {
        for member in &members {
            sleep_until(due).await;
            due += pause;
            let sent = Instant::now();
            match member.heartbeat(&mut client).await? {
                0 => recorder.record(sent.elapsed()),
                error => return Err(unexpected("Heartbeat", error)),
            }
        }
    }
}

pub(crate) async fn commits(
    broker: &Broker,
    span: &Span,
    groups: usize,
    members: usize,
    partitions: i32,
    connections: usize,
) -> io::Result<()> {
    let members = assemble(broker, groups, members).await?;
    let recorder = Recorder::of("commits");
    let mut workers = JoinSet::new();
    for (number, lane) in lanes(members, connections).into_iter().enumerate() {
        workers.spawn(keep_committing(lane, number as i32, partitions, recorder.clone()));
    }
    let mut measured = recorder.measure(broker, span, workers).await?;
    let commits = measured.times.len() as f64;
    figure("commits", commits / measured.seconds, "1/s");
    figure("commits per CPU second", commits / measured.cpu_seconds, "1/s");
    figure("commit 99th", percentile(&mut measured.times, 0.99), "ms");
    Ok(())
}

async fn keep_committing(
    Lane { mut client, members }: Lane,
    first: i32,
    partitions: i32,
    recorder: Recorder,
) -> io::Result<()> {
    for offset in 0.. {
        for member in &members {
            let sent = Instant::now();
            let request = commit_request(first, partitions, offset)
                .with_group_id(member.group.clone())
                .with_member_id(member.id.clone())
                .with_generation_id_or_member_epoch(member.generation);
            commit(&mut client, &request).await?;
            recorder.record(sent.elapsed());
        }
    }
    Ok(())
}

/// Of `count` partitions from `first` on, all at `offset`.
pub(crate) fn commit_request(first: i32, count: i32, offset: i64) -> OffsetCommitRequest {
    let of = |partition: i32| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(partition % PARTITIONS)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(0)
            .with_committed_metadata(Some(kafka_protocol::protocol::StrBytes::default()))
    };
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic())
        .with_partitions((first..first + count.min(PARTITIONS)).map(of).collect());
    OffsetCommitRequest::default().with_topics(vec![topic])
}

/// Until it is taken.
pub(crate) async fn commit(client: &mut Client, request: &OffsetCommitRequest) -> io::Result<()> {
    loop {
        let answer = client.call(8, request).await?;
        let mut errors = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|it| it.error_code);
        match errors.find(|error| *error != 0) {
            None => return Ok(()),
            Some(error) if is_passing(error) => sleep(RETRY).await,
            Some(error) => return Err(unexpected("OffsetCommit", error)),
        }
    }
}

/// Its members are told by a heartbeat and come at once; what a real client adds to that is its heartbeat interval.
pub(crate) async fn rebalances(
    broker: &Broker,
    members: usize,
    warm_up: usize,
    rounds: usize,
) -> io::Result<()> {
    let mut group = assemble(broker, 1, members).await?;
    let progress = Progress::of("rebalances");
    let (mut times, mut cpu_seconds) = (Vec::new(), 0.0);
    for round in 0..warm_up + rounds {
        let (before, begun) = (broker.cpu_seconds()?, Instant::now());
        group = rebalance(group).await?;
        progress.one_more();
        if round >= warm_up {
            times.push(begun.elapsed());
            cpu_seconds += broker.cpu_seconds()? - before;
        }
    }
    figure("rebalance", percentile(&mut times, 0.5), "ms");
    figure("CPU per rebalance", cpu_seconds / rounds as f64 * 1e3, "ms");
    Ok(())
}

/// The leader joins again, as it does when its topics have changed, and all others after it.
async fn rebalance(group: Vec<(Member, Client)>) -> io::Result<Vec<(Member, Client)>> {
    let mut joining = JoinSet::new();
    let (leaders, mut others): (Vec<_>, Vec<_>) = group.into_iter().partition(|(member, _)| member.leads);
    let join = |(mut member, mut client): (Member, Client)| async move {
        member.join(&mut client).await?;
        Ok::<_, io::Error>((member, client))
    };
    for leader in leaders {
        joining.spawn(join(leader));
    }
    let Some((first, client)) = others.first_mut() else {
        return Err(io::Error::other("a rebalance needs two members"));
    };
    while first.heartbeat(client).await? != REBALANCE_IN_PROGRESS {
        tokio::task::yield_now().await;
    }
    for (member, mut client) in others {
        joining.spawn(async move {
            match member.heartbeat(&mut client).await? {
                REBALANCE_IN_PROGRESS => join((member, client)).await,
                error => Err(unexpected("the heartbeat of a member that has to join again", error)),
            }
        });
    }
    let mut joined = Vec::with_capacity(joining.len());
    while let Some(member) = joining.join_next().await {
        joined.push(member.map_err(io::Error::other)??);
    }
    let generation = joined.first().map(|(member, _)| member.generation);
    if joined.iter().any(|(member, _)| Some(member.generation) != generation) {
        return Err(io::Error::other("the members are in several generations"));
    }
    Ok(joined)
}
