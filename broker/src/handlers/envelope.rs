//! Envelope: a broker passes a client's request on to the controller (KIP-590).
//!
//! Brokers of a ZooKeeper cluster do not, outside a migration to KRaft: clients find the controller by themselves. Kafka
//! lists the API there all the same, and closes the connection of whoever uses it.

use std::sync::Arc;

use kafka_protocol::messages::EnvelopeRequest;
use tracing::info;

use crate::handlers::Context;
use crate::house::House;
use crate::wire::reply::Reply;

pub(crate) async fn handle(_: &Arc<House>, context: &Context, _: EnvelopeRequest) -> Reply {
    let client = context.connection.address;
    info!(%client, "closing a connection on which an Envelope came: brokers on ZooKeeper forward nothing");
    Reply::Close
}
