//! A response as a list of pieces: what is encoded, and between it the record bytes, untouched.
//!
//! `kafka_protocol` writes messages through `BufMut`; a slice that lies inside one of the announced record buffers is
//! kept as a reference to that buffer instead of being copied (a 1 MiB fetch answer costs no memcpy), and goes out of its
//! file without being looked at.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::Range;

use bytes::buf::UninitSlice;
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::buf::ByteBufMut;
use storage::disk::FileBytes;

use crate::wire::outlet::Outlet;

/// Slices shorter than this are copied: a piece costs more than so many bytes. Unit: bytes.
const PIECE_SIZE_MIN: usize = 512;

/// Pieces in memory handed to one `sendmsg` (IOV_MAX is 1024).
const PIECES_PER_WRITE: usize = 64;

/// Collects an encoded message; `records` are the buffers that may be referred to.
pub(crate) struct ScatterBuf<'a> {
    records: &'a [FileBytes],
    pieces: Vec<FileBytes>,
    pieces_len: usize,
    tail: BytesMut,
}

impl<'a> ScatterBuf<'a> {
    pub(crate) fn new(records: &'a [FileBytes]) -> Self {
        ScatterBuf { records, pieces: Vec::new(), pieces_len: 0, tail: BytesMut::with_capacity(256) }
    }

    pub(crate) fn finish(mut self) -> Pieces {
        self.close_tail();
        Pieces { pieces: self.pieces, len: self.pieces_len }
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            let piece = self.tail.split().freeze();
            self.push(piece.into());
        }
    }

    fn push(&mut self, piece: FileBytes) {
        self.pieces_len += piece.len();
        self.pieces.push(piece);
    }

    /// The announced buffer that `slice` lies in, cut to it.
    fn announced(&self, slice: &[u8]) -> Option<FileBytes> {
        let start = slice.as_ptr() as usize;
        let owner = self.records.iter().find(|records| {
            let first = records.bytes().as_ptr() as usize;
            first <= start && start + slice.len() <= first + records.len()
        })?;
        Some(owner.part(slice))
    }
}

// SAFETY: every method but `put_slice` delegates to `BytesMut`, whose contract is the same; `put_slice` appends
// exactly `src` to the logical content.
unsafe impl BufMut for ScatterBuf<'_> {
    fn remaining_mut(&self) -> usize {
        usize::MAX - self.offset()
    }

    unsafe fn advance_mut(&mut self, count: usize) {
        // SAFETY: the caller initialised `count` bytes of `chunk_mut`, which is the tail's.
        unsafe { self.tail.advance_mut(count) }
    }

    fn chunk_mut(&mut self) -> &mut UninitSlice {
        self.tail.chunk_mut()
    }

    fn put_slice(&mut self, src: &[u8]) {
        if src.len() >= PIECE_SIZE_MIN
            && let Some(piece) = self.announced(src)
        {
            self.close_tail();
            self.push(piece);
        } else {
            self.tail.extend_from_slice(src);
        }
    }
}

impl ByteBufMut for ScatterBuf<'_> {
    fn offset(&self) -> usize {
        self.pieces_len + self.tail.len()
    }

    fn seek(&mut self, offset: usize) {
        let within =
            offset.checked_sub(self.pieces_len).expect("messages seek only within what is not yet closed");
        self.tail.resize(within, 0);
    }

    fn range(&mut self, range: Range<usize>) -> &mut [u8] {
        let shift = self.pieces_len;
        &mut self.tail[range.start - shift..range.end - shift]
    }
}

/// An encoded response, ready to be written.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    pieces: Vec<FileBytes>,
    len: usize,
}

impl Pieces {
    /// What of it lies in memory of this process, not in a file. Unit: bytes.
    pub(crate) fn bytes_in_memory(&self) -> usize {
        self.pieces.iter().filter(|piece| !piece.is_sendable()).map(FileBytes::len).sum()
    }

    /// Writes all of it behind its four-byte length.
    pub(crate) async fn write_framed<W: Outlet>(self, outlet: &W) -> io::Result<()> {
        let length =
            i32::try_from(self.len).map_err(|_| io::Error::other("a response is larger than 2 GiB"))?;
        let mut queue: VecDeque<FileBytes> = VecDeque::with_capacity(self.pieces.len() + 1);
        queue.push_back(Bytes::copy_from_slice(&length.to_be_bytes()).into());
        queue.extend(self.pieces.into_iter().filter(|piece| !piece.is_empty()));
        while let Some(first) = queue.front() {
            let written = if first.is_sendable() {
                outlet.send(first).await?
            } else {
                let in_memory = queue.iter().take_while(|piece| !piece.is_sendable());
                let slices: Vec<IoSlice<'_>> =
                    in_memory.take(PIECES_PER_WRITE).map(|piece| IoSlice::new(piece.bytes())).collect();
                outlet.write(&slices, slices.len() < queue.len()).await?
            };
            if written == 0 {
                // The file of the records was cut since they were read: the reader has to ask again.
                return Err(io::ErrorKind::WriteZero.into());
            }
            forget(&mut queue, written);
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn concat(&self) -> Vec<u8> {
        self.pieces.iter().flat_map(|piece| piece.bytes().iter().copied()).collect()
    }
}

/// Takes what has been written from the front.
fn forget(queue: &mut VecDeque<FileBytes>, mut written: usize) {
    while let Some(first) = queue.front_mut() {
        if written < first.len() {
            first.advance(written);
            return;
        }
        written -= first.len();
        queue.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Takes at most 1000 bytes at a time.
    #[derive(Default)]
    struct Narrow(Mutex<Vec<u8>>);

    impl Outlet for Narrow {
        async fn write(&self, slices: &[IoSlice<'_>], _: bool) -> io::Result<usize> {
            let bytes = slices.iter().flat_map(|slice| slice.iter().copied());
            let mut received = self.0.lock().expect("whole");
            let before = received.len();
            received.extend(bytes.take(1000));
            Ok(received.len() - before)
        }

        async fn send(&self, bytes: &FileBytes) -> io::Result<usize> {
            self.write(&[IoSlice::new(bytes.bytes())], false).await
        }
    }

    #[test]
    fn announced_records_are_referred_to_and_all_else_is_copied() {
        let records = Bytes::from(vec![7; 4096]);
        let announced = [FileBytes::from(records.clone())];
        let mut buf = ScatterBuf::new(&announced);
        buf.put_i32(1);
        buf.put_slice(&records[100..1100]);
        buf.put_slice(&[9; 600]);
        let pieces = buf.finish();

        assert_eq!(pieces.pieces[1].bytes().as_ptr(), records[100..].as_ptr());
        assert_eq!(pieces.len, 4 + 1000 + 600);
        assert_eq!(pieces.concat()[4..1004], [7; 1000]);
        assert_eq!(pieces.pieces.len(), 3);
    }

    #[tokio::test]
    async fn partial_writes_lose_nothing() {
        let records = Bytes::from((0..200_000_u32).map(|n| n as u8).collect::<Vec<_>>());
        let announced = [FileBytes::from(records.clone())];
        let mut buf = ScatterBuf::new(&announced);
        buf.put_u8(1);
        buf.put_slice(&records);
        buf.put_u8(2);
        let pieces = buf.finish();
        let expected = pieces.concat();
        let outlet = Narrow::default();

        pieces.write_framed(&outlet).await.expect("written");
        let received = outlet.0.into_inner().expect("whole");

        assert_eq!(received[..4], (expected.len() as i32).to_be_bytes());
        assert_eq!(received[4..], expected);
    }
}
