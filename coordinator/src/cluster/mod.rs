//! The cluster plan: what a controller decides when brokers, topics and partitions change.
//!
//! Always true here: an event goes in; fenced writes and requests to brokers come out. This room knows no ZooKeeper
//! client, no JSON and no wire format.

mod assignment;
mod types;

pub use assignment::{AssignmentError, Placement, assign_replicas};
pub use types::{Assignment, Endpoint, Leadership, LiveBroker, Recovery, SecurityProtocol, TopicRecord};
