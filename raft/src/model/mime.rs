//! Which type a file has, by its extension.

use std::collections::BTreeMap;

use super::rejection::Rejection;

/// Perlbal's (reference, section 2.4).
const DEFAULTS: [(&str, &str); 16] = [
    ("css", "text/css"),
    ("doc", "application/msword"),
    ("gif", "image/gif"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("jpg", "image/jpeg"),
    ("js", "application/x-javascript"),
    ("mp3", "audio/mpeg"),
    ("mpg", "video/mpeg"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("torrent", "application/x-bittorrent"),
    ("txt", "text/plain"),
    ("zip", "application/zip"),
];

/// Types by extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MimeTypes(BTreeMap<String, String>);

impl Default for MimeTypes {
    fn default() -> Self {
        let types = DEFAULTS.map(|(extension, kind)| (extension.to_owned(), kind.to_owned()));
        Self(types.into())
    }
}

impl MimeTypes {
    /// The type of what has no other.
    pub const PLAIN: &str = "text/plain";

    /// All of them, by extension.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(extension, kind)| (&**extension, &**kind))
    }

    /// What differs from what every fleet begins with, by extension; none: it was removed.
    pub fn changed(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let removed = DEFAULTS
            .iter()
            .filter(|(extension, _)| !self.0.contains_key(*extension));
        let set = self.all().filter(|pair| !DEFAULTS.contains(pair));
        let mut changed: Vec<_> = removed
            .map(|(extension, _)| (*extension, None))
            .chain(set.map(|(extension, kind)| (extension, Some(kind))))
            .collect();
        changed.sort_unstable();
        changed.into_iter()
    }

    /// Gives an extension a type, or (none) takes its type away.
    ///
    /// # Errors
    /// When there is none to take away, or it is no extension or no type.
    pub(crate) fn set(&mut self, extension: &str, kind: Option<&str>) -> Result<(), Rejection> {
        let Some(kind) = kind else {
            let removed = self.0.remove(extension);
            return removed
                .map(drop)
                .ok_or_else(|| Rejection::NoExtension(extension.to_owned()));
        };
        let is_extension = !extension.is_empty() && extension.bytes().all(is_word);
        let is_type = !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_extension || !is_type {
            return Err(Rejection::Mime);
        }
        self.0.insert(extension.to_owned(), kind.to_owned());
        Ok(())
    }

    /// The type of a file of this name or path: by its last extension, in any case.
    pub fn of(&self, name: &[u8]) -> &str {
        self.find(name).unwrap_or(Self::PLAIN)
    }

    /// The same, if the extension has one.
    pub fn find(&self, name: &[u8]) -> Option<&str> {
        let start = name.iter().rposition(|byte| !is_word(*byte)).unwrap_or_default();
        let extension = match name.get(start..) {
            Some([b'.', extension @ ..]) => std::str::from_utf8(extension).unwrap_or_default(),
            Some(_) | None => "",
        };
        let known = self.0.get(extension);
        let known = known.or_else(|| self.0.get(&extension.to_ascii_lowercase()));
        known.map(String::as_str)
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_is_told_apart() {
        let mut types = MimeTypes::default();
        types.set("flv", Some("video/x-flv")).unwrap();
        types.set("js", Some("text/javascript")).unwrap();
        types.set("doc", None).unwrap();
        let changed: Vec<_> = types.changed().collect();
        let wanted = [
            ("doc", None),
            ("flv", Some("video/x-flv")),
            ("js", Some("text/javascript")),
        ];
        assert_eq!(changed, wanted);
        assert_eq!(types.of(b"a.js"), "text/javascript");
        assert_eq!(types.set("doc", None), Err(Rejection::NoExtension("doc".into())));
        for (extension, kind) in [
            ("", "a/b"),
            (".a", "a/b"),
            ("a", ""),
            ("a", "a b"),
            ("a", "a/b\r\n"),
        ] {
            assert_eq!(
                types.set(extension, Some(kind)),
                Err(Rejection::Mime),
                "{extension}"
            );
        }
    }

    #[test]
    fn types_go_by_the_last_extension() {
        let types = MimeTypes::default();
        for (name, kind) in [
            ("/a/b.html", "text/html"),
            ("a.tar.zip", "application/zip"),
            ("a.PNG", "image/png"),
            ("/a.html/b", "text/plain"),
            ("html", "text/plain"),
            ("a.", "text/plain"),
            ("", "text/plain"),
            ("a.html~", "text/plain"),
            ("a.\u{e9}", "text/plain"),
        ] {
            assert_eq!(types.of(name.as_bytes()), kind, "{name}");
        }
    }
}
