//! Commands typed at one node and carried out at another, over the cluster port. The node that is asked reads the line
//! for itself and grants no more than what the typist may do; that the asking node tells the truth about it is what
//! membership is trusted with.

use std::sync::Arc;
use std::time::Duration;

use fleetbal_proto::v1::manage_client::ManageClient;
use fleetbal_proto::v1::manage_server::{Manage, ManageServer};
use fleetbal_proto::v1::run_response::Reply as Wire;
use fleetbal_proto::v1::{Ok as Done, OutputLines, RunRequest, RunResponse, Silent};
use fleetbal_raft::model::{NodeName, Rejection, Typist};
use fleetbal_raft::transport::tls::PeerIdentity;
use futures::future::join_all;
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use super::Context;
use super::access::Rights;
use super::command::{Command, Local, Remote};
use super::execute::{REKEY, execute};
use super::line::Line;
use super::parse::parse;
use super::render::Reply;
use super::session::{ONLY_READ, environment};
use super::sum;
use crate::gossip::NodeState;

/// How long a node may take to answer, beside what the command itself waits for.
const ANSWER: Duration = Duration::from_secs(2);

/// The largest answer that is taken, in bytes: a dump of the largest configuration.
const ANSWER_MAX: usize = 64 * 1024 * 1024;

/// On whose behalf another node is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker<'a> {
    /// What they may do.
    pub(super) rights: Rights,
    /// Where they type.
    pub(super) typist: &'a Typist,
}

/// `on NODE COMMAND`.
pub(super) async fn on(node: &NodeName, remote: &Remote, asker: &Asker<'_>, context: &Context) -> Reply {
    let applied = context.cluster.feed().latest();
    let member = applied.state.members().find(|(name, _)| *name == node);
    let Some((_, member)) = member else {
        return Reply::Refused(Rejection::NoMember(node.clone()).to_string());
    };
    ask(member.node_id, remote, asker, context)
        .await
        .unwrap_or_else(|| Reply::Refused(format!("{node}: no answer")))
}

/// `fleet COMMAND`: each line of each live node's answer, led by the node's name.
pub(super) async fn fleet(remote: &Remote, asker: &Asker<'_>, context: &Context) -> Reply {
    let answers = ask_all(remote, asker, context).await.into_iter();
    let lines: Vec<_> = answers.map(|(node, answer)| led_by(&node, answer)).collect();
    Reply::Lines(lines.concat())
}

/// `fleet sum COMMAND`: what all of them count together; a node that does not answer is named.
pub(super) async fn fleet_sum(remote: &Remote, asker: &Asker<'_>, context: &Context) -> Reply {
    let (mut counted, mut missing) = (Vec::new(), Vec::new());
    for (node, answer) in ask_all(remote, asker, context).await {
        match answer {
            Some(Reply::Lines(lines)) => counted.push(lines),
            answer => missing.extend(led_by(&node, answer)),
        }
    }
    let mut lines = sum::add_up(&counted);
    lines.extend(missing);
    Reply::Lines(lines)
}

async fn ask_all(remote: &Remote, asker: &Asker<'_>, context: &Context) -> Vec<(String, Option<Reply>)> {
    let nodes = context.fleet.nodes().into_iter();
    let live = nodes.filter(|node| matches!(node.state, NodeState::Alive | NodeState::Suspect));
    let answers = live.map(async |node| {
        let answer = ask(node.node_id, remote, asker, context).await;
        (node.name, answer)
    });
    join_all(answers).await
}

fn led_by(node: &str, answer: Option<Reply>) -> Vec<String> {
    match answer {
        None => vec![format!("{node} ERROR: no answer")],
        Some(Reply::Refused(text)) => vec![format!("{node} ERROR: {text}")],
        Some(Reply::Done) => vec![format!("{node} OK")],
        Some(Reply::Silent) => Vec::new(),
        Some(Reply::Said(line)) => vec![format!("{node} {line}")],
        Some(Reply::Lines(lines) | Reply::Dump(lines)) => {
            lines.into_iter().map(|line| format!("{node} {line}")).collect()
        }
    }
}

/// What a node answers, this one perhaps; none: nothing in time.
async fn ask(node: u64, remote: &Remote, asker: &Asker<'_>, context: &Context) -> Option<Reply> {
    if node == context.cluster.node_id() {
        return Some(run(&remote.line, asker, context).await);
    }
    let channel = context.cluster.channels().get(node)?;
    let mut client = ManageClient::new(channel).max_decoding_message_size(ANSWER_MAX);
    let request = RunRequest {
        line: remote.line.clone(),
        admin: asker.rights == Rights::Admin,
        typist: asker.typist.address.clone(),
        typist_token: asker.typist.token.clone().unwrap_or_default(),
    };
    match timeout(patience(&remote.command), client.run(request)).await {
        Ok(Ok(answer)) => Some(reply(answer.into_inner())),
        Ok(Err(status)) => {
            tracing::debug!(node, %status, "a node does not answer a command");
            None
        }
        Err(_) => None,
    }
}

fn patience(command: &Command) -> Duration {
    match command {
        Command::Local(Local::Barrier(within)) => within.saturating_add(ANSWER),
        Command::Local(Local::Sync | Local::Outcome(_)) => Duration::from_secs(5) + ANSWER,
        Command::Local(Local::Rekey) => REKEY + ANSWER,
        Command::Local(_) | Command::Query(_) | Command::Change(_) => ANSWER,
    }
}

/// Carries out here what was typed elsewhere.
async fn run(typed: &str, asker: &Asker<'_>, context: &Context) -> Reply {
    let line = match Line::read(typed.as_bytes(), environment(Some(asker.rights))) {
        Ok(Some(line)) => line,
        Ok(None) => return Reply::Silent,
        Err(error) => return Reply::Refused(error.to_string()),
    };
    match parse(&line, None) {
        Err(error) => Reply::Refused(error.to_string()),
        Ok(command) if asker.rights < Rights::Admin && !command.is_read() => {
            Reply::Refused(ONLY_READ.to_owned())
        }
        Ok(command) if !command.concerns_one_node() => {
            Reply::Refused("this concerns more than one node".to_owned())
        }
        Ok(command) => Box::pin(execute(command, asker.typist, context)).await,
    }
}

/// What the cluster port answers to other members.
#[derive(Debug, Clone)]
pub struct ManageService(Arc<Context>);

/// The service for the cluster port.
pub fn service(context: Arc<Context>) -> ManageServer<ManageService> {
    ManageServer::new(ManageService(context)).max_encoding_message_size(ANSWER_MAX)
}

#[tonic::async_trait]
impl Manage for ManageService {
    async fn run(&self, request: Request<RunRequest>) -> Result<Response<RunResponse>, Status> {
        PeerIdentity::member(&request)?;
        let RunRequest {
            line,
            admin,
            typist,
            typist_token,
        } = request.into_inner();
        let typist = Typist {
            address: typist,
            token: Some(typist_token).filter(|token| !token.is_empty()),
        };
        let asker = Asker {
            rights: if admin { Rights::Admin } else { Rights::Read },
            typist: &typist,
        };
        let reply = wire(run(&line, &asker, &self.0).await);
        Ok(Response::new(RunResponse { reply: Some(reply) }))
    }
}

fn wire(reply: Reply) -> Wire {
    match reply {
        Reply::Silent => Wire::Silent(Silent {}),
        Reply::Done => Wire::Ok(Done {}),
        Reply::Lines(lines) => Wire::Lines(OutputLines { lines }),
        // Only changes of the fleet are answered so, and those go to nobody else.
        Reply::Said(line) => Wire::Lines(OutputLines { lines: vec![line] }),
        Reply::Dump(lines) => Wire::Dump(OutputLines { lines }),
        Reply::Refused(text) => Wire::Refused(text),
    }
}

fn reply(answer: RunResponse) -> Reply {
    match answer.reply {
        Some(Wire::Silent(Silent {})) => Reply::Silent,
        Some(Wire::Ok(Done {})) => Reply::Done,
        Some(Wire::Lines(OutputLines { lines })) => Reply::Lines(lines),
        Some(Wire::Dump(OutputLines { lines })) => Reply::Dump(lines),
        Some(Wire::Refused(text)) => Reply::Refused(text),
        None => Reply::Refused("a node of another release answered what this one cannot read".to_owned()),
    }
}
