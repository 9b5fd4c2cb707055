//! Quotas of clients, users and addresses: how they are measured, what happens to who takes more, and who hears of them; with
//! ours and with Apache Kafka 3.9.1.

mod support;

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use coordinator::quotas::{Rate, TokenBucket, Window};
use coordinator::time::Monotonic;
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AlterClientQuotasRequest, ApiVersionsRequest, BrokerId, FetchRequest, MetadataRequest, ProduceRequest,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;
use support::process::PATIENCE;
use support::records::Batch;
use support::seat::{Broker, Kind, kind};
use support::stock::{self, checkout};
use support::talk::create_topic;
use support::wire::Connection;

/// Two whole samples and the one that goes on: what a client took is forgotten soon.
const SETTINGS: &[(&str, &str)] = &[("quota.window.num", "3"), ("quota.window.size.seconds", "1")];

static APACHE: LazyLock<Broker> = LazyLock::new(|| Broker::start_with(Kind::Apache, SETTINGS));
/// Ours; with `ODRADEK_SEAT=apache` a second Apache.
static OURS: LazyLock<Broker> = LazyLock::new(|| Broker::start_with(kind(), SETTINGS));

/// Does the same with both, at the same time.
fn with_both<T: Send>(play: impl Fn(&'static Broker) -> T + Sync) -> [T; 2] {
    std::thread::scope(|scope| {
        let apache = scope.spawn(|| play(&APACHE));
        let ours = play(&OURS);
        [apache.join().expect("the same with Apache"), ours]
    })
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

/// Sets a quota of one entity, or removes it.
#[track_caller]
fn set(broker: &Broker, entity: (&str, &str), key: &str, value: Option<f64>) {
    let part = EntityData::default().with_entity_type(text(entity.0)).with_entity_name(Some(text(entity.1)));
    let op = OpData::default()
        .with_key(text(key))
        .with_value(value.unwrap_or_default())
        .with_remove(value.is_none());
    let entry = EntryData::default().with_entity(vec![part]).with_ops(vec![op]);
    let request = AlterClientQuotasRequest::default().with_entries(vec![entry]);
    let answer = broker.connect().request(1, &request);
    assert_eq!(answer.entries[0].error_code, 0, "{answer:?}");
}

fn connect_as(broker: &Broker, client_id: &'static str) -> Connection {
    let mut connection = broker.connect();
    connection.client_id = client_id;
    connection
}

#[track_caller]
fn eventually(broker: &Broker, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{:?} {}: {what}\n{}", broker.kind, broker.id, broker.log());
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn produce(topic: &str, bytes: usize) -> ProduceRequest {
    let batch = Batch::of(&["x".repeat(bytes).as_str()]).encode();
    let data = PartitionProduceData::default().with_index(0).with_records(Some(batch));
    let name = TopicName(text(topic));
    let data = TopicProduceData::default().with_name(name).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(1).with_timeout_ms(30_000).with_topic_data(vec![data])
}

fn fetch(topic: &str, offset: i64) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(0)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(10_000);
    let topic = FetchTopic::default().with_topic(TopicName(text(topic))).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(0)
        .with_max_bytes(10_000)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// How long a client of this id is told to wait for a request that takes no bytes.
fn wait_for_time(broker: &Broker, client_id: &'static str) -> i32 {
    connect_as(broker, client_id)
        .request(9, &MetadataRequest::default().with_topics(Some(Vec::new())))
        .throttle_time_ms
}

/// Numbers that look like chance and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Measures of our own, driven as `tests/clients/java/Measures.java` drives Kafka's.
enum Measure {
    Rate(Rate),
    Bounded(Rate),
    Tokens(TokenBucket),
}

impl Measure {
    fn wait(&mut self, now: Monotonic, value: f64, limit: f64, window: Window) -> u32 {
        match self {
            Measure::Rate(rate) => {
                rate.record(value, now, window);
                rate.wait(limit, now, window)
            }
            Measure::Bounded(rate) => {
                rate.record(value, now, window);
                rate.wait_at_most(u32::try_from(window.sample_ms).expect("short"), limit, now, window)
            }
            Measure::Tokens(bucket) => {
                bucket.take(value, limit, now, window);
                bucket.wait(limit, now, window)
            }
        }
    }
}

#[test]
fn rates_and_tokens_are_what_kafkas_own_classes_measure() {
    let mut dice = Dice(2026);
    let (mut events, mut ours) = (String::new(), String::new());
    for round in 0..150 {
        let (samples, seconds) = (1 + dice.below(12), 1 + dice.below(3));
        let window = Window { sample_ms: seconds * 1000, samples: usize::try_from(samples).expect("small") };
        let (kind, mut measure) = match round % 3 {
            0 => ("rate", Measure::Rate(Rate::default())),
            1 => ("bounded", Measure::Bounded(Rate::default())),
            _ => ("tokens", Measure::Tokens(TokenBucket::default())),
        };
        events.push_str(&format!("{kind} {samples} {seconds}\n"));
        let (mut now, mut limit) = (0, 1 + dice.below(5000));
        for _ in 0..40 {
            // Sometimes a long silence, sometimes another limit, sometimes something is taken back.
            now += if dice.below(10) == 0 { dice.below(60_000) } else { dice.below(1500) };
            if dice.below(15) == 0 {
                limit = 1 + dice.below(5000);
            }
            let value = i64::try_from(dice.below(9000)).expect("small") - 500;
            events.push_str(&format!("{now} {value} {limit}\n"));
            #[allow(clippy::cast_precision_loss)]
            let wait = measure.wait(Monotonic(now), value as f64, limit as f64, window);
            ours.push_str(&format!("{wait}\n"));
        }
    }
    let source = checkout().join("tests/clients/java/Measures.java").display().to_string();
    let kafkas = stock::tool("3.9.1", &source, &[], &events).success();
    let waits = ours.lines().filter(|line| *line != "0").count();
    assert!(waits > 1000, "only {waits} of the waits are waits");
    assert_eq!(kafkas, ours);
}

#[test]
fn who_took_too_much_is_told_and_not_read_from_meanwhile() {
    with_both(|broker| {
        create_topic(broker, "muted", 1, &[]);
        set(broker, ("client-id", "muted"), "producer_byte_rate", Some(1000.0));
        let mut connection = connect_as(broker, "muted");
        let (mut began, mut wait) = (Instant::now(), 0);
        eventually(broker, "the quota is known", || {
            began = Instant::now();
            // Two seconds' worth are free.
            wait = connection.request(9, &produce("muted", 3000)).throttle_time_ms;
            wait > 0
        });
        assert!(wait >= 1000, "{:?} told {wait} ms for 3000 bytes", broker.kind);
        connection.patience(PATIENCE);
        connection.request(0, &ApiVersionsRequest::default());
        let passed = began.elapsed();
        let told = Duration::from_millis(u64::try_from(wait).expect("positive"));
        assert!(passed + Duration::from_millis(5) >= told, "{:?}: {passed:?} of {told:?}", broker.kind);
    });
}

#[test]
fn a_producer_and_a_consumer_are_held_to_their_rates() {
    const RATE: f64 = 100_000.0;
    let moved = with_both(|broker| {
        create_topic(broker, "held", 1, &[]);
        set(broker, ("client-id", "held"), "producer_byte_rate", Some(RATE));
        set(broker, ("client-id", "held"), "consumer_byte_rate", Some(RATE));
        let mut producer = connect_as(broker, "held");
        eventually(broker, "the producer is throttled", || {
            producer.request(9, &produce("held", 10_000)).throttle_time_ms > 0
        });
        let produced = bytes_in_a_while(|| {
            producer.request(9, &produce("held", 10_000));
            10_000
        });
        let (mut consumer, mut offset) = (connect_as(broker, "held"), 0);
        let fetched = bytes_in_a_while(|| {
            let answer = consumer.request(11, &fetch("held", offset));
            let records = answer.responses.first().and_then(|topic| topic.partitions[0].records.as_ref());
            let bytes = records.map_or(0, |records| records.len());
            assert!(bytes == 0 || answer.throttle_time_ms == 0, "who has to wait gets nothing");
            offset += i64::from(bytes > 0);
            // Begins anew rather than to wait for more.
            offset %= 20;
            bytes
        });
        (produced, fetched)
    });
    for (kind, (produced, fetched)) in ["Apache", "ours"].into_iter().zip(moved) {
        for (what, (bytes, seconds)) in [("produced", produced), ("fetched", fetched)] {
            #[allow(clippy::cast_precision_loss)]
            let bytes = bytes as f64;
            // Two seconds' worth at once, one that goes on, and one request beyond.
            let most = RATE * (seconds + 3.0) + 20_000.0;
            assert!(bytes <= most, "{kind} {what} {bytes} bytes in {seconds} s");
            assert!(bytes >= RATE * seconds * 0.4, "{kind} {what} only {bytes} bytes in {seconds} s");
        }
    }
}

/// What `step` moves in five seconds and the rest of its last wait. Bytes and seconds.
fn bytes_in_a_while(mut step: impl FnMut() -> usize) -> (usize, f64) {
    let began = Instant::now();
    let mut bytes = 0;
    while began.elapsed() < Duration::from_secs(5) {
        bytes += step();
    }
    (bytes, began.elapsed().as_secs_f64())
}

#[test]
fn an_address_makes_no_more_connections_than_it_may() {
    let address = IpAddr::from([127, 0, 0, 77]);
    let served = |broker: &Broker| {
        let connection = Connection::from_address(address, broker.port, PATIENCE);
        connection.is_ok_and(|mut open| open.try_request(0, &ApiVersionsRequest::default()).is_ok())
    };
    with_both(|broker| {
        set(broker, ("ip", "127.0.0.77"), "connection_creation_rate", Some(1.0));
        eventually(broker, "connections of the address are refused", || !served(broker));
        // From elsewhere anybody comes in.
        broker.connect().request(0, &ApiVersionsRequest::default());
        set(broker, ("ip", "127.0.0.77"), "connection_creation_rate", None);
        eventually(broker, "three at once come in again", || (0..3).all(|_| served(broker)));
    });
}

#[test]
fn a_quota_set_at_one_broker_holds_at_all_of_them() {
    let first = Broker::start_with(kind(), &[]);
    let join = |kind, id| Broker::join(kind, id, &first.zookeeper(), &[]);
    let mut others = [join(kind(), 1), join(Kind::Apache, 2)];
    others.iter_mut().for_each(Broker::wait_until_it_answers);
    let all = [&first, &others[0], &others[1]];
    for (at, client_id) in all.iter().zip(["through-0", "through-1", "through-2"]) {
        set(at, ("client-id", client_id), "request_percentage", Some(0.000_001));
        for broker in all {
            eventually(broker, "the quota is known", || wait_for_time(broker, client_id) > 0);
        }
        set(at, ("client-id", client_id), "request_percentage", None);
        for broker in all {
            eventually(broker, "the quota is gone", || wait_for_time(broker, client_id) == 0);
        }
    }
}

#[test]
fn quotas_are_known_from_the_start() {
    let mut broker = Broker::start_with(kind(), &[]);
    set(&broker, ("user", "ANONYMOUS"), "request_percentage", Some(0.000_001));
    eventually(&broker, "the quota is known", || wait_for_time(&broker, "early") > 0);
    broker.stop();
    broker.restart();
    assert!(wait_for_time(&broker, "early") > 0, "at the first request");
}

#[test]
fn the_time_of_a_followers_fetches_is_charged_to_nobody() {
    // One of a hundred parts of a thread, which thousands of answers take to be sent.
    const FETCHES: usize = 6000;
    create_topic(&OURS, "copied", 1, &[]);
    for (client_id, replica, waits) in [("copier", 7, false), ("reader", -1, true)] {
        set(&OURS, ("client-id", client_id), "request_percentage", Some(1.0));
        // Heard of with the first request that is held back, and then forgotten again. On a busy machine so many answers
        // may take so long that they are within the rate, and any one so long that it is not: then once more.
        let mut connection = connect_as(&OURS, client_id);
        let request = fetch("copied", 0).with_replica_id(BrokerId(replica));
        eventually(&OURS, &format!("{client_id} is told to wait: {waits}"), || {
            let mut told = 0;
            for _ in 0..FETCHES {
                told = told.max(connection.request(11, &request).throttle_time_ms);
                if told > 0 {
                    break;
                }
            }
            (told.max(wait_for_time(&OURS, client_id)) > 0) == waits
        });
    }
}

#[test]
fn a_stock_producer_is_held_to_its_rate() {
    const RATE: f64 = 300_000.0;
    const RECORDS: &str = "3000";
    let [apache, ours] = with_both(|broker| {
        create_topic(broker, "paced", 1, &[]);
        set(broker, ("client-id", "pacer"), "producer_byte_rate", Some(RATE));
        let servers = format!("bootstrap.servers={}", broker.bootstrap());
        let records = ["--topic", "paced", "--num-records", RECORDS, "--record-size", "1000"];
        let props =
            ["--throughput", "-1", "--producer-props", "client.id=pacer", "batch.size=16384", &servers];
        let told =
            stock::tool("3.9.1", "kafka-producer-perf-test", &[&records[..], &props].concat(), "").success();
        let last = told.lines().last().unwrap_or_default();
        let rate = last
            .split(" records/sec")
            .next()
            .and_then(|sent| sent.split(' ').next_back()?.parse::<f64>().ok());
        rate.unwrap_or_else(|| panic!("{told}")) * 1000.0
    });
    println!("Apache lets {apache} bytes a second pass, ours {ours}");
    // How much less it is than allowed is the machine's affair, and the same for both at the same time.
    let least = apache.min(RATE) * 0.3;
    assert!(
        apache < RATE * 1.5 && (least..RATE * 1.5).contains(&ours),
        "Apache {apache}, ours {ours}, for {RATE}"
    );
}

/// What was printed, without the warning that 2.8 prints of its own use.
fn printed(broker: &Broker, version: &str, arguments: &[&str]) -> String {
    let (place, address) = match version {
        "2.8.2" => ("--zookeeper", broker.zookeeper()),
        _ => ("--bootstrap-server", broker.bootstrap()),
    };
    let ended = stock::tool(version, "kafka-configs", &[arguments, &[place, &address]].concat(), "");
    let lines = ended.stdout.lines().filter(|line| !line.starts_with("Warning: "));
    format!("{} {}", ended.code, lines.collect::<Vec<_>>().join("\n"))
}

#[test]
fn what_is_typed_into_the_stock_tool_is_answered_as_apache_answers_it() {
    let client = ["--entity-type", "clients", "--entity-name", "typed"];
    let users = ["--entity-type", "users", "--entity-default"];
    let both = [
        "--entity-type",
        "users",
        "--entity-name",
        "typed user",
        "--entity-type",
        "clients",
        "--entity-name",
        "c",
    ];
    let ip = ["--entity-type", "ips", "--entity-name", "127.0.0.78"];
    let login = ["--entity-type", "users", "--entity-name", "with a password"];
    let rates = "producer_byte_rate=1000000000,consumer_byte_rate=2000000000";
    let typed: &[(&str, &[&str], &[&str])] = &[
        ("3.9.1", &client, &["--alter", "--add-config", rates]),
        ("2.8.2", &client, &["--describe"]),
        ("2.8.2", &client, &["--alter", "--delete-config", "producer_byte_rate"]),
        ("3.9.1", &client, &["--describe"]),
        ("3.9.1", &client, &["--alter", "--add-config", "no.such=1"]),
        ("2.8.2", &both, &["--alter", "--add-config", "request_percentage=50000"]),
        ("3.9.1", &both, &["--describe"]),
        ("3.9.1", &both, &["--alter", "--delete-config", "request_percentage"]),
        ("3.9.1", &users, &["--alter", "--add-config", "controller_mutation_rate=1000000"]),
        ("2.8.2", &users, &["--alter", "--delete-config", "controller_mutation_rate"]),
        ("3.9.1", &ip, &["--alter", "--add-config", "connection_creation_rate=1000"]),
        ("2.8.2", &ip, &["--describe"]),
        ("2.8.2", &ip, &["--alter", "--delete-config", "connection_creation_rate"]),
        ("3.9.1", &ip, &["--describe"]),
        ("2.8.2", &login, &["--alter", "--add-config", "SCRAM-SHA-256=[iterations=4096,password=secret]"]),
        ("3.9.1", &login, &["--describe"]),
    ];
    let [apache, ours] = with_both(|broker| {
        let answers = typed
            .iter()
            .map(|(version, entity, asked)| printed(broker, version, &[*entity, *asked].concat()));
        answers.collect::<Vec<_>>()
    });
    for ((typed, apache), ours) in typed.iter().zip(apache).zip(ours) {
        assert_eq!(ours, apache, "{typed:?}");
    }
}
