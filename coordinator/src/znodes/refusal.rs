//! Why a request is refused, in ZooKeeper's own terms.

/// A refusal and its number on the wire (`KeeperException.Code`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("an earlier operation of the same multi failed")]
    RuntimeInconsistency,
    #[error("the request cannot be decoded")]
    Marshalling,
    #[error("the operation is not offered")]
    Unimplemented,
    #[error("an argument is invalid")]
    BadArguments,
    #[error("the session is not known")]
    UnknownSession,
    #[error("the znode does not exist")]
    NoNode,
    #[error("the access control list does not allow it")]
    NoAuth,
    #[error("the version is not the expected one")]
    BadVersion,
    #[error("an ephemeral znode has no children")]
    NoChildrenForEphemerals,
    #[error("the znode exists")]
    NodeExists,
    #[error("the znode has children")]
    NotEmpty,
    #[error("the session has expired")]
    SessionExpired,
    #[error("the access control list is invalid")]
    InvalidAcl,
    #[error("authentication failed")]
    AuthFailed,
    #[error("no such watch")]
    NoWatcher,
    #[error("reconfiguration is disabled")]
    ReconfigDisabled,
    #[error("the connection holds too many watches")]
    Throttled,
}

impl Refusal {
    /// The error code of the reply header.
    pub fn code(self) -> i32 {
        match self {
            Refusal::RuntimeInconsistency => -2,
            Refusal::Marshalling => -5,
            Refusal::Unimplemented => -6,
            Refusal::BadArguments => -8,
            Refusal::UnknownSession => -12,
            Refusal::NoNode => -101,
            Refusal::NoAuth => -102,
            Refusal::BadVersion => -103,
            Refusal::NoChildrenForEphemerals => -108,
            Refusal::NodeExists => -110,
            Refusal::NotEmpty => -111,
            Refusal::SessionExpired => -112,
            Refusal::InvalidAcl => -114,
            Refusal::AuthFailed => -115,
            Refusal::NoWatcher => -121,
            Refusal::ReconfigDisabled => -123,
            Refusal::Throttled => -127,
        }
    }
}
