//! Plugins in Lua (Luau): one file, one plugin. `docs/plugins.md` is the guide for those who write them.
//!
//! Each worker has a machine of its own for each service that has the plugin, made when its first request comes. A machine
//! is a sandbox: nothing of it reaches files, sockets or other plugins; what it may take of memory and, for each call,
//! of time is limited. A call that fails counts as one that said nothing, and after enough of them the plugin is off on
//! this node until it is pushed again.

mod library;
mod record;
mod request;
mod running;
mod service;
mod shared;
mod timers;
mod vm;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use fleetbal_raft::model::{Role, ScriptName, Service, ServiceName, Value};

use super::builtin::Setup;
use super::command::{CommandLine, Told};
use super::context::RequestContext;
use super::hook::{Failures, Hook, Outcome};
use super::point::{Point, Points};
use crate::plugin::Answer;
use record::Record;
use running::{Running, Step};
use shared::Shared;
use vm::{Fault, Vm};

/// What a machine may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limits {
    /// Of time for one call; none: without limit.
    time: Option<Duration>,
    /// Of memory in bytes; 0: without limit.
    memory: usize,
    /// How many calls may fail until the plugin is off; 0: any number.
    errors: usize,
    /// Whether a request whose hook fails is answered 500.
    denies: bool,
}

impl Limits {
    fn of(service: &Service) -> Self {
        let number = |key| usize::try_from(service.number(key)).unwrap_or(usize::MAX);
        let time = service.number("plugin_time_limit");
        Self {
            time: (time > 0).then(|| Duration::from_millis(time)),
            memory: number("plugin_memory_limit"),
            errors: number("plugin_max_errors"),
            denies: matches!(service.value("plugin_on_error"), Some(Value::Word("deny"))),
        }
    }
}

/// What is known of a service where its plugins are registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub service: ServiceName,
    /// Its role, once set.
    pub role: Option<Role>,
}

/// One version of a plugin on one service.
#[derive(Debug)]
struct Inner {
    /// Tells it from all others of this process.
    id: u64,
    name: ScriptName,
    source: Arc<str>,
    place: Place,
    limits: Limits,
    points: Points,
    /// Whether it has something to do without a request.
    has_timers: bool,
    commands: Vec<String>,
    shared: Arc<Shared>,
    record: Record,
    /// Whether its service has another version, or none.
    is_retired: AtomicBool,
}

/// A plugin in Lua on one service.
#[derive(Debug, Clone)]
pub(super) struct LuaHook(Arc<Inner>);

/// A machine of this thread, and whose it is.
struct Machine {
    id: u64,
    of: Weak<Inner>,
    place: Place,
    vm: Rc<Vm>,
}

thread_local! {
    static MACHINES: RefCell<Vec<Machine>> = const { RefCell::new(Vec::new()) };
    static HAS_TIMERS: Cell<bool> = const { Cell::new(false) };
}

/// This thread has a runtime on which the timers of plugins run.
pub fn run_timers_here() {
    HAS_TIMERS.set(true);
}

/// Ends the machines of this thread whose plugins no service and no request has any more.
pub fn sweep() {
    let gone = MACHINES.with_borrow_mut(|machines| {
        let is_gone = |machine: &mut Machine| machine.of.strong_count() == 0;
        machines.extract_if(.., is_gone).collect::<Vec<_>>()
    });
    for machine in gone {
        machine.vm.end(&machine.place);
    }
}

/// Whether a file is a plugin that these services could have.
///
/// # Errors
/// What is wrong with it, and in which line.
pub fn check(name: &ScriptName, source: &str, places: &[Place]) -> Result<(), String> {
    let limits = Limits::of(&Service::default());
    let shared = Arc::new(Shared::default());
    Vm::new(name, source, None, limits.memory, &shared).map_err(|fault| fault.text)?;
    for place in places {
        Vm::new(name, source, Some(place), limits.memory, &shared)
            .map_err(|fault| format!("on service {}: {}", place.service, fault.text))?;
    }
    Ok(())
}

/// A plugin for a service. One that does not run here leaves the version before in its place.
pub(super) fn make(name: &ScriptName, source: &Arc<str>, setup: &Setup<'_>) -> Arc<dyn Hook> {
    let before = setup.before.and_then(|hook| {
        let hook: &dyn Any = hook;
        hook.downcast_ref::<LuaHook>()
    });
    let limits = Limits::of(setup.service);
    let place = Place {
        service: setup.name.clone(),
        role: setup.service.role(),
    };
    if let Some(LuaHook(inner)) = before
        && inner.source == *source
        && inner.limits == limits
        && inner.place == place
    {
        return Arc::new(LuaHook(Arc::clone(inner)));
    }
    let shared = before.map_or_else(Arc::default, |hook| Arc::clone(&hook.0.shared));
    let made = Vm::new(name, source, Some(&place), limits.memory, &shared);
    let (points, has_timers, commands, record) = match made {
        Ok(vm) => (
            vm.points(),
            vm.timers().are_any(),
            vm.commands(),
            Record::default(),
        ),
        Err(fault) => {
            tracing::error!(plugin = %name, service = %place.service, error = fault.text, "a plugin does not run here");
            let reason = format!("it does not run on this node: {}", fault.text);
            if let Some(before) = before {
                before.0.record.has_refused(&reason);
                return Arc::new(before.clone());
            }
            (Points::default(), false, Vec::new(), Record::refused(&reason))
        }
    };
    if let Some(before) = before {
        before.retire();
    }
    Arc::new(LuaHook(Arc::new(Inner {
        id: next_id(),
        name: name.clone(),
        source: Arc::clone(source),
        points,
        has_timers,
        commands,
        place,
        limits,
        shared,
        record,
        is_retired: AtomicBool::new(false),
    })))
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl LuaHook {
    /// The machine of this thread.
    fn vm(&self) -> Result<Rc<Vm>, Fault> {
        let known = MACHINES.with_borrow(|machines| {
            let machine = machines.iter().find(|machine| machine.id == self.0.id);
            machine.map(|machine| Rc::clone(&machine.vm))
        });
        known.map_or_else(|| self.new_vm(), Ok)
    }

    /// A new machine.
    fn new_vm(&self) -> Result<Rc<Vm>, Fault> {
        let Inner {
            name,
            source,
            place,
            limits,
            shared,
            ..
        } = &*self.0;
        let vm = Rc::new(Vm::new(name, source, Some(place), limits.memory, shared)?);
        if HAS_TIMERS.get() {
            vm.timers().begin(&vm, &self.0);
        }
        MACHINES.with_borrow_mut(|machines| {
            machines.push(Machine {
                id: self.0.id,
                of: Arc::downgrade(&self.0),
                place: place.clone(),
                vm: Rc::clone(&vm),
            });
        });
        Ok(vm)
    }

    /// A machine that took too much goes; the next call gets a new one.
    fn forget_vm(&self) {
        MACHINES.with_borrow_mut(|machines| machines.retain(|machine| machine.id != self.0.id));
    }

    fn is_off(&self) -> bool {
        let most = self.0.limits.errors;
        most > 0 && self.0.record.failed() >= most
    }

    /// Whether anything of it is to be called without a request.
    fn is_asked(&self) -> bool {
        !self.is_off() && !self.0.is_retired.load(Ordering::Relaxed)
    }

    /// Calls the function of a timer.
    async fn call_timer(&self, vm: &Rc<Vm>, function: &mlua::Function) {
        if let Err(fault) = self.carry_out(vm, function).await {
            self.has_failed("timer", &fault);
        }
    }

    async fn carry_out(&self, vm: &Rc<Vm>, function: &mlua::Function) -> Result<(), Fault> {
        let mut running = Running::new(vm, function)?;
        let mut arguments = mlua::MultiValue::new();
        while let Step::Fetch(fetch) = running.step(self.0.limits.time, arguments)? {
            let fetched = fetch.send().await;
            if !self.is_asked() {
                break;
            }
            arguments = running.answer(fetched)?;
        }
        Ok(())
    }

    fn has_failed(&self, hook: &str, fault: &Fault) -> Outcome {
        if fault.spent_memory {
            self.forget_vm();
        }
        let failed = self.0.record.has_failed();
        self.0.shared.has_failed();
        let (plugin, service) = (&self.0.name, &self.0.place.service);
        tracing::warn!(%plugin, %service, hook, error = fault.text, failed, "a plugin failed");
        if failed == self.0.limits.errors {
            tracing::error!(%plugin, %service, failed, "a plugin is off on this node until it is pushed again");
            let reason = format!(
                "off until it is pushed again: {failed} calls failed, the last with {}",
                fault.text
            );
            self.0.record.is_off_because(&reason);
        }
        if self.0.limits.denies {
            Outcome::Answer(Box::new(Answer::page(500, "A plugin failed.")))
        } else {
            Outcome::Next
        }
    }
}

impl Hook for LuaHook {
    fn points(&self) -> Points {
        self.0.points
    }

    fn run(&self, point: Point, request: &mut RequestContext) -> Outcome {
        if self.is_off() {
            return Outcome::Next;
        }
        let limit = self.0.limits.time;
        let called = match request.take_suspended::<Running>() {
            Some(waited) => waited.resume((point, request), limit),
            None => self.vm().and_then(|vm| vm.call(point, request, limit)),
        };
        match called {
            Ok(outcome) => outcome,
            Err(fault) => self.has_failed(point.name(), &fault),
        }
    }

    fn commands(&self) -> &[String] {
        &self.0.commands
    }

    fn command(&self, line: &CommandLine) -> Option<Told> {
        if !self.0.commands.contains(&line.word) || self.is_off() {
            return None;
        }
        let limit = self.0.limits.time;
        self.vm()
            .and_then(|vm| vm.command(line, limit))
            .unwrap_or_else(|fault| {
                self.has_failed(&line.word, &fault);
                Some(Told::Refused(format!("plugin {}: {}", self.0.name, fault.text)))
            })
    }

    fn wake(&self) {
        if self.0.has_timers
            && self.is_asked()
            && let Err(fault) = self.vm()
        {
            self.has_failed("register", &fault);
        }
    }

    fn retire(&self) {
        self.0.is_retired.store(true, Ordering::Relaxed);
    }

    fn failures(&self) -> Option<Failures> {
        let (off, refused) = self.0.record.both();
        Some(Failures {
            count: self.0.record.failed(),
            total: self.0.shared.failed(),
            off,
            refused,
        })
    }
}
