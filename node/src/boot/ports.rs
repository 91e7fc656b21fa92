//! The listeners that the configuration asks for: traffic goes to the workers, management to the control plane.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use fleetbal_raft::model::{Role, ServiceName};
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::effects::{Listener, Ports};
use crate::manage::{self, Context, Secured, access::Access};
use crate::monitor::sockets::{Kind, OpenEndpoint};
use crate::os_error;
use crate::settings::Settings;
use crate::sockets::{Open, Sockets};
use crate::tls::Servers;
use crate::upload::tracker;
use crate::workers::Workers;

/// Opens listeners on this node.
#[derive(Debug)]
pub(super) struct NodePorts {
    workers: Arc<Workers>,
    management: Management,
    trackers: Trackers,
    sockets: Sockets,
}

impl NodePorts {
    pub(super) fn new(workers: Arc<Workers>, management: Management) -> Self {
        let trackers = Trackers {
            all: management.all.clone(),
            open: BTreeMap::new(),
        };
        let sockets = management.context.sockets.clone();
        Self {
            workers,
            management,
            trackers,
            sockets,
        }
    }
}

impl Ports for NodePorts {
    fn open(&mut self, service: &ServiceName, listener: Listener) -> io::Result<()> {
        match listener.role {
            Role::Echo | Role::ReverseProxy | Role::Selector | Role::WebServer => {
                self.workers.open(service, listener.address, &self.sockets)
            }
            Role::Management => {
                let servers = self.workers.tls().clone();
                self.management.open(service, listener.address, servers)
            }
            Role::UploadTracker => {
                let bind = || std::net::UdpSocket::bind(listener.address);
                let (socket, open) = self.sockets.datagrams(listener.address, bind)?;
                let shown = self.management.context.open.endpoints.add(
                    socket.as_raw_fd(),
                    Some(service.clone()),
                    Kind::Tracker(listener.address),
                );
                let socket = UdpSocket::from_std(socket)?;
                self.trackers.open(service, (socket, open, shown), &self.workers);
                Ok(())
            }
        }
    }

    fn close(&mut self, service: &ServiceName, listener: Listener) {
        match listener.role {
            Role::Echo | Role::ReverseProxy | Role::Selector | Role::WebServer => self.workers.close(service),
            Role::Management => self.management.close(service),
            Role::UploadTracker => self.trackers.close(service),
        }
    }
}

/// A listener, and what counts it as open.
pub(super) type Bound = (TcpListener, Open);

/// The listeners that are this node's alone, bound before anything else happens, so that a taken address ends a start
/// that has changed nothing.
#[derive(Debug)]
pub(super) struct OwnListeners {
    /// The cluster port; none where the node stands alone.
    pub(super) cluster: Option<Bound>,
    management: Option<Bound>,
    metrics: Option<Bound>,
}

impl OwnListeners {
    /// # Errors
    /// When one of the addresses cannot be had, in words for whoever chose it.
    pub(super) fn bind(settings: &Settings, sockets: &Sockets) -> Result<Self, String> {
        let bind = |flag: &str, address: Option<SocketAddr>| {
            let Some(address) = address else { return Ok(None) };
            control(address, sockets).map(Some).map_err(|error| {
                let (words, remedy) = (os_error::words(&error), os_error::remedy(&error, address));
                format!("{flag}: cannot listen on {address}: {words}{remedy}")
            })
        };
        Ok(Self {
            cluster: bind(
                "--cluster-listen",
                settings.cluster.as_ref().map(|cluster| cluster.listen),
            )?,
            management: bind("--management", settings.management)?,
            metrics: bind("--metrics", settings.metrics)?,
        })
    }
}

/// The management listeners of a node.
#[derive(Debug)]
pub(super) struct Management {
    context: Arc<Context>,
    access: Arc<Access>,
    /// The listener of this node alone, which stays whatever the configuration says.
    own: Option<SocketAddr>,
    open: BTreeMap<ServiceName, (CancellationToken, Option<Open>)>,
    /// What counts the listeners of this node alone as open.
    _own_open: Vec<Open>,
    all: CancellationToken,
    /// The listeners with their connections.
    serving: Vec<AbortOnDropHandle<()>>,
}

impl Management {
    /// Serves the listeners of this node alone. Cancelling `all` closes every listener, these included.
    pub(super) fn serve_own(
        own: OwnListeners,
        context: Arc<Context>,
        access: Access,
        all: CancellationToken,
    ) -> Self {
        tokio::spawn(manage::report_on_demand(Arc::clone(&context), all.child_token()));
        let events = manage::events::run(Arc::clone(&context));
        tokio::spawn(all.clone().run_until_cancelled_owned(events));
        let (metrics, metrics_open) = own.metrics.unzip();
        let (listener, open) = own.management.unzip();
        let mut management = Self {
            own: listener.as_ref().and_then(|listener| listener.local_addr().ok()),
            _own_open: metrics_open.into_iter().chain(open).collect(),
            context,
            access: Arc::new(access),
            open: BTreeMap::new(),
            all,
            serving: Vec::new(),
        };
        let all = management.all.clone();
        if let Some(listener) = metrics {
            let context = Arc::clone(&management.context);
            management.keep(manage::serve_metrics(listener, context, all.child_token()));
        }
        if let Some(listener) = listener {
            management.serve(listener, None, all.child_token());
        }
        management
    }

    fn open(&mut self, service: &ServiceName, address: SocketAddr, servers: Servers) -> io::Result<()> {
        let stop = self.all.child_token();
        let mut held = None;
        // The configuration may name the address of this node's own listener: that one serves it then.
        if self.own != Some(address) {
            let (listener, open) = control(address, &self.context.sockets)?;
            let service = service.clone();
            self.serve(listener, Some(Secured { service, servers }), stop.clone());
            held = Some(open);
        }
        self.open.insert(service.clone(), (stop, held));
        Ok(())
    }

    fn close(&mut self, service: &ServiceName) {
        if let Some((stop, _)) = self.open.remove(service) {
            stop.cancel();
        }
    }

    fn serve(&mut self, listener: TcpListener, tls: Option<Secured>, stop: CancellationToken) {
        let (context, access) = (Arc::clone(&self.context), Arc::clone(&self.access));
        self.keep(manage::serve(listener, context, access, tls, stop));
    }

    /// Connections may outlive their listener, but not this.
    fn keep(&mut self, serving: impl Future<Output = ()> + Send + 'static) {
        self.serving.retain(|serving| !serving.is_finished());
        self.serving.push(AbortOnDropHandle::new(tokio::spawn(serving)));
    }
}

/// The trackers of uploads of a node; all of them tell the same memory.
#[derive(Debug)]
struct Trackers {
    open: BTreeMap<ServiceName, (CancellationToken, Open)>,
    all: CancellationToken,
}

impl Trackers {
    fn open(
        &mut self,
        service: &ServiceName,
        (socket, open, shown): (UdpSocket, Open, OpenEndpoint),
        workers: &Workers,
    ) {
        let stop = self.all.child_token();
        let known = Arc::clone(workers.tracker());
        let listening = tracker::listen(socket, known, stop.clone());
        tokio::spawn(async move {
            listening.await;
            drop(shown);
        });
        self.open.insert(service.clone(), (stop, open));
    }

    fn close(&mut self, service: &ServiceName) {
        if let Some((stop, _)) = self.open.remove(service) {
            stop.cancel();
        }
    }
}

/// A listener for the control plane: the one that was given for this address, else one that is bound here.
fn control(address: SocketAddr, sockets: &Sockets) -> io::Result<Bound> {
    let bind = || std::net::TcpListener::bind(address).map(|listener| vec![listener]);
    let (mut listeners, open) = sockets.streams(address, bind)?;
    let listener = listeners.pop().ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok((TcpListener::from_std(listener)?, open))
}
