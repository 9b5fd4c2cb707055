//! The codecs of record batches, read as streams so that a small batch cannot ask for much memory.
//!
//! What is held while reading: one decompressed block (gzip, zstd 16 KiB and the decoder's window; lz4 up to 4 MiB;
//! snappy up to 22 times the compressed block) and never the whole. What is walked: at most [`INFLATED_BYTES_MAX`].

mod deflate;
mod gzip;
mod inflate;
mod lz4;
mod snappy;

pub(super) use deflate::{Deflate, Deflated};
pub(super) use inflate::Inflate;

/// Bytes one batch may decompress to: 2 GiB - 1, what Kafka's own counter of them holds.
///
/// Kafka walks on without a limit; past this one the batch is refused as too large.
pub const INFLATED_BYTES_MAX: u64 = i32::MAX as u64;

/// Bytes one record may decompress to: 100 MiB, the most an uncompressed one could have,
/// as it would have to fit a request (`socket.request.max.bytes` by default).
///
/// Kafka has no such limit on a record inside a compressed batch: its heap is the limit.
pub const INFLATED_RECORD_BYTES_MAX: usize = 100 * 1024 * 1024;

/// Uncompressed bytes handed on at a time by the codecs without blocks of their own.
const CHUNK_SIZE: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::attributes::Compression;
    use super::super::rules::TargetCompression;
    use super::*;

    fn targets() -> impl Strategy<Value = TargetCompression> {
        prop_oneof![
            Just(TargetCompression::Uncompressed),
            (-1..=9_i32)
                .prop_filter("0 is no level of gzip", |level| *level != 0)
                .prop_map(|level| TargetCompression::Gzip { level }),
            Just(TargetCompression::Snappy),
            (1..=17_i32).prop_map(|level| TargetCompression::Lz4 { level }),
            (-5..=9_i32).prop_map(|level| TargetCompression::Zstd { level }),
        ]
    }

    /// Bytes that compress a little, in lengths around the block sizes.
    fn payload() -> impl Strategy<Value = Vec<u8>> {
        let sizes = prop_oneof![0..100_usize, 32_700..32_900_usize, 65_500..65_600_usize, 0..300_000_usize];
        (sizes, any::<u64>(), 1..256_u64).prop_map(|(size, seed, alphabet)| {
            let mut state = seed | 1;
            (0..size)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    ((state >> 40) % alphabet) as u8
                })
                .collect()
        })
    }

    fn compress(target: TargetCompression, magic: i8, payload: &[u8]) -> Vec<u8> {
        let mut sink = Deflate::new(target, Compression::None, magic, 0, usize::MAX).expect("a known level");
        for piece in payload.chunks(1000) {
            sink.write(piece).expect("memory never fails");
        }
        match sink.finish().expect("memory never fails") {
            Deflated::Bytes(bytes) => bytes,
            Deflated::TooLarge(_) => panic!("no limit was set"),
        }
    }

    fn drain(mut stream: Inflate<'_>) -> Result<Vec<u8>, super::super::BatchError> {
        let mut out = Vec::new();
        while let Some(byte) = stream.byte()? {
            out.push(byte);
        }
        Ok(out)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_codec_reads_back_what_it_wrote(target in targets(), payload in payload(), magic in 0..=2_i8) {
            let compressed = compress(target, magic, &payload);
            let codec = target.codec(Compression::None);
            let stream = Inflate::new(codec, magic, &compressed).expect("a good stream");
            prop_assert_eq!(drain(stream).expect("a good stream"), payload);
        }

        #[test]
        fn damaged_streams_never_panic(
            target in targets(),
            payload in payload(),
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut compressed = compress(target, 2, &payload);
            for (place, byte) in damage {
                if !compressed.is_empty() {
                    let place = place.index(compressed.len());
                    compressed[place] = byte;
                }
            }
            compressed.truncate(cut.index(compressed.len() + 1).max(compressed.len() / 2));
            if let Ok(stream) = Inflate::new(target.codec(Compression::None), 2, &compressed) {
                let _ = drain(stream);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, id in 0..=4_u8) {
            let codec = Compression::from_id(id).expect("a known codec");
            if let Ok(stream) = Inflate::new(codec, 2, &bytes) {
                let _ = drain(stream);
            }
        }
    }
}
