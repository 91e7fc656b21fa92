//! Which type a file has, by its extension.

use std::collections::BTreeMap;

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

    /// The type of a file of this name or path: by its last extension, in any case.
    pub fn of(&self, name: &[u8]) -> &str {
        let start = name.iter().rposition(|byte| !is_word(*byte)).unwrap_or_default();
        let extension = match name.get(start..) {
            Some([b'.', extension @ ..]) => std::str::from_utf8(extension).unwrap_or_default(),
            Some(_) | None => "",
        };
        let known = self.0.get(extension);
        let known = known.or_else(|| self.0.get(&extension.to_ascii_lowercase()));
        known.map_or(Self::PLAIN, String::as_str)
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

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
