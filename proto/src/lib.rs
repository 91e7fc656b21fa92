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

#[cfg(test)]
mod tests {
    /// One line a field, value and call, as the build found them.
    const NOW: &str = include_str!(concat!(env!("OUT_DIR"), "/fields.txt"));

    /// The same as it was kept: what a member or a disk may hold that this release did not write.
    const KEPT: &str = include_str!("../fields.txt");

    fn beyond<'a>(lines: &'a str, others: &str) -> Vec<&'a str> {
        let others: Vec<&str> = others.lines().collect();
        lines.lines().filter(|line| !others.contains(line)).collect()
    }

    /// A field that was released stays what it is: number, type and name. New ones are added to `fields.txt` by
    /// `FLEETBAL_WRITE_DOCS=1`, which never alters a line that is there.
    #[test]
    fn no_kept_format_is_altered_and_every_field_is_kept() {
        let gone = beyond(KEPT, NOW);
        assert!(
            gone.is_empty(),
            "members of earlier releases speak otherwise, and disks hold it; take a new number instead:\n{}",
            gone.join("\n")
        );
        let new = beyond(NOW, KEPT);
        if std::env::var_os("FLEETBAL_WRITE_DOCS").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/fields.txt"), NOW).unwrap();
        } else {
            assert!(
                new.is_empty(),
                "new; FLEETBAL_WRITE_DOCS=1 adds them to proto/fields.txt:\n{}",
                new.join("\n")
            );
        }
    }
}
