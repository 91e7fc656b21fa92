//! A request as a plugin sees it.
//!
//! There is one `request` a machine; which request it is, the core says for the time of a call. Outside of calls it is none.

use std::cell::RefCell;

use fleetbal_raft::model::{BackendAddress, ServiceName};
use mlua::{Lua, Table, UserData, UserDataMethods, Value};

use super::super::answer::Answer;
use super::super::context::{Priority, RequestContext};
use super::super::hook::Outcome;
use super::library::time;
use crate::http::edit;

/// The request that a call is about.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) context: RequestContext,
    /// What the call asks for, which counts where it returns true.
    pub(super) outcome: Option<Outcome>,
}

thread_local! {
    static ACTIVE: RefCell<Option<Active>> = const { RefCell::new(None) };
}

/// A call begins that is about this request.
pub(super) fn begin(context: RequestContext) {
    let active = Active {
        context,
        outcome: None,
    };
    ACTIVE.replace(Some(active));
}

/// The call is over.
pub(super) fn end() -> Active {
    ACTIVE.take().unwrap_or_else(|| Active {
        context: RequestContext::default(),
        outcome: None,
    })
}

fn with<R>(act: impl FnOnce(&mut Active) -> mlua::Result<R>) -> mlua::Result<R> {
    ACTIVE.with_borrow_mut(|active| match active {
        Some(active) => act(active),
        None => Err(mlua::Error::runtime("there is no request outside of a hook")),
    })
}

fn read<R>(look: impl FnOnce(&RequestContext) -> R) -> mlua::Result<R> {
    with(|active| Ok(look(&active.context)))
}

fn write<E: std::error::Error>(edit: impl FnOnce(&mut RequestContext) -> Result<(), E>) -> mlua::Result<()> {
    with(|active| edit(&mut active.context).map_err(|error| mlua::Error::runtime(error.to_string())))
}

/// Says how it goes on; for `return request:…`.
fn take_over(outcome: Outcome) -> mlua::Result<bool> {
    with(|active| {
        active.outcome = Some(outcome);
        Ok(true)
    })
}

/// Bytes for Lua, which may be none.
fn text(lua: &Lua, bytes: Option<Vec<u8>>) -> mlua::Result<Value> {
    bytes.map_or(Ok(Value::Nil), |bytes| {
        lua.create_string(bytes).map(Value::String)
    })
}

/// `request`.
#[derive(Debug)]
pub(super) struct Request;

impl UserData for Request {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        add_facts(methods);
        add_head(methods);
        add_response(methods);
        add_decisions(methods);
    }
}

fn add_facts<M: UserDataMethods<Request>>(methods: &mut M) {
    methods.add_method("peer", |_, _, ()| read(|it| it.facts().peer.to_string()));
    methods.add_method("observed_ip", |_, _, ()| {
        read(|it| it.facts().observed.map(|address| address.to_string()))
    });
    methods.add_method("service", |_, _, ()| {
        read(|it| it.facts().service.as_ref().map(ToString::to_string))
    });
    methods.add_method("local_port", |_, _, ()| {
        read(|it| it.facts().local.map(|address| address.port()))
    });
    methods.add_method("is_tls", |_, _, ()| read(|it| it.facts().secure));
    methods.add_method("age", |_, _, ()| read(|it| it.age().as_secs_f64()));
    methods.add_method("backend", |_, _, ()| {
        read(|it| it.backend().map(|backend| backend.to_string()))
    });
    methods.add_method("body", |lua, _, ()| {
        let body = read(|it| it.body().map(<[u8]>::to_vec))?;
        text(lua, body)
    });
    methods.add_method("path", |lua, _, ()| {
        let path = read(|it| it.path().map(<[u8]>::to_vec))?;
        text(lua, path)
    });
    methods.add_method("set_path", |_, _, path: mlua::String| {
        with(|active| {
            active.context.set_path(&path.as_bytes());
            Ok(())
        })
    });
    methods.add_method("modified", |_, _, ()| read(RequestContext::modified));
}

fn add_head<M: UserDataMethods<Request>>(methods: &mut M) {
    methods.add_method("method", |lua, _, ()| {
        let method = read(|it| it.head().method().to_vec())?;
        lua.create_string(method)
    });
    methods.add_method("uri", |lua, _, ()| {
        let target = read(|it| it.head().target().to_vec())?;
        lua.create_string(target)
    });
    methods.add_method("set_uri", |_, _, uri: mlua::String| {
        write(|it| it.set_target(&uri.as_bytes()))
    });
    methods.add_method("header", |lua, _, name: String| {
        let value = read(|it| it.head().field(&name).map(<[u8]>::to_vec))?;
        text(lua, value)
    });
    methods.add_method("headers", |lua, _, ()| {
        let head = read(|it| it.head_bytes().to_vec())?;
        fields(lua, &head)
    });
    methods.add_method("set_header", |_, _, (name, value): (String, mlua::String)| {
        write(|it| it.set_field(&name, &value.as_bytes()))
    });
    methods.add_method("remove_header", |_, _, name: String| {
        write(|it| it.remove_field(&name))
    });
}

/// All fields, names in lower case; of one that is there more than once, the first.
fn fields(lua: &Lua, head: &[u8]) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for (name, value) in crate::http::Head::new(head).fields() {
        let name = lua.create_string(name.to_ascii_lowercase())?;
        if !table.contains_key(&name)? {
            table.raw_set(name, lua.create_string(value)?)?;
        }
    }
    Ok(table)
}

fn add_response<M: UserDataMethods<Request>>(methods: &mut M) {
    methods.add_method("status", |_, _, ()| read(RequestContext::status));
    methods.add_method("set_status", |_, _, (status, reason): (u16, Option<String>)| {
        let known = crate::http::response::built_in_reason(status);
        write(|it| it.set_status(status, reason.as_deref().unwrap_or(known)))
    });
    methods.add_method("response_header", |lua, _, name: String| {
        let value = read(|it| Some(it.response()?.field(&name)?.to_vec()))?;
        text(lua, value)
    });
    methods.add_method(
        "set_response_header",
        |_, _, (name, value): (String, mlua::String)| {
            change_response(|head| edit::set(head, &name, &value.as_bytes()))
        },
    );
    methods.add_method(
        "add_response_header",
        |_, _, (name, value): (String, mlua::String)| {
            change_response(|head| edit::add(head, &name, &value.as_bytes()))
        },
    );
    methods.add_method("remove_response_header", |_, _, name: String| {
        change_response(|head| edit::remove(head, &name))
    });
    methods.add_method("prepend", |_, _, bytes: mlua::String| {
        with(|active| {
            active.context.prepend(&bytes.as_bytes());
            Ok(())
        })
    });
}

fn change_response<E: std::error::Error>(
    change: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> mlua::Result<()> {
    with(|active| {
        let Some(head) = active.context.response_mut() else {
            return Err(mlua::Error::runtime("there is no answer yet"));
        };
        change(head).map_err(|error| mlua::Error::runtime(error.to_string()))
    })
}

fn add_decisions<M: UserDataMethods<Request>>(methods: &mut M) {
    methods.add_method(
        "respond",
        |_, _, (status, headers, body): (u16, Option<Table>, Option<mlua::String>)| {
            let mut answer = new_answer(status)?;
            for pair in headers
                .iter()
                .flat_map(|headers| headers.pairs::<String, mlua::String>())
            {
                let (name, value) = pair?;
                let added = answer.with_field(&name, &value.as_bytes());
                answer = added.map_err(|error| mlua::Error::runtime(format!("{name}: {error}")))?;
            }
            let body = body.map(|body| body.as_bytes().to_vec()).unwrap_or_default();
            take_over(Outcome::Answer(Box::new(answer.with_body(body))))
        },
    );
    methods.add_method("page", |_, _, (status, message): (u16, Option<String>)| {
        new_answer(status)?;
        let page = Answer::page(status, message.as_deref().unwrap_or_default());
        take_over(Outcome::Answer(Box::new(page)))
    });
    methods.add_method("close", |_, _, ()| take_over(Outcome::Close));
    methods.add_method("wait", |_, _, seconds: f64| {
        let time = time(Some(seconds))?.unwrap_or_default();
        take_over(Outcome::Wait(time))
    });
    methods.add_method("set_service", |_, _, name: String| {
        let name = ServiceName::parse(&name).map_err(mlua::Error::external)?;
        take_over(Outcome::Service(name))
    });
    methods.add_method("set_backend", |_, _, address: String| {
        let Some(address) = BackendAddress::parse(&address) else {
            return Err(mlua::Error::runtime(format!("'{address}' is not ip:port")));
        };
        with(|active| {
            active.context.set_backend(address);
            Ok(())
        })
    });
    methods.add_method("set_priority", |_, _, priority: String| {
        let priority = match &*priority {
            "high" => Priority::High,
            "low" => Priority::Low,
            _ => return Err(mlua::Error::runtime("a priority is 'high' or 'low'")),
        };
        with(|active| {
            active.context.set_priority(priority);
            Ok(())
        })
    });
}

fn new_answer(status: u16) -> mlua::Result<Answer> {
    if (200..=599).contains(&status) {
        Ok(Answer::new(status))
    } else {
        Err(mlua::Error::runtime("a status is from 200 to 599"))
    }
}
