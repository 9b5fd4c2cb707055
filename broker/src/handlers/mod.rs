//! The whole menu of the house: one file an API, one list from which ApiVersions is built.
//!
//! A handler translates, calls one room, translates back. Rules belong in `coordinator`.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, RequestHeader};
use kafka_protocol::protocol::Decodable;

pub(crate) use crate::asker::Context;

use crate::asker::{Peer, Stopwatch};
use crate::house::House;
use crate::wire::reply::{EncodeError, IntoReply, Reply};
use values::Values;

mod acl_words;
mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod allocate_producer_ids;
mod alter_client_quotas;
mod alter_configs;
mod alter_partition;
mod alter_partition_reassignments;
mod alter_replica_log_dirs;
mod alter_user_scram_credentials;
mod api_versions;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod controlled_shutdown;
mod create_acls;
mod create_delegation_token;
mod create_partitions;
mod create_topics;
mod delete_acls;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_acls;
mod describe_client_quotas;
mod describe_cluster;
pub(crate) mod describe_configs;
mod describe_delegation_token;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_transactions;
mod describe_user_scram_credentials;
mod elect_leaders;
mod end_txn;
mod envelope;
mod errors;
mod expire_delegation_token;
mod fetch;
mod find_coordinator;
mod first_use;
mod group_words;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leader_and_isr;
mod leave_group;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod list_transactions;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
pub(crate) mod operations;
mod partition_codes;
mod produce;
mod renew_delegation_token;
mod sasl_authenticate;
mod sasl_handshake;
mod stop_replica;
mod sync_group;
pub(crate) mod topics;
mod transaction_words;
mod txn_offset_commit;
mod update_features;
mod update_metadata;
mod values;
mod verified;
mod write_txn_markers;

/// A request that cannot be answered; the connection is closed, as Kafka does.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("a request of {0} bytes has no header")]
    NoHeader(usize),
    #[error("unknown or unsupported API: key {key}, version {version}")]
    Unsupported { key: i16, version: i16 },
    #[error("{api:?} v{version} cannot be read: {reason}")]
    Malformed { api: ApiKey, version: i16, reason: String },
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// One line of the menu.
pub(crate) struct Api {
    pub(crate) key: ApiKey,
    pub(crate) min: i16,
    pub(crate) max: i16,
}

macro_rules! apis {
    ($( $key:ident => $handler:path, versions $min:literal ..= $max:literal; )*) => {
        /// Every API this broker serves, in the order of the keys.
        pub(crate) const MENU: &[Api] = &[ $( Api { key: ApiKey::$key, min: $min, max: $max } ),* ];

        async fn serve_known(house: &Arc<House>, context: &Context, body: Bytes) -> Result<Reply, Refusal> {
            match context.api {
                $( ApiKey::$key => {
                    let request = decode(context, body)?;
                    let mut answer = Box::pin($handler(house, context, request)).await;
                    house.quotas.settle(context, &mut answer);
                    Ok(answer.into_reply(context.version, context.correlation_id)?)
                } )*
                _ => Err(Refusal::Unsupported { key: context.api as i16, version: context.version }),
            }
        }
    };
}

apis! {
    Produce => produce::handle, versions 0..=11;
    Fetch => fetch::handle, versions 0..=17;
    ListOffsets => list_offsets::handle, versions 0..=9;
    Metadata => metadata::handle, versions 0..=12;
    LeaderAndIsr => leader_and_isr::handle, versions 0..=7;
    StopReplica => stop_replica::handle, versions 0..=4;
    UpdateMetadata => update_metadata::handle, versions 0..=8;
    ControlledShutdown => controlled_shutdown::handle, versions 0..=3;
    OffsetCommit => offset_commit::handle, versions 0..=9;
    OffsetFetch => offset_fetch::handle, versions 0..=9;
    FindCoordinator => find_coordinator::handle, versions 0..=6;
    JoinGroup => join_group::handle, versions 0..=9;
    Heartbeat => heartbeat::handle, versions 0..=4;
    LeaveGroup => leave_group::handle, versions 0..=5;
    SyncGroup => sync_group::handle, versions 0..=5;
    DescribeGroups => describe_groups::handle, versions 0..=5;
    ListGroups => list_groups::handle, versions 0..=5;
    SaslHandshake => sasl_handshake::handle, versions 0..=1;
    ApiVersions => api_versions::handle, versions 0..=4;
    CreateTopics => create_topics::handle, versions 0..=7;
    DeleteTopics => delete_topics::handle, versions 0..=6;
    DeleteRecords => delete_records::handle, versions 0..=2;
    InitProducerId => init_producer_id::handle, versions 0..=5;
    OffsetForLeaderEpoch => offset_for_leader_epoch::handle, versions 0..=4;
    AddPartitionsToTxn => add_partitions_to_txn::handle, versions 0..=5;
    AddOffsetsToTxn => add_offsets_to_txn::handle, versions 0..=4;
    EndTxn => end_txn::handle, versions 0..=4;
    WriteTxnMarkers => write_txn_markers::handle, versions 0..=1;
    TxnOffsetCommit => txn_offset_commit::handle, versions 0..=4;
    DescribeAcls => describe_acls::handle, versions 0..=3;
    CreateAcls => create_acls::handle, versions 0..=3;
    DeleteAcls => delete_acls::handle, versions 0..=3;
    DescribeConfigs => describe_configs::handle, versions 0..=4;
    AlterConfigs => alter_configs::handle, versions 0..=2;
    AlterReplicaLogDirs => alter_replica_log_dirs::handle, versions 0..=2;
    DescribeLogDirs => describe_log_dirs::handle, versions 0..=4;
    SaslAuthenticate => sasl_authenticate::handle, versions 0..=2;
    CreatePartitions => create_partitions::handle, versions 0..=3;
    CreateDelegationToken => create_delegation_token::handle, versions 0..=3;
    RenewDelegationToken => renew_delegation_token::handle, versions 0..=2;
    ExpireDelegationToken => expire_delegation_token::handle, versions 0..=2;
    DescribeDelegationToken => describe_delegation_token::handle, versions 0..=3;
    DeleteGroups => delete_groups::handle, versions 0..=2;
    ElectLeaders => elect_leaders::handle, versions 0..=2;
    IncrementalAlterConfigs => incremental_alter_configs::handle, versions 0..=1;
    AlterPartitionReassignments => alter_partition_reassignments::handle, versions 0..=0;
    ListPartitionReassignments => list_partition_reassignments::handle, versions 0..=0;
    OffsetDelete => offset_delete::handle, versions 0..=0;
    DescribeClientQuotas => describe_client_quotas::handle, versions 0..=1;
    AlterClientQuotas => alter_client_quotas::handle, versions 0..=1;
    DescribeUserScramCredentials => describe_user_scram_credentials::handle, versions 0..=0;
    AlterUserScramCredentials => alter_user_scram_credentials::handle, versions 0..=0;
    AlterPartition => alter_partition::handle, versions 0..=3;
    UpdateFeatures => update_features::handle, versions 0..=1;
    Envelope => envelope::handle, versions 0..=0;
    DescribeCluster => describe_cluster::handle, versions 0..=1;
    DescribeProducers => describe_producers::handle, versions 0..=0;
    DescribeTransactions => describe_transactions::handle, versions 0..=0;
    ListTransactions => list_transactions::handle, versions 0..=1;
    AllocateProducerIds => allocate_producer_ids::handle, versions 0..=0;
    ConsumerGroupHeartbeat => consumer_group_heartbeat::handle, versions 0..=0;
    ConsumerGroupDescribe => consumer_group_describe::handle, versions 0..=0;
}

/// Answers one frame (without its length prefix). With the answer comes the context where the time of sending it counts.
pub(crate) async fn serve(
    house: &Arc<House>,
    peer: &Arc<Peer>,
    frame: Bytes,
) -> Result<(Reply, Option<Context>), Refusal> {
    let (mut context, body) = read_header(peer, frame)?;
    if context.api == ApiKey::ApiVersions && !served(ApiKey::ApiVersions, context.version) {
        return Ok((api_versions::unsupported_version(context.correlation_id)?, None));
    }
    if !house.quotas.are_enabled() {
        return Ok((serve_known(house, &context, body).await?, None));
    }
    let stopwatch = Arc::new(Stopwatch::new());
    context.stopwatch = Some(Arc::clone(&stopwatch));
    let reply = stopwatch.measure(serve_known(house, &context, body)).await?;
    let counts = counts_when_sent(context.api) && !stopwatch.charges_nobody();
    Ok((reply, counts.then_some(context)))
}

/// Requests of brokers among themselves cost no client anything. Which fetches are a follower's is known where they are served.
fn counts_when_sent(api: ApiKey) -> bool {
    !matches!(
        api,
        ApiKey::LeaderAndIsr
            | ApiKey::StopReplica
            | ApiKey::UpdateMetadata
            | ApiKey::ControlledShutdown
            | ApiKey::WriteTxnMarkers
            | ApiKey::AlterPartition
    )
}

/// Whether the request of this frame changes nothing and may wait for long (Fetch): it can be dropped at any moment.
pub(crate) fn only_waits(frame: &[u8]) -> bool {
    frame.first_chunk::<2>().is_some_and(|key| i16::from_be_bytes(*key) == ApiKey::Fetch as i16)
}

fn served(key: ApiKey, version: i16) -> bool {
    MENU.iter().any(|api| api.key == key && (api.min..=api.max).contains(&version))
}

/// Reads the header (RequestHeader v0-v2) once key and version are known to be ours.
fn read_header(peer: &Arc<Peer>, mut frame: Bytes) -> Result<(Context, Bytes), Refusal> {
    let Some(&[k0, k1, v0, v1, c0, c1, c2, c3]) = frame.first_chunk::<8>() else {
        return Err(Refusal::NoHeader(frame.len()));
    };
    let (key, version) = (i16::from_be_bytes([k0, k1]), i16::from_be_bytes([v0, v1]));
    let correlation_id = i32::from_be_bytes([c0, c1, c2, c3]);
    let (connection, size) = (Arc::clone(peer), frame.len());
    let unsupported = Refusal::Unsupported { key, version };
    let api = ApiKey::try_from(key).map_err(|()| Refusal::Unsupported { key, version })?;
    if !served(api, version) {
        if api != ApiKey::ApiVersions {
            return Err(unsupported);
        }
        // KIP-511: answered in version 0 whatever the version asked, so the rest of the header stays unread.
        let client_id = "".into();
        let context = Context { connection, api, version, correlation_id, client_id, size, stopwatch: None };
        return Ok((context, Bytes::new()));
    }
    let header = RequestHeader::decode(&mut frame, api.request_header_version(version))
        .map_err(|reason| Refusal::Malformed { api, version, reason: reason.to_string() })?;
    let client_id = header.client_id.as_deref().unwrap_or_default().into();
    Ok((Context { connection, api, version, correlation_id, client_id, size, stopwatch: None }, frame))
}

/// What follows the request in its frame is ignored, as by Apache's broker: librdkafka up to 2.6 writes three bytes
/// too many when it asks Metadata v11 and later about all topics.
fn decode<T: Decodable>(context: &Context, body: Bytes) -> Result<T, Refusal> {
    let (api, version) = (context.api, context.version);
    let mut values = Values::of(api, body);
    T::decode(&mut values, version).map_err(|reason| {
        let reason = match values.exceeded() {
            Some(max) => format!("more than {max} values in one request"),
            None => reason.to_string(),
        };
        Refusal::Malformed { api, version, reason }
    })
}
