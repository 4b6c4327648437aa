//! Which part of a rendition a request wants, by its headers (RFC 9110 §13 and §14). Pure.
//!
//! One range is answered with just that; several, or what is no range at all, with the whole, as the standard allows.

use std::ops::Range;

use axum::http::{HeaderMap, Method, header};

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// 200: all of it.
    Whole,
    /// 206: these bytes, at least one.
    Bytes(Range<u64>),
    /// 304: the client has it.
    NotModified,
    /// 412: it is not what the client wants to go on with.
    NotThat,
    /// 416: there is no such byte.
    Beyond,
}

/// The part of `len` bytes, which are known as `etag`, that is wanted.
pub(super) fn part(method: &Method, headers: &HeaderMap, etag: &str, len: u64) -> Part {
    if let Some(tags) = text(headers, header::IF_MATCH)
        && !names(tags, etag, false)
    {
        return Part::NotThat;
    }
    if text(headers, header::IF_NONE_MATCH).is_some_and(|tags| names(tags, etag, true)) {
        return Part::NotModified;
    }
    // A date is never what it says: renditions have none.
    let goes_on = text(headers, header::IF_RANGE).is_none_or(|tag| tag == etag);
    match text(headers, header::RANGE) {
        Some(range) if goes_on && method == Method::GET => of_range(range, len),
        _ => Part::Whole,
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Whether a list of tags names this one. A weak tag does where the bytes need not be the same ones.
fn names(tags: &str, etag: &str, weakly: bool) -> bool {
    tags.split(',').map(str::trim).any(|tag| {
        let bare = if weakly { tag.strip_prefix("W/") } else { None };
        tag == "*" || bare.unwrap_or(tag) == etag
    })
}

/// A number of digits alone. What is more than fits is beyond the end of everything.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

fn of_range(range: &str, len: u64) -> Part {
    let Some((first, last)) = range
        .trim()
        .strip_prefix("bytes=")
        .and_then(|one| one.trim().split_once('-'))
    else {
        return Part::Whole;
    };
    let (start, end) = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => (first, last.saturating_add(1).min(len)),
        (Some(first), None) if last.is_empty() => (first, len),
        (None, Some(count)) if first.is_empty() => (len.saturating_sub(count), len),
        _ => return Part::Whole,
    };
    if start < end {
        Part::Bytes(start..end)
    } else {
        Part::Beyond
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn asked(method: &Method, headers: &[(header::HeaderName, &str)]) -> Part {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name, HeaderValue::from_str(value).unwrap());
        }
        part(method, &map, "\"id\"", 1000)
    }

    #[test]
    fn ranges() {
        for (range, answer) in [
            ("bytes=0-", Part::Bytes(0..1000)),
            ("bytes=0-0", Part::Bytes(0..1)),
            ("bytes=990-5000", Part::Bytes(990..1000)),
            ("bytes=-10", Part::Bytes(990..1000)),
            ("bytes=-5000", Part::Bytes(0..1000)),
            ("bytes=1000-", Part::Beyond),
            ("bytes=5000-6000", Part::Beyond),
            ("bytes=-0", Part::Beyond),
            ("bytes=99999999999999999999-", Part::Beyond),
            ("bytes=99999999999999999998-99999999999999999999", Part::Beyond),
            ("bytes=990-99999999999999999999", Part::Bytes(990..1000)),
            ("bytes=-99999999999999999999", Part::Bytes(0..1000)),
            ("bytes=-", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes=10-5", Part::Whole),
            ("bytes=0-1,5-6", Part::Whole),
            ("bytes=x-", Part::Whole),
            ("seconds=1-2", Part::Whole),
        ] {
            assert_eq!(asked(&Method::GET, &[(header::RANGE, range)]), answer, "{range}");
        }
        assert_eq!(asked(&Method::GET, &[]), Part::Whole);
        assert_eq!(asked(&Method::HEAD, &[(header::RANGE, "bytes=0-1")]), Part::Whole);
    }

    #[test]
    fn conditions() {
        let range = (header::RANGE, "bytes=1-2");
        let get = |headers: &[(header::HeaderName, &str)]| asked(&Method::GET, headers);
        assert_eq!(
            get(&[range.clone(), (header::IF_RANGE, "\"id\"")]),
            Part::Bytes(1..3)
        );
        for other in ["\"other\"", "W/\"id\"", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            assert_eq!(
                get(&[range.clone(), (header::IF_RANGE, other)]),
                Part::Whole,
                "{other}"
            );
        }
        for same in ["\"id\"", "W/\"id\"", "\"a\", \"id\"", "*"] {
            assert_eq!(get(&[(header::IF_NONE_MATCH, same)]), Part::NotModified, "{same}");
        }
        assert_eq!(get(&[(header::IF_NONE_MATCH, "\"a\"")]), Part::Whole);
        assert_eq!(get(&[(header::IF_MATCH, "\"a\""), range.clone()]), Part::NotThat);
        assert_eq!(
            get(&[(header::IF_MATCH, "\"a\", \"id\""), range]),
            Part::Bytes(1..3)
        );
    }
}
