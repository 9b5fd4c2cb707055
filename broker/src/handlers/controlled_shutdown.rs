//! ControlledShutdown: a broker asks the controller to take its leaderships before it goes.

use std::sync::Arc;

use kafka_protocol::messages::{ControlledShutdownRequest, ControlledShutdownResponse};

use crate::cluster::controller::ForController;
use crate::handlers::Context;
use crate::house::House;

pub(crate) async fn handle(
    house: &Arc<House>,
    context: &Context,
    request: ControlledShutdownRequest,
) -> ControlledShutdownResponse {
    request.answer(context.version, house.to_controller().here()).await
}
