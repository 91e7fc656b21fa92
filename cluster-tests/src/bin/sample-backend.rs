//! A sample backend in a process of its own, so that a test can kill it: `sample-backend NAME IP:PORT`.

use std::env;
use std::thread;

use anyhow::Context;
use fleetbal_cluster_tests::{Backend, Result};

fn main() -> Result {
    let mut arguments = env::args().skip(1);
    let name = arguments.next().context("no name")?;
    let address = arguments.next().context("no address")?.parse()?;
    let _backend = Backend::start(&name, address)?;
    loop {
        thread::park();
    }
}
