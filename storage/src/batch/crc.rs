//! The two checksums of the log: CRC-32C for magic 2, CRC-32 (IEEE) for magic 0 and 1.

pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

pub(super) fn append_crc32c(crc: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc, bytes)
}

pub(super) fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// The CRC-32C of a piece that other bytes will be put in front of.
///
/// A checksum is a remainder of polynomials over GF(2): putting `n` bytes behind a piece multiplies its remainder by
/// x^8n. That factor is worked out once here, so that a new front costs one multiplication, some 50 ns for any length.
/// (The crate's own `crc32c_combine` takes 40 us.)
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    crc: u32,
    factor: u32,
}

impl Tail {
    /// The last `len` bytes of something with the checksum `whole`, of which the bytes before them have `front`.
    pub(super) fn cut_off(whole: u32, front: u32, len: usize) -> Tail {
        let factor = power_of_x(len);
        Tail { crc: whole ^ multiply(factor, front), factor }
    }

    /// The checksum of a front with the checksum `front`, followed by this tail.
    pub(super) fn behind(self, front: u32) -> u32 {
        multiply(self.factor, front) ^ self.crc
    }
}

/// The polynomial of CRC-32C, bits reversed: bit 31 is x^0.
const POLYNOMIAL: u32 = 0x82f6_3b78;
const ONE: u32 = 1 << 31;
const X: u32 = 1 << 30;

/// `a` times `b`, modulo the polynomial.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = ONE;
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = if b & 1 != 0 { (b >> 1) ^ POLYNOMIAL } else { b >> 1 };
        bit >>= 1;
    }
    product
}

/// x^8, x^16, x^32 and so on, each the square of the one before.
const SQUARES: [u32; 64] = {
    let mut squares = [0; 64];
    let mut power = multiply(X, X);
    power = multiply(power, power);
    power = multiply(power, power);
    let mut at = 0;
    while at < squares.len() {
        squares[at] = power;
        power = multiply(power, power);
        at += 1;
    }
    squares
};

/// x^8n, modulo the polynomial.
fn power_of_x(bytes: usize) -> u32 {
    let mut rest = bytes;
    let mut power = ONE;
    for square in SQUARES {
        if rest == 0 {
            break;
        }
        if rest & 1 != 0 {
            power = multiply(power, square);
        }
        rest >>= 1;
    }
    power
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_tail_takes_any_front(
            old: Vec<u8>,
            new: Vec<u8>,
            tail in proptest::collection::vec(any::<u8>(), 0..5000),
        ) {
            let tail_alone = Tail::cut_off(append_crc32c(crc32c(&old), &tail), crc32c(&old), tail.len());
            prop_assert_eq!(tail_alone.behind(crc32c(&new)), append_crc32c(crc32c(&new), &tail));
        }
    }
}
