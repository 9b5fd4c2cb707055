//! LeaderAndIsr: the controller gives this broker's replicas their roles.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{LeaderAndIsrRequest, LeaderAndIsrResponse, TopicName};

use crate::handlers::Context;
use crate::house::House;
use crate::partition::refuse_all;

/// From this version on an answer groups partitions by topic id; before, it names their topics.
const GROUPED_SINCE: i16 = 5;

pub(crate) async fn handle(
    house: &Arc<House>,
    context: &Context,
    request: LeaderAndIsrRequest,
) -> LeaderAndIsrResponse {
    let names = request.topic_states.iter().map(|topic| topic.topic_name.clone()).collect();
    let response = if house.is_stale(request.broker_epoch) {
        refuse_all(&request, ResponseError::StaleBrokerEpoch)
    } else {
        house.leader_and_isr(request).await
    };
    if context.version < GROUPED_SINCE { ungrouped(response, names) } else { response }
}

/// `names` are the topics of the request, in whose order the answer groups.
fn ungrouped(mut response: LeaderAndIsrResponse, names: Vec<TopicName>) -> LeaderAndIsrResponse {
    for (topic, name) in std::mem::take(&mut response.topics).into_iter().zip(names) {
        let errors = topic.partition_errors.into_iter();
        response.partition_errors.extend(errors.map(|error| error.with_topic_name(name.clone())));
    }
    response
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::leader_and_isr_request::{
        LeaderAndIsrPartitionState, LeaderAndIsrTopicState,
    };
    use kafka_protocol::protocol::{Encodable, StrBytes};

    use super::*;

    #[test]
    fn answers_to_old_controllers_name_the_topics() {
        let name = TopicName(StrBytes::from_static_str("orders"));
        let states = vec![LeaderAndIsrPartitionState::default().with_partition_index(3)];
        let request = LeaderAndIsrRequest::default().with_topic_states(vec![
            LeaderAndIsrTopicState::default().with_topic_name(name.clone()).with_partition_states(states),
        ]);
        let refused = refuse_all(&request, ResponseError::StaleBrokerEpoch);

        let response = ungrouped(refused, vec![name.clone()]);

        assert_eq!(response.partition_errors.len(), 1);
        assert_eq!(response.partition_errors[0].topic_name, name);
        assert_eq!(response.partition_errors[0].partition_index, 3);
        for version in 0..GROUPED_SINCE {
            response.compute_size(version).expect("it fits the version");
        }
    }
}
