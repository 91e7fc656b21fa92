//! Where plugins are asked.

use fleetbal_raft::model::Role;

#[expect(unused_imports, reason = "the documentation names it")]
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
    /// A connection to a backend is to be verified: the request that does it may be changed. Not of a client's request.
    BackendWriteVerify,
    /// The answer to that was read.
    BackendReadableVerify,
    /// The head of the backend's answer was read, and nothing was sent to the client.
    BackendResponseReceived,
    /// The backend has named a file; its path may be changed. See [`RequestContext::path`].
    StartFileReproxy,
    /// The head of the answer of a URL that the backend has named was read, and will do.
    ReproxyResponseReceived,
    /// The head for the client is there to be changed.
    ModifyResponseHeaders,
    /// Right behind that: what is put ahead of the body. See [`RequestContext::prepend`].
    PrependBody,
    /// All of a file that the backend has named was sent.
    ReproxyFhFinished,
    /// A file is looked for; its path, decoded, may be changed. See [`RequestContext::path`].
    StartServeRequest,
    /// The file is open.
    StartSendFile,
    /// There is no such file, and the client was not told.
    StaticGetPoststatFileMissing,
    /// The file is there, and so is when it was changed. See [`RequestContext::modified`].
    StaticGetPoststatPreSend,
    /// One of several files for one answer is not there.
    ConcatGetPoststatFileMissing,
    /// All of them are there, and so is when the newest was changed. See [`RequestContext::modified`].
    ConcatGetPoststatPreSend,
    /// A file is to be put, and nothing of it was read.
    HandlePut,
    /// A piece of it is about to be written. See [`RequestContext::body`].
    PutWriteout,
    /// A selector has its connection back after an answer. Perlbal lets a plugin keep it; here it comes back always.
    ReturnToBase,
    /// A request for a backend is over, however it ended. All plugins are asked.
    EndProxyRequest,
    /// A request for a file is over, however it ended. All plugins are asked.
    EndWebRequest,
}

impl Point {
    /// All of them, in the order in which a request comes to them.
    pub const ALL: [Self; 26] = [
        Self::StartProxyRequest,
        Self::StartWebRequest,
        Self::StartHttpRequest,
        Self::ProxyReadRequest,
        Self::MakeHighPriority,
        Self::MakeLowPriority,
        Self::BackendClientAssigned,
        Self::BackendWriteVerify,
        Self::BackendReadableVerify,
        Self::BackendResponseReceived,
        Self::StartFileReproxy,
        Self::ReproxyResponseReceived,
        Self::ModifyResponseHeaders,
        Self::PrependBody,
        Self::ReproxyFhFinished,
        Self::StartServeRequest,
        Self::StartSendFile,
        Self::StaticGetPoststatFileMissing,
        Self::StaticGetPoststatPreSend,
        Self::ConcatGetPoststatFileMissing,
        Self::ConcatGetPoststatPreSend,
        Self::HandlePut,
        Self::PutWriteout,
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
            Self::BackendWriteVerify => "backend_write_verify",
            Self::BackendReadableVerify => "backend_readable_verify",
            Self::BackendResponseReceived => "backend_response_received",
            Self::StartFileReproxy => "start_file_reproxy",
            Self::ReproxyResponseReceived => "reproxy_response_received",
            Self::ModifyResponseHeaders => "modify_response_headers",
            Self::PrependBody => "prepend_body",
            Self::ReproxyFhFinished => "reproxy_fh_finished",
            Self::StartServeRequest => "start_serve_request",
            Self::StartSendFile => "start_send_file",
            Self::StaticGetPoststatFileMissing => "static_get_poststat_file_missing",
            Self::StaticGetPoststatPreSend => "static_get_poststat_pre_send",
            Self::ConcatGetPoststatFileMissing => "concat_get_poststat_file_missing",
            Self::ConcatGetPoststatPreSend => "concat_get_poststat_pre_send",
            Self::HandlePut => "handle_put",
            Self::PutWriteout => "put_writeout",
            Self::ReturnToBase => "return_to_base",
            Self::EndProxyRequest => "end_proxy_request",
            Self::EndWebRequest => "end_web_request",
        }
    }

    /// The point of that name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|point| point.name() == name)
    }

    pub(super) const fn bit(self) -> u32 {
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
        Point::BackendWriteVerify,
        Point::BackendReadableVerify,
        Point::BackendResponseReceived,
        Point::StartFileReproxy,
        Point::ReproxyResponseReceived,
        Point::ModifyResponseHeaders,
        Point::PrependBody,
        Point::ReproxyFhFinished,
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
        Point::ConcatGetPoststatFileMissing,
        Point::ConcatGetPoststatPreSend,
        Point::HandlePut,
        Point::PutWriteout,
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

    /// Those of connections that are verified, with no request.
    pub(crate) const VERIFICATION: Self =
        Self::of(&[Point::BackendWriteVerify, Point::BackendReadableVerify]);

    /// Those at which a request may wait for what a plugin asks for itself, whatever the role.
    pub(super) const WAITING: Self = Self::of(&[
        Point::StartProxyRequest,
        Point::StartWebRequest,
        Point::StartHttpRequest,
        Point::ProxyReadRequest,
        Point::MakeHighPriority,
        Point::MakeLowPriority,
        Point::BackendWriteVerify,
        Point::BackendReadableVerify,
        Point::StartFileReproxy,
        Point::ReproxyResponseReceived,
        Point::ReproxyFhFinished,
        Point::StartServeRequest,
        Point::StartSendFile,
        Point::StaticGetPoststatFileMissing,
        Point::StaticGetPoststatPreSend,
        Point::ConcatGetPoststatFileMissing,
        Point::ConcatGetPoststatPreSend,
        Point::HandlePut,
        Point::PutWriteout,
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

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) const fn of_role(role: Option<Role>) -> Self {
        match role {
            Some(Role::ReverseProxy) => Self::PROXY,
            Some(Role::WebServer) => Self::WEB,
            Some(Role::Selector) => Self::SELECTOR,
            Some(Role::Echo | Role::Management | Role::UploadTracker) | None => Self(0),
        }
    }
}
