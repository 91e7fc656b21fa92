//! What each command is for: `help COMMAND` of `fleetbal ctl`.

/// A command, how it is typed, and what it does.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// Its first word.
    pub name: &'static str,
    /// How it is typed, a line a form.
    pub forms: &'static [&'static str],
    /// What it does, in a sentence.
    pub what: &'static str,
}

/// The page of a command.
pub fn find(name: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.name.eq_ignore_ascii_case(name))
}

const fn page(name: &'static str, forms: &'static [&'static str], what: &'static str) -> Page {
    Page { name, forms, what }
}

/// What Perlbal tells of its interpreter.
const PERL: &str = "Of Perl's insides; there is nothing to tell here.";

/// All pages, by name.
pub const PAGES: &[Page] = &[
    page("abort", &["abort"], "Forgets what was typed since `begin`."),
    page(
        "access",
        &[
            "ACCESS ALLOW|DENY|QUEUE_LOW ip ADDRESS",
            "ACCESS ALLOW|DENY|QUEUE_LOW netmask CIDR",
            "ACCESS POLICY ALLOW|DENY",
            "ACCESS RESET",
        ],
        "Who may ask the service that `CREATE` or `USE` named last.",
    ),
    page("aio", &["aio"], PERL),
    page(
        "auth",
        &["auth SECRET"],
        "Shows the secret that a node asks for from other machines.",
    ),
    page("backends", &["backends"], "Open connections, by backend."),
    page(
        "barrier",
        &["barrier [SECONDS]"],
        "Waits until every live node balances by this node's version.",
    ),
    page(
        "begin",
        &["begin"],
        "What is typed from here on is one change, which `commit` makes.",
    ),
    page(
        "cert",
        &["cert list [json]", "cert remove NAME"],
        "The certificates of the fleet; `fleetbal cert add NAME --cert FILE --key FILE` brings one in.",
    ),
    page(
        "cluster",
        &[
            "cluster status [json]",
            "cluster members [json]",
            "cluster token [ttl SECONDS] [uses N]",
            "cluster tokens",
            "cluster revoke ID",
            "cluster remove|promote|demote|transfer NODE",
            "cluster rekey",
            "cluster set voters = N",
        ],
        "The fleet: who is there, who may join, who votes and leads.",
    ),
    page(
        "commit",
        &["commit [if version N] [confirm SECONDS]"],
        "Makes what was typed since `begin` one change.",
    ),
    page(
        "config",
        &[
            "config version",
            "config history [N] [json]",
            "config show V [json]",
            "config diff A B",
            "config rollback V",
            "config request ID",
            "config verify",
        ],
        "The versions of the configuration, who made them, and the way back.",
    ),
    page("confirm", &["confirm"], "Keeps the change that waits for it."),
    page(
        "create",
        &["CREATE POOL NAME", "CREATE SERVICE NAME"],
        "Makes a pool or a service; the lines behind it mean it.",
    ),
    page(
        "default",
        &["DEFAULT TUNABLE = VALUE"],
        "What services get that are given a role from here on.",
    ),
    page(
        "disable",
        &["DISABLE SERVICE"],
        "Closes a service's listeners; its connections stay.",
    ),
    page(
        "drain",
        &["drain node"],
        "This node gives up its readiness until `undrain node`.",
    ),
    page(
        "dumpconfig",
        &["dumpconfig"],
        "All of the configuration, as lines that can be fed back.",
    ),
    page(
        "effects",
        &["effects"],
        "What nodes could not do of the configuration, and why.",
    ),
    page(
        "enable",
        &["ENABLE SERVICE"],
        "Opens a service's listeners on every node.",
    ),
    page("exit", &["exit"], "Ends the connection."),
    page(
        "fd",
        &["fd"],
        "How many files and sockets may be open, and how many are.",
    ),
    page(
        "fleet",
        &["fleet COMMAND"],
        "A read, at every live node; each line is led by the node's name.",
    ),
    page("gladiator", &["gladiator"], PERL),
    page(
        "header",
        &["HEADER SERVICE INSERT NAME: VALUE", "HEADER SERVICE REMOVE NAME"],
        "Changes the head of requests on their way to backends.",
    ),
    page(
        "health",
        &["health [POOL]", "health why IP:PORT"],
        "Whether backends are up, and by which evidence.",
    ),
    page(
        "help",
        &["help", "help COMMAND"],
        "All commands; in `fleetbal ctl`, what one of them does.",
    ),
    page(
        "include",
        &["INCLUDE = FILE…"],
        "Reads config files of this machine, by name or pattern: all of what they say, or nothing. It needs `LOAD Include`.",
    ),
    page("leaks", &["leaks"], PERL),
    page("load", &["LOAD PLUGIN"], "Loads a plugin."),
    page(
        "logname",
        &["LOGNAME [SERVICE] = FILE", "LOGNAME [SERVICE] = | COMMAND"],
        "Where the access log of a service goes.",
    ),
    page(
        "mime",
        &["mime list", "mime set EXTENSION TYPE", "mime remove EXTENSION"],
        "The types of files, by extension.",
    ),
    page("node", &["node [IP[:PORT]]"], "The same as `nodes`."),
    page(
        "nodes",
        &["nodes [IP[:PORT]]"],
        "What was counted of each backend.",
    ),
    page(
        "noverify",
        &["noverify"],
        "For how many seconds backends are not verified.",
    ),
    page("obj", &["obj"], PERL),
    page(
        "on",
        &["on NODE COMMAND"],
        "What concerns one node, carried out there.",
    ),
    page(
        "pending",
        &["pending"],
        "Connections to backends that are being opened.",
    ),
    page(
        "plugin",
        &[
            "plugin list",
            "plugin show NAME",
            "plugin diff NAME VERSION",
            "plugin remove NAME",
        ],
        "The plugins in Lua of the fleet; `fleetbal plugin push FILE` makes a file one.",
    ),
    page("plugins", &["plugins"], "The plugins of each service."),
    page(
        "pool",
        &[
            "POOL NAME ADD IP[:PORT] [weight N]",
            "POOL NAME REMOVE IP[:PORT]",
            "POOL NAME DRAIN IP[:PORT]",
            "POOL NAME UNDRAIN IP[:PORT]",
        ],
        "Who belongs to a pool.",
    ),
    page(
        "proc",
        &["proc"],
        "CPU time and requests of this process, and what came since the last `proc`.",
    ),
    page("prof", &["prof on|off|data"], PERL),
    page(
        "queues",
        &["queues"],
        "Requests that wait for a backend, and for how long.",
    ),
    page("quit", &["quit"], "Ends the connection."),
    page(
        "ready",
        &["ready"],
        "Whether this node should get traffic, and why not.",
    ),
    page(
        "redirect",
        &["REDIRECT HOST HOST TARGET"],
        "Where a host is now, for the service that `CREATE` or `USE` named last.",
    ),
    page("reload", &["reload PLUGIN"], "Not possible, as in Perlbal."),
    page(
        "reproxy_state",
        &["reproxy_state"],
        "Connections to the targets of reproxying.",
    ),
    page(
        "server",
        &["SERVER KEY = VALUE"],
        "Settings of this process, and of the fleet where they are replicated.",
    ),
    page(
        "set",
        &["SET [OBJECT.]TUNABLE = VALUE", "SET OBJECT TUNABLE = VALUE"],
        "Sets a tunable of a pool or service.",
    ),
    page(
        "show",
        &["show service [NAME]", "show pool [NAME]"],
        "The services and pools, or one of them.",
    ),
    page(
        "shutdown",
        &["shutdown", "shutdown graceful [SECONDS]"],
        "Ends this node: at once, or once its requests are through.",
    ),
    page(
        "socks",
        &["socks [all]", "socks summary"],
        "The sockets of this node, and what each is doing.",
    ),
    page("state", &["state changes"], PERL),
    page("states", &["states [SERVICE]"], "How many connections do what."),
    page(
        "sync",
        &["sync"],
        "Waits until this node has all that was committed.",
    ),
    page(
        "throttle",
        &["throttle reload config|whitelist|blacklist"],
        "This node reads a list of the plugin Throttle anew, of the service that `CREATE` or `USE` named last.",
    ),
    page("track", &["track"], PERL),
    page("undrain", &["undrain node"], "Takes `drain node` back."),
    page("unload", &["UNLOAD PLUGIN"], "Takes `LOAD` back."),
    page(
        "uptime",
        &["uptime"],
        "Since when this process runs, and which release.",
    ),
    page(
        "use",
        &["USE OBJECT"],
        "The lines behind it mean that pool or service.",
    ),
    page("varsize", &["varsize"], PERL),
    page(
        "verbose",
        &["verbose on|off"],
        "Whether success is told with `OK`.",
    ),
    page("version", &["version"], "The same as `uptime`."),
    page(
        "vhost",
        &["VHOST [SELECTOR] HOST = SERVICE"],
        "Which service answers for a host.",
    ),
    page(
        "vpath",
        &["VPATH [SELECTOR] PATTERN = SERVICE"],
        "Which service answers for a path.",
    ),
    page(
        "why",
        &["why METHOD URL [HEADER: VALUE]…"],
        "What this node would do with a request, step by step; nothing is sent.",
    ),
    page("xs", &["xs"], PERL),
];

#[cfg(test)]
mod tests {
    use super::super::parse::COMMANDS;
    use super::*;

    #[test]
    fn there_is_a_page_for_each_command_and_for_nothing_else() {
        let names: Vec<_> = PAGES.iter().map(|page| page.name).collect();
        assert_eq!(names, COMMANDS);
        assert!(
            PAGES
                .iter()
                .all(|page| !page.forms.is_empty() && page.what.ends_with('.'))
        );
        assert_eq!(find("SHOW").map(|page| page.name), Some("show"));
    }
}
