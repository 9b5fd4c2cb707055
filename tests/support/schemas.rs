//! Requests made from Kafka's own message schemas (the JSON files in its jar): every API in every version, every field filled.
//!
//! Knows the encoding of the protocol by itself, so that neither our crate of messages nor a hand decides what is covered.

use std::process::Command;

use bytes::{BufMut, BytesMut};
use serde_json::Value;

use super::process::{PATIENCE, run};
use super::stock::checkout;

/// Numbers that look like chance and are the same in every run of a seed (xorshift).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 16).expect("48 bits") % bound.max(1)
    }

    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// The schemas of all requests.
pub(crate) struct Schemas(Vec<Value>);

/// What a field is filled with, where its name says what it is.
pub(crate) struct Words<'a> {
    pub(crate) topic: &'a str,
    /// Records of one batch.
    pub(crate) records: &'a [u8],
}

impl Schemas {
    /// From the jar of the stock clients of 3.9.1.
    pub(crate) fn load() -> Schemas {
        // Any tool of that version fetches it.
        super::stock::tool("3.9.1", "kafka-broker-api-versions", &["--version"], "").success();
        let stock = std::env::var_os("ODRADEK_STOCK").map_or_else(|| checkout().join(".stock"), Into::into);
        let jar = stock.join("3.9.1/kafka-clients-3.9.1.jar");
        let script = "import json, sys, zipfile\n\
            jar = zipfile.ZipFile(sys.argv[1])\n\
            names = [n for n in jar.namelist() if n.startswith('common/message/') and n.endswith('Request.json')]\n\
            def read(name):\n \
              lines = jar.read(name).decode().splitlines()\n \
              return json.loads('\\n'.join(l for l in lines if not l.strip().startswith('//')))\n\
            print(json.dumps([read(n) for n in sorted(names)]))\n";
        let mut command = Command::new("python3");
        command.args(["-c", script]).arg(&jar);
        let printed = run(format!("schemas of {}", jar.display()), command, b"", PATIENCE).success();
        Schemas(serde_json::from_str(&printed).expect("JSON"))
    }

    /// Body of a request of the API in that version; `None` where there is no such schema.
    pub(crate) fn body(
        &self,
        key: i16,
        version: i16,
        words: &Words<'_>,
        dice: &mut Dice,
    ) -> Option<BytesMut> {
        let schema = self.0.iter().find(|schema| schema["apiKey"].as_i64() == Some(key.into()))?;
        let flexible = within(schema["flexibleVersions"].as_str().unwrap_or("none"), version);
        let common = schema["commonStructs"].as_array().map_or(&[][..], Vec::as_slice);
        let mut writer = Writer { version, flexible, common, words, dice, out: BytesMut::new() };
        writer.fields(schema["fields"].as_array()?);
        Some(writer.out)
    }
}

/// Whether `range` (`3+`, `0-4`, `2`, `none`) holds the version.
fn within(range: &str, version: i16) -> bool {
    if range == "none" {
        return false;
    }
    let number = |text: &str| text.parse::<i16>().expect("a version");
    if let Some(first) = range.strip_suffix('+') {
        return version >= number(first);
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    (number(first)..=number(last)).contains(&version)
}

struct Writer<'a> {
    version: i16,
    flexible: bool,
    common: &'a [Value],
    words: &'a Words<'a>,
    dice: &'a mut Dice,
    out: BytesMut,
}

impl Writer<'_> {
    fn fields(&mut self, fields: &[Value]) {
        let is_tagged =
            |field: &Value, version: i16| within(field["taggedVersions"].as_str().unwrap_or("none"), version);
        let mut tagged = Vec::new();
        for field in fields {
            if !within(field["versions"].as_str().expect("versions"), self.version) {
                continue;
            }
            if is_tagged(field, self.version) {
                tagged.push(field);
            } else {
                self.field(field);
            }
        }
        if !self.flexible {
            return;
        }
        tagged.sort_by_key(|field| field["tag"].as_u64());
        self.varint(tagged.len());
        for field in tagged {
            let before = std::mem::take(&mut self.out);
            self.field(field);
            let value = std::mem::replace(&mut self.out, before);
            self.varint(usize::try_from(field["tag"].as_u64().expect("a tag")).expect("small"));
            self.varint(value.len());
            self.out.extend_from_slice(&value);
        }
    }

    fn field(&mut self, field: &Value) {
        let kind = field["type"].as_str().expect("a type");
        let nullable = within(field["nullableVersions"].as_str().unwrap_or("none"), self.version);
        if nullable && self.dice.below(8) == 0 {
            return self.null(kind);
        }
        if let Some(of) = kind.strip_prefix("[]") {
            let count = *self.dice.pick(&[1, 1, 1, 2, 0]);
            self.length(count, true);
            for _ in 0..count {
                self.value(of, field);
            }
        } else {
            if nullable && !is_plain(kind) {
                self.out.put_i8(1);
            }
            self.value(kind, field);
        }
    }

    fn null(&mut self, kind: &str) {
        match kind {
            kind if kind.starts_with("[]") && !self.flexible => self.out.put_i32(-1),
            "bytes" | "records" if !self.flexible => self.out.put_i32(-1),
            "string" if !self.flexible => self.out.put_i16(-1),
            kind if kind.starts_with("[]") || is_plain(kind) => self.varint(0),
            _ => self.out.put_i8(-1),
        }
    }

    fn value(&mut self, kind: &str, field: &Value) {
        let small = *self.dice.pick(&[0_i32, 0, 0, 1, 1, 2, -1, 100, 30_000]);
        match kind {
            "bool" => self.out.put_u8(u8::from(small & 1 == 1)),
            "int8" => self.out.put_i8(i8::try_from(small % 20).expect("small")),
            "int16" | "uint16" => self.out.put_i16(i16::try_from(small).expect("small")),
            "int32" | "uint32" => self.out.put_i32(small),
            "int64" => self.out.put_i64(small.into()),
            "float64" => self.out.put_f64(small.into()),
            "uuid" => {
                let (high, low) = if small == 1 { (self.dice.next(), self.dice.next()) } else { (0, 0) };
                self.out.put_u64(high);
                self.out.put_u64(low);
            }
            "string" => {
                let text = self.word(field["name"].as_str().unwrap_or_default());
                self.length(text.len(), false);
                self.out.extend_from_slice(text.as_bytes());
            }
            "bytes" | "records" => {
                let bytes =
                    if kind == "records" { self.words.records } else { &[0, 1, 0, 0, 0, 1, 0, 1, b't'] };
                self.length(bytes.len(), true);
                self.out.extend_from_slice(bytes);
            }
            of => {
                let own = field["fields"].as_array();
                let common = || self.common.iter().find(|one| one["name"].as_str() == Some(of));
                let fields = own.or_else(|| common()?["fields"].as_array()).cloned();
                self.fields(&fields.unwrap_or_else(|| panic!("no fields of {of}")));
            }
        }
    }

    /// What a client would write into a field of this name.
    fn word(&mut self, name: &str) -> String {
        let choices: &[&str] = match name {
            "Name" | "Topic" | "TopicName" | "ResourceName" => {
                &[self.words.topic, self.words.topic, "0", "new", ""]
            }
            "GroupId" | "Key" | "TransactionalId" | "CoordinatorKeys" => &["g", "producer_byte_rate", "t"],
            "ProtocolType" => &["consumer"],
            "Value" => &["1000", "compact", ""],
            "EntityType" => &["user", "client-id", "ip"],
            "ConfigurationKeys" => &["retention.ms", "log.retention.ms"],
            _ => &["", "a", "range", "127.0.0.1"],
        };
        (*self.dice.pick(choices)).to_string()
    }

    /// The length of an array or bytes (`wide`), or of a string.
    fn length(&mut self, length: usize, wide: bool) {
        match (self.flexible, wide) {
            (true, _) => self.varint(length + 1),
            (false, true) => self.out.put_i32(i32::try_from(length).expect("short")),
            (false, false) => self.out.put_i16(i16::try_from(length).expect("short")),
        }
    }

    fn varint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.out.put_u8(u8::try_from(value & 0x7f | 0x80).expect("a byte"));
            value >>= 7;
        }
        self.out.put_u8(u8::try_from(value).expect("a byte"));
    }
}

/// Has no byte that says whether it is there.
fn is_plain(kind: &str) -> bool {
    matches!(
        kind,
        "string"
            | "bytes"
            | "records"
            | "bool"
            | "int8"
            | "int16"
            | "uint16"
            | "int32"
            | "uint32"
            | "int64"
            | "float64"
            | "uuid"
    )
}
