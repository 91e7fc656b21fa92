//! `AutoRemoveLeadingDir`: a leading `/NAME` goes where NAME is the last component of the docroot (Perlbal, reference
//! section 8.2).

use std::path::Path;
use std::sync::Arc;

use fleetbal_raft::model::Value;

use super::super::context::RequestContext;
use super::super::hook::{Hook, Outcome, Point, Points};
use super::Setup;

#[derive(Debug)]
struct AutoRemoveLeadingDir {
    /// `/NAME`; empty where this node has no docroot.
    leading: Vec<u8>,
}

pub(super) fn make(setup: &Setup<'_>) -> Arc<dyn Hook> {
    let docroot = setup.service.value("docroot").and_then(Value::into_text);
    let docroot = docroot.and_then(|docroot| docroot.expand(setup.fill).ok());
    let name = docroot
        .as_deref()
        .and_then(|docroot| Path::new(docroot).file_name());
    let leading = name.map(|name| [b"/", name.as_encoded_bytes()].concat());
    Arc::new(AutoRemoveLeadingDir {
        leading: leading.unwrap_or_default(),
    })
}

impl Hook for AutoRemoveLeadingDir {
    fn points(&self) -> Points {
        if self.leading.is_empty() {
            return Points::default();
        }
        Points::of(&[Point::StartServeRequest])
    }

    fn run(&self, _: Point, request: &mut RequestContext) -> Outcome {
        // As in Perlbal, whatever follows: `/docsx/y` leaves `x/y`, which is no path.
        let rest = request
            .path()
            .and_then(|path| path.strip_prefix(&self.leading[..]));
        if let Some(rest) = rest.map(<[u8]>::to_vec) {
            request.set_path(&rest);
        }
        Outcome::Next
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asked, made};
    use super::*;

    #[test]
    fn the_docroots_own_name_goes() {
        let lines = [
            "LOAD AutoRemoveLeadingDir",
            "SET px.role = web_server",
            "SET px.docroot = /srv/www/docs",
            "SET px.plugins = autoremoveleadingdir",
        ];
        let hook = made(make, &lines);
        for (path, is) in [
            ("/docs/a", "/a"),
            ("/a", "/a"),
            ("/docsx/a", "x/a"),
            ("/docs", ""),
        ] {
            let mut request = asked("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "::1");
            request.set_path(path.as_bytes());
            hook.run(Point::StartServeRequest, &mut request);
            assert_eq!(request.path(), Some(is.as_bytes()), "{path}");
        }
    }
}
