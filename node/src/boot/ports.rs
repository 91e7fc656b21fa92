//! The listeners that the configuration asks for: traffic goes to the workers, management to the control plane.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use fleetbal_raft::model::{Role, ServiceName};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::effects::{Listener, Ports};
use crate::manage::{self, Context, access::Access};
use crate::os_error;
use crate::workers::Workers;

/// Opens listeners on this node.
#[derive(Debug)]
pub(super) struct NodePorts {
    workers: Arc<Workers>,
    management: Management,
}

impl NodePorts {
    pub(super) fn new(workers: Arc<Workers>, management: Management) -> Self {
        Self { workers, management }
    }
}

impl Ports for NodePorts {
    fn open(&mut self, service: &ServiceName, listener: Listener) -> io::Result<()> {
        match listener.role {
            Role::ReverseProxy => self.workers.open(service, listener.address),
            Role::Management => self.management.open(service, listener.address),
        }
    }

    fn close(&mut self, service: &ServiceName, listener: Listener) {
        match listener.role {
            Role::ReverseProxy => self.workers.close(service),
            Role::Management => self.management.close(service),
        }
    }
}

/// The management listeners of a node.
#[derive(Debug)]
pub(super) struct Management {
    context: Arc<Context>,
    access: Arc<Access>,
    /// The listener of this node alone, which stays whatever the configuration says.
    own: Option<SocketAddr>,
    open: BTreeMap<ServiceName, CancellationToken>,
    all: CancellationToken,
}

impl Management {
    /// None is open yet. Cancelling `all` closes every one.
    pub(super) fn new(
        context: Arc<Context>,
        access: Access,
        own: Option<SocketAddr>,
        all: CancellationToken,
    ) -> Self {
        Self {
            context,
            access: Arc::new(access),
            own,
            open: BTreeMap::new(),
            all,
        }
    }

    /// Opens the listener of this node alone, where there is one.
    ///
    /// # Errors
    /// When its address cannot be had, in words for whoever chose it.
    pub(super) fn open_own(&self) -> Result<(), String> {
        let Some(address) = self.own else { return Ok(()) };
        self.serve(address, self.all.child_token()).map_err(|error| {
            format!(
                "--management: cannot listen on {address}: {}",
                os_error::words(&error)
            )
        })
    }

    fn open(&mut self, service: &ServiceName, address: SocketAddr) -> io::Result<()> {
        let stop = self.all.child_token();
        // The configuration may name the address of this node's own listener: that one serves it then.
        if self.own != Some(address) {
            self.serve(address, stop.clone())?;
        }
        self.open.insert(service.clone(), stop);
        Ok(())
    }

    fn close(&mut self, service: &ServiceName) {
        if let Some(stop) = self.open.remove(service) {
            stop.cancel();
        }
    }

    fn serve(&self, address: SocketAddr, stop: CancellationToken) -> io::Result<()> {
        let listener = control(address)?;
        let (context, access) = (Arc::clone(&self.context), Arc::clone(&self.access));
        tokio::spawn(manage::serve(listener, context, access, stop));
        Ok(())
    }
}

/// A listener for the control plane.
pub(super) fn control(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
