//! ListTransactions: the transactional ids that this broker coordinates, or some of them (KIP-664, KIP-994).

use std::sync::Arc;

use coordinator::transactions::{Listing, State};
use kafka_protocol::messages::list_transactions_response::TransactionState;
use kafka_protocol::messages::{
    ListTransactionsRequest, ListTransactionsResponse, ProducerId, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;

use crate::clock;
use crate::errors::WireError;
use crate::handlers::Context;
use crate::handlers::group_words::wire;
use crate::house::House;

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: ListTransactionsRequest,
) -> ListTransactionsResponse {
    let runners = match house.transactions.all() {
        Ok(runners) => runners,
        Err(error) => return ListTransactionsResponse::default().with_error_code(error.wire().code()),
    };
    let is_known = |name: &StrBytes| State::ALL.iter().any(|state| state.name() == name.as_str());
    let unknown = request.state_filters.iter().filter(|name| !is_known(name)).cloned().collect();
    let now = clock::wall();
    let wanted = |listing: &Listing| {
        let producers = &request.producer_id_filters;
        let states = &request.state_filters;
        let open_ms = now.0.saturating_sub(listing.started_at.0);
        (producers.is_empty() || producers.iter().any(|producer| producer.0 == listing.producer.0))
            && (states.is_empty() || states.iter().any(|state| state.as_str() == listing.state.name()))
            && (request.duration_filter < 0 || open_ms > request.duration_filter)
    };
    let mut states = Vec::new();
    for runner in runners {
        states.extend(runner.look(|machine| machine.list().filter(wanted).map(told).collect::<Vec<_>>()));
    }
    ListTransactionsResponse::default().with_unknown_state_filters(unknown).with_transaction_states(states)
}

fn told(listing: Listing) -> TransactionState {
    TransactionState::default()
        .with_transactional_id(TransactionalId(wire(&listing.id)))
        .with_producer_id(ProducerId(listing.producer.0))
        .with_transaction_state(StrBytes::from_static_str(listing.state.name()))
}
