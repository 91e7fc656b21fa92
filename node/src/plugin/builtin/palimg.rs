//! `Palimg`: pictures in other colours (Perlbal, reference section 8.2). `/palimg/NAME.EXT/pCHANGE` is the GIF or PNG
//! `/palimg/NAME.EXT` below the docroot with another palette.

mod change;
mod picture;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fleetbal_raft::model::Value;

use super::super::answer::Answer;
use super::super::context::RequestContext;
use super::super::hook::{Hook, Outcome, Point, Points};
use super::Setup;
use crate::files::{self, Opened, Patience};
use change::Change;
use picture::Kind;

/// The largest picture whose palette is changed, in bytes: all of it is in memory meanwhile.
const MAX_PICTURE: u64 = 4 << 20;

#[derive(Debug)]
struct Palimg {
    /// None where this node cannot tell it.
    docroot: Option<PathBuf>,
}

/// What was asked for, until the file is there.
struct Wanted {
    kind: Kind,
    /// None: not a change at all.
    change: Option<Change>,
}

pub(super) fn make(setup: &Setup<'_>) -> Arc<dyn Hook> {
    let docroot = setup.service.value("docroot").and_then(Value::into_text);
    let docroot = docroot.and_then(|docroot| docroot.expand(setup.fill).ok());
    Arc::new(Palimg {
        docroot: docroot.map(PathBuf::from),
    })
}

/// Takes the change off a path; none: the path has none.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let name = path.strip_prefix(b"/palimg/")?;
    let slash = memchr::memchr(b'/', name)?;
    let change = name.get(slash + 1..)?.strip_prefix(b"p")?;
    (!change.is_empty()).then_some((path.get(..path.len() - change.len() - 2)?, change))
}

impl Hook for Palimg {
    fn points(&self) -> Points {
        Points::of(&[Point::StartServeRequest, Point::StaticGetPoststatPreSend])
    }

    fn run(&self, point: Point, request: &mut RequestContext) -> Outcome {
        if point == Point::StartServeRequest {
            look(request);
            return Outcome::Next;
        }
        let Some(wanted) = request.attached::<Wanted>() else {
            return Outcome::Next;
        };
        let (kind, change) = (wanted.kind, wanted.change.take());
        let Some(change) = change else {
            return Outcome::Answer(Box::new(Answer::page(404, "")));
        };
        let Some(opened) = self.open(request) else {
            return Outcome::Next;
        };
        let modified = opened.stamp.last_modified();
        let read = read(opened);
        let answer = read.and_then(|mut bytes| {
            picture::recolour(kind, &mut bytes, &change)?;
            Answer::new(200)
                .with_field("Last-Modified", modified.as_bytes())
                .and_then(|answer| answer.with_field("Content-Type", kind.media_type()))
                .ok()
                .map(|answer| answer.with_body(bytes))
        });
        Outcome::Answer(Box::new(answer.unwrap_or_else(|| Answer::page(404, ""))))
    }
}

/// Has the picture looked for, and keeps what becomes of it. What is no picture is sent as it is.
fn look(request: &mut RequestContext) {
    let Some((file, change)) = request.path().and_then(split) else {
        return;
    };
    let (file, kind, change) = (file.to_vec(), Kind::of(file), Change::read(change));
    request.set_path(&file);
    if let Some(kind) = kind {
        request.attach(Box::new(Wanted { kind, change }));
    }
}

impl Palimg {
    /// The file that the core has found; none where it is gone meanwhile.
    fn open(&self, request: &RequestContext) -> Option<Opened> {
        let path = std::str::from_utf8(request.path()?).ok()?;
        let path = Path::new(path.trim_start_matches('/'));
        files::below(self.docroot.as_deref()?, path, Patience::Wait).ok()
    }
}

/// All of it; none: it is too large, or cannot be read.
fn read(opened: Opened) -> Option<Vec<u8>> {
    if opened.stamp.size > MAX_PICTURE {
        return None;
    }
    let mut bytes = Vec::new();
    let read = opened.file.take(MAX_PICTURE).read_to_end(&mut bytes);
    read.ok().map(|_| bytes)
}

#[cfg(test)]
mod tests;
