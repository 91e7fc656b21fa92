//! fleetbal's wire and disk formats, generated from the files in `proto/fleetbal/v1`.
//!
//! Nothing but generated code lives here; conversions to and from the model are `fleetbal_raft::wire`'s.

#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("fleetbal.v1");
}
