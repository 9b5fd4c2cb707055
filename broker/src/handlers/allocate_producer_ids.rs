//! AllocateProducerIds: a broker asks the controller for a block of producer ids.

use std::sync::Arc;

use kafka_protocol::messages::{AllocateProducerIdsRequest, AllocateProducerIdsResponse};

use crate::cluster::controller::ForController;
use crate::handlers::Context;
use crate::house::House;

pub(crate) async fn handle(
    house: &Arc<House>,
    context: &Context,
    request: AllocateProducerIdsRequest,
) -> AllocateProducerIdsResponse {
    request.answer(context.version, house.to_controller().here()).await
}
