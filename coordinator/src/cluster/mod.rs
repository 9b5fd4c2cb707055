//! The cluster plan: what a controller decides when brokers, topics and partitions change.
//!
//! Always true here: an event goes in; fenced operations and requests to brokers come out. This room knows no ZooKeeper
//! client, no JSON and no wire format.

mod assignment;
mod batch;
mod brokers;
mod controller;
mod deletion;
mod election;
mod image;
mod plan;
mod reassignment;
mod requests;
#[cfg(test)]
mod tests;
mod topics;
mod transitions;
mod types;

pub use assignment::{AssignmentError, Placement, assign_replicas};
pub use controller::Controller;
pub use image::{Deletion, Image, Partition, PartitionPhase, ReplicaPhase, Topic};
pub use plan::{
    AlterRefusal, ElectionKind, ElectionRefusal, Event, IsrChange, Loaded, MetadataNews, Operation, Outcome,
    PartitionNews, ReassignRefusal, ReplicaOrder, Reply, Request, RequestBody, Settings, ShutdownRefusal,
    Step, StopOrder, Ticket,
};
pub use types::{Assignment, Endpoint, Leadership, LiveBroker, Recovery, SecurityProtocol, TopicRecord};
