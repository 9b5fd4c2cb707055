//! The four-letter words: `ruok stat srvr mntr conf cons`, answered as ZooKeeper 3.8 does.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use storage::disk::{Disk as _, OsDisk};

use super::core::{Core, wall_clock_ms};

/// ZooKeeper's other words. They are known, and off unless whitelisted.
const OTHERS: [&str; 15] = [
    "crst", "dump", "envi", "gtmk", "isro", "srst", "stmk", "wchc", "wchp", "wchs", "dirs", "hash", "icfg",
    "lead", "obsr",
];

/// Tools look for a version in this form; it names the protocol's and ours.
const VERSION: &str = concat!("3.8.4-odradek-", env!("CARGO_PKG_VERSION"), ", embedded in the broker");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Ruok,
    Stat,
    Srvr,
    Mntr,
    Conf,
    Cons,
}

impl Word {
    /// `None`: not a word, hence a length. `Some(Err)`: what is said of a word that is off.
    pub(super) fn known(bytes: [u8; 4]) -> Option<Result<Word, String>> {
        let text = std::str::from_utf8(&bytes).ok()?;
        Some(Ok(match text {
            "ruok" => Word::Ruok,
            "stat" => Word::Stat,
            "srvr" => Word::Srvr,
            "mntr" => Word::Mntr,
            "conf" => Word::Conf,
            "cons" => Word::Cons,
            other if OTHERS.contains(&other) => {
                return Some(Err(format!("{other} is not executed because it is not in the whitelist.\n")));
            }
            _ => return None,
        }))
    }
}

impl Core {
    pub(super) fn word(&self, word: Word, peer: SocketAddr) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = match word {
            Word::Ruok => text.write_str("imok"),
            Word::Stat => self.stat(&mut text, Some(peer)),
            Word::Srvr => self.stat(&mut text, None),
            Word::Mntr => self.monitor(&mut text),
            Word::Conf => self.configuration(&mut text),
            Word::Cons => self.connections(&mut text, peer),
        };
        text
    }

    fn stat(&self, text: &mut String, peer: Option<SocketAddr>) -> std::fmt::Result {
        writeln!(text, "Zookeeper version: {VERSION}")?;
        if let Some(peer) = peer {
            writeln!(text, "Clients:")?;
            self.each_connection(text, peer, false)?;
            writeln!(text)?;
        }
        let counters = &self.counters;
        writeln!(
            text,
            "Latency min/avg/max: {}/{}/{}",
            counters.latency_min_ms(),
            tenths(counters.latency_average_ms()),
            counters.latency_max_ms()
        )?;
        writeln!(text, "Received: {}", counters.received)?;
        writeln!(text, "Sent: {}", counters.sent)?;
        writeln!(text, "Connections: {}", self.links.len() + usize::from(peer.is_some()))?;
        writeln!(text, "Outstanding: 0")?;
        writeln!(text, "Zxid: {:#x}", self.tree.zxid().0)?;
        writeln!(text, "Mode: standalone")?;
        // ZooKeeper counts the root's second name too.
        writeln!(text, "Node count: {}", self.tree.node_count() + 1)
    }

    fn connections(&self, text: &mut String, peer: SocketAddr) -> std::fmt::Result {
        self.each_connection(text, peer, true)?;
        writeln!(text)
    }

    /// The one that asks is a connection, too.
    fn each_connection(&self, text: &mut String, peer: SocketAddr, full: bool) -> std::fmt::Result {
        let started_ms =
            wall_clock_ms().saturating_sub(i64::try_from(self.now().as_millis()).unwrap_or(i64::MAX));
        for link in self.links.values() {
            let (ledger, counters) = (&link.ledger, &link.ledger.counters);
            write!(text, " /{}[1](queued=0,recved={},sent={}", link.peer, counters.received, counters.sent)?;
            if full {
                write!(text, ",sid={:#x},lop={}", link.session.0, ledger.last_operation)?;
                write!(text, ",est={},to={}", ledger.established_ms, link.timeout.as_millis())?;
                if let Some(xid) = ledger.last_xid {
                    write!(text, ",lcxid={xid:#x}")?;
                }
                let last_reply =
                    started_ms.saturating_add(i64::try_from(ledger.last_reply.as_millis()).unwrap_or(0));
                write!(text, ",lzxid={:#x},lresp={last_reply}", ledger.last_zxid)?;
                write!(text, ",llat={},minlat={}", counters.latency_last_ms(), counters.latency_min_ms())?;
                write!(
                    text,
                    ",avglat={},maxlat={}",
                    counters.latency_average_ms() as u64,
                    counters.latency_max_ms()
                )?;
            }
            writeln!(text, ")")?;
        }
        writeln!(text, " /{peer}[0](queued=0,recved=1,sent=0)")
    }

    /// ZooKeeper's gauges, and of its counters those that have a counterpart here: it has more than 400 others about the
    /// queues between its threads, its ensemble and its Java machine.
    fn monitor(&self, text: &mut String) -> std::fmt::Result {
        let (counters, tally, traffic) = (&self.counters, &self.tally, &self.shared.traffic);
        let size = |size: Option<usize>| size.map_or(-1, |size| i64::try_from(size).unwrap_or(i64::MAX));
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (open_files, open_files_max) = file_descriptors();
        let (remote, local): (Vec<_>, Vec<_>) =
            self.links.values().map(|link| link.peer.ip()).partition(|ip| !ip.is_loopback());
        let mut line = |key: &str, value: &dyn std::fmt::Display| writeln!(text, "zk_{key}\t{value}");
        line("version", &VERSION)?;
        line("server_state", &"standalone")?;
        line("ephemerals_count", &self.tree.ephemeral_count())?;
        // The one that asks is a connection, too.
        line("num_alive_connections", &(self.links.len() + 1))?;
        line("avg_latency", &tenths(counters.latency_average_ms()))?;
        line("outstanding_requests", &0)?;
        line("znode_count", &(self.tree.node_count() + 1))?;
        line("global_sessions", &self.tree.sessions().count())?;
        line("local_sessions", &0)?;
        line("non_mtls_remote_conn_count", &remote.len())?;
        line("non_mtls_local_conn_count", &local.len())?;
        line("outstanding_tls_handshake", &0)?;
        line("connection_drop_probability", &tenths(0.0))?;
        line("last_client_response_size", &size(counters.answers.last))?;
        line("min_client_response_size", &size(counters.answers.min))?;
        line("max_client_response_size", &size(counters.answers.max))?;
        line("packets_sent", &counters.sent)?;
        line("packets_received", &counters.received)?;
        line("min_latency", &counters.latency_min_ms())?;
        line("max_latency", &counters.latency_max_ms())?;
        line("watch_count", &self.watches.count())?;
        line("auth_failed_count", &tally.auth_failed)?;
        line("approximate_data_size", &self.tree.data_bytes())?;
        line("open_file_descriptor_count", &open_files)?;
        line("max_file_descriptor_count", &open_files_max)?;
        line("uptime", &self.now().as_millis())?;
        line("commit_count", &tally.changes)?;
        line("snap_count", &self.journal.snapshots.count)?;
        line("stale_sessions_expired", &tally.sessions_expired)?;
        line("connection_drop_count", &tally.cut_off)?;
        line("connection_request_count", &count(&traffic.accepted))?;
        line("connection_rejected", &count(&traffic.rejected))?;
        line("sessionless_connections_expired", &count(&traffic.speechless))?;
        line("bytes_received_count", &count(&traffic.received_bytes))?;
        line("response_bytes", &counters.answers.sum)?;
        for (key, durations) in
            [("fsynctime", &self.journal.syncs), ("snapshottime", &self.journal.snapshots)]
        {
            line(&format!("avg_{key}"), &tenths(durations.average_ms()))?;
            line(&format!("min_{key}"), &durations.min.as_millis())?;
            line(&format!("max_{key}"), &durations.max.as_millis())?;
            line(&format!("cnt_{key}"), &durations.count)?;
            line(&format!("sum_{key}"), &durations.sum.as_millis())?;
        }
        Ok(())
    }

    fn configuration(&self, text: &mut String) -> std::fmt::Result {
        let directory = self.settings.data_directory.display();
        let (log_bytes, snapshot_bytes) = self.journal.sizes();
        writeln!(text, "clientPort={}", self.address.port())?;
        writeln!(text, "secureClientPort=-1")?;
        writeln!(text, "dataDir={directory}")?;
        writeln!(text, "dataDirSize={snapshot_bytes}")?;
        writeln!(text, "dataLogDir={directory}")?;
        writeln!(text, "dataLogSize={log_bytes}")?;
        writeln!(text, "tickTime={}", self.settings.session_timeout_min.as_millis() / 2)?;
        writeln!(text, "maxClientCnxns={}", self.settings.connections_max)?;
        writeln!(text, "minSessionTimeout={}", self.settings.session_timeout_min.as_millis())?;
        writeln!(text, "maxSessionTimeout={}", self.settings.session_timeout_max.as_millis())?;
        writeln!(text, "clientPortListenBacklog=-1")?;
        writeln!(text, "serverId=0")
    }
}

/// Open, and how many there may be; of the whole broker. 0 where the system does not tell.
fn file_descriptors() -> (usize, u64) {
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    (open, OsDisk.open_files_max())
}

/// ZooKeeper rounds averages to four places and always shows one.
fn tenths(value: f64) -> String {
    let rounded = (value * 10_000.0).round() / 10_000.0;
    if rounded.fract() == 0.0 { format!("{rounded:.1}") } else { format!("{rounded}") }
}
