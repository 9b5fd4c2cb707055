//! Idempotent producers at acks=all, transactional producers and consumer groups, at work while a cluster is being
//! ill-treated. Everything that was acknowledged and read ends up in a `History` and in `Transactions`.

mod transactional;

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kafka_protocol::messages::{InitProducerIdRequest, MetadataResponse};

use super::history::{History, Seen, Transaction, Transactions};
use super::process::{PATIENCE, Process, run};
use super::records::{Batch, read_records};
use super::requests::{is_passing, metadata, try_fetch, try_produce_as};
use super::wire::Connection;

/// Written to by idempotent producers, read by the group `readers`.
pub(crate) const TOPIC: &str = "faults";
/// Written to by transactional producers, read by the group `accountants` in `read_committed`.
pub(crate) const ACCOUNTS: &str = "accounts";
/// Of each topic.
pub(crate) const PARTITIONS: i32 = 3;
pub(crate) const READERS: &str = "readers";
/// The transactional ids at work.
pub(crate) const TRANSACTIONAL_IDS: [&str; 2] = ["quick", "patient"];

/// Records of one batch, at most.
const BATCH_MAX: u64 = 5;
/// Pause between two batches of an idempotent producer: the logs are read often.
const PACE: Duration = Duration::from_millis(20);
/// How long a leader may wait for its followers. One that has lost them without knowing makes producers wait so long.
const COMMIT_WITHIN: Duration = Duration::from_secs(3);
/// Pause before something is tried again.
const PAUSE: Duration = Duration::from_millis(50);
const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;

struct Shared {
    /// Of the idempotent producers.
    topic: String,
    brokers: Vec<SocketAddr>,
    /// Counts questions that any broker can answer.
    questions: AtomicUsize,
    stop: AtomicBool,
    acknowledged: Mutex<Vec<Seen>>,
    transactions: Mutex<Vec<Transaction>>,
    broken: Mutex<Vec<String>>,
}

impl Shared {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// What the first broker that answers says. Another one is asked first each time: one that is cut off has old news.
    fn ask_any<T>(&self, ask: impl Fn(&mut Connection) -> Option<T>) -> Option<T> {
        let first = self.questions.fetch_add(1, Ordering::Relaxed) % self.brokers.len();
        let (later, sooner) = self.brokers.split_at(first);
        sooner.iter().chain(later).find_map(|broker| ask(&mut Connection::try_open_at(*broker, ASIDE).ok()?))
    }

    fn tell(&self, what: String) {
        self.broken.lock().unwrap().push(what);
    }

    fn bootstrap(&self) -> String {
        self.brokers.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",")
    }
}

/// A producer's thread, and the records that it has brought through.
struct Producing {
    name: String,
    thread: JoinHandle<()>,
    progress: Arc<AtomicU64>,
}

/// Runs until `finish`.
pub(crate) struct Workload {
    shared: Arc<Shared>,
    producers: Vec<Producing>,
    readers: Vec<Process>,
    accountants: Vec<Process>,
}

/// What everybody saw.
#[derive(Default)]
pub(crate) struct Evidence {
    pub(crate) history: History,
    pub(crate) transactions: Transactions,
}

impl Evidence {
    pub(crate) fn violations(&self) -> Vec<String> {
        let mut found = self.history.violations();
        found.extend(self.transactions.violations());
        found
    }
}

impl Workload {
    /// One idempotent producer a partition, one for each transactional id, and two consumers of each group.
    pub(crate) fn start(brokers: Vec<SocketAddr>) -> Workload {
        let mut workload = Workload::idempotent(TOPIC, brokers);
        workload.producers.extend(TRANSACTIONAL_IDS.into_iter().map(|id| {
            start(&workload.shared, id, move |shared, progress| {
                transactional::Producer::new(shared, id).run(progress);
            })
        }));
        workload.accountants = consumers(ACCOUNTS, "accountants", "read_committed", &workload.shared);
        workload
    }

    /// One idempotent producer a partition of this topic, and the group of its readers.
    pub(crate) fn idempotent(topic: &str, brokers: Vec<SocketAddr>) -> Workload {
        let shared = Arc::new(Shared {
            topic: topic.to_owned(),
            brokers,
            questions: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            acknowledged: Mutex::default(),
            transactions: Mutex::default(),
            broken: Mutex::default(),
        });
        let readers = consumers(topic, READERS, "read_uncommitted", &shared);
        let producers = (0..PARTITIONS).map(|partition| {
            start(&shared, &format!("producer {partition}"), move |shared, progress| {
                Producer::new(shared, partition).run(progress);
            })
        });
        let producers = producers.collect();
        Workload { shared, producers, readers, accountants: Vec::new() }
    }

    /// Records brought through so far, by producer.
    fn progress(&self) -> Vec<(&str, u64)> {
        self.producers.iter().map(|one| (one.name.as_str(), one.progress.load(Ordering::Acquire))).collect()
    }

    /// Waits until every producer has brought so many more records through. None of those that are waited for may stand
    /// still for `PATIENCE`; how long they take together is the machine's affair.
    #[track_caller]
    pub(crate) fn wait_for_more(&self, records: u64) {
        let before = self.progress();
        let mut moved: Vec<(u64, Instant)> = before.iter().map(|one| (one.1, Instant::now())).collect();
        loop {
            let now = self.progress();
            let mut all = true;
            for ((one, before), moved) in now.iter().zip(&before).zip(&mut moved) {
                if one.1 > moved.0 {
                    *moved = (one.1, Instant::now());
                }
                let is_done = one.1 >= before.1 + records;
                all &= is_done;
                let stands = !is_done && moved.1.elapsed() > PATIENCE;
                assert!(!stands, "producers stand still: {before:?} before, {now:?} now");
            }
            if all {
                return;
            }
            self.nothing_is_broken();
            thread::park_timeout(PAUSE);
        }
    }

    #[track_caller]
    fn nothing_is_broken(&self) {
        let broken = self.shared.broken.lock().unwrap().join("\n");
        assert!(broken.is_empty(), "{broken}");
    }

    /// What everybody has seen until now; without the logs.
    pub(crate) fn evidence(&self) -> Evidence {
        let read =
            |consumers: &[Process]| consumers.iter().flat_map(|one| lines(&one.stdout())).collect::<Vec<_>>();
        let acknowledged = self.shared.acknowledged.lock().unwrap().clone();
        let ended = self.shared.transactions.lock().unwrap().clone();
        Evidence {
            history: History { acknowledged, read: read(&self.readers), log: Vec::new() },
            transactions: Transactions { ended, read: read(&self.accountants), log: Vec::new() },
        }
    }

    /// Stops producing, waits until the groups have read everything, and reads the topics itself.
    #[track_caller]
    pub(crate) fn finish(&mut self) -> Evidence {
        self.shared.stop.store(true, Ordering::Release);
        for producer in self.producers.drain(..) {
            producer.thread.join().expect("a producer does not panic");
        }
        self.nothing_is_broken();
        let log: Vec<Seen> =
            (0..PARTITIONS).flat_map(|partition| read_all(&self.shared, partition)).collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut evidence = self.evidence();
            evidence.history.log.clone_from(&log);
            // Again each time: what a producer was told is committed may still wait for its markers.
            if !self.accountants.is_empty() {
                evidence.transactions.log = read_committed(&self.shared.bootstrap());
            }
            if evidence.violations().is_empty() || Instant::now() > deadline {
                return evidence;
            }
            thread::park_timeout(PAUSE);
        }
    }
}

fn start(
    shared: &Arc<Shared>,
    name: &str,
    work: impl FnOnce(&Shared, &AtomicU64) + Send + 'static,
) -> Producing {
    let progress = Arc::new(AtomicU64::new(0));
    let (shared, mine) = (Arc::clone(shared), Arc::clone(&progress));
    Producing { name: name.to_owned(), thread: thread::spawn(move || work(&shared, &mine)), progress }
}

/// `partition offset value` lines.
fn lines(text: &str) -> Vec<Seen> {
    let line = |line: &str| {
        let mut words = line.split(' ');
        let (partition, offset) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Seen::new(partition, offset, words.next()?))
    };
    text.lines().filter_map(line).collect()
}

/// kcat, printing lines for `lines`.
fn kcat(bootstrap: &str, isolation: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("kcat");
    let isolation = format!("isolation.level={isolation}");
    command.args(["-q", "-u", "-b", bootstrap, "-f", "%p %o %s\n", "-X", &isolation]);
    command.args(["-X", "check.crcs=true", "-X", "reconnect.backoff.max.ms=500"]);
    command.args(arguments);
    command
}

/// Two members of a group.
fn consumers(topic: &str, group: &str, isolation: &str, shared: &Shared) -> Vec<Process> {
    (0..2).map(|_| consumer(topic, group, isolation, &shared.bootstrap())).collect()
}

fn consumer(topic: &str, group: &str, isolation: &str, bootstrap: &str) -> Process {
    let mut arguments = Vec::new();
    for setting in [
        "auto.offset.reset=earliest",
        "session.timeout.ms=6000",
        "heartbeat.interval.ms=1000",
        "auto.commit.interval.ms=1000",
        "topic.metadata.refresh.interval.ms=2000",
    ] {
        arguments.extend(["-X", setting]);
    }
    // -E: a moment without any broker is no reason to end.
    arguments.extend(["-E", "-G", group, topic]);
    Process::spawn(format!("kcat of {group}"), kcat(bootstrap, isolation, &arguments))
}

/// All that `read_committed` shows of the transactional topic.
fn read_committed(bootstrap: &str) -> Vec<Seen> {
    let arguments = ["-C", "-e", "-o", "beginning", "-t", ACCOUNTS];
    lines(&run("kcat", kcat(bootstrap, "read_committed", &arguments), b"", PATIENCE).success())
}

/// One idempotent producer with one batch under way.
struct Producer<'a> {
    shared: &'a Shared,
    partition: i32,
    id: (i64, i16),
    connection: Option<Connection>,
    /// Records so far: the next one's number, and its sequence.
    next: u64,
}

impl Producer<'_> {
    fn new(shared: &Shared, partition: i32) -> Producer<'_> {
        Producer { shared, partition, id: (-1, -1), connection: None, next: 0 }
    }

    fn run(mut self, progress: &AtomicU64) {
        while self.id.0 < 0 && !self.shared.stopped() {
            self.ask_for_an_id();
        }
        while !self.shared.stopped() {
            let count = 1 + self.next % BATCH_MAX;
            let values: Vec<String> =
                (self.next..self.next + count).map(|number| format!("{}/{number}", self.partition)).collect();
            let Some(offset) = self.deliver(&values) else { return };
            let mut acknowledged = self.shared.acknowledged.lock().unwrap();
            for (delta, value) in (0..).zip(values) {
                let offset = offset.map(|base| base + delta);
                acknowledged.push(Seen { partition: self.partition, offset, value });
            }
            drop(acknowledged);
            self.next += count;
            progress.store(self.next, Ordering::Release);
            thread::park_timeout(PACE);
        }
    }

    fn ask_for_an_id(&mut self) {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let answer = self.shared.ask_any(|connection| {
            let answer = connection.try_request(4, &request).ok()?;
            (answer.error_code == 0).then_some(answer)
        });
        match answer {
            Some(answer) => self.id = (answer.producer_id.0, answer.producer_epoch),
            None => thread::park_timeout(PAUSE),
        }
    }

    /// Sends one batch until it is acknowledged; `Some(None)`: as a duplicate. `None`: the rules were broken, or the
    /// cluster never recovered.
    fn deliver(&mut self, values: &[String]) -> Option<Option<i64>> {
        let texts: Vec<&str> = values.iter().map(String::as_str).collect();
        let sequence = i32::try_from(self.next).expect("a short test");
        let batch = Batch::of(&texts).by_producer(self.id.0, self.id.1, sequence).encode();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let leader =
                self.connection.take().or_else(|| leader(self.shared, &self.shared.topic, self.partition));
            let Some(mut leader) = leader else {
                thread::park_timeout(PAUSE);
                continue;
            };
            match try_produce_as(
                &mut leader,
                None,
                &self.shared.topic,
                self.partition,
                -1,
                &batch,
                COMMIT_WITHIN,
            ) {
                Ok((0, offset)) => {
                    self.connection = Some(leader);
                    return Some(Some(offset));
                }
                Ok((DUPLICATE_SEQUENCE_NUMBER, _)) => return Some(None),
                Ok((error, _)) if !is_passing(error) => {
                    self.shared.tell(format!("{values:?} to partition {}: error {error}", self.partition));
                    return None;
                }
                // Nobody knows whether it was written: sent again, the same sequence tells.
                Ok(_) | Err(_) => thread::park_timeout(PAUSE),
            }
        }
        self.shared.tell(format!(
            "{values:?} to partition {}: not acknowledged within {PATIENCE:?}",
            self.partition
        ));
        None
    }
}

/// How long a broker may take for an answer that any broker can give. A frozen one takes connections and says nothing.
const ASIDE: Duration = Duration::from_secs(1);
/// The same for an answer that only one broker can give.
const ALONE: Duration = Duration::from_secs(5);

/// A connection to the partition's leader, as the first broker that answers tells.
fn leader(shared: &Shared, topic: &str, partition: i32) -> Option<Connection> {
    let found = |answer: MetadataResponse| {
        let topic = answer.topics.first()?;
        let leader = topic.partitions.iter().find(|one| one.partition_index == partition)?.leader_id;
        let broker = answer.brokers.iter().find(|broker| broker.node_id == leader)?;
        connect(&broker.host, broker.port)
    };
    shared.ask_any(|connection| found(metadata(connection, topic).ok()?))
}

/// To where a broker says that one is.
fn connect(host: &str, port: i32) -> Option<Connection> {
    let address = SocketAddr::new(host.parse::<IpAddr>().ok()?, u16::try_from(port).ok()?);
    Connection::try_open_at(address, ALONE).ok()
}

/// Everything below the high watermark.
fn read_all(shared: &Shared, partition: i32) -> Vec<Seen> {
    let deadline = Instant::now() + PATIENCE;
    let mut found: Vec<Seen> = Vec::new();
    let mut next = 0;
    while Instant::now() < deadline {
        let answer = leader(shared, &shared.topic, partition)
            .and_then(|mut leader| try_fetch(&mut leader, &shared.topic, partition, next).ok())
            .filter(|answer| answer.error == 0);
        let Some(answer) = answer else {
            thread::park_timeout(PAUSE);
            continue;
        };
        for (offset, value) in read_records(&answer.records) {
            if offset >= next && offset < answer.high_watermark {
                found.push(Seen::new(partition, offset, String::from_utf8_lossy(&value)));
                next = offset + 1;
            }
        }
        if next >= answer.high_watermark {
            return found;
        }
    }
    panic!("partition {partition} could not be read to its end");
}
