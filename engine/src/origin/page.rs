//! A web page that stands where the file should be: the sign-in of a captive portal (a hotel's network), or a server's notice of
//! maintenance, with status 200 though it is no answer to what was asked for. Pure.
//!
//! A page is told by its type. Where its length is not stated, it is told from a file that a script sends as a page by what it begins with.

/// Whether `Content-Type` says that the body is a page (RFC 9110 §8.3).
pub fn is_page(content_type: Option<&str>) -> bool {
    let essence = content_type.and_then(|text| text.split(';').next());
    essence.is_some_and(|essence| {
        let essence = essence.trim();
        ["text/html", "application/xhtml+xml"]
            .iter()
            .any(|page| essence.eq_ignore_ascii_case(page))
    })
}

/// Whether a file of this path is a page itself.
pub fn is_named_page(path: &str) -> bool {
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    ["html", "htm", "xhtml"]
        .iter()
        .any(|page| extension.eq_ignore_ascii_case(page))
}

/// Whether a body begins as pages do: with markup.
pub fn begins_with_markup(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    body.trim_ascii_start().starts_with(b"<")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_told_by_its_type_and_its_beginning() {
        let pages = [
            "text/html",
            "text/html; charset=utf-8",
            "Text/HTML ;x=y",
            "application/xhtml+xml",
        ];
        assert!(pages.into_iter().map(Some).all(is_page));
        let others = ["audio/mpeg", "text/plain", "text/htmlx", "", "; text/html"];
        assert!(!others.into_iter().map(Some).chain([None]).any(is_page));
        assert!(
            ["/a/index.html", "/b.HTM", "/c.v2.xhtml"]
                .into_iter()
                .all(is_named_page)
        );
        assert!(
            !["/ep1.mp3", "/html", "/", "/a.html/b"]
                .into_iter()
                .any(is_named_page)
        );
        let begins: [&[u8]; 3] = [b"<!doctype html>", b"\r\n <html>", b"\xef\xbb\xbf<p>"];
        assert!(begins.into_iter().all(begins_with_markup));
        let files: [&[u8]; 4] = [b"ID3\x04", b"\xff\xfb<", b"", b"  "];
        assert!(!files.into_iter().any(begins_with_markup));
    }
}
