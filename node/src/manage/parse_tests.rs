use std::time::Duration;

use fleetbal_raft::model::{Change, HeaderRule};

use super::super::command::{Format, Local};
use super::*;

fn read(text: &str, implied: Option<&str>) -> Result<Command, String> {
    let line = Line::read(text.as_bytes(), |_| None).unwrap().unwrap();
    parse(&line, implied).map_err(|error| error.to_string())
}

fn error(text: &str) -> String {
    read(text, None).unwrap_err()
}

fn set(object: &str, key: &str, value: &str) -> Command {
    Command::Change(Change::Set {
        object: object.to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
    })
}

#[test]
fn set_names_its_object_or_implies_it() {
    assert_eq!(read("SET px.listen=80", None), Ok(set("px", "listen", "80")));
    assert_eq!(
        read("set px pool = Web Two", None),
        Ok(set("px", "pool", "Web Two"))
    );
    assert_eq!(read("set pool = w", Some("px")), Ok(set("px", "pool", "w")));
    assert_eq!(read("set a.b.c = d", Some("px")), Ok(set("a", "b.c", "d")));
    assert_eq!(
        read("set x.idle_timeout==5", None),
        Ok(set("x", "idle_timeout", "=5"))
    );
    assert_eq!(
        error("set a = b"),
        "omitted service/pool name not implied from context"
    );
    for bad in [
        "set",
        "set a",
        "set a =",
        "set = b",
        "set a b c = d",
        "set px . a = b",
        "set px. a = b",
        "set=5",
        "set a-b = c",
        "set a. = b",
        "set .a = b",
    ] {
        // A line cannot begin its arguments with a dot otherwise.
        assert_eq!(
            read(bad, Some("px")).unwrap_err(),
            "usage: SET [<service>] <param> = <value>",
            "{bad}"
        );
    }
}

#[test]
fn pool_takes_both_word_orders() {
    let show = |text: &str| match read(text, None) {
        Ok(Command::Change(Change::PoolAdd {
            pool,
            backend,
            weight: 1,
        })) => format!("{pool} + {backend}"),
        Ok(Command::Change(Change::PoolAdd {
            pool,
            backend,
            weight,
        })) => format!("{pool} + {backend} * {weight}"),
        Ok(Command::Change(Change::PoolDrain {
            pool,
            backend,
            draining,
        })) => format!("{pool} {} {backend}", if draining { "-/" } else { "+/" }),
        Ok(Command::Change(Change::PoolRemove { pool, backend })) => format!("{pool} - {backend}"),
        other => format!("{other:?}"),
    };
    assert_eq!(show("POOL web ADD 10.0.0.1"), "web + 10.0.0.1:80");
    assert_eq!(show("pool remove web 10.0.0.1:81"), "web - 10.0.0.1:81");
    assert_eq!(show("pool add add 10.0.0.1:0"), "add + 10.0.0.1:80");
    assert_eq!(show("pool add remove 10.0.0.1"), "add - 10.0.0.1:80");
    assert_eq!(show("pool web add [::1]:81"), "web + [::1]:81");
    assert_eq!(show("POOL web ADD 10.0.0.1 WEIGHT 7"), "web + 10.0.0.1:80 * 7");
    assert_eq!(show("pool add web 10.0.0.1 weight 0"), "web + 10.0.0.1:80 * 0");
    assert_eq!(show("POOL web DRAIN 10.0.0.1"), "web -/ 10.0.0.1:80");
    assert_eq!(show("pool undrain web 10.0.0.1:81"), "web +/ 10.0.0.1:81");
    assert_eq!(show("pool add drain 10.0.0.1"), "drain + 10.0.0.1:80");
    assert_eq!(show("pool drain drain 10.0.0.1"), "drain -/ 10.0.0.1:80");
    assert_eq!(
        error("pool foo nope 10.0.0.1"),
        "Invalid command:  must be 'add' or 'remove'"
    );
    for bad in [
        "pool",
        "pool web add",
        "pool add 10.0.0.1",
        "pool web add host:80",
        "pool web add 10.0.0.300",
        "pool web add 10.0.0.1 x",
        "pool web add 10.0.0.1 weight",
        "pool web add 10.0.0.1 weight x",
        "pool web add 10.0.0.1 weight +1",
        "pool web add 10.0.0.1 weight 99999999999",
        "pool web add 10.0.0.1 weight 1 2",
        "pool web remove 10.0.0.1 weight 1",
        "pool web drain 10.0.0.1 weight 1",
        "pool a-b add 10.0.0.1",
    ] {
        assert_eq!(error(bad), "Invalid syntax to 'pool' command", "{bad}");
    }
}

#[test]
fn variables_stand_in_text_and_addresses_only() {
    assert!(read("set px.listen = ${node:ip}:80", None).is_ok());
    assert!(read("default verify_backend_path = /${node:label.Rack}", None).is_ok());
    assert_eq!(error("set px.listen = ${foo}:80"), "Unknown config variable: foo");
    assert_eq!(
        error("set px.idle_timeout = ${foo:bar}"),
        "Unknown config variable type: foo"
    );
    assert_eq!(error("pool web add ${ip:e!}"), "Bogus-looking iface name");
    for here in [
        "set px.idle_timeout = ${node:name}",
        "use ${node:name}",
        "set ${node:name}.x = 1",
    ] {
        assert!(
            error(here).starts_with("a variable cannot stand here: "),
            "{here}"
        );
    }
}

#[test]
fn members_and_votes() {
    let voters = Ok(Command::Change(Change::SetVoters(3)));
    assert_eq!(read("cluster set voters = 3", None), voters);
    assert_eq!(read("cluster SET Voters=3", None), voters);
    assert_eq!(
        error("cluster set voters = x"),
        "usage: cluster set {voters = <number>|dead_voter_after = <seconds>}"
    );
    assert_eq!(
        read("cluster set dead_voter_after = 60", None),
        Ok(Command::Change(Change::SetDeadVoterAfter(60)))
    );
    let n2 = fleetbal_raft::model::NodeName::parse("n2").unwrap();
    assert_eq!(
        read("cluster Remove n2", None),
        Ok(Command::Local(Local::RemoveNode(n2)))
    );
    assert_eq!(read("cluster rekey", None), Ok(Command::Local(Local::Rekey)));
    assert_eq!(error("cluster rekey n2"), "usage: cluster rekey");
    assert!(error("cluster remove").starts_with("usage: cluster {remove|"));
    assert!(error("cluster transfer a b").starts_with("usage: cluster {remove|"));
    assert!(error("cluster demote -").contains("not a valid"));
}

#[test]
fn fleet_commands() {
    let token = |ttl, uses| {
        Ok(Command::Local(Local::IssueToken {
            ttl: Duration::from_secs(ttl),
            uses,
        }))
    };
    assert_eq!(read("CLUSTER Token", None), token(3600, None));
    assert_eq!(read("cluster token uses 3 TTL 60", None), token(60, Some(3)));
    for bad in [
        "ttl",
        "ttl 0",
        "ttl x",
        "uses 0",
        "uses 99999999999",
        "ttl 1 ttl 1",
        "5",
    ] {
        assert!(
            error(&format!("cluster token {bad}")).starts_with("usage: cluster token"),
            "{bad}"
        );
    }
    assert_eq!(
        read("cluster status JSON", None),
        Ok(Command::Query(Query::ClusterStatus(Format::Json)))
    );
    assert!(error("cluster").starts_with("usage: cluster "));
    assert!(error("cluster revoke XYZ").contains("not a valid token name"));
    assert_eq!(
        read("barrier 2", None),
        Ok(Command::Local(Local::Barrier(Duration::from_secs(2))))
    );
    assert_eq!(error("barrier -1"), "usage: barrier [<seconds>]");
    assert_eq!(
        read("auth S3cret x", None),
        Ok(Command::Local(Local::Auth("S3cret x".to_owned())))
    );
}

#[test]
fn header_folds_as_perlbal_does() {
    let show = |text: &str| match read(text, None) {
        Ok(Command::Change(Change::Header { service, rule })) => match rule {
            HeaderRule::Insert { name, value } => format!("{service} {name}={value}"),
            HeaderRule::Remove { name } => format!("{service} -{name}"),
        },
        other => format!("{other:?}"),
    };
    assert_eq!(show("HEADER Px INSERT X-Foo: Bar"), "px x-foo=bar");
    assert_eq!(show("header px insert X-Foo : Bar=Baz: Q"), "px x-foo=bar=Baz: Q");
    assert_eq!(show("header px insert x:0"), "px x=0");
    assert_eq!(
        show("HEADER px INSERT X-Rack: Z${node:label.Rack}Z"),
        "px x-rack=z${node:label.Rack}z"
    );
    assert_eq!(show("header px remove X-Foo"), "px -x-foo");
    assert_eq!(show("header px remove X-Foo: bar"), "px -x-foo");
    for bad in [
        "header",
        "header px",
        "header px insert",
        "header px foo x: y",
        "header px remove :x",
        "header insert px x: y",
        "header p-x insert x: y",
        "header=px insert x: y",
    ] {
        let usage = "Usage: HEADER <service> {INSERT|REMOVE} <header>[: <value>]";
        assert_eq!(error(bad), usage, "{bad}");
    }
    for empty in ["x", "x:", ":x", "x y"] {
        assert_eq!(error(&format!("header px insert {empty}")), "no value provided");
    }
    assert_eq!(
        error("header px insert x: ${foo}"),
        "Unknown config variable: foo"
    );
}

#[test]
fn server_limits_reproxying() {
    let limit = |target: Option<&str>, limit| {
        Ok(Command::Change(Change::SetReproxyLimit {
            target: target.map(ToOwned::to_owned),
            limit,
        }))
    };
    assert_eq!(read("SERVER max_reproxy_connections = 5", None), limit(None, 5));
    assert_eq!(read("server max_reproxy_connections=0", None), limit(None, 0));
    assert_eq!(
        read("SERVER max_reproxy_connections(Img-1.example:80) = 7", None),
        limit(Some("img-1.example:80"), 7)
    );
    assert_eq!(
        read("SERVER max_reproxy_connections([::1]:80)=7", None),
        limit(Some("[::1]:80"), 7)
    );
    for bad in ["x", "-1", "1.5", "5 6", "99999999999999999999"] {
        let line = format!("server max_reproxy_connections = {bad}");
        assert_eq!(error(&line), "Expected numeric parameter", "{bad}");
    }
    for bad in [
        "max_reproxy_connections",
        "max_reproxy_connections =",
        "max_reproxy_connections (1.2.3.4:80) = 5",
        "max_reproxy_connections(foo) = 5",
        "max_reproxy_connections(foo:0) = 5",
        "max_reproxy_connections(:80) = 5",
        "max_reproxy_connections(foo:80 = 5",
        "max_reproxy_connectionsx = 5",
        "= 5",
    ] {
        let line = format!("server {bad}");
        assert_eq!(error(&line), "Invalid syntax to 'server' command", "{bad}");
    }
}

#[test]
fn perlbals_words_for_what_does_not_fit() {
    for (line, text) in [
        ("foo bar", "unknown command: foo"),
        ("foo.bar", "unknown command: foo"),
        ("exit x", "unknown command: exit"),
        ("create", "usage: CREATE {service|pool} <name>"),
        ("create pool a-b", "usage: CREATE {service|pool} <name>"),
        ("create=pool", "usage: CREATE {service|pool} <name>"),
        ("use a b", "usage: USE <service_or_pool_name>"),
        ("default a b = c", "usage: DEFAULT <param> = <value>"),
        ("enable", "Usage: {ENABLE|DISABLE} <service>"),
        ("enable px=", "Usage: {ENABLE|DISABLE} <service>"),
        ("show", "Invalid syntax to 'show' command"),
        ("show service a b", "Invalid syntax to 'show' command"),
        ("show=service", "Invalid syntax to 'show' command"),
        ("verbose.on", "usage: VERBOSE {on|off}"),
        ("uptime x", "The 'uptime' command takes no arguments"),
        ("help=", "The 'help' command takes no arguments"),
        ("shutdown foo", "Invalid syntax to 'shutdown' command"),
        ("shutdown graceful foo", "Invalid syntax to 'shutdown' command"),
        (
            "server max_connexions = 5",
            "unknown server option 'max_connexions'",
        ),
        ("server", "Invalid syntax to 'server' command"),
    ] {
        assert_eq!(error(line), text, "{line}");
    }
}

#[test]
fn help_is_what_can_be_parsed() {
    assert!(COMMANDS.is_sorted());
    for command in COMMANDS {
        let answer = read(command, None);
        assert_ne!(answer, Err(format!("unknown command: {command}")), "{command}");
    }
}
