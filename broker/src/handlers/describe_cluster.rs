//! DescribeCluster (KIP-700): the brokers that clients of this listener can reach.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};
use kafka_protocol::protocol::StrBytes;
use storage::types::BrokerId;

use crate::handlers::{Context, operations};
use crate::house::House;

/// Kinds of endpoints (KIP-919); this broker has the first.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Errors of KIP-919, which `ResponseError` does not have.
const MISMATCHED_ENDPOINT_TYPE: i16 = 114;
const UNSUPPORTED_ENDPOINT_TYPE: i16 = 115;

pub(crate) async fn handle(
    house: &Arc<House>,
    context: &Context,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    let (wrong_kind, message) = match request.endpoint_type {
        BROKERS => return describe(house, context, &request),
        CONTROLLERS => (
            MISMATCHED_ENDPOINT_TYPE,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER"
                .to_owned(),
        ),
        other => (UNSUPPORTED_ENDPOINT_TYPE, format!("Unsupported endpoint type {other}")),
    };
    let error = if context.version == 0 { ResponseError::InvalidRequest.code() } else { wrong_kind };
    DescribeClusterResponse::default()
        .with_error_code(error)
        .with_error_message(Some(StrBytes::from_string(message)))
}

fn describe(house: &House, context: &Context, request: &DescribeClusterRequest) -> DescribeClusterResponse {
    let metadata = house.metadata.snapshot();
    let brokers: Vec<_> = metadata
        .nodes(&context.connection.listener)
        .map(|(broker, endpoint)| {
            DescribeClusterBroker::default()
                .with_broker_id(broker.id.0.into())
                .with_host(StrBytes::from_string(endpoint.host.clone()))
                .with_port(endpoint.port)
                .with_rack(broker.rack.clone().map(StrBytes::from_string))
        })
        .collect();
    let reachable = |id: &BrokerId| brokers.iter().any(|broker| broker.broker_id.0 == id.0);
    let controller = metadata.controller().filter(reachable).unwrap_or(BrokerId::NONE);
    let response = DescribeClusterResponse::default()
        .with_cluster_id(StrBytes::from_string(house.cluster_id.to_string()))
        .with_controller_id(controller.0.into())
        .with_brokers(brokers);
    match request.include_cluster_authorized_operations {
        true => response.with_cluster_authorized_operations(operations::ON_CLUSTER),
        false => response,
    }
}
