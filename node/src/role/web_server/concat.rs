//! Several files of one directory as one answer (Perlbal, reference section 6.3).

use std::rc::Rc;

use fleetbal_raft::model::MimeTypes;

use super::path::{Several, leads_up};
use super::reply::{Facts, Made};
use super::send::Pieces;
use super::{BOGUS, Said, UNCONFIGURED, WebRequest, docroot, hooks, place, refusal, send_pieces};
use crate::files::{Look, OpenError, OpenFile, Patience, Sending};
use crate::http::answer::Page;
use crate::http::conditional::{Asked, Validators, Verdict};
use crate::http::{Head, Method};
use crate::plugin::Point;
use crate::role::client::Client;
use crate::role::connection::Next;

/// The most files of one answer.
const MOST: usize = 100;

const OFF: Said = (403, "Forbidden", "Multiple file serving isn't enabled");
const TOO_MANY: Said = (403, "Forbidden", "Too many files requested");
const BOGUS_NAMES: Said = (403, "Forbidden", "Bogus filenames");
const NO_BASE: Said = (404, "Not Found", "Base directory not a directory");
const MISSING: Said = (404, "Not Found", "One or more file does not exist");
const CHANGED: Said = (412, "Precondition Failed", "");
const NO_SLASH: Said = (
    500,
    "Internal Server Error",
    "Base directory (before ??) must end in slash.",
);

/// Sends them.
///
/// # Errors
/// The page that is the answer instead.
pub(super) async fn send(
    client: &mut Client,
    request: &WebRequest,
    several: Several<'_>,
) -> Result<Next, Page<'static>> {
    let (_, web) = docroot(&request.current).ok_or(UNCONFIGURED)?;
    if !web.concatenates {
        return Err(OFF.into());
    }
    let paths = paths(several)?;
    let Some(found) = look(client, request, several, &paths).await? else {
        let missing = hooks::ask(client, request, Point::ConcatGetPoststatFileMissing).await;
        return missing.ok_or_else(|| MISSING.into());
    };
    let size = found.iter().map(|file| file.stamp.size).sum();
    let Some(newest) = found.iter().max_by_key(|file| file.modified()) else {
        return Err(MISSING.into());
    };
    if let Some(next) = hooks::ask_several(client, request, newest.stamp.modified.0).await {
        return Ok(next);
    }
    let kind = paths.iter().find_map(|path| web.types.find(path));
    let validators = Validators {
        etag: b"",
        last_modified: &newest.last_modified,
        modified: newest.modified(),
        size,
    };
    let verdict = Asked::of(Head::new(&request.text)).judge(&validators);
    if verdict == Verdict::Failed {
        return Err(CHANGED.into());
    }
    let sends = verdict == Verdict::Go;
    let made = Made {
        modified: &newest.last_modified,
        kind: kind.unwrap_or(MimeTypes::PLAIN),
        length: sends.then_some(size),
    };
    let keeps = request.keeps(client);
    let mut head = Vec::new();
    Facts::of(client, request.owner(), keeps).write_made(made, &mut head);
    let status = if sends { 200 } else { 304 };
    if let Some(next) = hooks::finish_head(client, request, status, &mut head).await {
        return Ok(next);
    }
    let mut pieces = Pieces::default();
    pieces.text(head);
    if sends && request.head.method != Method::Head {
        for file in &found {
            pieces.file(Sending::new(Rc::clone(file), 0..file.stamp.size));
        }
    }
    client.answered(status, sends.then_some(size));
    Ok(send_pieces(client, request, pieces, keeps).await)
}

/// The paths of the files below the docroot.
fn paths(several: Several<'_>) -> Result<Vec<Vec<u8>>, Page<'static>> {
    let base = several.base().ok_or(BOGUS)?;
    if !base.ends_with(b"/") {
        return Err(NO_SLASH.into());
    }
    if several.names().count() > MOST {
        return Err(TOO_MANY.into());
    }
    let paths = several.names().map(|name| [&base, &name[..]].concat());
    let paths: Vec<_> = paths.collect();
    if paths.iter().any(|path| leads_up(path)) {
        return Err(BOGUS_NAMES.into());
    }
    Ok(paths)
}

/// All of them; none where one is missing.
async fn look(
    client: &Client,
    request: &WebRequest,
    several: Several<'_>,
    paths: &[Vec<u8>],
) -> Result<Option<Vec<Rc<OpenFile>>>, Page<'static>> {
    let (root, web) = docroot(&request.current).ok_or(UNCONFIGURED)?;
    let place = place(client.local(), root, web, Patience::Wait);
    let base = several.base().ok_or(BOGUS)?;
    match place.look(&base).await {
        Look::Directory(_) => {}
        Look::Failed(error @ OpenError::NoRoot(_)) => return Err(refusal(&error).into()),
        Look::File(_) | Look::Failed(_) => return Err(NO_BASE.into()),
    }
    let mut found = Vec::with_capacity(paths.len());
    for path in paths {
        match place.look(path).await {
            Look::File(file) => found.push(file),
            Look::Directory(_) | Look::Failed(_) => return Ok(None),
        }
    }
    Ok(Some(found))
}
