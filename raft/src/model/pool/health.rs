//! How the backends of a pool are checked, and what follows from it: settings of the pool, read and written as text.

use std::fmt;
use std::time::Duration;

use super::is_token;

/// How the backends of a pool are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthRules {
    /// What is asked for; none: no HTTP checks.
    pub path: Option<String>,
    /// By which method.
    pub method: String,
    /// The Host of the request; none: the backend's address.
    pub host: Option<String>,
    /// What a good answer is.
    pub expect: Expect,
    /// Whether a connection is opened as a check, where there is no path.
    pub tcp: bool,
    /// Between two checks by one node.
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// After so many failed checks in a row a backend is down; none: one where it refuses the connection, else three.
    pub fall: Option<u32>,
    /// After so many good ones it is up again.
    pub rise: u32,
    /// How many nodes check a backend.
    pub checkers: u32,
}

impl Default for HealthRules {
    fn default() -> Self {
        Self {
            path: None,
            method: "GET".to_owned(),
            host: None,
            expect: Expect::default(),
            tcp: false,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            fall: None,
            rise: 1,
            checkers: 2,
        }
    }
}

impl HealthRules {
    /// Whether backends are checked all the time, and not only while one is in trouble.
    pub fn is_active(&self) -> bool {
        self.tcp || self.path.is_some()
    }

    /// The settings that can contradict each other.
    pub(in crate::model) const CONTRADICTING: [&'static str; 2] = ["health_method", "health_expect"];

    /// Whether no answer can be a good one: a text is to be found in bodies that never come (RFC 9110, section 9.3.2).
    /// What has to change, where one of the two settings is to.
    pub(in crate::model) fn contradiction(&self, key: &str) -> Option<&'static str> {
        if self.method != "HEAD" || !matches!(self.expect, Expect::Text(_)) {
            return None;
        }
        Some(match key {
            "health_method" => {
                "a method other than HEAD while health_expect is a text: answers to HEAD have no body"
            }
            _ => "status codes while health_method is HEAD: answers to HEAD have no body",
        })
    }
}

/// What a good answer to a check is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// A status code in one of these ranges, ends included.
    Status(Vec<(u16, u16)>),
    /// This text in the first 64 KiB of the body.
    Text(String),
}

impl Default for Expect {
    fn default() -> Self {
        Self::Status(vec![(200, 399)])
    }
}

impl Expect {
    /// Reads `200`, `200,204`, `200-299`, `2xx`, or several of them; what has anything else in it is a text to be found.
    pub fn parse(text: &str) -> Option<Self> {
        let is_list = |b: u8| b.is_ascii_digit() || b", -xX".contains(&b);
        if !text.bytes().all(is_list) {
            let printable = text.len() <= 1024 && !text.chars().any(char::is_control);
            return printable.then(|| Self::Text(text.to_owned()));
        }
        let ranges = text.split(',').map(|part| range(part.trim()));
        ranges.collect::<Option<Vec<_>>>().map(Self::Status)
    }

    /// Whether a status code is a good one; every one is where a text has to be found.
    pub fn accepts(&self, status: u16) -> bool {
        match self {
            Self::Status(ranges) => ranges.iter().any(|(from, to)| (*from..=*to).contains(&status)),
            Self::Text(_) => true,
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges = match self {
            Self::Text(text) => return f.write_str(text),
            Self::Status(ranges) => ranges,
        };
        for (at, (from, to)) in ranges.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            if from == to {
                write!(f, "{comma}{from}")?;
            } else {
                write!(f, "{comma}{from}-{to}")?;
            }
        }
        Ok(())
    }
}

fn range(part: &str) -> Option<(u16, u16)> {
    let code = |text: &str| {
        let code: u16 = text.parse().ok()?;
        (text.len() == 3 && (100..=599).contains(&code)).then_some(code)
    };
    let hundreds = part.strip_suffix("xx").or_else(|| part.strip_suffix("XX"));
    if let Some(hundreds) = hundreds {
        let from = code(&format!("{hundreds}00"))?;
        return Some((from, from + 99));
    }
    match part.split_once('-') {
        None => code(part).map(|code| (code, code)),
        Some((from, to)) => {
            let (from, to) = (code(from.trim())?, code(to.trim())?);
            (from <= to).then_some((from, to))
        }
    }
}

/// Seconds, decimals allowed down to milliseconds, between these two.
pub(super) fn seconds(text: &str, from: Duration, to: Duration) -> Option<Duration> {
    let time = Duration::from_millis(thousandths(text)?);
    (from..=to).contains(&time).then_some(time)
}

/// As [`seconds`] reads it: no decimals that say nothing.
pub(super) fn show_seconds(time: Duration) -> String {
    show_thousandths(time.as_secs() * 1000 + u64::from(time.subsec_millis()))
}

/// A number with at most three decimals, in thousandths.
pub(super) fn thousandths(text: &str) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let fits = !text.is_empty() && text != "." && whole.len() <= 6 && decimals.len() <= 3;
    if !fits || !digits(whole) || !digits(decimals) {
        return None;
    }
    let whole: u64 = format!("0{whole}").parse().ok()?;
    let thousandths: u64 = format!("{decimals:0<3}").parse().ok()?;
    Some(whole * 1000 + thousandths)
}

/// As [`thousandths`] reads it.
pub(super) fn show_thousandths(number: u64) -> String {
    let text = format!("{}.{:03}", number / 1000, number % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A whole number between these two.
pub(super) fn number(text: &str, from: u32, to: u32) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number: u32 = if digits { text.parse().ok()? } else { return None };
    (from..=to).contains(&number).then_some(number)
}

/// What can stand in a request line as its target.
pub(super) fn path(text: &str) -> Option<String> {
    let fits = text.starts_with('/') && text.len() <= 2048 && text.bytes().all(|b| b.is_ascii_graphic());
    fits.then(|| text.to_owned())
}

/// What can be the value of Host.
pub(super) fn host(text: &str) -> Option<String> {
    let fits = (1..=255).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
    fits.then(|| text.to_owned())
}

/// A method after which the connection goes on speaking HTTP.
pub(super) fn method(text: &str) -> Option<String> {
    let method = text.to_ascii_uppercase();
    (is_token(&method) && method.len() <= 20 && method != "CONNECT").then_some(method)
}

/// On or off, in Perlbal's words.
pub(super) fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "on" | "yes" => Some(true),
        "0" | "false" | "off" | "no" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectations_are_status_lists_or_texts() {
        let shown = |text: &str| Expect::parse(text).map(|expect| expect.to_string());
        for (text, back) in [
            ("200", "200"),
            ("2xx, 404", "200-299,404"),
            ("200-204,3XX", "200-204,300-399"),
            ("I am well", "I am well"),
            ("ok: 200", "ok: 200"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(back), "{text}");
            assert_eq!(Expect::parse(back), Expect::parse(text), "{text}");
        }
        for bad in ["", "20", "2000", "600", "300-200", "200,", "xx", "-", "a\u{7}"] {
            assert_eq!(Expect::parse(bad), None, "{bad}");
        }
        let expect = Expect::parse("2xx,404").unwrap();
        let accepted: Vec<_> = [200, 299, 300, 404]
            .into_iter()
            .filter(|s| expect.accepts(*s))
            .collect();
        assert_eq!(accepted, [200, 299, 404]);
    }

    #[test]
    fn seconds_have_decimals() {
        let (from, to) = (Duration::from_millis(100), Duration::from_mins(1));
        for (text, back) in [
            ("2", "2"),
            (".25", "0.25"),
            ("1.500", "1.5"),
            ("60", "60"),
            ("3.", "3"),
        ] {
            assert_eq!(
                seconds(text, from, to).map(show_seconds).as_deref(),
                Some(back),
                "{text}"
            );
        }
        for bad in ["", ".", "0", "0.0999", "61", "-1", "1e1", "1.2345", "soon", "+2"] {
            assert_eq!(seconds(bad, from, to), None, "{bad}");
        }
    }

    #[test]
    fn what_goes_into_a_request_cannot_break_its_lines() {
        assert!(path("/ok?x=1").is_some() && host("[::1]:80").is_some() && method("head").is_some());
        for bad in ["", "ok", "/a b", "/\r\nX: y", "/é"] {
            assert_eq!(path(bad), None, "{bad}");
        }
        for bad in ["", "a b", "a\r\n", "a/b"] {
            assert_eq!(host(bad), None, "{bad}");
        }
        for bad in ["", "G T", "CONNECT", "connect", "GET\r\n"] {
            assert_eq!(method(bad), None, "{bad}");
        }
    }
}
