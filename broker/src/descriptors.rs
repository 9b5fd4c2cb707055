//! How many files and sockets the process may have open (`ulimit -n`): as many as it is allowed to, and a word where that
//! is few.
//!
//! The soft limit is raised to the hard one, as a JVM does. Half of the descriptors are for record files, which are closed
//! and opened again where there are more of them than that (`storage::store`); the rest is for connections. Fewer
//! descriptors cost time and never a partition.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use storage::store::open_files_max;
use tracing::{info, warn};

/// Below this there is hardly room for clients. Linux distributions have 1,024 as soft and 4,096 or more as hard limit.
const FEW: u64 = 1024;

/// Asks for all that the process may have. Before anything is opened.
pub(crate) fn raise() {
    let limits = getrlimit(Resource::Nofile);
    if limits.current == limits.maximum {
        return;
    }
    let wanted = Rlimit { current: limits.maximum, maximum: limits.maximum };
    let shown = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => {
            info!(
                from = shown(limits.current),
                to = shown(limits.maximum),
                "ulimit -n raised to its hard limit"
            );
        }
        Err(error) => warn!(
            soft = shown(limits.current), hard = shown(limits.maximum), %error,
            "ulimit -n stays below its hard limit"
        ),
    }
}

/// Says what to do where `partitions` want more than the process may have.
pub(crate) fn advise(partitions: usize) {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if let Some(advice) = advice(limit, partitions) {
        warn!("{advice}");
    }
}

/// `None` where every partition can have its file open, or as many as are ever kept open.
fn advice(limit: u64, partitions: usize) -> Option<String> {
    let open = open_files_max(limit);
    let partitions = partitions as u64;
    let wanted = (2 * partitions.min(open_files_max(u64::MAX))).max(FEW);
    (limit < wanted).then(|| {
        format!(
            "ulimit -n is {limit}: {open} of the {partitions} partitions here can have a record file open at a time, and \
             {} connections are left; files are closed and opened again, which costs time. Allow {wanted} or more \
             (LimitNOFILE= of a systemd unit, nofile in /etc/security/limits.conf, ulimit -n before the start)",
            limit.saturating_sub(open)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_enough_descriptors_is_told_nothing() {
        for (limit, partitions) in
            [(1024, 0), (1024, 512), (2000, 1000), (32_768, 30_000), (32_768, 1_000_000)]
        {
            assert_eq!(advice(limit, partitions), None, "{limit} for {partitions}");
        }
    }

    #[test]
    fn who_has_few_descriptors_is_told_how_many_to_allow() {
        let told = advice(1024, 30_000).expect("too few");
        assert!(told.contains("ulimit -n is 1024: 512 of the 30000 partitions"), "{told}");
        assert!(told.contains("Allow 32768 or more"), "{told}");
        let told = advice(256, 3).expect("too few for clients");
        assert!(told.contains("Allow 1024 or more"), "{told}");
    }
}
