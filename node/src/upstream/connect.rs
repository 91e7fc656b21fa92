//! Opens connections to backends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::verify::{Verification, Verifier, verify};
use super::{Connections, Lease};
use crate::health::{Failure, Seen};
use crate::snapshot::BackendState;

/// How long a backend may take to accept a connection: enough for one lost SYN and a slow network.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long it may take to verify one (Perlbal's value): a busy backend answers when it has a free process.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(15);

/// How long verification is left out for a backend that does not keep connections (Perlbal's value).
const UNVERIFIED_FOR: Duration = Duration::from_mins(1);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The network or the backend said no.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// Nothing was said in time.
    #[error("no connection in time")]
    TimedOut,
    /// It was opened, but what verifies it got no proper answer.
    #[error("cannot verify the connection")]
    Verify(#[source] io::Error),
    /// It was opened, but what verifies it got no answer in time.
    #[error("no answer to the verification in time")]
    NotVerified,
}

impl ConnectError {
    /// What it says about the backend; none where it says more about this machine.
    fn seen(&self) -> Option<Seen> {
        match self {
            Self::Connect(error) => Failure::of_connect(error).map(Seen::Down),
            Self::TimedOut => Some(Seen::Down(Failure::other("no connection in time"))),
            Self::Verify(_) => Some(Seen::Down(Failure::other("the verification failed"))),
            Self::NotVerified => Some(Seen::Down(Failure::other(
                "no answer to the verification in time",
            ))),
        }
    }
}

/// How far a connection has come that is being opened; others may look.
#[derive(Debug, Default)]
pub struct Stage(AtomicBool);

impl Stage {
    /// Whether it is open, and waits for the answer that verifies it.
    pub fn is_verifying(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Opens a connection for a service, and verifies it where that is asked for. A backend that fails is barred
/// for a moment. Dropping the future closes the connection.
///
/// # Errors
/// When it cannot be opened or verified.
pub async fn connect(
    backend: &Arc<BackendState>,
    verify: Option<&Verifier>,
    connections: &Arc<Connections>,
    stage: &Stage,
) -> Result<Lease, ConnectError> {
    let opened = open(backend, verify, connections, stage).await;
    match &opened {
        Ok(_) => backend.reached(),
        Err(error) => {
            let cannot_verify = matches!(error, ConnectError::Verify(_) | ConnectError::NotVerified);
            backend.bar(Instant::now(), cannot_verify);
            if let Some(seen) = error.seen() {
                backend.report(seen);
            }
            tracing::debug!(backend = %backend.address(), %error, "backend failed");
        }
    }
    opened
}

async fn open(
    backend: &Arc<BackendState>,
    verifier: Option<&Verifier>,
    connections: &Arc<Connections>,
    stage: &Stage,
) -> Result<Lease, ConnectError> {
    let lease = open_plain(backend, connections).await?;
    let Some(verifier) = verifier.filter(|_| !backend.skips_verification(Instant::now())) else {
        return Ok(lease);
    };
    stage.0.store(true, Ordering::Relaxed);
    match timeout(VERIFY_TIMEOUT, verify(lease, verifier)).await {
        Err(_) => Err(ConnectError::NotVerified),
        Ok(Err(error)) => Err(ConnectError::Verify(error)),
        Ok(Ok(Verification::Passed(mut lease))) => {
            backend.count_verified();
            lease.state.is_proven = true;
            Ok(lease)
        }
        Ok(Ok(Verification::Spared(lease))) => Ok(lease),
        Ok(Ok(Verification::NotKept)) => {
            backend.skip_verification(Instant::now(), UNVERIFIED_FOR);
            stage.0.store(false, Ordering::Relaxed);
            open_plain(backend, connections).await
        }
    }
}

async fn open_plain(
    backend: &Arc<BackendState>,
    connections: &Arc<Connections>,
) -> Result<Lease, ConnectError> {
    backend.attempt();
    let connecting = TcpStream::connect(backend.address().socket());
    let io = timeout(CONNECT_TIMEOUT, connecting)
        .await
        .map_err(|_| ConnectError::TimedOut)?
        .map_err(ConnectError::Connect)?;
    io.set_nodelay(true).map_err(ConnectError::Connect)?;
    Ok(Lease::new(io, backend, connections))
}
