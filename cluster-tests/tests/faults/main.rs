//! Faults from outside: networks that break, disks that fill or cannot be written, processes that stop. What they hit
//! are real processes; nothing in the binary knows of them.
//!
//! Needs root, and the packages iproute2, nftables and strace; a test that cannot have what it needs says so past the
//! harness, and has shown nothing.

mod clock;
mod damage;
mod disk;
mod health;
mod partitions;
mod random;
mod slow_lines;
