//! Fetch: which partitions a fetcher wants (its session), reading them within the request's budget, waiting until
//! there is enough, and the answer in the request's version.
//!
//! The rules of sessions are `coordinator::fetching`; here are their locks. A fetch that waits holds no records, no lock
//! and no thread: it is a future that a partition's move wakes.

mod answer;
mod asked;
mod reading;
mod sessions;

pub(crate) use answer::{Answer, LeaderHint, Style, TopicStyle, empty, respond, size};
pub(crate) use asked::Asked;
pub(crate) use reading::{FetchParams, Source, fetch};
pub(crate) use sessions::FetchSessions;
