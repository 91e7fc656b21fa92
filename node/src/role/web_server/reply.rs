//! Heads of answers that carry a file (Perlbal, reference section 6.1).

use std::ops::Range;

use fleetbal_raft::model::MimeTypes;

use crate::files::OpenFile;
use crate::role::client::Client;
use crate::role::local::Current;

/// What every answer to a request says, whatever file it carries.
pub(super) struct Facts<'a> {
    date: [u8; 29],
    server_tokens: bool,
    /// The lines about the client's connection.
    connection: &'a [u8],
    types: Option<&'a MimeTypes>,
}

impl<'a> Facts<'a> {
    /// For a request to this service on a connection of `owner`'s, which stays open behind it or does not.
    pub(super) fn of(client: &Client, current: &'a Current, owner: &'a Current, keeps: bool) -> Self {
        let settings = &owner.view.settings;
        Self {
            date: client.local().date.now(),
            server_tokens: settings.server_tokens,
            connection: if keeps {
                &settings.keep_alive_lines
            } else {
                b"Connection: close\r\n"
            },
            types: current.view.web.as_ref().map(|web| &*web.types),
        }
    }

    /// Appends the head of an answer with this file, which was asked for by this path. The part of it that follows.
    pub(super) fn write(&self, file: &OpenFile, path: &[u8], out: &mut Vec<u8>) -> Range<u64> {
        let size = file.stamp.size;
        self.begin(b"200 OK", out);
        let kind = self.types.map_or(MimeTypes::PLAIN, |types| types.of(path));
        let mut digits = itoa::Buffer::new();
        for part in [
            b"Last-Modified: ",
            &*file.last_modified,
            b"\r\nETag: ",
            &*file.etag,
            b"\r\nAccept-Ranges: bytes\r\nContent-Type: ",
            kind.as_bytes(),
            b"\r\nContent-Length: ",
            digits.format(size).as_bytes(),
            b"\r\n",
            self.connection,
            b"\r\n",
        ] {
            out.extend_from_slice(part);
        }
        0..size
    }

    /// The lines that come first.
    fn begin(&self, status: &[u8], out: &mut Vec<u8>) {
        out.clear();
        let server: &[u8] = if self.server_tokens {
            b"\r\nServer: fleetbal\r\n"
        } else {
            b"\r\n"
        };
        for part in [b"HTTP/1.1 ", status, b"\r\nDate: ", &self.date, server] {
            out.extend_from_slice(part);
        }
    }
}
