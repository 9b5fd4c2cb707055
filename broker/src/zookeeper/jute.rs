//! Jute, ZooKeeper's wire encoding: big-endian numbers, lengths before contents, -1 for null.
//!
//! Every length is checked against what is left of the frame before anything is made of it.

use bytes::Bytes;
use coordinator::znodes::{Acl, ProposedAcl, Stat};

/// The frame does not hold what its kind of request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the frame is not a well-formed request")]
pub(super) struct Malformed;

pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(frame: &'a [u8]) -> Reader<'a> {
        Reader { rest: frame }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn bool(&mut self) -> Result<bool, Malformed> {
        self.array::<1>().map(|[byte]| byte != 0)
    }

    pub(super) fn int(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn long(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes)
    }

    /// A buffer, still inside the frame; `None` for null.
    pub(super) fn buffer(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let length = self.int()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(Some(taken))
    }

    /// A znode's data, copied so that it does not keep the frame alive.
    pub(super) fn data(&mut self) -> Result<Option<Bytes>, Malformed> {
        Ok(self.buffer()?.map(Bytes::copy_from_slice))
    }

    /// Bytes that are not UTF-8 become U+FFFD, as in Java.
    pub(super) fn string(&mut self) -> Result<Option<String>, Malformed> {
        Ok(self.buffer()?.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
    }

    pub(super) fn required_string(&mut self) -> Result<String, Malformed> {
        self.string()?.ok_or(Malformed)
    }

    pub(super) fn strings(&mut self) -> Result<Vec<String>, Malformed> {
        let count = self.int()?;
        if count == -1 {
            return Err(Malformed);
        }
        (0..count).map(|_| self.required_string()).collect()
    }

    /// A null list is an empty one: both are invalid as access control lists.
    pub(super) fn acl(&mut self) -> Result<Vec<ProposedAcl>, Malformed> {
        let count = self.int()?;
        (0..count)
            .map(|_| Ok(ProposedAcl { perms: self.int()?, scheme: self.string()?, id: self.string()? }))
            .collect()
    }
}

/// One frame to be sent; the length in front is set by [`Writer::finish`].
pub(super) struct Writer {
    frame: Vec<u8>,
}

impl Writer {
    pub(super) fn new() -> Writer {
        Writer { frame: vec![0; 4] }
    }

    pub(super) fn bool(&mut self, value: bool) -> &mut Writer {
        self.frame.push(u8::from(value));
        self
    }

    pub(super) fn int(&mut self, value: i32) -> &mut Writer {
        self.frame.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn long(&mut self, value: i64) -> &mut Writer {
        self.frame.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn buffer(&mut self, value: Option<&[u8]>) -> &mut Writer {
        match value {
            None => self.int(-1),
            Some(bytes) => {
                self.count(bytes.len());
                self.frame.extend_from_slice(bytes);
                self
            }
        }
    }

    pub(super) fn string(&mut self, value: &str) -> &mut Writer {
        self.buffer(Some(value.as_bytes()))
    }

    pub(super) fn strings<'a>(&mut self, values: impl Iterator<Item = &'a str> + Clone) -> &mut Writer {
        self.count(values.clone().count());
        for value in values {
            self.string(value);
        }
        self
    }

    pub(super) fn acl(&mut self, list: &[Acl]) -> &mut Writer {
        self.count(list.len());
        for acl in list {
            self.int(acl.perms).string(&acl.identity.scheme).string(&acl.identity.id);
        }
        self
    }

    pub(super) fn stat(&mut self, stat: &Stat) -> &mut Writer {
        self.long(stat.czxid).long(stat.mzxid).long(stat.ctime).long(stat.mtime);
        self.int(stat.version).int(stat.cversion).int(stat.aversion);
        self.long(stat.ephemeral_owner).int(stat.data_length).int(stat.num_children).long(stat.pzxid)
    }

    pub(super) fn count(&mut self, count: usize) -> &mut Writer {
        self.int(i32::try_from(count).unwrap_or(i32::MAX))
    }

    pub(super) fn finish(mut self) -> Bytes {
        let length = u32::try_from(self.frame.len() - 4).unwrap_or(u32::MAX);
        self.frame[..4].copy_from_slice(&length.to_be_bytes());
        Bytes::from(self.frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_the_frame_is_malformed_not_an_allocation() {
        let mut huge = i32::MAX.to_be_bytes().to_vec();
        huge.push(0);
        assert_eq!(Reader::new(&huge).buffer(), Err(Malformed));
        assert_eq!(Reader::new(&huge).strings(), Err(Malformed));
        assert_eq!(Reader::new(&huge).acl(), Err(Malformed));
        assert_eq!(Reader::new(&(-2i32).to_be_bytes()).string(), Err(Malformed));
        assert_eq!(Reader::new(&(-1i32).to_be_bytes()).string(), Ok(None));
    }
}
