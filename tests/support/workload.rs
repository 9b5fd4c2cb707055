//! Idempotent producers at acks=all and a consumer group, at work while a cluster is being ill-treated. Everything
//! that was acknowledged and read ends up in a `History`.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kafka_protocol::messages::{InitProducerIdRequest, MetadataResponse};

use super::history::{History, Seen};
use super::process::{PATIENCE, Process};
use super::records::{Batch, read_records};
use super::requests::{is_passing, metadata, try_fetch, try_produce};
use super::wire::Connection;

/// Records of one batch, at most.
const BATCH_MAX: u64 = 5;
/// Pause before something is tried again.
const PAUSE: Duration = Duration::from_millis(50);
const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;

struct Shared {
    topic: String,
    ports: Vec<u16>,
    stop: AtomicBool,
    acknowledged: Mutex<Vec<Seen>>,
    broken: Mutex<Vec<String>>,
}

/// Runs until `finish`.
pub(crate) struct Workload {
    shared: Arc<Shared>,
    producers: Vec<(JoinHandle<()>, Arc<AtomicU64>)>,
    consumers: Vec<Process>,
}

impl Workload {
    /// One producer a partition and two consumers of one group, on brokers that listen on these ports.
    pub(crate) fn start(topic: &str, partitions: i32, ports: Vec<u16>) -> Workload {
        let bootstrap: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let consumers = (0..2).map(|_| consumer(topic, &bootstrap.join(","))).collect();
        let shared = Arc::new(Shared {
            topic: topic.to_owned(),
            ports,
            stop: AtomicBool::new(false),
            acknowledged: Mutex::default(),
            broken: Mutex::default(),
        });
        let start = |partition| {
            let progress = Arc::new(AtomicU64::new(0));
            let (shared, mine) = (Arc::clone(&shared), Arc::clone(&progress));
            let run = move || Producer::new(&shared, partition).run(&mine);
            (thread::spawn(run), progress)
        };
        let producers = (0..partitions).map(start).collect();
        Workload { shared, producers, consumers }
    }

    /// Records acknowledged so far, by partition.
    pub(crate) fn progress(&self) -> Vec<u64> {
        self.producers.iter().map(|(_, progress)| progress.load(Ordering::Acquire)).collect()
    }

    /// Waits until every producer had so many more records acknowledged.
    #[track_caller]
    pub(crate) fn wait_for_more(&self, records: u64) {
        let before = self.progress();
        let deadline = Instant::now() + PATIENCE;
        while self.progress().iter().zip(&before).any(|(now, before)| *now < before + records) {
            let broken = self.shared.broken.lock().unwrap();
            assert!(broken.is_empty(), "{}", broken.join("\n"));
            drop(broken);
            assert!(
                Instant::now() < deadline,
                "producers stand still: {before:?} before, {:?} now",
                self.progress()
            );
            thread::park_timeout(PAUSE);
        }
    }

    /// Stops producing, waits until the group has read everything, and reads the topic itself.
    #[track_caller]
    pub(crate) fn finish(self) -> History {
        self.shared.stop.store(true, Ordering::Release);
        let partitions = i32::try_from(self.producers.len()).expect("few partitions");
        for (producer, _) in self.producers {
            producer.join().expect("a producer does not panic");
        }
        let broken = self.shared.broken.lock().unwrap();
        assert!(broken.is_empty(), "{}", broken.join("\n"));
        let acknowledged = self.shared.acknowledged.lock().unwrap().clone();
        let log: Vec<Seen> =
            (0..partitions).flat_map(|partition| read_all(&self.shared, partition)).collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let read: Vec<Seen> = self.consumers.iter().flat_map(|one| lines(&one.stdout())).collect();
            let history = History { acknowledged: acknowledged.clone(), read, log: log.clone() };
            let violations = history.violations();
            let waits = violations.iter().all(|one| one.starts_with("acknowledged and never read"));
            if violations.is_empty() || !waits || Instant::now() > deadline {
                return history;
            }
            thread::park_timeout(PAUSE);
        }
    }
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

fn consumer(topic: &str, bootstrap: &str) -> Process {
    let mut command = Command::new("kcat");
    // -E: a moment without any broker is no reason to end.
    command.args(["-q", "-u", "-E", "-b", bootstrap, "-f", "%p %o %s\n"]);
    for setting in [
        "auto.offset.reset=earliest",
        "session.timeout.ms=6000",
        "heartbeat.interval.ms=1000",
        "auto.commit.interval.ms=1000",
        "reconnect.backoff.max.ms=500",
        "topic.metadata.refresh.interval.ms=2000",
        "check.crcs=true",
    ] {
        command.args(["-X", setting]);
    }
    command.args(["-G", "readers", topic]);
    Process::spawn("kcat", command)
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
        while self.id.0 < 0 {
            self.ask_for_an_id();
        }
        while !self.shared.stop.load(Ordering::Acquire) {
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
        }
    }

    fn ask_for_an_id(&mut self) {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let answer = self.shared.ports.iter().find_map(|port| {
            let answer = Connection::try_open(*port).ok()?.try_request(4, &request).ok()?;
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
            let leader = self.connection.take().or_else(|| connect_to_leader(self.shared, self.partition));
            let Some(mut leader) = leader else {
                thread::park_timeout(PAUSE);
                continue;
            };
            match try_produce(&mut leader, &self.shared.topic, self.partition, -1, &batch) {
                Ok((0, offset)) => {
                    self.connection = Some(leader);
                    return Some(Some(offset));
                }
                Ok((DUPLICATE_SEQUENCE_NUMBER, _)) => return Some(None),
                Ok((error, _)) if !is_passing(error) => {
                    self.tell(format!("{values:?} to partition {}: error {error}", self.partition));
                    return None;
                }
                // Nobody knows whether it was written: sent again, the same sequence tells.
                Ok(_) | Err(_) => thread::park_timeout(PAUSE),
            }
        }
        self.tell(format!(
            "{values:?} to partition {}: not acknowledged within {PATIENCE:?}",
            self.partition
        ));
        None
    }

    fn tell(&self, what: String) {
        self.shared.broken.lock().unwrap().push(what);
    }
}

/// A connection to the partition's leader, as the first broker that answers tells.
fn connect_to_leader(shared: &Shared, partition: i32) -> Option<Connection> {
    let leader = |answer: MetadataResponse| {
        let topic = answer.topics.first()?;
        let leader = topic.partitions.iter().find(|one| one.partition_index == partition)?.leader_id;
        let broker = answer.brokers.iter().find(|broker| broker.node_id == leader)?;
        Connection::try_open_within(u16::try_from(broker.port).ok()?, Duration::from_secs(12)).ok()
    };
    shared.ports.iter().find_map(|port| {
        // A frozen broker takes connections and says nothing: not long.
        let mut connection = Connection::try_open_within(*port, Duration::from_secs(1)).ok()?;
        leader(metadata(&mut connection, &shared.topic).ok()?)
    })
}

/// Everything below the high watermark.
fn read_all(shared: &Shared, partition: i32) -> Vec<Seen> {
    let deadline = Instant::now() + PATIENCE;
    let mut found: Vec<Seen> = Vec::new();
    let mut next = 0;
    while Instant::now() < deadline {
        let answer = connect_to_leader(shared, partition)
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
