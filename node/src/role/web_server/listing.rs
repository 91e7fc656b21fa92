//! Listings of directories (Perlbal, reference section 6.1), with names that cannot become markup.

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// What stays as it is in a link.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'.')
    .remove(b'-')
    .remove(b'_')
    .remove(b'~');

/// The page for a directory of this path, with what it holds: names, and whether they are directories.
pub(super) fn page(path: &[u8], entries: &[(Vec<u8>, bool)]) -> Vec<u8> {
    let mut text = String::from("<html><body>");
    let base = path.strip_suffix(b"/").unwrap_or(path);
    let base = percent_encode(base, PLAIN).to_string();
    for (name, is_directory) in entries {
        let link = percent_encode(name, PLAIN);
        let shown = escaped(&String::from_utf8_lossy(name));
        let written = if *is_directory {
            writeln!(text, "<b><a href='{base}/{link}/'>{shown}</a></b><br />")
        } else {
            writeln!(text, "<a href='{base}/{link}'>{shown}</a><br />")
        };
        debug_assert!(written.is_ok(), "a text takes everything");
    }
    text.push_str("</body></html>");
    text.into_bytes()
}

fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '&' => text.push_str("&amp;"),
            '\'' => text.push_str("&#39;"),
            '"' => text.push_str("&quot;"),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_names() {
        let entries = [
            (b"<script>'\"&".to_vec(), false),
            (b"a b".to_vec(), false),
            (b"sub".to_vec(), true),
        ];
        let page = String::from_utf8(page(b"/d'/", &entries)).unwrap();
        assert_eq!(
            page,
            "<html><body>\
             <a href='/d%27/%3Cscript%3E%27%22%26'>&lt;script&gt;&#39;&quot;&amp;</a><br />\n\
             <a href='/d%27/a%20b'>a b</a><br />\n\
             <b><a href='/d%27/sub/'>sub</a></b><br />\n\
             </body></html>"
        );
    }
}
