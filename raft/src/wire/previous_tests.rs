//! What members of earlier releases send, and what they left on disks, is read, and is still written alike.
//!
//! `previous.txt` has a line `MESSAGE/WHAT HEX` for each kind of message. What its bytes mean stands in the modules below as
//! a value: the bytes must be read as that value, and that value must be written as those bytes. A new field of a message
//! gets a sample of its own beside those without it, since that is how earlier releases send it. `FLEETBAL_WRITE_DOCS=1`
//! adds lines for new samples and never alters one that is there.

mod messages;
mod model;
mod raft;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write as _};

use data_encoding::HEXLOWER;
use prost::Message;
use prost::bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};

use super::WireError;

const KEPT: &str = include_str!("previous.txt");
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/wire/previous.txt");

/// Every field there is: see `proto`.
const FIELDS: &str = include_str!("../../../proto/fields.txt");

type Check = Box<dyn Fn(&[u8])>;

/// A value, as it is written now, and how its bytes are read.
struct Sample {
    name: String,
    bytes: Vec<u8>,
    check: Check,
}

/// A value of this crate.
fn sample<T: Debug + PartialEq + 'static>(
    name: &str,
    value: T,
    encode: impl Fn(&T) -> Vec<u8>,
    decode: impl Fn(&[u8]) -> T + 'static,
) -> Sample {
    Sample {
        name: name.to_owned(),
        bytes: encode(&value),
        check: Box::new(move |bytes| assert_eq!(decode(bytes), value)),
    }
}

/// A message whose values have no type of their own, or one that cannot be compared: it is read and written again.
fn message<M: Message + Default + Debug + PartialEq + 'static>(
    name: &str,
    message: M,
    through: impl Fn(M) -> Result<M, WireError> + 'static,
) -> Sample {
    let decode = move |bytes: &[u8]| through(M::decode(bytes).unwrap()).unwrap();
    sample(name, message, Message::encode_to_vec, decode)
}

fn samples() -> Vec<Sample> {
    let mut samples = model::samples();
    samples.extend(state::samples());
    samples.extend(raft::samples());
    samples.extend(messages::samples());
    samples
}

fn kept() -> BTreeMap<&'static str, Vec<u8>> {
    let lines = KEPT.lines().filter(|line| !line.starts_with('#'));
    let lines = lines.map(|line| line.split_once(' ').unwrap());
    lines
        .map(|(name, hex)| (name, HEXLOWER.decode(hex.as_bytes()).unwrap()))
        .collect()
}

#[test]
fn what_was_kept_is_read_and_still_written_alike() {
    let (kept, samples) = (kept(), samples());
    let names: BTreeSet<&str> = samples.iter().map(|sample| sample.name.as_str()).collect();
    assert_eq!(names.len(), samples.len(), "two samples have one name");
    let unknown: Vec<_> = kept.keys().filter(|name| !names.contains(*name)).collect();
    assert!(unknown.is_empty(), "nothing says what these mean: {unknown:?}");
    let mut added = String::new();
    for sample in &samples {
        (sample.check)(&sample.bytes);
        let now = HEXLOWER.encode(&sample.bytes);
        let Some(before) = kept.get(sample.name.as_str()) else {
            writeln!(added, "{} {now}", sample.name).unwrap();
            continue;
        };
        (sample.check)(before);
        let before = HEXLOWER.encode(before);
        assert_eq!(now, before, "{} is written otherwise than it was", sample.name);
    }
    if std::env::var_os("FLEETBAL_WRITE_DOCS").is_some() {
        std::fs::write(PATH, format!("{KEPT}{added}")).unwrap();
    } else {
        assert!(
            added.is_empty(),
            "not kept; FLEETBAL_WRITE_DOCS=1 adds them:\n{added}"
        );
    }
}

/// A message of which no sample is kept could change without anybody noticing.
#[test]
fn every_field_of_every_message_is_in_some_sample() {
    let fields = Fields::read();
    let mut seen = BTreeSet::new();
    for (name, bytes) in kept() {
        let message = name.split_once('/').unwrap().0;
        if message != "file" {
            fields.walk(message, &bytes, &mut seen);
        }
    }
    let unseen: Vec<String> = fields
        .0
        .iter()
        .flat_map(|(message, fields)| fields.keys().map(move |number| (message.clone(), *number)))
        .filter(|field| !seen.contains(field))
        .map(|(message, number)| format!("{message} {number}"))
        .collect();
    assert!(unseen.is_empty(), "in no sample: {}", unseen.join(", "));
}

/// By message and number, the message that the field holds; empty where it holds none.
struct Fields(BTreeMap<String, BTreeMap<u32, String>>);

impl Fields {
    fn read() -> Self {
        let mut fields: BTreeMap<String, BTreeMap<u32, String>> = BTreeMap::new();
        let lines = FIELDS
            .lines()
            .filter(|line| !line.starts_with("enum ") && !line.starts_with("rpc "));
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let kind = words[words.len() - 2];
            let of = fields.entry(words[0].to_owned()).or_default();
            of.insert(words[1].parse().unwrap(), kind.to_owned());
        }
        Self(fields)
    }

    fn walk(&self, message: &str, mut bytes: &[u8], seen: &mut BTreeSet<(String, u32)>) {
        let fields = self.0.get(message);
        while bytes.has_remaining() {
            let (number, wire_type) = decode_key(&mut bytes).unwrap();
            let kind = fields.and_then(|fields| fields.get(&number));
            let kind = kind.unwrap_or_else(|| panic!("{message} has no field {number}"));
            seen.insert((message.to_owned(), number));
            let length = decode_varint(&mut bytes).unwrap();
            if wire_type == WireType::LengthDelimited {
                let (content, rest) = bytes.split_at(usize::try_from(length).unwrap());
                bytes = rest;
                if kind.starts_with(char::is_uppercase) {
                    self.walk(kind, content, seen);
                }
            } else {
                assert_eq!(wire_type, WireType::Varint, "{message} {number}");
            }
        }
    }
}
