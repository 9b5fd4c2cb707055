//! EndTxn: a producer decides how its transaction ends.

use std::sync::Arc;

use coordinator::transactions::{Command, Outcome, Reply, TransactionError};
use kafka_protocol::messages::{EndTxnRequest, EndTxnResponse};

use crate::handlers::Context;
use crate::handlers::transaction_words::{ask, code, identity};
use crate::house::House;

const FENCED_SINCE: i16 = 2;

pub(crate) async fn handle(house: &Arc<House>, context: &Context, request: EndTxnRequest) -> EndTxnResponse {
    let id = &*request.transactional_id.0;
    let command = Command::End {
        id: Arc::from(id),
        identity: identity(request.producer_id, request.producer_epoch),
        outcome: if request.committed { Outcome::Commit } else { Outcome::Abort },
    };
    let result = match ask(house, id, command).await {
        Ok(Reply::End(result)) => result,
        Ok(_) => Err(TransactionError::Unknown),
        Err(error) => Err(error),
    };
    EndTxnResponse::default().with_error_code(code(result, context.version, FENCED_SINCE))
}
