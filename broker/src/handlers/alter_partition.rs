//! AlterPartition: a leader asks the controller for another in-sync set (KIP-497).

use std::sync::Arc;

use kafka_protocol::messages::{AlterPartitionRequest, AlterPartitionResponse};

use crate::cluster::controller::ForController;
use crate::handlers::Context;
use crate::house::House;

pub(crate) async fn handle(
    house: &Arc<House>,
    context: &Context,
    request: AlterPartitionRequest,
) -> AlterPartitionResponse {
    request.answer(context.version, house.to_controller().here()).await
}
