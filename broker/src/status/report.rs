//! What was found out about a cluster, what of it is a problem, and how it is shown. Knows no network.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::peers::Address;

/// Partitions shown under each heading of the table; the JSON has all.
const SHOWN_MAX: usize = 50;

#[derive(Debug)]
pub(super) struct Report {
    pub(super) cluster_id: Option<String>,
    /// `None` where nobody is.
    pub(super) controller: Option<i32>,
    /// By id.
    pub(super) nodes: Vec<Node>,
    /// By topic and number.
    pub(super) partitions: Vec<Partition>,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: i32,
    /// `None` where only replicas tell that there should be such a broker.
    pub(super) address: Option<Address>,
    pub(super) rack: Option<String>,
    /// Why a broker that is registered did not answer.
    pub(super) trouble: Option<String>,
}

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) topic: String,
    pub(super) index: i32,
    /// `None`: offline, nobody leads it.
    pub(super) leader: Option<i32>,
    pub(super) replicas: Vec<i32>,
    pub(super) in_sync: Vec<i32>,
    /// `min.insync.replicas`; `None` where it could not be learnt.
    pub(super) min_isr: Option<usize>,
    /// Where the log of a replica ends, for those that told.
    pub(super) ends: BTreeMap<i32, i64>,
}

impl Partition {
    fn is_under_replicated(&self) -> bool {
        self.leader.is_some() && self.in_sync.len() < self.replicas.len()
    }

    fn is_under_min_isr(&self) -> bool {
        self.leader.is_some() && self.min_isr.is_some_and(|min| self.in_sync.len() < min)
    }

    /// Records that a follower is behind its leader. `None` where one of the two did not tell, and for the leader.
    fn lag(&self, replica: i32) -> Option<i64> {
        let leader = self.leader.filter(|leader| *leader != replica)?;
        // Asked one after the other: a follower that was asked later may be ahead.
        Some((self.ends.get(&leader)? - self.ends.get(&replica)?).max(0))
    }

    fn lags(&self) -> Vec<(i32, Option<i64>)> {
        let followers = self.replicas.iter().filter(|replica| Some(**replica) != self.leader);
        followers.map(|replica| (*replica, self.lag(*replica))).collect()
    }
}

impl Report {
    /// Whether nothing is offline: every partition has a leader, every replica a live broker, the cluster a controller.
    pub(super) fn is_whole(&self) -> bool {
        self.controller.is_some()
            && self.nodes.iter().all(|node| node.address.is_some() && node.trouble.is_none())
            && self.partitions.iter().all(|partition| partition.leader.is_some())
    }

    fn offline(&self) -> Vec<&Partition> {
        self.partitions.iter().filter(|partition| partition.leader.is_none()).collect()
    }

    fn under_min_isr(&self) -> Vec<&Partition> {
        self.partitions.iter().filter(|partition| partition.is_under_min_isr()).collect()
    }

    fn under_replicated(&self) -> Vec<&Partition> {
        self.partitions.iter().filter(|partition| partition.is_under_replicated()).collect()
    }

    /// What one broker has of the cluster.
    fn share(&self, id: i32) -> Share {
        let held: Vec<&Partition> =
            self.partitions.iter().filter(|partition| partition.replicas.contains(&id)).collect();
        Share {
            leads: held.iter().filter(|partition| partition.leader == Some(id)).count(),
            replicas: held.len(),
            in_sync: held.iter().filter(|partition| partition.in_sync.contains(&id)).count(),
            lag_max: held.iter().filter_map(|partition| partition.lag(id)).max(),
        }
    }

    pub(super) fn table(&self) -> String {
        let topics = self.partitions.chunk_by(|a, b| a.topic == b.topic).count();
        let mut text = format!(
            "cluster {}  controller {}  topics {topics}  partitions {}\n\n",
            self.cluster_id.as_deref().unwrap_or("unknown"),
            number(self.controller.map(i64::from)),
            self.partitions.len(),
        );
        let titles = ["BROKER", "ADDRESS", "RACK", "LEADS", "REPLICAS", "IN SYNC", "LAG", "STATE"];
        let row = |node: &Node| {
            let share = self.share(node.id);
            [
                node.id.to_string(),
                node.address.as_ref().map_or("-".to_owned(), Address::to_string),
                node.rack.clone().unwrap_or_else(|| "-".to_owned()),
                share.leads.to_string(),
                share.replicas.to_string(),
                share.in_sync.to_string(),
                number(share.lag_max),
                node.state().to_owned(),
            ]
        };
        let mut rows = vec![titles.map(str::to_owned)];
        rows.extend(self.nodes.iter().map(row));
        write_columns(&mut text, &rows);
        for node in self.nodes.iter().filter_map(|node| Some((node.id, node.trouble.as_ref()?))) {
            let _ = writeln!(text, "broker {}: {}", node.0, node.1);
        }
        section(&mut text, "offline partitions", &self.offline());
        section(&mut text, "partitions under min.insync.replicas", &self.under_min_isr());
        section(&mut text, "under-replicated partitions", &self.under_replicated());
        text
    }

    pub(super) fn json(&self) -> String {
        let node = |node: &Node| {
            let share = self.share(node.id);
            json!({
                "id": node.id,
                "host": node.address.as_ref().map(|address| &address.host),
                "port": node.address.as_ref().map(|address| address.port),
                "rack": node.rack,
                "state": node.state(),
                "trouble": node.trouble,
                "leads": share.leads,
                "replicas": share.replicas,
                "inSync": share.in_sync,
                "maxLag": share.lag_max,
            })
        };
        let list =
            |partitions: Vec<&Partition>| partitions.into_iter().map(partition_json).collect::<Vec<_>>();
        let value = json!({
            "clusterId": self.cluster_id,
            "controller": self.controller,
            "whole": self.is_whole(),
            "brokers": self.nodes.iter().map(node).collect::<Vec<_>>(),
            "partitions": self.partitions.len(),
            "offlinePartitions": list(self.offline()),
            "underMinIsrPartitions": list(self.under_min_isr()),
            "underReplicatedPartitions": list(self.under_replicated()),
        });
        format!("{value:#}\n")
    }
}

impl Node {
    fn state(&self) -> &'static str {
        match (&self.address, &self.trouble) {
            (None, _) => "offline",
            (Some(_), Some(_)) => "does not answer",
            (Some(_), None) => "online",
        }
    }
}

struct Share {
    leads: usize,
    replicas: usize,
    in_sync: usize,
    /// `None` where it follows nobody, or nobody told.
    lag_max: Option<i64>,
}

fn partition_json(partition: &Partition) -> Value {
    let lags = partition.lags().into_iter().map(|(replica, lag)| (replica.to_string(), json!(lag)));
    json!({
        "topic": partition.topic,
        "partition": partition.index,
        "leader": partition.leader,
        "replicas": partition.replicas,
        "inSync": partition.in_sync,
        "minInSync": partition.min_isr,
        "lag": Value::Object(lags.collect()),
    })
}

fn section(text: &mut String, title: &str, partitions: &[&Partition]) {
    let _ = writeln!(
        text,
        "\n{title}: {}",
        if partitions.is_empty() { "none".into() } else { partitions.len().to_string() }
    );
    for partition in partitions.iter().take(SHOWN_MAX) {
        let lags: Vec<String> =
            partition.lags().iter().map(|(replica, lag)| format!("{replica}: {}", number(*lag))).collect();
        let _ = writeln!(
            text,
            "  {}-{}  leader {}  replicas {}  in sync {}  min {}  lag {}",
            partition.topic,
            partition.index,
            number(partition.leader.map(i64::from)),
            ids(&partition.replicas),
            ids(&partition.in_sync),
            number(partition.min_isr.and_then(|min| i64::try_from(min).ok())),
            if lags.is_empty() { "-".to_owned() } else { lags.join(", ") },
        );
    }
    if partitions.len() > SHOWN_MAX {
        let _ = writeln!(text, "  and {} more; --json has them all", partitions.len() - SHOWN_MAX);
    }
}

fn ids(ids: &[i32]) -> String {
    if ids.is_empty() {
        return "-".to_owned();
    }
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn number(number: Option<i64>) -> String {
    number.map_or("-".to_owned(), |number| number.to_string())
}

fn write_columns<const N: usize>(text: &mut String, rows: &[[String; N]]) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: i32) -> Node {
        let address = Some(Address { host: format!("h{id}"), port: 9092 });
        Node { id, address, rack: None, trouble: None }
    }

    fn partition(index: i32, leader: Option<i32>, in_sync: &[i32], ends: &[(i32, i64)]) -> Partition {
        Partition {
            topic: "t".to_owned(),
            index,
            leader,
            replicas: vec![1, 2],
            in_sync: in_sync.to_vec(),
            min_isr: Some(2),
            ends: ends.iter().copied().collect(),
        }
    }

    fn report(partitions: Vec<Partition>) -> Report {
        Report {
            cluster_id: Some("c".into()),
            controller: Some(1),
            nodes: vec![node(1), node(2)],
            partitions,
        }
    }

    #[test]
    fn a_whole_cluster_has_nothing_to_tell() {
        let report = report(vec![partition(0, Some(1), &[1, 2], &[(1, 7), (2, 7)])]);
        assert!(report.is_whole());
        let expected = "cluster c  controller 1  topics 1  partitions 1\n\n\
            BROKER  ADDRESS  RACK  LEADS  REPLICAS  IN SYNC  LAG  STATE\n\
            1       h1:9092  -     1      1         1        -    online\n\
            2       h2:9092  -     0      1         1        0    online\n\n\
            offline partitions: none\n\n\
            partitions under min.insync.replicas: none\n\n\
            under-replicated partitions: none\n";
        assert_eq!(report.table(), expected);
    }

    #[test]
    fn a_follower_that_lags_is_under_replicated_and_no_reason_to_fail() {
        let report = report(vec![partition(0, Some(1), &[1], &[(1, 70), (2, 7)])]);
        assert!(report.is_whole());
        let table = report.table();
        let line =
            "under-replicated partitions: 1\n  t-0  leader 1  replicas 1,2  in sync 1  min 2  lag 2: 63\n";
        assert!(table.ends_with(line), "{table}");
        assert!(table.contains("partitions under min.insync.replicas: 1"), "{table}");
        let json: Value = serde_json::from_str(&report.json()).expect("JSON");
        assert_eq!(json["underReplicatedPartitions"][0]["lag"]["2"], 63);
        assert_eq!(json["brokers"][1]["maxLag"], 63);
    }

    #[test]
    fn a_partition_without_leader_a_lost_broker_and_no_controller_are_told() {
        let mut without_leader = report(vec![partition(0, None, &[1], &[])]);
        assert!(!without_leader.is_whole());
        assert!(without_leader.table().contains("offline partitions: 1\n  t-0  leader -"));
        without_leader.partitions.clear();
        assert!(without_leader.is_whole());
        without_leader.nodes[1].address = None;
        assert!(!without_leader.is_whole() && without_leader.table().contains("2       -"));
        let mut nobody = report(Vec::new());
        nobody.controller = None;
        assert!(!nobody.is_whole() && nobody.table().starts_with("cluster c  controller -"));
    }

    #[test]
    fn a_follower_asked_after_its_leader_is_not_ahead() {
        let report = report(vec![partition(0, Some(1), &[1, 2], &[(1, 7), (2, 9)])]);
        assert_eq!(report.share(2).lag_max, Some(0));
    }
}
