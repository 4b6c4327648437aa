//! How the file of a URL is called that nobody gave another name. Pure.
//!
//! The rules are those for names in torrents: one part of a path, without control characters. Not for: names that are hidden (`results`).

use engine::metainfo::check_name;
use percent_encoding::percent_decode_str;
use url::Url;

/// Where the URL says none.
const UNNAMED: &str = "download";

/// The last part of the path: as it reads where that can be a name, otherwise as it is written.
pub(super) fn name_of(url: &Url) -> String {
    let written = url
        .path_segments()
        .and_then(|mut parts| parts.next_back())
        .unwrap_or_default();
    let read = percent_decode_str(written).decode_utf8().unwrap_or_default();
    let mut names = [&*read, written].into_iter();
    let name = names.find(|name| check_name(name.as_bytes()).is_ok());
    name.unwrap_or(UNNAMED).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_unless_it_would_lead_elsewhere() {
        for (path, name) in [
            ("%C3%BCn%C3%AF.bin", "ünï.bin"),
            ("ünï.bin", "ünï.bin"),
            ("a/sp%20ace.bin?x=%2F#y", "sp ace.bin"),
            ("100%25.bin", "100%.bin"),
            ("100%.bin", "100%.bin"),
            // Once, and not again.
            ("a%252Fb", "a%2Fb"),
            ("a%2F..%2Fb", "a%2F..%2Fb"),
            ("a%5Cb", "a%5Cb"),
            ("a%00b%0A", "a%00b%0A"),
            ("%1B[31m", "%1B[31m"),
            ("%C2%9B2K", "%C2%9B2K"),
            ("%2E%2E%2F", "%2E%2E%2F"),
            ("%FF.bin", "%FF.bin"),
            ("a/..", "download"),
            ("a/%2E%2E", "download"),
            ("", "download"),
        ] {
            let url = Url::parse("http://x.example/").and_then(|base| base.join(path));
            assert_eq!(name_of(&url.expect("a URL")), name, "{path}");
        }
        let long = format!("http://x.example/{}", "ü".repeat(100));
        assert_eq!(name_of(&Url::parse(&long).expect("a URL")), "ü".repeat(100));
        let longer = format!("http://x.example/{}", "a".repeat(256));
        assert_eq!(name_of(&Url::parse(&longer).expect("a URL")), UNNAMED);
    }
}
