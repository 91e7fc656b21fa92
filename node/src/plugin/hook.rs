//! By what plugins are asked, and how it goes on from there.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetbal_raft::model::{Plugin, Role, ServiceName};

use super::answer::Answer;
use super::command::{CommandLine, Told};
use super::context::RequestContext;
use super::feed::Subscription;
use super::fetch::Fetch;
pub use super::point::{Point, Points};

/// How it goes on behind a hook. All but the first end the chain: Perlbal's hooks return true then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The next hook is asked, and behind the last one the core goes on.
    Next,
    /// This is the answer. Where an answer cannot be given any more, it is as [`Self::Next`].
    Answer(Box<Answer>),
    /// Another service answers. Before a backend was found, and where a file is missing.
    Service(ServiceName),
    /// It goes on with the next hook after so long. Before a backend was found.
    Wait(Duration),
    /// It goes on with the same hook when this was answered, or was not. Where one may ask to wait.
    Fetch(Box<Fetch>),
    /// It goes on with the same hook once all of the body is there, see [`RequestContext::body`]; more than so many bytes
    /// are refused. Where a file is to be put; elsewhere it is as [`Self::Next`].
    Collect(usize),
    /// The answer goes on for as long as the client likes. At the start of a request.
    Stream(Box<Subscription>),
    /// The connection is closed without a word.
    Close,
}

/// A plugin on one service.
pub trait Hook: Any + Debug + Send + Sync {
    /// Where it is asked.
    fn points(&self) -> Points;

    /// Asked at one of its points.
    fn run(&self, point: Point, request: &mut RequestContext) -> Outcome;

    /// The management commands that it brings along, in lower case.
    fn commands(&self) -> &[String] {
        &[]
    }

    /// Carries out a line; none: it is none of its commands, or it has nothing to say.
    fn command(&self, _line: &CommandLine) -> Option<Told> {
        None
    }

    /// A worker serves the service: whatever is to be done there without a request begins, if it has not yet.
    fn wake(&self) {}

    /// The service has another version of it, or does without: nothing begins any more but what a request asks for that
    /// was there before.
    fn retire(&self) {}

    /// How it went on this node; none: it cannot fail.
    fn failures(&self) -> Option<Failures> {
        None
    }
}

/// How it went with a plugin on a service of this node.
#[derive(Debug, Clone)]
pub struct Failures {
    /// How many calls failed of the version that runs.
    pub count: usize,
    /// How many failed of all its versions.
    pub total: u64,
    /// Why it is not asked any more, if it is not.
    pub off: Option<Trouble>,
    /// Why the version that the configuration has does not run here, if it does not.
    pub refused: Option<Trouble>,
}

impl Failures {
    /// Whether the plugin does nothing here.
    pub fn is_off(&self) -> bool {
        self.off.is_some() || self.refused.is_some()
    }
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Since when.
    pub since: Instant,
    /// What, and where.
    pub reason: String,
}

/// A request, and the plugins that are asked about it.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The plugins.
    pub hooks: &'a Hooks,
    /// The request.
    pub context: &'a mut RequestContext,
}

impl Asked<'_> {
    /// Asks them at a point, and waits where they do.
    pub async fn ask(&mut self, point: Point) -> Outcome {
        if !self.hooks.has(point) {
            return Outcome::Next;
        }
        self.hooks.ask(&[point], self.context).await
    }
}

/// The plugins of a service, in the order in which they are asked.
#[derive(Debug)]
pub struct Hooks {
    role: Option<Role>,
    points: Points,
    links: Box<[Link]>,
}

#[derive(Debug)]
struct Link {
    plugin: Plugin,
    points: Points,
    hook: Arc<dyn Hook>,
}

impl Hooks {
    /// Those of a service; none where it has none.
    pub(crate) fn new(
        role: Option<Role>,
        hooks: impl IntoIterator<Item = (Plugin, Arc<dyn Hook>)>,
    ) -> Option<Arc<Self>> {
        let links: Box<[Link]> = hooks
            .into_iter()
            .map(|(plugin, hook)| Link {
                plugin,
                points: hook.points(),
                hook,
            })
            .collect();
        let points = links
            .iter()
            .fold(Points::default(), |points, link| points.or(link.points))
            .and(Points::of_role(role));
        (!links.is_empty()).then(|| Arc::new(Self { role, points, links }))
    }

    /// The hook of a plugin.
    pub fn of(&self, plugin: &Plugin) -> Option<&dyn Hook> {
        let link = self.links.iter().find(|link| link.plugin == *plugin);
        link.map(|link| &*link.hook)
    }

    /// All of them, in their order.
    pub fn all(&self) -> impl Iterator<Item = (&Plugin, &dyn Hook)> {
        self.links.iter().map(|link| (&link.plugin, &*link.hook))
    }

    /// Whether any plugin is asked anywhere that a request of this role comes to.
    #[inline]
    pub fn are_asked(&self) -> bool {
        self.points != Points::default()
    }

    /// Whether any plugin is asked at that point.
    #[inline]
    pub fn has(&self, point: Point) -> bool {
        self.points.has(point)
    }

    /// Where any plugin is asked.
    pub(crate) fn points(&self) -> Points {
        self.points
    }

    /// Asks the plugins that want to be asked at the first of these points, and then those of the next, from the hook on
    /// that is next to be asked, until one ends the chain.
    pub fn run(&self, points: &[Point], request: &mut RequestContext) -> Outcome {
        let (first_point, mut first_link) = std::mem::take(&mut request.progress);
        for (at, point) in points.iter().enumerate().skip(first_point) {
            let skipped = std::mem::take(&mut first_link);
            if !self.has(*point) {
                continue;
            }
            for (number, link) in self.links.iter().enumerate().skip(skipped) {
                if !link.points.has(*point) {
                    continue;
                }
                let outcome = link.hook.run(*point, request);
                if let Outcome::Wait(_) = outcome {
                    request.progress = (at, number + 1);
                }
                if let Outcome::Fetch(_) | Outcome::Collect(_) = outcome {
                    request.progress = (at, number);
                }
                if !matches!(outcome, Outcome::Next) {
                    return outcome;
                }
            }
        }
        Outcome::Next
    }

    /// The same; where a plugin asks to wait, this waits and goes on.
    pub async fn ask(&self, points: &[Point], request: &mut RequestContext) -> Outcome {
        loop {
            match self.run(points, request) {
                Outcome::Wait(time) => tokio::time::sleep(time).await,
                Outcome::Fetch(fetch) => request.put_fetched(fetch.send().await),
                decided @ (Outcome::Next
                | Outcome::Answer(_)
                | Outcome::Service(_)
                | Outcome::Collect(_)
                | Outcome::Stream(_)
                | Outcome::Close) => {
                    return decided;
                }
            }
        }
    }

    /// The points at which a request begins.
    pub fn start(&self) -> &'static [Point] {
        match self.role {
            Some(Role::ReverseProxy) => &[Point::StartProxyRequest, Point::StartHttpRequest],
            Some(Role::WebServer) => &[Point::StartWebRequest, Point::StartHttpRequest],
            Some(_) | None => &[Point::StartHttpRequest],
        }
    }

    /// Asks all that want to know that a request is over.
    pub fn end(&self, request: &mut RequestContext) {
        let point = match self.role {
            Some(Role::ReverseProxy) => Point::EndProxyRequest,
            Some(Role::WebServer) => Point::EndWebRequest,
            Some(_) | None => Point::ReturnToBase,
        };
        self.run_all(point, request);
    }

    /// Asks all plugins that want to be asked at that point, whatever they say.
    pub fn run_all(&self, point: Point, request: &mut RequestContext) {
        if !self.has(point) {
            return;
        }
        for link in self.links.iter().filter(|link| link.points.has(point)) {
            link.hook.run(point, request);
        }
    }
}

#[cfg(test)]
#[path = "hook_tests.rs"]
mod tests;
