//! What we promise about records that were acknowledged: a killed broker has them all when it is back, in order and
//! once, and it is back soon, whatever lies in its logs.

mod support;

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::{InitProducerIdRequest, ProducerId};
use support::records::Batch;
use support::seat::{Broker, Kind};
use support::talk;
use support::wire::Connection;

const TOPIC: &str = "kept";

/// The number behind `name=` in the last line of the log that has it.
fn told(broker: &Broker, name: &str) -> u64 {
    let log = broker.whole_log();
    let found = log.rsplit(&format!("{name}=")).next().unwrap_or_default();
    let digits: String = found.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no {name}= in\n{log}"))
}

fn fill(broker: &Broker, batches: usize) {
    let mut connection = broker.connect();
    let value = "x".repeat(4000);
    for _ in 0..batches {
        let batch = Batch::of(&[value.as_str(); 4]).encode();
        assert_eq!(talk::produce(&mut connection, TOPIC, 0, &batch, 1).0, 0);
    }
}

#[test]
fn after_a_kill_the_ends_of_logs_are_checked_and_after_a_power_cut_all_that_was_not_flushed() {
    let mut broker = Broker::start_with(Kind::Ours, &[]);
    talk::create_topic(&broker, TOPIC, 1, &[]);
    fill(&broker, 300);
    let written = 300 * 16_000;
    let end = talk::end_offset(&mut broker.connect(), TOPIC, 0);

    broker.kill();
    broker.restart();

    assert!(broker.whole_log().contains("the last broker here was killed"), "{}", broker.log());
    let checked = told(&broker, "checked_bytes");
    assert!(checked > 0 && checked < written / 3, "{checked} of {written} bytes");
    assert_eq!(talk::end_offset(&mut broker.connect(), TOPIC, 0), end);
    fill(&broker, 3);

    broker.kill();
    let mark = broker.log_dir().join(".lock");
    let line = fs::read_to_string(&mark).expect("a line");
    fs::write(&mark, line.replace("boot=", "boot=0")).expect("as if it were another boot");
    broker.restart();

    assert!(broker.whole_log().contains("not a kill within this boot"), "{}", broker.log());
    let checked = told(&broker, "checked_bytes");
    assert!(checked > written, "{checked} of {written} bytes");
    assert_eq!(talk::end_offset(&mut broker.connect(), TOPIC, 0), end + 12);

    broker.stop();
    assert_eq!(fs::read(&mark).expect("read"), b"", "as Apache leaves it");
    broker.restart();
    assert_eq!(told(&broker, "checked_bytes"), 0);
}

/// What one producer of the loop knows: values `0..sent`, and which of them at which offset were acknowledged.
#[derive(Default)]
struct Known {
    acknowledged: Vec<(i64, u64)>,
}

/// Partition 0, acks=1, never repeats: a value may be lost only if nobody acknowledged it.
fn write_once(port: u16, stop: &AtomicBool, known: &Mutex<Known>) {
    let mut next = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut connection) = Connection::try_open(port) else {
            std::thread::park_timeout(Duration::from_millis(5));
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            let batch = Batch::of(&[&next.to_string()]).encode();
            let value = next;
            next += 1;
            match talk::try_produce(&mut connection, TOPIC, 0, &batch, 1) {
                Ok((0, offset)) => known.lock().expect("known").acknowledged.push((offset, value)),
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
}

/// Partition 1, acks=all, idempotent, several on their way; repeats until each is acknowledged.
fn write_idempotently(port: u16, producer: i64, stop: &AtomicBool, known: &Mutex<Known>) {
    const IN_FLIGHT: usize = 4;
    let batch_of = |value: u64| -> Bytes {
        Batch::of(&[&value.to_string()]).by_producer(producer, 0, i32::try_from(value).expect("few")).encode()
    };
    let mut first_unanswered = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut connection) = Connection::try_open(port) else {
            std::thread::park_timeout(Duration::from_millis(5));
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            let values: Vec<u64> = (first_unanswered..).take(IN_FLIGHT).collect();
            let batches: Vec<Bytes> = values.iter().map(|value| batch_of(*value)).collect();
            let Ok(answers) = talk::produce_pipelined(&mut connection, TOPIC, 1, &batches, -1) else { break };
            for (value, (error, offset)) in values.into_iter().zip(&answers) {
                if *error != 0 {
                    assert!(matches!(error, 3 | 5 | 6), "value {value} was refused with {error}");
                    break;
                }
                known.lock().expect("known").acknowledged.push((*offset, value));
                first_unanswered = value + 1;
            }
            if answers.len() < IN_FLIGHT {
                break;
            }
        }
    }
}

fn check(broker: &Broker, partition: i32, known: &Known, each_once: bool) {
    let there = talk::values(&mut broker.connect(), TOPIC, partition);
    let there: Vec<(i64, u64)> =
        there.into_iter().map(|(offset, value)| (offset, value.parse().expect("a number"))).collect();
    assert!(
        there.iter().enumerate().all(|(index, (offset, _))| *offset == index as i64),
        "offsets have gaps"
    );
    assert!(there.is_sorted_by_key(|(_, value)| *value), "partition {partition} is out of order");
    if each_once {
        let exact = there.iter().enumerate().all(|(index, (_, value))| *value == index as u64);
        assert!(exact, "partition {partition} has a record twice or not at all");
    }
    for (offset, value) in &known.acknowledged {
        let found = usize::try_from(*offset).ok().and_then(|index| there.get(index));
        assert_eq!(found, Some(&(*offset, *value)), "partition {partition}: an acknowledged record");
    }
}

#[test]
fn a_broker_that_is_killed_again_and_again_loses_repeats_and_reorders_nothing() {
    let rounds = if std::env::var_os("ODRADEK_SOAK").is_some() { 100 } else { 4 };
    let settings = [("log.segment.bytes", "30000"), ("log.index.interval.bytes", "256")];
    let mut broker = Broker::start_with(Kind::Ours, &settings);
    talk::create_topic(&broker, TOPIC, 2, &[]);
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let producer = broker.connect().request(4, &request);
    assert_eq!(producer.error_code, 0);
    let producer = producer.producer_id.0;
    let stop = Arc::new(AtomicBool::new(false));
    let (once, idempotent) = (Arc::<Mutex<Known>>::default(), Arc::<Mutex<Known>>::default());
    let port = broker.port;
    let writers = [
        std::thread::spawn({
            let (stop, known) = (stop.clone(), once.clone());
            move || write_once(port, &stop, &known)
        }),
        std::thread::spawn({
            let (stop, known) = (stop.clone(), idempotent.clone());
            move || write_idempotently(port, producer, &stop, &known)
        }),
    ];
    for round in 0..rounds {
        let progress = || {
            let count = |known: &Mutex<Known>| known.lock().expect("known").acknowledged.len();
            (count(&once), count(&idempotent))
        };
        let before = progress();
        // Somewhere in the next batches, never at the same place.
        let wanted = 20 + 37 * (round % 11);
        support::until(&format!("{wanted} more answers in round {round}"), || {
            assert!(writers.iter().all(|writer| !writer.is_finished()), "a producer gave up");
            let now = progress();
            now.0 >= before.0 + wanted && now.1 >= before.1 + wanted
        });
        broker.kill();
        broker.restart();
        assert!(broker.whole_log().contains("the last broker here was killed"), "{}", broker.log());
        check(&broker, 0, &once.lock().expect("known"), false);
        check(&broker, 1, &idempotent.lock().expect("known"), true);
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.join().expect("a producer that did not give up");
    }
    broker.stop();
    broker.restart();
    check(&broker, 0, &once.lock().expect("known"), false);
    check(&broker, 1, &idempotent.lock().expect("known"), true);
}
