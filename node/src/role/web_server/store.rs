//! Files that clients put and remove (Perlbal, reference section 6.4). What is put is seen once it is whole.

use std::error::Error;
use std::path::PathBuf;
use std::rc::Rc;

use super::{Said, UNCONFIGURED, WebRequest, docroot, hooks, is_missing, refusal, say};
use crate::files::{self, Incoming, IncomingError, Spot, TEMPORARY};
use crate::http::answer::Page;
use crate::http::{Body, Framing, Head, ProxyError};
use crate::os_error;
use crate::role::client::Client;
use crate::role::connection::Next;
use crate::role::intake::{Failure, Intake};
use crate::snapshot::StoreSettings;
use crate::upload::head::expects_continue;
use crate::upload::spool::PIECE;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

const STORED: Said = (200, "OK", "");
const CHECKED: Said = (201, "Created", "");
const REMOVED: Said = (204, "No Content", "");
const BAD_NAME: Said = (400, "Bad Request", "Invalid filename");
const TOO_SHALLOW: Said = (400, "Bad Request", "Does not meet minimum directory requirement");
const NOT_ALLOWED: Said = (403, "Forbidden", "");
const NO_FILE: Said = (404, "Not Found", "");
const NO_BASE: Said = (404, "Not Found", "Base directory does not exist");
const FAILED: Said = (500, "Internal Server Error", "Internal error");

/// Puts a file.
///
/// # Errors
/// The page that is the answer instead.
pub(super) async fn put(client: &mut Client, request: &mut WebRequest) -> Result<Next, Page<'static>> {
    let web = request.current.view.web.as_deref().ok_or(UNCONFIGURED)?;
    if !web.store.puts {
        docroot(&request.current).ok_or(UNCONFIGURED)?;
        return Err(NOT_ALLOWED.into());
    }
    // A plugin that takes it over needs no docroot.
    if let Some(next) = hooks::ask_put(client, request).await {
        return Ok(next);
    }
    let (upload, store) = Upload::plan(request)?;
    let digests = upload.expected.is_some();
    let spot = upload.spot;
    let created = files::blocking(move || Incoming::create(&spot, digests)).await;
    let incoming = created.map_err(|error| unstored(&error))?;
    let limit = [store.max_size, request.current.view.settings.uploads.max_chunked];
    request.upload = Body::limited(request.head.framing, limit.into_iter().flatten().min());
    if !goes_ahead(client, request).await {
        return Ok(Next::Close);
    }
    match take_in(client, request, incoming, upload.expected.clone()).await {
        Ok(()) => {
            let said = if digests { CHECKED } else { STORED };
            Ok(say(client, request, said.into()).await)
        }
        Err(Trouble::Client(Failure::Gone)) => Ok(Next::Close),
        Err(Trouble::Client(Failure::Refused(error))) => Ok(client.refuse(error).await),
        Err(Trouble::Store(error)) => Err(unstored(&error)),
        Err(Trouble::Taken(next)) => Ok(next),
    }
}

/// Tells a client that asks whether to send the body that it may. Whether the connection is still good.
async fn goes_ahead(client: &mut Client, request: &WebRequest) -> bool {
    let asks = expects_continue(&request.text) && !request.upload.is_done() && client.input.is_empty();
    !asks || client.say(CONTINUE.to_vec()).await
}

/// All of the body of a request, for a plugin: so many bytes at most. What becomes of the connection, if it does not come.
pub(super) async fn collect(
    client: &mut Client,
    request: &mut WebRequest,
    most: usize,
) -> Result<Vec<u8>, Next> {
    let web = request.current.view.web.as_deref();
    let allowed = web.and_then(|web| web.store.max_size);
    let allowed = allowed.map_or(most as u64, |allowed| allowed.min(most as u64));
    if matches!(request.head.framing, Framing::Length(length) if length > allowed) {
        return Err(client.refuse(ProxyError::ContentTooLarge).await);
    }
    request.upload = Body::limited(request.head.framing, Some(allowed));
    if !goes_ahead(client, request).await {
        return Err(Next::Close);
    }
    let mut piece = Vec::new();
    let patience = request.current.view.settings.idle_timeout;
    client.arm(patience);
    let intake = Intake {
        body: &mut request.upload,
        piece: &mut piece,
        patience,
    };
    match intake.fill(client, usize::MAX, |_, _| {}).await {
        Ok(()) => Ok(piece),
        Err(Failure::Gone) => Err(Next::Close),
        Err(Failure::Refused(error)) => Err(client.refuse(error).await),
    }
}

/// Removes a file.
///
/// # Errors
/// The page that is the answer instead.
pub(super) async fn delete(client: &mut Client, request: &WebRequest) -> Result<Next, Page<'static>> {
    let (root, web) = docroot(&request.current).ok_or(UNCONFIGURED)?;
    if !web.store.deletes {
        return Err(NOT_ALLOWED.into());
    }
    let spot = Spot {
        root: root.to_owned(),
        path: name(Head::new(&request.text).target()).ok_or(BAD_NAME)?,
        existing: 0,
    };
    match files::blocking(move || files::remove(&spot)).await {
        Ok(()) => Ok(say(client, request, REMOVED.into()).await),
        Err(IncomingError::System(error)) if is_missing(&error) => Err(NO_FILE.into()),
        Err(IncomingError::System(error)) => Err(Page::new(400, "Bad Request", os_error::words(&error))),
        Err(IncomingError::Place(error)) => Err(refusal(&error).into()),
        Err(error) => Err(unstored(&error)),
    }
}

/// What becomes of the body of a PUT.
struct Upload {
    spot: Spot,
    /// The MD5 that it must have, in base64.
    expected: Option<String>,
}

impl Upload {
    /// Where the request puts the file, if it may.
    fn plan(request: &WebRequest) -> Result<(Self, StoreSettings), Page<'static>> {
        let (root, web) = docroot(&request.current).ok_or(UNCONFIGURED)?;
        let store = &web.store;
        let text = Head::new(&request.text);
        let path = name(text.target()).ok_or(BAD_NAME)?;
        if let (Framing::Length(length), Some(most)) = (request.head.framing, store.max_size)
            && length > most
        {
            let message = format!("Content-length of {length} is invalid.");
            return Err(Page::new(400, "Bad Request", message));
        }
        if path.iter().count() <= store.min_directories {
            return Err(TOO_SHALLOW.into());
        }
        let expected = text.field("Content-MD5").filter(|_| store.checks_md5);
        let upload = Self {
            spot: Spot {
                root: root.to_owned(),
                path,
                existing: store.min_directories,
            },
            expected: expected.map(|value| String::from_utf8_lossy(value).into_owned()),
        };
        Ok((upload, store.clone()))
    }
}

enum Trouble {
    Client(Failure),
    Store(IncomingError),
    /// A plugin has taken it over.
    Taken(Next),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Client(failure)
    }
}

impl From<IncomingError> for Trouble {
    fn from(error: IncomingError) -> Self {
        Self::Store(error)
    }
}

/// Writes the body as it comes, and puts the file in its place.
async fn take_in(
    client: &mut Client,
    request: &mut WebRequest,
    mut incoming: Incoming,
    expected: Option<String>,
) -> Result<(), Trouble> {
    let current = Rc::clone(&request.current);
    let patience = current.view.settings.idle_timeout;
    let mut piece = Vec::new();
    client.arm(patience);
    loop {
        let intake = Intake {
            body: &mut request.upload,
            piece: &mut piece,
            patience,
        };
        if let Err(failure) = intake.fill(client, PIECE, |_, _| {}).await {
            let_go(incoming);
            return Err(failure.into());
        }
        if client.hooked.is_some()
            && let Some(next) = hooks::ask_piece(client, request, &piece).await
        {
            let_go(incoming);
            return Err(Trouble::Taken(next));
        }
        if request.upload.is_done() {
            files::blocking(move || {
                incoming.write(&piece)?;
                incoming.finish(expected.as_deref())
            })
            .await?;
            return Ok(());
        }
        (incoming, piece) = files::blocking(move || {
            incoming.write(&piece)?;
            piece.clear();
            Ok::<_, IncomingError>((incoming, piece))
        })
        .await?;
    }
}

/// It is not put. To let go of a large file takes a while.
fn let_go(incoming: Incoming) {
    drop(tokio::task::spawn_blocking(move || drop(incoming)));
}

/// The page for a file that is not put.
fn unstored(error: &IncomingError) -> Page<'static> {
    let said = match error {
        IncomingError::NoBase => NO_BASE,
        IncomingError::Place(error @ (files::OpenError::Outside | files::OpenError::NoRoot(_))) => {
            refusal(error)
        }
        IncomingError::Digest { expected, actual } => {
            let message = format!("Content-MD5 mismatch, expected: {expected} actual: {actual}");
            return Page::new(400, "Bad Request", message);
        }
        IncomingError::Place(_) | IncomingError::System(_) => {
            tracing::warn!(%error, cause = ?error.source(), "a file is not put");
            FAILED
        }
    };
    said.into()
}

/// The path that a target names, if it is a plain one: as it stands, without escapes and without a query.
fn name(target: &[u8]) -> Option<PathBuf> {
    let path = std::str::from_utf8(target).ok()?.strip_prefix('/')?;
    path.split('/').all(is_plain).then(|| path.into())
}

fn is_plain(component: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    !matches!(component, "" | ".")
        && !component.contains("..")
        && component.bytes().all(is_known)
        && !component.starts_with(TEMPORARY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["/a", "/a.b/c-d/E_1", "/a.b.c", "/.hidden"] {
            assert_eq!(name(good.as_bytes()), Some(PathBuf::from(&good[1..])), "{good}");
        }
        for bad in [
            "/",
            "",
            "a",
            "/a/",
            "//a",
            "/a//b",
            "/..",
            "/a/../b",
            "/a..b",
            "/./a",
            "/a?b",
            "/a%20b",
            "/a b",
            "/a+b",
            "/\u{e9}",
            "/a\0",
            "*",
            "/.fleetbal-put-1",
        ] {
            assert_eq!(name(bad.as_bytes()), None, "{bad}");
        }
    }
}
