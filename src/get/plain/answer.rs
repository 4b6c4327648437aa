//! What an answer to a request for a file, or for the rest of one, means (RFC 9110 §14 and §15.3). Pure.
//!
//! Invariant: what is here is gone on with only where the answer states the very place, the length and the version. Not for: statuses that
//! are trouble which may pass.

use engine::origin::page::is_page;
use gate::StatusCode;

use crate::media_type::is_named_media;
use crate::validator::Validator;

/// What is known of an answer before its body comes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head<'a> {
    pub(super) status: StatusCode,
    /// Bytes of the body, where it says so.
    pub(super) length: Option<u64>,
    pub(super) content_range: Option<&'a str>,
    pub(super) etag: Option<&'a str>,
    pub(super) modified: Option<&'a str>,
}

/// What the rest was asked for of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// The first byte that is not here.
    pub(super) from: u64,
    pub(super) total: Option<u64>,
    pub(super) validator: &'a Validator,
}

/// What comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comes {
    /// All of it, from its first byte.
    All { total: Option<u64> },
    /// What stands behind what is here, up to `end` of `total`.
    More { end: u64, total: u64 },
    /// Nothing that belongs to what is here: all of it is to be asked for.
    Anew,
    /// Nothing of the file.
    Nothing,
}

/// See the module documentation. `asked` is `None` when all of it was asked for.
pub(super) fn comes(head: &Head<'_>, asked: Option<Asked<'_>>) -> Comes {
    match (head.status, asked) {
        (StatusCode::OK, _) => Comes::All { total: head.length },
        (StatusCode::PARTIAL_CONTENT, Some(asked)) => more(head, asked).unwrap_or(Comes::Anew),
        (StatusCode::RANGE_NOT_SATISFIABLE, Some(_)) => Comes::Anew,
        _ => Comes::Nothing,
    }
}

/// Bytes that no page is longer than.
const LONGEST_PAGE: u64 = 1 << 20;

/// Whether it may be that a web page stands where the path names media: the sign-in of a captive portal (a hotel's network), or a server's
/// notice of maintenance. How it begins tells, since scripts give media as pages too. Not for paths that name nothing: those may well be of a page; nor for what is longer than pages are.
pub(super) fn may_be_page(head: &Head<'_>, content_type: Option<&str>, path: &str) -> bool {
    let is_short = head.length.is_none_or(|length| length <= LONGEST_PAGE);
    head.status == StatusCode::OK && is_page(content_type) && is_short && is_named_media(path)
}

fn more(head: &Head<'_>, asked: Asked<'_>) -> Option<Comes> {
    let (range, total) = head
        .content_range?
        .trim()
        .strip_prefix("bytes ")?
        .split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let end = last.checked_add(1)?;
    let total = match total.trim() {
        "*" => asked.total?,
        total => total.parse().ok()?,
    };
    let fits = first == asked.from
        && (first + 1..=total).contains(&end)
        && asked.total.is_none_or(|known| known == total)
        && head.length.is_none_or(|length| length == end - first)
        && asked.validator.is_of(head.etag, head.modified);
    fits.then_some(Comes::More { end, total })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, content_range: Option<&'static str>) -> Head<'static> {
        Head {
            status: StatusCode::from_u16(status).expect("a status"),
            length: None,
            content_range,
            etag: Some("\"a\""),
            modified: None,
        }
    }

    #[test]
    fn only_all_of_it_and_the_very_rest_are_the_file() {
        let validator = Validator::Etag("\"a\"".into());
        let asked = Asked {
            from: 4,
            total: Some(10),
            validator: &validator,
        };
        let more = |end| Comes::More { end, total: 10 };
        for (range, expected) in [
            ("bytes 4-9/10", more(10)),
            ("bytes 4-6/10", more(7)),
            ("bytes 4-4/*", more(5)),
            ("bytes 5-9/10", Comes::Anew),
            ("bytes 0-9/10", Comes::Anew),
            ("bytes 4-9/11", Comes::Anew),
            ("bytes 4-10/10", Comes::Anew),
            ("bytes 4-3/10", Comes::Anew),
            ("bytes 4-18446744073709551615/10", Comes::Anew),
            ("bytes */10", Comes::Anew),
            ("4-9/10", Comes::Anew),
        ] {
            assert_eq!(comes(&head(206, Some(range)), Some(asked)), expected, "{range}");
        }
        assert_eq!(comes(&head(206, None), Some(asked)), Comes::Anew);
        assert_eq!(comes(&head(416, None), Some(asked)), Comes::Anew);
        // Nobody asked for a part.
        assert_eq!(comes(&head(206, Some("bytes 0-9/10")), None), Comes::Nothing);
        assert_eq!(comes(&head(416, None), None), Comes::Nothing);
        for status in [202, 203, 204, 205, 226, 304, 403, 404] {
            assert_eq!(
                comes(&head(status, None), Some(asked)),
                Comes::Nothing,
                "{status}"
            );
        }
        let whole = Head {
            length: Some(12),
            ..head(200, None)
        };
        assert_eq!(comes(&whole, Some(asked)), Comes::All { total: Some(12) });
    }

    #[test]
    fn a_page_may_stand_for_media_and_is_one_where_nothing_else_is_named() {
        let head = |status, length| Head {
            status,
            length,
            ..Head::default()
        };
        let (whole, html) = (head(StatusCode::OK, None), Some("text/html"));
        for path in ["/a/ep1.MP3", "/v1.2/film.webm"] {
            assert!(may_be_page(&whole, html, path), "{path}");
        }
        for path in ["/", "/thing.bin", "/index.html", "/a.mp3/b", "/mp3"] {
            assert!(!may_be_page(&whole, html, path), "{path}");
        }
        assert!(!may_be_page(&whole, Some("audio/mpeg"), "/ep1.mp3"));
        assert!(!may_be_page(
            &head(StatusCode::PARTIAL_CONTENT, None),
            html,
            "/ep1.mp3"
        ));
        assert!(may_be_page(&head(StatusCode::OK, Some(90_000)), html, "/ep1.mp3"));
        assert!(!may_be_page(
            &head(StatusCode::OK, Some(30_000_000)),
            html,
            "/ep1.mp3"
        ));
    }

    #[test]
    fn a_part_of_another_version_or_length_is_not_joined() {
        let validator = Validator::Etag("\"a\"".into());
        let asked = Asked {
            from: 4,
            total: None,
            validator: &validator,
        };
        let right = head(206, Some("bytes 4-9/10"));
        assert_eq!(comes(&right, Some(asked)), Comes::More { end: 10, total: 10 });
        for wrong in [
            Head {
                etag: Some("\"b\""),
                ..right
            },
            Head { etag: None, ..right },
            Head {
                length: Some(7),
                ..right
            },
            // Neither says how long it is, so nobody knows whether that is all.
            head(206, Some("bytes 4-9/*")),
        ] {
            assert_eq!(comes(&wrong, Some(asked)), Comes::Anew, "{wrong:?}");
        }
    }
}
