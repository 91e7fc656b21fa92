//! Figures as Prometheus text or `OpenMetrics`. Where they come from is not here.

use std::fmt::{Display, Write as _};
use std::thread;

/// How figures are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text, 0.0.4.
    Prometheus,
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format that an Accept field asks for: `OpenMetrics` where it is named, else Prometheus text.
    pub fn accepted(accept: &str) -> Self {
        let wanted = accept.split(',').any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let named = parts
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
            named
                && !parts.any(|part| {
                    part.strip_prefix("q=")
                        .is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0))
                })
        });
        if wanted {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What kind of figure a family holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 at the start. Its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Says something by its labels; always 1. Its name ends in `_info`.
    Info,
}

/// After so many lines, some 30 µs of work, others on this CPU have their turn: traffic waits for no scrape.
const LINES_A_TURN: usize = 64;

/// Labels of one figure: names and values.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// Figures being written down.
#[derive(Debug)]
pub struct Exposition {
    format: Format,
    text: String,
    family: &'static str,
    lines: usize,
}

impl Exposition {
    /// Nothing yet.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            text: String::new(),
            family: "",
            lines: 0,
        }
    }

    /// Begins a family: figures of one name follow.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> &mut Self {
        let (shown, kind) = match (self.format, kind) {
            (Format::OpenMetrics, Kind::Counter) => (name.trim_end_matches("_total"), "counter"),
            (Format::OpenMetrics, Kind::Info) => (name.trim_end_matches("_info"), "info"),
            (Format::Prometheus, Kind::Counter) => (name, "counter"),
            (Format::Prometheus, Kind::Info) | (_, Kind::Gauge) => (name, "gauge"),
        };
        self.line(format_args!("# HELP {shown} {help}"));
        self.line(format_args!("# TYPE {shown} {kind}"));
        self.family = name;
        self
    }

    /// One figure of the family that was begun.
    pub fn figure(&mut self, labels: Labels<'_>, value: impl Display) -> &mut Self {
        self.text.push_str(self.family);
        for (at, (name, value)) in labels.iter().enumerate() {
            self.text.push(if at == 0 { '{' } else { ',' });
            self.text.push_str(name);
            self.text.push_str("=\"");
            self.escape(value);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        self.line(format_args!(" {value}"));
        self
    }

    /// All that was written.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.line(format_args!("# EOF"));
        }
        self.text
    }

    /// Ends a line.
    fn line(&mut self, rest: impl Display) {
        // Writing to a string does not fail, and a figure that could not be written shows as a line without one.
        writeln!(self.text, "{rest}").unwrap_or_default();
        self.lines += 1;
        if self.lines.is_multiple_of(LINES_A_TURN) {
            thread::yield_now();
        }
    }

    /// Writes a label's value.
    fn escape(&mut self, value: &str) {
        for letter in value.chars() {
            match letter {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                other => self.text.push(other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(format: Format) -> String {
        let mut out = Exposition::new(format);
        out.family("x_build_info", Kind::Info, "The build.")
            .figure(&[("version", "1")], 1);
        out.family("x_requests_total", Kind::Counter, "Requests.")
            .figure(&[("service", "a\"b\\c\nd"), ("code", "200")], 3)
            .figure(&[], 4);
        out.family("x_up", Kind::Gauge, "Up.").figure(&[], 0.5);
        out.finish()
    }

    #[test]
    fn prometheus_text() {
        let expected = "# HELP x_build_info The build.\n# TYPE x_build_info gauge\nx_build_info{version=\"1\"} 1\n\
            # HELP x_requests_total Requests.\n# TYPE x_requests_total counter\n\
            x_requests_total{service=\"a\\\"b\\\\c\\nd\",code=\"200\"} 3\nx_requests_total 4\n\
            # HELP x_up Up.\n# TYPE x_up gauge\nx_up 0.5\n";
        assert_eq!(sample(Format::Prometheus), expected);
    }

    #[test]
    fn openmetrics() {
        let text = sample(Format::OpenMetrics);
        assert!(text.contains("# TYPE x_build info\nx_build_info{version=\"1\"} 1\n"));
        assert!(text.contains("# TYPE x_requests counter\nx_requests_total{"));
        assert!(text.ends_with("x_up 0.5\n# EOF\n"));
    }

    #[test]
    fn accept_chooses() {
        let prometheus_server =
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";
        assert_eq!(Format::accepted(prometheus_server), Format::OpenMetrics);
        for accept in [
            "",
            "*/*",
            "text/plain",
            "application/openmetrics-text;q=0",
            "x/application/openmetrics-text",
        ] {
            assert_eq!(Format::accepted(accept), Format::Prometheus, "{accept}");
        }
    }
}
