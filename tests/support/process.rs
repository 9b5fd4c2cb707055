//! Child processes with an end: their output is kept, their waits have deadlines, and none survives.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// Here, as every child is born into one, also where tests take this file alone.
#[path = "namespaces.rs"]
pub(crate) mod namespaces;

use self::namespaces::Namespace;

/// How long anything in a test may take before it counts as hanging. Generous: two busy cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Lines shown from each end of a log that a failing test prints.
const LINES_SHOWN: usize = 60;

type Request = (Command, Namespace, Sender<std::io::Result<Child>>);

/// All children are born on one thread that lives as long as this process. The kernel is told to
/// kill them when that thread ends, which also covers a killed or aborted test process. Each is born
/// into the network namespace of the thread that asks for it.
static NURSERY: LazyLock<Mutex<Sender<Request>>> = LazyLock::new(|| {
    let (sender, requests) = channel::<Request>();
    thread::spawn(move || {
        for (mut command, network, answer) in requests {
            network.give_to(&mut command);
            let _ = answer.send(command.spawn());
        }
    });
    Mutex::new(sender)
});

fn born(name: &str, mut command: Command) -> Child {
    #[cfg(target_os = "linux")]
    // SAFETY: prctl is async-signal-safe and touches only the child about to exec.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    let (sender, answer) = channel();
    NURSERY
        .lock()
        .unwrap()
        .send((command, Namespace::mine(), sender))
        .expect("the nursery lives as long as the process");
    answer.recv().expect("the nursery answers").unwrap_or_else(|e| panic!("{name} did not start: {e}"))
}

/// What a child prints on one of its streams.
struct Output {
    /// Where it comes from; reading never waits.
    source: File,
    /// What ends a line there.
    end: u8,
    lines: Vec<String>,
    /// The line that has no end yet.
    begun: Vec<u8>,
    is_open: bool,
}

impl Output {
    /// Takes what lies in the pipe, which holds less than this takes at once.
    fn take(&mut self) {
        const READS: usize = 8;
        let mut buffer = vec![0; 64 << 10];
        for _ in 0..READS {
            match self.source.read(&mut buffer) {
                Ok(0) => return self.close(),
                Ok(read) => self.cut(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // A terminal that nobody has open any more is an error to read.
                Err(_) => return self.close(),
            }
        }
    }

    fn cut(&mut self, bytes: &[u8]) {
        self.begun.extend_from_slice(bytes);
        let Some(last) = self.begun.iter().rposition(|byte| *byte == self.end) else { return };
        let rest = self.begun.split_off(last + 1);
        let whole = std::mem::replace(&mut self.begun, rest);
        let lines = whole[..last].split(|byte| *byte == self.end);
        self.lines.extend(lines.map(|line| String::from_utf8_lossy(line).into_owned()));
    }

    fn close(&mut self) {
        if !self.begun.is_empty() {
            self.lines.push(String::from_utf8_lossy(&std::mem::take(&mut self.begun)).into_owned());
        }
        self.is_open = false;
    }
}

type Kept = Arc<(Mutex<Output>, Condvar)>;

/// A running child, its standard output and error read line by line as they come.
pub(crate) struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Kept,
    stderr: Kept,
    ended: Option<ExitStatus>,
}

/// What is left of a process that ended by itself.
pub(crate) struct Ended {
    pub(crate) name: String,
    /// The exit code; a death by signal counts as 128 + signal, as in a shell.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The standard output of a process that must have succeeded.
    #[track_caller]
    pub(crate) fn success(self) -> String {
        assert_eq!(self.code, 0, "{self}");
        self.stdout
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} ended with {}\nstdout:\n{}\nstderr:\n{}",
            self.name, self.code, self.stdout, self.stderr
        )
    }
}

impl Process {
    pub(crate) fn spawn(name: impl Into<String>, mut command: Command) -> Process {
        command.stderr(Stdio::piped());
        Process::begin(name.into(), command, None)
    }

    /// The same with its standard error on a terminal, as under somebody's eyes.
    pub(crate) fn spawn_at_terminal(name: impl Into<String>, mut command: Command) -> Process {
        let (eyes, terminal) = terminal().expect("a terminal");
        command.stderr(terminal);
        Process::begin(name.into(), command, Some(eyes))
    }

    fn begin(name: String, mut command: Command, eyes: Option<File>) -> Process {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = born(&name, command);
        let stdout = keep(child.stdout.take().expect("piped"), b'\n');
        let stderr = match eyes {
            // A line that changes is drawn again from its begin, and a terminal goes there at the end of every line.
            Some(eyes) => keep(eyes, b'\r'),
            None => keep(child.stderr.take().expect("piped"), b'\n'),
        };
        let stdin = child.stdin.take();
        Process { name, child, stdin, stdout, stderr, ended: None }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes `input` without closing the standard input.
    pub(crate) fn write(&mut self, input: &[u8]) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        stdin
            .write_all(input)
            .and_then(|()| stdin.flush())
            .unwrap_or_else(|e| panic!("{}: stdin: {e}", self.name));
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// The first line of standard output that `wanted` accepts, now or within `patience`.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, patience: Duration, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + patience;
        let mut seen = 0;
        let mut guard = looked_at(&self.stdout);
        loop {
            if let Some(line) = guard.lines[seen..].iter().find(|line| wanted(line)) {
                return line.clone();
            }
            seen = guard.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !guard.is_open {
                drop(guard);
                panic!("{} did not print the expected line\n{}", self.name, self.log());
            }
            guard = self.stdout.1.wait_timeout(guard, left).unwrap().0;
        }
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("waiting for a child of ours");
        }
        self.ended.is_some()
    }

    /// How the process ended by itself, if it has; it is not reaped.
    pub(crate) fn sudden_end(&self) -> Option<String> {
        // SAFETY: `info` is plain data that waitid fills in; WNOWAIT leaves the child waitable, and its fields are read
        // only where waitid found an ended child.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
            let result = libc::waitid(libc::P_PID, self.pid(), &mut info, options);
            if result != 0 || info.si_pid() == 0 {
                return None;
            }
            let how = if info.si_code == libc::CLD_EXITED { "with exit code" } else { "by signal" };
            Some(format!("{} ended {how} {}", self.name, info.si_status()))
        }
    }

    pub(crate) fn signal(&self, signal: i32) {
        assert!(self.ended.is_none(), "{} has ended; its process id may belong to another", self.name);
        // SAFETY: the child was not reaped yet, so its id is still its own.
        unsafe { libc::kill(self.pid().cast_signed(), signal) };
    }

    /// Waits until the process ends; kills it and fails the test when that takes longer than `patience`.
    #[track_caller]
    pub(crate) fn wait(mut self, patience: Duration) -> Ended {
        let (done, waited) = channel::<()>();
        let pid = self.pid().cast_signed();
        let guard = thread::spawn(move || {
            let late = waited.recv_timeout(patience).is_err();
            if late {
                // SAFETY: the owner reaps the child only after this thread was told or has fired.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
            late
        });
        // Waits without reaping, so that the guard above never kills a stranger.
        wait_without_reaping(pid);
        let _ = done.send(());
        let late = guard.join().expect("the guard does not panic");
        let status = self.child.wait().expect("waiting for a child of ours");
        self.ended = Some(status);
        for stream in [&self.stdout, &self.stderr] {
            wait_until_closed(stream);
        }
        assert!(!late, "{} did not end within {patience:?}\n{}", self.name, self.log());
        Ended {
            name: self.name.clone(),
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: text(&self.stdout),
            stderr: text(&self.stderr),
        }
    }

    /// Both streams, shortened in the middle.
    pub(crate) fn log(&self) -> String {
        format!(
            "--- {} stdout\n{}\n--- {} stderr\n{}",
            self.name,
            shortened(&text(&self.stdout)),
            self.name,
            shortened(&text(&self.stderr))
        )
    }

    pub(crate) fn stdout(&self) -> String {
        text(&self.stdout)
    }

    pub(crate) fn stderr(&self) -> String {
        text(&self.stderr)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

/// Runs `command` to its end with `input` as its whole standard input.
#[track_caller]
pub(crate) fn run(name: impl Into<String>, command: Command, input: &[u8], patience: Duration) -> Ended {
    let mut process = Process::spawn(name, command);
    let stdin = process.stdin.take();
    thread::scope(|scope| {
        scope.spawn(move || {
            // A tool may end before it has read everything; its exit code tells what matters.
            if let Some(mut stdin) = stdin {
                let _ = stdin.write_all(input);
            }
        });
        process.wait(patience)
    })
}

fn wait_without_reaping(pid: i32) {
    loop {
        // SAFETY: `info` is plain data that waitid fills in; WNOWAIT leaves the child waitable.
        let result = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            libc::waitid(libc::P_PID, pid.cast_unsigned(), &mut info, libc::WEXITED | libc::WNOWAIT)
        };
        if result == 0 || std::io::Error::last_os_error().kind() != std::io::ErrorKind::Interrupted {
            return;
        }
    }
}

/// A terminal of 24 lines: the end that shows what is printed, and the one that is printed to.
fn terminal() -> std::io::Result<(File, File)> {
    let eyes = File::options().read(true).write(true).open("/dev/ptmx")?;
    let size = libc::winsize { ws_row: 24, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    let unlocked: libc::c_int = 0;
    let how = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the descriptor is open, what is pointed to outlives the calls, and the new descriptor is nobody else's.
    let terminal = unsafe {
        if libc::ioctl(eyes.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) != 0
            || libc::ioctl(eyes.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) != 0
        {
            return Err(std::io::Error::last_os_error());
        }
        match libc::ioctl(eyes.as_raw_fd(), libc::TIOCGPTPEER, how) {
            -1 => return Err(std::io::Error::last_os_error()),
            terminal => File::from_raw_fd(terminal),
        }
    };
    Ok((eyes, terminal))
}

/// Lines of a stream as they come, each ended by the byte `end`.
fn keep(stream: impl Into<OwnedFd>, end: u8) -> Kept {
    let source = File::from(stream.into());
    let descriptor = source.as_raw_fd();
    // SAFETY: the descriptor is open, and its description is nobody else's: the child has the other end.
    let never_waits = unsafe { libc::fcntl(descriptor, libc::F_SETFL, libc::O_NONBLOCK) };
    assert_eq!(never_waits, 0, "{}", std::io::Error::last_os_error());
    let output = Output { source, end, lines: Vec::new(), begun: Vec::new(), is_open: true };
    let kept = Arc::new((Mutex::new(output), Condvar::new()));
    let keeper = Arc::clone(&kept);
    thread::spawn(move || {
        loop {
            let mut something = libc::pollfd { fd: descriptor, events: libc::POLLIN, revents: 0 };
            // SAFETY: the descriptor is open as long as `keeper` is, and `something` outlives the call.
            unsafe { libc::poll(&raw mut something, 1, -1) };
            if !looked_at(&keeper).is_open {
                return;
            }
        }
    });
    kept
}

/// The stream with all that was printed before this call: the thread that keeps it may be a little behind.
fn looked_at(stream: &(Mutex<Output>, Condvar)) -> MutexGuard<'_, Output> {
    let mut output = stream.0.lock().unwrap();
    if output.is_open {
        output.take();
        stream.1.notify_all();
    }
    output
}

/// A grandchild that inherited the stream may keep it open; half a minute is enough for what was written.
fn wait_until_closed(stream: &(Mutex<Output>, Condvar)) {
    let guard = looked_at(stream);
    let _ = stream.1.wait_timeout_while(guard, Duration::from_secs(30), |output| output.is_open);
}

fn text(stream: &(Mutex<Output>, Condvar)) -> String {
    let mut text = looked_at(stream).lines.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn shortened(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() <= 2 * LINES_SHOWN {
        return lines.join("\n");
    }
    let (head, tail) = (&lines[..LINES_SHOWN], &lines[lines.len() - LINES_SHOWN..]);
    format!("{}\n... {} lines ...\n{}", head.join("\n"), lines.len() - 2 * LINES_SHOWN, tail.join("\n"))
}
