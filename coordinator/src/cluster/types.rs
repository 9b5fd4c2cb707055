//! The words of the cluster plan: brokers, assignments, leaders.
//!
//! Values as they stand in ZooKeeper, without their encoding. They know no decision.

use std::collections::BTreeMap;
use std::sync::Arc;

use storage::types::{BrokerId, LeaderEpoch, TopicId};

/// How a listener is secured, with Kafka's number on the wire and its name in znodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl SecurityProtocol {
    const ALL: [SecurityProtocol; 4] = [
        SecurityProtocol::Plaintext,
        SecurityProtocol::Ssl,
        SecurityProtocol::SaslPlaintext,
        SecurityProtocol::SaslSsl,
    ];

    #[must_use]
    pub const fn id(self) -> i16 {
        match self {
            SecurityProtocol::Plaintext => 0,
            SecurityProtocol::Ssl => 1,
            SecurityProtocol::SaslPlaintext => 2,
            SecurityProtocol::SaslSsl => 3,
        }
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            SecurityProtocol::Plaintext => "PLAINTEXT",
            SecurityProtocol::Ssl => "SSL",
            SecurityProtocol::SaslPlaintext => "SASL_PLAINTEXT",
            SecurityProtocol::SaslSsl => "SASL_SSL",
        }
    }

    /// `None` where Kafka knows no protocol of that name (any case is accepted, as Kafka does).
    #[must_use]
    pub fn parse(name: &str) -> Option<SecurityProtocol> {
        Self::ALL.into_iter().find(|protocol| protocol.name().eq_ignore_ascii_case(name))
    }
}

/// One advertised address of a broker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Upper case, as Kafka normalises listener names.
    pub listener: String,
    pub host: String,
    /// Range: `0..=65535`; `-1` where a broker registered none.
    pub port: i32,
    pub protocol: SecurityProtocol,
}

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LiveBroker {
    pub id: BrokerId,
    /// `czxid` of its registration: grows with each registration, so a bounce shows.
    pub epoch: i64,
    pub rack: Option<String>,
    pub endpoints: Vec<Endpoint>,
}

/// Who shall hold a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// The first one is the preferred leader. While reassigning: the new ones, then the old ones.
    pub replicas: Vec<BrokerId>,
    pub adding: Vec<BrokerId>,
    pub removing: Vec<BrokerId>,
}

impl Assignment {
    #[must_use]
    pub fn of(replicas: Vec<BrokerId>) -> Assignment {
        Assignment { replicas, ..Assignment::default() }
    }

    #[must_use]
    pub fn is_being_reassigned(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// The replicas before the reassignment began.
    pub fn origin(&self) -> impl Iterator<Item = BrokerId> {
        self.replicas.iter().copied().filter(|replica| !self.adding.contains(replica))
    }

    /// The same partition on its way to `target`: the targets first, then what of the original ones is to go.
    #[must_use]
    pub fn reassigned_to(&self, target: &[BrokerId]) -> Assignment {
        let origin: Vec<BrokerId> = self.origin().collect();
        let mut replicas: Vec<BrokerId> = Vec::with_capacity(target.len() + origin.len());
        for id in target.iter().chain(&origin) {
            if !replicas.contains(id) {
                replicas.push(*id);
            }
        }
        let adding = replicas.iter().copied().filter(|id| !origin.contains(id)).collect();
        let removing = replicas.iter().copied().filter(|id| !target.contains(id)).collect();
        Assignment { replicas, adding, removing }
    }

    pub(super) fn replicas_outside<'a>(
        &'a self,
        others: &'a [BrokerId],
    ) -> impl Iterator<Item = BrokerId> + 'a {
        self.replicas.iter().copied().filter(|id| !others.contains(id))
    }

    pub(super) fn without(&self, replica: BrokerId) -> Assignment {
        let others = |ids: &[BrokerId]| ids.iter().copied().filter(|id| *id != replica).collect();
        Assignment {
            replicas: others(&self.replicas),
            adding: others(&self.adding),
            removing: others(&self.removing),
        }
    }

    /// The replicas when the reassignment is through.
    pub fn target(&self) -> impl Iterator<Item = BrokerId> {
        self.replicas.iter().copied().filter(|replica| !self.removing.contains(replica))
    }
}

/// Whether a leader was elected out of sync and may miss records it must recover (KIP-704).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recovery {
    #[default]
    Recovered,
    Recovering,
}

impl Recovery {
    /// As in requests and in the state znode.
    #[must_use]
    pub const fn id(self) -> i8 {
        match self {
            Recovery::Recovered => 0,
            Recovery::Recovering => 1,
        }
    }
}

/// Leader and in-sync replicas of a partition, as its state znode has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// `BrokerId::NONE` while there is none.
    pub leader: BrokerId,
    pub leader_epoch: LeaderEpoch,
    /// Never empty: the last one stays even when it is dead.
    pub isr: Vec<BrokerId>,
    pub recovery: Recovery,
    /// Epoch of the controller that wrote it.
    pub controller_epoch: i32,
    /// `dataVersion` of the znode: the partition epoch. A write must name it.
    pub version: i32,
}

/// A topic as its znode has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRecord {
    pub name: Arc<str>,
    /// `None` where a tool before 2.8 or an old cluster made the topic.
    pub id: Option<TopicId>,
    pub assignments: BTreeMap<i32, Assignment>,
}
