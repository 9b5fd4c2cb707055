//! Members of classic groups, and how thousands of them come together.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{GroupId, HeartbeatRequest, JoinGroupRequest, SyncGroupRequest};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::broker::{
    Broker, Client, PARTITIONS, Progress, RETRY, connections_max, group_id, is_passing, topic, unexpected,
};

/// Long enough that nobody is dropped who has to wait for the others.
const SESSION_TIMEOUT_MS: i32 = 600_000;
/// How often a member that waits for the rest of its group looks whether it has to join again.
const LOOK: Duration = Duration::from_secs(1);
/// Connections at the same time while members join; the others wait their turn.
const JOINING_MAX: usize = 10_000;

const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER_ID: i16 = 25;
pub(crate) const REBALANCE_IN_PROGRESS: i16 = 27;
const MEMBER_ID_REQUIRED: i16 = 79;

pub(crate) struct Member {
    pub(crate) group: GroupId,
    pub(crate) id: StrBytes,
    pub(crate) generation: i32,
    pub(crate) leads: bool,
}

impl Member {
    fn new(group: &GroupId) -> Member {
        Member { group: group.clone(), id: StrBytes::default(), generation: -1, leads: false }
    }

    /// Comes into the group's next generation, as often as it takes.
    pub(crate) async fn join(&mut self, client: &mut Client) -> io::Result<()> {
        loop {
            let protocol = |name| {
                let metadata = subscription();
                JoinGroupRequestProtocol::default()
                    .with_name(StrBytes::from_static_str(name))
                    .with_metadata(metadata)
            };
            // As the Java client lists them by default.
            let protocols = vec![protocol("range"), protocol("cooperative-sticky")];
            let request = JoinGroupRequest::default()
                .with_group_id(self.group.clone())
                .with_session_timeout_ms(SESSION_TIMEOUT_MS)
                .with_rebalance_timeout_ms(SESSION_TIMEOUT_MS)
                .with_member_id(self.id.clone())
                .with_protocol_type(StrBytes::from_static_str("consumer"))
                .with_protocols(protocols);
            let answer = client.call(9, &request).await?;
            match answer.error_code {
                0 => {
                    self.leads = answer.leader == answer.member_id;
                    self.id = answer.member_id;
                    self.generation = answer.generation_id;
                    if self.sync(client, &answer.members).await? {
                        return Ok(());
                    }
                }
                MEMBER_ID_REQUIRED => self.id = answer.member_id,
                UNKNOWN_MEMBER_ID => self.id = StrBytes::default(),
                REBALANCE_IN_PROGRESS => {}
                error if is_passing(error) => tokio::time::sleep(RETRY).await,
                error => return Err(unexpected("JoinGroup", error)),
            }
        }
    }

    /// Whether it has its assignment; else it has to join again.
    async fn sync(&mut self, client: &mut Client, members: &[JoinGroupResponseMember]) -> io::Result<bool> {
        let assigned = members.iter().zip((0..PARTITIONS).cycle()).map(|(member, partition)| {
            let assignment = assignment(partition);
            SyncGroupRequestAssignment::default()
                .with_member_id(member.member_id.clone())
                .with_assignment(assignment)
        });
        let request = SyncGroupRequest::default()
            .with_group_id(self.group.clone())
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone())
            .with_protocol_type(Some(StrBytes::from_static_str("consumer")))
            .with_protocol_name(Some(StrBytes::from_static_str("range")))
            .with_assignments(if self.leads { assigned.collect() } else { Vec::new() });
        match client.call(5, &request).await?.error_code {
            0 => Ok(true),
            REBALANCE_IN_PROGRESS | ILLEGAL_GENERATION | UNKNOWN_MEMBER_ID => Ok(false),
            error => Err(unexpected("SyncGroup", error)),
        }
    }

    /// The error code.
    pub(crate) async fn heartbeat(&self, client: &mut Client) -> io::Result<i16> {
        let request = HeartbeatRequest::default()
            .with_group_id(self.group.clone())
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone());
        Ok(client.call(4, &request).await?.error_code)
    }
}

/// ConsumerProtocolSubscription v0: one topic, no user data.
fn subscription() -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    bytes.put_i32(1);
    put_topic(&mut bytes);
    bytes.put_i32(-1);
    bytes.freeze()
}

/// ConsumerProtocolAssignment v0: one partition.
fn assignment(partition: i32) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    bytes.put_i32(1);
    put_topic(&mut bytes);
    bytes.put_i32(1);
    bytes.put_i32(partition);
    bytes.put_i32(-1);
    bytes.freeze()
}

fn put_topic(bytes: &mut BytesMut) {
    let name = topic();
    bytes.put_i16(i16::try_from(name.len()).unwrap_or(i16::MAX));
    bytes.put_slice(name.as_bytes());
}

/// How many members of a group are in its newest generation, as far as its members know.
type Seen = (i32, usize);

/// `count` members, an equal part of them in each of `groups` groups, all of them in the generation of their group. Each has a
/// connection of its own, which comes with it.
pub(crate) async fn assemble(
    broker: &Broker,
    groups: usize,
    count: usize,
) -> io::Result<Vec<(Member, Client)>> {
    let (each, joining_max) = (count / groups.max(1), JOINING_MAX.min(connections_max()));
    if each == 0 || each > joining_max {
        return Err(io::Error::other(format!("a group has 1 to {joining_max} members, not {each}")));
    }
    // A run of its own: the groups of an earlier one may still be there.
    let run = std::process::id();
    let mut waiting: VecDeque<GroupId> =
        (0..groups).map(|number| group_id(&format!("load-{run}-{number}"))).collect();
    let progress = Arc::new(Progress::of("members in their groups"));
    let mut members = Vec::with_capacity(count);
    while !waiting.is_empty() {
        let wave: Vec<GroupId> = waiting.drain(..waiting.len().min(joining_max / each)).collect();
        let mut clients = broker.connections(wave.len() * each).await?;
        let mut joining = JoinSet::new();
        for group in wave {
            let seen = watch::Sender::new((-1, 0));
            for client in clients.drain(..each) {
                let (member, seen, progress) = (Member::new(&group), seen.clone(), Arc::clone(&progress));
                joining.spawn(come_together(member, client, seen, each, progress));
            }
        }
        while let Some(joined) = joining.join_next().await {
            members.push(joined.map_err(io::Error::other)??);
        }
    }
    Ok(members)
}

/// Joins, and joins again while others still turn up.
async fn come_together(
    mut member: Member,
    mut client: Client,
    seen: watch::Sender<Seen>,
    expected: usize,
    progress: Arc<Progress>,
) -> io::Result<(Member, Client)> {
    let mut watched = seen.subscribe();
    loop {
        member.join(&mut client).await?;
        seen.send_modify(|(newest, count)| {
            if member.generation > *newest {
                (*newest, *count) = (member.generation, 0);
            }
            *count += usize::from(member.generation == *newest);
        });
        loop {
            let all = watched.wait_for(|(_, count)| *count == expected);
            if timeout(LOOK, all).await.is_ok_and(|all| all.is_ok()) {
                progress.one_more();
                return Ok((member, client));
            }
            if member.heartbeat(&mut client).await? != 0 {
                break;
            }
        }
    }
}
