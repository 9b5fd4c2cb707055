//! Members of the new protocol that fall silent, or do not give up what is taken from them: others have it in the end, and not
//! before their time is over.

use std::time::{Duration, Instant};

use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, FindCoordinatorRequest,
};
use uuid::Uuid;

use crate::asking::text;
use crate::conversations::{beating, joining};
use crate::seat;
use crate::support::seat::Broker;
use crate::support::talk::create_topic;
use crate::support::until;
use crate::support::wire::Connection;

const TOPIC: &str = "timed";
const PARTITIONS: usize = 4;
const UNKNOWN_MEMBER_ID: i16 = 25;
const SESSION: Duration = Duration::from_secs(5);
const REBALANCE: Duration = Duration::from_millis(1500);
/// Coordinators count whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(2);

const SETTINGS: &[(&str, &str)] = &[
    ("group.coordinator.rebalance.protocols", "classic,consumer"),
    ("group.consumer.min.session.timeout.ms", "1000"),
    ("group.consumer.session.timeout.ms", "5000"),
    ("group.consumer.min.heartbeat.interval.ms", "200"),
    ("group.consumer.heartbeat.interval.ms", "500"),
];

/// A member of a group, as far as it was told.
struct Heard {
    connection: Connection,
    group: &'static str,
    id: &'static str,
    epoch: i32,
    topic: Uuid,
    partitions: Vec<i32>,
    /// When it last asked whether it is a member, and was.
    last: Instant,
}

impl Heard {
    /// Joins, once there is a coordinator.
    #[track_caller]
    fn join(broker: &Broker, group: &'static str, id: &'static str) -> Heard {
        let mut connection = broker.connect();
        until("a coordinator", || {
            let find = FindCoordinatorRequest::default().with_key(text(group));
            let loading = [14, 15, 16];
            connection.request(3, &find).error_code == 0
                && !loading.contains(&connection.request(0, &beating(group, "nobody", 1)).error_code)
        });
        let mut heard = Heard {
            connection,
            group,
            id,
            epoch: 0,
            topic: Uuid::nil(),
            partitions: Vec::new(),
            last: Instant::now(),
        };
        let timeout = i32::try_from(REBALANCE.as_millis()).expect("short");
        let answer = heard.say(&joining(group, id, &[TOPIC]).with_rebalance_timeout_ms(timeout));
        assert_eq!(answer.error_code, 0, "{answer:?}");
        heard
    }

    fn say(&mut self, request: &ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
        let sent = Instant::now();
        let answer = self.connection.request(0, request);
        if answer.error_code == 0 {
            (self.epoch, self.last) = (answer.member_epoch, sent);
        }
        if let Some(assignment) = &answer.assignment {
            self.topic = assignment.topic_partitions.first().map_or(self.topic, |it| it.topic_id);
            self.partitions =
                assignment.topic_partitions.iter().flat_map(|it| &it.partitions).copied().collect();
        }
        answer
    }

    /// A heartbeat that says nothing of partitions; the error code.
    fn beat(&mut self) -> i16 {
        let request = beating(self.group, self.id, self.epoch);
        self.say(&request).error_code
    }

    /// One that says which partitions are left.
    fn confirm(&mut self) -> i16 {
        let owned =
            TopicPartitions::default().with_topic_id(self.topic).with_partitions(self.partitions.clone());
        let request = beating(self.group, self.id, self.epoch).with_topic_partitions(Some(vec![owned]));
        self.say(&request).error_code
    }

    #[track_caller]
    fn until_it_has(&mut self, count: usize) {
        until(&format!("{} to have {count} partitions", self.id), || {
            assert_eq!(self.beat(), 0, "{} is a member", self.id);
            self.partitions.len() == count
        });
    }
}

/// Two members with all of the topic between them, of which the first has not given up its half yet.
#[track_caller]
fn two_members(broker: &Broker, group: &'static str) -> [Heard; 2] {
    let mut first = Heard::join(broker, group, "first");
    first.until_it_has(PARTITIONS);
    let second = Heard::join(broker, group, "second");
    first.until_it_has(PARTITIONS / 2);
    [first, second]
}

pub(crate) fn sessions_and_rebalances() {
    let broker = Broker::start_with(seat(), SETTINGS);
    create_topic(&broker, TOPIC, i32::try_from(PARTITIONS).expect("few"), &[]);

    let [mut first, mut second] = two_members(&broker, "silent");
    assert_eq!(first.confirm(), 0);
    second.until_it_has(PARTITIONS / 2);
    second.until_it_has(PARTITIONS);
    let silence = first.last.elapsed();
    assert!(silence + ROUNDING >= SESSION, "given up after {silence:?}");
    assert_eq!(first.beat(), UNKNOWN_MEMBER_ID);

    let [mut first, mut second] = two_members(&broker, "holding on");
    let told = first.last;
    until("who does not give up its half to be put out", || {
        assert_eq!(second.beat(), 0);
        first.beat() == UNKNOWN_MEMBER_ID
    });
    let patience = told.elapsed();
    assert!(patience + ROUNDING >= REBALANCE, "put out after {patience:?}");
    second.until_it_has(PARTITIONS);
}
