//! Why a request could not be answered by a backend.

/// What went wrong with a request; it knows the status that says so. Messages go to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The request breaks the rules.
    #[error("Invalid request: {0}")]
    BadRequest(&'static str),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(&'static str),
    /// The request did not arrive in time.
    #[error("The request took too long.")]
    RequestTimeout,
    /// The length of the body is not said, and the backend could not be told it.
    #[error("The length of the body has to be said.")]
    LengthRequired,
    /// The body is longer than it may be.
    #[error("The request body is too large.")]
    ContentTooLarge,
    /// The request line is longer than [`MAX_REQUEST_LINE`](super::MAX_REQUEST_LINE).
    #[error("The request line is too long.")]
    RequestLineTooLong,
    /// An `Expect` other than `100-continue`.
    #[error("The expectation is not known.")]
    Expectation,
    /// The head is longer than [`MAX_HEAD`](super::MAX_HEAD) or has more than
    /// [`MAX_FIELDS`](super::MAX_FIELDS) fields.
    #[error("The header fields are too large.")]
    HeadTooLarge,
    /// This node cannot do what it is configured to do.
    #[error("{0}")]
    Internal(&'static str),
    /// The request asks for what is not done here.
    #[error("{0}")]
    NotImplemented(&'static str),
    /// The backend's answer is none, or breaks the rules.
    #[error("{0}")]
    BadGateway(&'static str),
    /// Nobody is there to answer.
    #[error("{0}")]
    Unavailable(&'static str),
    /// Nobody was free for it: later somebody may be.
    #[error("{0}")]
    Busy(&'static str),
    /// The backend did not answer in time.
    #[error("The backend took too long.")]
    GatewayTimeout,
    /// Not HTTP/1.x.
    #[error("This version of HTTP is not spoken here.")]
    Version,
}

impl ProxyError {
    /// The status code of the answer.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::NotFound(_) => 404,
            Self::RequestTimeout => 408,
            Self::LengthRequired => 411,
            Self::ContentTooLarge => 413,
            Self::RequestLineTooLong => 414,
            Self::Expectation => 417,
            Self::HeadTooLarge => 431,
            Self::Internal(_) => 500,
            Self::NotImplemented(_) => 501,
            Self::BadGateway(_) => 502,
            Self::Unavailable(_) | Self::Busy(_) => 503,
            Self::GatewayTimeout => 504,
            Self::Version => 505,
        }
    }

    /// The reason phrase of the answer.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::BadRequest(_) => "Bad Request",
            Self::NotFound(_) => "Not Found",
            Self::RequestTimeout => "Request Timeout",
            Self::LengthRequired => "Length Required",
            Self::ContentTooLarge => "Content Too Large",
            Self::RequestLineTooLong => "URI Too Long",
            Self::Expectation => "Expectation Failed",
            Self::HeadTooLarge => "Request Header Fields Too Large",
            Self::Internal(_) => "Internal Server Error",
            Self::NotImplemented(_) => "Not Implemented",
            Self::BadGateway(_) => "Bad Gateway",
            Self::Unavailable(_) | Self::Busy(_) => "Service Unavailable",
            Self::GatewayTimeout => "Gateway Timeout",
            Self::Version => "HTTP Version Not Supported",
        }
    }

    /// After how many seconds it is worth another try.
    pub const fn retry_after(self) -> Option<u32> {
        if matches!(self, Self::Busy(_)) {
            Some(5)
        } else {
            None
        }
    }
}
