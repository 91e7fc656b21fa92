//! Bytes as text, both ways: escapes and places of the case files, and what was recorded.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, bail};
use fleetbal_cluster_tests::Result;

/// A longer body is told by its length and a sum of its bytes.
const LONG: usize = 300;

/// Words between blanks.
pub(crate) fn words(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// What `{name}` stands for, on one side.
pub(crate) type Places = BTreeMap<String, String>;

/// The bytes of a text with the escapes `\r \n \t \\ \{ \xHH`, with places `{name}`, and `{X*N}` for N times X.
///
/// # Errors
/// When an escape or a place is not known.
pub(crate) fn bytes(text: &str, places: &Places) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        match next {
            '\\' => out.push(escape(&mut rest)?),
            '{' => {
                let inside: String = rest.by_ref().take_while(|next| *next != '}').collect();
                out.extend(place(&inside, places)?);
            }
            other => out.extend(other.to_string().as_bytes()),
        }
    }
    Ok(out)
}

fn escape(rest: &mut std::str::Chars<'_>) -> Result<u8> {
    Ok(match rest.next().context("a lonely backslash")? {
        'r' => b'\r',
        'n' => b'\n',
        't' => b'\t',
        '\\' => b'\\',
        '{' => b'{',
        'x' => {
            let digits: String = rest.by_ref().take(2).collect();
            u8::from_str_radix(&digits, 16)?
        }
        other => bail!("the escape \\{other} is not known"),
    })
}

fn place(inside: &str, places: &Places) -> Result<Vec<u8>> {
    if let Some((unit, times)) = inside.split_once('*') {
        let times: usize = times.parse()?;
        return Ok(unit.repeat(times).into_bytes());
    }
    let value = places.get(inside);
    Ok(value
        .with_context(|| format!("{{{inside}}} stands for nothing"))?
        .clone()
        .into_bytes())
}

/// Text with places only.
///
/// # Errors
/// When a place is not known.
pub(crate) fn line(text: &str, places: &Places) -> Result<String> {
    Ok(String::from_utf8(bytes(text, places)?)?)
}

/// Bytes as text of one line, with the side's own addresses as places.
pub(crate) fn shown(bytes: &[u8], places: &Places) -> String {
    let mut text = String::new();
    for &byte in bytes {
        match byte {
            b'\r' => text.push_str(r"\r"),
            b'\n' => text.push_str(r"\n"),
            b'\t' => text.push_str(r"\t"),
            b'\\' => text.push_str(r"\\"),
            b' '..=b'~' => text.push(char::from(byte)),
            other => write!(text, "\\x{other:02x}").unwrap_or_default(),
        }
    }
    for (name, value) in places {
        text = text.replace(value, &format!("{{{name}}}"));
    }
    text
}

/// A body as text of one line: the whole of it, or its length and a sum.
pub(crate) fn shown_body(bytes: &[u8], places: &Places) -> String {
    if bytes.len() <= LONG {
        return format!("\"{}\"", shown(bytes, places));
    }
    let sum = bytes.iter().fold(0_u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
    });
    format!("{} bytes, sum {sum:016x}", bytes.len())
}
