//! `cert list [json]`, `cert remove NAME`. A certificate does not fit into a line; it comes over HTTP.

use fleetbal_raft::model::{CertificateName, Change};

use super::super::command::{Command, Format, Query};
use super::super::line::Line;
use super::ParseError;

const USAGE: ParseError = ParseError::Usage(
    "usage: cert list [json]; cert remove <name>; `fleetbal cert add` and PUT /api/v1/certs/<name> bring one in",
);

pub(super) fn parse(line: &Line) -> Result<Command, ParseError> {
    let arguments = line.arguments().ok_or(USAGE)?;
    let (word, arguments) = arguments.split_first().ok_or(USAGE)?;
    match (&*word.to_ascii_lowercase(), arguments) {
        ("list", []) => Ok(Command::Query(Query::Certificates(Format::Text))),
        ("list", ["json"]) => Ok(Command::Query(Query::Certificates(Format::Json))),
        ("remove", [name]) => {
            let name = CertificateName::parse(name)?;
            Ok(Command::Change(Change::RemoveCertificate(name)))
        }
        _ => Err(USAGE),
    }
}
