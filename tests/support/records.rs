//! Record batches and old message sets written by hand, so that they can also be written wrongly.
//!
//! Independent of `storage::batch` on purpose: a mistake there must not hide here.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};

/// Key or value of a record; `None` is null.
pub(crate) type Field = Option<Vec<u8>>;

/// A record batch of magic 2 with every header field open to change.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) base_offset: i64,
    /// `None`: the true length.
    pub(crate) length: Option<i32>,
    pub(crate) partition_leader_epoch: i32,
    pub(crate) magic: i8,
    /// `None`: the true CRC-32C.
    pub(crate) crc: Option<u32>,
    pub(crate) attributes: i16,
    /// `None`: one less than the number of records.
    pub(crate) last_offset_delta: Option<i32>,
    pub(crate) base_timestamp: i64,
    /// `None`: `base_timestamp`.
    pub(crate) max_timestamp: Option<i64>,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    /// `None`: the true count.
    pub(crate) count: Option<i32>,
    pub(crate) records: Vec<(Field, Field)>,
    /// Stands for the encoded records, for instance compressed ones.
    pub(crate) payload: Option<Vec<u8>>,
}

impl Batch {
    pub(crate) fn of(values: &[&str]) -> Batch {
        Batch {
            base_offset: 0,
            length: None,
            partition_leader_epoch: -1,
            magic: 2,
            crc: None,
            attributes: 0,
            last_offset_delta: None,
            base_timestamp: now_ms(),
            max_timestamp: None,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            count: None,
            records: values.iter().map(|value| (None, Some(value.as_bytes().to_vec()))).collect(),
            payload: None,
        }
    }

    /// The same batch as an idempotent producer's.
    pub(crate) fn by_producer(mut self, id: i64, epoch: i16, sequence: i32) -> Batch {
        (self.producer_id, self.producer_epoch, self.base_sequence) = (id, epoch, sequence);
        self
    }

    pub(crate) fn encode(&self) -> Bytes {
        let count = i32::try_from(self.records.len()).expect("few records");
        let payload = self.payload.clone().unwrap_or_else(|| self.encoded_records());
        let mut checked = BytesMut::new();
        checked.put_i16(self.attributes);
        checked.put_i32(self.last_offset_delta.unwrap_or(count - 1));
        checked.put_i64(self.base_timestamp);
        checked.put_i64(self.max_timestamp.unwrap_or(self.base_timestamp));
        checked.put_i64(self.producer_id);
        checked.put_i16(self.producer_epoch);
        checked.put_i32(self.base_sequence);
        checked.put_i32(self.count.unwrap_or(count));
        checked.put_slice(&payload);
        let mut batch = BytesMut::new();
        batch.put_i64(self.base_offset);
        batch.put_i32(self.length.unwrap_or(i32::try_from(9 + checked.len()).expect("a small batch")));
        batch.put_i32(self.partition_leader_epoch);
        batch.put_i8(self.magic);
        batch.put_u32(self.crc.unwrap_or_else(|| crc32c::crc32c(&checked)));
        batch.put_slice(&checked);
        batch.freeze()
    }

    fn encoded_records(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for (delta, (key, value)) in self.records.iter().enumerate() {
            let mut record = vec![0]; // attributes
            put_varint(&mut record, 0); // timestamp delta
            put_varint(&mut record, delta as i64);
            for field in [key, value] {
                match field {
                    Some(bytes) => {
                        put_varint(&mut record, bytes.len() as i64);
                        record.extend_from_slice(bytes);
                    }
                    None => put_varint(&mut record, -1),
                }
            }
            put_varint(&mut record, 0); // headers
            put_varint(&mut all, record.len() as i64);
            all.extend_from_slice(&record);
        }
        all
    }
}

/// A message set of magic 0 or 1, not compressed.
pub(crate) fn message_set(magic: i8, messages: &[(Option<&str>, Option<&str>)]) -> Bytes {
    let mut set = BytesMut::new();
    for (offset, (key, value)) in messages.iter().enumerate() {
        let mut checked = BytesMut::new();
        checked.put_i8(magic);
        checked.put_i8(0); // attributes
        if magic == 1 {
            checked.put_i64(now_ms());
        }
        for field in [key, value] {
            match field {
                Some(text) => {
                    checked.put_i32(text.len() as i32);
                    checked.put_slice(text.as_bytes());
                }
                None => checked.put_i32(-1),
            }
        }
        set.put_i64(offset as i64);
        set.put_i32(4 + checked.len() as i32);
        set.put_u32(crc32fast::hash(&checked));
        set.put_slice(&checked);
    }
    set.freeze()
}

/// Wall-clock time. Unit: milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(elapsed.as_millis()).expect("before the year 292 million")
}

/// Zigzag, seven bits a byte, as in the record format.
pub(crate) fn put_varint(to: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        to.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    to.push(rest as u8);
}

/// The records in uncompressed batches of magic 2, as offset and value; a batch that is cut off at the end is left out.
///
/// Panics where the bytes are none, or their checksum is wrong.
pub(crate) fn read_records(mut bytes: &[u8]) -> Vec<(i64, Vec<u8>)> {
    const PREFIX: usize = 12;
    const HEADER: usize = 61;
    let mut found = Vec::new();
    while bytes.len() >= PREFIX {
        let base_offset = i64::from_be_bytes(bytes[..8].try_into().expect("8 bytes"));
        let length = i32::from_be_bytes(bytes[8..PREFIX].try_into().expect("4 bytes"));
        let end = PREFIX + usize::try_from(length).expect("a length");
        let Some(batch) = bytes.get(..end) else { break };
        let crc = u32::from_be_bytes(batch[17..21].try_into().expect("4 bytes"));
        assert_eq!(crc, crc32c::crc32c(&batch[21..]), "the checksum of the batch at {base_offset}");
        let mut records = &batch[HEADER..];
        while !records.is_empty() {
            let length = usize::try_from(varint(&mut records)).expect("a length");
            let (mut record, rest) = records.split_at(length);
            records = rest;
            record = &record[1..]; // attributes
            varint(&mut record); // timestamp
            let offset = base_offset + varint(&mut record);
            field(&mut record);
            found.push((offset, field(&mut record)));
        }
        bytes = &bytes[end..];
    }
    found
}

fn field(bytes: &mut &[u8]) -> Vec<u8> {
    let Ok(length) = usize::try_from(varint(bytes)) else { return Vec::new() };
    let (field, rest) = bytes.split_at(length);
    *bytes = rest;
    field.to_vec()
}

/// A number in zigzag encoding, seven bits a byte.
fn varint(bytes: &mut &[u8]) -> i64 {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().expect("a number");
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}
