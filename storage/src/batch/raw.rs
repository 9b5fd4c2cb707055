//! One record of magic 2 inside an uncompressed stretch of bytes, split into its fields without copying.

use super::error::BatchError;
use super::varint::{self, Endless};

/// The fields of a record as they lie in the batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawRecord<'a> {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) header_count: usize,
    /// The headers one after the other, checked to be `header_count` many.
    pub(super) headers: &'a [u8],
}

pub(super) const NEGATIVE_COUNT: BatchError =
    BatchError::InvalidRecord("a batch has a negative number of records");
pub(super) const PREMATURE_END: BatchError =
    BatchError::InvalidRecord("Incorrect declared batch size, premature EOF reached");
pub(super) const RECORDS_REMAIN: BatchError =
    BatchError::InvalidRecord("Incorrect declared batch size, records still remaining in file");
pub(super) const MALFORMED: BatchError = BatchError::InvalidRecord("Found invalid record structure");
pub(super) const WRONG_SIZE: BatchError =
    BatchError::InvalidRecord("Invalid record size: the record's fields do not end where its size says");

impl From<Endless> for BatchError {
    fn from(_: Endless) -> BatchError {
        MALFORMED
    }
}

/// Splits the record at the front of `rest` off.
#[inline]
pub(super) fn next_record<'a>(rest: &mut &'a [u8]) -> Result<RawRecord<'a>, BatchError> {
    let mut cursor = Cursor(rest);
    let size = cursor.i32().ok_or(PREMATURE_END)?;
    let body = usize::try_from(size).ok().and_then(|size| cursor.take(size)).ok_or(PREMATURE_END)?;
    *rest = cursor.0;
    split(body)
}

/// Splits a record's body, what follows its size, into fields; they must fill it.
#[inline]
pub(super) fn split(body: &[u8]) -> Result<RawRecord<'_>, BatchError> {
    Cursor(body).record().ok_or(MALFORMED)
}

/// Reads forward through borrowed bytes; `None` where they are not what is asked for.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    #[inline]
    fn record(&mut self) -> Option<RawRecord<'a>> {
        let _attributes = self.byte()?;
        let timestamp_delta = self.i64()?;
        let offset_delta = self.i32()?;
        let key = self.nullable()?;
        let value = self.nullable()?;
        let header_count = usize::try_from(self.i32()?).ok()?;
        let headers = self.0;
        for _ in 0..header_count {
            self.header()?;
        }
        let record = RawRecord { timestamp_delta, offset_delta, key, value, header_count, headers };
        self.0.is_empty().then_some(record)
    }

    #[inline]
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    #[inline]
    fn i32(&mut self) -> Option<i32> {
        varint::decode_i32(|| self.byte().ok_or(Endless)).ok()
    }

    #[inline]
    fn i64(&mut self) -> Option<i64> {
        varint::decode_i64(|| self.byte().ok_or(Endless)).ok()
    }

    #[inline]
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    #[inline]
    fn nullable(&mut self) -> Option<Option<&'a [u8]>> {
        match usize::try_from(self.i32()?) {
            Ok(len) => Some(Some(self.take(len)?)),
            Err(_) => Some(None),
        }
    }

    /// A header's key, which may not be null, and its value, which may.
    #[inline]
    pub(super) fn header(&mut self) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        let key = self.nullable()??;
        Some((key, self.nullable()?))
    }
}
