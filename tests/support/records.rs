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
