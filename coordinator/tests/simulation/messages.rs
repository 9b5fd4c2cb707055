//! What brokers, their controller, producers and ZooKeeper say to each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coordinator::cluster::{IsrChange, RequestBody};
use coordinator::replication::{EpochEnd, LeaderError, Question};
use coordinator::znodes::{Outcome, Rejection, SessionId, Stat, Write};
use storage::types::{BrokerId, Offset, TopicPartition};

use super::log::Record;

/// One run of the process of a broker, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life {
    pub(crate) broker: BrokerId,
    pub(crate) number: u32,
}

impl std::fmt::Display for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "broker {} (life {})", self.broker, self.number)
    }
}

/// Where messages start and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Broker(BrokerId),
    ZooKeeper,
    Clients,
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    Broker(Life),
    Client,
}

/// A request to a broker.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Control { controller: BrokerId, controller_epoch: i32, broker_epoch: i64, order: RequestBody },
    Ask { partition: TopicPartition, follower: BrokerId, broker_epoch: i64, question: Question },
    AlterPartition { broker: BrokerId, broker_epoch: i64, change: IsrChange },
    ControlledShutdown { broker: BrokerId, broker_epoch: i64 },
    Produce { partition: TopicPartition, value: u64, acks_all: bool },
}

#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// `None`: the whole request was refused. Else the partitions that took their order.
    Control(Option<BTreeSet<TopicPartition>>),
    Records {
        records: Vec<Record>,
        high_watermark: Offset,
    },
    Diverging(EpochEnd),
    EpochEnd(EpochEnd),
    Offset(Offset),
    LeaderError(LeaderError),
    /// As the plan says it; `None`: this broker is not the controller.
    Controller(Option<coordinator::cluster::Reply>),
    Produced(Result<Offset, &'static str>),
}

/// In whose name a controller writes.
#[derive(Clone, Debug)]
pub(crate) struct Office {
    pub(crate) epoch: i32,
    /// The registrations it knows of.
    pub(crate) known: Arc<BTreeMap<BrokerId, i64>>,
}

/// A request to ZooKeeper.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Ping,
    Multi {
        writes: Vec<Write>,
        /// A controller writes.
        office: Option<Office>,
    },
    Get {
        path: String,
        watch: bool,
    },
    Children {
        path: String,
        watch: bool,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum Found {
    Pong,
    Multi(Result<Vec<Outcome>, Rejection>),
    Node(Option<(Vec<u8>, Stat)>),
    Children(Option<Vec<String>>),
}

/// From a client of ZooKeeper, over one connection.
#[derive(Clone, Debug)]
pub(crate) enum ToZooKeeper {
    /// With the session it had, and what it watches: data and child watches by path.
    Connect {
        session: Option<SessionId>,
        seen: i64,
        watched: Watched,
    },
    Call {
        id: u64,
        call: Call,
    },
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Watched {
    pub(crate) data: BTreeSet<String>,
    pub(crate) exist: BTreeSet<String>,
    pub(crate) children: BTreeSet<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum FromZooKeeper {
    Connected(SessionId),
    Expired,
    Answer {
        id: u64,
        found: Found,
    },
    /// Something happened there; the watch is spent.
    Event {
        path: String,
    },
}

/// Counters of a run, for the summary.
pub(crate) type Counts = BTreeMap<&'static str, u64>;
