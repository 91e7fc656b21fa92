//! A service as a plugin sees it where it is registered.

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{Function, UserData, UserDataMethods};

use super::super::command::is_taken;
use super::super::point::Point;
use super::Place;

/// What a plugin has registered.
#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) hooks: Vec<(Point, Function)>,
    /// By word.
    pub(super) commands: Vec<(String, Function)>,
}

/// What stands ahead of a command's word.
const COMMAND: &str = "manage_command.";

impl Registry {
    fn command(&mut self, word: &str, function: Function) -> mlua::Result<()> {
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let is_one =
            word.starts_with(|letter: char| letter.is_ascii_lowercase()) && word.bytes().all(is_word);
        if !is_one {
            let text = format!("'{word}' is no command: it begins with a letter, and a-z, 0-9 and _ follow");
            return Err(mlua::Error::runtime(text));
        }
        if is_taken(word) {
            let text = format!("'{word}' is a command that every node has; a plugin cannot bring it along");
            return Err(mlua::Error::runtime(text));
        }
        self.commands.retain(|(known, _)| known != word);
        self.commands.push((word.to_owned(), function));
        Ok(())
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
        if let Some(word) = name.strip_prefix(COMMAND) {
            return self.registry.borrow_mut().command(word, function);
        }
        let Some(point) = Point::find(name) else {
            return Err(mlua::Error::runtime(format!("there is no hook '{name}'")));
        };
        let hooks = &mut self.registry.borrow_mut().hooks;
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
