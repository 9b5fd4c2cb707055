//! Where the cluster keeps its metadata, and the coordinator this broker starts itself where nobody names one.

use super::reasons::{KRAFT, MIGRATION, REVOCATION};
use crate::config::key::{Key, keys};

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = keys! {
    "zookeeper.connect": Text = None, Any, High, ReadOnly => Honoured,
        "Servers of the ZooKeeper ensemble, host:port separated by commas, with an optional chroot path at the \
         end. Left out, the broker starts its own coordinator on this machine.";
    "zookeeper.connection.timeout.ms": Int = None, Any, High, ReadOnly => Honoured,
        "How long the start waits for ZooKeeper, in ms. Left out, zookeeper.session.timeout.ms is used.";
    "zookeeper.session.timeout.ms": Int = Some("18000"), Any, High, ReadOnly => Honoured,
        "Session timeout asked of ZooKeeper, in ms: a broker that is silent for longer loses its registration.";
    "zookeeper.max.in.flight.requests": Int = Some("10"), AtLeast(1.0), High, ReadOnly => Honoured,
        "Requests sent to ZooKeeper without waiting for an answer.";
    "zookeeper.set.acl": Boolean = Some("false"), Any, High, ReadOnly => Honoured,
        "Whether only brokers may write the znodes they create. Needs a login file (KAFKA_OPTS) or a client certificate.";
    "zookeeper.clientCnxnSocket": Text = None, Any, Medium, ReadOnly => Honoured,
        "org.apache.zookeeper.ClientCnxnSocketNetty where the connection to ZooKeeper is encrypted.";
    "zookeeper.ssl.cipher.suites": List = None, Any, Low, ReadOnly => Honoured,
        "Cipher suites offered to ZooKeeper, in Java's names. Left out, all that are known.";
    "zookeeper.ssl.client.enable": Boolean = Some("false"), Any, Medium, ReadOnly => Honoured,
        "Whether the connection to ZooKeeper is encrypted. Needs zookeeper.clientCnxnSocket and a truststore.";
    "zookeeper.ssl.crl.enable": Boolean = Some("false"), Any, Low, ReadOnly => OnlyDefault(REVOCATION),
        "Whether ZooKeeper's certificate is looked up in lists of revoked ones.";
    "zookeeper.ssl.enabled.protocols": List = None, Any, Low, ReadOnly => Honoured,
        "TLSv1.2, TLSv1.3 or both. Left out, what zookeeper.ssl.protocol says.";
    "zookeeper.ssl.endpoint.identification.algorithm": Text = Some("HTTPS"), Any, Low, ReadOnly => Honoured,
        "HTTPS: ZooKeeper's certificate must have the name that zookeeper.connect calls it by; empty: any name will do.";
    "zookeeper.ssl.keystore.location": Text = None, Any, Medium, ReadOnly => Honoured,
        "File with the private key and certificate that the broker shows to ZooKeeper.";
    "zookeeper.ssl.keystore.password": Password = None, Any, Medium, ReadOnly => Honoured,
        "Password of that file and of the key in it.";
    "zookeeper.ssl.keystore.type": Text = None, Any, Medium, ReadOnly => Honoured,
        "PEM, PKCS12 or JKS. Left out, the file's name tells: .pem, .p12, .pfx, .jks.";
    "zookeeper.ssl.ocsp.enable": Boolean = Some("false"), Any, Low, ReadOnly => OnlyDefault(REVOCATION),
        "Whether a service is asked if ZooKeeper's certificate was revoked.";
    "zookeeper.ssl.protocol": Text = Some("TLSv1.2"), Any, Low, ReadOnly => Honoured,
        "TLSv1.2 or TLSv1.3, where zookeeper.ssl.enabled.protocols does not say it.";
    "zookeeper.ssl.truststore.location": Text = None, Any, Medium, ReadOnly => Honoured,
        "File with the certificates of those whose word for ZooKeeper's certificate is taken.";
    "zookeeper.ssl.truststore.password": Password = None, Any, Medium, ReadOnly => Honoured,
        "Password of that file.";
    "zookeeper.ssl.truststore.type": Text = None, Any, Medium, ReadOnly => Honoured,
        "PEM, PKCS12 or JKS. Left out, the file's name tells: .pem, .p12, .pfx, .jks.";
    "zookeeper.metadata.migration.enable": Boolean = Some("false"), Any, High, ReadOnly => OnlyDefault(MIGRATION),
        "Whether the broker takes part in a migration from ZooKeeper to KRaft.";
    [Internal] "zookeeper.metadata.migration.min.batch.size": Int = Some("200"), AtLeast(1.0), Medium, ReadOnly
        => NoEffect(KRAFT),
        "Soft minimum of records in a batch of the migration to KRaft.";
    [Ours] "zookeeper.embedded.port": Int = Some("2181"), Between(0.0, 65535.0), High, ReadOnly => Honoured,
        "Where zookeeper.connect is left out: port on 127.0.0.1 of the coordinator this broker starts; 0 takes \
         a free one. Only this broker knows this key.";
    [Ours] "zookeeper.embedded.data.dir": Text = None, NonEmpty, High, ReadOnly => Honoured,
        "Where zookeeper.connect is left out: directory of that coordinator's data, outside every log \
         directory. Left out, it is the first log directory's path with -zookeeper added. Only this broker \
         knows this key.";
};
