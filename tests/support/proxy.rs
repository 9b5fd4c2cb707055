//! A network in between that misbehaves on demand: a TCP proxy of the test. Bytes come late, each connection by a time of
//! its own, so that what was sent over several comes in another order; connections stall, and are reset.
//!
//! Needs no rights and works on loopback.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::ports::free_port;
use super::random::Random;

/// How often a held connection looks whether the weather has changed.
const LOOK: Duration = Duration::from_millis(20);

/// What may happen to each piece of bytes that arrives.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    /// It goes on after a while of at most this. Unit: ms.
    pub(crate) late_max_ms: u64,
    pub(crate) stalls_per_mille: u64,
    /// Nothing moves on this way of its connection for at most so long. Unit: ms.
    pub(crate) stall_max_ms: u64,
    /// It is lost with its connection.
    pub(crate) resets_per_mille: u64,
}

struct State {
    weather: Mutex<Weather>,
    ended: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
    /// The next connection's.
    seed: AtomicU64,
}

impl State {
    fn weather(&self) -> Weather {
        *self.weather.lock().unwrap()
    }
}

/// Forwards from `port` to one target. Connections end with it.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: Arc<State>,
}

impl Proxy {
    /// To a port of this machine, in fine weather at first.
    pub(crate) fn to(target: u16, seed: u64) -> Proxy {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        let state = Arc::new(State {
            weather: Mutex::default(),
            ended: AtomicBool::new(false),
            streams: Mutex::default(),
            seed: AtomicU64::new(seed),
        });
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

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// From now on, also for what is under way.
    pub(crate) fn set(&self, weather: Weather) {
        *self.state.weather.lock().unwrap() = weather;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Release);
        self.state.streams.lock().unwrap().drain(..).for_each(|stream| reset(&stream));
        // Wakes the listener, so that it sees the end.
        let _ = TcpStream::connect(self.address());
    }
}

fn reset(stream: &TcpStream) {
    // Closed with unread or unsent bytes, or with this option, a connection is reset.
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Both);
}

fn join(near: TcpStream, target: u16, state: &Arc<State>) {
    // Nobody there: dropping the near side tells it.
    let Ok(far) = TcpStream::connect(("127.0.0.1", target)) else { return };
    for stream in [&near, &far] {
        let _ = stream.set_nodelay(true);
    }
    let clones = (near.try_clone(), far.try_clone(), near.try_clone(), far.try_clone());
    let (Ok(near_in), Ok(far_in), Ok(near_kept), Ok(far_kept)) = clones else { return };
    state.streams.lock().unwrap().extend([near_kept, far_kept]);
    let [forth, back] = [0, 1].map(|_| Random::new(state.seed.fetch_add(1, Ordering::AcqRel)));
    let shared = Arc::clone(state);
    thread::spawn(move || forward(far_in, near, back, &shared));
    forward(near_in, far, forth, state);
}

fn forward(mut from: TcpStream, mut to: TcpStream, mut random: Random, state: &State) {
    let mut buffer = [0; 64 << 10];
    loop {
        let read = from.read(&mut buffer).unwrap_or(0);
        let weather = state.weather();
        if random.chance(weather.resets_per_mille) {
            reset(&from);
            reset(&to);
            return;
        }
        let mut wait_ms = random.between(0, weather.late_max_ms);
        if random.chance(weather.stalls_per_mille) {
            wait_ms += random.between(0, weather.stall_max_ms);
        }
        hold(Duration::from_millis(wait_ms), state);
        if read == 0 || to.write_all(&buffer[..read]).is_err() {
            let _ = to.shutdown(Shutdown::Write);
            let _ = from.shutdown(Shutdown::Read);
            return;
        }
    }
}

/// For so long, or until the weather is fine.
fn hold(time: Duration, state: &State) {
    let began = Instant::now();
    while began.elapsed() < time && !state.ended.load(Ordering::Acquire) {
        if state.weather().late_max_ms == 0 {
            return;
        }
        thread::park_timeout(LOOK.min(time.saturating_sub(began.elapsed())));
    }
}
