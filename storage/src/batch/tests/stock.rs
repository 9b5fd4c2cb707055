//! Bytes written by Apache Kafka 3.9.1: `MemoryRecordsBuilder` of its `kafka-clients` jar, at base offset 5, with
//! producer id 77, epoch 3, base sequence 40 and leader epoch 9 in magic 2; and a transaction marker.

use super::*;

const BATCHES: [(i8, Compression, &str); 13] = [
    (
        0,
        Compression::None,
        "00000000000000050000002fdf624afd0000000000016b000000206161616161616161616161616161616161616161616161616161616161
         61616100000000000000060000000fd20cbff50000ffffffff000000017600000000000000070000000f723204a500000000000174ffffffff",
    ),
    (
        0,
        Compression::Gzip,
        "00000000000000070000005630571a620001ffffffff000000481f8b08000000000000ff636000035620d6bf9fe4f517cc63cc06120a8904
         004427031b10f35fe2d9ff9581e13f1080b49741a5d8415245462c4b21a69680e4015e9df1b671000000",
    ),
    (
        0,
        Compression::Snappy,
        "00000000000000070000006eedb249530002ffffffff0000006082534e415050590000000001000000010000004c71000009012005000000
         2fdf624afd050f18016b00000020617a0100000009014c060000000fd20cbff50000ffffffff0000000176091a040007011b38723204a500
         000000000174ffffffff",
    ),
    (
        0,
        Compression::Lz4,
        "00000000000000070000006dbdbbb3790003ffffffff0000005f04224d1860401a500000001200010091050000002fdf624afd0f007f016b
         000000206101000c012b00f0070000060000000fd20cbff50000ffffffff0000000176180040000000071b00f000723204a5000000000001
         74ffffffff00000000",
    ),
    (
        1,
        Compression::None,
        "0000000000000005000000379bb11dfa01000000018bcfe56800000000016b00000020616161616161616161616161616161616161616161
         6161616161616161616161000000000000000600000017c592faf801000000018bcfe56802ffffffff000000017600000000000000070000
         00178e9bfaab01000000018bcfe568010000000174ffffffff",
    ),
    (
        1,
        Compression::Gzip,
        "000000000000000700000066fa9b3c3701010000018bcfe56802ffffffff000000501f8b08000000000000ff63608003f3d91b657f310219
         8cdde79f66804418b3818442220100d50ed2297e74d2af1f702398fe030188530655c20452d237fbd76ab81230a304a40e00190482878900
         0000",
    ),
    (
        1,
        Compression::Snappy,
        "0000000000000007000000806bd1f7c401020000018bcfe56802ffffffff0000006a82534e41505059000000000100000001000000568901
         0000190134379bb11dfa01000000018bcfe568011818016b00000020617a010000000901013a1017c592faf8010905431002ffffffff0150
         00760922240002000000178e9bfaab152324010000000174ffffffff",
    ),
    (
        1,
        Compression::Lz4,
        "00000000000000070000007a1aa8018b01030000018bcfe56802ffffffff0000006404224d186040825500000016000100e0379bb11dfa01
         000000018bcfe56818007f016b000000206101000c002a000036008500000017c592faf843005002ffffffff1a0011762100300000022300
         458e9bfaab2300a0010000000174ffffffff00000000",
    ),
    (
        2,
        Compression::None,
        "0000000000000005000000700000000902c5c63b860000000000020000018bcfe568000000018bcfe56802000000000000004d0003000000
         28000000035c000000026b40616161616161616161616161616161616161616161616161616161616161616104026802310268010e000402
         010276000e00020402740100",
    ),
    (
        2,
        Compression::Gzip,
        "000000000000000500000066000000090259bcb03d0001000000020000018bcfe568000000018bcfe56802000000000000004d0003000000
         28000000031f8b08000000000000ff8b61606060ca76482400589832980c993218f91858981899ca18f8189858984a181900f7a3a0393f00
         0000",
    ),
    (
        2,
        Compression::Snappy,
        "00000000000000050000006b00000009023e1ff3e40002000000020000018bcfe568000000018bcfe56802000000000000004d0003000000
         280000000382534e41505059000000000100000001000000263f1c5c000000026b40617a01005c04026802310268010e000402010276000e
         00020402740100",
    ),
    (
        2,
        Compression::Lz4,
        "00000000000000050000006600000009029ecef86e0003000000020000018bcfe568000000018bcfe56802000000000000004d0003000000
         280000000304224d18604082260000008f5c000000026b406101000cf00904026802310268010e000402010276000e000204027401000000
         0000",
    ),
    (
        2,
        Compression::Zstd,
        "000000000000000500000064000000090232983c6f0004000000020000018bcfe568000000018bcfe56802000000000000004d0003000000
         280000000328b52ffd00583c010004025c000000026b406104026802310268010e000402010276000e0002040274010001000de002010000",
    ),
];

const COMMIT_MARKER: &str = "000000000000000c0000004200000004025288fcaa0030000000000000018bcfe568000000018bcfe568000000000\
     00000004d0003ffffffff000000012000000008000000010c00000000000800";

fn expected(magic: i8) -> Vec<Record> {
    let plain = decode(&batch(BatchOptions { base_offset: at(5), ..BatchOptions::default() }));
    plain
        .into_iter()
        .map(|mut record| {
            if magic == 2 {
                record.sequence = 35 + i32::try_from(record.offset.0).expect("small");
            } else {
                record.headers.clear();
            }
            if magic == 0 {
                record.timestamp = TimestampMs::NONE;
            }
            record
        })
        .collect()
}

#[test]
fn batches_of_every_magic_and_codec_written_by_java_are_read() {
    for (magic, codec, hex) in BATCHES {
        let bytes = unhex(hex);
        assert_eq!(decode(&bytes), expected(magic), "magic {magic} {codec}");
        let first = headers(&bytes).next().expect("an entry").expect("a good header").batch;
        assert_eq!((first.magic(), first.compression()), (magic, Ok(codec)));
    }
}

#[test]
fn what_java_writes_uncompressed_we_write_byte_for_byte() {
    let (_, _, hex) = BATCHES[8];
    let ours = batch(BatchOptions {
        base_offset: at(5),
        leader_epoch: crate::types::LeaderEpoch(9),
        producer: BatchProducer { id: crate::types::ProducerId(77), epoch: 3, base_sequence: 40 },
        ..BatchOptions::default()
    });
    assert_eq!(ours, unhex(hex));

    let (_, _, hex) = BATCHES[4];
    assert_eq!(down_convert(&ours, 1, at(0)).map(|set| set[..].starts_with(&unhex(hex))), Ok(true));
    let (_, _, hex) = BATCHES[0];
    assert_eq!(down_convert(&ours, 0, at(0)).map(|set| set[..].starts_with(&unhex(hex))), Ok(true));
}

#[test]
fn a_commit_marker_is_written_as_java_writes_it() {
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset: at(12),
        leader_epoch: crate::types::LeaderEpoch(4),
        producer: BatchProducer { id: crate::types::ProducerId(77), epoch: 3, base_sequence: NO_SEQUENCE },
        is_transactional: true,
        is_control: true,
        ..BatchOptions::default()
    })
    .expect("no codec");
    builder.append_end_transaction(NOW, EndTransaction::Commit, 8).expect("memory");
    assert_eq!(builder.build().expect("small"), unhex(COMMIT_MARKER));
}

#[test]
fn snappy_without_framing_is_read() {
    let framed = in_codec(TargetCompression::Snappy);
    let mut header = BatchHeader::parse(&framed).expect("a good header");
    let body = in_codec(TargetCompression::Uncompressed).slice(HEADER_SIZE..);
    let raw = snap::raw::Encoder::new().compress_vec(&body).expect("small");
    header.length = i32::try_from(HEADER_SIZE - LOG_OVERHEAD + raw.len()).expect("small");
    header.crc = header.compute_crc(&raw);
    let whole: Bytes = [header.encode().as_slice(), &raw].concat().into();
    assert_eq!(decode(&whole), decode(&framed));
}
