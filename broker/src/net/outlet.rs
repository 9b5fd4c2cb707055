//! The way out of a connection: bytes from memory, and bytes that the kernel takes from a file by itself.

use std::future::Future;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;

use socket2::SockRef;
use storage::disk::FileBytes;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

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
