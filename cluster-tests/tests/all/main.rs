//! What fleetbal promises, each against real processes: a file per promise.

mod access;
mod backup;
mod demo;
mod health_pages;
mod invisible_changes;
mod join;
mod join_refused;
mod membership;
mod nodefile;
mod p1_durable;
mod p2_same;
mod p3_read_your_write;
mod p4_fresh;
mod p5_no_quorum;
mod p6_traffic_alone;
mod p7_invisible;
mod p8_one_error;
mod packages;
mod proxy;
mod readme;
mod service_manager;
mod standalone;
mod start_refused;
mod transactions;
mod uploads;
mod waiting;
