//! What one connection has said so far, and what its next line does to that.

use std::sync::Arc;

use super::Context;
use super::access::{Access, Rights};
use super::command::{Command, Local};
use super::execute::execute;
use super::line::{Line, LineError};
use super::parse::parse;
use super::render::Reply;
use super::script::{created, has_object, no_object};

/// One connection, or one HTTP call, of commands.
#[derive(Debug)]
pub(super) struct Session {
    access: Arc<Access>,
    typist: String,
    rights: Option<Rights>,
    implied: Option<String>,
    verbose: bool,
}

/// What a line led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The answer.
    pub(super) reply: Reply,
    /// Whether the connection ends with it.
    pub(super) ends: bool,
}

impl Session {
    /// Of someone at this address who may do so much; none: nothing but show a secret.
    pub(super) fn new(access: Arc<Access>, typist: String, rights: Option<Rights>) -> Self {
        Self {
            access,
            typist,
            rights,
            implied: None,
            verbose: true,
        }
    }

    /// Whether `OK` is printed.
    pub(super) fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Whether it may do anything.
    pub(super) fn is_known(&self) -> bool {
        self.rights.is_some()
    }

    /// Carries out one line.
    pub(super) async fn run(&mut self, bytes: &[u8], context: &Context) -> Outcome {
        match Line::read(bytes, |name| std::env::var(name).ok()) {
            Ok(None) => goes_on(Reply::Silent),
            Ok(Some(line)) => self.command(&line, context).await,
            Err(error) => self.unreadable(&error),
        }
    }

    /// Answers a line that is none.
    pub(super) fn unreadable(&self, error: &LineError) -> Outcome {
        match self.rights {
            Some(_) => goes_on(Reply::Refused(error.to_string())),
            None => ends(Reply::Refused(NOT_AUTHORISED.to_owned())),
        }
    }

    async fn command(&mut self, line: &Line, context: &Context) -> Outcome {
        let command = match (parse(line, self.implied.as_deref()), self.rights) {
            (Ok(Command::Local(Local::Auth(secret))), _) => return self.auth(&secret),
            (_, None) => return ends(Reply::Refused(NOT_AUTHORISED.to_owned())),
            (Err(error), Some(_)) => return goes_on(Reply::Refused(error.to_string())),
            (Ok(command), Some(rights)) if rights < Rights::Admin && !command.is_read() => {
                return goes_on(Reply::Refused(ONLY_READ.to_owned()));
            }
            (Ok(command), Some(_)) => command,
        };
        match command {
            Command::Local(local) => self.local(local, context).await,
            Command::Query(query) => goes_on(execute(Command::Query(query), &self.typist, context).await),
            Command::Change(change) => {
                let created = created(&change);
                let reply = execute(Command::Change(change), &self.typist, context).await;
                if created.is_some() && reply == Reply::Done {
                    self.implied = created;
                }
                goes_on(reply)
            }
        }
    }

    /// What concerns the connection itself stays here.
    async fn local(&mut self, local: Local, context: &Context) -> Outcome {
        match local {
            Local::Quit => ends(Reply::Silent),
            Local::Verbose(verbose) => {
                self.verbose = verbose;
                goes_on(Reply::Done)
            }
            Local::Use(name) => goes_on(self.use_object(name, context)),
            Local::Auth(secret) => self.auth(&secret),
            local @ (Local::Shutdown(_)
            | Local::Sync
            | Local::Barrier(_)
            | Local::IssueToken { .. }
            | Local::RevokeToken(_)
            | Local::RemoveNode(_)
            | Local::SetWish { .. }
            | Local::Transfer(_)
            | Local::Outcome(_)) => goes_on(execute(Command::Local(local), &self.typist, context).await),
        }
    }

    fn use_object(&mut self, name: String, context: &Context) -> Reply {
        if !has_object(&context.view.load().config, &name) {
            return Reply::Refused(no_object(&name));
        }
        self.implied = Some(name);
        Reply::Done
    }

    /// A wrong secret ends the connection, so that guessing costs one each.
    fn auth(&mut self, secret: &str) -> Outcome {
        match self.access.of_secret(secret) {
            Some(rights) => {
                self.rights = self.rights.max(Some(rights));
                goes_on(Reply::Done)
            }
            None => ends(Reply::Refused("wrong secret".to_owned())),
        }
    }
}

const NOT_AUTHORISED: &str = "not authorised: say `auth SECRET` first";
const ONLY_READ: &str = "this secret may only read";

fn goes_on(reply: Reply) -> Outcome {
    Outcome { reply, ends: false }
}

fn ends(reply: Reply) -> Outcome {
    Outcome { reply, ends: true }
}
