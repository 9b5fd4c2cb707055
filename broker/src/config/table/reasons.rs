//! Why a key has no effect, or may only keep its default. Ends of sentences, without a full stop.

pub(super) const THREADS: &str = "it sizes thread pools of the Java broker, and this one sizes its own";
pub(super) const QUEUE: &str = "it sizes a queue of the Java broker, and requests are not queued here";
pub(super) const PURGATORY: &str =
    "it tunes the Java broker's lists of waiting requests, and there are none here";
pub(super) const LOADING: &str = "it sizes a buffer of the Java broker, and loading needs no such size here";
pub(super) const JMX: &str = "it concerns the metrics of the Java broker, and there is no JMX here";
pub(super) const KRAFT: &str = "it belongs to KRaft mode, and this broker works with ZooKeeper";
pub(super) const BUFFER: &str =
    "it sizes a buffer of the Java broker, and cleaners read in steps of 1 MiB here";
pub(super) const LINGER: &str =
    "it tunes the Java broker's writes to the offsets topic, and nothing is held back here";
pub(super) const SHARE_GROUPS: &str = "it concerns share groups, which are not offered";
pub(super) const REMOTE: &str = "it concerns tiered storage, which stays off";
pub(super) const AUTHENTICATION: &str = "nobody authenticates yet";
pub(super) const TOKENS: &str = "delegation tokens are not supported yet";
pub(super) const FORMAT: &str =
    "as in Kafka, an inter.broker.protocol.version from 3.0 on fixes the message format to version 2";

pub(super) const KRAFT_MODE: &str = "KRaft mode is not supported, this broker works with ZooKeeper";
pub(super) const MIGRATION: &str = "a migration to KRaft is not supported";
pub(super) const REMOTE_OFF: &str = "tiered storage is not supported";
pub(super) const NEW_GROUPS: &str = "classic groups are always offered, and share groups are not";
pub(super) const ONE_COORDINATOR: &str = "one coordinator serves both group protocols here";
pub(super) const ASSIGNORS: &str = "Java classes cannot be loaded, but these two are built in";
pub(super) const UNSTABLE: &str = "only released versions are offered";
pub(super) const CLASS: &str = "Java classes cannot be loaded";
pub(super) const METRICS: &str = "Java classes cannot be loaded, and there is no JMX here";
pub(super) const BETWEEN_BROKERS: &str = "this broker speaks the versions 3.0 to 3.9 to others";
pub(super) const REPLICATION_CLASS: &str = "Java classes cannot be loaded, but these two are built in";
pub(super) const CONTROL_PLANE: &str = "there is no separate listener for the controller yet";
pub(super) const SECURITY: &str = "only PLAINTEXT is supported yet";
pub(super) const SECURITY_CLASS: &str = "Java classes cannot be loaded";
pub(super) const AUTHORIZER: &str = "authorization is not supported yet";
pub(super) const TLS: &str = "TLS is not supported yet";
pub(super) const SASL: &str = "SASL is not supported yet";
pub(super) const PASSWORDS: &str = "passwords in dynamic configs are not supported yet";
pub(super) const REVOCATION: &str = "nothing asks whether certificates were revoked";
