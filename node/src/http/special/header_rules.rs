//! `HEADER … INSERT` and `HEADER … REMOVE` (Perlbal, reference section 4.3).

use super::super::fields::{Kind, is_token, write_field};
use super::super::head::Head;
use super::super::target;

/// What is removed from the head of a request, and then set in it. Setting replaces the field in place, in the
/// spelling that it has, or adds it behind the others; of two values for one field the later one holds.
///
/// `Connection`, `Content-Length` and `Transfer-Encoding` say where the message ends and are not for rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderRules {
    removed: Vec<String>,
    set: Vec<(String, Vec<u8>)>,
}

/// Why there cannot be such a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderRuleError {
    /// The name is none of a field (RFC 9110, section 5.1).
    #[error("a field name has letters, digits and some marks only")]
    Name,
    /// The value would end the line, or is not one of that field.
    #[error("the value is not valid for this field")]
    Value,
    /// The field says where the message ends.
    #[error("Connection, Content-Length and Transfer-Encoding are not for rules")]
    Framing,
}

/// What a backend is told about reproxying.
const CAPABILITIES: &str = "X-Proxy-Capabilities";

impl HeaderRules {
    /// Removes all fields of that name, in any case. Removals come before all that is set.
    ///
    /// # Errors
    /// When there can be no such rule.
    pub fn remove(&mut self, name: &str) -> Result<(), HeaderRuleError> {
        check_name(name)?;
        self.removed.push(name.to_owned());
        Ok(())
    }

    /// Sets a field. The value is sent as it is, without blanks around it.
    ///
    /// # Errors
    /// When there can be no such rule.
    pub fn insert(&mut self, name: &str, value: &[u8]) -> Result<(), HeaderRuleError> {
        let value = check_field(name, value)?;
        match self.set.iter_mut().find(|(is, _)| is.eq_ignore_ascii_case(name)) {
            Some((_, before)) => *before = value.to_vec(),
            None => self.set.push((name.to_owned(), value.to_vec())),
        }
        Ok(())
    }

    /// Tells backends that they may answer with X-REPROXY-FILE, unless a rule speaks of that field.
    pub fn advertise_reproxy(&mut self) {
        if !self.removes(CAPABILITIES) && self.value_of(CAPABILITIES).is_none() {
            self.set.push((CAPABILITIES.to_owned(), b"reproxy-file".to_vec()));
        }
    }

    fn removes(&self, name: &str) -> bool {
        self.removed
            .iter()
            .any(|removed| removed.eq_ignore_ascii_case(name))
    }

    fn value_of(&self, name: &str) -> Option<&[u8]> {
        let set = self.set.iter().find(|(is, _)| is.eq_ignore_ascii_case(name));
        set.map(|(_, value)| &value[..])
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.set.is_empty()
    }

    /// A head as a client sent it, edited. It must have been read once: what is no head stays none.
    pub fn edit(&self, sent: &[u8]) -> Vec<u8> {
        let mut edited = Vec::with_capacity(sent.len());
        // Empty lines before the request line do not count (RFC 9112, section 2.2).
        let mut lines = sent
            .split(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
            .skip_while(|line| line.is_empty());
        let first = lines.next().unwrap_or_default();
        let is_old = first.ends_with(b"HTTP/1.0");
        edited.extend_from_slice(first);
        edited.extend_from_slice(b"\r\n");
        for line in lines.take_while(|line| !line.is_empty()) {
            let colon = memchr::memchr(b':', line).unwrap_or(line.len());
            let (name, value) = line.split_at_checked(colon).unwrap_or_default();
            let value = value.strip_prefix(b":").unwrap_or_default().trim_ascii();
            write_field(name, value, &mut edited);
        }
        edited.extend_from_slice(b"\r\n");
        self.apply(is_old, &mut edited);
        edited
    }

    /// Edits a head in canonical form. One of HTTP/1.1 always has a `Host`.
    pub(super) fn apply(&self, http10: bool, output: &mut Vec<u8>) {
        if self.is_empty() {
            return;
        }
        let added = self.set.iter().map(|(name, value)| name.len() + value.len() + 4);
        let mut edited = Vec::with_capacity(output.len() + added.sum::<usize>());
        let before = Head::new(output);
        edited.extend_from_slice(before.first_line());
        edited.extend_from_slice(b"\r\n");
        for (name, value) in before.fields() {
            let text = std::str::from_utf8(name).unwrap_or_default();
            if self.removes(text) {
                if Kind::of(text) == Kind::Host && !http10 && self.value_of(text).is_none() {
                    write_field(name, b"", &mut edited);
                }
            } else if let Some(value) = self.value_of(text) {
                if Head::new(&edited).field(text).is_none() {
                    write_field(name, value, &mut edited);
                }
            } else {
                write_field(name, value, &mut edited);
            }
        }
        for (name, value) in &self.set {
            if Head::new(&edited).field(name).is_none() {
                write_field(name.as_bytes(), value, &mut edited);
            }
        }
        edited.extend_from_slice(b"\r\n");
        *output = edited;
    }
}

/// A value as it may stand in that field, without blanks around it.
pub(in crate::http) fn check_field<'a>(name: &str, value: &'a [u8]) -> Result<&'a [u8], HeaderRuleError> {
    check_name(name)?;
    let value = value.trim_ascii();
    let is_printable = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
    let is_host = Kind::of(name) == Kind::Host;
    let is_valid = value.iter().all(is_printable) && (!is_host || target::is_host(value));
    is_valid.then_some(value).ok_or(HeaderRuleError::Value)
}

pub(in crate::http) fn check_name(name: &str) -> Result<(), HeaderRuleError> {
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(HeaderRuleError::Name);
    }
    let kind = Kind::of(name);
    if matches!(
        kind,
        Kind::Connection | Kind::ContentLength | Kind::TransferEncoding
    ) {
        return Err(HeaderRuleError::Framing);
    }
    Ok(())
}
