//! Quotas as administrators ask for them and as ZooKeeper keeps them. What they do to clients is in `crate::quota`.

pub(crate) mod alter;
pub(crate) mod describe;
pub(crate) mod stored;
