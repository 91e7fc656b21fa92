//! One machine: a sandbox with the functions of one plugin.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetbal_raft::model::ScriptName;
use mlua::{
    AnyUserData, ChunkMode, Function, IntoLuaMulti, Lua, LuaOptions, StdLib, Table, Thread, Value, VmState,
};

use super::super::answer::Answer;
use super::super::command::{CommandLine, Told};
use super::super::context::{Priority, RequestContext};
use super::super::hook::Outcome;
use super::super::point::{Point, Points};
use super::Place;
use super::library;
use super::request::{self, Active};
use super::running::{Running, Wishes};
use super::service::Registry;
use super::shared::Shared;
use super::timers::Timers;

/// How long the file, `load` and `register` may take.
const LOADING: Duration = Duration::from_secs(1);

/// So many loops and calls are made between two looks at the clock.
const STEPS: u32 = 64;

/// The step behind which a call is over.
const OVER: u32 = u32::MAX;

/// Globals that a plugin does not get: they compile text, or say what others may not know.
const WITHHELD: [&str; 4] = ["require", "loadstring", "collectgarbage", "getfenv"];

/// What a plugin's table may have.
const ENTRIES: [&str; 4] = ["load", "unload", "register", "unregister"];

/// What went wrong in a plugin.
#[derive(Debug)]
pub(super) struct Fault {
    /// Where and why.
    pub(super) text: String,
    /// Whether it took more memory than it may have.
    pub(super) spent_memory: bool,
}

impl From<mlua::Error> for Fault {
    fn from(error: mlua::Error) -> Self {
        Self {
            spent_memory: is_memory(&error),
            text: first_line(&error),
        }
    }
}

fn is_memory(error: &mlua::Error) -> bool {
    if let mlua::Error::CallbackError { cause, .. } = error {
        return is_memory(cause);
    }
    matches!(error, mlua::Error::MemoryError(_)) || error.to_string().contains("not enough memory")
}

/// What is said of an error, without the way to it.
fn first_line(error: &mlua::Error) -> String {
    if let mlua::Error::CallbackError { cause, traceback } = error {
        let place = traceback.lines().find(|line| line.contains(".lua:"));
        let place = place.and_then(|line| line.split_whitespace().next());
        let text = first_line(cause);
        return place.map_or(text.clone(), |place| {
            format!("{}: {text}", place.trim_end_matches(':'))
        });
    }
    let text = if let mlua::Error::SyntaxError { message, .. } | mlua::Error::RuntimeError(message) = error {
        message.clone()
    } else {
        error.to_string()
    };
    text.lines().next().unwrap_or_default().to_owned()
}

/// When a call has to be over.
#[derive(Debug, Default)]
struct Clock {
    deadline: Cell<Option<Instant>>,
    steps: Cell<u32>,
}

impl Clock {
    fn start(&self, limit: Option<Duration>) {
        self.steps.set(0);
        self.deadline.set(limit.map(|limit| Instant::now() + limit));
    }

    /// Whether the time is over. Now and then it looks.
    fn is_over(&self) -> bool {
        let steps = self.steps.get().saturating_add(1);
        if steps == OVER {
            // Whoever catches the error gets it again with the next step.
            return true;
        }
        self.steps.set(steps);
        let is_over = steps.is_multiple_of(STEPS)
            && self
                .deadline
                .get()
                .is_some_and(|deadline| Instant::now() > deadline);
        if is_over {
            self.steps.set(OVER - 1);
        }
        is_over
    }
}

/// The functions of a plugin, and what they run in.
pub(super) struct Vm {
    lua: Lua,
    clock: Rc<Clock>,
    hooks: Vec<(Point, Function)>,
    commands: Vec<(String, Function)>,
    request: AnyUserData,
    entries: Table,
    timers: Rc<Timers>,
    wishes: Rc<Wishes>,
    /// Whether its calls may have to stop in the middle: no other file can say so.
    fetches: bool,
    /// Coroutines that are done.
    spare: RefCell<Vec<Thread>>,
}

impl fmt::Debug for Vm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vm").finish_non_exhaustive()
    }
}

impl Vm {
    /// Runs a file, its `load` and, where there is a service, its `register`.
    pub(super) fn new(
        name: &ScriptName,
        source: &str,
        place: Option<&Place>,
        memory: usize,
        shared: &Arc<Shared>,
    ) -> Result<Self, Fault> {
        let libraries = StdLib::MATH
            | StdLib::STRING
            | StdLib::TABLE
            | StdLib::UTF8
            | StdLib::BIT
            | StdLib::BUFFER
            | StdLib::COROUTINE
            | StdLib::OS;
        let lua = Lua::new_with(libraries, LuaOptions::default())?;
        lua.set_memory_limit(memory)?;
        for name in WITHHELD {
            lua.globals().raw_set(name, Value::Nil)?;
        }
        let timers = Rc::new(Timers::default());
        let wishes = Rc::new(Wishes::default());
        library::install(&lua, name, shared, (&timers, &wishes))?;
        lua.sandbox(true)?;
        let clock = Rc::new(Clock::default());
        let watched = Rc::clone(&clock);
        lua.set_interrupt(move |_| {
            if watched.is_over() {
                return Err(mlua::Error::runtime(
                    "it took longer than it may (plugin_time_limit)",
                ));
            }
            Ok(VmState::Continue)
        });
        clock.start(Some(LOADING));
        let chunk = lua
            .load(source)
            .set_name(format!("={name}.lua"))
            .set_mode(ChunkMode::Text);
        let entries = entries(name, chunk.eval()?)?;
        let run = |entry: &str| entries.raw_get::<Option<Function>>(entry);
        if let Some(load) = run("load")? {
            load.call::<()>(())?;
        }
        let registry = Rc::new(RefCell::new(Registry::default()));
        if let (Some(place), Some(register)) = (place, run("register")?) {
            let service = lua.create_userdata(super::service::Service::new(place, &registry))?;
            register.call::<()>(service)?;
        }
        let Registry { hooks, commands } = registry.take();
        let request = lua.create_userdata(request::Request)?;
        Ok(Self {
            lua,
            clock,
            hooks,
            commands,
            request,
            entries,
            timers,
            wishes,
            fetches: source.contains("http"),
            spare: RefCell::default(),
        })
    }

    /// Where it is asked.
    pub(super) fn points(&self) -> Points {
        let points: Vec<_> = self.hooks.iter().map(|(point, _)| *point).collect();
        Points::of(&points)
    }

    /// The management commands that it brings along.
    pub(super) fn commands(&self) -> Vec<String> {
        self.commands.iter().map(|(word, _)| word.clone()).collect()
    }

    /// Carries out a line; none: it has nothing to say to that.
    pub(super) fn command(&self, line: &CommandLine, limit: Option<Duration>) -> Result<Option<Told>, Fault> {
        let Some((_, function)) = self.commands.iter().find(|(word, _)| *word == line.word) else {
            return Ok(None);
        };
        let command = self.lua.create_table()?;
        command.raw_set("word", line.word.as_str())?;
        command.raw_set("rest", line.rest.as_str())?;
        let words = line.rest.split(' ').filter(|word| !word.is_empty());
        command.raw_set("arguments", self.lua.create_sequence_from(words)?)?;
        self.clock.start(limit);
        Ok(told(&function.call::<Value>(command)?)?)
    }

    /// Its timers.
    pub(super) fn timers(&self) -> &Rc<Timers> {
        &self.timers
    }

    /// What its calls want.
    pub(super) fn wishes(&self) -> &Rc<Wishes> {
        &self.wishes
    }

    /// The machine itself.
    pub(super) fn lua(&self) -> &Lua {
        &self.lua
    }

    /// A call begins, or goes on, that may run for so long.
    pub(super) fn start_clock(&self, limit: Option<Duration>) {
        self.clock.start(limit);
    }

    /// A coroutine for a function.
    pub(super) fn thread(&self, function: &Function) -> mlua::Result<Thread> {
        let Some(thread) = self.spare.borrow_mut().pop() else {
            return self.lua.create_thread(function.clone());
        };
        thread.reset(function.clone())?;
        Ok(thread)
    }

    /// A coroutine is done, and can be used again.
    pub(super) fn spare(&self, thread: Thread) {
        self.spare.borrow_mut().push(thread);
    }

    /// Asks it.
    pub(super) fn call(
        self: &Rc<Self>,
        point: Point,
        request: &mut RequestContext,
        limit: Option<Duration>,
    ) -> Result<Outcome, Fault> {
        let Some((_, function)) = self.hooks.iter().find(|(known, _)| *known == point) else {
            return Ok(Outcome::Next);
        };
        let extra = self.extra(point, request)?;
        if self.fetches && Points::WAITING.has(point) {
            let arguments = (&self.request, extra).into_lua_multi(&self.lua)?;
            return Running::new(self, function)?.go_on(arguments, (point, request), limit);
        }
        request::begin(std::mem::take(request));
        self.clock.start(limit);
        let called = function.call::<Option<Value>>((&self.request, extra));
        let Active { context, outcome, .. } = request::end();
        *request = context;
        Ok(concluded(called?.as_ref(), outcome, (point, request)))
    }

    /// What is handed over beside the request.
    fn extra(&self, point: Point, request: &RequestContext) -> mlua::Result<Value> {
        match point {
            Point::BackendClientAssigned | Point::BackendWriteVerify => {
                request.backend().map_or(Ok(Value::Nil), |backend| {
                    self.lua.create_string(backend.to_string()).map(Value::String)
                })
            }
            Point::BackendReadableVerify
            | Point::BackendResponseReceived
            | Point::ReproxyResponseReceived
            | Point::ModifyResponseHeaders
            | Point::PrependBody => Ok(request
                .status()
                .map_or(Value::Nil, |status| Value::Integer(status.into()))),
            Point::StartServeRequest | Point::StartFileReproxy => {
                request.path().map_or(Ok(Value::Nil), |path| {
                    self.lua.create_string(path).map(Value::String)
                })
            }
            Point::StaticGetPoststatPreSend | Point::ConcatGetPoststatPreSend => {
                Ok(request.modified().map_or(Value::Nil, Value::Integer))
            }
            Point::StartProxyRequest
            | Point::StartWebRequest
            | Point::StartHttpRequest
            | Point::ProxyReadRequest
            | Point::MakeHighPriority
            | Point::MakeLowPriority
            | Point::StartSendFile
            | Point::StaticGetPoststatFileMissing
            | Point::ConcatGetPoststatFileMissing
            | Point::HandlePut
            | Point::PutWriteout
            | Point::ReproxyFhFinished
            | Point::ReturnToBase
            | Point::EndProxyRequest
            | Point::EndWebRequest => Ok(Value::Nil),
        }
    }

    /// It is not asked any more.
    pub(super) fn end(&self, place: &Place) {
        self.timers.end();
        self.clock.start(Some(LOADING));
        let registry = Rc::default();
        let service = self
            .lua
            .create_userdata(super::service::Service::new(place, &registry));
        let ended = service.and_then(|service| {
            if let Some(unregister) = self.entries.raw_get::<Option<Function>>("unregister")? {
                unregister.call::<()>(service)?;
            }
            if let Some(unload) = self.entries.raw_get::<Option<Function>>("unload")? {
                unload.call::<()>(())?;
            }
            Ok(())
        });
        if let Err(error) = ended {
            tracing::warn!(service = %place.service, error = first_line(&error), "a plugin failed as it was unloaded");
        }
    }
}

/// What the function of a command has returned.
fn told(returned: &Value) -> mlua::Result<Option<Told>> {
    let lines = |text: &mlua::String| {
        let text = text.to_string_lossy();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    if returned.is_nil() {
        return Ok(None);
    }
    let told = match returned.as_boolean() {
        Some(true) => Some(Told::Done),
        Some(false) => Some(Told::Refused("the command failed".to_owned())),
        None => returned.as_string().map(|text| Told::Lines(lines(text))),
    };
    if told.is_some() {
        return Ok(told);
    }
    let Some(table) = returned.as_table() else {
        return Err(mlua::Error::runtime(format!(
            "a command returns lines, true, false or nothing, and not a {}",
            returned.type_name()
        )));
    };
    let texts = table.sequence_values::<mlua::String>();
    let texts = texts.collect::<mlua::Result<Vec<_>>>()?;
    Ok(Some(Told::Lines(texts.iter().flat_map(lines).collect())))
}

/// How it goes on behind a hook that has returned this, and has said so before.
pub(super) fn concluded(
    returned: Option<&Value>,
    outcome: Option<Outcome>,
    (point, request): (Point, &mut RequestContext),
) -> Outcome {
    let is_true = !matches!(returned, None | Some(Value::Nil | Value::Boolean(false)));
    match (is_true, outcome) {
        (true, Some(outcome)) => outcome,
        (true, None) => decided(point, request),
        (false, _) => Outcome::Next,
    }
}

/// What it means that a hook returned true and said nothing else.
fn decided(point: Point, request: &mut RequestContext) -> Outcome {
    if point == Point::MakeHighPriority {
        request.set_priority(Priority::High);
    } else if point == Point::MakeLowPriority {
        request.set_priority(Priority::Low);
    } else if matches!(point, Point::BackendWriteVerify | Point::BackendReadableVerify) {
        // The connection is good.
        return Outcome::Answer(Box::new(Answer::new(200)));
    }
    Outcome::Next
}

/// The table that a file has to return.
fn entries(name: &ScriptName, returned: Value) -> Result<Table, Fault> {
    let wrong = |text: String| Fault {
        text: format!("{name}.lua: {text}"),
        spent_memory: false,
    };
    let Value::Table(table) = returned else {
        return Err(wrong(format!(
            "it returns {}; it has to return a table with any of {}",
            returned.type_name(),
            ENTRIES.join(", ")
        )));
    };
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        let key = key.to_string()?;
        if !ENTRIES.contains(&&*key) {
            let known = ENTRIES.join(", ");
            return Err(wrong(format!("the table has '{key}'; it may have {known}")));
        }
        if !value.is_function() {
            return Err(wrong(format!(
                "'{key}' is a {}; it has to be a function",
                value.type_name()
            )));
        }
    }
    Ok(table)
}
