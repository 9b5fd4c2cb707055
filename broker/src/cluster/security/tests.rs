//! What is refused, and why, before a connection is made.

use std::fs;

use super::*;
use crate::config::zookeeper::StoreKeys;

fn connect() -> ConnectString {
    ConnectString::parse("localhost:2182").expect("an address")
}

fn told(keys: &ZooKeeperKeys, java: &str) -> String {
    let refused = Security::new(keys, &JavaOptions::parse(java), &connect());
    refused.expect_err("refused").to_string()
}

fn tls() -> ZooKeeperKeys {
    let store = |name: &str| StoreKeys { location: Some(name.to_owned()), ..StoreKeys::default() };
    ZooKeeperKeys {
        tls: Some(true),
        socket: Some(NETTY.to_owned()),
        truststore: store("/nowhere/trust.jks"),
        ..ZooKeeperKeys::default()
    }
}

#[test]
fn without_any_setting_the_connection_is_plain_and_znodes_are_open() {
    let security =
        Security::new(&ZooKeeperKeys::default(), &JavaOptions::default(), &connect()).expect("fine");
    assert!(!security.is_encrypted());
    assert_eq!(security.acls, AclPolicy::Open);
}

#[test]
fn secure_acls_need_somebody_who_logs_in() {
    let keys = ZooKeeperKeys { set_acl: true, ..ZooKeeperKeys::default() };
    let why = told(&keys, "-Dzookeeper.sasl.clientconfig=Keeper");
    assert!(why.contains("neither a login file with a context Keeper"), "{why}");
}

#[test]
fn a_setting_that_cannot_be_honoured_is_refused() {
    let mut keys = tls();
    assert!(told(&keys, "").starts_with("/nowhere/trust.jks cannot be read"));
    keys.socket = None;
    assert!(told(&keys, "").contains("needs zookeeper.clientCnxnSocket=org.apache"));
    assert!(told(&keys, &format!("-Dzookeeper.clientCnxnSocket={NETTY}")).contains("trust.jks"));
    keys = ZooKeeperKeys { truststore: StoreKeys::default(), ..tls() };
    assert!(told(&keys, "").contains("needs zookeeper.ssl.truststore.location"));
    assert!(
        told(&keys, "-Dzookeeper.ssl.trustStore.location=/x/y.bin")
            .contains("set zookeeper.ssl.truststore.type")
    );
    keys = ZooKeeperKeys { enabled_protocols: Some(vec!["TLSv1.1".to_owned()]), ..tls() };
    assert!(told(&keys, "").contains("TLSv1.1 is not supported"));
    keys = ZooKeeperKeys { identification: Some("LDAPS".to_owned()), ..tls() };
    assert!(told(&keys, "").contains("LDAPS is not known"));
    keys = ZooKeeperKeys { cipher_suites: Some(vec!["TLS_RSA_WITH_RC4_128_MD5".to_owned()]), ..tls() };
    assert!(told(&keys, "").contains("none of zookeeper.ssl.cipher.suites can be used"));
    assert!(told(&ZooKeeperKeys::default(), "-Dzookeeper.ssl.ocsp=true").contains("revoked"));
    keys = ZooKeeperKeys { socket: Some("com.example.Socket".to_owned()), ..ZooKeeperKeys::default() };
    assert!(told(&keys, "").contains("Java classes cannot be loaded"));
}

#[test]
fn a_login_file_is_taken_from_the_options_of_the_java_machine() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("jaas.conf");
    let java = format!("-Djava.security.auth.login.config={}", file.display());
    let keys = ZooKeeperKeys { set_acl: true, ..ZooKeeperKeys::default() };
    assert!(told(&keys, &java).contains("No such file"));
    fs::write(&file, format!("Client {{ {DIGEST_LOGIN} required username=\"me\" password=\"pw\"; }};"))
        .expect("written");
    let security = Security::new(&keys, &JavaOptions::parse(&java), &connect()).expect("fine");
    assert!(security.sasl.is_some());
    assert!(told(&keys, &format!("{java} -Dzookeeper.sasl.client=false")).contains("forbids its use"));
    assert!(told(&keys, &format!("{java} -Dzookeeper.sasl.clientconfig=X")).contains("context X"));
    fs::write(&file, "Client { com.sun.security.auth.module.Krb5LoginModule required; };").expect("written");
    assert!(told(&keys, &java).contains("Krb5LoginModule is not supported"));
    fs::write(&file, format!("Client {{ {DIGEST_LOGIN} required username=\"me\"; }};")).expect("written");
    assert!(told(&keys, &java).contains("needs the option password"));
}

#[test]
fn znodes_are_as_open_as_kafka_leaves_them() {
    let shown = |path: &str| {
        let acls = AclPolicy::OnlyCreatorWrites.of(path);
        acls.iter().map(|acl| format!("{}:{}", acl.scheme(), acl.permission())).collect::<Vec<_>>()
    };
    assert_eq!(shown("/brokers/ids/1"), ["auth:ALL", "world:READ"]);
    assert_eq!(shown("/config/users/me"), ["auth:ALL"]);
    assert_eq!(shown("/config/brokers"), ["auth:ALL"]);
    assert_eq!(shown("/consumers"), ["world:ALL"]);
    assert_eq!(shown("/consumers/group"), ["auth:ALL", "world:READ"]);
    assert_eq!(AclPolicy::Open.of("/config/users")[0].permission(), zk::Permission::ALL);
}
