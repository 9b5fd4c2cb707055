//! AlterUserScramCredentials: users get SCRAM credentials or lose them (KIP-554). Answered by the controller alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
use kafka_protocol::messages::{AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse};
use kafka_protocol::protocol::StrBytes;

use crate::cluster::controller::NOT_CONTROLLER;
use crate::errors::WireError;
use crate::handlers::Context;
use crate::house::House;
use crate::reconfiguration::credentials::{self, Alteration};
use crate::security::scram::SaltedPassword;

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: AlterUserScramCredentialsRequest,
) -> AlterUserScramCredentialsResponse {
    let alterations = alterations(&request);
    let results = if house.is_controller() {
        let outcomes = credentials::alter(&house.zookeeper, &alterations).await;
        outcomes
            .into_iter()
            .map(|(user, outcome)| result(user, outcome.map_err(|why| (why.wire(), why))))
            .collect()
    } else {
        let users: BTreeSet<String> = alterations.into_iter().map(|alteration| alteration.user).collect();
        let refused = || Err((ResponseError::NotController, NOT_CONTROLLER));
        users.into_iter().map(|user| result(user, refused())).collect()
    };
    AlterUserScramCredentialsResponse::default().with_results(results)
}

fn alterations(request: &AlterUserScramCredentialsRequest) -> Vec<Alteration> {
    let removed = request.deletions.iter().map(|removal| Alteration {
        user: removal.name.to_string(),
        mechanism: removal.mechanism,
        password: None,
    });
    let set = request.upsertions.iter().map(|wanted| Alteration {
        user: wanted.name.to_string(),
        mechanism: wanted.mechanism,
        password: Some(SaltedPassword {
            salt: wanted.salt.to_vec(),
            hash: wanted.salted_password.to_vec(),
            iterations: wanted.iterations,
        }),
    });
    removed.chain(set).collect()
}

fn result(
    user: String,
    outcome: Result<(), (ResponseError, impl ToString)>,
) -> AlterUserScramCredentialsResult {
    let result = AlterUserScramCredentialsResult::default().with_user(StrBytes::from_string(user));
    match outcome {
        Ok(()) => result,
        Err((error, why)) => result
            .with_error_code(error.code())
            .with_error_message(Some(StrBytes::from_string(why.to_string()))),
    }
}
