//! Config files given to the binary itself: what it says of them, and how it ends.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::{Command, Output};

fn check(config: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fleetbal.conf");
    std::fs::write(&path, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleetbal"));
    command.arg("--check").arg(format!("--config={}", path.display()));
    command.output().unwrap()
}

#[test]
fn a_docroot_belongs_to_a_web_server() {
    let config = |role: &str| format!("CREATE SERVICE files\nSET role = {role}\nSET docroot = /\n");
    let good = check(&config("web_server"));
    assert!(good.status.success(), "{good:?}");
    let wrong = check(&config("reverse_proxy"));
    assert_eq!(wrong.status.code(), Some(78), "{wrong:?}");
    let said = [wrong.stdout, wrong.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    let words = "The 'docroot' option can only be set on a 'web_server' service";
    assert!(said.contains(words) && said.contains(":3: "), "{said}");
}
