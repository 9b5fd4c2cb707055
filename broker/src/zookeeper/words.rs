//! The four-letter words: `ruok stat srvr mntr conf cons`, answered as ZooKeeper 3.8 does.

use std::fmt::Write;
use std::net::SocketAddr;

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

    fn monitor(&self, text: &mut String) -> std::fmt::Result {
        let counters = &self.counters;
        let mut line = |key: &str, value: &dyn std::fmt::Display| writeln!(text, "zk_{key}\t{value}");
        line("version", &VERSION)?;
        line("server_state", &"standalone")?;
        line("ephemerals_count", &self.tree.ephemeral_count())?;
        line("num_alive_connections", &self.links.len())?;
        line("avg_latency", &tenths(counters.latency_average_ms()))?;
        line("outstanding_requests", &0)?;
        line("znode_count", &(self.tree.node_count() + 1))?;
        line("global_sessions", &self.tree.sessions().count())?;
        line("packets_sent", &counters.sent)?;
        line("packets_received", &counters.received)?;
        line("min_latency", &counters.latency_min_ms())?;
        line("max_latency", &counters.latency_max_ms())?;
        line("watch_count", &self.watches.count())?;
        line("approximate_data_size", &self.tree.data_bytes())?;
        line("uptime", &self.now().as_millis())
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

/// ZooKeeper rounds averages to four places and always shows one.
fn tenths(value: f64) -> String {
    let rounded = (value * 10_000.0).round() / 10_000.0;
    if rounded.fract() == 0.0 { format!("{rounded:.1}") } else { format!("{rounded}") }
}
