//! What was seen on one side: the requests that reached the backends, and what the clients got.

use std::fmt::Write;

/// All that was seen on one side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Transcript {
    /// In the order of their coming.
    pub(crate) requests: Vec<Request>,
    /// By their names.
    pub(crate) clients: Vec<Client>,
    /// How many connections the backends had, where that is looked at.
    pub(crate) connections: Option<usize>,
}

/// A head and a body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// The request line or the status line.
    pub(crate) line: String,
    /// Names and values as they came; the blank behind the colon does not count.
    pub(crate) fields: Vec<(String, String)>,
    /// The body as it is shown; empty where there is none.
    pub(crate) body: String,
}

/// A request as a backend saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Request {
    /// The number of the backend.
    pub(crate) backend: usize,
    /// Its connections are counted by their first requests.
    pub(crate) connection: usize,
    /// The request.
    pub(crate) message: Message,
}

/// What a client saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Client {
    /// As the exchange calls it.
    pub(crate) name: String,
    /// In order.
    pub(crate) events: Vec<Event>,
}

/// Something that a client saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A response.
    Response(Message),
    /// The end of the connection, where a response was wanted.
    ClosedUnanswered,
    /// Nothing at all came, for longer than any timeout.
    Silence,
    /// Bytes that are no response, or follow the last one.
    Bytes(String),
    /// After the last response: the connection was closed.
    Closed,
    /// After the last response: the connection stays open.
    Open,
}

/// What a `Date` says that a proxy has put there: the two sides may have looked at their clocks in different seconds.
pub(crate) const NOW: &str = "(now)";

/// Backends of the exchanges say this year, as a date of their own.
const OWN_YEAR: &str = " 2001 ";

fn is_now(name: &str, value: &str) -> bool {
    name.eq_ignore_ascii_case("date") && value.ends_with(" GMT") && !value.contains(OWN_YEAR)
}

impl Message {
    /// Reads a head, without its last line.
    pub(crate) fn head(text: &str) -> Self {
        let mut lines = text.split(r"\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let fields = lines.filter(|line| !line.is_empty()).map(|line| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            let value = if is_now(name, value) { NOW } else { value };
            (name.to_owned(), value.to_owned())
        });
        Self {
            line,
            fields: fields.collect(),
            body: String::new(),
        }
    }

    /// The first field of that name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let found = fields.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The second word of a status line.
    pub(crate) fn status(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    fn write(&self, lines: &mut Vec<String>) {
        for (name, value) in &self.fields {
            lines.push(format!("{name}: {value}"));
        }
        if !self.body.is_empty() {
            lines.push(format!("body {}", self.body));
        }
    }
}

impl Transcript {
    /// Line by line.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for request in &self.requests {
            let (backend, connection) = (request.backend, request.connection);
            lines.push(format!(
                "backend {backend} connection {connection}: {}",
                request.message.line
            ));
            request.message.write(&mut lines);
        }
        if let Some(count) = self.connections {
            lines.push(format!("the backends were connected to {count} times"));
        }
        for client in &self.clients {
            for event in &client.events {
                let mut line = format!("client {} ", client.name);
                match event {
                    Event::Response(message) => {
                        write!(line, "gets {}", message.line).unwrap_or_default();
                        lines.push(line);
                        message.write(&mut lines);
                        continue;
                    }
                    Event::ClosedUnanswered => line.push_str("is closed unanswered"),
                    Event::Silence => line.push_str("gets nothing"),
                    Event::Bytes(bytes) => write!(line, "gets bytes {bytes}").unwrap_or_default(),
                    Event::Closed => line.push_str("is closed"),
                    Event::Open => line.push_str("stays open"),
                }
                lines.push(line);
            }
        }
        lines
    }
}
