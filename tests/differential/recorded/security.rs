//! Logins, ACLs, delegation tokens and credentials, of brokers without any of them.

use kafka_protocol::messages::alter_user_scram_credentials_request::ScramCredentialDeletion;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::describe_user_scram_credentials_request::UserName;
use kafka_protocol::messages::{
    AlterUserScramCredentialsRequest, CreateAclsRequest, CreateDelegationTokenRequest, DescribeAclsRequest,
    DescribeDelegationTokenRequest, DescribeUserScramCredentialsRequest, SaslAuthenticateRequest,
    SaslHandshakeRequest,
};

use super::Asker;
use crate::asking::text;

pub(super) fn ask(asker: &mut Asker) {
    const ANY: i8 = 1;
    let all = DescribeAclsRequest::default()
        .with_resource_type_filter(ANY)
        .with_pattern_type_filter(ANY)
        .with_operation(ANY)
        .with_permission_type(ANY);
    asker.at(1).ask(3, "no authorizer configured", &all);
    let wanted = AclCreation::default()
        .with_resource_type(2)
        .with_resource_name(text("t"))
        .with_principal(text("User:alice"))
        .with_host(text("*"))
        .with_operation(3)
        .with_permission_type(3);
    let made = CreateAclsRequest::default().with_creations(vec![wanted]);
    asker.ask(3, "no authorizer configured", &made);
    let token = CreateDelegationTokenRequest::default()
        .with_owner_principal_type(None)
        .with_owner_principal_name(None);
    asker.ask(3, "over PLAINTEXT", &token);
    asker.ask(3, "over PLAINTEXT", &DescribeDelegationTokenRequest::default());
    let nobody = UserName::default().with_name(text("nobody"));
    let asked = DescribeUserScramCredentialsRequest::default().with_users(Some(vec![nobody]));
    asker.ask(0, "unknown user", &asked);
    let removal = ScramCredentialDeletion::default().with_name(text("nobody")).with_mechanism(1);
    let removed = AlterUserScramCredentialsRequest::default().with_deletions(vec![removal]);
    asker.not_the_controller().ask(0, "at a broker that is not the controller", &removed);
    asker.controller().ask(0, "delete for an unknown user, controller", &removed);
    let login = SaslHandshakeRequest::default().with_mechanism(text("PLAIN"));
    asker.at(1).ask(1, "PLAINTEXT listener", &login);
    asker.ask(2, "PLAINTEXT listener", &SaslAuthenticateRequest::default());
}
