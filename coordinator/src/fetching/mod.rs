//! Fetch sessions (KIP-227): what a fetcher need not say again, and what it need not be told again.
//!
//! Always true: a session's epoch grows with every accepted request, so a request that was lost or doubled is noticed; the
//! partitions that were answered with records move behind the others, so that none starves. Knows no wire format and no
//! lock; `broker/src/fetching` has both.

mod asking;
mod partitions;
mod session;
mod slots;

pub use asking::{Ask, AskingSession, Draft, Named, Told};
pub use partitions::{Slot, TopicRef};
pub use session::{
    Accepted, Answered, Entry, FINAL_EPOCH, INITIAL_EPOCH, Session, SessionError, Wanted, next_epoch,
};
pub use slots::{EVICTION_MS, Opened, SessionSlots};
