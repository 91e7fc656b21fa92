//! What a service does.

use std::fmt;

use super::plugin::Plugin;

/// The role of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Balances HTTP requests over the backends of a pool.
    ReverseProxy,
    /// Serves files.
    WebServer,
    /// Takes management commands.
    Management,
    /// Hands each request to another service.
    Selector,
    /// Hears by UDP how far uploads are.
    UploadTracker,
    /// Says back each line of a connection; the plugin `EchoService` brings it along.
    Echo,
}

impl Role {
    /// All roles, in the order of their names.
    pub const ALL: [Self; 6] = [
        Self::Echo,
        Self::Management,
        Self::ReverseProxy,
        Self::Selector,
        Self::UploadTracker,
        Self::WebServer,
    ];

    /// The role's name in a configuration. Case matters, as in Perlbal.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReverseProxy => "reverse_proxy",
            Self::WebServer => "web_server",
            Self::Management => "management",
            Self::Selector => "selector",
            Self::UploadTracker => "upload_tracker",
            Self::Echo => "echo",
        }
    }

    /// The plugin that brings it along, if one does: only while that is loaded a service can be given it.
    pub const fn plugin(self) -> Option<Plugin> {
        match self {
            Self::Echo => Some(Plugin::EchoService),
            Self::ReverseProxy
            | Self::WebServer
            | Self::Management
            | Self::Selector
            | Self::UploadTracker => None,
        }
    }

    /// The role of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
