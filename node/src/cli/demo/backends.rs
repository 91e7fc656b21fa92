//! Sample backends: each answers its own name.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::DemoError;
use super::place::Place;

/// The backends of the demo, inside its own process.
#[derive(Debug)]
pub(super) struct Backends {
    list: Vec<(String, SocketAddr)>,
    tasks: JoinSet<()>,
}

impl Backends {
    pub(super) async fn start(place: &Place) -> Result<Self, DemoError> {
        let mut list = Vec::new();
        let mut tasks = JoinSet::new();
        for (number, &address) in (1..).zip(&place.backends) {
            let name = format!("b{number}");
            let listener = TcpListener::bind(address)
                .await
                .map_err(DemoError::system(format!("listen on {address}")))?;
            tasks.spawn(accept(listener, format!("{name}\n").into()));
            list.push((name, address));
        }
        Ok(Self { list, tasks })
    }

    pub(super) fn list(&self) -> &[(String, SocketAddr)] {
        &self.list
    }

    pub(super) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Owns its connections: dropping it ends them.
async fn accept(listener: TcpListener, answer: Bytes) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Out of descriptors, at worst: the next one may do better.
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve(stream, answer.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, answer: Bytes) {
    let service = service_fn(move |_: Request<hyper::body::Incoming>| {
        let body = Full::new(answer.clone());
        async { Ok::<_, Infallible>(Response::new(body)) }
    });
    // A proxy that closes in mid-request is no matter for a backend.
    drop(
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}
