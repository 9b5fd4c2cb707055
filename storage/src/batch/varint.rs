//! Zig-zag variable-length integers, the way Kafka's records use them.
//!
//! Reading is as lenient as Kafka's: bits beyond the type's width are dropped, over-long forms are taken.

/// A number that does not end within its widest form (5 bytes, or 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endless;

/// Collects the bytes of one number from wherever they come.
#[inline]
pub(super) fn decode_i32<E: From<Endless>>(mut next: impl FnMut() -> Result<u8, E>) -> Result<i32, E> {
    let first = next()?;
    if first & 0x80 == 0 {
        return Ok(unzigzag_i32(u32::from(first)));
    }
    let mut raw = u32::from(first & 0x7f);
    for shift in [7, 14, 21, 28] {
        let byte = next()?;
        raw |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(unzigzag_i32(raw));
        }
    }
    Err(Endless.into())
}

/// As [`decode_i32`], for 64 bits.
#[inline]
pub(super) fn decode_i64<E: From<Endless>>(mut next: impl FnMut() -> Result<u8, E>) -> Result<i64, E> {
    let mut raw = 0_u64;
    for shift in (0..=63).step_by(7) {
        let byte = next()?;
        raw |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed());
        }
    }
    Err(Endless.into())
}

const fn unzigzag_i32(raw: u32) -> i32 {
    (raw >> 1).cast_signed() ^ -(raw & 1).cast_signed()
}

const fn zigzag_i32(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)).cast_unsigned()
}

const fn zigzag_i64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

pub(super) fn put_i32(out: &mut Vec<u8>, value: i32) {
    put_raw(out, u64::from(zigzag_i32(value)));
}

pub(super) fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_raw(out, zigzag_i64(value));
}

fn put_raw(out: &mut Vec<u8>, mut raw: u64) {
    while raw >= 0x80 {
        out.push((raw & 0x7f) as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// Bytes `value` takes. Range: `1..=5`.
pub(super) const fn size_i32(value: i32) -> usize {
    size_raw(zigzag_i32(value) as u64)
}

/// Bytes `value` takes. Range: `1..=10`.
pub(super) const fn size_i64(value: i64) -> usize {
    size_raw(zigzag_i64(value))
}

const fn size_raw(raw: u64) -> usize {
    (64 - (raw | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_i32(mut bytes: &[u8]) -> Result<i32, Endless> {
        decode_i32(|| {
            let (first, rest) = bytes.split_first().ok_or(Endless)?;
            bytes = rest;
            Ok(*first)
        })
    }

    fn read_i64(mut bytes: &[u8]) -> Result<i64, Endless> {
        decode_i64(|| {
            let (first, rest) = bytes.split_first().ok_or(Endless)?;
            bytes = rest;
            Ok(*first)
        })
    }

    proptest! {
        #[test]
        fn every_number_reads_back_and_takes_the_size_foretold(narrow: i32, wide: i64) {
            let mut bytes = Vec::new();
            put_i32(&mut bytes, narrow);
            prop_assert_eq!(bytes.len(), size_i32(narrow));
            prop_assert_eq!(read_i32(&bytes), Ok(narrow));
            bytes.clear();
            put_i64(&mut bytes, wide);
            prop_assert_eq!(bytes.len(), size_i64(wide));
            prop_assert_eq!(read_i64(&bytes), Ok(wide));
        }
    }

    #[test]
    fn a_number_without_an_end_is_refused() {
        assert_eq!(read_i32(&[0xff; 6]), Err(Endless));
        assert_eq!(read_i64(&[0xff; 11]), Err(Endless));
        assert_eq!(
            read_i32(&[0xff, 0xff, 0xff, 0xff, 0x7f]),
            Ok(i32::MIN),
            "bits beyond the 32nd are dropped"
        );
    }
}
