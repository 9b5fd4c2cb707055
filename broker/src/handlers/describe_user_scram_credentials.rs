//! DescribeUserScramCredentials: which users have SCRAM credentials, and how strong (KIP-554).

use std::sync::Arc;

use kafka_protocol::messages::describe_user_scram_credentials_response::{
    CredentialInfo, DescribeUserScramCredentialsResult,
};
use kafka_protocol::messages::{DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse};
use kafka_protocol::protocol::StrBytes;
use tracing::warn;

use crate::errors::WireError;
use crate::handlers::Context;
use crate::house::House;
use crate::reconfiguration::credentials::{self, CredentialError, Described};

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    let users: Vec<String> = request.users.iter().flatten().map(|user| user.name.to_string()).collect();
    let told = if users.is_empty() {
        match credentials::describe_all(&house.zookeeper).await {
            Ok(all) => all.into_iter().collect(),
            Err(why) => {
                warn!("SCRAM credentials are not told to a client: {why}");
                let failed = CredentialError::Failed;
                return DescribeUserScramCredentialsResponse::default()
                    .with_error_code(failed.wire().code())
                    .with_error_message(Some(StrBytes::from_string(failed.to_string())));
            }
        }
    } else {
        credentials::describe(&house.zookeeper, &users).await
    };
    DescribeUserScramCredentialsResponse::default()
        .with_results(told.into_iter().map(|(user, described)| result(user, described)).collect())
}

fn result(user: String, described: Described) -> DescribeUserScramCredentialsResult {
    let result = DescribeUserScramCredentialsResult::default().with_user(StrBytes::from_string(user));
    match described {
        Ok(credentials) => {
            let infos = credentials.into_iter().map(|(mechanism, iterations)| {
                CredentialInfo::default().with_mechanism(mechanism.wire()).with_iterations(iterations)
            });
            result.with_credential_infos(infos.collect())
        }
        Err(why) => result
            .with_error_code(why.wire().code())
            .with_error_message(Some(StrBytes::from_string(why.to_string()))),
    }
}
