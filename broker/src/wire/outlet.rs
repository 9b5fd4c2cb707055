//! The way out of a connection: bytes from memory, and bytes that the kernel takes from a file by itself.

use std::future::Future;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::SockRef;
use storage::disk::FileBytes;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::timeout;

/// What answers are written to.
pub(crate) trait Outlet: Send {
    /// Writes some of `slices`. `more` follows at once, so that what is short need not leave by itself.
    fn write(&self, slices: &[IoSlice<'_>], more: bool) -> impl Future<Output = io::Result<usize>> + Send;

    /// Sends some of `bytes`, which are [sendable](FileBytes::is_sendable).
    fn send(&self, bytes: &FileBytes) -> impl Future<Output = io::Result<usize>> + Send;
}

/// Plaintext: records go from the page cache to the socket and touch no memory of this process (`sendfile`; see
/// docs/decisions/sending-records.md).
impl Outlet for OwnedWriteHalf {
    async fn write(&self, slices: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
        let stream: &TcpStream = self.as_ref();
        let flags = if more { libc::MSG_MORE } else { 0 } | libc::MSG_NOSIGNAL;
        let write = || SockRef::from(stream).send_vectored_with_flags(slices, flags);
        stream.async_io(Interest::WRITABLE, write).await
    }

    async fn send(&self, bytes: &FileBytes) -> io::Result<usize> {
        let stream: &TcpStream = self.as_ref();
        stream.async_io(Interest::WRITABLE, || bytes.send(stream.as_fd())).await
    }
}

/// An outlet that is given up once its other end has taken nothing for a while (`connections.max.idle.ms`).
pub(crate) struct Patient<W, P> {
    pub(crate) outlet: W,
    /// `None`: for ever.
    pub(crate) patience: Option<Duration>,
    /// Called whenever it has taken something.
    pub(crate) progress: P,
}

impl<W: Outlet + Sync, P: Fn() + Send + Sync> Outlet for Patient<W, P> {
    async fn write(&self, slices: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
        let written = within(self.patience, self.outlet.write(slices, more)).await?;
        (self.progress)();
        Ok(written)
    }

    async fn send(&self, bytes: &FileBytes) -> io::Result<usize> {
        let sent = within(self.patience, self.outlet.send(bytes)).await?;
        (self.progress)();
        Ok(sent)
    }
}

async fn within(
    patience: Option<Duration>,
    written: impl Future<Output = io::Result<usize>>,
) -> io::Result<usize> {
    match patience {
        Some(patience) => timeout(patience, written).await.map_err(|_| io::ErrorKind::TimedOut)?,
        None => written.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The other end of this one never reads.
    struct Stuck;

    impl Outlet for Stuck {
        async fn write(&self, _: &[IoSlice<'_>], _: bool) -> io::Result<usize> {
            std::future::pending().await
        }

        async fn send(&self, _: &FileBytes) -> io::Result<usize> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_given_up_after_the_idle_time() {
        let patience = Some(Duration::from_secs(600));
        let outlet = Patient { outlet: Stuck, patience, progress: || unreachable!("nothing is taken") };
        let given_up = outlet.write(&[IoSlice::new(b"x")], false).await;
        assert_eq!(given_up.expect_err("nobody reads").kind(), io::ErrorKind::TimedOut);
        let given_up = outlet.send(&FileBytes::from(bytes::Bytes::from_static(b"x"))).await;
        assert_eq!(given_up.expect_err("nobody reads").kind(), io::ErrorKind::TimedOut);
    }
}
