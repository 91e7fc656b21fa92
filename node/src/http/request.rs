//! Heads of requests: read, checked, and edited for a backend.

use std::mem::MaybeUninit;

use httparse::{Header, Request, Status};

use super::body::Framing;
use super::error::ProxyError;
use super::fields::{Codings, ConnectionOptions, Copier, Kind, content_length, options, write_field};
use super::special::{Marks, Special};
use super::target::{self, Target};
use super::{MAX_FIELDS, MAX_HEAD, MAX_REQUEST_LINE};

/// Methods that are treated in a way of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD, whose answers have no body.
    Head,
    /// OPTIONS.
    Options,
    /// Any other.
    Other,
}

impl Method {
    /// Whether a request that may have reached a backend can be sent again.
    pub const fn is_repeatable(self) -> bool {
        match self {
            Self::Get | Self::Head | Self::Options => true,
            Self::Other => false,
        }
    }
}

/// What the head of a request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHead {
    /// Its length in the input, in bytes.
    pub length: usize,
    /// How its body ends.
    pub framing: Framing,
    /// Its method.
    pub method: Method,
    /// Whether it is of HTTP/1.1; else of 1.0.
    pub http11: bool,
    /// Whether the client wants its connection kept open.
    pub keep_alive: bool,
    /// Whether a rule gives it high priority.
    pub high_priority: bool,
    /// The hash of what its service hashes by, the same on every node; 0 where it does not.
    pub hash: u64,
}

/// What becomes of X-Forwarded-For.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedFor {
    /// The peer is not trusted: what it says is replaced by its address; X-Host and X-Forwarded-Host go.
    Replace,
    /// The peer is trusted: its address is added to what it says.
    Append,
    /// The peer is trusted, and this node is blind: nothing is touched.
    Keep,
}

/// How a request is edited.
#[derive(Debug, Clone, Copy)]
pub struct Forwarding<'a> {
    /// The client's address, as text.
    pub peer: &'a [u8],
    /// What becomes of X-Forwarded-For.
    pub forwarded_for: ForwardedFor,
    /// Whether the backend is asked to keep its connection open.
    pub persist_backend: bool,
    /// What this service does beyond the plain.
    pub special: Option<&'a Special>,
    /// Whether the client speaks TLS, which its backend is told.
    pub secure: bool,
}

/// Reads the head at the start of `input`, and puts the head for the backend into `output` in place of what was
/// there. None: it is not complete yet.
///
/// # Errors
/// When it must not be forwarded, or not by this node. What follows in the input cannot be told apart then.
pub fn read(
    input: &[u8],
    rules: Forwarding<'_>,
    output: &mut Vec<u8>,
) -> Result<Option<RequestHead>, ProxyError> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(input, &mut fields) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if input.len() > MAX_HEAD => return Err(too_large(input)),
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(refusal(error, input)),
    };
    if length > MAX_HEAD || length > MAX_REQUEST_LINE && first_line(input) > MAX_REQUEST_LINE {
        return Err(too_large(input));
    }
    let head = Parsed {
        input,
        method: request.method.unwrap_or_default(),
        target: request.path.unwrap_or_default(),
        http11: request.version == Some(1),
        fields: request.headers,
    };
    head.edit(length, rules, output).map(Some)
}

fn first_line(input: &[u8]) -> usize {
    // Empty lines before the request line do not count (RFC 9112, section 2.2).
    let start = input.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
    let line = start.and_then(|start| input.get(start..)).unwrap_or_default();
    memchr::memchr(b'\n', line).unwrap_or(line.len())
}

fn too_large(input: &[u8]) -> ProxyError {
    if first_line(input) > MAX_REQUEST_LINE {
        ProxyError::RequestLineTooLong
    } else {
        ProxyError::HeadTooLarge
    }
}

fn refusal(error: httparse::Error, input: &[u8]) -> ProxyError {
    match error {
        httparse::Error::TooManyHeaders => ProxyError::HeadTooLarge,
        httparse::Error::HeaderName => ProxyError::BadRequest("a field name is not valid"),
        httparse::Error::HeaderValue => ProxyError::BadRequest("a field value is not valid"),
        httparse::Error::NewLine => ProxyError::BadRequest("a line does not end in CR LF"),
        httparse::Error::Version if has_other_version(input) => ProxyError::Version,
        httparse::Error::Version | httparse::Error::Status | httparse::Error::Token => {
            ProxyError::BadRequest("the request line is not valid")
        }
    }
}

/// Whether a request line that was not understood has `HTTP/` at the right place.
fn has_other_version(input: &[u8]) -> bool {
    let mut words = input.split(|byte| *byte == b' ');
    let version = words.nth(2).unwrap_or_default();
    let version = version.strip_prefix(b"HTTP/").unwrap_or_default();
    version.first().is_some_and(u8::is_ascii_digit)
}

struct Parsed<'h, 'a> {
    input: &'a [u8],
    method: &'a str,
    target: &'a str,
    http11: bool,
    fields: &'h [Header<'a>],
}

/// What the fields of a request say together.
#[derive(Default)]
struct Survey {
    connection: ConnectionOptions,
    codings: Codings,
    length: Option<u64>,
    hosts: u32,
}

impl<'a> Parsed<'_, 'a> {
    fn edit(
        &self,
        length: usize,
        rules: Forwarding<'_>,
        out: &mut Vec<u8>,
    ) -> Result<RequestHead, ProxyError> {
        let mut kinds = [Kind::Other; MAX_FIELDS];
        let survey = self.survey(&mut kinds)?;
        let framing = self.framing(&survey)?;
        let method = match self.method {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "OPTIONS" => Method::Options,
            "CONNECT" => return Err(ProxyError::NotImplemented("CONNECT is not supported.")),
            _ => Method::Other,
        };
        let target = target::parse(self.method, self.target)?;
        if let Some(special) = rules.special {
            special.check(framing)?;
        }
        self.write(&kinds, &survey, target, rules, out);
        let marks = match rules.special {
            None => Marks::default(),
            Some(special) => special.apply(rules.peer, out),
        };
        Ok(RequestHead {
            length,
            framing,
            method,
            http11: self.http11,
            keep_alive: survey.connection.keeps(self.http11),
            high_priority: marks.high_priority,
            hash: marks.hash,
        })
    }

    #[inline]
    fn survey(&self, kinds: &mut [Kind]) -> Result<Survey, ProxyError> {
        let mut survey = Survey::default();
        for (field, kind) in self.fields.iter().zip(kinds) {
            *kind = Kind::of(field.name);
            match *kind {
                Kind::Other
                | Kind::ForwardedFor
                | Kind::ForwardedHost
                | Kind::ForwardedProto
                | Kind::HopByHop
                | Kind::KeepAlive
                | Kind::Trailer
                | Kind::Lookalike => {}
                Kind::Connection => survey.connection.add(field.value),
                Kind::TransferEncoding => survey.codings.add(field.value),
                Kind::ContentLength => survey.add_length(field.value)?,
                Kind::Host => survey.add_host(field.value)?,
                Kind::Expect => {
                    if !field.value.eq_ignore_ascii_case(b"100-continue") {
                        return Err(ProxyError::Expectation);
                    }
                }
            }
        }
        if self.http11 && survey.hosts == 0 {
            return Err(ProxyError::BadRequest("there is no Host"));
        }
        Ok(survey)
    }

    fn framing(&self, survey: &Survey) -> Result<Framing, ProxyError> {
        match survey.codings {
            Codings::None => Ok(match survey.length {
                None | Some(0) => Framing::Empty,
                Some(length) => Framing::Length(length),
            }),
            _ if survey.length.is_some() => Err(ProxyError::BadRequest(
                "there are both a Content-Length and a Transfer-Encoding",
            )),
            _ if !self.http11 => Err(ProxyError::BadRequest("HTTP/1.0 has no Transfer-Encoding")),
            Codings::Chunked => Ok(Framing::Chunked),
            Codings::CodedAndChunked => Err(ProxyError::NotImplemented(
                "No transfer coding but chunked is supported.",
            )),
            Codings::Unframed | Codings::Invalid => Err(ProxyError::BadRequest(
                "chunked is not the last transfer coding, or not the only one of its kind",
            )),
        }
    }

    fn write(
        &self,
        kinds: &[Kind],
        survey: &Survey,
        target: Target<'a>,
        rules: Forwarding<'_>,
        out: &mut Vec<u8>,
    ) {
        out.clear();
        for part in [self.method, " ", target.prefix, target.path] {
            out.extend_from_slice(part.as_bytes());
        }
        // A request without a host is none of HTTP/1.1.
        let has_host = survey.hosts > 0 || target.authority.is_some();
        out.extend_from_slice(if has_host {
            b" HTTP/1.1\r\n"
        } else {
            b" HTTP/1.0\r\n"
        });
        if let Some(authority) = target.authority {
            write_field(b"Host", authority.as_bytes(), out);
        }
        let mut copier = Copier::new(self.input);
        let mut has_length = false;
        for (field, kind) in self.fields.iter().zip(kinds) {
            let goes_on = match kind {
                Kind::Other | Kind::Trailer => !survey.connection.names(field.name, self.fields),
                Kind::Connection | Kind::HopByHop | Kind::KeepAlive | Kind::Lookalike => false,
                Kind::ContentLength => !std::mem::replace(&mut has_length, true),
                Kind::TransferEncoding => true,
                Kind::Host => target.authority.is_none(),
                // The answer to it would be one that a client of 1.0 does not know.
                Kind::Expect => self.http11,
                Kind::ForwardedFor => rules.forwarded_for == ForwardedFor::Keep,
                Kind::ForwardedHost => rules.forwarded_for != ForwardedFor::Replace,
                // A plain connection says nothing of its own about it, as in Perlbal.
                Kind::ForwardedProto => !rules.secure || rules.forwarded_for != ForwardedFor::Replace,
            };
            if goes_on {
                copier.copy(field, out);
            }
        }
        copier.flush(out);
        self.write_forwarded_for(kinds, rules, out);
        if rules.secure
            && !(rules.forwarded_for != ForwardedFor::Replace && kinds.contains(&Kind::ForwardedProto))
        {
            out.extend_from_slice(b"X-Forwarded-Proto: https\r\n");
        }
        out.extend_from_slice(if rules.persist_backend {
            b"Connection: keep-alive\r\n\r\n"
        } else {
            b"Connection: close\r\n\r\n"
        });
    }

    fn write_forwarded_for(&self, kinds: &[Kind], rules: Forwarding<'_>, out: &mut Vec<u8>) {
        if rules.forwarded_for == ForwardedFor::Keep {
            return;
        }
        out.extend_from_slice(b"X-Forwarded-For: ");
        if rules.forwarded_for == ForwardedFor::Append {
            let fields = self.fields.iter().zip(kinds);
            let said = fields.filter(|(_, kind)| **kind == Kind::ForwardedFor);
            for address in said.flat_map(|(field, _)| options(field.value)) {
                if !address.is_empty() {
                    out.extend_from_slice(address);
                    out.extend_from_slice(b", ");
                }
            }
        }
        out.extend_from_slice(rules.peer);
        out.extend_from_slice(b"\r\n");
    }
}

impl Survey {
    fn add_length(&mut self, value: &[u8]) -> Result<(), ProxyError> {
        let length =
            content_length(value).ok_or(ProxyError::BadRequest("the Content-Length is no number"))?;
        match self.length.replace(length) {
            Some(before) if before != length => {
                Err(ProxyError::BadRequest("there are two values of Content-Length"))
            }
            _ => Ok(()),
        }
    }

    fn add_host(&mut self, value: &[u8]) -> Result<(), ProxyError> {
        self.hosts += 1;
        if self.hosts > 1 {
            return Err(ProxyError::BadRequest("there are two Hosts"));
        }
        if !target::is_host(value) {
            return Err(ProxyError::BadRequest("the Host is not valid"));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
