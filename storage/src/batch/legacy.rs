//! Messages of magic 0 and 1: alone in the log, or many inside the compressed value of a wrapper message.
//!
//! A wrapper is read twice as a stream, first for the last inner offset, from which the others follow in magic 1;
//! so no more than one inner message is held at a time.

use crate::types::{Offset, TimestampMs};

use super::attributes::{Attributes, Compression, TimestampType};
use super::codec::{Deflate, Deflated, Inflate};
use super::crc;
use super::error::BatchError;
use super::fields::Fields;
use super::header::LOG_OVERHEAD;
use super::rules::TargetCompression;

/// Checksum, magic and attributes.
const HEADER_V0: usize = 6;
/// The same and a timestamp.
const HEADER_V1: usize = 14;
/// Smallest message: the header of magic 0 and two lengths.
const MESSAGE_MIN: usize = 14;

/// A message without its offset and size: `crc magic attributes [timestamp] key value`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    bytes: &'a [u8],
    pub(super) crc: u32,
    /// As written; inside a wrapper it may be anything.
    pub(super) magic: i8,
    pub(super) attributes: i8,
    /// `-1` for magic 0.
    pub(super) timestamp: TimestampMs,
}

impl<'a> Message<'a> {
    /// Reads the fields of fixed size.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Message<'a>, BatchError> {
        let mut fields = Fields(bytes);
        let (crc, magic, attributes) = (fields.u32(), fields.i8(), fields.i8());
        let message = Message {
            bytes,
            crc,
            magic,
            attributes,
            timestamp: if magic == 0 { TimestampMs::NONE } else { TimestampMs(fields.i64()) },
        };
        if bytes.len() < message.key_position() {
            return Err(BatchError::LegacyLengths { magic });
        }
        Ok(message)
    }

    fn key_position(&self) -> usize {
        if self.magic == 0 { HEADER_V0 } else { HEADER_V1 }
    }

    /// Looks at the key's length only.
    pub(super) fn has_key(&self) -> bool {
        let len = self.bytes.get(self.key_position()..).and_then(|rest| rest.first_chunk::<4>());
        len.is_some_and(|len| i32::from_be_bytes(*len) >= 0)
    }

    pub(super) fn key(&self) -> Result<Option<&'a [u8]>, BatchError> {
        Ok(self.field(self.key_position())?.0)
    }

    pub(super) fn value(&self) -> Result<Option<&'a [u8]>, BatchError> {
        let (_, next) = self.field(self.key_position())?;
        Ok(self.field(next)?.0)
    }

    /// A field with a length of 4 bytes in front, and the position behind it.
    fn field(&self, position: usize) -> Result<(Option<&'a [u8]>, usize), BatchError> {
        let broken = BatchError::LegacyLengths { magic: self.magic };
        let rest = self.bytes.get(position..).ok_or(broken.clone())?;
        let (len, rest) = rest.split_first_chunk::<4>().ok_or(broken.clone())?;
        match usize::try_from(i32::from_be_bytes(*len)) {
            Ok(len) => Ok((Some(rest.get(..len).ok_or(broken)?), position + 4 + len)),
            Err(_) => Ok((None, position + 4)),
        }
    }

    pub(super) fn compression(&self) -> Result<Compression, BatchError> {
        Attributes(i16::from(self.attributes)).compression()
    }

    pub(super) fn timestamp_type(&self) -> Option<TimestampType> {
        (self.magic != 0).then(|| Attributes(i16::from(self.attributes)).timestamp_type())
    }

    pub(super) fn check_crc(&self) -> Result<(), BatchError> {
        let computed = crc::crc32(self.bytes.get(4..).unwrap_or_default());
        if computed == self.crc { Ok(()) } else { Err(BatchError::WrongCrc { stored: self.crc, computed }) }
    }

    /// As Kafka prints a message, with the timestamp it takes from its wrapper.
    pub(super) fn describe(
        &self,
        offset: i64,
        timestamp: TimestampMs,
        kind: Option<TimestampType>,
    ) -> String {
        let codec = self.compression().map_or_else(|error| error.to_string(), |codec| codec.to_string());
        let len = |field: Result<Option<&[u8]>, BatchError>| field.ok().flatten().map_or(0, <[u8]>::len);
        let (key, value) = (len(self.key()), len(self.value()));
        let stamp = match kind {
            _ if self.magic == 0 => String::new(),
            Some(kind) => format!(" {kind}={timestamp},"),
            None => format!(" NoTimestampType={timestamp},"),
        };
        format!(
            "LegacyRecordBatch(offset={offset}, Record(magic={}, attributes={}, compression={codec}, crc={},{stamp} \
             key={key} bytes, value={value} bytes))",
            self.magic, self.attributes, self.crc
        )
    }
}

/// One message with what its place gives it.
pub(super) struct Placed<'a> {
    pub(super) offset: Offset,
    /// Its own, or the wrapper's where the broker set that.
    pub(super) timestamp: TimestampMs,
    pub(super) timestamp_type: Option<TimestampType>,
    pub(super) message: Message<'a>,
}

/// Walks the messages of one entry of the log: itself, or those it wraps.
pub(super) struct Messages<'a> {
    offset: Offset,
    outer: Message<'a>,
    state: State<'a>,
}

enum State<'a> {
    /// Not compressed: the entry is the message.
    Single { taken: bool },
    Wrapped {
        stream: Inflate<'a>,
        /// What to add to the offsets inside; they are absolute in magic 0.
        base: i64,
        current: Vec<u8>,
    },
}

impl<'a> Messages<'a> {
    /// `entry` is a whole entry of magic 0 or 1, offset and size included.
    pub(super) fn new(entry: &'a [u8]) -> Result<Messages<'a>, BatchError> {
        let offset = Offset(Fields(entry).i64());
        let outer = Message::parse(entry.get(LOG_OVERHEAD..).unwrap_or_default())?;
        let codec = outer.compression()?;
        if codec == Compression::None {
            return Ok(Messages { offset, outer, state: State::Single { taken: false } });
        }
        if codec == Compression::Zstd {
            return Err(BatchError::InvalidRecord(
                "Invalid wrapper compressionType found in legacy deep record iterator",
            ));
        }
        let value = outer
            .value()?
            .ok_or(BatchError::InvalidRecord("Found invalid compressed record set with null value"))?;
        let last = last_inner_offset(Inflate::new(codec, outer.magic, value)?)?;
        let base = match outer.magic {
            0 => 0,
            // Some versions of librdkafka send 0 whatever is inside.
            _ if offset == Offset::ZERO => 0,
            _ if offset.0 < last => {
                return Err(BatchError::InvalidRecord(
                    "Found invalid wrapper offset in compressed v1 message set, wrapper offset is less than the last \
                     inner message offset and it is not zero.",
                ));
            }
            _ => offset.0.wrapping_sub(last),
        };
        let stream = Inflate::new(codec, outer.magic, value)?;
        Ok(Messages { offset, outer, state: State::Wrapped { stream, base, current: Vec::new() } })
    }

    pub(super) fn outer(&self) -> &Message<'a> {
        &self.outer
    }

    /// The next message; it borrows from this walk.
    pub(super) fn next(&mut self) -> Result<Option<Placed<'_>>, BatchError> {
        let outer = self.outer;
        match &mut self.state {
            State::Single { taken: true } => Ok(None),
            State::Single { taken } => {
                *taken = true;
                Ok(Some(Placed {
                    offset: self.offset,
                    timestamp: outer.timestamp,
                    timestamp_type: outer.timestamp_type(),
                    message: outer,
                }))
            }
            State::Wrapped { stream, base, current } => {
                let Some((offset, size)) = next_frame(stream)? else {
                    return Ok(None);
                };
                let Some(bytes) = stream.take_or_end(size)? else {
                    return Ok(None);
                };
                *current = bytes;
                let message = Message::parse(current)?;
                if message.compression()? != Compression::None {
                    return Err(BatchError::InvalidRecord("Inner messages must not be compressed"));
                }
                let (timestamp, timestamp_type) = match (message.magic, outer.timestamp_type()) {
                    (1, Some(TimestampType::LogAppendTime)) => (outer.timestamp, outer.timestamp_type()),
                    (1, kind) => (message.timestamp, kind),
                    _ => (message.timestamp, message.timestamp_type()),
                };
                Ok(Some(Placed {
                    offset: Offset(base.wrapping_add(offset)),
                    timestamp,
                    timestamp_type,
                    message,
                }))
            }
        }
    }
}

/// Offset and size in front of an inner message; `None` where the stream ends.
fn next_frame(stream: &mut Inflate<'_>) -> Result<Option<(i64, usize)>, BatchError> {
    let Some(frame) = stream.take_or_end(LOG_OVERHEAD)? else {
        return Ok(None);
    };
    let mut fields = Fields(&frame);
    let (offset, length) = (fields.i64(), fields.i32());
    match usize::try_from(length) {
        Ok(size) if size >= MESSAGE_MIN => Ok(Some((offset, size))),
        _ => Err(BatchError::TooSmall(length)),
    }
}

/// Reads a wrapper's value to its end.
fn last_inner_offset(mut stream: Inflate<'_>) -> Result<i64, BatchError> {
    let mut last = None;
    while let Some((offset, size)) = next_frame(&mut stream)? {
        if !stream.skip_or_end(size)? {
            break;
        }
        last = Some(offset);
    }
    last.ok_or(BatchError::InvalidRecord("Found invalid compressed record set with no inner records"))
}

/// Writes messages of magic 0 or 1 for old consumers: one by one, or wrapped where they are compressed.
pub(super) struct MessageSet {
    magic: i8,
    kind: TimestampType,
    /// First offset of the set: in magic 1 the offsets inside a wrapper count from it.
    base: Offset,
    sink: Deflate,
    last: Option<Offset>,
    max_timestamp: TimestampMs,
    log_append_time: TimestampMs,
}

impl MessageSet {
    /// `limit` bounds the bytes kept; `log_append_time` counts where `kind` says so.
    pub(super) fn new(
        magic: i8,
        codec: Compression,
        kind: TimestampType,
        base: Offset,
        log_append_time: TimestampMs,
        limit: usize,
    ) -> Result<MessageSet, BatchError> {
        let room = if codec == Compression::None { 0 } else { LOG_OVERHEAD + header_size(magic) + 8 };
        let sink = Deflate::new(TargetCompression::Producer, codec, magic, room, limit)?;
        Ok(MessageSet {
            magic,
            kind,
            base,
            sink,
            last: None,
            max_timestamp: TimestampMs::NONE,
            log_append_time,
        })
    }

    pub(super) fn append(
        &mut self,
        offset: Offset,
        timestamp: TimestampMs,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<(), BatchError> {
        let timestamp = match self.kind {
            TimestampType::CreateTime => timestamp,
            TimestampType::LogAppendTime => self.log_append_time,
        };
        let relative = self.magic == 1 && self.sink.codec() != Compression::None;
        let inner_offset = if relative { offset.0.wrapping_sub(self.base.0) } else { offset.0 };
        let (key_len, value_len) = (key.map_or(0, <[u8]>::len), value.map_or(0, <[u8]>::len));
        let size = header_size(self.magic) + 8 + key_len + value_len;

        let mut head = Vec::with_capacity(LOG_OVERHEAD + HEADER_V1 + 4);
        head.extend_from_slice(&inner_offset.to_be_bytes());
        head.extend_from_slice(&length(size)?.to_be_bytes());
        head.extend_from_slice(&[0; 4]);
        self.put_attributes(&mut head, Compression::None, timestamp);
        head.extend_from_slice(&key.map_or(Ok(-1), |key| length(key.len()))?.to_be_bytes());
        let value_prefix = value.map_or(Ok(-1), |value| length(value.len()))?.to_be_bytes();

        let mut hasher = crc32fast::Hasher::new();
        hasher.update(head.get(LOG_OVERHEAD + 4..).unwrap_or_default());
        hasher.update(key.unwrap_or_default());
        hasher.update(&value_prefix);
        hasher.update(value.unwrap_or_default());
        put_at(&mut head, LOG_OVERHEAD, hasher.finalize().to_be_bytes());

        self.sink.write(&head)?;
        self.sink.write(key.unwrap_or_default())?;
        self.sink.write(&value_prefix)?;
        self.sink.write(value.unwrap_or_default())?;
        self.last = Some(offset);
        self.max_timestamp = self.max_timestamp.max(timestamp);
        Ok(())
    }

    /// Magic, attributes and, in magic 1, the timestamp.
    fn put_attributes(&self, out: &mut Vec<u8>, codec: Compression, timestamp: TimestampMs) {
        out.push(self.magic.cast_unsigned());
        if self.magic == 0 {
            out.push(codec as u8);
        } else {
            out.push(codec as u8 | if self.kind == TimestampType::LogAppendTime { 0x08 } else { 0 });
            out.extend_from_slice(&timestamp.0.to_be_bytes());
        }
    }

    /// The bytes of the set; empty where nothing was appended.
    pub(super) fn finish(self) -> Result<Vec<u8>, BatchError> {
        let (codec, last) = (self.sink.codec(), self.last);
        let timestamp = match self.kind {
            TimestampType::CreateTime => self.max_timestamp,
            TimestampType::LogAppendTime => self.log_append_time,
        };
        let mut head = Vec::new();
        self.put_attributes(&mut head, codec, timestamp);
        let magic = self.magic;
        let mut bytes = match self.sink.finish()? {
            Deflated::Bytes(bytes) => bytes,
            Deflated::TooLarge(limit) => return Err(BatchError::Inflated { limit }),
        };
        let Some(last) = last else {
            return Ok(Vec::new());
        };
        if codec == Compression::None {
            return Ok(bytes);
        }
        let size = bytes.len() - LOG_OVERHEAD;
        let value_size = size - header_size(magic) - 8;
        put_at(&mut bytes, 0, last.0.to_be_bytes());
        put_at(&mut bytes, 8, length(size)?.to_be_bytes());
        head.extend_from_slice(&(-1_i32).to_be_bytes());
        head.extend_from_slice(&length(value_size)?.to_be_bytes());
        if let Some(room) = bytes.get_mut(LOG_OVERHEAD + 4..).and_then(|rest| rest.get_mut(..head.len())) {
            room.copy_from_slice(&head);
        }
        let crc = crc::crc32(bytes.get(LOG_OVERHEAD + 4..).unwrap_or_default());
        put_at(&mut bytes, LOG_OVERHEAD, crc.to_be_bytes());
        Ok(bytes)
    }
}

const fn header_size(magic: i8) -> usize {
    if magic == 0 { HEADER_V0 } else { HEADER_V1 }
}

fn put_at<const N: usize>(bytes: &mut [u8], position: usize, field: [u8; N]) {
    if let Some(room) = bytes.get_mut(position..).and_then(|rest| rest.first_chunk_mut::<N>()) {
        *room = field;
    }
}

fn length(len: usize) -> Result<i32, BatchError> {
    i32::try_from(len).map_err(|_| BatchError::Inflated { limit: i32::MAX as u64 })
}
