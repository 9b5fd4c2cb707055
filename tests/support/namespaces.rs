//! Machines of a network of the test's own: network namespaces joined by a router, whose every way can be cut.
//!
//! The namespaces have no names and end with whoever uses them, so that nothing is left behind by a killed test.
//! Their addresses exist nowhere else. Needs root; who has it not is told.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::thread;

/// A network stack of its own.
pub(crate) struct Namespace(File);

impl Namespace {
    fn new() -> io::Result<Namespace> {
        let made = thread::spawn(|| {
            // SAFETY: changes only this thread, which ends after it.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                return Err(io::Error::last_os_error());
            }
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
            Ok(Namespace::mine())
        });
        let namespace = made.join().expect("no panic")?;
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// The calling thread's.
    pub(crate) fn mine() -> Namespace {
        Namespace(File::open("/proc/thread-self/ns/net").expect("/proc is there"))
    }

    fn number(&self) -> u64 {
        self.0.metadata().expect("an open file").ino()
    }

    /// The process that `command` becomes will be in this namespace. Takes no rights where that is the caller's own.
    pub(crate) fn give_to(self, command: &mut Command) {
        if self.number() == Namespace::mine().number() {
            return;
        }
        // SAFETY: setns is async-signal-safe and touches only the child about to exec.
        unsafe { command.pre_exec(move || self.join()) };
    }

    /// Takes the calling thread there, and the threads and processes that it starts from now on.
    pub(crate) fn join(&self) -> io::Result<()> {
        // SAFETY: the descriptor is open; only the calling thread changes.
        let joined = unsafe { libc::setns(self.0.as_raw_fd(), libc::CLONE_NEWNET) };
        if joined == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Does something there, and comes back.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = Namespace::mine();
        self.join().expect("a namespace of the test can be joined");
        let result = work();
        before.join().expect("the namespace of before can be joined");
        result
    }

    /// Runs `ip` there.
    fn ip(&self, arguments: &str) -> io::Result<()> {
        let mut command = Command::new("ip");
        command.args(arguments.split(' '));
        Namespace(self.0.try_clone()?).give_to(&mut command);
        let ran = command.output()?;
        if ran.status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!("ip {arguments}: {}", String::from_utf8_lossy(&ran.stderr).trim())))
    }
}

/// One machine.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) address: Ipv4Addr,
}

/// Machines that reach one another through a router. The test itself sits at the router, and every machine hears it,
/// whatever is cut between them.
pub(crate) struct Network {
    router: Namespace,
    pub(crate) hosts: Vec<Host>,
}

impl Network {
    fn of(hosts: u8) -> io::Result<Network> {
        let mut network = Network { router: Namespace::new()?, hosts: Vec::new() };
        for number in 1..=hosts {
            let host = Namespace::new()?;
            let (address, gateway) = (Ipv4Addr::new(10, 77, number, 1), Ipv4Addr::new(10, 77, number, 254));
            let peer = format!("/proc/{}/fd/{}", std::process::id(), host.0.as_raw_fd());
            network.router.ip(&format!("link add way{number} type veth peer name eth0 netns {peer}"))?;
            network.router.ip(&format!("addr add {gateway}/24 dev way{number}"))?;
            network.router.ip(&format!("link set way{number} up"))?;
            host.ip(&format!("addr add {address}/24 dev eth0"))?;
            host.ip("link set eth0 up")?;
            host.ip(&format!("route add default via {gateway}"))?;
            network.hosts.push(Host { namespace: Arc::new(host), address });
        }
        Ok(network)
    }

    /// From now on what `from` sends to `to` is dropped without a word; the other way stays open.
    pub(crate) fn cut(&self, from: &Host, to: &Host) {
        let rule = format!("rule add from {} to {} blackhole", from.address, to.address);
        self.router.ip(&rule).expect("a rule can be added");
    }

    pub(crate) fn mend(&self, from: &Host, to: &Host) {
        let rule = format!("rule del from {} to {} blackhole", from.address, to.address);
        self.router.ip(&rule).expect("the rule is there");
    }
}

/// Runs a test at the router of a network of `hosts` machines. Where this process may not make one, says so and
/// runs nothing.
pub(crate) fn in_a_network(hosts: u8, test: impl FnOnce(Network) + Send) {
    let network = match Network::of(hosts) {
        Ok(network) => network,
        Err(e) => {
            eprintln!(
                "SKIPPED: this test makes network namespaces, which takes root and iproute2 ({e}); it says nothing here"
            );
            return;
        }
    };
    // A thread of its own: the namespace stays with it, and ends with it.
    let ran = thread::scope(|scope| {
        scope
            .spawn(move || {
                network.router.join().expect("a namespace of the test can be joined");
                test(network);
            })
            .join()
    });
    if let Err(panic) = ran {
        std::panic::resume_unwind(panic);
    }
}
