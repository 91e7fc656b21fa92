//! What a service manager (systemd's `Type=notify`) is told of this process, where there is one that wants to know.

use std::future::Future;
use std::time::Duration;

use sd_notify::NotifyState;

/// The start is finished, or what `reloading` announced is done.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Files are being read again; ends with [`ready`].
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no clock to tell the service manager of"),
    }
}

/// The process was asked to end, and does.
pub fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Another process is the one to watch from now on.
pub fn main_process(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

/// How often the service manager wants a sign of life; none where it wants none.
pub fn watchdog() -> Option<Duration> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    // Where no process is named it is for whichever reads it (sd_watchdog_enabled(3)).
    let for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let every = number("WATCHDOG_USEC").filter(|micros| *micros > 0);
    every.filter(|_| for_us).map(Duration::from_micros)
}

/// Gives signs of life for as long as it is polled, twice as often as asked for, while `is_alive` answers in time.
pub async fn keep_feeding<F>(every: Duration, is_alive: impl Fn() -> F)
where
    F: Future<Output = ()>,
{
    let half = every / 2;
    loop {
        if tokio::time::timeout(half, is_alive()).await.is_ok() {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("a worker does not answer; the service manager will end this process");
        }
        tokio::time::sleep(half).await;
    }
}

fn tell(news: &[NotifyState<'_>]) {
    // The variable stays: children that are started later are not listened to anyway (`NotifyAccess=main`).
    if let Err(error) = sd_notify::notify(false, news) {
        tracing::warn!(%error, "cannot tell the service manager how this process is");
    }
}
