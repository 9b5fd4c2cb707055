//! What administrators ask for, with Kafka's refusals, against a real ZooKeeper and the own controller.

use kafka_protocol::error::ResponseError;

use super::*;
use crate::cluster::admin::{Admin, AdminError, MorePartitions, NewTopic};
use crate::cluster::config_changes::{self, Bookmark, Changed};
use crate::cluster::configs;
use crate::cluster::entities::{self, Entity};
use crate::config::BrokerConfig;
use crate::config::layers::Layers;
use crate::config::properties::Properties;
use crate::quota::Changes;

const WAIT_MS: i32 = 20_000;

impl Member {
    fn admin(&self) -> Admin<'_> {
        Admin { zookeeper: &self.zookeeper, metadata: &self.replicas.metadata, topic_ids: true }
    }

    async fn ready(chroot: &str) -> Member {
        let member = Member::join(chroot, 0).await;
        member.knows(|cluster| cluster.brokers().len() == 1).await;
        member
    }

    async fn refusal(&self, topic: NewTopic) -> (ResponseError, String) {
        let made = self
            .admin()
            .create_topics(&config(), vec![topic], false, WAIT_MS, &mut Changes::unlimited())
            .await
            .pop();
        match made {
            Some(Err(AdminError { error, message })) => (error, message.unwrap_or_default()),
            other => panic!("not refused: {other:?}"),
        }
    }

    async fn make(&self, topic: NewTopic) {
        let made = self
            .admin()
            .create_topics(&config(), vec![topic], false, WAIT_MS, &mut Changes::unlimited())
            .await
            .pop();
        assert!(matches!(made, Some(Ok(_))), "{made:?}");
    }
}

fn config() -> BrokerConfig {
    let file = Properties::from([("log.dirs".to_owned(), "/nowhere".to_owned())]);
    BrokerConfig::new(Layers::from_file(file)).expect("a configuration")
}

fn named(name: &str) -> NewTopic {
    NewTopic { name: name.to_owned(), ..NewTopic::default() }
}

fn sized(name: &str, partitions: i32, replication_factor: i32) -> NewTopic {
    let (partitions, replication_factor) = (Some(partitions), Some(replication_factor));
    NewTopic { partitions, replication_factor, ..named(name) }
}

fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> NewTopic {
    let assignments = assignments
        .iter()
        .map(|(partition, ids)| (*partition, ids.iter().copied().map(BrokerId).collect()))
        .collect();
    NewTopic { assignments, ..named(name) }
}

fn configured(name: &str, key: &str, value: Option<&str>) -> NewTopic {
    NewTopic { configs: vec![(key.to_owned(), value.map(str::to_owned))], ..named(name) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_made_with_the_nodes_kafka_writes_and_has_leaders_when_the_answer_comes() {
    let member = Member::ready("admin-create").await;
    let topic = NewTopic {
        configs: vec![
            ("segment.bytes".to_owned(), Some("1048576".to_owned())),
            ("retention.ms".to_owned(), Some("1000000".to_owned())),
        ],
        ..sized("t1", 2, 1)
    };
    let made =
        member.admin().create_topics(&config(), vec![topic], false, WAIT_MS, &mut Changes::unlimited()).await;
    let [Ok(created)] = &made[..] else { panic!("{made:?}") };
    assert_eq!((&created.partitions[..], created.replication_factor), (&[0, 1][..], 1));
    let cluster = member.replicas.metadata.snapshot();
    assert_eq!(cluster.topic_id("t1"), created.id);
    assert_eq!(
        member.data("/config/topics/t1").await.as_deref(),
        Some(r#"{"version":1,"config":{"segment.bytes":"1048576","retention.ms":"1000000"}}"#)
    );
    let id = created.id;
    assert_eq!(
        member.data("/brokers/topics/t1").await.expect("the topic"),
        format!(
            r#"{{"partitions":{{"0":[0],"1":[0]}},"topic_id":"{id}","adding_replicas":{{}},"removing_replicas":{{}},"version":3}}"#
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_made_with_its_config_or_not_at_all() {
    let member = Member::ready("admin-both").await;
    let left = r#"{"version":1,"config":{"retention.ms":"5"}}"#;
    let left_by = |name: &str| format!("/config/topics/{name}");

    member.create(&left_by("again"), left).await;
    member.make(named("again")).await;
    assert_eq!(member.data(&left_by("again")).await.as_deref(), Some(r#"{"version":1,"config":{}}"#));

    member.make(configured("there", "retention.ms", Some("7"))).await;
    let made = configs::create_topic(&member.zookeeper, "there", &[], b"{}".to_vec()).await;
    assert!(!made.expect("an answer"), "somebody else was faster");
    let kept = r#"{"version":1,"config":{"retention.ms":"7"}}"#;
    assert_eq!(member.data(&left_by("there")).await.as_deref(), Some(kept));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kafka_refuses_is_refused_in_its_words() {
    use ResponseError as E;
    let member = Member::ready("admin-refuse").await;
    member.make(named("a.b")).await;
    let cases = [
        (named("a.b"), E::TopicAlreadyExists, "Topic 'a.b' already exists."),
        (named("a_b"), E::InvalidTopicException, "Topic 'a_b' collides with existing topics: a.b"),
        (named(""), E::InvalidTopicException, "Topic name is invalid: the empty string is not allowed"),
        (sized("t", 0, 1), E::InvalidPartitions, "Number of partitions must be larger than 0."),
        (sized("t", -2, 1), E::InvalidPartitions, "Number of partitions must be larger than 0."),
        (sized("t", 1, 0), E::InvalidReplicationFactor, "Replication factor must be larger than 0."),
        (
            sized("t", 1, 5),
            E::InvalidReplicationFactor,
            "Replication factor: 5 larger than available brokers: 1.",
        ),
        (
            assigned("t", &[(0, &[1, 1])]),
            E::InvalidReplicaAssignment,
            "Duplicate replica assignment found: HashMap(0 -> ArrayBuffer(1, 1))",
        ),
        (
            assigned("t", &[(1, &[0])]),
            E::InvalidReplicaAssignment,
            "partitions should be a consecutive 0-based integer sequence",
        ),
        (
            assigned("t", &[(0, &[0]), (1, &[0, 1])]),
            E::InvalidReplicaAssignment,
            "All partitions should have the same number of replicas",
        ),
        (
            NewTopic { partitions: Some(1), ..assigned("t", &[(0, &[0])]) },
            E::InvalidRequest,
            "Both numPartitions or replicationFactor and replicasAssignments were set. Both cannot be used at the \
             same time.",
        ),
        (configured("t", "no.such", Some("x")), E::InvalidConfig, "Unknown topic config name: no.such"),
        (
            configured("t", "retention.ms", Some("abc")),
            E::InvalidConfig,
            "Invalid value abc for configuration retention.ms: Not a number of type LONG",
        ),
        (
            configured("t", "retention.ms", None),
            E::InvalidConfig,
            "Null value not supported for topic configs: retention.ms",
        ),
    ];
    for (topic, error, message) in cases {
        assert_eq!(member.refusal(topic).await, (error, message.to_owned()));
    }
    assert_eq!(
        member.zookeeper.children("/brokers/topics").await.expect("listed"),
        Some(vec!["a.b".to_owned()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_wait_times_out_and_is_done_all_the_same() {
    let member = Member::ready("admin-timeout").await;
    let made = member
        .admin()
        .create_topics(&config(), vec![named("t")], false, 0, &mut Changes::unlimited())
        .await
        .pop();
    assert_eq!(made.map(|made| made.map(drop)), Some(Err(timed_out())));
    member.has_replicas(&["t-0"]).await;

    let unknown_broker = assigned("u", &[(0, &[9])]);
    let made = member
        .admin()
        .create_topics(&config(), vec![unknown_broker], false, 50, &mut Changes::unlimited())
        .await
        .pop();
    assert_eq!(made.map(|made| made.map(drop)), Some(Err(timed_out())));
    assert!(member.data("/brokers/topics/u").await.is_some());

    let only_checked = member
        .admin()
        .create_topics(&config(), vec![named("v")], true, 0, &mut Changes::unlimited())
        .await
        .pop();
    assert!(matches!(only_checked, Some(Ok(_))));
    assert!(member.data("/brokers/topics/v").await.is_none());
}

fn timed_out() -> AdminError {
    AdminError { error: ResponseError::RequestTimedOut, message: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_is_gone_when_the_answer_comes() {
    let member = Member::ready("admin-delete").await;
    member.make(sized("t", 3, 1)).await;
    let names = ["t".to_owned(), "unknown".to_owned()];
    let results = member.admin().delete_topics(&names, WAIT_MS, &mut Changes::unlimited()).await;
    let unknown = AdminError { error: ResponseError::UnknownTopicOrPartition, message: None };
    assert_eq!(results, [Ok(()), Err(unknown)]);
    assert!(member.replicas.metadata.snapshot().topic("t").is_none());
    member.is_gone("/brokers/topics/t").await;
    member.is_gone("/admin/delete_topics/t").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_grows_or_the_reason_why_not_is_told() {
    let member = Member::ready("admin-grow").await;
    member.make(sized("t", 1, 1)).await;
    let id = member.replicas.metadata.snapshot().topic_id("t");
    let grow = |topic: &str, count, assignments: Option<&[&[i32]]>| {
        let assignments = assignments
            .map(|lists| lists.iter().map(|ids| ids.iter().copied().map(BrokerId).collect()).collect());
        MorePartitions { topic: topic.to_owned(), count, assignments }
    };
    let refusals = [
        (grow("t", 0, None), "Topic currently has 1 partitions, which is higher than the requested 0."),
        (grow("t", 1, None), "Topic already has 1 partitions."),
        (grow("nosuch", 2, None), "The topic 'nosuch' does not exist."),
        (grow("a b", 2, None), "The topic 'a b' does not exist."),
        (grow("t", 3, Some(&[&[0]])), "Increasing the number of partitions by 2 but 1 assignments provided."),
        (grow("t", 2, Some(&[&[9]])), "Unknown broker(s) in replica assignment: 9."),
    ];
    for (wanted, message) in refusals {
        let result = member
            .admin()
            .create_partitions(vec![wanted], false, WAIT_MS, &mut Changes::unlimited())
            .await
            .pop();
        let refused = result.expect("a result").expect_err("refused");
        assert_eq!(refused.message.as_deref(), Some(message));
    }
    let grown = member
        .admin()
        .create_partitions(vec![grow("t", 3, None)], false, WAIT_MS, &mut Changes::unlimited())
        .await;
    assert_eq!(grown, [Ok(())]);
    member.has_replicas(&["t-0", "t-1", "t-2"]).await;
    assert_eq!(member.replicas.metadata.snapshot().topic_id("t"), id);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_broker_hears_of_a_changed_config() {
    let member = Member::ready("configs").await;
    let bookmark = Bookmark::set(&member.zookeeper).await.expect("read");
    configs::notify(&member.zookeeper, "topics/before").await.expect("told");
    let mut changes = config_changes::follow(Arc::clone(&member.zookeeper), bookmark);
    let mut next = async || match timeout(PATIENCE, changes.recv()).await.expect("in time") {
        Some(Changed::One(change)) => (change.entity_type, change.entity),
        other => panic!("no notice: {other:?}"),
    };
    let named = |kind: &str, name: &str| (kind.to_owned(), name.to_owned());
    assert_eq!(next().await, named("topics", "before"));

    let entries = vec![("retention.ms".to_owned(), "1000".to_owned())];
    configs::change(&member.zookeeper, "topics", "t", &entries).await.expect("written");
    assert_eq!(next().await, named("topics", "t"));
    let stored = entities::read(&member.zookeeper, &Entity::Topic("t".to_owned())).await.expect("read");
    assert_eq!(stored.entries, entries);

    let client = "alice/clients/c1";
    let rate = vec![("producer_byte_rate".to_owned(), "99999".to_owned())];
    configs::change(&member.zookeeper, "users", client, &rate).await.expect("written");
    assert_eq!(next().await, named("users", client));
    assert_eq!(
        member.data("/config/users/alice/clients/c1").await.as_deref(),
        Some(r#"{"version":1,"config":{"producer_byte_rate":"99999"}}"#)
    );
    configs::change(&member.zookeeper, "users", client, &[]).await.expect("removed");
    assert_eq!(next().await, named("users", client));
    assert_eq!(member.data("/config/users/alice").await, None);
    assert_eq!(
        member.data("/config/changes/config_change_0000000003").await.as_deref(),
        Some(r#"{"version":2,"entity_path":"users/alice/clients/c1"}"#)
    );
}
