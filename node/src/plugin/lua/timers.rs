//! Timers of a machine: functions that are called after a time, once or again and again, for as long as their version of
//! the plugin is what its service has.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync;
use std::time::Duration;

use mlua::{Function, UserData, UserDataMethods};
use tokio::task::AbortHandle;

use super::vm::Vm;
use super::{Inner, LuaHook};

/// How many a machine may have at a time.
const MOST: usize = 64;

/// The shortest time in which one may come again.
const SHORTEST: Duration = Duration::from_millis(10);

/// What is to be done when.
#[derive(Debug, Clone)]
struct Plan {
    after: Duration,
    repeats: bool,
    function: Function,
}

#[derive(Debug)]
enum State {
    /// It begins with its machine.
    Planned(Plan),
    Running(AbortHandle),
}

/// Who calls the functions, and whose they are.
#[derive(Debug, Clone)]
struct Home {
    vm: Weak<Vm>,
    of: sync::Weak<Inner>,
}

/// The timers of a machine. They end with it.
#[derive(Debug, Default)]
pub(super) struct Timers {
    next: Cell<u64>,
    states: RefCell<BTreeMap<u64, State>>,
    home: OnceCell<Home>,
}

impl Timers {
    /// Whether there are any.
    pub(super) fn are_any(&self) -> bool {
        !self.states.borrow().is_empty()
    }

    /// The machine is there: those that were planned begin, and others when they are. For workers alone: nobody else has
    /// a runtime for them.
    pub(super) fn begin(self: &Rc<Self>, vm: &Rc<Vm>, of: &sync::Arc<Inner>) {
        let home = self.home.get_or_init(|| Home {
            vm: Rc::downgrade(vm),
            of: sync::Arc::downgrade(of),
        });
        for (id, state) in self.states.borrow_mut().iter_mut() {
            if let State::Planned(plan) = state {
                *state = run(*id, plan.clone(), home.clone(), self);
            }
        }
    }

    /// One more.
    ///
    /// # Errors
    /// When there are too many, or it would come too often.
    pub(super) fn add(
        self: &Rc<Self>,
        after: Duration,
        repeats: bool,
        function: Function,
    ) -> mlua::Result<Timer> {
        if repeats && after < SHORTEST {
            let text = format!("a timer comes again after {} s or more", SHORTEST.as_secs_f64());
            return Err(mlua::Error::runtime(text));
        }
        if self.states.borrow().len() >= MOST {
            let text = format!("a plugin has {MOST} timers at most on each worker");
            return Err(mlua::Error::runtime(text));
        }
        let id = self.next.get();
        self.next.set(id + 1);
        let plan = Plan {
            after,
            repeats,
            function,
        };
        let state = match self.home.get() {
            Some(home) => run(id, plan, home.clone(), self),
            None => State::Planned(plan),
        };
        self.states.borrow_mut().insert(id, state);
        let timers = Rc::downgrade(self);
        Ok(Timer { id, timers })
    }

    fn forget(&self, id: u64) {
        let state = self.states.borrow_mut().remove(&id);
        if let Some(State::Running(task)) = state {
            task.abort();
        }
    }

    /// None is called any more.
    pub(super) fn end(&self) {
        for state in std::mem::take(&mut *self.states.borrow_mut()).into_values() {
            if let State::Running(task) = state {
                task.abort();
            }
        }
    }
}

impl Drop for Timers {
    fn drop(&mut self) {
        self.end();
    }
}

fn run(id: u64, plan: Plan, home: Home, timers: &Rc<Timers>) -> State {
    let timers = Rc::downgrade(timers);
    let task = tokio::task::spawn_local(async move {
        while tick(&plan, &home).await {}
        if let Some(timers) = timers.upgrade() {
            timers.states.borrow_mut().remove(&id);
        }
    });
    State::Running(task.abort_handle())
}

/// Waits, and calls the function; whether it is called again.
async fn tick(plan: &Plan, home: &Home) -> bool {
    tokio::time::sleep(plan.after).await;
    let (Some(vm), Some(of)) = (home.vm.upgrade(), home.of.upgrade()) else {
        return false;
    };
    let hook = LuaHook(of);
    if !hook.is_asked() {
        return false;
    }
    hook.call_timer(&vm, &plan.function).await;
    plan.repeats
}

/// A timer as a plugin has it.
#[derive(Debug)]
pub(super) struct Timer {
    id: u64,
    timers: Weak<Timers>,
}

impl UserData for Timer {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("cancel", |_, this, ()| {
            if let Some(timers) = this.timers.upgrade() {
                timers.forget(this.id);
            }
            Ok(())
        });
    }
}
