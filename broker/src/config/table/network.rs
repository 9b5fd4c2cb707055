//! Listeners and connections.

use super::reasons::{AUTHENTICATION, CONTROL_PLANE, QUEUE, SECURITY, THREADS};
use crate::config::key::{Key, keys};

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = keys! {
    "listeners": Text = Some("PLAINTEXT://:9092"), Any, High, PerBroker => Honoured,
        "Where the broker listens: NAME://host:port separated by commas; an empty host is every interface.";
    "advertised.listeners": Text = None, Any, High, PerBroker => Honoured,
        "What clients are told to connect to. Left out, listeners.";
    "listener.security.protocol.map": Text =
        Some("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT"), Any, Low, PerBroker
        => Honoured,
        "Security protocol of each listener name: NAME:PROTOCOL separated by commas.";
    "inter.broker.listener.name": Text = None, Any, Medium, ReadOnly => Honoured,
        "Listener that brokers use among themselves. Left out, the one named after security.inter.broker.protocol.";
    "security.inter.broker.protocol": Text =
        Some("PLAINTEXT"), OneOf(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]), Medium, ReadOnly
        => OnlyDefault(SECURITY),
        "Security protocol between brokers, where inter.broker.listener.name is not given.";
    "control.plane.listener.name": Text = None, Any, High, ReadOnly => OnlyDefault(CONTROL_PLANE),
        "Listener kept for the controller's requests.";
    "num.network.threads": Int = Some("3"), AtLeast(1.0), High, ClusterWide => NoEffect(THREADS),
        "Threads that read requests and write answers.";
    "socket.send.buffer.bytes": Int = Some("102400"), Any, High, ReadOnly => Honoured,
        "SO_SNDBUF of accepted connections, in bytes; -1 leaves the system's default.";
    "socket.receive.buffer.bytes": Int = Some("102400"), Any, High, ReadOnly => Honoured,
        "SO_RCVBUF of accepted connections, in bytes; -1 leaves the system's default.";
    "socket.request.max.bytes": Int = Some("104857600"), AtLeast(1.0), High, ReadOnly => Honoured,
        "Largest request accepted, in bytes; a longer one closes the connection.";
    "socket.listen.backlog.size": Int = Some("50"), AtLeast(1.0), Medium, ReadOnly => Honoured,
        "Connections that may wait to be accepted; the system's own limit holds too.";
    "socket.connection.setup.timeout.ms": Long = Some("10000"), Any, Medium, ReadOnly => Honoured,
        "First patience for a connection to another broker, in ms.";
    "socket.connection.setup.timeout.max.ms": Long = Some("30000"), Any, Medium, ReadOnly => Honoured,
        "Longest patience for a connection to another broker, in ms; every attempt that fails doubles it.";
    "max.connections": Int = Some("2147483647"), AtLeast(0.0), Medium, ClusterWide => Honoured,
        "Connections of this broker at once; listener.name.NAME.max.connections limits one listener.";
    "max.connections.per.ip": Int = Some("2147483647"), AtLeast(0.0), Medium, ClusterWide => Honoured,
        "Connections from one address at once.";
    "max.connections.per.ip.overrides": Text = Some(""), Any, Medium, ClusterWide => Honoured,
        "Exceptions to max.connections.per.ip: host:count separated by commas.";
    "max.connection.creation.rate": Int = Some("2147483647"), AtLeast(0.0), Medium, ClusterWide => Honoured,
        "New connections per second; further ones wait. listener.name.NAME.max.connection.creation.rate limits one \
         listener.";
    "connections.max.idle.ms": Long = Some("600000"), Any, Medium, ReadOnly => Honoured,
        "A connection without traffic for longer is closed. In ms.";
    "connection.failed.authentication.delay.ms": Int = Some("100"), AtLeast(0.0), Low, ReadOnly
        => NoEffect(AUTHENTICATION),
        "How long a failed authentication is kept waiting for its close, in ms.";
    "queued.max.requests": Int = Some("500"), AtLeast(1.0), High, ReadOnly => NoEffect(QUEUE),
        "Requests that may wait for a thread.";
    "queued.max.request.bytes": Long = Some("-1"), Any, Medium, ReadOnly => Honoured,
        "Bytes of requests that may be in memory at once; further ones are not read meanwhile. 0 or less is no limit.";
};
