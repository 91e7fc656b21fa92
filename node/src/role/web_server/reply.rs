//! Heads of answers that carry a file, or a part of it, or say that there is no need to (Perlbal, reference section 6).

use std::ops::Range;
use std::rc::Rc;

use crate::files::OpenFile;
use crate::http::conditional::{Asked, Validators, Verdict};
use crate::http::range::{Parts, select_all};
use crate::role::client::Client;
use crate::role::local::Current;
use crate::snapshot::WebSettings;

use super::seek::FoundFile;

/// What every answer to a request says, whatever file it carries.
pub(super) struct Facts<'a> {
    date: [u8; 29],
    server_tokens: bool,
    /// The lines about the client's connection.
    connection: &'a [u8],
}

/// A file as it is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown<'a> {
    /// It.
    pub(super) file: &'a Rc<OpenFile>,
    /// Its `Content-Type`.
    pub(super) kind: &'a str,
    /// Its `Content-Encoding`.
    coding: Option<&'static str>,
    /// Whether another client may get it coded in another way.
    varies: bool,
}

impl<'a> Shown<'a> {
    /// What was found of it, by what a service says.
    pub(super) fn of(found: &'a FoundFile<'_>, web: &'a WebSettings) -> Self {
        Self {
            file: &found.file,
            kind: web.types.of(&found.name),
            coding: found.coding,
            varies: web.is_precompressed,
        }
    }
}

/// What was put together for a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made<'a> {
    /// `Last-Modified`, as a value.
    pub(super) modified: &'a [u8],
    /// Its `Content-Type`.
    pub(super) kind: &'a str,
    /// Its size in bytes; none: the client has it.
    pub(super) length: Option<u64>,
}

/// What is sent of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chosen {
    /// All of it.
    All,
    /// A part.
    One(Range<u64>),
    /// Several parts, each with a head of its own.
    Several(Vec<Range<u64>>, String),
    /// Nothing, as the client has it.
    NotModified,
    /// Nothing, as there is no such part.
    NoSuchPart,
    /// Nothing, as it is not what the client thinks.
    Failed,
}

impl Chosen {
    /// What a request asks for of a file.
    pub(super) fn of(asked: &Asked<'_>, file: &OpenFile) -> Self {
        let it = Validators {
            etag: &file.etag,
            last_modified: &file.last_modified,
            modified: file.modified(),
            size: file.stamp.size,
        };
        match asked.judge(&it) {
            Verdict::NotModified => return Self::NotModified,
            Verdict::Failed => return Self::Failed,
            Verdict::Go => {}
        }
        match asked.range(&it) {
            None => Self::All,
            range => match select_all(range, it.size) {
                Parts::All => Self::All,
                Parts::One(part) => Self::One(part),
                Parts::Several(parts) => Self::Several(parts, format!("{:020}", rand::random::<u64>())),
                Parts::Nothing => Self::NoSuchPart,
            },
        }
    }

    /// The status code.
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::All => 200,
            Self::One(_) | Self::Several(..) => 206,
            Self::NotModified => 304,
            Self::Failed => 412,
            Self::NoSuchPart => 416,
        }
    }

    /// The length that the answer says it has.
    pub(super) fn length(&self, shown: &Shown<'_>) -> u64 {
        match self {
            Self::All => shown.file.stamp.size,
            Self::One(part) => part.end - part.start,
            Self::Several(parts, boundary) => {
                several_length(parts, boundary, shown.kind, shown.file.stamp.size)
            }
            Self::NotModified | Self::NoSuchPart | Self::Failed => 0,
        }
    }

    fn status_line(&self) -> &'static [u8] {
        match self {
            Self::All => b"200 OK",
            Self::One(_) | Self::Several(..) => b"206 Partial Content",
            Self::NotModified => b"304 Not Modified",
            Self::Failed => b"412 Precondition Failed",
            Self::NoSuchPart => b"416 Range Not Satisfiable",
        }
    }

    /// The only part of the file that follows the head.
    pub(super) fn single(&self, size: u64) -> Option<Range<u64>> {
        match self {
            Self::All => Some(0..size),
            Self::One(part) => Some(part.clone()),
            Self::NotModified | Self::NoSuchPart | Self::Failed => Some(0..0),
            Self::Several(..) => None,
        }
    }
}

impl<'a> Facts<'a> {
    /// For a request on a connection of `owner`'s, which stays open behind the answer or does not.
    pub(super) fn of(client: &Client, owner: &'a Current, keeps: bool) -> Self {
        let settings = &owner.view.settings;
        Self {
            date: client.local().date.now(),
            server_tokens: settings.server_tokens,
            connection: if keeps {
                &settings.keep_alive_lines
            } else {
                b"Connection: close\r\n"
            },
        }
    }

    /// Appends the head of an answer with what was chosen of a file.
    #[inline]
    pub(super) fn write(&self, shown: &Shown<'_>, chosen: &Chosen, out: &mut Vec<u8>) {
        let file = shown.file;
        self.begin(chosen.status_line(), out);
        append(
            out,
            &[
                b"Last-Modified: ",
                &file.last_modified,
                b"\r\nETag: ",
                &file.etag,
                b"\r\nAccept-Ranges: bytes\r\n",
            ],
        );
        if shown.varies {
            out.extend_from_slice(b"Vary: Accept-Encoding\r\n");
        }
        if let Some(coding) = shown.coding {
            append(out, &[b"Content-Encoding: ", coding.as_bytes(), b"\r\n"]);
        }
        let size = file.stamp.size;
        match chosen {
            Chosen::All => entity(shown.kind, size, out),
            Chosen::One(part) => {
                append(out, &[b"Content-Type: ", shown.kind.as_bytes(), b"\r\n"]);
                write_content_range(part, size, out);
                write_length(part.end - part.start, out);
            }
            Chosen::Several(parts, boundary) => {
                let kind = format!("multipart/byteranges; boundary={boundary}");
                entity(&kind, several_length(parts, boundary, shown.kind, size), out);
            }
            Chosen::NotModified => {}
            Chosen::NoSuchPart => {
                let nothing = format!("Content-Range: bytes */{size}\r\nContent-Length: 0\r\n");
                out.extend_from_slice(nothing.as_bytes());
            }
            Chosen::Failed => out.extend_from_slice(b"Content-Length: 0\r\n"),
        }
        append(out, &[self.connection, b"\r\n"]);
    }

    /// Appends the head of an answer with what was put together.
    pub(super) fn write_made(&self, made: Made<'_>, out: &mut Vec<u8>) {
        let status = made.length.map_or(Chosen::NotModified, |_| Chosen::All);
        self.begin(status.status_line(), out);
        append(out, &[b"Last-Modified: ", made.modified, b"\r\n"]);
        match made.length {
            Some(length) => entity(made.kind, length, out),
            None => append(out, &[b"Content-Type: ", made.kind.as_bytes(), b"\r\n"]),
        }
        append(out, &[self.connection, b"\r\n"]);
    }

    /// The lines that come first.
    fn begin(&self, status: &[u8], out: &mut Vec<u8>) {
        out.clear();
        let server: &[u8] = if self.server_tokens {
            b"\r\nServer: fleetbal\r\n"
        } else {
            b"\r\n"
        };
        append(out, &[b"HTTP/1.1 ", status, b"\r\nDate: ", &self.date, server]);
    }
}

fn append(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

fn entity(kind: &str, length: u64, out: &mut Vec<u8>) {
    append(out, &[b"Content-Type: ", kind.as_bytes(), b"\r\n"]);
    write_length(length, out);
}

fn write_length(length: u64, out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    append(
        out,
        &[b"Content-Length: ", digits.format(length).as_bytes(), b"\r\n"],
    );
}

fn write_content_range(part: &Range<u64>, size: u64, out: &mut Vec<u8>) {
    let line = format!("Content-Range: bytes {}-{}/{size}\r\n", part.start, part.end - 1);
    out.extend_from_slice(line.as_bytes());
}

/// What stands before one of several parts (RFC 9110, section 14.6).
pub(super) fn before_part(part: &Range<u64>, boundary: &str, kind: &str, size: u64) -> Vec<u8> {
    let mut text = format!("\r\n--{boundary}\r\nContent-Type: {kind}\r\n").into_bytes();
    write_content_range(part, size, &mut text);
    text.extend_from_slice(b"\r\n");
    text
}

/// What stands behind the last of several parts.
pub(super) fn after_parts(boundary: &str) -> Vec<u8> {
    format!("\r\n--{boundary}--\r\n").into_bytes()
}

fn several_length(parts: &[Range<u64>], boundary: &str, kind: &str, size: u64) -> u64 {
    let each = parts.iter().map(|part| {
        let before = before_part(part, boundary, kind, size).len() as u64;
        before + part.end - part.start
    });
    each.sum::<u64>() + after_parts(boundary).len() as u64
}
