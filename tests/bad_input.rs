//! Whatever arrives on a socket, the broker answers Kafka's error or closes that connection, its memory
//! stays bounded, and its other clients notice nothing.

mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, FetchRequest, GroupId, MetadataRequest, OffsetCommitRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use support::records::Batch;
use support::requests::{create_topic, produced};
use support::seat::{Broker, Kind, kind};
use support::wire::{Connection, framed};

/// One broker for all tests of this file, so that each also shows that it survived the others.
static BROKER: LazyLock<Broker> = LazyLock::new(|| {
    // Room for those who connect faster than a busy machine accepts: beyond it the kernel lets them wait for a second.
    let broker = Broker::start_with(kind(), &[("socket.listen.backlog.size", "4096")]);
    // All topics at once: what follows a request is ignored, so among the attacks are whole requests of a newer controller
    // and of a broker that leaves. They are heard, and no topic can be made after them.
    for topic in ["bystander", "liars", "bombs", "unread"] {
        topic_of(&broker, topic, &[]);
    }
    topic_of(&broker, "recompressed-bombs", &[("compression.type", "lz4")]);
    broker
});

/// Resident memory our broker never exceeds, whatever this file sends. Unit: bytes.
///
/// Stated for a test build. The largest legitimate parts are one frame of `socket.request.max.bytes` and the answers that
/// clients leave unread.
const RESIDENT_BYTES_MAX: u64 = 256 << 20;

/// Of answers that clients leave unread, over all connections. Its own copy of the broker's. Unit: bytes.
const UNSENT_BYTES_MAX: usize = 64 << 20;

/// Until when a connection that deserves it must have been answered or closed.
const VERDICT: Duration = Duration::from_secs(60);

/// UNKNOWN_TOPIC_OR_PARTITION.
const UNKNOWN: i16 = 3;

/// Half of an array length that no request can hold: 2^31 - 1 as a plain and as a compact length.
const BOMB: [u8; 4] = [0x7f, 0xff, 0xff, 0xff];
const COMPACT_BOMB: [u8; 5] = [0xff, 0xff, 0xff, 0xff, 0x07];

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

#[track_caller]
fn topic_of(broker: &Broker, topic: &str, configs: &[(&str, &str)]) {
    create_topic(&mut broker.connect(), topic, 1, 1, configs);
}

/// What every test ends with: a decent client is served at once, and memory is where it was.
#[track_caller]
fn others_notice_nothing() {
    let asked = Instant::now();
    let mut connection = BROKER.connect();
    assert_eq!(produced(&mut connection, "bystander", &Batch::of(&["still here"]).encode()), 0);
    assert!(asked.elapsed() < VERDICT, "the bystander waited {:?}", asked.elapsed());
    memory_is_bounded();
}

#[track_caller]
fn memory_is_bounded() {
    let resident = BROKER.resident_bytes();
    // Apache's heap says nothing about what a request reserved.
    assert!(
        kind() == Kind::Apache || resident < RESIDENT_BYTES_MAX,
        "resident memory: {} MiB",
        resident >> 20
    );
}

fn header(key: i16, version: i16, header_version: i16) -> BytesMut {
    let mut header = BytesMut::new();
    header.put_i16(key);
    header.put_i16(version);
    header.put_i32(7);
    header.put_i16(1);
    header.put_slice(b"c");
    if header_version >= 2 {
        header.put_u8(0);
    }
    header
}

/// Sends each of `frames` on a connection of its own; every one must be answered or closed.
#[track_caller]
fn each_gets_a_verdict(frames: &[(String, Bytes)]) {
    for chunk in frames.chunks(64) {
        let mut connections: Vec<(&str, TcpStream)> = chunk
            .iter()
            .map(|(name, frame)| {
                let mut stream = TcpStream::connect(("127.0.0.1", BROKER.port)).expect("the broker accepts");
                stream.set_read_timeout(Some(VERDICT)).expect("a timeout can be set");
                // The broker may close before it has read everything.
                let _ = stream.write_all(frame);
                (name.as_str(), stream)
            })
            .collect();
        for (name, stream) in &mut connections {
            match stream.read(&mut [0; 4]) {
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => {}
                Err(e) => panic!("{name}: neither answered nor closed: {e}"),
            }
        }
        memory_is_bounded();
    }
}

#[track_caller]
fn is_closed(name: &str, bytes: &[u8]) {
    let mut connection = BROKER.connect();
    let _ = connection.write_raw(bytes);
    assert!(connection.is_closed_within(VERDICT), "{name}: the connection stayed open");
}

#[test]
fn frames_of_impossible_length_close_the_connection() {
    is_closed("length -1", &(-1i32).to_be_bytes());
    is_closed("length -2^31", &i32::MIN.to_be_bytes());
    is_closed("above socket.request.max.bytes", &104_857_601i32.to_be_bytes());
    is_closed("2^31 - 1", &i32::MAX.to_be_bytes());
    is_closed("length 0", &[0; 4]);
    is_closed("no room for a header", &framed(&[0, 18, 0]));
    others_notice_nothing();
}

#[test]
fn unknown_apis_and_versions_close_the_connection() {
    for (key, version) in
        [(200, 0), (-1, 0), (3, 99), (0, 99), (1, -1), (55, 0), (52, 0), (76, 0), (i16::MAX, 0)]
    {
        is_closed(&format!("key {key} version {version}"), &framed(&header(key, version, 1)));
    }
    others_notice_nothing();
}

#[test]
fn api_versions_above_the_maximum_is_answered_in_version_0() {
    let mut connection = BROKER.connect();
    connection.write_raw(&framed(&header(18, 99, 2))).expect("sent");
    let answer = connection.read_frame().expect("read").expect("answered");
    assert_eq!(answer[..6], [0, 0, 0, 7, 0, 35], "correlation id 7, UNSUPPORTED_VERSION");
    let supported = connection.request(
        3,
        &ApiVersionsRequest::default()
            .with_client_software_name(text("a"))
            .with_client_software_version(text("1")),
    );
    assert_eq!(supported.error_code, 0, "the same connection may ask again");
}

#[test]
fn random_bytes_close_the_connection() {
    // xorshift: the same bytes in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..200 {
        let body: Vec<u8> = (0..next() % 400).map(|_| next() as u8).collect();
        let mut connection = BROKER.connect();
        connection.write_raw(&framed(&body)).expect("sent");
        // Whatever was meant: the broker has to be done with this connection after the end of input.
        connection.stream().shutdown(Shutdown::Write).expect("half closed");
        while connection.read_frame().expect("answered or closed").is_some() {}
    }
    others_notice_nothing();
}

#[test]
fn what_follows_a_request_in_its_frame_is_ignored() {
    // Three bytes too many come from librdkafka up to 2.6 that asks about all topics.
    let mut connection = BROKER.connect();
    let request = connection.frame(12, &MetadataRequest::default().with_topics(None));
    let longer = [&request[4..], &[1, 0, 0]].concat();
    connection.write_raw(&framed(&longer)).expect("it is sent");
    let answer = connection.receive::<MetadataRequest>(12).expect("an answer");
    assert!(answer.topics.iter().any(|topic| topic.name == Some(TopicName(text("bystander")))), "{answer:?}");
    others_notice_nothing();
}

/// Bodies that reach every nesting depth: each is a plausible request up to the length that cannot be.
#[test]
fn array_lengths_of_2_to_the_31_in_every_api_and_version_reserve_nothing() {
    let asked = ApiVersionsRequest::default();
    let advertised = BROKER.connect().request(0, &asked).api_keys;
    assert!(advertised.len() > 15, "{advertised:?}");
    let mut frames = Vec::new();
    for api in advertised {
        let key = ApiKey::try_from(api.api_key).expect("an API of Kafka 3.9");
        for version in api.min_version..=api.max_version {
            let header_version = key.request_header_version(version);
            let flexible = header_version >= 2;
            let (patterns, bomb): (&[&[u8]], &[u8]) =
                if flexible { (&[&[1], &[2]], &COMPACT_BOMB) } else { (&[&[0], &[0, 0, 0, 1]], &BOMB) };
            for (number, pattern) in patterns.iter().enumerate() {
                // A body of zeroes is a produce request with acks=0, which nobody answers. Apache ignores what follows
                // a request for the offsets of no group or about no transaction, and never answers those either.
                let apache = kind() == Kind::Apache;
                let answered = match key {
                    ApiKey::Produce => number > 0 || flexible,
                    ApiKey::OffsetFetch => !(apache && version >= 8),
                    ApiKey::AddPartitionsToTxn => !(apache && version >= 4),
                    _ => true,
                };
                // Eight zeroes and the length are a whole request: broker 0 asks to be shut down, and is heard.
                let harmless = |length: &usize| {
                    !(key == ApiKey::ControlledShutdown && version == 2 && number == 0 && *length == 8)
                };
                for length in (0..32).filter(harmless).filter(|_| answered) {
                    let mut frame = header(api.api_key, version, header_version);
                    frame.extend(pattern.iter().cycle().take(length));
                    frame.extend_from_slice(bomb);
                    frames.push((format!("{key:?} v{version} pattern {number} + {length}"), framed(&frame)));
                }
            }
        }
        // The header of the newest version: client id and tagged fields.
        for length in 8..16 {
            let mut frame = header(api.api_key, api.max_version, 2);
            frame.truncate(length);
            frame.extend_from_slice(&BOMB);
            frame.extend_from_slice(&COMPACT_BOMB);
            frames.push((format!("{key:?} header + {length}"), framed(&frame)));
        }
    }
    each_gets_a_verdict(&frames);
    others_notice_nothing();
}

/// A Metadata request of version 1 for `topics` topics without a name: two bytes on the wire, much more in memory.
fn metadata_of_nameless(topics: usize) -> Bytes {
    let mut body = header(3, 1, 1);
    body.put_i32(i32::try_from(topics).expect("few"));
    body.put_bytes(0, 2 * topics);
    framed(&body)
}

#[test]
fn requests_that_unfold_in_memory_are_answered_or_refused_within_its_bound() {
    if kind() == Kind::Apache {
        // Unfolds everything on its heap, and dies of it where that is small.
        return;
    }
    is_closed("40 MB of empty topics", &metadata_of_nameless(20_000_000));
    let mut connection = BROKER.connect();
    connection.write_raw(&metadata_of_nameless(600_000)).expect("sent");
    connection.read_frame().expect("read").expect("as many as may be are answered");
    others_notice_nothing();
}

#[test]
fn large_requests_of_decent_clients_are_answered() {
    let mut connection = BROKER.connect();
    let names = (0..30_000).map(|number| text(&format!("a-topic-that-is-not-there-{number}")));
    let asked = names.map(|name| MetadataRequestTopic::default().with_name(Some(TopicName(name))));
    let request = MetadataRequest::default().with_topics(Some(asked.collect()));
    let topics = connection.request(12, &request.with_allow_auto_topic_creation(false)).topics;
    assert_eq!(topics.len(), 30_000);
    assert!(topics.iter().all(|topic| topic.error_code == UNKNOWN), "{:?}", topics[0]);

    let offsets = (0..100_000).map(|partition| {
        OffsetCommitRequestPartition::default().with_partition_index(partition).with_committed_offset(7)
    });
    let topic = OffsetCommitRequestTopic::default().with_name(TopicName(text("bystander")));
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text("decent")))
        .with_topics(vec![topic.with_partitions(offsets.collect())]);
    let topics = connection.request(9, &request).topics;
    let codes = topics[0].partitions.iter().filter(|partition| partition.error_code == UNKNOWN);
    assert_eq!((topics[0].partitions.len(), codes.count()), (100_000, 99_999));
    others_notice_nothing();
}

#[test]
fn batches_that_lie_about_themselves_are_refused() {
    let good = Batch::of(&["one", "two"]);
    let true_length = i32::try_from(good.encode().len() - 12).expect("small");
    let cases: &[(&str, Batch, i16)] = &[
        ("wrong CRC", Batch { crc: Some(1), ..good.clone() }, 2),
        ("magic 3", Batch { magic: 3, ..good.clone() }, 2),
        ("magic -1", Batch { magic: -1, ..good.clone() }, 2),
        ("length 0", Batch { length: Some(0), ..good.clone() }, 2),
        ("negative length", Batch { length: Some(-5), ..good.clone() }, 2),
        ("length below the header", Batch { length: Some(10), ..good.clone() }, 2),
        ("length above the frame", Batch { length: Some(true_length + 100), ..good.clone() }, 87),
        ("length of 2^31 - 1", Batch { length: Some(i32::MAX), ..good.clone() }, BROKEN_INSIDE),
        ("count too small", Batch { count: Some(1), ..good.clone() }, 87),
        ("count too large", Batch { count: Some(3), ..good.clone() }, 87),
        ("count 0", Batch { count: Some(0), ..good.clone() }, 87),
        ("negative count", Batch { count: Some(-7), ..good.clone() }, 87),
        ("count of 2^31 - 1", Batch { count: Some(i32::MAX), ..good.clone() }, 87),
        ("last offset delta too large", Batch { last_offset_delta: Some(9), ..good.clone() }, 87),
        ("last offset delta negative", Batch { last_offset_delta: Some(-1), ..good.clone() }, 87),
        ("unknown codec 7", Batch { attributes: 7, ..good.clone() }, BROKEN_INSIDE),
        ("gzip of no gzip", Batch { attributes: 1, ..good.clone() }, BROKEN_INSIDE),
        ("snappy of no snappy", Batch { attributes: 2, ..good.clone() }, BROKEN_INSIDE),
        ("lz4 of no lz4", Batch { attributes: 3, ..good.clone() }, BROKEN_INSIDE),
        ("zstd of no zstd", Batch { attributes: 4, ..good.clone() }, BROKEN_INSIDE),
        (
            "records that are no records",
            Batch { payload: Some(vec![0xff; 40]), ..good.clone() },
            BROKEN_INSIDE,
        ),
    ];
    let mut wrong = Vec::new();
    for (name, batch, expected) in cases {
        let error = produced(&mut BROKER.connect(), "liars", &batch.encode());
        let as_kafka = *expected == BROKEN_INSIDE && error == -1;
        if error != *expected && !as_kafka {
            wrong.push(format!("{name}: answered {error}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(produced(&mut BROKER.connect(), "liars", &good.encode()), 0);
    others_notice_nothing();
}

/// Kafka answers UNKNOWN_SERVER_ERROR where reading the records throws; INVALID_RECORD names whose mistake it is.
const BROKEN_INSIDE: i16 = 87;

/// One record whose value is `size` zeroes, compressed with `compress`.
fn bomb(size: usize, compress: impl FnOnce(&mut dyn FnMut(&mut dyn Write)) -> Vec<u8>) -> Vec<u8> {
    let mut before = vec![0, 0, 0, 1]; // attributes, timestamp delta, offset delta, null key
    support::records::put_varint(&mut before, size as i64);
    let mut start = Vec::new();
    support::records::put_varint(&mut start, (before.len() + size + 1) as i64);
    start.extend_from_slice(&before);
    compress(&mut |to| {
        to.write_all(&start).expect("compressed");
        let zeroes = vec![0; 1 << 20];
        for _ in 0..size >> 20 {
            to.write_all(&zeroes).expect("compressed");
        }
        to.write_all(&[0]).expect("compressed"); // no headers
    })
}

fn zstd_bomb(size: usize) -> Vec<u8> {
    bomb(size, |fill| {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).expect("zstd");
        fill(&mut encoder);
        encoder.finish().expect("zstd")
    })
}

fn gzip_bomb(size: usize) -> Vec<u8> {
    bomb(size, |fill| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        fill(&mut encoder);
        encoder.finish().expect("gzip")
    })
}

#[test]
fn decompression_bombs_are_read_as_a_stream() {
    // Past 100 MiB a record is too large for us, see docs/decisions/record-batches.md; Kafka's only limit is its heap.
    let huge = if kind() == Kind::Apache { 0 } else { 10 };
    for (name, attributes, payload, expected) in [
        ("64 MiB of zstd", 4, zstd_bomb(64 << 20), 0),
        ("64 MiB of gzip", 1, gzip_bomb(64 << 20), 0),
        ("1 GiB of zstd", 4, zstd_bomb(1 << 30), huge),
        ("1 GiB of gzip", 1, gzip_bomb(1 << 30), huge),
    ] {
        let batch = Batch { attributes, payload: Some(payload), ..Batch::of(&["stands for the bomb"]) };
        let records = batch.encode();
        let error = produced(&mut BROKER.connect(), "bombs", &records);
        let too_large = records.len() > 1_048_588;
        assert_eq!(error, if too_large { 10 } else { expected }, "{name}, {} bytes", records.len());
        memory_is_bounded();
        if kind() == Kind::Ours {
            // Written anew in another codec, it is still small or refused; Apache unfolds it in its heap.
            let error = produced(&mut BROKER.connect(), "recompressed-bombs", &records);
            assert!(matches!(error, 0 | 10), "{name} written anew: {error}");
            memory_is_bounded();
        }
    }
    others_notice_nothing();
}

#[test]
fn answers_that_nobody_takes_are_bounded_over_all_connections() {
    const BATCHES: usize = 8;
    const CLIENTS: usize = 60;
    for _ in 0..BATCHES {
        let value = "x".repeat(1_000_000);
        assert_eq!(produced(&mut BROKER.connect(), "unread", &Batch::of(&[&value]).encode()), 0);
    }
    // In the format of old clients: converted in memory, where all else goes from the file to the socket.
    let partition = FetchPartition::default().with_partition(0).with_partition_max_bytes(8 << 20);
    let topic = FetchTopic::default().with_topic(TopicName(text("unread"))).with_partitions(vec![partition]);
    let all = FetchRequest::default().with_replica_id((-1).into()).with_min_bytes(1).with_topics(vec![topic]);
    let mut greedy: Vec<Connection> = Vec::new();
    for _ in 0..CLIENTS {
        let mut connection = BROKER.connect();
        connection.send(0, &all).expect("sent");
        // Once its answer begins to arrive it is in memory.
        connection.stream().peek(&mut [0; 1]).expect("an answer, or a close");
        greedy.push(connection);
        memory_is_bounded();
    }
    others_notice_nothing();
    let mut reader = BROKER.connect();
    let answer = reader.request(0, &all);
    let records = answer.responses[0].partitions[0].records.as_ref().map_or(0, Bytes::len);
    assert!(records > 7_000_000, "who reads gets all of it: {records} bytes");
    if kind() == Kind::Ours {
        // At most so many of these answers are kept; the others' connections are closed, and their answers end in the middle.
        let kept = UNSENT_BYTES_MAX / 7_000_000 + 1;
        let whole = greedy.iter_mut().filter_map(|connection| connection.read_frame().ok()?).count();
        assert!(whole <= kept, "{whole} answers were kept");
    }
}

#[test]
fn a_limit_on_the_memory_of_requests_makes_others_wait_until_it_is_free_again() {
    const LIMIT: usize = 30_000;
    let limit = LIMIT.to_string();
    let limits = [("socket.request.max.bytes", &*limit), ("queued.max.request.bytes", &limit)];
    let broker = Broker::start_with(kind(), &limits);
    topic_of(&broker, "empty", &[]);
    let mut first = broker.connect();
    first.write_raw(&30_000_i32.to_be_bytes()).expect("sent");
    first.write_raw(&[0; LIMIT / 4]).expect("sent");
    let mut second = broker.connect();
    // Which of the two the broker reads first is not said, so it is asked until the first one is in.
    let deadline = Instant::now() + support::process::PATIENCE;
    loop {
        second.send(0, &ApiVersionsRequest::default()).expect("sent");
        second.patience(Duration::from_secs(2));
        if second.receive::<ApiVersionsRequest>(0).is_err() {
            break;
        }
        assert!(Instant::now() < deadline, "the request that takes all memory holds nobody up");
    }
    drop(first);
    second.patience(VERDICT);
    second.receive::<ApiVersionsRequest>(0).expect("answered once there is memory again");

    // A fetch that waits for records holds nobody up, however long its request was.
    let mut waiting = broker.connect();
    let mut long = waiting_fetch().with_rack_id(text(""));
    let room = 4 + LIMIT - waiting.frame(11, &long).len();
    long.rack_id = text(&"r".repeat(room));
    waiting.send(11, &long).expect("sent");
    for _ in 0..200 {
        second.request(0, &ApiVersionsRequest::default());
    }
    assert_eq!(produced(&mut second, "empty", &Batch::of(&["waited for"]).encode()), 0);
    let answer = waiting.receive::<FetchRequest>(11).expect("an answer");
    let records = &answer.responses[0].partitions[0].records;
    assert!(records.as_ref().is_some_and(|records| !records.is_empty()), "{answer:?}");
}

/// For a record of `empty`, however long that takes.
fn waiting_fetch() -> FetchRequest {
    let partition = FetchPartition::default().with_partition(0).with_partition_max_bytes(1000);
    let topic = FetchTopic::default().with_topic(TopicName(text("empty"))).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(i32::MAX)
        .with_min_bytes(1)
        .with_max_bytes(1000)
        .with_topics(vec![topic])
}

#[test]
fn clients_that_announce_much_and_send_little_reserve_little() {
    if kind() == Kind::Apache {
        // Reserves what is announced, and nobody is served any more once its heap is full.
        return;
    }
    let announced = 104_857_600i32.to_be_bytes();
    let slow: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", BROKER.port)).expect("the broker accepts");
            stream.write_all(&announced).expect("sent");
            stream.write_all(&[0; 1024]).expect("sent");
            stream
        })
        .collect();
    others_notice_nothing();
    for stream in &slow {
        (&*stream).write_all(&[0]).expect("still open, a byte at a time");
    }
    others_notice_nothing();
}

#[test]
fn a_client_that_never_reads_is_not_read_from_either() {
    let mut greedy = BROKER.connect();
    let request = greedy.frame(9, &MetadataRequest::default().with_topics(None));
    let flood: Vec<u8> = request.iter().copied().cycle().take(request.len() * 1000).collect();
    greedy.stream().set_write_timeout(Some(Duration::from_secs(3))).expect("a timeout can be set");
    // 100 MB of requests would need more than 500 MB of answers: the socket must fill up before.
    let mut stuck = false;
    for _ in 0..(100 << 20) / flood.len() {
        if greedy.write_raw(&flood).is_err() {
            stuck = true;
            break;
        }
        memory_is_bounded();
    }
    assert!(stuck, "the broker read everything from a client that reads nothing");
    others_notice_nothing();
}

#[test]
fn thousands_of_idle_connections_cost_little() {
    let idle: Vec<TcpStream> = (0..2000)
        .map(|_| TcpStream::connect(("127.0.0.1", BROKER.port)).expect("the broker accepts"))
        .collect();
    others_notice_nothing();
    drop(idle);
    others_notice_nothing();
}

#[test]
fn connections_are_limited_per_address_and_closed_when_idle() {
    let settings = [("max.connections.per.ip", "20"), ("connections.max.idle.ms", "2000")];
    let broker = Broker::start_with(kind(), &settings);
    let mut greedy = broker.connect();
    let asked = greedy.frame(9, &MetadataRequest::default().with_topics(None));
    let flood: Vec<u8> = asked.iter().copied().cycle().take(asked.len() * 1000).collect();
    greedy.stream().set_write_timeout(Some(VERDICT)).expect("a timeout can be set");
    // Reads nothing, ever: in the end nothing is taken from it, and then it is idle.
    let given_up = loop {
        if let Err(error) = greedy.write_raw(&flood) {
            break error;
        }
    };
    assert!(
        matches!(given_up.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe),
        "closed, not only stuck: {given_up}"
    );
    let open = || Connection::try_open(broker.port).expect("the kernel accepts");
    let answers =
        |connection: &mut Connection| connection.try_request(0, &ApiVersionsRequest::default()).is_ok();
    let mut kept: Vec<Connection> = Vec::new();
    // The one that asked whether the broker is up may still count.
    while kept.len() < 25 {
        // Who was silent for too long on a busy machine does not count any more.
        kept.retain_mut(answers);
        let mut connection = open();
        if !answers(&mut connection) {
            break;
        }
        kept.push(connection);
    }
    assert!((19..=20).contains(&kept.len()), "{} connections from one address", kept.len());
    for connection in &mut kept {
        assert!(connection.is_closed_within(VERDICT), "idle for more than connections.max.idle.ms");
    }
    open().request(0, &ApiVersionsRequest::default());
}

#[test]
fn a_client_that_goes_while_its_fetch_waits_is_noticed_at_once() {
    let here = IpAddr::from([127, 0, 0, 78]);
    let broker = Broker::start_with(kind(), &[("max.connections.per.ip.overrides", "127.0.0.78:1")]);
    topic_of(&broker, "empty", &[]);
    let mut waiting = Connection::from_address(here, broker.port, VERDICT).expect("connected");
    waiting.send(4, &waiting_fetch()).expect("sent");
    let next = || {
        let mut next = Connection::from_address(here, broker.port, VERDICT).ok()?;
        next.try_request(0, &ApiVersionsRequest::default()).ok()
    };
    assert!(next().is_none(), "the one that waits has its address's only place");
    drop(waiting);
    if kind() == Kind::Apache {
        // Notices it when the wait is over.
        return;
    }
    let deadline = Instant::now() + support::process::PATIENCE;
    while next().is_none() {
        assert!(Instant::now() < deadline, "the fetch of a client that is gone still waits");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
