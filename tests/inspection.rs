//! What we promise of `broker log`: it tells what Apache's own tool tells of the same files, finds what is damaged with
//! file and position, and may look while a broker writes.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{FindCoordinatorRequest, GroupId, OffsetCommitRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use serde_json::Value;
use storage::batch::headers;
use storage::specimen;
use storage::types::{TopicId, TopicPartition};
use support::process::{Ended, PATIENCE, Process, run};
use support::seat::{Broker, Kind};
use support::{records, stock, talk, until};

fn broker_log(arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_broker"));
    command.arg("log").args(arguments).env_remove("RUST_LOG");
    run(format!("broker log {}", arguments.join(" ")), command, b"", PATIENCE)
}

/// Every line that `broker log inspect --json` prints.
fn inspected(path: &Path, more: &[&str]) -> Vec<Value> {
    let path = path.display().to_string();
    let mut arguments = vec!["inspect", "--json", path.as_str()];
    arguments.extend(more);
    let output = broker_log(&arguments).success();
    output.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A closed partition with every kind of file and batch of magic 2 in it.
fn partition() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("orders-3");
    specimen::write(&path, &TopicPartition::new("orders", 3), TopicId([9; 16]));
    (folder, path)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("listed");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A number or a word of the line as `DumpLogSegments` prints it.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-1".to_owned(),
        other => other.to_string(),
    }
}

/// One of our lines in the words of `DumpLogSegments`; `None` for what it does not print.
fn as_apache_says_it(line: &Value) -> Option<String> {
    let of = |name: &str| word(&line[name]);
    Some(match line["type"].as_str()? {
        "batch" => format!(
            "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {} producerId: {} producerEpoch: {} \
             partitionLeaderEpoch: {} isTransactional: {} isControl: {} deleteHorizonMs: OptionalLong.empty position: {} \
             CreateTime: {} size: {} magic: {} compresscodec: {} crc: {} isvalid: {}",
            of("first_offset"),
            of("last_offset"),
            of("records"),
            of("first_sequence"),
            of("last_sequence"),
            of("producer_id"),
            of("producer_epoch"),
            of("leader_epoch"),
            of("transactional"),
            !line["control"].is_null(),
            of("position"),
            of("largest_time"),
            of("size"),
            of("magic"),
            of("codec"),
            of("crc"),
            line["fault"].is_null(),
        ),
        "index_entry" => format!("offset: {} position: {}", of("offset"), of("position")),
        "time_index_entry" => format!("timestamp: {} offset: {}", of("time"), of("offset")),
        "aborted_transaction" => format!(
            "version: 0 producerId: {} firstOffset: {} lastOffset: {} lastStableOffset: {}",
            of("producer_id"),
            of("first_offset"),
            of("last_offset"),
            of("last_stable_offset")
        ),
        "producer" => format!(
            "producerId: {} producerEpoch: {} coordinatorEpoch: {} currentTxnFirstOffset: {} lastTimestamp: {} \
             firstSequence: {} lastSequence: {} lastOffset: {} offsetDelta: {} timestamp: {}",
            of("producer_id"),
            of("producer_epoch"),
            of("coordinator_epoch"),
            match &line["transaction_start"] {
                Value::Null => "OptionalLong.empty".to_owned(),
                start => format!("OptionalLong[{start}]"),
            },
            of("last_time"),
            of("first_sequence"),
            of("last_sequence"),
            of("last_offset"),
            of("offset_delta"),
            of("last_time"),
        ),
        _ => return None,
    })
}

#[test]
fn it_tells_of_every_file_what_apaches_tool_tells() {
    let (_folder, path) = partition();
    let wanted = [".log", ".index", ".timeindex", ".txnindex", ".snapshot"];
    let files: Vec<PathBuf> = names(&path)
        .iter()
        .filter(|name| wanted.iter().any(|suffix| name.ends_with(suffix)))
        .map(|name| path.join(name))
        .collect();
    let joined: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let dump = stock::tool("3.9.1", "kafka-dump-log", &["--files", &joined.join(",")], "").success();
    let told = dump.lines().filter(|line| {
        ["Dumping", "Log starting"].iter().all(|prefix| !line.starts_with(prefix))
            && !line.ends_with("is empty.")
    });
    let apaches: Vec<&str> = told.map(str::trim).collect();

    let ours: Vec<String> = files
        .iter()
        .flat_map(|file| inspected(file, &[]))
        .filter_map(|line| as_apache_says_it(&line))
        .collect();

    assert!(apaches.len() > 80, "{dump}");
    let mut kinds = BTreeSet::new();
    for (ours, apaches) in ours.iter().zip(&apaches) {
        kinds.insert(ours.split(':').next().unwrap_or_default().to_owned());
        // A producer that has only ended a transaction has no batch to tell of.
        assert!(
            ours == apaches || ours.starts_with(&format!("{apaches} firstSequence: -1")),
            "{ours}\n{apaches}"
        );
    }
    assert_eq!(ours.len(), apaches.len());
    assert_eq!(kinds.len(), 5, "{kinds:?}");
}

#[test]
fn a_partition_is_shown_segment_by_segment_and_its_records_one_by_one() {
    let (_folder, path) = partition();

    let lines = inspected(&path, &[]);
    let of = |kind: &str| lines.iter().filter(|line| line["type"] == kind).cloned().collect::<Vec<Value>>();
    assert_eq!(of("folder")[0]["topic"], "orders");
    assert_eq!(of("folder")[0]["topic_id"], TopicId([9; 16]).to_string());
    let epochs: Vec<i64> =
        of("leader_epoch").iter().filter_map(|line| line["leader_epoch"].as_i64()).collect();
    assert_eq!(epochs, [0, 1, 2]);
    let segments = of("segment");
    assert!(segments.len() > 3);
    for (one, next) in segments.iter().zip(segments.iter().skip(1)) {
        assert_eq!(one["next_offset"], next["first_offset"]);
    }

    let records = inspected(&path, &["--records"]);
    let offsets: Vec<i64> = records.iter().filter_map(|line| line["offset"].as_i64()).collect();
    assert_eq!(offsets, (0..offsets.len() as i64).collect::<Vec<_>>());
    assert!(records.iter().any(|line| line["value"]["end"] == "abort"));
    assert!(records.iter().any(|line| line["key"] == "key" && line["value"] == "one"));

    let table = broker_log(&["inspect", &path.display().to_string()]).success();
    assert!(table.contains("first offset") && table.contains("leader epoch"), "{table}");
}

/// `verify` of the partition: exit code, and the faults as file name, position, text.
fn verified(path: &Path) -> (i32, Vec<(String, Option<u64>, String)>) {
    let ended = broker_log(&["verify", "--json", &path.display().to_string()]);
    let lines = ended.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let faults = lines.filter(|line| line["type"] == "fault").map(|line| {
        let file = Path::new(line["file"].as_str().expect("a file")).file_name().expect("a name").to_owned();
        (file.to_string_lossy().into_owned(), line["position"].as_u64(), word(&line["fault"]))
    });
    (ended.code, faults.collect())
}

/// Flips the lowest bit of a byte.
fn damage(path: &Path, at: usize) {
    let mut content = fs::read(path).expect("read");
    content[at] ^= 1;
    fs::write(path, content).expect("written");
}

#[test]
fn damage_is_found_with_file_and_position() {
    let (_folder, path) = partition();
    assert_eq!(verified(&path), (0, Vec::new()));
    let base = "00000000000000000000";
    let restore: Vec<(String, Vec<u8>)> = names(&path)
        .into_iter()
        .map(|name| (name.clone(), fs::read(path.join(name)).expect("read")))
        .collect();
    let records = fs::read(path.join(format!("{base}.log"))).expect("read");
    let batches: Vec<usize> = headers(&records).map(|located| located.expect("a batch").position).collect();
    let snapshot = names(&path).into_iter().find(|name| name.ends_with(".snapshot")).expect("a snapshot");
    let aborted = format!("{base}.txnindex");
    let cases: &[(&str, usize, Option<u64>)] = &[
        (&format!("{base}.log"), batches[3] + 70, Some(batches[3] as u64)),
        (&format!("{base}.log"), batches[2] + 6, Some(batches[2] as u64)),
        (&format!("{base}.log"), batches[4] + 16, Some(batches[4] as u64)),
        (&format!("{base}.index"), 7, Some(0)),
        (&format!("{base}.index"), 10, Some(8)),
        (&format!("{base}.timeindex"), 5, Some(0)),
        (&aborted, 9, Some(0)),
        (&aborted, 17, Some(0)),
        (&snapshot, 12, Some(2)),
        ("leader-epoch-checkpoint", 4, None),
        ("partition.metadata", 3, Some(0)),
    ];
    for (name, at, position) in cases {
        damage(&path.join(name), *at);
        let (code, faults) = verified(&path);
        assert_eq!(code, 1, "{name} {at}");
        let found =
            faults.iter().any(|(file, found, _)| file == name && (position.is_none() || found == position));
        assert!(found, "{name} {at} {position:?}: {faults:?}");
        for (name, content) in &restore {
            fs::write(path.join(name), content).expect("written");
        }
    }
    fs::remove_file(path.join(format!("{base}.timeindex"))).expect("removed");
    fs::write(path.join("notes.txt"), "mine").expect("written");
    let (code, faults) = verified(&path);
    let files: Vec<&str> = faults.iter().map(|(file, _, _)| file.as_str()).collect();
    assert_eq!((code, files), (1, vec!["00000000000000000000.log", "notes.txt"]));
}

#[test]
fn who_looks_at_a_terminal_sees_how_far_the_verification_is_and_nobody_else_does() {
    let (_folder, path) = partition();
    let mut command = Command::new(env!("CARGO_BIN_EXE_broker"));
    command.args(["log", "verify", "--json", &path.display().to_string()]).env_remove("RUST_LOG");
    let seen = Process::spawn_at_terminal("broker log verify at a terminal", command).wait(PATIENCE);
    assert_eq!(seen.code, 0, "{seen}");
    let bar = seen.stderr.lines().rev().find(|line| line.contains(" left"));
    let bar = bar.unwrap_or_else(|| panic!("no bar: {seen}"));
    assert!(bar.contains("KiB/") && bar.contains("/s"), "{bar:?}");

    let unseen = broker_log(&["verify", "--json", &path.display().to_string()]);
    assert_eq!((unseen.code, unseen.stderr.as_str()), (0, ""));
    assert_eq!(unseen.stdout, seen.stdout);
}

fn commit_offset(broker: &Broker, group: &str) {
    let mut connection = broker.connect();
    let group = StrBytes::from_string(group.to_owned());
    until("the group's coordinator", || {
        let find = FindCoordinatorRequest::default().with_key(group.clone());
        if connection.request(2, &find).error_code != 0 {
            return false;
        }
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(0)
            .with_committed_offset(7)
            .with_committed_metadata(Some(StrBytes::from_static_str("so far")));
        let topic = OffsetCommitRequestTopic::default()
            .with_name(TopicName(StrBytes::from_static_str("busy")))
            .with_partitions(vec![partition]);
        let request =
            OffsetCommitRequest::default().with_group_id(GroupId(group.clone())).with_topics(vec![topic]);
        connection.request(6, &request).topics[0].partitions[0].error_code == 0
    });
}

#[test]
fn a_running_broker_can_be_looked_at() {
    let broker = Broker::start_with(Kind::Ours, &[("log.segment.bytes", "20000")]);
    talk::create_topic(&broker, "busy", 1, &[("segment.bytes", "20000"), ("index.interval.bytes", "200")]);
    commit_offset(&broker, "readers");
    let directory = broker.log_dir();
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| (0..3).map(|_| verified(&directory)).collect::<Vec<_>>());
        let mut connection = broker.connect();
        while !looking.is_finished() {
            let batch = records::Batch::of(&["some", "more", "records"]).encode();
            assert_eq!(talk::produce(&mut connection, "busy", 0, &batch, 1).0, 0);
        }
        for verdict in looking.join().expect("looked") {
            assert_eq!(verdict, (0, Vec::new()));
        }
    });

    let partitions = inspected(&directory, &[]);
    assert!(partitions.iter().any(|line| line["type"] == "partition" && line["topic"] == "busy"));
    assert!(partitions.iter().any(|line| line["type"] == "meta_properties" && line["broker_id"] == 0));
    let mut committed = Vec::new();
    for name in names(&directory).iter().filter(|name| name.starts_with("__consumer_offsets-")) {
        committed.extend(inspected(&directory.join(name), &["--records"]));
    }
    let commit = committed.iter().find(|line| line["key"]["record"] == "offset").expect("the commit");
    assert_eq!(commit["key"]["group"], "readers");
    assert_eq!(
        (&commit["value"]["offset"], &commit["value"]["metadata"]),
        (&Value::from(7), &Value::from("so far"))
    );
}
