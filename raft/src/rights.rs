//! Whose a path is, for whoever may not use it.

use std::fmt;
use std::fs::metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Who owns a path, or else what it would lie in, and who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// The path, or the nearest directory above it that is there.
    pub place: PathBuf,
    /// Whose that is.
    pub owner: u32,
    /// What the owner, the group and the others may do with it.
    pub mode: u32,
    /// Whose this process is.
    pub own: u32,
}

impl Rights {
    /// Looks; nothing where even that is not allowed.
    pub fn of(path: &Path) -> Option<Self> {
        let (place, found) = path
            .ancestors()
            .map(|place| {
                if place == Path::new("") {
                    Path::new(".")
                } else {
                    place
                }
            })
            .find_map(|place| Some((place, metadata(place).ok()?)))?;
        Some(Self {
            place: place.to_owned(),
            owner: found.uid(),
            mode: found.mode() & 0o7777,
            own: metadata("/proc/self").ok()?.uid(),
        })
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            owner,
            mode,
            own,
        } = self;
        let place = place.display();
        if owner == own {
            write!(f, "{place} is this process's own, with mode {mode:o}")
        } else {
            write!(
                f,
                "{place} belongs to user {owner}, and this process is user {own}'s"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_nearest_place_that_is_there_is_told() {
        let dir = tempfile::tempdir().unwrap();
        set_permissions(dir.path(), Permissions::from_mode(0o500)).unwrap();
        let rights = Rights::of(&dir.path().join("not/there")).unwrap();
        assert_eq!((rights.place.as_path(), rights.mode), (dir.path(), 0o500));
        let told = format!("{} is this process's own, with mode 500", dir.path().display());
        assert_eq!(rights.to_string(), told);
        let others = Rights {
            owner: rights.own + 1,
            ..rights
        };
        assert!(others.to_string().contains(" belongs to user "), "{others}");
    }

    #[test]
    fn a_name_alone_lies_where_the_process_is() {
        assert_eq!(Rights::of(Path::new("not-there")).unwrap().place, Path::new("."));
    }
}
