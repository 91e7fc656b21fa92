//! Management commands that plugins in Lua bring along, as the workers carry them out.

use fleetbal::plugin::command::{CommandLine, Told};

use crate::fixture::{Origin, Proxy};
use crate::plugins::{ask, example, plug};

async fn say(proxy: &Proxy, word: &str, rest: &str) -> Option<Told> {
    let line = CommandLine {
        word: word.to_owned(),
        rest: rest.to_owned(),
    };
    proxy.workers.census().command(line).await
}

fn lines(lines: &[&str]) -> Told {
    Told::Lines(lines.iter().copied().map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn they_know_what_hooks_have_seen() {
    let origin = Origin::saying("hi").await;
    let mut proxy = Proxy::start_with(2, &[origin.address], &[]);
    plug(&mut proxy, "Counting", &example("Counting"));
    assert_eq!(say(&proxy, "counted", "").await, Some(lines(&["s GET 0"])));
    for _ in 0..5 {
        ask(&mut proxy.client().await, "/").await;
    }
    assert_eq!(say(&proxy, "counted", "get").await, Some(lines(&["s GET 5"])));
    assert_eq!(say(&proxy, "counts", "").await, None);
}

const SAYING: &str = r#"
return {
    register = function(service)
        service:register_hook("manage_command.say", function(command)
            local told = { lines = { "a", "b\nc" }, text = "d\r\ne", yes = true, no = false, number = 5 }
            if command.rest == "for ever" then
                while true do end
            end
            assert(command.word == "say")
            return told[command.arguments[1]]
        end)
    end,
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_they_return_is_what_is_answered() {
    let origin = Origin::saying("hi").await;
    let mut proxy = Proxy::start(&[origin.address], &[]);
    plug(&mut proxy, "Saying", SAYING);
    assert_eq!(say(&proxy, "say", "lines").await, Some(lines(&["a", "b", "c"])));
    assert_eq!(say(&proxy, "say", "text").await, Some(lines(&["d", "e"])));
    assert_eq!(say(&proxy, "say", "yes").await, Some(Told::Done));
    assert_eq!(say(&proxy, "say", "nothing").await, None);
    for (rest, why) in [
        ("no", "the command failed"),
        (
            "number",
            "a command returns lines, true, false or nothing, and not a ",
        ),
        ("for ever", "it took longer than it may (plugin_time_limit)"),
    ] {
        let told = say(&proxy, "say", rest).await;
        let is_it = matches!(&told, Some(Told::Refused(text)) if text.contains(why));
        assert!(is_it, "{rest}: {told:?}");
    }
}

#[test]
fn words_that_are_none_or_are_taken_are_refused_with_their_line() {
    let place = fleetbal::plugin::lua::Place {
        service: crate::fixture::service(),
        role: None,
    };
    for (word, why) in [
        (
            "set",
            "'set' is a command that every node has; a plugin cannot bring it along",
        ),
        ("recent", "'recent' is a command that every node has"),
        ("Hello", "'Hello' is no command: it begins with a letter"),
        ("2fast", "'2fast' is no command"),
        ("", "'' is no command"),
    ] {
        let source = format!(
            "return {{ register = function(service)\n\
             service:register_hook('manage_command.{word}', print)\nend }}"
        );
        let name = fleetbal_raft::model::ScriptName::parse("Own").unwrap();
        let places = std::slice::from_ref(&place);
        let refused = fleetbal::plugin::lua::check(&name, &source, places).unwrap_err();
        assert!(
            refused.contains(&format!("Own.lua:2: {why}")),
            "{word}: {refused}"
        );
    }
}
