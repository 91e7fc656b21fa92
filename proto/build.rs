//! Generates Rust from the `.proto` files with a compiler written in Rust: no system `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=fleetbal");
    let files = protox::compile(
        [
            "fleetbal/v1/change.proto",
            "fleetbal/v1/config.proto",
            "fleetbal/v1/raft.proto",
            "fleetbal/v1/state.proto",
            "fleetbal/v1/gossip.proto",
            "fleetbal/v1/manage.proto",
            "fleetbal/v1/handover.proto",
        ],
        ["."],
    )?;
    // Sorted maps, so that the same message is always the same bytes.
    tonic_prost_build::configure().btree_map(".").compile_fds(files)?;
    Ok(())
}
