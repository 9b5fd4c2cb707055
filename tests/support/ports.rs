//! Ports nobody listens on, below the range the kernel hands out by itself.

use std::io;
use std::net::Ipv4Addr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};

use socket2::{Domain, Socket, Type};

const FIRST: u16 = 20_000;
const LAST: u16 = 31_999;

static STEPS: AtomicU16 = AtomicU16::new(0);

/// What keeps the ports of this process from others.
static TAKEN: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// A port that was free a moment ago and that no test process will hand out again while this one lives.
pub(crate) fn free_port() -> u16 {
    let span = LAST - FIRST;
    for _ in 0..span {
        let step = STEPS.fetch_add(1, Ordering::Relaxed);
        let start = (std::process::id().wrapping_mul(97) % u32::from(span)) as u16;
        let port = FIRST + (start + step % span) % span;
        // The name is given back by the kernel, however this process ends.
        let name = SocketAddr::from_abstract_name(format!("odradek-test-port-{port}"));
        let Ok(taken) = name.and_then(|name| UnixListener::bind_addr(&name)) else { continue };
        if is_free(port).is_ok() {
            TAKEN.lock().unwrap_or_else(PoisonError::into_inner).push(taken);
            return port;
        }
    }
    panic!("no free port between {FIRST} and {LAST}");
}

/// `Err` where somebody listens. Never listens itself: a child that is forked meanwhile would for a moment go on with it.
fn is_free(port: u16) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())
}
