//! A cluster in one thread: the controller's plan, leaders, followers and ZooKeeper's tree of `coordinator`, on a network
//! and a clock that a seed decides. Whatever breaks, what was promised must hold.
//!
//! `ODRADEK_SEED=n` replays one run with its trace; `ODRADEK_SOAK=1` tries many more. See CONTRIBUTING.

mod candidate;
mod ensemble;
mod faults;
mod log;
mod messages;
mod outside;
mod process;
mod random;
mod replica;
mod scenario;
mod sentences;
mod session;
mod term;
mod texts;
mod truth;
mod world;
