//! The broker under load: connections to it, what must be there before, and what it spends.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{
    CreateTopicsRequest, FindCoordinatorRequest, GroupId, ListOffsetsRequest, RequestHeader, ResponseHeader,
    TopicName, TransactionalId,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// What commits are about and transactions write to.
const TOPIC: &str = "load";
pub(crate) const PARTITIONS: i32 = 50;

/// How long one answer may take; a join waits for others.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two attempts of what will do soon.
pub(crate) const RETRY: Duration = Duration::from_millis(20);
/// Between two words on how far it has come.
const PROGRESS: Duration = Duration::from_secs(5);

const TOPIC_ALREADY_EXISTS: i16 = 36;
/// A coordinator that loads, is not there yet, or is another one.
const PASSING: [i16; 3] = [14, 15, 16];

pub(crate) fn is_passing(error: i16) -> bool {
    PASSING.contains(&error)
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn group_id(name: &str) -> GroupId {
    GroupId(text(name))
}

pub(crate) fn transactional_id(name: &str) -> TransactionalId {
    TransactionalId(text(name))
}

pub(crate) fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str(TOPIC))
}

/// How many connections this process may have, once it may have all that the machine allows.
pub(crate) fn connections_max() -> usize {
    /// For everything else than connections.
    const OTHERS: u64 = 100;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where that is not allowed, the former limit stays.
    let _ = setrlimit(Resource::Nofile, limit);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files.saturating_sub(OTHERS)).unwrap_or(usize::MAX)
}

/// What no load is prepared for.
pub(crate) fn unexpected(what: &str, error: i16) -> io::Error {
    io::Error::other(format!("{what} was answered with error {error}"))
}

pub(crate) fn figure(name: &str, value: f64, unit: &str) {
    println!("{name}\t{value:.6}\t{unit}");
}

pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    pid: Option<libc::pid_t>,
}

impl Broker {
    /// Once topic and coordinators are there.
    pub(crate) async fn ready(address: SocketAddr, pid: Option<libc::pid_t>) -> io::Result<Broker> {
        let broker = Broker { address, pid };
        let mut client = broker.connect().await?;
        make_topic(&mut client).await?;
        for key_type in [0, 1] {
            let request = FindCoordinatorRequest::default().with_key(text("load")).with_key_type(key_type);
            loop {
                match client.call(2, &request).await?.error_code {
                    0 => break,
                    error if is_passing(error) => sleep(RETRY).await,
                    error => return Err(unexpected("FindCoordinator", error)),
                }
            }
        }
        Ok(broker)
    }

    pub(crate) async fn connect(&self) -> io::Result<Client> {
        Client::connect(self.address).await
    }

    /// Many, made before anything is asked over them.
    pub(crate) async fn connections(&self, count: usize) -> io::Result<Vec<Client>> {
        /// Attempts at the same time: what a listener's queue takes.
        const AT_ONCE: usize = 40;
        futures_util::stream::iter(0..count)
            .map(|_| self.connect())
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    /// User and kernel time of the broker so far. Unit: seconds.
    pub(crate) fn cpu_seconds(&self) -> io::Result<f64> {
        let Some(pid) = self.pid else { return Err(io::Error::other("no process to measure")) };
        let mut clock: libc::clockid_t = 0;
        // SAFETY: `clock` is written to and nothing else.
        let error = unsafe { libc::clock_getcpuclockid(pid, &mut clock) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        // SAFETY: `time` is plain data that the call fills in.
        let (error, time) = unsafe {
            let mut time: libc::timespec = std::mem::zeroed();
            (libc::clock_gettime(clock, &mut time), time)
        };
        if error != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
    }
}

async fn make_topic(client: &mut Client) -> io::Result<()> {
    let wanted = CreatableTopic::default()
        .with_name(topic())
        .with_num_partitions(PARTITIONS)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(60_000);
    let answer = client.call(5, &request).await?;
    match answer.topics.first().map_or(0, |topic| topic.error_code) {
        0 | TOPIC_ALREADY_EXISTS => {}
        error => return Err(unexpected("CreateTopics", error)),
    }
    loop {
        let answer = client.call(5, &ends_of_partitions()).await?;
        let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        if partitions.all(|partition| partition.error_code == 0) {
            return Ok(());
        }
        sleep(RETRY).await;
    }
}

fn ends_of_partitions() -> ListOffsetsRequest {
    use kafka_protocol::messages::BrokerId;
    use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    let end = |index| ListOffsetsPartition::default().with_partition_index(index).with_timestamp(-1);
    let topic =
        ListOffsetsTopic::default().with_name(topic()).with_partitions((0..PARTITIONS).map(end).collect());
    ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic])
}

/// One connection, one request at a time.
pub(crate) struct Client {
    stream: TcpStream,
    correlation: i32,
    out: BytesMut,
    incoming: BytesMut,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Client { stream, correlation: 0, out: BytesMut::new(), incoming: BytesMut::new() })
    }

    pub(crate) async fn call<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        self.correlation += 1;
        self.out.clear();
        self.out.extend_from_slice(&[0; 4]);
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_static_str("load")));
        header.encode(&mut self.out, R::header_version(version)).map_err(io::Error::other)?;
        request.encode(&mut self.out, version).map_err(io::Error::other)?;
        let length = i32::try_from(self.out.len() - 4).map_err(io::Error::other)?;
        self.out[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&self.out).await?;

        let mut answer = timeout(PATIENCE, self.frame()).await.map_err(|_| io::ErrorKind::TimedOut)??;
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version))
            .map_err(io::Error::other)?;
        if header.correlation_id != self.correlation {
            return Err(io::Error::other("an answer to another request"));
        }
        R::Response::decode(&mut answer, version).map_err(io::Error::other)
    }

    async fn frame(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(prefix) = self.incoming.first_chunk::<4>() {
                let total = 4 + usize::try_from(i32::from_be_bytes(*prefix)).map_err(io::Error::other)?;
                if self.incoming.len() >= total {
                    return Ok(self.incoming.split_to(total).freeze().slice(4..));
                }
            }
            self.incoming.reserve(512);
            if self.stream.read_buf(&mut self.incoming).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Counts, and says now and then how far it has come.
pub(crate) struct Progress {
    what: &'static str,
    begun: Instant,
    count: AtomicU64,
    said_at_s: AtomicU64,
}

impl Progress {
    pub(crate) fn of(what: &'static str) -> Progress {
        let (count, said_at_s) = (AtomicU64::new(0), AtomicU64::new(0));
        Progress { what, begun: Instant::now(), count, said_at_s }
    }

    pub(crate) fn one_more(&self) {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let elapsed = self.begun.elapsed().as_secs();
        if elapsed >= self.said_at_s.load(Ordering::Relaxed) + PROGRESS.as_secs() {
            self.said_at_s.store(elapsed, Ordering::Relaxed);
            eprintln!("           {count} {} after {elapsed} s", self.what);
        }
    }
}

/// Of how long answers took, the one that `share` of all are not above. Unit: ms.
pub(crate) fn percentile(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let at = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len().max(1)) - 1;
    times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}
