//! Requests that plugins send themselves. The one that they are asked about waits meanwhile, and nobody else does.

mod secure;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// The longest body that is sent or taken, in bytes.
pub(super) const MOST: usize = 1024 * 1024;

/// What a plugin asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// An absolute URL.
    url: Uri,
    /// Whether it is `https://`.
    is_secure: bool,
    /// Whose certificates the other end may show, where it is not for the system to say.
    ca_file: Option<PathBuf>,
    method: Method,
    fields: HeaderMap,
    body: Vec<u8>,
    /// How long all of it may take.
    timeout: Duration,
}

/// Why there is no answer.
type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its status.
    pub status: u16,
    /// Its fields.
    pub fields: HeaderMap,
    /// All of its body.
    pub body: Vec<u8>,
}

/// What there is no request from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FetchError {
    /// Not a URL, or not one of a kind that is fetched.
    #[error("'{0}' is no URL that can be fetched: http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH is")]
    Url(String),
    /// Not a method.
    #[error("'{0}' is no method")]
    Method(String),
    /// Not a field, or one that says where a message ends.
    #[error("'{0}' is no field that can be sent, or its value is none")]
    Field(String),
    /// Nobody looks at a certificate there.
    #[error("ca_file is for https:// alone")]
    NotSecure,
    /// Nobody knows where it is.
    #[error("ca_file '{0}' is no absolute path")]
    CaFile(String),
    /// Too much of it.
    #[error("a body has {MOST} bytes at most")]
    Body,
}

impl Fetch {
    /// A GET without fields.
    pub(super) fn new(url: &str, timeout: Duration) -> Result<Self, FetchError> {
        let wrong = || FetchError::Url(url.to_owned());
        let parsed: Uri = url.parse().map_err(|_| wrong())?;
        let has_user = parsed.authority().is_some_and(|it| it.as_str().contains('@'));
        let is_secure = match parsed.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) | None => return Err(wrong()),
        };
        if parsed.host().is_none_or(str::is_empty) || has_user {
            return Err(wrong());
        }
        Ok(Self {
            url: parsed,
            is_secure,
            ca_file: None,
            method: Method::GET,
            fields: HeaderMap::new(),
            body: Vec::new(),
            timeout,
        })
    }

    /// Sets its method.
    pub(super) fn set_method(&mut self, method: &str) -> Result<(), FetchError> {
        let parsed = method.parse::<Method>();
        let parsed = parsed.ok().filter(|method| *method != Method::CONNECT);
        self.method = parsed.ok_or_else(|| FetchError::Method(method.to_owned()))?;
        Ok(())
    }

    /// Sets a field.
    pub(super) fn set_field(&mut self, name: &str, value: &[u8]) -> Result<(), FetchError> {
        let wrong = || FetchError::Field(name.to_owned());
        let parsed = http::HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        if [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(&parsed) {
            return Err(wrong());
        }
        let value = HeaderValue::from_bytes(value).map_err(|_| wrong())?;
        self.fields.insert(parsed, value);
        Ok(())
    }

    /// Sets whose certificates the other end may show: a file of authorities.
    pub(super) fn set_ca_file(&mut self, path: &str) -> Result<(), FetchError> {
        if !self.is_secure {
            return Err(FetchError::NotSecure);
        }
        if !Path::new(path).is_absolute() {
            return Err(FetchError::CaFile(path.to_owned()));
        }
        self.ca_file = Some(path.into());
        Ok(())
    }

    /// Sets its body.
    pub(super) fn set_body(&mut self, body: Vec<u8>) -> Result<(), FetchError> {
        if body.len() > MOST {
            return Err(FetchError::Body);
        }
        self.body = body;
        Ok(())
    }

    /// Sends it on a connection of its own. Dropping the future closes that.
    ///
    /// # Errors
    /// Why there is no answer, as a text.
    pub async fn send(&self) -> Result<Fetched, String> {
        match tokio::time::timeout(self.timeout, self.exchange()).await {
            Ok(exchanged) => exchanged.map_err(|error| format!("{}: {error}", self.url)),
            Err(_) => Err(format!(
                "{}: no answer in {} s",
                self.url,
                self.timeout.as_secs_f64()
            )),
        }
    }

    async fn exchange(&self) -> Result<Fetched, Trouble> {
        let host = self.url.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = if self.is_secure { 443 } else { 80 };
        let io = TcpStream::connect((host, self.url.port_u16().unwrap_or(port))).await?;
        if self.is_secure {
            let secured = Box::pin(secure::connect(io, host, self.ca_file.as_deref())).await?;
            return self.exchange_on(secured).await;
        }
        self.exchange_on(io).await
    }

    async fn exchange_on<S>(&self, io: S) -> Result<Fetched, Trouble>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
        let asking = async {
            let answer = sender.send_request(self.request()?).await?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MOST).collect().await?;
            Ok(Fetched {
                status: head.status.as_u16(),
                fields: head.headers,
                body: body.to_bytes().to_vec(),
            })
        };
        // Where the connection fails, whoever asks on it is told.
        let carrying = async {
            drop(connection.await);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answered = asking => answered,
            () = carrying => Err("the connection has ended".into()),
        }
    }

    fn request(&self) -> http::Result<Request<Full<Bytes>>> {
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder().method(self.method.clone()).uri(path);
        if let Some(fields) = request.headers_mut() {
            fields.clone_from(&self.fields);
            if let (false, Some(authority)) = (fields.contains_key(HOST), self.url.authority()) {
                fields.insert(HOST, HeaderValue::from_str(authority.as_str())?);
            }
            fields.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        request.body(Full::new(Bytes::from(self.body.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_sent_is_refused() {
        let new = |url: &str| Fetch::new(url, Duration::from_secs(1));
        for good in [
            "http://a",
            "http://a:80/b?c",
            "http://[::1]:81/",
            "https://a/",
            "HTTPS://a:1",
        ] {
            assert!(new(good).is_ok(), "{good}");
        }
        for bad in [
            "https://",
            "https://u@a/",
            "a",
            "/a",
            "http://",
            "http:///a",
            "http://u@a/",
            "ftp://a/",
            "http://a b/",
        ] {
            assert_eq!(new(bad), Err(FetchError::Url(bad.to_owned())), "{bad}");
        }
        let mut fetch = new("http://a/").unwrap();
        for (name, value) in [
            ("Content-Length", "1"),
            ("a b", ""),
            ("A", "1\r\nB: 2"),
            ("connection", "x"),
        ] {
            let refused = fetch.set_field(name, value.as_bytes());
            assert_eq!(refused, Err(FetchError::Field(name.to_owned())), "{name}");
        }
        assert!(fetch.set_method("CONNECT").is_err() && fetch.set_method("A B").is_err());
        assert_eq!(fetch.set_body(vec![0; MOST + 1]), Err(FetchError::Body));
        assert_eq!(fetch.set_ca_file("/ca.pem"), Err(FetchError::NotSecure));
        let mut fetch = new("https://a/").unwrap();
        let refused = fetch.set_ca_file("ca.pem");
        assert_eq!(refused, Err(FetchError::CaFile("ca.pem".to_owned())));
        assert_eq!(fetch.set_ca_file("/ca.pem"), Ok(()));
    }
}
