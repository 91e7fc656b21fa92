//! What a backend asks for with X-REPROXY-… (Perlbal, reference section 5), and its head, written again for the
//! client of something else.

use std::mem::MaybeUninit;

use httparse::Header;

use super::super::MAX_FIELDS;
use super::super::body::Framing;
use super::super::error::ProxyError;
use super::super::fields::{ConnectionOptions, Copier, Kind, is_token, write_field};
use super::{INVALID, Parsed, parse, write_status_line};

const FILE: &str = "X-REPROXY-FILE";
const URL: &str = "X-REPROXY-URL";
const SERVICE: &str = "X-REPROXY-SERVICE";
const EXPECTED_SIZE: &str = "X-REPROXY-EXPECTED-SIZE";
const CACHE_FOR: &str = "X-REPROXY-CACHE-FOR";

/// What a backend asks for. Of a field that is repeated the first value counts; blanks around it are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReproxyFields<'a> {
    /// The status of the backend's answer.
    pub status: u16,
    /// X-REPROXY-FILE: the path of a file.
    pub file: Option<&'a [u8]>,
    /// X-REPROXY-URL: URLs, with blanks between them.
    pub url: Option<&'a [u8]>,
    /// X-REPROXY-SERVICE: the name of a service.
    pub service: Option<&'a [u8]>,
    /// X-REPROXY-EXPECTED-SIZE: the size in bytes that the file or the URL's content should have.
    pub expected_size: Option<&'a [u8]>,
    /// X-REPROXY-CACHE-FOR: seconds, and after a semicolon names of fields.
    pub cache_for: Option<&'a [u8]>,
}

/// How a head is written again.
#[derive(Debug, Clone, Copy)]
pub struct Replacements<'a> {
    /// The status in place of the backend's, with its own reason; none: the backend's.
    pub status: Option<u16>,
    /// How the body ends that is sent. A length is said also to a HEAD, and may be 0 as [`Framing::Empty`].
    pub body: Framing,
    /// Names of fields that are left out, in any case.
    pub remove: &'a [&'a str],
    /// Fields that take the place of the backend's of their names.
    pub set: &'a [(&'a str, &'a [u8])],
    /// The lines that announce that the client's connection stays open; none, or a body that ends with the
    /// connection: it will be closed.
    pub keep_alive: Option<&'a [u8]>,
}

/// Whether these fields ask for anything.
pub(super) fn asks(fields: &[Header<'_>]) -> bool {
    fields.iter().any(|field| {
        [FILE, URL, SERVICE]
            .iter()
            .any(|name| field.name.eq_ignore_ascii_case(name))
    })
}

/// Reads what a backend asks for in the head at the start of `input`. None: there is no whole head.
pub fn reproxy_fields(input: &[u8]) -> Option<ReproxyFields<'_>> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let (head, _) = parse(input, &mut fields).ok()??;
    let find = |name| find(head.fields, name);
    Some(ReproxyFields {
        status: head.status,
        file: find(FILE),
        url: find(URL),
        service: find(SERVICE),
        expected_size: find(EXPECTED_SIZE),
        cache_for: find(CACHE_FOR),
    })
}

/// The first value of one field of the head at the start of `input`, its name in any case.
pub fn field<'a>(input: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let (head, _) = parse(input, &mut fields).ok()??;
    find(head.fields, name)
}

/// Puts the head at the start of `input` into `output`, for a client that gets something else than its body. What
/// belongs to the connection, to the body that is not sent, and all of X-REPROXY-… is left out.
///
/// # Errors
/// When there is no whole head, or when a replacement would break it: a name that is none, a value with a control
/// character, or a field that says where the message ends.
pub fn rewrite(input: &[u8], new: Replacements<'_>, output: &mut Vec<u8>) -> Result<(), ProxyError> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let (head, _) = parse(input, &mut fields)?.ok_or(INVALID)?;
    if !new.set.iter().all(|(name, value)| is_harmless(name, value)) {
        return Err(INVALID);
    }
    let status = new.status.unwrap_or(head.status);
    if !(200..=999).contains(&status) {
        return Err(INVALID);
    }
    let reason = if status == head.status { head.reason } else { "" };
    write_status_line(status, reason, output);
    copy_fields(&head, new, output);
    for (name, value) in new.set {
        write_field(name.as_bytes(), value, output);
    }
    let length = match new.body {
        Framing::Empty => Some(0),
        Framing::Length(length) => Some(length),
        Framing::Chunked | Framing::UntilClose => None,
    };
    if let Some(length) = length.filter(|_| status != 204) {
        write_field(
            b"Content-Length",
            itoa::Buffer::new().format(length).as_bytes(),
            output,
        );
    }
    if new.body == Framing::Chunked {
        output.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    let keep_alive = new.keep_alive.filter(|_| new.body != Framing::UntilClose);
    output.extend_from_slice(keep_alive.unwrap_or(b"Connection: close\r\n"));
    output.extend_from_slice(b"\r\n");
    Ok(())
}

fn copy_fields(head: &Parsed<'_, '_>, new: Replacements<'_>, output: &mut Vec<u8>) {
    let mut connection = ConnectionOptions::default();
    for field in head
        .fields
        .iter()
        .filter(|field| Kind::of(field.name) == Kind::Connection)
    {
        connection.add(field.value);
    }
    let is_replaced = |name: &str| {
        let own = [FILE, URL, SERVICE, EXPECTED_SIZE, CACHE_FOR];
        let set = new.set.iter().map(|(name, _)| name);
        let mut gone = own.iter().chain(new.remove).chain(set);
        gone.any(|gone| gone.eq_ignore_ascii_case(name))
    };
    let mut copier = Copier::new(head.input);
    for field in head.fields {
        let goes_on = match Kind::of(field.name) {
            Kind::Connection
            | Kind::HopByHop
            | Kind::KeepAlive
            | Kind::ContentLength
            | Kind::TransferEncoding
            | Kind::Trailer => false,
            Kind::Other
            | Kind::Host
            | Kind::Expect
            | Kind::ForwardedFor
            | Kind::ForwardedHost
            | Kind::ForwardedProto
            | Kind::Lookalike => !is_replaced(field.name) && !connection.names(field.name, head.fields),
        };
        if goes_on {
            copier.copy(field, output);
        }
    }
    copier.flush(output);
}

/// Whether a field is one, ends on its line, and says nothing about where the message ends.
fn is_harmless(name: &str, value: &[u8]) -> bool {
    let is_name = !name.is_empty() && name.bytes().all(is_token);
    let is_value = value
        .iter()
        .all(|byte| *byte == b'\t' || !byte.is_ascii_control());
    let is_free = !matches!(
        Kind::of(name),
        Kind::Connection | Kind::HopByHop | Kind::KeepAlive | Kind::ContentLength | Kind::TransferEncoding
    );
    is_name && is_value && is_free
}

fn find<'a>(fields: &[Header<'a>], name: &str) -> Option<&'a [u8]> {
    let found = fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
    found.map(|field| field.value)
}

#[cfg(test)]
#[path = "reproxy_tests.rs"]
mod tests;
