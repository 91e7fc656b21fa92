//! Random commands, typed at three nodes, end in the state of a model that is told the same: the answers, the error
//! texts, the bytes of every version, and the way back.

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::{Fleet, Plan, Reply, Result, oracle};
use fleetbal_raft::model::{
    BackendAddress, Batch, Change, FleetConfig, HeaderRule, PoolName, ServiceName, Template, Version,
};
use fleetbal_raft::wire::ConfigHasher;

/// So many commands are typed.
const STEPS: usize = 250;

/// xorshift64*: the same commands each time, and others with another seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).unwrap_or_default() % sides
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of.get(self.roll(of.len())).copied().unwrap_or_default()
    }
}

fn change(dice: &mut Dice) -> Result<Change> {
    let pool = PoolName::parse(dice.pick(&["p", "q", "r"]))?;
    let service = ServiceName::parse(dice.pick(&["s", "t", "q"]))?;
    let backend = format!("10.0.0.{}", dice.roll(5));
    let backend = BackendAddress::parse(&backend).context("no address")?;
    let object = dice.pick(&["p", "q", "s", "t"]).to_owned();
    let number = dice.roll(4);
    Ok(match dice.roll(11) {
        0 => Change::CreatePool(pool),
        1 => Change::CreateService(service),
        2 => set(object, "role", dice.pick(&["reverse_proxy", "nonsense"])),
        3 => set(object, "pool", dice.pick(&["p", "q", "nowhere"])),
        4 => {
            let key = dice.pick(&["idle_timeout", "queue_limit", "balance_method", "no_such"]);
            set(object, key, dice.pick(&["30", "7", "round_robin", "hash"]))
        }
        5 => Change::SetDefault {
            key: dice.pick(&["idle_timeout", "pool", "persist_client"]).to_owned(),
            value: dice.pick(&["30", "q", "on"]).to_owned(),
        },
        6 | 7 => Change::PoolAdd {
            pool,
            backend,
            weight: u32::try_from(number)?.max(1),
        },
        8 => Change::PoolRemove { pool, backend },
        9 => Change::PoolDrain {
            pool,
            backend,
            draining: number > 1,
        },
        _ => Change::Header {
            service,
            rule: match number {
                0 => HeaderRule::Remove {
                    name: "x-a".to_owned(),
                },
                _ => HeaderRule::Insert {
                    name: dice.pick(&["x-a", "x-b"]).to_owned(),
                    value: Template::parse(dice.pick(&["1", "${node:name}"]))?,
                },
            },
        },
    })
}

fn set(object: String, key: &str, value: &str) -> Change {
    Change::Set {
        object,
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

/// Every configuration that there was, by version.
struct Model(Vec<FleetConfig>);

impl Model {
    fn now(&self) -> Result<&FleetConfig> {
        self.0.last().context("no configuration")
    }

    /// What is answered; the next version is kept.
    fn told(&mut self, next: std::result::Result<FleetConfig, String>) -> Result<Reply> {
        let version = self.now()?.version;
        Ok(match next {
            Err(text) => Reply::Error(text),
            Ok(next) => {
                if next.version != version {
                    self.0.push(next);
                }
                Reply::Ok
            }
        })
    }
}

#[test]
fn random_commands_give_the_same_state_on_three_nodes_and_on_a_model() -> Result {
    let fleet = Fleet::start(&Plan {
        backends: 0,
        pooled: 0,
        ..Plan::default()
    })?;
    fleet.node(1)?.manage()?.change("config rollback 0")?;
    let base = fleet.node(1)?.version()?;
    let mut empty = FleetConfig::default();
    empty.version = Version(base);
    let mut model = Model(vec![empty]);
    let seed = std::env::var("FLEETBAL_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let mut dice = Dice(seed.unwrap_or(0x9E37_79B9_7F4A_7C15));
    for step in 0..STEPS {
        let mut manage = fleet.node(step % 3 + 1)?.manage()?;
        let (line, next) = if dice.roll(12) == 0 {
            let to = dice.roll(model.0.len());
            let mut wanted = model.0.get(to).context("no such version")?.clone();
            let line = format!("config rollback {}", wanted.version);
            let same = wanted.says_the_same(model.now()?);
            wanted.version = Version(model.now()?.version.0 + u64::from(!same));
            (line, Ok(wanted))
        } else {
            let change = change(&mut dice)?;
            let line = change.to_string();
            let next = model.now()?.with_batch(&Batch::of(vec![change]));
            (line, next.map_err(|refusal| refusal.text))
        };
        let wanted = model.told(next)?;
        let answer = manage.ask(&line)?;
        ensure!(
            answer == wanted,
            "step {step}, '{line}': {answer:?}, not {wanted:?}"
        );
    }
    fleet.wait_settled()?;
    oracle::same_bytes(fleet.nodes())?;
    let last = model.now()?;
    let bytes = ConfigHasher::default().hash(last);
    let hash = bytes
        .iter()
        .fold("hash ".to_owned(), |text, byte| format!("{text}{byte:02x}"));
    for node in fleet.nodes() {
        let lines = node.manage()?.data("config version")?;
        let wanted = [format!("version {}", last.version), hash.clone()];
        ensure!(lines == wanted, "{} has {lines:?}, not {wanted:?}", node.name);
        node.manage()?.data("config verify")?;
    }
    fleet.passed()
}
