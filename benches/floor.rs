//! The floor under a broker: the least that moving records over a socket costs, in CPU time per GiB.
//!
//! Receiving is a bare loop that reads a frame, checks its CRC-32C, appends it to a file and answers; or, where the
//! frame stands for a request with records of several partitions, appends an equal part to each of as many files.
//! Sending writes the same file to a socket from a mapping. No protocol, no partition, no index: what a
//! broker costs above this is what it adds. `scripts/bench` prints these figures beside the broker's.
//!
//! Frame sizes in bytes, and the number of files behind an `x`, may be given as arguments:
//! `cargo bench -p broker --bench floor -- 65536 65536x4`.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::thread;

/// Bytes moved for one figure.
const MOVED: usize = 1 << 30;
/// What one `write` to a consumer carries: a fetch answer's usual limit for one partition.
const SENT_AT_ONCE: usize = 1 << 20;
/// Requests a producer keeps in flight on one connection (`max.in.flight.requests.per.connection`).
const IN_FLIGHT: usize = 5;

fn main() -> io::Result<()> {
    let mut shapes: Vec<Shape> = std::env::args().filter_map(|argument| Shape::parse(&argument)).collect();
    if shapes.is_empty() {
        shapes = [16 << 10, 128 << 10].map(|size| Shape { size, files: 1 }).to_vec();
    }
    let folder = tempfile::tempdir()?;
    let path = |number: usize| folder.path().join(format!("segment-{number}"));
    for shape in shapes {
        let open =
            |number| File::options().create(true).truncate(true).read(true).write(true).open(path(number));
        let files = (0..shape.files).map(open).collect::<io::Result<Vec<File>>>()?;
        let seconds = received(&files, shape.size)?;
        println!("receive\t{shape}\t{:.3}\tCPU s/GiB", per_gib(seconds));
    }
    let file = File::open(path(0))?;
    println!("send\t{SENT_AT_ONCE}\t{:.3}\tCPU s/GiB", per_gib(sent(&file)?));
    Ok(())
}

/// What is received at once, and where it goes.
#[derive(Clone, Copy)]
struct Shape {
    /// Bytes of a frame without its length and checksum.
    size: usize,
    files: usize,
}

impl Shape {
    /// `SIZE` or `SIZExFILES`; `None` for what else Cargo hands to a bench.
    fn parse(argument: &str) -> Option<Shape> {
        let (size, files) = argument.split_once('x').unwrap_or((argument, "1"));
        let shape = Shape { size: size.parse().ok()?, files: files.parse().ok()? };
        (shape.files > 0 && shape.size >= shape.files).then_some(shape)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.files {
            1 => write!(f, "{}", self.size),
            files => write!(f, "{}x{files}", self.size),
        }
    }
}

fn per_gib(seconds: f64) -> f64 {
    seconds / (MOVED as f64 / (1u64 << 30) as f64)
}

/// CPU seconds of the receiving thread for `MOVED` bytes in frames of `size`, an equal part of each for each of `files`.
fn received(files: &[File], size: usize) -> io::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let frames = MOVED / size;
    let client = thread::spawn(move || -> io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let body: Vec<u8> = (0..size).map(|i| (i * 31) as u8).collect();
        let mut frame = ((size + 4) as u32).to_be_bytes().to_vec();
        frame.extend_from_slice(&crc32c::crc32c(&body).to_be_bytes());
        frame.extend_from_slice(&body);
        let mut answer = [0; 64];
        for sent in 0..frames {
            stream.write_all(&frame)?;
            if sent >= IN_FLIGHT {
                stream.read_exact(&mut answer)?;
            }
        }
        for _ in 0..IN_FLIGHT.min(frames) {
            stream.read_exact(&mut answer)?;
        }
        Ok(())
    });
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let before = cpu_seconds();
    let mut frame = vec![0; size + 4];
    let part = size.div_ceil(files.len());
    let mut ends = vec![0; files.len()];
    for _ in 0..frames {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        stream.read_exact(&mut frame)?;
        let (sum, body) = frame.split_at(4);
        assert_eq!(crc32c::crc32c(body).to_be_bytes(), sum, "the frame arrived as it was sent");
        for ((part, file), end) in body.chunks(part).zip(files).zip(&mut ends) {
            file.write_all_at(part, *end)?;
            *end += part.len() as u64;
        }
        stream.write_all(&[0; 64])?;
    }
    let spent = cpu_seconds() - before;
    client.join().expect("the client does not panic")?;
    Ok(spent)
}

/// CPU seconds of the sending thread for `MOVED` bytes out of `file`.
fn sent(file: &File) -> io::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let client = thread::spawn(move || -> io::Result<u64> {
        io::copy(&mut TcpStream::connect(address)?, &mut io::sink())
    });
    let (mut stream, _) = listener.accept()?;
    // SAFETY: the file is this process's own and nobody truncates it while it is mapped.
    let mapping = unsafe { memmap2::Mmap::map(file)? };
    let before = cpu_seconds();
    let mut left = MOVED;
    for piece in mapping.chunks(SENT_AT_ONCE).cycle() {
        let piece = &piece[..piece.len().min(left)];
        stream.write_all(piece)?;
        left -= piece.len();
        if left == 0 {
            break;
        }
    }
    let spent = cpu_seconds() - before;
    drop(stream);
    client.join().expect("the client does not panic")?;
    Ok(spent)
}

/// CPU time of this thread so far, in user and kernel mode. Unit: seconds.
fn cpu_seconds() -> f64 {
    // SAFETY: `time` is plain data that the call fills in.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time);
        time
    };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
