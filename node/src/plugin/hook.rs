//! Where plugins are asked, by what, and how it goes on from there.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetbal_raft::model::{Plugin, Role, ServiceName};

use super::answer::Answer;
use super::context::RequestContext;

/// A point in the life of a request. The names are Perlbal's (reference, section 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Point {
    /// The head of a request for a backend was read.
    StartProxyRequest,
    /// The head of a request for a file was read.
    StartWebRequest,
    /// The head was read: after either of the above; of a selector, before it chooses.
    StartHttpRequest,
    /// All of the body that is waited for is there, and no backend was asked for yet.
    ProxyReadRequest,
    /// The request is about to wait for a backend. A priority that is set now holds.
    MakeHighPriority,
    /// The same, behind [`Self::MakeHighPriority`].
    MakeLowPriority,
    /// A backend was found; the head that it gets is there to be changed, and nothing of it was sent.
    BackendClientAssigned,
    /// The head of the backend's answer was read, and nothing was sent to the client.
    BackendResponseReceived,
    /// The head for the client is there to be changed.
    ModifyResponseHeaders,
    /// Right behind that: what is put ahead of the body. See [`RequestContext::prepend`].
    PrependBody,
    /// A file is looked for; its path, decoded, may be changed. See [`RequestContext::path`].
    StartServeRequest,
    /// The file is open.
    StartSendFile,
    /// There is no such file, and the client was not told.
    StaticGetPoststatFileMissing,
    /// The file is there, and so is when it was changed. See [`RequestContext::modified`].
    StaticGetPoststatPreSend,
    /// A selector has its connection back after an answer. Perlbal lets a plugin keep it; here it comes back always.
    ReturnToBase,
    /// A request for a backend is over, however it ended. All plugins are asked.
    EndProxyRequest,
    /// A request for a file is over, however it ended. All plugins are asked.
    EndWebRequest,
}

impl Point {
    /// All of them, in the order in which a request comes to them.
    pub const ALL: [Self; 17] = [
        Self::StartProxyRequest,
        Self::StartWebRequest,
        Self::StartHttpRequest,
        Self::ProxyReadRequest,
        Self::MakeHighPriority,
        Self::MakeLowPriority,
        Self::BackendClientAssigned,
        Self::BackendResponseReceived,
        Self::ModifyResponseHeaders,
        Self::PrependBody,
        Self::StartServeRequest,
        Self::StartSendFile,
        Self::StaticGetPoststatFileMissing,
        Self::StaticGetPoststatPreSend,
        Self::ReturnToBase,
        Self::EndProxyRequest,
        Self::EndWebRequest,
    ];

    /// Perlbal's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StartProxyRequest => "start_proxy_request",
            Self::StartWebRequest => "start_web_request",
            Self::StartHttpRequest => "start_http_request",
            Self::ProxyReadRequest => "proxy_read_request",
            Self::MakeHighPriority => "make_high_priority",
            Self::MakeLowPriority => "make_low_priority",
            Self::BackendClientAssigned => "backend_client_assigned",
            Self::BackendResponseReceived => "backend_response_received",
            Self::ModifyResponseHeaders => "modify_response_headers",
            Self::PrependBody => "prepend_body",
            Self::StartServeRequest => "start_serve_request",
            Self::StartSendFile => "start_send_file",
            Self::StaticGetPoststatFileMissing => "static_get_poststat_file_missing",
            Self::StaticGetPoststatPreSend => "static_get_poststat_pre_send",
            Self::ReturnToBase => "return_to_base",
            Self::EndProxyRequest => "end_proxy_request",
            Self::EndWebRequest => "end_web_request",
        }
    }

    /// The point of that name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|point| point.name() == name)
    }

    const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// A set of points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Points(u32);

impl Points {
    /// Those that a request can come to in a service of a role.
    const PROXY: Self = Self::of(&[
        Point::StartProxyRequest,
        Point::StartHttpRequest,
        Point::ProxyReadRequest,
        Point::MakeHighPriority,
        Point::MakeLowPriority,
        Point::BackendClientAssigned,
        Point::BackendResponseReceived,
        Point::ModifyResponseHeaders,
        Point::PrependBody,
        Point::EndProxyRequest,
    ]);
    const WEB: Self = Self::of(&[
        Point::StartWebRequest,
        Point::StartHttpRequest,
        Point::ModifyResponseHeaders,
        Point::StartServeRequest,
        Point::StartSendFile,
        Point::StaticGetPoststatFileMissing,
        Point::StaticGetPoststatPreSend,
        Point::EndWebRequest,
    ]);
    const SELECTOR: Self = Self::of(&[Point::StartHttpRequest, Point::ReturnToBase]);

    /// Those for which a request waits until a backend was found, instead of being sent with the read of its head.
    pub(crate) const BEFORE_BACKEND: Self = Self::of(&[
        Point::ProxyReadRequest,
        Point::MakeHighPriority,
        Point::MakeLowPriority,
        Point::BackendClientAssigned,
    ]);

    /// Those that have to do with files.
    pub(crate) const FILES: Self = Self::of(&[
        Point::ModifyResponseHeaders,
        Point::StartServeRequest,
        Point::StartSendFile,
        Point::StaticGetPoststatFileMissing,
        Point::StaticGetPoststatPreSend,
    ]);

    /// These points.
    pub const fn of(points: &[Point]) -> Self {
        let mut bits = 0;
        let mut rest = points;
        while let [point, more @ ..] = rest {
            bits |= point.bit();
            rest = more;
        }
        Self(bits)
    }

    /// Whether a point is one of them.
    pub const fn has(self, point: Point) -> bool {
        self.0 & point.bit() != 0
    }

    /// Whether both have one in common.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Those of either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    const fn of_role(role: Option<Role>) -> Self {
        match role {
            Some(Role::ReverseProxy) => Self::PROXY,
            Some(Role::WebServer) => Self::WEB,
            Some(Role::Selector) => Self::SELECTOR,
            Some(Role::Management | Role::UploadTracker) | None => Self(0),
        }
    }
}

/// How it goes on behind a hook. All but the first end the chain: Perlbal's hooks return true then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The next hook is asked, and behind the last one the core goes on.
    Next,
    /// This is the answer. Where an answer cannot be given any more, it is as [`Self::Next`].
    Answer(Box<Answer>),
    /// Another service answers. Before a backend was found, and where a file is missing.
    Service(ServiceName),
    /// It goes on with the next hook after so long. Before a backend was found.
    Wait(Duration),
    /// The connection is closed without a word.
    Close,
}

/// A plugin on one service.
pub trait Hook: Any + Debug + Send + Sync {
    /// Where it is asked.
    fn points(&self) -> Points;

    /// Asked at one of its points.
    fn run(&self, point: Point, request: &mut RequestContext) -> Outcome;

    /// A worker serves the service: whatever is to be done there without a request begins, if it has not yet.
    fn wake(&self) {}

    /// The service has another version of it, or does without: nothing begins any more but what a request asks for that
    /// was there before.
    fn retire(&self) {}

    /// How it went on this node; none: it cannot fail.
    fn failures(&self) -> Option<Failures> {
        None
    }
}

/// How it went with a plugin on a service of this node.
#[derive(Debug, Clone)]
pub struct Failures {
    /// How many calls failed of the version that runs.
    pub count: usize,
    /// How many failed of all its versions.
    pub total: u64,
    /// Why it is not asked any more, if it is not.
    pub off: Option<Trouble>,
    /// Why the version that the configuration has does not run here, if it does not.
    pub refused: Option<Trouble>,
}

impl Failures {
    /// Whether the plugin does nothing here.
    pub fn is_off(&self) -> bool {
        self.off.is_some() || self.refused.is_some()
    }
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Since when.
    pub since: Instant,
    /// What, and where.
    pub reason: String,
}

/// The plugins of a service, in the order in which they are asked.
#[derive(Debug)]
pub struct Hooks {
    role: Option<Role>,
    points: Points,
    links: Box<[Link]>,
}

#[derive(Debug)]
struct Link {
    plugin: Plugin,
    points: Points,
    hook: Arc<dyn Hook>,
}

impl Hooks {
    /// Those of a service; none where it has none.
    pub(crate) fn new(
        role: Option<Role>,
        hooks: impl IntoIterator<Item = (Plugin, Arc<dyn Hook>)>,
    ) -> Option<Arc<Self>> {
        let links: Box<[Link]> = hooks
            .into_iter()
            .map(|(plugin, hook)| Link {
                plugin,
                points: hook.points(),
                hook,
            })
            .collect();
        let points = links
            .iter()
            .fold(Points::default(), |points, link| points.or(link.points))
            .and(Points::of_role(role));
        (!links.is_empty()).then(|| Arc::new(Self { role, points, links }))
    }

    /// The hook of a plugin.
    pub fn of(&self, plugin: &Plugin) -> Option<&dyn Hook> {
        let link = self.links.iter().find(|link| link.plugin == *plugin);
        link.map(|link| &*link.hook)
    }

    /// All of them, in their order.
    pub fn all(&self) -> impl Iterator<Item = (&Plugin, &dyn Hook)> {
        self.links.iter().map(|link| (&link.plugin, &*link.hook))
    }

    /// Whether any plugin is asked anywhere that a request of this role comes to.
    #[inline]
    pub fn are_asked(&self) -> bool {
        self.points != Points(0)
    }

    /// Whether any plugin is asked at that point.
    #[inline]
    pub fn has(&self, point: Point) -> bool {
        self.points.has(point)
    }

    /// Where any plugin is asked.
    pub(crate) fn points(&self) -> Points {
        self.points
    }

    /// Asks the plugins that want to be asked at the first of these points, and then those of the next, from the hook on
    /// that is next to be asked, until one ends the chain.
    pub fn run(&self, points: &[Point], request: &mut RequestContext) -> Outcome {
        let (first_point, mut first_link) = std::mem::take(&mut request.progress);
        for (at, point) in points.iter().enumerate().skip(first_point) {
            let skipped = std::mem::take(&mut first_link);
            if !self.has(*point) {
                continue;
            }
            for (number, link) in self.links.iter().enumerate().skip(skipped) {
                if !link.points.has(*point) {
                    continue;
                }
                let outcome = link.hook.run(*point, request);
                if let Outcome::Wait(_) = outcome {
                    request.progress = (at, number + 1);
                }
                if !matches!(outcome, Outcome::Next) {
                    return outcome;
                }
            }
        }
        Outcome::Next
    }

    /// The points at which a request begins.
    pub fn start(&self) -> &'static [Point] {
        match self.role {
            Some(Role::ReverseProxy) => &[Point::StartProxyRequest, Point::StartHttpRequest],
            Some(Role::WebServer) => &[Point::StartWebRequest, Point::StartHttpRequest],
            Some(_) | None => &[Point::StartHttpRequest],
        }
    }

    /// Asks all that want to know that a request is over.
    pub fn end(&self, request: &mut RequestContext) {
        let point = match self.role {
            Some(Role::ReverseProxy) => Point::EndProxyRequest,
            Some(Role::WebServer) => Point::EndWebRequest,
            Some(_) | None => Point::ReturnToBase,
        };
        self.run_all(point, request);
    }

    /// Asks all plugins that want to be asked at that point, whatever they say.
    pub fn run_all(&self, point: Point, request: &mut RequestContext) {
        if !self.has(point) {
            return;
        }
        for link in self.links.iter().filter(|link| link.points.has(point)) {
            link.hook.run(point, request);
        }
    }
}

#[cfg(test)]
#[path = "hook_tests.rs"]
mod tests;
