//! A data plane with real backends and clients on 127.0.0.0/8.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fleetbal::monitor::stats::Stats;
use fleetbal::snapshot::{NodeVariables, Publisher, View};
use fleetbal::sockets::Sockets;
use fleetbal::tls::{Server, ServerSettings};
use fleetbal::workers::Workers;
use fleetbal_raft::model::{BackendAddress, Batch, Change, FleetConfig, PoolName, ServiceName};
use fleetbal_raft::seal::Seal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Nothing here may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until something holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < give_up, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Gives up on what hangs.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it takes too long")
}

/// An address that nobody else uses in this process, and hardly anybody outside.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let host = NEXT.fetch_add(1, Ordering::Relaxed);
    let net = (std::process::id() % 200) as u8;
    std::net::TcpListener::bind((std::net::Ipv4Addr::new(127, 77, net, host), 0))
        .unwrap()
        .local_addr()
        .unwrap()
}

pub(crate) fn pool() -> PoolName {
    PoolName::parse("p").unwrap()
}

pub(crate) fn service() -> ServiceName {
    ServiceName::parse("s").unwrap()
}

pub(crate) fn set(key: &str, value: &str) -> Change {
    let of_the_pool = ["balance_method", "hash_by", "load_header"];
    let object = if of_the_pool.contains(&key) { "p" } else { "s" };
    Change::Set {
        object: object.into(),
        key: key.into(),
        value: value.into(),
    }
}

pub(crate) fn add(backend: SocketAddr) -> Change {
    add_weighing(backend, 1)
}

pub(crate) fn add_weighing(backend: SocketAddr, weight: u32) -> Change {
    Change::PoolAdd {
        pool: pool(),
        backend: BackendAddress::parse(&backend.to_string()).unwrap(),
        weight,
    }
}

pub(crate) fn drain(backend: SocketAddr, draining: bool) -> Change {
    Change::PoolDrain {
        pool: pool(),
        backend: BackendAddress::parse(&backend.to_string()).unwrap(),
        draining,
    }
}

pub(crate) fn remove(backend: SocketAddr) -> Change {
    Change::PoolRemove {
        pool: pool(),
        backend: BackendAddress::parse(&backend.to_string()).unwrap(),
    }
}

pub(crate) fn enable(enabled: bool) -> Change {
    Change::SetEnabled {
        service: service(),
        enabled,
    }
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) workers: Workers,
    pub(crate) stats: Arc<Stats>,
    pub(crate) view: View,
    publisher: Publisher,
    config: Arc<FleetConfig>,
}

impl Proxy {
    /// One service over one pool; connections are kept on both sides unless `settings` say otherwise.
    pub(crate) fn start(backends: &[SocketAddr], settings: &[(&str, &str)]) -> Self {
        Self::start_with(1, backends, settings)
    }

    pub(crate) fn start_with(workers: usize, backends: &[SocketAddr], settings: &[(&str, &str)]) -> Self {
        let mut changes = vec![Change::CreatePool(pool())];
        changes.extend(backends.iter().copied().map(add));
        changes.extend([
            Change::CreateService(service()),
            set("role", "reverse_proxy"),
            set("pool", "p"),
            set("persist_client", "on"),
            set("persist_backend", "on"),
            set("backend_persist_cache", "64"),
        ]);
        Self::of(workers, changes, settings)
    }

    /// One service over a directory; connections are kept unless `settings` say otherwise.
    pub(crate) fn over_files(workers: usize, docroot: &std::path::Path, settings: &[(&str, &str)]) -> Self {
        let changes = vec![
            Change::CreateService(service()),
            set("role", "web_server"),
            set("docroot", docroot.to_str().unwrap()),
            set("persist_client", "on"),
        ];
        Self::of(workers, changes, settings)
    }

    /// One service that says back what it hears.
    pub(crate) fn echoing(settings: &[(&str, &str)]) -> Self {
        let changes = vec![
            Change::SetLoaded {
                plugin: "EchoService".to_owned(),
                loaded: true,
            },
            Change::CreateService(service()),
            set("role", "echo"),
        ];
        Self::of(1, changes, settings)
    }

    /// The service that these changes make, with these settings, and enabled.
    fn of(workers: usize, mut changes: Vec<Change>, settings: &[(&str, &str)]) -> Self {
        let (publisher, view) = Publisher::new(NodeVariables::default());
        let stats = Arc::new(Stats::new());
        let mut proxy = Self {
            address: free_address(),
            workers: Workers::start(workers, view.clone(), Arc::clone(&stats)).unwrap(),
            stats,
            view,
            publisher,
            config: Arc::default(),
        };
        changes.extend(settings.iter().map(|(key, value)| set(key, value)));
        changes.push(enable(true));
        proxy.change(changes);
        proxy
            .workers
            .open(&service(), proxy.address, &Sockets::default())
            .unwrap();
        proxy
    }

    pub(crate) fn change(&mut self, changes: Vec<Change>) {
        let batch = Batch::of(changes);
        self.config = Arc::new(self.config.with_batch(&batch).unwrap());
        self.publisher.publish(&self.config);
    }

    /// Reads the service's certificate, as the node does before it speaks TLS.
    pub(crate) fn load_certificate(&self) {
        let variables = NodeVariables::default();
        let config = self.config.service("s").unwrap();
        let settings = ServerSettings::of(config, &self.config, &variables)
            .unwrap()
            .unwrap();
        let server = Server::load(settings, &Seal::of(b"the fleet").unwrap(), None).unwrap();
        self.workers.tls().publish([(service(), Arc::new(server))].into());
    }

    pub(crate) async fn client(&self) -> Client {
        Client::to(self.address).await
    }

    /// One GET on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Response {
        let mut client = self.client().await;
        client
            .ask(&format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"))
            .await
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn status(&self) -> u16 {
        self.head[9..12].parse().unwrap()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn has(&self, line: &str) -> bool {
        self.head.split("\r\n").any(|l| l == line)
    }
}

/// A client's connection.
pub(crate) struct Client {
    pub(crate) io: TcpStream,
    pub(crate) input: Vec<u8>,
}

impl Client {
    pub(crate) async fn to(address: SocketAddr) -> Self {
        let io = soon(TcpStream::connect(address)).await.unwrap();
        Self {
            io,
            input: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.io.write_all(bytes.as_ref())).await.unwrap();
    }

    pub(crate) async fn ask(&mut self, request: &str) -> Response {
        self.send(request).await;
        self.response().await
    }

    /// The head of what is answered to a HEAD.
    pub(crate) async fn ask_head(&mut self, request: &str) -> String {
        self.send(request).await;
        self.head().await
    }

    /// Reads more; false at the end.
    pub(crate) async fn more(&mut self) -> bool {
        soon(self.io.read_buf(&mut self.input)).await.unwrap_or(0) > 0
    }

    /// The rest until the other side closes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.input)
    }

    pub(crate) async fn head(&mut self) -> String {
        loop {
            if let Some(at) = self.input.windows(4).position(|w| w == b"\r\n\r\n") {
                let rest = self.input.split_off(at + 4);
                return String::from_utf8(std::mem::replace(&mut self.input, rest)).unwrap();
            }
            let so_far = String::from_utf8_lossy(&self.input).into_owned();
            assert!(self.more().await, "closed within a head: {so_far:?}");
        }
    }

    pub(crate) async fn take(&mut self, length: usize) -> Vec<u8> {
        while self.input.len() < length {
            assert!(self.more().await, "closed within a body");
        }
        let rest = self.input.split_off(length);
        std::mem::replace(&mut self.input, rest)
    }

    /// Chunks as they are, to the end of an empty trailer section.
    pub(crate) async fn chunks(&mut self) -> Vec<u8> {
        loop {
            if let Some(at) = self.input.windows(5).position(|w| w == b"0\r\n\r\n") {
                return self.take(at + 5).await;
            }
            assert!(self.more().await, "closed within chunks");
        }
    }

    /// A whole answer to anything but HEAD.
    pub(crate) async fn response(&mut self) -> Response {
        let head = self.head().await;
        let lower = head.to_ascii_lowercase();
        let status = &head[9..12];
        let body = if let Some(length) = field(&lower, "content-length").filter(|_| status != "304") {
            self.take(length.parse().unwrap()).await
        } else if field(&lower, "transfer-encoding").is_some() {
            self.chunks().await
        } else if status == "204" || status == "304" || status.starts_with('1') {
            Vec::new()
        } else {
            self.rest().await
        };
        Response { head, body }
    }
}

/// The value of a field of a head; both in lower case.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let prefix = format!("{name}: ");
    head.split("\r\n").find_map(|line| line.strip_prefix(&prefix))
}

/// What a backend got.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Which of its connections it came on, counted from 0.
    pub(crate) connection: usize,
}

/// A backend that answers every request with what a closure says; nothing: it closes the connection.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    pub(crate) requests: Arc<Mutex<Vec<Request>>>,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) open: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Origin {
    pub(crate) async fn start(answer: impl Fn(&Request) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(free_address()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let open = Arc::new(AtomicUsize::new(0));
        let (log, count, now) = (requests.clone(), connections.clone(), open.clone());
        let answer = Arc::new(answer);
        let task = tokio::spawn(async move {
            let mut all = tokio::task::JoinSet::new();
            loop {
                let (io, _) = listener.accept().await.unwrap();
                let connection = count.fetch_add(1, Ordering::Relaxed);
                let (log, answer, now) = (log.clone(), answer.clone(), now.clone());
                all.spawn(async move {
                    now.fetch_add(1, Ordering::Relaxed);
                    serve(io, connection, &*answer, &log).await;
                    now.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Self {
            address,
            requests,
            connections,
            open,
            task,
        }
    }

    /// Answers with `text`.
    pub(crate) async fn saying(text: &'static str) -> Self {
        Self::start(move |_| Some(ok(text))).await
    }

    /// Answers with the path and body of the request.
    pub(crate) async fn echo() -> Self {
        Self::start(|request| {
            let path = request.head.split(' ').nth(1).unwrap();
            let mut body = path.as_bytes().to_vec();
            body.extend_from_slice(&request.body);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            Some([head.into_bytes(), body].concat())
        })
        .await
    }

    pub(crate) fn seen(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

pub(crate) fn ok(text: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
}

async fn serve(
    io: TcpStream,
    connection: usize,
    answer: &(dyn Fn(&Request) -> Option<Vec<u8>> + Send + Sync),
    log: &Mutex<Vec<Request>>,
) {
    let mut io = Client {
        io,
        input: Vec::new(),
    };
    loop {
        while !io.input.windows(4).any(|w| w == b"\r\n\r\n") {
            if io.io.read_buf(&mut io.input).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let head = io.head().await;
        let lower = head.to_ascii_lowercase();
        let body = if let Some(length) = field(&lower, "content-length") {
            io.take(length.parse().unwrap()).await
        } else if field(&lower, "transfer-encoding").is_some() {
            io.chunks().await
        } else {
            Vec::new()
        };
        let request = Request {
            head,
            body,
            connection,
        };
        let bytes = answer(&request);
        log.lock().unwrap().push(request);
        let Some(bytes) = bytes else { return };
        if io.io.write_all(&bytes).await.is_err() {
            return;
        }
        let head = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        let head = head.split("\r\n\r\n").next().unwrap();
        let delimited = ["content-length", "transfer-encoding", " 204 ", " 304 "];
        if head.contains("connection: close") || !delimited.iter().any(|d| head.contains(d)) {
            return;
        }
    }
}
