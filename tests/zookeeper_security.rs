//! A secured ZooKeeper: TLS from keystores of every format, a login by SASL, and znodes that only brokers may write,
//! with the settings and the Java options that an operator of Apache's broker has.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use support::ensemble::{Server, exists};
use support::ports::free_port;
use support::process::{PATIENCE, run};
use support::seat::{Broker, Kind};
use support::znodes::{Body, Cursor, ZnodeClient};
use tempfile::TempDir;

const PASSWORD: &str = "changeit";

/// Request codes.
const SET_DATA: i32 = 5;
const GET_ACL: i32 = 6;
const GET_CHILDREN: i32 = 8;
const NO_AUTH: i32 = -102;

fn tool(program: &str, arguments: &str, folder: &Path) {
    let mut command = Command::new(program);
    command.args(arguments.split_whitespace()).current_dir(folder);
    run(format!("{program} {arguments}"), command, b"", PATIENCE).success();
}

/// A certificate authority, a server whose certificate names `localhost` only, and a client, in every format.
fn make_certificates(folder: &Path) {
    let openssl = |arguments: &str| tool("openssl", arguments, folder);
    let authority = |name: &str| {
        openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.pem \
             -subj /CN={name} -days 30"
        ));
    };
    authority("ca");
    authority("stranger");
    std::fs::write(folder.join("server.ext"), "subjectAltName=DNS:localhost\n").expect("written");
    std::fs::write(folder.join("client.ext"), "subjectAltName=DNS:localhost\n").expect("written");
    for name in ["server", "client"] {
        openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.crt -days 30 -extfile \
             {name}.ext"
        ));
        openssl(&format!(
            "pkcs12 -export -inkey {name}.key -in {name}.crt -certfile ca.pem -name {name} -out {name}.p12 -passout \
             pass:{PASSWORD}"
        ));
    }
    openssl(&format!("pkcs8 -topk8 -in client.key -out locked.key -passout pass:{PASSWORD}"));
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).expect("made above");
    std::fs::write(folder.join("client.pem"), text("locked.key") + &text("client.crt")).expect("written");
    let keytool = |arguments: &str| tool("keytool", arguments, folder);
    keytool(&format!(
        "-importkeystore -srckeystore client.p12 -srcstorepass {PASSWORD} -destkeystore client.jks -deststoretype JKS \
         -deststorepass {PASSWORD} -noprompt"
    ));
    for (kind, name) in [("PKCS12", "ca.p12"), ("JKS", "ca.jks")] {
        keytool(&format!(
            "-importcert -noprompt -alias ca -file ca.pem -storetype {kind} -keystore {name} -storepass {PASSWORD}"
        ));
    }
}

/// ZooKeeper that takes TLS with a client certificate on one port, and anybody on another, for the test itself.
struct Encrypted {
    server: Server,
    secure_port: u16,
    folder: TempDir,
}

impl Encrypted {
    fn start() -> Encrypted {
        let folder = tempfile::Builder::new().prefix("odradek-tls-").tempdir().expect("a temporary folder");
        make_certificates(folder.path());
        let secure_port = free_port();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let lines = format!(
            "secureClientPort={secure_port}\nsecureClientPortAddress=127.0.0.1\n\
             serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
             authProvider.x509=org.apache.zookeeper.server.auth.X509AuthenticationProvider\n\
             ssl.keyStore.location={}\nssl.keyStore.password={PASSWORD}\nssl.trustStore.location={}\n\
             ssl.clientAuth=need\n",
            path("server.p12"),
            path("ca.pem")
        );
        let server = Server::standalone(&folder.path().join("zookeeper"), free_port(), &lines, "");
        Encrypted { server, secure_port, folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A broker that speaks TLS with this keystore and truststore, and whatever `more` says.
    fn broker(&self, chroot: &str, keystore: &str, truststore: &str, more: &[(&str, &str)]) -> Broker {
        let connect = format!("localhost:{}/{chroot}", self.secure_port);
        let (key, trust) = (self.path(keystore), self.path(truststore));
        let mut settings = vec![
            ("zookeeper.ssl.client.enable", "true"),
            ("zookeeper.clientCnxnSocket", "org.apache.zookeeper.ClientCnxnSocketNetty"),
            ("zookeeper.ssl.truststore.location", trust.as_str()),
            ("zookeeper.ssl.truststore.password", PASSWORD),
            // The first handshake of a Java machine takes its time on a busy one.
            ("zookeeper.session.timeout.ms", "18000"),
            ("zookeeper.connection.timeout.ms", "90000"),
        ];
        if !keystore.is_empty() {
            settings.push(("zookeeper.ssl.keystore.location", key.as_str()));
            settings.push(("zookeeper.ssl.keystore.password", PASSWORD));
        }
        settings.extend_from_slice(more);
        Broker::join(Kind::Ours, 1, &connect, &settings)
    }

    fn client(&self) -> ZnodeClient {
        ZnodeClient::open(self.server.address())
    }
}

/// What a broker that gives up says.
#[track_caller]
fn refused(mut broker: Broker) -> String {
    let ended = broker.wait();
    assert_eq!(ended.code, 1, "{ended}");
    ended.stderr
}

#[test]
fn a_broker_reaches_zookeeper_over_tls_with_stores_of_every_format() {
    let zookeeper = Encrypted::start();
    let acls = [("zookeeper.set.acl", "true")];
    let suites = [
        ("zookeeper.ssl.enabled.protocols", "TLSv1.2,TLSv1.3"),
        ("zookeeper.ssl.cipher.suites", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,TLS_AES_256_GCM_SHA384"),
    ];
    for (chroot, keystore, truststore, more) in [
        ("pem", "client.pem", "ca.pem", &acls[..]),
        ("pkcs12", "client.p12", "ca.p12", &suites[..]),
        ("jks", "client.jks", "ca.jks", &[][..]),
    ] {
        let mut broker = zookeeper.broker(chroot, keystore, truststore, more);
        broker.wait_until_it_answers();
        assert!(exists(&mut zookeeper.client(), &format!("/{chroot}/brokers/ids/1")));
    }
    let acl = acl_of(&mut zookeeper.client(), "/pem/brokers/ids");
    assert_eq!(acl, ["31 x509:CN=client", "1 world:anyone"]);
}

#[test]
fn tls_that_cannot_be_trusted_stops_the_start_and_says_what_to_look_at() {
    const SOON: (&str, &str) = ("zookeeper.connection.timeout.ms", "8000");
    let zookeeper = Encrypted::start();
    let by_address = format!("127.0.0.1:{}/name", zookeeper.secure_port);
    let by_address = ("zookeeper.connect", by_address.as_str());
    for broker in [
        zookeeper.broker("none", "", "ca.pem", &[SOON]),
        zookeeper.broker("stranger", "client.p12", "stranger.pem", &[SOON]),
        zookeeper.broker("name", "client.p12", "ca.pem", &[by_address, SOON]),
        // A ZooKeeper 3.8 takes TLSv1.2 unless told otherwise.
        zookeeper.broker("version", "client.p12", "ca.pem", &[("zookeeper.ssl.protocol", "TLSv1.3"), SOON]),
    ] {
        let log = refused(broker);
        assert!(log.contains("cannot reach ZooKeeper at") && log.contains("over TLS"), "{log}");
    }
    let unnamed = [by_address, ("zookeeper.ssl.endpoint.identification.algorithm", "")];
    zookeeper.broker("name", "client.p12", "ca.pem", &unnamed).wait_until_it_answers();
    let wrong = refused(zookeeper.broker(
        "x",
        "client.p12",
        "ca.p12",
        &[("zookeeper.ssl.truststore.password", "no")],
    ));
    assert!(wrong.contains("ca.p12: it is damaged, or the password is wrong"), "{wrong}");
}

/// `permissions scheme:id` of a znode; who may not read it may not read its ACL.
#[track_caller]
fn acl_of(client: &mut ZnodeClient, path: &str) -> Vec<String> {
    let reply = client.request(GET_ACL, &Body::default().string(path)).expect("ZooKeeper answers");
    if reply.error == NO_AUTH {
        return vec!["hidden".to_owned()];
    }
    assert_eq!(reply.error, 0, "{path}");
    let mut cursor = Cursor(&reply.body);
    let count = cursor.int();
    (0..count).map(|_| format!("{} {}:{}", cursor.int(), cursor.string(), cursor.string())).collect()
}

/// Path without `root` to ACL, of all znodes below that have lasting names.
fn acls_below(client: &mut ZnodeClient, root: &str) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    let mut paths = vec![root.to_owned()];
    while let Some(path) = paths.pop() {
        let request = Body::default().string(&path).bool(false);
        let reply = client.request(GET_CHILDREN, &request).expect("ZooKeeper answers");
        found.insert(path[root.len()..].to_owned(), acl_of(client, &path));
        // Where others may not look, nothing below can be compared.
        if reply.error == NO_AUTH {
            continue;
        }
        assert_eq!(reply.error, 0, "{path}");
        let mut cursor = Cursor(&reply.body);
        let count = cursor.int();
        for _ in 0..count {
            paths.push(format!("{path}/{}", cursor.string()));
        }
    }
    found
}

#[test]
fn a_login_by_sasl_guards_znodes_as_it_does_at_apache() {
    let folder = tempfile::Builder::new().prefix("odradek-sasl-").tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        format!("-Djava.security.auth.login.config={}", path.display())
    };
    const MODULE: &str = "org.apache.zookeeper.server.auth.DigestLoginModule required";
    let server = write("server.conf", &format!("Server {{\n  {MODULE}\n  user_kafka=\"secret\";\n}};\n"));
    let login = |password: &str| {
        format!("Client {{\n  {MODULE}\n  username=\"kafka\"\n  password=\"{password}\";\n}};\n")
    };
    let right = write("client.conf", &login("secret"));
    let wrong = write("wrong.conf", &login("guess"));
    let lines = "authProvider.sasl=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n";
    let zookeeper = Server::standalone(&folder.path().join("zookeeper"), free_port(), lines, &server);
    let connect = |chroot: &str| format!("127.0.0.1:{}/{chroot}", zookeeper.port);

    let settings = [("zookeeper.set.acl", "true")];
    let start = |kind, chroot, options: &str| {
        Broker::join_with(kind, 1, &connect(chroot), &settings, &[("KAFKA_OPTS", options)])
    };
    let mut brokers = [start(Kind::Ours, "ours", &right), start(Kind::Apache, "theirs", &right)];
    brokers.iter_mut().for_each(Broker::wait_until_it_answers);

    let mut client = ZnodeClient::open(zookeeper.address());
    let [ours, mut theirs] = ["/ours", "/theirs"].map(|root| acls_below(&mut client, root));
    // Ours comes with the first producer id.
    theirs.remove("/latest_producer_id_block");
    assert!(ours.contains_key("/controller") && ours.contains_key("/brokers/ids/1"), "{ours:?}");
    assert_eq!(ours["/brokers/ids/1"], ["31 sasl:kafka", "1 world:anyone"]);
    assert_eq!(ours["/config/users"], ["hidden"]);
    assert_eq!(ours, theirs);
    let write = Body::default().string("/ours/brokers/ids").buffer(Some(b"mine")).int(-1);
    assert_eq!(client.request(SET_DATA, &write).expect("ZooKeeper answers").error, NO_AUTH);

    let log = refused(start(Kind::Ours, "other", &wrong));
    assert!(log.contains("refused the login"), "{log}");
    let log = refused(start(Kind::Ours, "other", ""));
    assert!(log.contains("zookeeper.set.acl is true, but nobody logs in"), "{log}");
}
