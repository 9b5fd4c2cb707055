//! What a broker does before it goes: asks the controller to give its leaderships to others (controlled shutdown).
//!
//! The broker serves on meanwhile, so that clients that come to it are told who leads now. Whatever comes of it, the stop
//! goes on afterwards.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ControlledShutdownRequest;
use tracing::{info, warn};

use crate::cluster::to_controller::ToController;
use crate::config::HandOver;
use crate::peers::versions;

impl HandOver {
    /// Until the controller says that this broker leads nothing any more that another could lead.
    pub(crate) async fn run(self, to_controller: &ToController) {
        for attempt in 1..=self.attempts {
            if attempt > 1 {
                tokio::time::sleep(self.pause).await;
            }
            if self.attempt(to_controller).await {
                info!("the broker leads nothing any more");
                return;
            }
        }
        warn!(
            "the broker stops with leaderships in its hands: producers and consumers wait for the election"
        );
    }

    async fn attempt(self, to_controller: &ToController) -> bool {
        let request = ControlledShutdownRequest::default()
            .with_broker_id(to_controller.me().0.into())
            .with_broker_epoch(to_controller.broker_epoch());
        match to_controller.ask(&request, versions::CONTROLLED_SHUTDOWN).await {
            Ok(answer) => match ResponseError::try_from_code(answer.error_code) {
                None if answer.remaining_partitions.is_empty() => return true,
                None => {
                    let remaining = answer.remaining_partitions.len();
                    info!(remaining, "some leaderships could not be handed over yet");
                }
                Some(error) => info!(?error, "the controller refuses to take the leaderships"),
            },
            Err(error) => info!("the leaderships could not be handed over: {error}"),
        }
        false
    }
}
