//! The fleetbal binary.

fn main() {}
