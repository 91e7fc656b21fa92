//! Heads of responses: read, checked, and edited for the client.

mod reproxy;

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Response, Status};

use super::body::Framing;
use super::error::ProxyError;
use super::fields::{Codings, ConnectionOptions, Copier, Kind, announced_timeout, content_length};
use super::request::{Method, RequestHead};
use super::{MAX_FIELDS, MAX_HEAD};
pub use reproxy::{Replacements, ReproxyFields, field, reproxy_fields, rewrite};

/// What the head of a response says, and what the client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent answers to independent questions"
)]
pub struct ResponseHead {
    /// Its length in the input, in bytes.
    pub length: usize,
    /// Its status code, 100 to 599 (or whatever else of three digits the backend said).
    pub status: u16,
    /// How its body ends.
    pub framing: Framing,
    /// The length that it tells the client, if it tells one.
    pub content_length: Option<u64>,
    /// Whether the backend keeps its connection open.
    pub backend_persists: bool,
    /// After how many idle seconds the backend says that it closes its connection.
    pub backend_timeout: Option<u64>,
    /// Whether the client was told that its connection stays open.
    pub client_persists: bool,
    /// Whether the client gets the content of the chunks instead of the chunks.
    pub dechunk: bool,
    /// Whether the backend asks for something else to be sent in place of this (see [`reproxy_fields`]), and may.
    pub reproxy: bool,
}

impl ResponseHead {
    /// Whether another response to the same request follows.
    pub fn is_interim(&self) -> bool {
        self.status < 200
    }
}

/// How a response is edited.
#[derive(Debug, Clone, Copy)]
pub struct ResponseRules<'a> {
    /// The method of the request.
    pub method: Method,
    /// Whether the client speaks HTTP/1.1.
    pub http11: bool,
    /// The lines that announce that the client's connection stays open; none: it will be closed.
    pub keep_alive: Option<&'a [u8]>,
    /// Whether backends may reproxy; if not, their fields that ask for it go to the client as they are.
    pub reproxy: bool,
}

impl<'a> ResponseRules<'a> {
    /// The rules for the response to a request, from a backend that may not reproxy.
    pub fn new(request: &RequestHead, keep_alive: Option<&'a [u8]>) -> Self {
        Self {
            method: request.method,
            http11: request.http11,
            keep_alive,
            reproxy: false,
        }
    }
}

/// Reads the head at the start of `input`, and puts the head for the client into `output` in place of what was
/// there. None: it is not complete yet.
///
/// # Errors
/// When it must not be forwarded.
pub fn read(
    input: &[u8],
    rules: ResponseRules<'_>,
    output: &mut Vec<u8>,
) -> Result<Option<ResponseHead>, ProxyError> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    match parse(input, &mut fields)? {
        Some((parsed, length)) => parsed.edit(length, rules, output).map(Some),
        None => Ok(None),
    }
}

/// Reads a head, and how long it is. None: it is not complete yet.
#[inline]
fn parse<'h, 'a>(
    input: &'a [u8],
    fields: &'h mut [MaybeUninit<Header<'a>>],
) -> Result<Option<(Parsed<'h, 'a>, usize)>, ProxyError> {
    let mut response = Response::new(&mut []);
    let parser = ParserConfig::default();
    let length = match parser.parse_response_with_uninit_headers(&mut response, input, fields) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if input.len() > MAX_HEAD => return Err(TOO_LARGE),
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(TOO_LARGE),
        Err(_) => return Err(INVALID),
    };
    if length > MAX_HEAD {
        return Err(TOO_LARGE);
    }
    let parsed = Parsed {
        input,
        status: response.code.unwrap_or_default(),
        reason: response.reason.unwrap_or_default(),
        http11: response.version == Some(1),
        fields: response.headers,
    };
    Ok(Some((parsed, length)))
}

const TOO_LARGE: ProxyError = ProxyError::BadGateway("The head of the backend's answer is too large.");
const INVALID: ProxyError = ProxyError::BadGateway("The backend's answer is not valid.");
const SWITCHED: ProxyError = ProxyError::BadGateway("The backend switched protocols unasked.");
const FRAMING: ProxyError = ProxyError::BadGateway("Where the backend's answer ends is not clear.");

struct Parsed<'h, 'a> {
    input: &'a [u8],
    status: u16,
    reason: &'a str,
    http11: bool,
    fields: &'h [Header<'a>],
}

#[derive(Default)]
struct Survey {
    connection: ConnectionOptions,
    codings: Codings,
    length: Option<u64>,
    timeout: Option<u64>,
}

impl Parsed<'_, '_> {
    fn edit(
        &self,
        length: usize,
        rules: ResponseRules<'_>,
        out: &mut Vec<u8>,
    ) -> Result<ResponseHead, ProxyError> {
        match self.status {
            101 => return Err(SWITCHED),
            100..=999 => {}
            _ => return Err(INVALID),
        }
        let mut kinds = [Kind::Other; MAX_FIELDS];
        let survey = self.survey(&mut kinds)?;
        let framing = self.framing(&survey, rules.method)?;
        let dechunk = framing == Framing::Chunked && !rules.http11;
        let keep_alive = rules
            .keep_alive
            .filter(|_| !dechunk && framing != Framing::UntilClose);
        let head = ResponseHead {
            length,
            status: self.status,
            framing,
            content_length: survey.length.filter(|_| !self.is_bodiless()),
            backend_persists: survey.connection.keeps(self.http11) && framing != Framing::UntilClose,
            backend_timeout: survey.timeout,
            client_persists: keep_alive.is_some(),
            dechunk,
            reproxy: rules.reproxy && self.status >= 200 && reproxy::asks(self.fields),
        };
        self.write(&kinds, &survey, rules.http11, out);
        if !head.is_interim() {
            out.extend_from_slice(keep_alive.unwrap_or(b"Connection: close\r\n"));
        }
        out.extend_from_slice(b"\r\n");
        Ok(head)
    }

    #[inline]
    fn survey(&self, kinds: &mut [Kind]) -> Result<Survey, ProxyError> {
        let mut survey = Survey::default();
        for (field, kind) in self.fields.iter().zip(kinds) {
            *kind = Kind::of(field.name);
            match *kind {
                Kind::Connection => survey.connection.add(field.value),
                Kind::KeepAlive => survey.timeout = announced_timeout(field.value),
                Kind::TransferEncoding => survey.codings.add(field.value),
                Kind::ContentLength => {
                    let length = content_length(field.value).ok_or(FRAMING)?;
                    if survey.length.is_some_and(|before| before != length) {
                        return Err(FRAMING);
                    }
                    survey.length = Some(length);
                }
                Kind::Other
                | Kind::ForwardedFor
                | Kind::ForwardedHost
                | Kind::ForwardedProto
                | Kind::Host
                | Kind::Expect
                | Kind::HopByHop
                | Kind::Trailer
                | Kind::Lookalike => {}
            }
        }
        Ok(survey)
    }

    fn framing(&self, survey: &Survey, method: Method) -> Result<Framing, ProxyError> {
        let chunked = match survey.codings {
            Codings::None => false,
            Codings::Chunked if self.http11 && survey.length.is_none() => true,
            Codings::Chunked | Codings::Unframed | Codings::CodedAndChunked | Codings::Invalid => {
                return Err(FRAMING);
            }
        };
        if method == Method::Head || self.is_bodiless() || self.status == 304 {
            return Ok(Framing::Empty);
        }
        Ok(match survey.length {
            _ if chunked => Framing::Chunked,
            Some(0) => Framing::Empty,
            Some(length) => Framing::Length(length),
            None => Framing::UntilClose,
        })
    }

    /// Whether the status says that there is neither a body nor a length of one.
    fn is_bodiless(&self) -> bool {
        self.status < 200 || self.status == 204
    }

    fn write(&self, kinds: &[Kind], survey: &Survey, client_http11: bool, out: &mut Vec<u8>) {
        write_status_line(self.status, self.reason, out);
        let mut copier = Copier::new(self.input);
        let mut has_length = false;
        for (field, kind) in self.fields.iter().zip(kinds) {
            let goes_on = match kind {
                Kind::Other => !survey.connection.names(field.name, self.fields),
                Kind::Connection | Kind::HopByHop | Kind::KeepAlive => false,
                Kind::ContentLength => !self.is_bodiless() && !std::mem::replace(&mut has_length, true),
                Kind::TransferEncoding => !self.is_bodiless() && client_http11,
                // Who gets no chunks gets no trailers.
                Kind::Trailer => client_http11 && !survey.connection.names(field.name, self.fields),
                Kind::Host
                | Kind::Expect
                | Kind::ForwardedFor
                | Kind::ForwardedHost
                | Kind::ForwardedProto
                | Kind::Lookalike => true,
            };
            if goes_on {
                copier.copy(field, out);
            }
        }
        copier.flush(out);
    }
}

/// Begins a head. A backend that gives no reason gets Perlbal's (reference, section 4.4).
fn write_status_line(status: u16, reason: &str, out: &mut Vec<u8>) {
    let reason = if reason.is_empty() {
        built_in_reason(status)
    } else {
        reason
    };
    out.clear();
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Perlbal's reason phrase for a status (reference, section 4.4); empty where it has none.
pub(crate) fn built_in_reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Permanent Redirect",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad request",
        403 => "Forbidden",
        404 => "Not Found",
        416 => "Request range not satisfiable",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "",
    }
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
