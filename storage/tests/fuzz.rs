//! Every parser of this crate is given some thousand inputs that began as files of a real partition: bits, numbers, lengths
//! and pieces are changed as a seed decides. The same targets run under libFuzzer, see `storage/fuzz`.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};

use storage::disk::powered::{Dice, first_seed};
use targets::{TARGETS, partition};

/// Numbers at which something may overflow.
const EDGES: [i64; 10] =
    [0, 1, -1, i64::MAX, i64::MIN, i32::MAX as i64, i32::MIN as i64, i16::MAX as i64, 255, 1 << 40];

fn mutate(input: &mut Vec<u8>, dice: &mut Dice) {
    let at = dice.roll(input.len());
    match dice.roll(8) {
        0 | 1 if !input.is_empty() => input[at] ^= 1 << dice.roll(8),
        2 if !input.is_empty() => input[at] = dice.draw() as u8,
        3 => {
            let bytes = EDGES[dice.roll(EDGES.len())].to_be_bytes();
            let width = [1, 2, 4, 8][dice.roll(4)];
            for (to, from) in input.iter_mut().skip(at).zip(&bytes[8 - width..]) {
                *to = *from;
            }
        }
        4 => input.truncate(at),
        5 => {
            let piece: Vec<u8> =
                input.iter().skip(dice.roll(input.len())).take(dice.roll(60)).copied().collect();
            input.splice(at..at, piece);
        }
        6 => {
            let upto = (at + dice.roll(30)).min(input.len());
            input.drain(at..upto);
        }
        _ => {
            let words = [&b"-1"[..], b"\n", b"99999999999999999999", b" ", b"=", b"\\u00e", b"9"];
            input.splice(at..at, words[dice.roll(words.len())].iter().copied());
        }
    }
}

#[test]
fn no_parser_panics_whatever_it_is_given() {
    let inputs = if std::env::var_os("ODRADEK_SOAK").is_some() { 200_000 } else { 2_000 };
    let mut files: Vec<Vec<u8>> = partition().into_iter().map(|(_, content)| content).collect();
    files.push(b"0\n2\nt 0 17\nsome-topic 12 9223372036854775807\n".to_vec());
    files.push(b"#\n#Sun Nov 29 18:00:00 UTC 2026\ncluster.id=abc\nbroker.id=1\nversion=0\n".to_vec());
    files.push(b"version: 0\ntopic_id: ZPyTJMcyQf6sxJoVdTZTow".to_vec());
    let first = first_seed();
    for (name, target) in TARGETS {
        // Opening a whole folder takes a while.
        let inputs = if name == "folder" { inputs / 20 } else { inputs };
        for seed in first..first + inputs {
            let mut dice = Dice(seed);
            let mut input = files[dice.roll(files.len())].clone();
            for _ in 0..dice.roll(6) {
                mutate(&mut input, &mut dice);
            }
            if matches!(name, "batch" | "folder") {
                input.insert(0, dice.draw() as u8);
            }
            if name == "folder" {
                input.insert(0, dice.draw() as u8);
            }
            let ended = catch_unwind(AssertUnwindSafe(|| target(&input)));
            assert!(ended.is_ok(), "{name} panics at seed {seed} with {input:02x?}");
        }
    }
}
