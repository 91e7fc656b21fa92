//! A node that speaks TLS, for tests of what it says.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use anyhow::Context;
use fleetbal_cluster_tests::process::Process;
use fleetbal_cluster_tests::tls::Certificate;
use fleetbal_cluster_tests::{Backend, Manage, Result, wait};

use crate::standalone::Place;

/// A node that speaks TLS before one backend, and management.
pub(crate) struct Scene {
    pub(crate) place: Place,
    pub(crate) backend: Backend,
    pub(crate) process: Process,
    pub(crate) traffic: SocketAddr,
    pub(crate) manage: Manage,
}

impl Scene {
    /// With the certificate `a`, for `a.example`, and further settings.
    pub(crate) fn set(settings: &str) -> Result<Self> {
        let place = Place::new()?;
        Certificate::make(place.dir.path(), "a", "ec", &["a.example"])?;
        Self::at(place, settings)
    }

    pub(crate) fn at(place: Place, settings: &str) -> Result<Self> {
        Self::with_flags(place, settings, &[])
    }

    /// With further flags.
    pub(crate) fn with_flags(place: Place, settings: &str, flags: &[&str]) -> Result<Self> {
        let (node, b1) = (place.net.node(1), place.net.backend(1));
        let backend = Backend::start("b1", b1)?;
        let config = format!(
            "CREATE POOL web\nPOOL web ADD {b1}\n\
             CREATE SERVICE mgmt\nSET role = management\nSET listen = {node}:60000\nENABLE mgmt\n\
             CREATE SERVICE www\nSET role = reverse_proxy\nSET listen = {node}:8080\nSET pool = web\n\
             SET persist_client = on\nSET persist_backend = on\nSET enable_ssl = on\n\
             SET ssl_cert_file = a.pem\nSET ssl_key_file = a.key\n{settings}ENABLE www\n"
        );
        let mut command = place.command(&config)?;
        command.args(flags);
        let process = Process::start(command, &place.dir.path().join("log"))?;
        let traffic = (node, 8080).into();
        let manage = wait::until("it to take commands", wait::PATIENCE, || {
            TcpStream::connect(traffic)?;
            Ok(Some(Manage::connect((node, 60000).into())?))
        });
        let said = || fs::read_to_string(place.dir.path().join("log")).unwrap_or_default();
        let manage = manage.with_context(said)?;
        Ok(Self {
            place,
            backend,
            process,
            traffic,
            manage,
        })
    }

    pub(crate) fn dir(&self) -> &Path {
        self.place.dir.path()
    }

    /// Whether `effects` says that something is wrong, and this is in what it says.
    pub(crate) fn complains(&mut self, of: &str) -> Result<bool> {
        let effects = self.manage.data("effects")?.join("\n");
        Ok(effects.contains(of))
    }
}
