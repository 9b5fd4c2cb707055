//! Over which time quotas are measured.

use coordinator::quotas::Window;

use super::settings::Settings;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QuotaWindows {
    /// Bytes, time and new connections (`quota.window.*`). Default: 11 samples of 1 s.
    pub(crate) clients: Window,
    /// Changes that the controller makes (`controller.quota.window.*`). Default: 11 samples of 1 s.
    pub(crate) controller: Window,
    /// Throttled replicas (`replication.quota.window.*`). Default: 11 samples of 1 s.
    pub(crate) replication: Window,
}

impl QuotaWindows {
    pub(super) fn new(settings: &Settings) -> QuotaWindows {
        let window = |name: &str| Window {
            sample_ms: settings.size(&format!("{name}.size.seconds")).max(1) as u64 * 1000,
            samples: settings.size(&format!("{name}.num")).max(1),
        };
        QuotaWindows {
            clients: window("quota.window"),
            controller: window("controller.quota.window"),
            replication: window("replication.quota.window"),
        }
    }
}
