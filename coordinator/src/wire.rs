//! The protocol's primitive encodings, as Kafka's internal topics use them for their keys and values.
//!
//! Reading checks every length against what is there, so that no foreign byte leads to a panic or a large allocation.
//! Knows no schema: those are written out where the records live.

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

/// Why the key or value of an internal record could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    #[error("the record ends in the middle of a field")]
    Short,
    #[error("a length in the record is negative where none may be, or larger than the record")]
    Length,
    #[error("a text in the record is not UTF-8")]
    Text,
    #[error("the record has version {0}, which Kafka 3.9 does not know")]
    Version(i16),
    #[error("the record says that a transaction is in state {0}, which Kafka 3.9 does not know")]
    State(i8),
}

/// Reads fields from the front of a key or value.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (front, rest) = self.rest.split_at_checked(length).ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(front)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        self.take(N)?.try_into().map_err(|_| WireError::Short)
    }

    pub(crate) fn i8(&mut self) -> Result<i8, WireError> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    pub(crate) fn i16(&mut self) -> Result<i16, WireError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(crate) fn i32(&mut self) -> Result<i32, WireError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, WireError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub(crate) fn uuid(&mut self) -> Result<[u8; 16], WireError> {
        self.array()
    }

    /// A tagged field's bytes, behind their size.
    pub(crate) fn sized(&mut self) -> Result<&'a [u8], WireError> {
        let size = self.uvarint()?;
        self.take(usize::try_from(size).map_err(|_| WireError::Length)?)
    }

    pub(crate) fn uvarint(&mut self) -> Result<u32, WireError> {
        let mut value: u32 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::Length)
    }

    /// A length prefix; `None` is null. Compact ones (flexible versions) are a varint of the length plus one.
    fn length(&mut self, prefix: Prefix) -> Result<Option<usize>, WireError> {
        let length = match prefix {
            Prefix::Int16 => i64::from(self.i16()?),
            Prefix::Int32 => i64::from(self.i32()?),
            Prefix::Compact => i64::from(self.uvarint()?) - 1,
        };
        match length {
            -1 => Ok(None),
            _ => usize::try_from(length).map(Some).map_err(|_| WireError::Length),
        }
    }

    pub(crate) fn nullable_text(&mut self, compact: bool) -> Result<Option<&'a str>, WireError> {
        let prefix = if compact { Prefix::Compact } else { Prefix::Int16 };
        let Some(length) = self.length(prefix)? else { return Ok(None) };
        std::str::from_utf8(self.take(length)?).map(Some).map_err(|_| WireError::Text)
    }

    pub(crate) fn text(&mut self, compact: bool) -> Result<&'a str, WireError> {
        self.nullable_text(compact)?.ok_or(WireError::Length)
    }

    pub(crate) fn bytes(&mut self, compact: bool) -> Result<&'a [u8], WireError> {
        let prefix = if compact { Prefix::Compact } else { Prefix::Int32 };
        let length = self.length(prefix)?.ok_or(WireError::Length)?;
        self.take(length)
    }

    pub(crate) fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, WireError> {
        let Some(length) = self.length(Prefix::Int32)? else { return Ok(None) };
        self.take(length).map(Some)
    }

    /// How many elements follow. An element has at least one byte, so a count above what is left is a lie.
    pub(crate) fn count(&mut self, compact: bool) -> Result<usize, WireError> {
        self.nullable_count(compact)?.ok_or(WireError::Length)
    }

    /// Like [`Reader::count`]; `None` for a null array.
    pub(crate) fn nullable_count(&mut self, compact: bool) -> Result<Option<usize>, WireError> {
        let prefix = if compact { Prefix::Compact } else { Prefix::Int32 };
        match self.length(prefix)? {
            Some(count) if count > self.rest.len() => Err(WireError::Length),
            count => Ok(count),
        }
    }

    /// Passes over the tagged fields of a flexible version; nothing of 3.9's schemas is in them.
    pub(crate) fn skip_tagged_fields(&mut self) -> Result<(), WireError> {
        for _ in 0..self.uvarint()? {
            self.uvarint()?;
            self.sized()?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Prefix {
    Int16,
    Int32,
    Compact,
}

/// Writes fields one after the other: those of non-flexible versions, and, where a name says so, of flexible ones.
pub(crate) struct Writer {
    out: BytesMut,
}

impl Writer {
    /// Every key and value starts with its version.
    pub(crate) fn versioned(version: i16) -> Self {
        let mut out = BytesMut::new();
        out.put_i16(version);
        Writer { out }
    }

    /// A part of a value, such as a tagged field.
    pub(crate) fn unversioned() -> Self {
        Writer { out: BytesMut::new() }
    }

    pub(crate) fn i8(&mut self, value: i8) -> &mut Self {
        self.out.put_i8(value);
        self
    }

    pub(crate) fn i16(&mut self, value: i16) -> &mut Self {
        self.out.put_i16(value);
        self
    }

    pub(crate) fn i32(&mut self, value: i32) -> &mut Self {
        self.out.put_i32(value);
        self
    }

    pub(crate) fn i64(&mut self, value: i64) -> &mut Self {
        self.out.put_i64(value);
        self
    }

    /// Longer texts than 32,767 bytes cannot be told in this encoding; they do not come in through it either.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        let text = cut_to(text, usize::from(i16::MAX.unsigned_abs()));
        self.out.put_i16(i16::try_from(text.len()).unwrap_or(i16::MAX));
        self.out.put_slice(text.as_bytes());
        self
    }

    pub(crate) fn nullable_text(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.text(text),
            None => {
                self.out.put_i16(-1);
                self
            }
        }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len());
        self.out.put_slice(bytes);
        self
    }

    pub(crate) fn count(&mut self, count: usize) -> &mut Self {
        assert!(i32::try_from(count).is_ok(), "a request, and so what is kept of it, is shorter than 2 GiB");
        self.i32(i32::try_from(count).unwrap_or(i32::MAX))
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.put_slice(bytes);
        self
    }

    pub(crate) fn uuid(&mut self, bytes: &[u8; 16]) -> &mut Self {
        self.raw(bytes)
    }

    pub(crate) fn uvarint(&mut self, value: u32) -> &mut Self {
        let mut rest = value;
        while rest >= 0x80 {
            let [low, ..] = rest.to_le_bytes();
            self.out.put_u8(low | 0x80);
            rest >>= 7;
        }
        let [low, ..] = rest.to_le_bytes();
        self.out.put_u8(low);
        self
    }

    /// The length of a compact text, array or bytes.
    pub(crate) fn compact_count(&mut self, count: usize) -> &mut Self {
        let count = u32::try_from(count).ok().and_then(|count| count.checked_add(1));
        assert!(count.is_some(), "a request, and so what is kept of it, is shorter than 2 GiB");
        self.uvarint(count.unwrap_or(u32::MAX))
    }

    pub(crate) fn compact_text(&mut self, text: &str) -> &mut Self {
        self.compact_bytes(text.as_bytes())
    }

    pub(crate) fn nullable_compact_text(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.compact_text(text),
            None => self.uvarint(0),
        }
    }

    pub(crate) fn compact_bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.compact_count(bytes.len()).raw(bytes)
    }

    /// The end of a struct of a flexible version that has no tagged fields.
    pub(crate) fn no_tags(&mut self) -> &mut Self {
        self.uvarint(0)
    }

    pub(crate) fn finish(&mut self) -> Bytes {
        std::mem::take(&mut self.out).freeze()
    }
}

fn cut_to(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let end = (0..=bytes_max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let bytes =
            Writer::versioned(3).i32(-7).i64(1 << 40).text("wö").nullable_text(None).bytes(b"xyz").finish();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.i16(), Ok(3));
        assert_eq!(reader.i32(), Ok(-7));
        assert_eq!(reader.i64(), Ok(1 << 40));
        assert_eq!(reader.text(false), Ok("wö"));
        assert_eq!(reader.nullable_text(false), Ok(None));
        assert_eq!(reader.bytes(false), Ok(&b"xyz"[..]));
        assert_eq!(reader.i16(), Err(WireError::Short));
    }

    #[test]
    fn lengths_beyond_the_record_are_refused() {
        assert_eq!(Reader::new(&[0x7f, 0xff, 1]).text(false), Err(WireError::Short));
        assert_eq!(Reader::new(&[0x7f, 0xff, 0xff, 0xff, 1]).count(false), Err(WireError::Length));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xfe]).bytes(false), Err(WireError::Length));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).uvarint(), Err(WireError::Length));
        assert_eq!(Reader::new(&[0xff]).i32(), Err(WireError::Short));
    }

    #[test]
    fn a_text_too_long_for_its_prefix_is_cut_at_a_character() {
        let long = "ö".repeat(20_000);
        let bytes = Writer::versioned(0).text(&long).finish();
        let mut reader = Reader::new(&bytes);
        reader.i16().expect("version");
        assert_eq!(reader.text(false).map(str::len), Ok(32_766));
    }
}
