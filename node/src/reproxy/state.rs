//! What `reproxy_state` prints, as Perlbal does (reference, section 5.4).

use fleetbal_raft::model::ReproxyLimits;

use super::targets::{Stage, TargetConnection, TargetFigures};

/// One line a figure: of every target, and the limits that were set.
pub fn lines(targets: &[TargetFigures], limits: &ReproxyLimits) -> Vec<String> {
    let count = |of: &TargetFigures, stage| of.connections.iter().filter(|c| c.stage == stage).count();
    let mut lines = Vec::new();
    for of in targets {
        let connecting = count(of, Stage::Connecting);
        if connecting > 0 {
            lines.push(format!("connecting {} {connecting}", of.target));
        }
    }
    for of in targets {
        lines.push(format!("bored {} {}", of.target, count(of, Stage::Idle)));
    }
    for of in targets {
        lines.push(format!("clients_queued {} {}", of.target, of.waiting));
    }
    for of in targets {
        lines.push(format!("backends {} {}", of.target, of.connections.len()));
        lines.extend(of.connections.iter().map(connection));
    }
    lines.push(format!("SERVER max_reproxy_connections = {}", limits.each));
    let own = |(target, limit)| format!("SERVER max_reproxy_connections({target}) = {limit}");
    lines.extend(limits.by_target().map(own));
    lines
}

fn connection(of: &TargetConnection) -> String {
    let mut parts = Vec::new();
    if let Some((own, target)) = of.ends {
        parts.push(format!("open to {target}: localport={}", own.port()));
    }
    if of.stage != Stage::Idle {
        parts.push(format!("client={}", of.client));
    }
    parts.push(format!("uses={}", of.uses));
    let state = match of.stage {
        Stage::Connecting => "connecting",
        Stage::Sent => "sending_req",
        Stage::Receiving => "xfer_res",
        Stage::Idle => "bored",
    };
    format!("... Perlbal::BackendHTTP(R): {}; {state}", parts.join("; "))
}

#[cfg(test)]
mod tests {
    use fleetbal_raft::model::{Batch, Change, FleetConfig};

    use super::super::url::Target;
    use super::*;

    fn connection(stage: Stage, uses: u64) -> TargetConnection {
        let ends = (
            "127.0.0.1:40976".parse().unwrap(),
            "127.0.0.1:26102".parse().unwrap(),
        );
        TargetConnection {
            stage,
            ends: Some(ends).filter(|_| stage != Stage::Connecting),
            client: 11,
            uses,
        }
    }

    fn figures(target: &str, waiting: usize, connections: &[TargetConnection]) -> TargetFigures {
        TargetFigures {
            target: Target::parse(target).unwrap(),
            waiting,
            connections: connections.to_vec(),
        }
    }

    #[test]
    fn as_perlbal_prints_it() {
        let used = [connection(Stage::Receiving, 7), connection(Stage::Idle, 8)];
        let figures = [
            figures("127.0.0.1:26102", 2, &used),
            figures("127.0.0.1:26104", 0, &[connection(Stage::Connecting, 0)]),
        ];
        let limit = |target: Option<&str>, limit| Change::SetReproxyLimit {
            target: target.map(str::to_owned),
            limit,
        };
        let changes = Batch::of(vec![limit(None, 3), limit(Some("a:80"), 1)]);
        let config = FleetConfig::default().with_batch(&changes).unwrap();
        assert_eq!(
            lines(&figures, config.reproxy_limits()),
            [
                "connecting 127.0.0.1:26104 1",
                "bored 127.0.0.1:26102 1",
                "bored 127.0.0.1:26104 0",
                "clients_queued 127.0.0.1:26102 2",
                "clients_queued 127.0.0.1:26104 0",
                "backends 127.0.0.1:26102 2",
                "... Perlbal::BackendHTTP(R): open to 127.0.0.1:26102: localport=40976; client=11; uses=7; xfer_res",
                "... Perlbal::BackendHTTP(R): open to 127.0.0.1:26102: localport=40976; uses=8; bored",
                "backends 127.0.0.1:26104 1",
                "... Perlbal::BackendHTTP(R): client=11; uses=0; connecting",
                "SERVER max_reproxy_connections = 3",
                "SERVER max_reproxy_connections(a:80) = 1",
            ]
        );
        assert_eq!(
            lines(&[], &ReproxyLimits::default()),
            ["SERVER max_reproxy_connections = 0"]
        );
    }
}
