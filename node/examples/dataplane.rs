use fleetbal::{monitor::stats::Stats, snapshot::*, workers::Workers};
use fleetbal_raft::model::*;
use std::sync::Arc;
fn main() {
    let t = std::fs::read_to_string(std::env::args().nth(1).unwrap()).unwrap();
    let n: usize = std::env::var("THREADS")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(1);
    let mut ch = vec![];
    let mut listen = None;
    for line in t.lines() {
        let w: Vec<&str> = line.split_whitespace().collect();
        if w.first() == Some(&"CREATE") && w[2] == "mgmt" {
            break;
        }
        match w.as_slice() {
            ["CREATE", "POOL", p] => ch.push(Change::CreatePool(PoolName::parse(p).unwrap())),
            ["CREATE", "SERVICE", s] => ch.push(Change::CreateService(ServiceName::parse(s).unwrap())),
            ["POOL", p, "ADD", a] => ch.push(Change::PoolAdd {
                pool: PoolName::parse(p).unwrap(),
                backend: BackendAddress::parse(a).unwrap(),
            }),
            ["SET", k, "=", v] => {
                if *k == "listen" {
                    listen = v.parse().ok()
                }
                ch.push(Change::Set {
                    object: "balancer".into(),
                    key: (*k).into(),
                    value: (*v).into(),
                })
            }
            ["ENABLE", s] => ch.push(Change::SetEnabled {
                service: ServiceName::parse(s).unwrap(),
                enabled: true,
            }),
            _ => {}
        }
    }
    let c = FleetConfig::default()
        .with_batch(&Batch {
            changes: ch,
            if_version: None,
        })
        .unwrap();
    let (mut p, v) = Publisher::new(NodeVariables::default());
    p.publish(&Arc::new(c));
    let w = Workers::start(n, v, Arc::new(Stats::new())).unwrap();
    w.open(&ServiceName::parse("balancer").unwrap(), listen.unwrap())
        .unwrap();
    loop {
        std::thread::park()
    }
}
