//! Where a body ends. Bodies pass as they are; chunked ones are checked strictly on the way (RFC 9112, section 7.1).

use super::error::ProxyError;
use super::fields::is_token;

/// How a message says where its body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// After so many bytes; never 0.
    Length(u64),
    /// After the last chunk and its trailers.
    Chunked,
    /// When the connection closes; responses only.
    UntilClose,
}

/// A body that breaks the rules of its framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MalformedBody(pub &'static str);

/// A chunked body that carries more than it may.
pub const TOO_LARGE: MalformedBody = MalformedBody("the body is too large");

impl From<MalformedBody> for ProxyError {
    /// Of the body of a request.
    fn from(error: MalformedBody) -> Self {
        if error == TOO_LARGE {
            Self::ContentTooLarge
        } else {
            Self::BadRequest(error.0)
        }
    }
}

/// The bytes that chunk extensions of one body may take, and those that its trailers may.
const MAX_CHUNK_EXTRAS: u32 = 16_384;

/// As many hexadecimal digits as always fit.
const MAX_SIZE_DIGITS: u8 = 15;

/// Measures a body as it passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body(State);

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    Done,
}

impl Body {
    /// A body of which nothing has passed yet.
    pub fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::Empty | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Chunked::default()),
            Framing::UntilClose => State::UntilClose,
        })
    }

    /// The same; if it is chunked, it may carry `limit` bytes at most (none: any number).
    pub fn limited(framing: Framing, limit: Option<u64>) -> Self {
        let mut body = Self::new(framing);
        if let State::Chunked(chunked) = &mut body.0 {
            chunked.allowed = limit;
        }
        body
    }

    /// Whether all of it has passed.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.0 == State::Done
    }

    /// How many of these bytes belong to it. They count as passed.
    ///
    /// # Errors
    /// When the chunks break the rules; nothing of what follows can be told apart then.
    #[inline]
    pub fn take(&mut self, input: &[u8]) -> Result<usize, MalformedBody> {
        self.take_into(input, None)
    }

    /// The same; what the body carries is appended to `content`, without the chunks around it.
    ///
    /// # Errors
    /// The same.
    pub fn take_content(&mut self, input: &[u8], content: &mut Vec<u8>) -> Result<usize, MalformedBody> {
        self.take_into(input, Some(content))
    }

    /// Nothing more comes.
    ///
    /// # Errors
    /// When there should have been more.
    pub fn end_of_input(&mut self) -> Result<(), MalformedBody> {
        match self.0 {
            State::Done => Ok(()),
            State::UntilClose => {
                self.0 = State::Done;
                Ok(())
            }
            State::Length(_) | State::Chunked(_) => Err(MalformedBody("the body is cut off")),
        }
    }

    #[inline]
    fn take_into(&mut self, input: &[u8], content: Option<&mut Vec<u8>>) -> Result<usize, MalformedBody> {
        let taken = match &mut self.0 {
            State::Done => return Ok(0),
            State::UntilClose => input.len(),
            State::Length(left) => {
                let taken = at_most(*left, input.len());
                *left -= taken as u64;
                if *left == 0 {
                    self.0 = State::Done;
                }
                taken
            }
            State::Chunked(chunked) => {
                let taken = chunked.take(input, content)?;
                if chunked.at == At::End {
                    self.0 = State::Done;
                }
                return Ok(taken);
            }
        };
        if let (Some(content), Some(all)) = (content, input.get(..taken)) {
            content.extend_from_slice(all);
        }
        Ok(taken)
    }
}

fn at_most(left: u64, available: usize) -> usize {
    usize::try_from(left).map_or(available, |left| left.min(available))
}

/// Where in the chunks the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum At {
    #[default]
    Size,
    /// Blanks after the size: an extension must follow.
    SizeBlank,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    End,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Chunked {
    at: At,
    left: u64,
    /// How many bytes further chunks may carry; none: any number.
    allowed: Option<u64>,
    digits: u8,
    extension_bytes: u32,
    trailer_bytes: u32,
}

impl Chunked {
    fn take(&mut self, input: &[u8], mut content: Option<&mut Vec<u8>>) -> Result<usize, MalformedBody> {
        let mut taken = 0;
        while self.at != At::End {
            let Some(rest) = input.get(taken..) else { break };
            let Some(byte) = rest.first() else { break };
            if self.at == At::Data {
                let data = rest.get(..at_most(self.left, rest.len())).unwrap_or(rest);
                if let Some(content) = content.as_deref_mut() {
                    content.extend_from_slice(data);
                }
                taken += data.len();
                self.left -= data.len() as u64;
                if self.left == 0 {
                    self.at = At::DataCr;
                }
            } else {
                self.at = self.step(*byte)?;
                taken += 1;
            }
        }
        Ok(taken)
    }

    /// What follows a byte that is no data.
    fn step(&mut self, byte: u8) -> Result<At, MalformedBody> {
        const BAD_LINE: MalformedBody = MalformedBody("a line of a chunk does not end in CR LF");
        match (self.at, byte) {
            (At::Size, _) => self.size(byte),
            (At::SizeBlank, b' ' | b'\t') => self.extension(At::SizeBlank),
            (At::SizeBlank, b';') => self.extension(At::Extension),
            (At::SizeBlank, _) => Err(MalformedBody("a chunk's size is followed by blanks")),
            (At::Extension, b'\r') => Ok(At::SizeLf),
            (At::Extension, _) if is_control(byte) => Err(BAD_LINE),
            (At::Extension, _) => self.extension(At::Extension),
            (At::SizeLf, b'\n') => self.after_size(),
            (At::DataCr, b'\r') => Ok(At::DataLf),
            (At::DataLf, b'\n') => Ok(At::Size),
            (At::TrailerStart, b'\r') => Ok(At::EndLf),
            (At::TrailerLf, b'\n') => Ok(At::TrailerStart),
            (At::TrailerStart | At::TrailerName | At::TrailerValue, _) => self.trailer(byte),
            (At::EndLf, b'\n') => Ok(At::End),
            (At::SizeLf | At::DataCr | At::DataLf | At::TrailerLf | At::EndLf | At::Data | At::End, _) => {
                Err(BAD_LINE)
            }
        }
    }

    fn size(&mut self, byte: u8) -> Result<At, MalformedBody> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if self.digits > 0 => return Ok(At::SizeLf),
            b';' if self.digits > 0 => return self.extension(At::Extension),
            b' ' | b'\t' if self.digits > 0 => return self.extension(At::SizeBlank),
            _ => return Err(MalformedBody("a chunk's size is no hexadecimal number")),
        };
        if self.digits == MAX_SIZE_DIGITS {
            return Err(MalformedBody("a chunk's size is too large"));
        }
        self.digits += 1;
        self.left = self.left * 16 + u64::from(digit);
        Ok(At::Size)
    }

    fn after_size(&mut self) -> Result<At, MalformedBody> {
        self.digits = 0;
        if let Some(allowed) = &mut self.allowed {
            *allowed = allowed.checked_sub(self.left).ok_or(TOO_LARGE)?;
        }
        Ok(if self.left == 0 {
            At::TrailerStart
        } else {
            At::Data
        })
    }

    fn extension(&mut self, next: At) -> Result<At, MalformedBody> {
        self.extension_bytes += 1;
        if self.extension_bytes > MAX_CHUNK_EXTRAS {
            return Err(MalformedBody("the chunk extensions are too long"));
        }
        Ok(next)
    }

    /// A trailer is a field like those of the head; it is not folded, and has no blanks before its colon.
    fn trailer(&mut self, byte: u8) -> Result<At, MalformedBody> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > MAX_CHUNK_EXTRAS {
            return Err(MalformedBody("the trailers are too long"));
        }
        let value = self.at == At::TrailerValue;
        match byte {
            b'\r' if value => Ok(At::TrailerLf),
            _ if value && !is_control(byte) => Ok(At::TrailerValue),
            b':' if self.at == At::TrailerName => Ok(At::TrailerValue),
            _ if !value && is_token(byte) => Ok(At::TrailerName),
            _ => Err(MalformedBody("a trailer is no field")),
        }
    }
}

fn is_control(byte: u8) -> bool {
    byte != b'\t' && byte.is_ascii_control()
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
