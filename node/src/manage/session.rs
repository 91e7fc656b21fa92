//! What one connection has said so far, and what its next line does to that.

use std::sync::Arc;

use fleetbal_raft::model::{Batch, Change, FleetConfig, Typist, Version};

use super::Context;
use super::access::{Access, Rights};
use super::command::{Command, Local};
use super::execute::{change, execute, plugged};
use super::include;
use super::line::{Line, LineError, MAX_LINE};
use super::parse::{ParseError, parse};
use super::remote::{self, Asker};
use super::render::Reply;
use super::script::{created, has_object, no_object};
use super::transaction::Transaction;
use crate::lifecycle::Stop;

/// One connection, or one HTTP call, of commands.
#[derive(Debug)]
pub(super) struct Session {
    access: Arc<Access>,
    typist: Typist,
    rights: Option<Rights>,
    implied: Option<String>,
    verbose: bool,
    /// What was typed since `begin`; gone with the connection.
    transaction: Option<Transaction>,
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
    pub(super) fn new(access: Arc<Access>, typist: Typist, rights: Option<Rights>) -> Self {
        Self {
            access,
            typist,
            rights,
            implied: None,
            verbose: true,
            transaction: None,
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
        self.count(bytes.len());
        let outcome = match Line::read(bytes, environment(self.rights)) {
            Ok(None) => goes_on(Reply::Silent),
            Ok(Some(line)) => self.command(&line, context).await,
            Err(error) => self.unreadable(&error),
        };
        self.remember(outcome)
    }

    /// Answers a line that was too long to be kept.
    pub(super) fn too_long(&mut self) -> Outcome {
        self.count(MAX_LINE);
        let outcome = self.unreadable(&LineError::TooLong);
        self.remember(outcome)
    }

    fn count(&mut self, bytes: usize) {
        if let Some(transaction) = &mut self.transaction {
            transaction.count(bytes);
        }
    }

    /// A line that was refused undoes all of the transaction that it stands in.
    fn remember(&mut self, outcome: Outcome) -> Outcome {
        if let (Reply::Refused(text), Some(transaction)) = (&outcome.reply, &mut self.transaction) {
            transaction.refuse(text);
        }
        outcome
    }

    /// Answers a line that is none.
    fn unreadable(&self, error: &LineError) -> Outcome {
        match self.rights {
            Some(_) => goes_on(Reply::Refused(error.to_string())),
            None => ends(Reply::Refused(NOT_AUTHORISED.to_owned())),
        }
    }

    async fn command(&mut self, line: &Line, context: &Context) -> Outcome {
        let command = match (parse(line, self.implied.as_deref()), self.rights) {
            (Ok(Command::Local(Local::Auth(secret))), _) => return self.auth(&secret),
            (_, None) => return ends(Reply::Refused(NOT_AUTHORISED.to_owned())),
            (Err(ParseError::Unknown(word)), Some(rights)) => {
                return goes_on(plugged(line, word, rights, context).await);
            }
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
                let reply = self.change(change, context).await;
                if created.is_some() && reply == Reply::Done {
                    self.implied = created;
                }
                goes_on(reply)
            }
        }
    }

    /// Changes the fleet, or what a transaction is to make of it.
    async fn change(&mut self, change: Change, context: &Context) -> Reply {
        let Some(transaction) = &mut self.transaction else {
            return execute(Command::Change(change), &self.typist, context).await;
        };
        let said = change::said(&change);
        let prepared = change::prepare(change, transaction.config(), context);
        match prepared.and_then(|changes| transaction.take(changes)) {
            Ok(()) => said,
            Err(text) => Reply::Refused(text),
        }
    }

    /// Carries out what files of this machine say: as one change, or within a transaction.
    async fn include(&mut self, files: &[String], context: &Context) -> Result<(), String> {
        let config = self.config(context);
        let changes = include::changes(files, &config, &environment(self.rights), context)?;
        let (places, changes): (Vec<_>, Vec<_>) = changes.into_iter().unzip();
        if let Some(transaction) = &mut self.transaction {
            return transaction.take(changes);
        }
        if changes.is_empty() {
            return Ok(());
        }
        let carried_out = Box::pin(change::carry_out(Batch::of(changes), &self.typist, context)).await;
        carried_out.map(drop).map_err(|refusal| {
            let at = usize::try_from(refusal.change).ok().and_then(|at| places.get(at));
            at.map_or_else(
                || refusal.text.clone(),
                |place| format!("{place}: {}", refusal.text),
            )
        })
    }

    fn begin(&mut self, context: &Context) -> Reply {
        if self.transaction.is_some() {
            return Reply::Refused("a transaction is open already: say `commit` or `abort`".to_owned());
        }
        self.transaction = Some(Transaction::begin(self.config(context)));
        Reply::Done
    }

    async fn commit(
        &mut self,
        if_version: Option<Version>,
        confirm: Option<u32>,
        context: &Context,
    ) -> Reply {
        let Some(transaction) = self.transaction.take() else {
            return Reply::Refused(NO_TRANSACTION.to_owned());
        };
        let (batch, origins) = match transaction.batch(if_version, confirm) {
            Ok(whole) => whole,
            Err(text) => return Reply::Refused(text),
        };
        let carried_out = Box::pin(change::carry_out(batch, &self.typist, context)).await;
        Reply::of(carried_out.map(drop).map_err(|refusal| origins.explain(&refusal)))
    }

    fn abort(&mut self) -> Reply {
        match self.transaction.take() {
            Some(_) => Reply::Done,
            None => Reply::Refused(NO_TRANSACTION.to_owned()),
        }
    }

    /// The configuration as this connection sees it.
    fn config(&self, context: &Context) -> Arc<FleetConfig> {
        match &self.transaction {
            Some(transaction) => Arc::clone(transaction.config()),
            None => Arc::clone(&context.view.load().config),
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
            Local::Begin => goes_on(self.begin(context)),
            Local::Commit { if_version, confirm } => goes_on(self.commit(if_version, confirm, context).await),
            Local::Abort => goes_on(self.abort()),
            Local::Include(files) => goes_on(Reply::of(self.include(&files, context).await)),
            // Nothing that was typed behind it is carried out.
            local @ Local::Shutdown(Stop::Now) => {
                ends(execute(Command::Local(local), &self.typist, context).await)
            }
            local @ (Local::Shutdown(Stop::Graceful(_))
            | Local::Server(_)
            | Local::Sync
            | Local::Barrier(_)
            | Local::IssueToken { .. }
            | Local::RevokeToken(_)
            | Local::RemoveNode(_)
            | Local::SetWish { .. }
            | Local::Transfer(_)
            | Local::Rekey
            | Local::DrainNode(_)
            | Local::Confirm
            | Local::Rollback(_)
            | Local::Throttle { .. }
            | Local::Outcome(_)) => goes_on(execute(Command::Local(local), &self.typist, context).await),
            Local::On { node, remote } => goes_on(remote::on(&node, &remote, &self.asker(), context).await),
            Local::Fleet(remote) => goes_on(remote::fleet(&remote, &self.asker(), context).await),
            Local::FleetSum(remote) => goes_on(remote::fleet_sum(&remote, &self.asker(), context).await),
        }
    }

    /// For nodes that are asked on behalf of whoever typed.
    fn asker(&self) -> Asker<'_> {
        Asker {
            rights: self.rights.unwrap_or(Rights::Read),
            typist: &self.typist,
        }
    }

    fn use_object(&mut self, name: String, context: &Context) -> Reply {
        if !has_object(&self.config(context), &name) {
            return Reply::Refused(no_object(&name));
        }
        self.implied = Some(name);
        Reply::Done
    }

    /// A wrong secret ends the connection, so that guessing costs one each.
    fn auth(&mut self, secret: &str) -> Outcome {
        match self.access.of_secret(secret) {
            Some(granted) => {
                self.rights = self.rights.max(Some(granted.rights));
                self.typist.token = Some(granted.token);
                goes_on(Reply::Done)
            }
            None => ends(Reply::Refused("wrong secret".to_owned())),
        }
    }
}

/// What `$NAME` stands for. To whoever may only read it is a variable that is not set: a refusal that repeats a line
/// would tell what this process was given in confidence.
pub(super) fn environment(rights: Option<Rights>) -> impl Fn(&str) -> Option<String> {
    move |name| {
        (rights == Some(Rights::Admin))
            .then(|| std::env::var(name).ok())
            .flatten()
    }
}

const NOT_AUTHORISED: &str = "not authorised: say `auth SECRET` first";
const NO_TRANSACTION: &str = "no transaction is open: say `begin` first";
pub(super) const ONLY_READ: &str = "this secret may only read";

fn goes_on(reply: Reply) -> Outcome {
    Outcome { reply, ends: false }
}

fn ends(reply: Reply) -> Outcome {
    Outcome { reply, ends: true }
}
