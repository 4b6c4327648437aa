//! The header of an answer that says which bytes it has. Pure.

use std::ops::Range;

/// The range and the total of `Content-Range: bytes A-B/TOTAL` (RFC 9110 §14.4).
pub(super) fn content_range(text: &str) -> Option<(Range<u64>, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.trim().split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let total = match total.trim() {
        "*" => None,
        digits => Some(digits.parse().ok()?),
    };
    Some((first..last.checked_add(1)?, total)).filter(|(range, _)| range.start < range.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_range_is_read_strictly() {
        assert_eq!(content_range("bytes 0-9/100"), Some((0..10, Some(100))));
        assert_eq!(content_range("bytes 5-5/*"), Some((5..6, None)));
        for bad in [
            "",
            "bytes 0-9",
            "bytes */100",
            "bytes 9-0/100",
            "octets 0-9/100",
            "bytes -5/100",
            "bytes 0-x/1",
        ] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
        assert_eq!(content_range(&format!("bytes 0-{}/*", u64::MAX)), None);
    }
}
