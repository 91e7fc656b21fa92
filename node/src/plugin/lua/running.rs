//! Calls that may stop in the middle, until a request that they send is answered: `fleetbal.http`.
//!
//! Such a call is a coroutine. It says what it wants and yields; whoever called it sends that, and goes on with the call
//! when there is an answer. Only the time in which it runs itself is counted.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use mlua::{Function, Lua, MultiValue, Table, Thread, ThreadStatus, Value};

use super::super::context::RequestContext;
use super::super::fetch::{Fetch, FetchError, Fetched};
use super::super::hook::Outcome;
use super::super::point::Point;
use super::library::time;
use super::request::{self, Active};
use super::vm::{Fault, Vm, concluded};

/// How many a call may send, and how many calls of a machine may wait at a time.
const MOST: (usize, usize) = (16, 64);

/// How long one may take where nothing else is said, and the longest that can be said.
const TIMEOUT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(1));

/// What the calls of a machine want.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// Whether the call that runs may wait.
    may_wait: Cell<bool>,
    wanted: RefCell<Option<Box<Fetch>>>,
    waiting: Cell<usize>,
}

impl Wishes {
    /// Notes what the call that runs wants.
    fn want(&self, options: &Table) -> mlua::Result<()> {
        if !self.may_wait.get() {
            return Err(mlua::Error::runtime(
                "fleetbal.http is for timers and for hooks that may wait",
            ));
        }
        if self.waiting.get() >= MOST.1 {
            let text = format!("{} requests of this plugin wait already on this worker", MOST.1);
            return Err(mlua::Error::runtime(text));
        }
        self.wanted.replace(Some(Box::new(read(options)?)));
        Ok(())
    }
}

/// The function `fleetbal.http`.
pub(super) fn function(lua: &Lua, wishes: &Rc<Wishes>) -> mlua::Result<Function> {
    let wishes = Rc::clone(wishes);
    let want = lua.create_function(move |_, options: Table| wishes.want(&options))?;
    let source = "local want, yield = ...\nreturn function(options)\nwant(options)\nreturn yield()\nend";
    let pause: Function = lua.globals().get::<Table>("coroutine")?.get("yield")?;
    lua.load(source).set_name("=http").call((want, pause))
}

fn read(options: &Table) -> mlua::Result<Fetch> {
    let wrong = |error: FetchError| mlua::Error::runtime(error.to_string());
    for pair in options.pairs::<String, Value>() {
        let (key, _) = pair?;
        if !["url", "method", "headers", "body", "timeout", "ca_file"].contains(&&*key) {
            let text = format!("'{key}' says nothing: url, method, headers, body, timeout and ca_file do");
            return Err(mlua::Error::runtime(text));
        }
    }
    let timeout = time(options.get("timeout")?)?.unwrap_or(TIMEOUT.0);
    if timeout > TIMEOUT.1 {
        let text = format!("a timeout has {} s at most", TIMEOUT.1.as_secs());
        return Err(mlua::Error::runtime(text));
    }
    let mut fetch = Fetch::new(&options.get::<String>("url")?, timeout).map_err(wrong)?;
    if let Some(method) = options.get::<Option<String>>("method")? {
        fetch.set_method(&method).map_err(wrong)?;
    }
    if let Some(headers) = options.get::<Option<Table>>("headers")? {
        for pair in headers.pairs::<String, mlua::String>() {
            let (name, value) = pair?;
            fetch.set_field(&name, &value.as_bytes()).map_err(wrong)?;
        }
    }
    if let Some(path) = options.get::<Option<String>>("ca_file")? {
        fetch.set_ca_file(&path).map_err(wrong)?;
    }
    if let Some(body) = options.get::<Option<mlua::String>>("body")? {
        fetch.set_body(body.as_bytes().to_vec()).map_err(wrong)?;
    }
    Ok(fetch)
}

/// How far a call has come.
pub(super) enum Step {
    /// To its end; what it returned first.
    Done(Value),
    /// It waits for this.
    Fetch(Box<Fetch>),
}

/// A call that has begun.
#[derive(Debug)]
pub(super) struct Running {
    vm: Rc<Vm>,
    thread: Thread,
    used: Duration,
    sent: usize,
    waits: Option<Waiting>,
}

impl Running {
    pub(super) fn new(vm: &Rc<Vm>, function: &Function) -> mlua::Result<Self> {
        Ok(Self {
            vm: Rc::clone(vm),
            thread: vm.thread(function)?,
            used: Duration::ZERO,
            sent: 0,
            waits: None,
        })
    }

    /// Goes on with it.
    pub(super) fn step(&mut self, limit: Option<Duration>, arguments: MultiValue) -> Result<Step, Fault> {
        self.waits = None;
        let wishes = Rc::clone(self.vm.wishes());
        let began = Instant::now();
        self.vm
            .start_clock(limit.map(|limit| limit.saturating_sub(self.used)));
        wishes.may_wait.set(true);
        let returned = self.thread.resume::<MultiValue>(arguments);
        wishes.may_wait.set(false);
        self.used += began.elapsed();
        let wanted = wishes.wanted.take();
        let returned = returned?;
        if self.thread.status() != ThreadStatus::Resumable {
            self.vm.spare(self.thread.clone());
            return Ok(Step::Done(returned.into_iter().next().unwrap_or(Value::Nil)));
        }
        let Some(wanted) = wanted else {
            return Err(mlua::Error::runtime("a hook cannot yield by itself").into());
        };
        self.sent += 1;
        if self.sent > MOST.0 {
            let text = format!("a call sends {} requests at most", MOST.0);
            return Err(mlua::Error::runtime(text).into());
        }
        self.waits = Some(Waiting::new(wishes));
        Ok(Step::Fetch(wanted))
    }

    /// Goes on with a call of a hook, up to its end or to where it waits.
    pub(super) fn go_on(
        mut self,
        arguments: MultiValue,
        (point, request): (Point, &mut RequestContext),
        limit: Option<Duration>,
    ) -> Result<Outcome, Fault> {
        request::begin(std::mem::take(request));
        let step = self.step(limit, arguments);
        let Active { context, outcome, .. } = request::end();
        *request = context;
        match step? {
            Step::Done(value) => Ok(concluded(Some(&value), outcome, (point, request))),
            Step::Fetch(fetch) => {
                request.suspend(Box::new(self));
                Ok(Outcome::Fetch(fetch))
            }
        }
    }

    /// Goes on with a call of a hook that has waited.
    pub(super) fn resume(
        self,
        (point, request): (Point, &mut RequestContext),
        limit: Option<Duration>,
    ) -> Result<Outcome, Fault> {
        let fetched = request.take_fetched();
        let fetched = fetched.unwrap_or_else(|| Err("nobody has asked".to_owned()));
        let arguments = self.answer(fetched)?;
        self.go_on(arguments, (point, request), limit)
    }

    /// What a call that has waited is given: the answer, or nothing and why there is none.
    pub(super) fn answer(&self, fetched: Result<Fetched, String>) -> mlua::Result<MultiValue> {
        let lua = self.vm.lua();
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(why) => {
                let why = Value::String(lua.create_string(why)?);
                return Ok(MultiValue::from_vec(vec![Value::Nil, why]));
            }
        };
        let table = lua.create_table()?;
        table.raw_set("status", fetched.status)?;
        table.raw_set("body", lua.create_string(&fetched.body)?)?;
        let headers = lua.create_table()?;
        for name in fetched.fields.keys() {
            let value = fetched.fields.get(name).map(http::HeaderValue::as_bytes);
            headers.raw_set(name.as_str(), lua.create_string(value.unwrap_or_default())?)?;
        }
        table.raw_set("headers", headers)?;
        Ok(MultiValue::from_vec(vec![Value::Table(table)]))
    }
}

/// A call that waits is counted for as long as it does.
#[derive(Debug)]
struct Waiting(Rc<Wishes>);

impl Waiting {
    fn new(wishes: Rc<Wishes>) -> Self {
        wishes.waiting.set(wishes.waiting.get() + 1);
        Self(wishes)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}
