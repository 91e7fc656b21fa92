//! A service as a plugin sees it where it is registered.

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{Function, UserData, UserDataMethods};

use super::super::point::Point;
use super::Place;

/// What a plugin has registered.
#[derive(Debug, Default)]
pub(super) struct Registry(Vec<(Point, Function)>);

impl Registry {
    /// All of it.
    pub(super) fn take(&mut self) -> Vec<(Point, Function)> {
        std::mem::take(&mut self.0)
    }
}

/// A service.
#[derive(Debug)]
pub(super) struct Service {
    place: Place,
    registry: Rc<RefCell<Registry>>,
}

impl Service {
    pub(super) fn new(place: &Place, registry: &Rc<RefCell<Registry>>) -> Self {
        Self {
            place: place.clone(),
            registry: Rc::clone(registry),
        }
    }

    fn register(&self, name: &str, function: Function) -> mlua::Result<()> {
        let Some(point) = Point::find(name) else {
            return Err(mlua::Error::runtime(format!("there is no hook '{name}'")));
        };
        let hooks = &mut self.registry.borrow_mut().0;
        // Of two functions for one hook the later one holds.
        hooks.retain(|(known, _)| *known != point);
        hooks.push((point, function));
        Ok(())
    }
}

impl UserData for Service {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("name", |_, this, ()| Ok(this.place.service.to_string()));
        methods.add_method("role", |_, this, ()| {
            Ok(this.place.role.map(|role| role.to_string()))
        });
        methods.add_method(
            "register_hook",
            |_, this, (name, function): (String, Function)| this.register(&name, function),
        );
    }
}
