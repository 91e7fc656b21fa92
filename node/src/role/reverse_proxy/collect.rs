//! Collects the body of a request before a backend is asked for (Perlbal, reference sections 4.9 and 4.10), so that slow
//! clients do not hold backends: in memory, or in a file where it is large, slow, or chunked and not short.
//!
//! A client is read no faster than its body is put away, and what of it is in memory is bounded: one read, the buffer
//! that `buffer_backend_connect` allows, or one piece on its way to disk.

use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::dispatch;
use super::request::Request;
use crate::clock;
use crate::http::{Framing, ProxyError, RequestHead};
use crate::monitor::sockets::ClientState;
use crate::role::client::Client;
use crate::role::connection::Next;
use crate::role::held::Held;
use crate::role::intake::{Failure, Intake};
use crate::role::local::{Local, Served};
use crate::snapshot::{ServiceView, UploadSettings};
use crate::upload::spool::PIECE;
use crate::upload::{Reason, Replay, Report, Spool, SpoolName, Thresholds, head, tracker};

const UNWRITABLE: ProxyError = ProxyError::Internal("The request could not be buffered.");

/// What a request has whose body does not simply pass.
pub(super) struct Upload {
    /// Whether it is collected before a backend is asked for.
    collects: bool,
    /// The file that it waits in.
    spool: Option<Replay>,
    report: Option<Report>,
}

/// What a request's body needs beyond being passed on: mostly nothing. `present` bytes of it are there, `output` is the
/// head for the backend.
pub(super) fn plan(
    head: &RequestHead,
    present: usize,
    output: &[u8],
    uploads: &UploadSettings,
) -> Option<Box<Upload>> {
    let (collects, total) = match head.framing {
        Framing::Empty | Framing::UntilClose => return None,
        // One that is streamed ends when it ends; nobody can say how much of it a backend should wait for.
        Framing::Chunked => (uploads.to_disk, None),
        Framing::Length(length) => {
            let is_there = present as u64 >= length;
            let collects = if thresholds(uploads).by_length(length).is_some() && uploads.to_disk {
                true
            } else if is_there {
                false
            } else if head::expects_continue(output) {
                // The backend is asked at once and answers that, unless the body is wanted first, or it cannot.
                uploads.to_disk || head::is_http10(output)
            } else {
                uploads.to_disk || uploads.memory > present
            };
            (collects, Some(length).filter(|_| !is_there))
        }
    };
    let report = total
        .filter(|_| !uploads.status_listeners.is_empty())
        .and_then(|total| Some(Report::new(tracker::session(output)?, total, epoch())));
    (collects || report.is_some()).then(|| {
        Box::new(Upload {
            collects,
            spool: None,
            report,
        })
    })
}

impl Upload {
    pub(super) fn collects(&self) -> bool {
        self.collects
    }

    /// Tells trackers that so many bytes of the body came.
    pub(super) fn came(&mut self, bytes: usize, local: &Local, uploads: &UploadSettings) {
        if let Some(report) = &mut self.report
            && let Some(datagram) = report.came(bytes, Instant::now(), epoch)
        {
            local.uploads.announcer.send(&datagram, &uploads.status_listeners);
        }
    }

    /// Whether there is more of the body in a file.
    pub(super) fn has_more(&self) -> bool {
        self.spool.is_some()
    }

    /// The next piece of what is in the file; an empty one is the end, and the file goes.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<u8>, ProxyError>> {
        let Some(spool) = &mut self.spool else {
            return Poll::Ready(Ok(Vec::new()));
        };
        let piece = std::task::ready!(spool.poll_piece(cx));
        if piece.as_ref().map_or(true, Vec::is_empty) {
            self.spool = None;
        }
        Poll::Ready(piece.map_err(|_| UNWRITABLE))
    }
}

/// Collects the body of a request whose plan says so. What ends the connection instead, if it cannot.
pub(in crate::role) async fn run(
    client: &mut Client,
    mut request: Box<Request>,
) -> Result<Box<Request>, Next> {
    client.record.enter(ClientState::BufferingRequest);
    let collecting = Collecting {
        client: &mut *client,
        request: &mut request,
        piece: Vec::new(),
        done: 0,
    };
    let Err(failure) = collecting.run().await else {
        let found = dispatch::reuse(client.local(), client.served(), &request.current, request.turn);
        (request.lease, request.picked) = found.parts();
        return Ok(request);
    };
    client.served().shard().request_ended();
    Err(match failure {
        Failure::Gone => Next::Close,
        Failure::Refused(error) => client.refuse(error).await,
    })
}

struct Collecting<'c> {
    client: &'c mut Client,
    request: &'c mut Request,
    /// What came of the body, and is not on disk.
    piece: Vec<u8>,
    /// How many bytes of it came.
    done: u64,
}

impl Collecting<'_> {
    async fn run(mut self) -> Result<(), Failure> {
        let current = Rc::clone(&self.request.current);
        let settings = &current.view.settings;
        let head = self.request.to_backend.take();
        let expects = head::expects_continue(&head);
        if expects && !self.client.say(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()).await {
            return Err(Failure::Gone);
        }
        self.client.arm(settings.idle_timeout);
        let (reason, to_disk) = self.decide(&settings.uploads).await?;
        let spool = if to_disk {
            Some(self.spool(&current.view).await?)
        } else {
            None
        };
        let chunked = self.request.head.framing == Framing::Chunked;
        let edit = head::Edit {
            length: chunked.then_some(self.done),
            drop_expect: expects,
            reason: reason.filter(|_| head::tells_reasons()),
        };
        let mut output = head::edit(&head, edit);
        output.append(&mut self.piece);
        self.request.to_backend = Held::new(output);
        if let Some(upload) = &mut self.request.upload_plan {
            upload.collects = false;
            upload.spool = spool.map(Spool::replay);
        }
        Ok(())
    }

    /// Whether the body goes to disk, and why. Unless its length decides that, the memory is filled first.
    async fn decide(&mut self, uploads: &UploadSettings) -> Result<(Option<Reason>, bool), Failure> {
        let rules = thresholds(uploads);
        let length = match self.request.head.framing {
            Framing::Length(length) => Some(length),
            Framing::Empty | Framing::Chunked | Framing::UntilClose => None,
        };
        let began = Instant::now();
        let by_length = length
            .filter(|_| uploads.to_disk)
            .and_then(|length| rules.by_length(length));
        if by_length.is_some() {
            return Ok((by_length, true));
        }
        self.fill(uploads.memory).await?;
        if self.request.upload.is_done() || !uploads.to_disk {
            return Ok((None, false));
        }
        let Some(length) = length else {
            return Ok((None, true));
        };
        let by_pace = rules.by_pace(self.done, length.saturating_sub(self.done), began.elapsed());
        Ok((by_pace, by_pace.is_some()))
    }

    /// Writes the body to a file.
    async fn spool(&mut self, view: &ServiceView) -> Result<Spool, Failure> {
        let unwritable = Failure::Refused(UNWRITABLE);
        let Some(name) = spool_name(view) else {
            tracing::warn!(service = %view.name, "an upload is to be buffered, but buffer_uploads_path says nowhere");
            return Err(unwritable);
        };
        let is_first = self.client.local().uploads.is_first(&name);
        let descriptor = self.client.io.as_raw_fd();
        let created = Spool::create(name, descriptor, is_first).await;
        let mut spool = created.map_err(|_| Failure::Refused(UNWRITABLE))?;
        loop {
            self.fill(PIECE).await?;
            let written = spool.append(std::mem::take(&mut self.piece)).await;
            (spool, self.piece) = written.map_err(|_| Failure::Refused(UNWRITABLE))?;
            if self.request.upload.is_done() {
                return Ok(spool);
            }
        }
    }

    /// Reads until there are so many bytes in memory, or the body is complete.
    async fn fill(&mut self, limit: usize) -> Result<(), Failure> {
        let request = &mut *self.request;
        let settings = &request.current.view.settings;
        let intake = Intake {
            body: &mut request.upload,
            piece: &mut self.piece,
            patience: settings.idle_timeout,
        };
        let (done, plan) = (&mut self.done, &mut request.upload_plan);
        let came = |local: &Local, came| {
            *done += came as u64;
            if let Some(upload) = plan.as_mut().filter(|_| came > 0) {
                upload.came(came, local, &settings.uploads);
            }
        };
        intake.fill(self.client, limit, came).await
    }
}

/// Removes what an earlier process of this service left behind, without waiting for it.
pub(in crate::role) fn sweep(local: &Local, served: &Served) {
    let current = served.current(local);
    let name = current
        .as_deref()
        .filter(|current| current.view.settings.uploads.to_disk)
        .and_then(|current| spool_name(&current.view));
    let Some(name) = name.filter(|name| local.uploads.is_first(name)) else {
        return;
    };
    drop(tokio::task::spawn_blocking(move || match name.sweep() {
        Ok(0) => {}
        Ok(removed) => tracing::info!(
            service = name.service,
            removed,
            "removed buffered uploads of an earlier process"
        ),
        Err(error) => tracing::warn!(service = name.service, %error, "cannot look for old buffered uploads"),
    }));
}

fn spool_name(view: &ServiceView) -> Option<SpoolName> {
    let directory = view.settings.uploads.directory.clone().ok()??;
    let listen = view.listen.as_ref().ok().copied().flatten();
    Some(SpoolName {
        directory,
        service: view.name.as_str().to_owned(),
        listen: listen.map_or_else(|| "not_listening".to_owned(), |address| address.to_string()),
    })
}

fn thresholds(uploads: &UploadSettings) -> Thresholds {
    Thresholds {
        size: uploads.threshold_size.unwrap_or_default(),
        rate: uploads.threshold_rate.unwrap_or_default(),
        time: uploads.threshold_time.unwrap_or_default(),
    }
}

/// Seconds since the epoch.
pub(super) fn epoch() -> u64 {
    clock::now().0 / 1000
}
