//! Files that list the members of a pool (Perlbal, reference section 1.4): one a line, behind `#` nothing counts.
//!
//! Who watches them, and what becomes of their content, is not here.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use fleetbal_raft::model::BackendAddress;

use crate::os_error;

/// Members of a pool with their weights, in the order of the file.
pub type Members = Vec<(BackendAddress, u32)>;

/// The most bytes that are read of a file.
const LARGEST: u64 = 1 << 20;

/// The highest weight that a backend can have.
const HEAVIEST: u32 = 1000;

/// A file that cannot be read as members of a pool.
#[derive(Debug, thiserror::Error)]
pub enum NodefileError {
    /// There is no such file (Perlbal's text).
    #[error("File not found")]
    Missing,
    /// It is not a plain file.
    #[error("not a plain file")]
    NotAFile,
    /// It has more bytes than any list of backends needs.
    #[error("larger than {LARGEST} bytes")]
    TooLarge,
    /// It cannot be read.
    #[error("{}", os_error::words(.0))]
    Read(#[source] io::Error),
}

/// Reads a file.
///
/// # Errors
/// When it is not there, or cannot be read to its end.
pub fn read(path: &Path) -> Result<Members, NodefileError> {
    // A pipe or a device might never end.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(NodefileError::NotAFile);
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LARGEST {
        return Err(NodefileError::TooLarge);
    }
    Ok(parse(&bytes))
}

fn failed(error: io::Error) -> NodefileError {
    if error.kind() == io::ErrorKind::NotFound {
        NodefileError::Missing
    } else {
        NodefileError::Read(error)
    }
}

/// The members that a file lists. The first address of a line counts, whatever stands around it; a line without one
/// counts for nothing. Naming a member several times gives it that weight.
pub fn parse(bytes: &[u8]) -> Members {
    let mut members = Members::new();
    let mut places = HashMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let code = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        let Some(address) = first_address(&String::from_utf8_lossy(code)) else {
            continue;
        };
        let place = *places.entry(address).or_insert(members.len());
        match members.get_mut(place) {
            Some((_, weight)) => *weight = (*weight + 1).min(HEAVIEST),
            None => members.push((address, 1)),
        }
    }
    members
}

/// The first `a.b.c.d[:port]` or `[ipv6][:port]` of a line.
fn first_address(line: &str) -> Option<BackendAddress> {
    let mut in_digits = false;
    for (at, byte) in line.bytes().enumerate() {
        let starts = byte == b'[' || (byte.is_ascii_digit() && !in_digits);
        in_digits = byte.is_ascii_digit();
        if !starts {
            continue;
        }
        let text = line.get(at..).unwrap_or_default();
        let found = if byte == b'[' {
            bracketed(text)
        } else {
            dotted(text)
        };
        if let Some(address) = found.and_then(BackendAddress::parse) {
            return Some(address);
        }
    }
    None
}

/// The `a.b.c.d[:port]` that a text begins with.
fn dotted(text: &str) -> Option<&str> {
    let mut end = digits(text)?;
    for _ in 0..3 {
        end += 1 + digits(text.get(end..)?.strip_prefix('.')?)?;
    }
    with_port(text, end)
}

/// The `[…][:port]` that a text begins with.
fn bracketed(text: &str) -> Option<&str> {
    with_port(text, text.find(']')? + 1)
}

fn with_port(text: &str, end: usize) -> Option<&str> {
    let port = text.get(end..)?.strip_prefix(':').and_then(digits);
    text.get(..end + port.map_or(0, |port| 1 + port))
}

/// How many digits a text begins with; none: it does not.
fn digits(text: &str) -> Option<usize> {
    let count = text.bytes().take_while(u8::is_ascii_digit).count();
    (count > 0).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &[u8]) -> Vec<String> {
        let members = parse(text);
        let show = |(address, weight): &(BackendAddress, u32)| format!("{address} {weight}");
        members.iter().map(show).collect()
    }

    #[test]
    fn reads_as_perlbal_does() {
        let text = b"10.0.0.1\n# 10.0.0.9\n10.0.0.2:81 # 10.0.0.8\r\n\nhost:80\n foo 10.0.0.3:0, 10.0.0.4\n10.0.0.1:80";
        assert_eq!(show(text), ["10.0.0.1:80 2", "10.0.0.2:81 1", "10.0.0.3:80 1"]);
        assert_eq!(
            show(b"web10.0.0.1.\n[::1]:82\nx[fe80::1]\n1.2.3.4.5"),
            ["10.0.0.1:80 1", "[::1]:82 1", "[fe80::1]:80 1", "1.2.3.4:80 1"]
        );
    }

    #[test]
    fn what_is_no_address_counts_for_nothing() {
        assert!(show(b"").is_empty());
        for bad in [
            &b"10.0.0"[..],
            b"10.0.0.256",
            b"10.0.0.1:99999",
            b"[",
            b"[::1",
            b"[x]:80",
            b"\xff\xfe\0",
            b"....",
            b"999999999999999999999.1.1.1",
        ] {
            assert!(show(bad).is_empty(), "{bad:?}");
        }
        let many = "10.0.0.1\n".repeat(2000);
        assert_eq!(show(many.as_bytes()), ["10.0.0.1:80 1000"]);
    }

    #[test]
    fn files_that_cannot_be_read_say_why() {
        let directory = tempfile::tempdir().unwrap();
        let error = |path: &Path| read(path).unwrap_err().to_string();
        assert_eq!(error(&directory.path().join("none")), "File not found");
        assert_eq!(error(directory.path()), "not a plain file");
        let large = directory.path().join("large");
        std::fs::write(&large, vec![b'\n'; 1 + (1 << 20)]).unwrap();
        assert_eq!(error(&large), "larger than 1048576 bytes");
    }
}
