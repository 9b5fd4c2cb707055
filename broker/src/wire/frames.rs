//! Length-prefixed frames from a byte stream (Kafka protocol guide, "Network").
//!
//! The buffer grows with what has arrived, never with what the prefix promises, so that a hostile length costs
//! its sender the bytes, and a connection that waits for its next request has none. Where the memory of requests is limited, a
//! frame is read on only once it is let in.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::wire::memory::{Held, RequestMemory};

/// Smallest free space offered to one read. Unit: bytes.
const READ_SIZE_MIN: usize = 16 * 1024;

/// Space for a frame of which the first bytes have arrived: the requests that producers usually send fit without
/// growing. Unit: bytes.
const GROWTH_FIRST: usize = 128 * 1024;

/// Largest step by which the buffer grows ahead of what has arrived. Unit: bytes.
const GROWTH_MAX: usize = 1024 * 1024;

/// What is read ahead of a request that is still being answered. Unit: bytes.
const READ_AHEAD_MAX: usize = 64 * 1024;

const PREFIX: usize = 4;

#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("Invalid receive (size = {0})")]
    Negative(i32),
    #[error("Invalid receive (size = {size} larger than {max})")]
    TooLarge { size: usize, max: usize },
    #[error("the connection closed in the middle of a request")]
    Torn,
    #[error("no byte for {0:?} (connections.max.idle.ms)")]
    Idle(Duration),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Splits a stream into frames of at most `max` bytes (`socket.request.max.bytes`), prefix not counted.
pub(crate) struct Frames<R> {
    stream: R,
    buffer: BytesMut,
    max: usize,
    idle_max: Option<Duration>,
    /// `None`: as much as arrives.
    memory: Option<Arc<RequestMemory>>,
    /// Of the frame at the front, and then of the one that was handed out.
    held: Option<Held>,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(crate) fn new(stream: R, max: usize) -> Self {
        Frames { stream, buffer: BytesMut::new(), max, idle_max: None, memory: None, held: None }
    }

    /// Counts frames from when their length is known until they are [`done`](Frames::done) with.
    pub(crate) fn within(self, memory: Option<Arc<RequestMemory>>) -> Self {
        Frames { memory, ..self }
    }

    /// The frame that was handed out is no longer in memory.
    pub(crate) fn done(&mut self) {
        self.held = None;
    }

    /// The longest silence before a byte is an error (`connections.max.idle.ms`); `None` is for ever.
    pub(crate) fn silent_for(self, idle_max: Option<Duration>) -> Self {
        Frames { idle_max, ..self }
    }

    /// The next frame without its prefix; `None` where the peer closed between two frames.
    ///
    /// Cancel safe: what has arrived stays in the buffer.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        loop {
            let wanted = self.wanted()?;
            if self.held.is_none()
                && let (Some(total), Some(memory)) = (wanted, &self.memory)
            {
                self.held = Some(memory.admit(total).await);
            }
            let missing = match wanted {
                Some(total) if self.buffer.len() >= total => return Ok(Some(self.take(total))),
                Some(total) => total - self.buffer.len(),
                None => PREFIX,
            };
            let idle_max = self.idle_max;
            let read = self.read(missing);
            let read = match idle_max {
                Some(idle) => tokio::time::timeout(idle, read).await.map_err(|_| FrameError::Idle(idle))?,
                None => read.await,
            };
            if read? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(FrameError::Torn) };
            }
        }
    }

    /// What has arrived, and how much that is; 0 at the end of the stream.
    async fn read(&mut self, missing: usize) -> io::Result<usize> {
        if self.buffer.is_empty() {
            // Gone with the frame that was cut from it: thousands may wait for a long time now.
            self.buffer = BytesMut::new();
            return poll_fn(|context| self.poll_first(context)).await;
        }
        // As much again as has arrived: thousands that announce much and send little stay cheap.
        let step = self.buffer.len().clamp(GROWTH_FIRST, GROWTH_MAX);
        self.buffer.reserve(missing.clamp(READ_SIZE_MIN, step));
        self.stream.read_buf(&mut self.buffer).await
    }

    /// The first bytes of a frame, into a buffer that is made once they are there.
    fn poll_first(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut place = [MaybeUninit::<u8>::uninit(); READ_SIZE_MIN];
        let mut read = ReadBuf::uninit(&mut place);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))?;
        let read = read.filled();
        let announced =
            read.first_chunk().map_or(0, |prefix| usize::try_from(i32::from_be_bytes(*prefix)).unwrap_or(0));
        let expected = announced.saturating_add(PREFIX).min(GROWTH_FIRST);
        self.buffer.reserve(expected.max(read.len()));
        self.buffer.extend_from_slice(read);
        Poll::Ready(Ok(read.len()))
    }

    /// Ends when the peer has closed the connection; what arrives meanwhile is kept for [`Frames::next`]. Who sends much
    /// ahead is not read further, and its end is then noticed only there.
    ///
    /// Cancel safe.
    pub(crate) async fn closed(&mut self) {
        while self.buffer.len() < READ_AHEAD_MAX {
            self.buffer.reserve(PREFIX);
            if matches!(self.stream.read_buf(&mut self.buffer).await, Ok(0) | Err(_)) {
                return;
            }
        }
        std::future::pending().await
    }

    /// Whether nothing has arrived that was not handed out.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Size of the frame at the front, prefix included, once its prefix has arrived.
    fn wanted(&self) -> Result<Option<usize>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<PREFIX>() else { return Ok(None) };
        let announced = i32::from_be_bytes(*prefix);
        let size = usize::try_from(announced).map_err(|_| FrameError::Negative(announced))?;
        if size > self.max {
            return Err(FrameError::TooLarge { size, max: self.max });
        }
        Ok(Some(PREFIX + size))
    }

    fn take(&mut self, total: usize) -> Bytes {
        let mut frame = self.buffer.split_to(total);
        frame.advance(PREFIX);
        frame.freeze()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    async fn read_all(bytes: &[u8], max: usize) -> Result<Vec<Bytes>, FrameError> {
        let mut frames = Frames::new(bytes, max);
        let mut all = Vec::new();
        while let Some(frame) = frames.next().await? {
            all.push(frame);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn frames_come_out_whole_and_in_order() {
        let all = read_all(b"\0\0\0\x03abc\0\0\0\0\0\0\0\x01d", 10).await.expect("three frames");
        assert_eq!(all, ["abc", "", "d"]);
    }

    #[tokio::test]
    async fn a_negative_or_oversized_length_is_refused_before_its_bytes_are_awaited() {
        assert!(matches!(read_all(&[0xff; 4], 10).await, Err(FrameError::Negative(-1))));
        assert!(matches!(
            read_all(&[0, 0, 0, 11], 10).await,
            Err(FrameError::TooLarge { size: 11, max: 10 })
        ));
    }

    #[tokio::test]
    async fn a_stream_that_ends_inside_a_frame_is_torn() {
        assert!(matches!(read_all(b"\0\0\0\x05abc", 10).await, Err(FrameError::Torn)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_a_byte_at_a_time_is_not_idle_and_who_stops_is() {
        let (mut client, server) = tokio::io::duplex(64);
        let idle = Duration::from_secs(10);
        let mut frames = Frames::new(server, 100).silent_for(Some(idle));
        let sending = tokio::spawn(async move {
            for byte in [0, 0, 0, 3, b'a', b'b', b'c'] {
                tokio::time::sleep(idle - Duration::from_secs(1)).await;
                tokio::io::AsyncWriteExt::write_all(&mut client, &[byte]).await.expect("sent");
            }
            client
        });
        assert_eq!(frames.next().await.expect("not idle"), Some(Bytes::from_static(b"abc")));
        let _client = sending.await.expect("no panic");
        assert!(matches!(frames.next().await, Err(FrameError::Idle(_))));
    }

    #[tokio::test]
    async fn a_close_is_noticed_while_nobody_asks_for_a_frame_and_what_came_before_is_kept() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut frames = Frames::new(server, 100);
        tokio::io::AsyncWriteExt::write_all(&mut client, b"\0\0\0\x01a").await.expect("sent");
        drop(client);
        frames.closed().await;
        assert_eq!(frames.next().await.expect("a frame"), Some(Bytes::from_static(b"a")));
        assert_eq!(frames.next().await.expect("the end"), None);
    }

    #[tokio::test]
    async fn a_promised_length_reserves_no_more_than_the_first_step() {
        let (client, server) = tokio::io::duplex(64);
        let mut frames = Frames::new(server, 100 << 20);
        let mut client = client;
        tokio::io::AsyncWriteExt::write_all(&mut client, &(90_i32 << 20).to_be_bytes())
            .await
            .expect("prefix");
        drop(client);
        assert!(matches!(frames.next().await, Err(FrameError::Torn)));
        assert!(frames.buffer.capacity() <= 2 * GROWTH_FIRST);
    }

    #[tokio::test]
    async fn who_waits_for_a_request_keeps_no_memory_for_it() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut frames = Frames::new(server, 100);
        tokio::io::AsyncWriteExt::write_all(&mut client, b"\0\0\0\x01a").await.expect("sent");
        assert_eq!(frames.next().await.expect("a frame"), Some(Bytes::from_static(b"a")));
        assert!(frames.next().now_or_never().is_none(), "it waits");
        assert_eq!(frames.buffer.capacity(), 0);
    }
}
