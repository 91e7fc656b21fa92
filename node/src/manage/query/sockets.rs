//! `states`, `socks`: the connections of this node and what each is doing, in Perlbal's words.

use std::collections::BTreeMap;

use crate::monitor::sockets::{Backend, BackendState, Client, ClientClass, ClientState, Kind, Socket};

/// `states [SERVICE]`: how many connections do what. Of one service: those of its clients and backends.
pub fn states(sockets: &[Socket], service: Option<&str>) -> Vec<String> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let of_it = |socket: &&Socket| {
        service.is_none_or(|service| socket.service.as_ref().is_some_and(|own| own.as_str() == service))
    };
    for socket in sockets.iter().filter(of_it) {
        let state = match &socket.kind {
            Kind::Client(client) => client_state(client.state),
            Kind::Backend(backend) => backend_state(backend.state),
            Kind::Listener(_) | Kind::Tracker(_) | Kind::Management(_) => continue,
        };
        *counts.entry((class(&socket.kind), state)).or_default() += 1;
    }
    let line = |((class, state), count)| format!("{class} {state} {count}");
    counts.into_iter().map(line).collect()
}

/// `socks`: a line each, by descriptor.
pub fn rows(mut sockets: Vec<Socket>) -> Vec<String> {
    sockets.sort_by_key(|socket| socket.descriptor);
    let mut lines = vec!["   fd    age".to_owned()];
    lines.extend(sockets.iter().map(row));
    lines
}

/// `socks summary`: how many there are of each kind.
pub fn summary(sockets: &[Socket]) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut held, mut files) = (0, 0);
    for socket in sockets {
        *counts.entry(class(&socket.kind)).or_default() += 1;
        if let Kind::Client(client) = &socket.kind {
            held += client.held;
            files += usize::from(client.state == ClientState::XferDisk);
        }
    }
    let mut lines: Vec<_> = counts
        .into_iter()
        .map(|(class, count)| format!("{count:5} {class}"))
        .collect();
    let tenths = held * 10 / 1024;
    lines.push(format!(
        "Aggregate write buffer: {}.{}k",
        tenths / 10,
        tenths % 10
    ));
    lines.push(format!("            Open files: {files}"));
    lines
}

fn row(socket: &Socket) -> String {
    let descriptor = socket
        .descriptor
        .map_or_else(|| "-".to_owned(), |descriptor| descriptor.to_string());
    let (watched, text) = match &socket.kind {
        Kind::Client(client) => (if client.held > 0 { "W" } else { "R" }, client_text(client)),
        Kind::Backend(backend) => {
            let is_opening = backend.state == BackendState::Connecting;
            (if is_opening { "W" } else { "R" }, backend_text(backend))
        }
        Kind::Listener(address) | Kind::Tracker(address) => {
            let service = socket.service.as_ref();
            let whose = service.map_or_else(
                || "this node alone".to_owned(),
                |service| format!("service '{service}'"),
            );
            ("R", format!("open: listening on {address} for {whose}"))
        }
        Kind::Management(peer) => ("R", format!("open to {peer}")),
    };
    let (age, class) = (socket.age.as_secs(), class(&socket.kind));
    format!("{descriptor:>5} {age:5}s {class}({watched}): {text}")
}

fn client_text(client: &Client) -> String {
    let mut parts = vec![format!("open to {}", client.peer)];
    let mut tell = |part: String| parts.push(part);
    if let Some(port) = client.local_port {
        tell(format!("localport={port}"));
    }
    if let Some(observed) = &client.observed {
        tell(format!("observed_ip={observed}"));
    }
    tell(format!("reqs={}", client.requests));
    tell(client_state(client.state).to_owned());
    if let Some(url) = &client.url {
        tell(format!("http://{url}"));
    }
    if let Some(backend) = client.backend {
        tell(format!("backend={backend}"));
    }
    if client.held > 0 {
        tell(format!("write_buf_size={}", client.held));
    }
    if client.is_high_priority {
        tell("highpri".to_owned());
    }
    if matches!(client.state, ClientState::XferRes | ClientState::XferDisk) {
        tell("responded".to_owned());
    }
    if client.state == ClientState::XferResp {
        tell("reproxying".to_owned());
    }
    text(&parts)
}

/// The other end, a colon, and what there is to tell of it.
fn text(parts: &[String]) -> String {
    let (first, rest) = parts.split_at(parts.len().min(1));
    format!("{}: {}", first.concat(), rest.join("; "))
}

fn backend_text(backend: &Backend) -> String {
    let opening = matches!(backend.state, BackendState::Connecting);
    let mut parts = vec![if opening {
        format!("connecting to {}", backend.address)
    } else {
        format!("open to {}", backend.address)
    }];
    if let Some(port) = backend.local_port {
        parts.push(format!("localport={port}"));
    }
    if let Some(client) = backend.client {
        parts.push(format!("client={client}"));
    }
    parts.push(format!("uses={}", backend.uses));
    parts.push(backend_state(backend.state).to_owned());
    if backend.is_verified {
        parts.push("has_attention=yes".to_owned());
    }
    text(&parts)
}

fn class(kind: &Kind) -> &'static str {
    match kind {
        Kind::Client(client) => match client.class {
            ClientClass::Proxy => "Perlbal::ClientProxy",
            ClientClass::Web => "Perlbal::ClientHTTP",
            ClientClass::Undecided => "Perlbal::ClientHTTPBase",
        },
        Kind::Backend(_) => "Perlbal::BackendHTTP",
        Kind::Listener(_) => "Perlbal::TCPListener",
        Kind::Tracker(_) => "Perlbal::UploadListener",
        Kind::Management(_) => "Perlbal::ClientManage",
    }
}

fn client_state(state: ClientState) -> &'static str {
    match state {
        ClientState::ReadingHeaders => "reading_headers",
        ClientState::BufferingRequest => "buffering_request",
        ClientState::WaitBackend => "wait_backend",
        ClientState::WaitRes => "wait_res",
        ClientState::XferRes => "xfer_res",
        ClientState::XferDisk => "xfer_disk",
        ClientState::XferResp => "xfer_resp",
        ClientState::PersistWait => "persist_wait",
    }
}

fn backend_state(state: BackendState) -> &'static str {
    match state {
        BackendState::Connecting => "connecting",
        BackendState::Verifying => "verifying_backend",
        BackendState::Bored => "bored",
        BackendState::WaitRes => "wait_res",
        BackendState::XferRes => "xfer_res",
    }
}
