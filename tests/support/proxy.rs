//! A network in between that fails on demand: a TCP proxy of the test, one for each way that may be cut.
//!
//! Needs no rights and works on loopback. While it is cut, bytes are held back and no connection ends: that is what a
//! firewall that drops packets looks like from both sides.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::ports::free_port;

/// How often a held connection looks whether the way is open again.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Default)]
struct State {
    /// From the side that connects.
    forth_is_cut: AtomicBool,
    /// From the side that listens.
    back_is_cut: AtomicBool,
    ended: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

/// Forwards from `port` to one target. Connections end with it.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: Arc<State>,
}

impl Proxy {
    pub(crate) fn to(target: u16) -> Proxy {
        Proxy::between(free_port(), target)
    }

    pub(crate) fn between(port: u16, target: u16) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for near in listener.incoming() {
                if shared.ended.load(Ordering::Acquire) {
                    return;
                }
                let Ok(near) = near else { continue };
                let shared = Arc::clone(&shared);
                thread::spawn(move || join(near, target, &shared));
            }
        });
        Proxy { port, state }
    }

    /// Nothing gets through, in either direction.
    pub(crate) fn cut(&self) {
        self.cut_forth();
        self.state.back_is_cut.store(true, Ordering::Release);
    }

    /// What the connecting side says does not arrive; answers to what did still come.
    pub(crate) fn cut_forth(&self) {
        self.state.forth_is_cut.store(true, Ordering::Release);
    }

    /// What was held back arrives now.
    pub(crate) fn mend(&self) {
        self.state.forth_is_cut.store(false, Ordering::Release);
        self.state.back_is_cut.store(false, Ordering::Release);
    }

    /// Resets every connection; new ones are taken.
    pub(crate) fn reset(&self) {
        for stream in self.state.streams.lock().unwrap().drain(..) {
            // Closed with unread or unsent bytes, or with this option, a connection is reset.
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Release);
        self.reset();
        // Wakes the listener, so that it sees the end.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn join(near: TcpStream, target: u16, state: &Arc<State>) {
    wait_while(&state.forth_is_cut, state);
    let target = SocketAddr::from(([127, 0, 0, 1], target));
    // Nobody there: dropping the near side tells it.
    let Ok(far) = TcpStream::connect(target) else { return };
    for stream in [&near, &far] {
        let _ = stream.set_nodelay(true);
    }
    let clones = (near.try_clone(), far.try_clone(), near.try_clone(), far.try_clone());
    let (Ok(near_in), Ok(far_in), Ok(near_kept), Ok(far_kept)) = clones else { return };
    state.streams.lock().unwrap().extend([near_kept, far_kept]);
    let back = Arc::clone(state);
    thread::spawn(move || forward(far_in, near, &back.back_is_cut, &back));
    forward(near_in, far, &state.forth_is_cut, state);
}

fn forward(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool, state: &State) {
    let mut buffer = [0; 64 << 10];
    loop {
        let read = from.read(&mut buffer).unwrap_or(0);
        wait_while(cut, state);
        if read == 0 || to.write_all(&buffer[..read]).is_err() {
            let _ = to.shutdown(Shutdown::Write);
            let _ = from.shutdown(Shutdown::Read);
            return;
        }
    }
}

fn wait_while(cut: &AtomicBool, state: &State) {
    while cut.load(Ordering::Acquire) && !state.ended.load(Ordering::Acquire) {
        thread::park_timeout(LOOK);
    }
}
