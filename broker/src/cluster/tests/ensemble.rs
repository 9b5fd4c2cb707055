//! One ZooKeeper server for all tests of this process, and doors to it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::super::client::{Terms, ZooKeeper};
use super::super::security::Security;
use super::PATIENCE;
use crate::config::coordinates::ConnectString;

#[allow(dead_code, reason = "shared with the tests of the binary")]
#[path = "../../../../tests/support/ports.rs"]
mod ports;
#[allow(dead_code, reason = "shared with the tests of the binary")]
#[path = "../../../../tests/support/process.rs"]
mod process;
#[allow(dead_code, reason = "shared with the tests of the binary")]
#[path = "../../../../tests/support/stock.rs"]
mod stock;

struct Server {
    port: u16,
    /// Lives as long as the test process.
    _process: process::Process,
    _folder: tempfile::TempDir,
}

/// Starts the server on first use.
fn port() -> u16 {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER
        .get_or_init(|| {
            let folder = tempfile::Builder::new().prefix("odradek-test-").tempdir().expect("a folder");
            let port = ports::free_port();
            let file = folder.path().join("zoo.cfg");
            let settings = format!(
                "tickTime=200\nmaxSessionTimeout=60000\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n\
                 admin.enableServer=false\nmaxClientCnxns=0\n",
                folder.path().join("data").display()
            );
            std::fs::write(&file, settings).expect("zoo.cfg is written");
            let main = "zookeeper-server-start";
            let process = stock::start("3.9.1", main, &[&file.display().to_string()]);
            Server { port, _process: process, _folder: folder }
        })
        .port
}

/// Where the server listens.
pub(super) async fn server() -> (String, u16) {
    let port = tokio::task::spawn_blocking(port).await.expect("the server starts");
    ("127.0.0.1".to_owned(), port)
}

/// A session of its own under a chroot of the test's own.
pub(super) async fn connect(chroot: &str, session_timeout: Duration) -> Arc<ZooKeeper> {
    connect_by(server().await, chroot, session_timeout, 10).await
}

pub(super) async fn connect_by(
    way: (String, u16),
    chroot: &str,
    session_timeout: Duration,
    in_flight_max: usize,
) -> Arc<ZooKeeper> {
    let connect = ConnectString { servers: vec![way], chroot: Some(format!("/{chroot}")) };
    let terms = Terms {
        session_timeout,
        connection_timeout: PATIENCE * 3,
        in_flight_max,
        security: Security::default(),
    };
    ZooKeeper::connect(&connect, terms).await.expect("ZooKeeper is up")
}
