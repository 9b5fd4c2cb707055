//! Load for the coordinators of groups and of transactions: many members, many commits, many transactions.
//!
//! A client of the wire protocol that drives any broker alike, and reads the broker's CPU time beside it. Prints one
//! figure a line (name, value, unit, between tabs) and its progress on stderr. `scripts/bench --groups` starts the brokers
//! and puts the figures beside each other.

mod broker;
mod groups;
mod members;
mod state;
mod transactions;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};

use self::broker::Broker;

#[derive(Parser)]
#[command(about = "Load for the coordinators of groups and of transactions")]
struct Arguments {
    #[command(subcommand)]
    load: Option<Load>,
    /// What `cargo bench` adds.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

/// Whom to load.
#[derive(Args)]
struct Target {
    #[arg(long)]
    broker: SocketAddr,
    /// Its process, whose CPU time is read.
    #[arg(long)]
    pid: libc::pid_t,
}

/// How long.
#[derive(Args)]
struct Span {
    /// Seconds of load before anything is measured.
    #[arg(long, default_value_t = 10.0)]
    warm_up: f64,
    /// Seconds measured.
    #[arg(long, default_value_t = 15.0)]
    seconds: f64,
}

impl Span {
    fn warm_up(&self) -> Duration {
        Duration::from_secs_f64(self.warm_up)
    }

    fn measured(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

#[derive(Subcommand)]
enum Load {
    /// Members of classic groups, alive and nothing else.
    Heartbeats {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        span: Span,
        #[arg(long, default_value_t = 1_000)]
        groups: usize,
        /// Of all groups together.
        #[arg(long, default_value_t = 10_000)]
        members: usize,
        /// `heartbeat.interval.ms` of each.
        #[arg(long, default_value_t = 3_000)]
        interval_ms: u64,
        /// Connections that they share; one each where that is more than there are members.
        #[arg(long, default_value_t = usize::MAX)]
        connections: usize,
    },
    /// Members commit one after the other, as fast as they are answered.
    Commits {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        span: Span,
        #[arg(long)]
        groups: usize,
        /// Of all groups together.
        #[arg(long)]
        members: usize,
        /// Offsets in one commit.
        #[arg(long, default_value_t = 1)]
        partitions: i32,
        /// Commits under way at the same time.
        #[arg(long, default_value_t = 50)]
        connections: usize,
    },
    /// One group begins a new generation, again and again.
    Rebalances {
        #[command(flatten)]
        target: Target,
        #[arg(long, default_value_t = 1_000)]
        members: usize,
        #[arg(long, default_value_t = 5)]
        warm_up: usize,
        #[arg(long, default_value_t = 10)]
        rounds: usize,
    },
    /// Producers begin, write to and commit one transaction after the other.
    Transactions {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        span: Span,
        #[arg(long, default_value_t = 20)]
        producers: usize,
        /// Partitions of one transaction.
        #[arg(long, default_value_t = 1)]
        partitions: i32,
    },
    /// Leaves something for the broker to remember.
    Leave {
        #[arg(long)]
        broker: SocketAddr,
        #[command(subcommand)]
        what: Left,
    },
    /// Waits until the coordinator of what was left answers for it.
    Await {
        #[arg(long)]
        broker: SocketAddr,
        #[command(subcommand)]
        what: Awaited,
    },
}

#[derive(Subcommand)]
enum Left {
    /// Groups without members, with offsets.
    Groups {
        #[arg(long)]
        count: usize,
        #[arg(long, default_value_t = 1)]
        partitions: i32,
    },
    /// Members that stay in their groups although their connections are gone.
    Members {
        #[arg(long)]
        groups: usize,
        /// Of all groups together.
        #[arg(long)]
        count: usize,
    },
    /// Idempotent producers that wrote one batch each.
    ProducerIds {
        #[arg(long)]
        count: usize,
    },
    TransactionalIds {
        #[arg(long)]
        count: usize,
    },
}

#[derive(Subcommand)]
enum Awaited {
    Groups,
    TransactionalIds,
}

/// One thread: the broker has the other core to itself.
#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    match Arguments::parse().load {
        Some(load) => run(load).await,
        None => Arguments::command().print_help(),
    }
}

async fn run(load: Load) -> io::Result<()> {
    match load {
        Load::Heartbeats { target, span, groups, members, interval_ms, connections } => {
            let broker = Broker::ready(target.broker, Some(target.pid)).await?;
            let interval = Duration::from_millis(interval_ms);
            groups::heartbeats(&broker, &span, groups, members, interval, connections).await
        }
        Load::Commits { target, span, groups, members, partitions, connections } => {
            let broker = Broker::ready(target.broker, Some(target.pid)).await?;
            groups::commits(&broker, &span, groups, members, partitions, connections).await
        }
        Load::Rebalances { target, members, warm_up, rounds } => {
            let broker = Broker::ready(target.broker, Some(target.pid)).await?;
            groups::rebalances(&broker, members, warm_up, rounds).await
        }
        Load::Transactions { target, span, producers, partitions } => {
            let broker = Broker::ready(target.broker, Some(target.pid)).await?;
            transactions::transactions(&broker, &span, producers, partitions).await
        }
        Load::Leave { broker, what } => {
            let broker = Broker::ready(broker, None).await?;
            match what {
                Left::Groups { count, partitions } => state::leave_groups(&broker, count, partitions).await,
                Left::Members { groups, count } => members::assemble(&broker, groups, count).await.map(drop),
                Left::ProducerIds { count } => state::leave_producer_ids(&broker, count).await,
                Left::TransactionalIds { count } => state::leave_transactional_ids(&broker, count).await,
            }
        }
        Load::Await { broker, what } => match what {
            Awaited::Groups => state::await_groups(broker).await,
            Awaited::TransactionalIds => state::await_transactional_ids(broker).await,
        },
    }
}
