//! What every plugin finds: the table `fleetbal`.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fleetbal_raft::model::ScriptName;
use mlua::{Function, Lua, Value};

use super::running::{self, Wishes};
use super::shared::{Item, Shared};
use super::timers::Timers;
use crate::clock;

/// Puts it there.
pub(super) fn install(
    lua: &Lua,
    name: &ScriptName,
    shared: &Arc<Shared>,
    (timers, wishes): (&Rc<Timers>, &Rc<Wishes>),
) -> mlua::Result<()> {
    let table = lua.create_table()?;
    let plugin = name.clone();
    let log = lua.create_function(move |_, text: String| {
        tracing::info!(%plugin, "{text}");
        Ok(())
    })?;
    table.raw_set("log", log)?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds since the epoch are far below 2^52"
    )]
    let now = lua.create_function(|_, ()| Ok(clock::now().0 as f64 / 1000.0))?;
    table.raw_set("now", now)?;
    table.raw_set("shared", area(lua, shared)?)?;
    for (name, repeats) in [("after", false), ("every", true)] {
        let timers = Rc::clone(timers);
        let add = lua.create_function(move |_, (seconds, function): (f64, Function)| {
            let after = time(Some(seconds))?.unwrap_or_default();
            timers.add(after, repeats, function)
        })?;
        table.raw_set(name, add)?;
    }
    table.raw_set("http", running::function(lua, wishes)?)?;
    table.set_readonly(true);
    lua.globals().raw_set("fleetbal", table)
}

fn area(lua: &Lua, shared: &Arc<Shared>) -> mlua::Result<mlua::Table> {
    let table = lua.create_table()?;
    let here = Arc::clone(shared);
    table.raw_set(
        "get",
        lua.create_function(move |lua, key: mlua::String| match here.get(&key.as_bytes()) {
            Some(Item::Number(number)) => Ok(Value::Number(number)),
            Some(Item::Truth(truth)) => Ok(Value::Boolean(truth)),
            Some(Item::Text(text)) => lua.create_string(text).map(Value::String),
            None => Ok(Value::Nil),
        })?,
    )?;
    let here = Arc::clone(shared);
    table.raw_set(
        "set",
        lua.create_function(
            move |_, (key, value, seconds): (mlua::String, Value, Option<f64>)| {
                let item = item(&value).ok_or_else(|| {
                    let kind = value.type_name();
                    mlua::Error::runtime(format!(
                        "a {kind} cannot be shared; a string, number or boolean can"
                    ))
                })?;
                here.set(&key.as_bytes(), item, time(seconds)?)
                    .map_err(mlua::Error::external)
            },
        )?,
    )?;
    let here = Arc::clone(shared);
    table.raw_set(
        "incr",
        lua.create_function(
            move |_, (key, by, seconds): (mlua::String, Option<f64>, Option<f64>)| {
                let increased = here.increase(&key.as_bytes(), by.unwrap_or(1.0), time(seconds)?);
                increased.map_err(mlua::Error::external)
            },
        )?,
    )?;
    let here = Arc::clone(shared);
    table.raw_set(
        "delete",
        lua.create_function(move |_, key: mlua::String| {
            here.delete(&key.as_bytes());
            Ok(())
        })?,
    )?;
    table.set_readonly(true);
    Ok(table)
}

/// A value as it is shared, if it can be.
fn item(value: &Value) -> Option<Item> {
    if let Value::Integer(number) = value {
        return Some(Item::Number(number_of(*number)));
    }
    let number = value.as_number().map(Item::Number);
    let truth = || value.as_boolean().map(Item::Truth);
    let text = || Some(Item::Text(value.as_string()?.as_bytes().to_vec()));
    number.or_else(truth).or_else(text)
}

#[expect(clippy::cast_precision_loss, reason = "numbers of Luau are such")]
fn number_of(number: i64) -> f64 {
    number as f64
}

/// A time in seconds, decimals allowed.
pub(super) fn time(seconds: Option<f64>) -> mlua::Result<Option<Duration>> {
    let checked = seconds.map(Duration::try_from_secs_f64).transpose();
    checked.map_err(|_| mlua::Error::runtime("a time is a number of seconds, 0 or more"))
}
