//! Reads `.properties` files as `java.util.Properties` does, so that a file means here what it means to Apache's broker.
//!
//! Keys end at the first unescaped `=`, `:` or blank; `#` and `!` begin comment lines; a line that ends in an odd
//! number of backslashes goes on in the next; `\uXXXX` is one UTF-16 unit; the last of equal keys wins.
//! One rule is ours: Java takes the bytes for ISO-8859-1, we take them for UTF-8 where they are valid UTF-8
//! (a byte order mark is dropped) and for ISO-8859-1 otherwise. Files in plain ASCII read the same either way.

use std::collections::BTreeMap;

use thiserror::Error;

/// Key and value pairs as written, before anything is known about types.
pub(crate) type Properties = BTreeMap<String, String>;

#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum PropertiesError {
    /// Java's loader refuses the whole file with "Malformed \uxxxx encoding.".
    #[error("line {line}: \\u must be followed by four hexadecimal digits")]
    MalformedUnicode { line: usize },
}

/// On `Err` nothing was taken from the file, as in Java.
pub(crate) fn parse(bytes: &[u8]) -> Result<Properties, PropertiesError> {
    let text = decode(bytes);
    let mut properties = Properties::new();
    for line in LogicalLines::new(&text) {
        let (key, value) = split(&line.chars);
        let malformed = || PropertiesError::MalformedUnicode { line: line.number };
        let key = unescape(key).ok_or_else(malformed)?;
        let value = unescape(value).ok_or_else(malformed)?;
        properties.insert(key, value);
    }
    Ok(properties)
}

fn decode(bytes: &[u8]) -> Vec<char> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text).chars().collect(),
        Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }
}

/// A line after continuations were joined, without its leading blanks; never a comment.
struct LogicalLine {
    chars: Vec<char>,
    /// Where it begins in the file, from 1.
    number: usize,
}

struct LogicalLines<'a> {
    natural: NaturalLines<'a>,
    number: usize,
}

impl<'a> LogicalLines<'a> {
    fn new(text: &'a [char]) -> Self {
        LogicalLines { natural: NaturalLines { rest: Some(text) }, number: 0 }
    }
}

impl Iterator for LogicalLines<'_> {
    type Item = LogicalLine;

    fn next(&mut self) -> Option<LogicalLine> {
        let mut chars: Vec<char> = Vec::new();
        let mut begun = 0;
        let mut ends_open = false;
        for natural in self.natural.by_ref() {
            self.number += 1;
            let content = trim_blanks(natural);
            // Until something is gathered this is the start of a line, even after a line that held only a
            // backslash: a comment is a comment and an empty line is skipped.
            if chars.is_empty() {
                ends_open = false;
                if matches!(content.first(), None | Some('#' | '!')) {
                    continue;
                }
                begun = self.number;
            }
            ends_open = trailing_backslashes(content) % 2 == 1;
            let kept = if ends_open { content.len() - 1 } else { content.len() };
            chars.extend_from_slice(&content[..kept]);
            if !ends_open {
                break;
            }
        }
        // Java makes an empty key of a lone backslash at the very end of the file; so do we.
        if chars.is_empty() && !ends_open { None } else { Some(LogicalLine { chars, number: begun }) }
    }
}

/// Lines as they stand in the file; `\n`, `\r` and `\r\n` end one.
struct NaturalLines<'a> {
    rest: Option<&'a [char]>,
}

impl<'a> Iterator for NaturalLines<'a> {
    type Item = &'a [char];

    fn next(&mut self) -> Option<&'a [char]> {
        let rest = self.rest.take()?;
        let Some(end) = rest.iter().position(|c| matches!(c, '\n' | '\r')) else {
            return if rest.is_empty() { None } else { Some(rest) };
        };
        let skip = if rest[end] == '\r' && rest.get(end + 1) == Some(&'\n') { 2 } else { 1 };
        self.rest = Some(&rest[end + skip..]);
        Some(&rest[..end])
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

fn trim_blanks(line: &[char]) -> &[char] {
    let start = line.iter().position(|&c| !is_blank(c)).unwrap_or(line.len());
    &line[start..]
}

fn trailing_backslashes(line: &[char]) -> usize {
    line.iter().rev().take_while(|&&c| c == '\\').count()
}

/// Key and value, both still escaped.
fn split(line: &[char]) -> (&[char], &[char]) {
    let mut escaped = false;
    let key_end = line
        .iter()
        .position(|&c| {
            let ends = !escaped && (matches!(c, '=' | ':') || is_blank(c));
            escaped = c == '\\' && !escaped;
            ends
        })
        .unwrap_or(line.len());
    let (key, rest) = line.split_at(key_end);
    let rest = trim_blanks(rest);
    // One separator may stand among the blanks; a second one belongs to the value.
    let value = match rest.first() {
        Some('=' | ':') => trim_blanks(&rest[1..]),
        _ => rest,
    };
    (key, value)
}

/// `None` where `\u` is not followed by four hexadecimal digits.
fn unescape(text: &[char]) -> Option<String> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut buffer = [0; 2];
    let mut chars = text.iter().copied();
    while let Some(c) = chars.next() {
        if c != '\\' {
            units.extend_from_slice(c.encode_utf16(&mut buffer));
            continue;
        }
        match chars.next() {
            Some('u') => {
                let mut unit = 0u16;
                for _ in 0..4 {
                    let digit = chars.next()?.to_digit(16)?;
                    unit = unit * 16 + u16::try_from(digit).ok()?;
                }
                units.push(unit);
            }
            Some('t') => units.push(u16::from(b'\t')),
            Some('r') => units.push(u16::from(b'\r')),
            Some('n') => units.push(u16::from(b'\n')),
            Some('f') => units.push(0x0c),
            Some(other) => units.extend_from_slice(other.encode_utf16(&mut buffer)),
            None => {}
        }
    }
    // Half of a surrogate pair has no place in a Rust string: it becomes U+FFFD, which no key or path uses.
    Some(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text.as_bytes()).expect("well-formed").into_iter().collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    /// Each expectation was printed by java.util.Properties of Java 17 for the same text.
    #[test]
    fn a_line_splits_where_java_splits_it() {
        assert_eq!(pairs("a=b"), [pair("a", "b")]);
        assert_eq!(pairs("a:b"), [pair("a", "b")]);
        assert_eq!(pairs("a b"), [pair("a", "b")]);
        assert_eq!(pairs("  a \t=\x0c b "), [pair("a", "b ")]);
        assert_eq!(pairs("a = = b"), [pair("a", "= b")]);
        assert_eq!(pairs("a : = b"), [pair("a", "= b")]);
        assert_eq!(pairs("a"), [pair("a", "")]);
        assert_eq!(pairs("=b"), [pair("", "b")]);
        assert_eq!(pairs("a\\=b=c"), [pair("a=b", "c")]);
        assert_eq!(pairs("a\\ b\\:c d"), [pair("a b:c", "d")]);
        assert_eq!(pairs("a\\\\=b"), [pair("a\\", "b")]);
    }

    #[test]
    fn comments_and_empty_lines_are_skipped() {
        assert_eq!(pairs("# x=y\n\n   ! z=1\n \t\na=b#c"), [pair("a", "b#c")]);
    }

    #[test]
    fn a_line_goes_on_after_an_odd_number_of_backslashes() {
        assert_eq!(pairs("a=b\\\n   c"), [pair("a", "bc")]);
        assert_eq!(pairs("a=b\\\r\n   c"), [pair("a", "bc")]);
        assert_eq!(pairs("a=b\\\\\nc=d"), [pair("a", "b\\"), pair("c", "d")]);
        assert_eq!(pairs("a=b\\\n\nc=d"), [pair("a", "b"), pair("c", "d")]);
        assert_eq!(pairs("a=b\\\n#c"), [pair("a", "b#c")]);
        assert_eq!(pairs("a=b\\"), [pair("a", "b")]);
        assert_eq!(pairs("\\\n#c=d\ne=f"), [pair("e", "f")]);
        assert_eq!(pairs("\\"), [pair("", "")]);
        assert_eq!(pairs("#c\\\na=b"), [pair("a", "b")]);
    }

    #[test]
    fn every_line_ending_counts() {
        assert_eq!(
            pairs("a=1\rb=2\r\nc=3\nd=4"),
            [pair("a", "1"), pair("b", "2"), pair("c", "3"), pair("d", "4")]
        );
    }

    #[test]
    fn escapes_mean_what_they_mean_in_java() {
        assert_eq!(pairs(r"a=\t\n\r\f\q\u00e9\\"), [pair("a", "\t\n\r\x0cq\u{e9}\\")]);
        assert_eq!(pairs(r"a=\uD83D\uDE00"), [pair("a", "\u{1f600}")]);
        assert_eq!(pairs(r"\u0061=b"), [pair("a", "b")]);
    }

    #[test]
    fn a_broken_unicode_escape_names_its_line() {
        assert_eq!(parse(b"a=b\nc=\\u12"), Err(PropertiesError::MalformedUnicode { line: 2 }));
        assert_eq!(parse(b"c=\\u12g4"), Err(PropertiesError::MalformedUnicode { line: 1 }));
    }

    #[test]
    fn the_last_of_equal_keys_wins() {
        assert_eq!(pairs("a=1\na=2"), [pair("a", "2")]);
    }

    #[test]
    fn bytes_are_utf_8_where_they_can_be_and_latin_1_otherwise() {
        assert_eq!(pairs("a=\u{e9}"), [pair("a", "\u{e9}")]);
        assert_eq!(parse(b"a=\xe9").expect("latin 1")["a"], "\u{e9}");
        assert_eq!(parse(b"\xef\xbb\xbfa=b").expect("byte order mark")["a"], "b");
    }
}
