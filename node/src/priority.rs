//! Who comes first on a CPU that several threads want: workers before what the fleet talks about (docs/adr/0015).

use uapi::c::{SCHED_BATCH, sched_attr};

/// The nice level of control threads, whatever that of the others is: the last one.
const LAST: i32 = 19;

/// A worker's slice, in nanoseconds; Linux has 0.7 to 2.8 ms for those that ask for none. The shorter, the sooner it gets
/// in where another thread has begun. No shorter one can be asked for.
const WORKER_SLICE: u64 = 100_000;

/// The number by which Linux knows the thread that asks.
const THIS_THREAD: i32 = 0;

/// For a control thread, and for those that it starts: it waits where a worker has something to do, still gets some
/// hundredths of that CPU, and interrupts nobody when it wakes up.
pub(crate) fn give_way() {
    let this = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(this), LAST) {
        tracing::debug!(%error, "cannot lower the priority of a thread");
    }
    schedule(|attributes| attributes.sched_policy = SCHED_BATCH.cast_unsigned());
}

/// For a worker.
pub(crate) fn come_first() {
    schedule(|attributes| attributes.sched_runtime = WORKER_SLICE);
}

/// Whether a thread of this process gives way.
pub(crate) fn gives_way(thread: i32) -> bool {
    uapi::sched_getattr(thread, 0)
        .is_ok_and(|attributes| attributes.sched_policy == SCHED_BATCH.cast_unsigned())
}

/// Changes how this thread is scheduled, and leaves it as it was where that is not to be had: slices of one's own are new
/// in Linux 6.12, and ignored before.
fn schedule(change: impl FnOnce(&mut sched_attr)) {
    let changed = uapi::sched_getattr(THIS_THREAD, 0).and_then(|mut attributes| {
        change(&mut attributes);
        uapi::sched_setattr(THIS_THREAD, &attributes, 0)
    });
    if let Err(error) = changed {
        tracing::debug!(%error, "cannot change how a thread is scheduled");
    }
}
