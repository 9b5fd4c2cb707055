//! What a broker without TLS, SASL and an authorizer says to those who ask for them, and the credentials it keeps for others.

use kafka_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::create_delegation_token_request::CreatableRenewers;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::describe_delegation_token_request::DescribeDelegationTokenOwner;
use kafka_protocol::messages::describe_user_scram_credentials_request::UserName;
use kafka_protocol::messages::{
    AlterUserScramCredentialsRequest, CreateAclsRequest, CreateDelegationTokenRequest, DeleteAclsRequest,
    DescribeAclsRequest, DescribeDelegationTokenRequest, DescribeUserScramCredentialsRequest,
    ExpireDelegationTokenRequest, RenewDelegationTokenRequest, SaslAuthenticateRequest, SaslHandshakeRequest,
};

use crate::asking::{Conversation, sorted, text};
use crate::support::stock;

pub(crate) fn logins(talk: &mut Conversation) {
    for version in 0..=1 {
        for mechanism in ["PLAIN", "SCRAM-SHA-256", ""] {
            let request = SaslHandshakeRequest::default().with_mechanism(text(mechanism));
            talk.ask(&format!("a login with {mechanism:?}"), version, &request);
        }
    }
    for version in 0..=2 {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(b"\0alice\0secret".to_vec().into());
        talk.ask("a password", version, &request);
    }
    talk.ask("a question after the refused login", 2, &RenewDelegationTokenRequest::default());
}

/// Resource type, pattern type, operation, permission: a topic by its name, read, allowed.
type Codes = (i8, i8, i8, i8);

const PLAIN: Codes = (2, 3, 3, 3);

/// What Kafka reads and what it does not; the second of each is the pattern type.
const CODES: &[Codes] = &[
    PLAIN,
    (2, 4, 3, 3),
    (2, 1, 3, 3),
    (1, 1, 1, 1),
    (0, 3, 3, 3),
    (2, 0, 3, 3),
    (2, 3, 0, 3),
    (2, 3, 3, 0),
    (77, 3, 99, 44),
    (2, 99, 3, 3),
    (-1, 3, -1, -1),
];

pub(crate) fn acls(talk: &mut Conversation) {
    for version in 0..=3 {
        for codes in CODES {
            // A client puts the pattern into the bytes only from version 1 on.
            let &(resource, pattern, operation, permission) = codes;
            if version == 0 && pattern != 3 {
                continue;
            }
            let asked = DescribeAclsRequest::default()
                .with_resource_type_filter(resource)
                .with_resource_name_filter(Some(text("t")))
                .with_pattern_type_filter(pattern)
                .with_principal_filter(None)
                .with_host_filter(None)
                .with_operation(operation)
                .with_permission_type(permission);
            talk.ask(&format!("ACLs of {codes:?}"), version, &asked);
            let one = |(resource, pattern, operation, permission): Codes| {
                AclCreation::default()
                    .with_resource_type(resource)
                    .with_resource_name(text("t"))
                    .with_resource_pattern_type(pattern)
                    .with_principal(text("User:alice"))
                    .with_host(text("*"))
                    .with_operation(operation)
                    .with_permission_type(permission)
            };
            let two = CreateAclsRequest::default().with_creations(vec![one(PLAIN), one(*codes)]);
            talk.ask(&format!("two ACLs made, the second of {codes:?}"), version, &two);
            let filter = |(resource, pattern, operation, permission): Codes| {
                DeleteAclsFilter::default()
                    .with_resource_type_filter(resource)
                    .with_resource_name_filter(None)
                    .with_pattern_type_filter(pattern)
                    .with_principal_filter(Some(text("User:alice")))
                    .with_host_filter(None)
                    .with_operation(operation)
                    .with_permission_type(permission)
            };
            let two = DeleteAclsRequest::default().with_filters(vec![filter(PLAIN), filter(*codes)]);
            talk.ask(&format!("ACLs deleted, the second of {codes:?}"), version, &two);
        }
        talk.ask("no ACL made", version, &CreateAclsRequest::default());
        talk.ask("no ACL deleted", version, &DeleteAclsRequest::default());
    }
}

pub(crate) fn tokens(talk: &mut Conversation) {
    for version in 0..=3 {
        let renewer = |kind: &str| {
            CreatableRenewers::default().with_principal_type(text(kind)).with_principal_name(text("bob"))
        };
        // Owners have been named since version 3.
        let mut made = CreateDelegationTokenRequest::default().with_max_lifetime_ms(1000);
        if version == 3 {
            made = made.with_owner_principal_type(None).with_owner_principal_name(None);
        }
        talk.ask("a token", version, &made);
        talk.ask("renewed by a group", version, &made.clone().with_renewers(vec![renewer("Group")]));
        if version == 3 {
            for (kind, name) in
                [(Some("User"), Some("alice")), (Some("User"), Some("")), (None, Some("alice"))]
            {
                let owned = made
                    .clone()
                    .with_owner_principal_type(kind.map(text))
                    .with_owner_principal_name(name.map(text));
                talk.ask(&format!("a token of {kind:?} {name:?}"), version, &owned);
            }
        }
        let owner = DescribeDelegationTokenOwner::default()
            .with_principal_type(text("User"))
            .with_principal_name(text("alice"));
        for owners in [None, Some(vec![]), Some(vec![owner])] {
            let asked = DescribeDelegationTokenRequest::default().with_owners(owners);
            talk.ask("tokens", version, &asked);
        }
    }
    for version in 0..=2 {
        let hmac = bytes::Bytes::from_static(b"no token");
        let renewed = RenewDelegationTokenRequest::default().with_hmac(hmac.clone()).with_renew_period_ms(1);
        talk.ask("a token is renewed", version, &renewed);
        let ended = ExpireDelegationTokenRequest::default().with_hmac(hmac).with_expiry_time_period_ms(-1);
        talk.ask("a token ends", version, &ended);
    }
}

/// A user, a mechanism, and iterations; `None` takes the credential away.
type Wish<'a> = (&'a str, i8, Option<i32>);

fn altering(wishes: &[Wish]) -> AlterUserScramCredentialsRequest {
    let sets = wishes.iter().filter_map(|(user, mechanism, iterations)| {
        let wanted = ScramCredentialUpsertion::default()
            .with_name(text(user))
            .with_mechanism(*mechanism)
            .with_iterations((*iterations)?)
            .with_salt(b"a grain of salt".to_vec().into())
            .with_salted_password(vec![7; 32].into());
        Some(wanted)
    });
    let removals = wishes.iter().filter(|(_, _, iterations)| iterations.is_none());
    let removals = removals.map(|(user, mechanism, _)| {
        ScramCredentialDeletion::default().with_name(text(user)).with_mechanism(*mechanism)
    });
    AlterUserScramCredentialsRequest::default()
        .with_upsertions(sets.collect())
        .with_deletions(removals.collect())
}

/// Users come in the order of a hash map.
fn alter(talk: &mut Conversation, question: &str, wishes: &[Wish]) {
    talk.ask_for(question, 0, &altering(wishes), |answer| {
        let results = answer.results.iter().map(|result| format!("{result:?}"));
        format!("throttled {} {}", answer.throttle_time_ms, sorted(results))
    });
}

fn describe(talk: &mut Conversation, question: &str, users: Option<&[&str]>) {
    let users =
        users.map(|users| users.iter().map(|user| UserName::default().with_name(text(user))).collect());
    talk.ask(question, 0, &DescribeUserScramCredentialsRequest::default().with_users(users));
}

/// The configs of a user as ZooKeeper has them.
fn note_znode(talk: &mut Conversation, question: &str, user: &str) {
    let path = format!("/config/users/{user}");
    let zookeeper = talk.broker.zookeeper();
    let shown = stock::tool("3.9.1", "zookeeper-shell", &[&zookeeper, "get", &path], "").stdout;
    talk.note(question, shown.lines().last().unwrap_or_default());
}

pub(crate) fn credentials(talk: &mut Conversation) {
    describe(talk, "nobody has credentials", None);
    let wishes: &[(&str, &[Wish])] = &[
        ("one", &[("alice", 1, Some(4096))]),
        ("two for one", &[("alice", 1, Some(8192)), ("alice", 2, Some(16_384))]),
        ("for two", &[("bob", 2, Some(4096)), ("CN=Bob Smith,O=x y", 1, Some(4096))]),
        ("none", &[]),
        ("nobody's", &[("", 1, Some(4096))]),
        ("nobody's goes", &[("", 1, None)]),
        ("an unknown mechanism", &[("carol", 3, Some(4096))]),
        ("no mechanism", &[("carol", 0, Some(1)), ("bob", 2, Some(5000))]),
        ("an unknown mechanism goes", &[("alice", 9, None), ("alice", 1, Some(1))]),
        ("too few iterations", &[("carol", 1, Some(4095))]),
        ("too many iterations", &[("carol", 2, Some(16_385))]),
        ("one fails, another does not", &[("carol", 2, Some(-1)), ("dave", 2, Some(4096))]),
        ("the same twice", &[("dave", 2, Some(4096)), ("dave", 2, Some(8192)), ("erin", 1, Some(4096))]),
        ("set and gone", &[("dave", 2, Some(4096)), ("dave", 2, None)]),
        ("set and another gone", &[("dave", 1, Some(4096)), ("dave", 2, None)]),
        ("what is not there goes", &[("dave", 2, None), ("erin", 1, None)]),
        ("of a stranger", &[("stranger", 1, None)]),
    ];
    for (question, wishes) in wishes {
        alter(talk, question, wishes);
    }
    note_znode(talk, "the credentials of alice in ZooKeeper", "alice");
    note_znode(talk, "the credentials of Bob Smith in ZooKeeper", "CN%3DBob%20Smith%2CO%3Dx%20y");
    describe(talk, "all", None);
    describe(talk, "all, by an empty list", Some(&[]));
    describe(talk, "some", Some(&["dave", "alice", "CN=Bob Smith,O=x y"]));
    describe(talk, "nobody", Some(&[""]));
    describe(talk, "a stranger and a friend", Some(&["stranger", "alice"]));
    describe(talk, "one twice", Some(&["alice", "bob", "alice", "", ""]));
    let gone = [("alice", 1, None), ("alice", 2, None), ("bob", 2, None), ("dave", 1, None)];
    alter(talk, "all go", &[&gone[..], &[("CN=Bob Smith,O=x y", 1, None)]].concat());
    note_znode(talk, "the node of alice is gone", "alice");
    describe(talk, "nobody is left", None);
}
