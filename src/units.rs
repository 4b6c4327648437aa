//! Sizes, rates, and times as people write them on the command line, and as we print them.
//!
//! Sizes take `k`, `M`, `G` (powers of 1000) and `KiB`, `MiB`, `GiB`; times are `SS`, `MM:SS`, `HH:MM:SS`, each with `.mmm`.
//! Whole numbers inside: bytes, and nanoseconds; a fraction is never rounded through a float.

use std::time::Duration;

use ad_splicer::cues::Position;
use ad_splicer::time::ContentTime;
use engine::cue_sheet::Budget;

/// A size in bytes, or a rate in bytes per second: `800k`, `1.5M`, `64KiB`, `4096`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("`{text}` is no size: write bytes, or use k, M, G (powers of 1000), KiB, MiB, GiB");
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit: u64 = match unit.trim_end_matches("/s") {
        "" | "B" => 1,
        "k" | "K" | "kB" | "KB" => 1000,
        "M" | "MB" => 1_000_000,
        "G" | "GB" => 1_000_000_000,
        "KiB" | "Ki" => 1 << 10,
        "MiB" | "Mi" => 1 << 20,
        "GiB" | "Gi" => 1 << 30,
        _ => return Err(wrong()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || fraction.len() > 9 {
        return Err(wrong());
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| wrong())?
    };
    let part = if fraction.is_empty() {
        0
    } else {
        let digits: u64 = fraction.parse().map_err(|_| wrong())?;
        // At most nine digits times 2^30 stays below 2^64.
        digits * unit / 10_u64.pow(fraction.len() as u32)
    };
    whole
        .checked_mul(unit)
        .and_then(|whole| whole.checked_add(part))
        .ok_or_else(wrong)
}

/// A rate in bytes per second that is not zero.
pub(crate) fn parse_rate(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        0 => Err("a rate of 0 would never finish: leave the option out for no limit".into()),
        rate => Ok(rate),
    }
}

/// How many times something: a number that is not below zero.
pub(crate) fn parse_ratio(text: &str) -> Result<f64, String> {
    let ratio = text
        .parse()
        .ok()
        .filter(|ratio: &f64| ratio.is_finite() && *ratio >= 0.0);
    ratio.ok_or_else(|| format!("`{text}` is no number of times: write `1.5`"))
}

/// What the origin may be asked, in bytes and requests per second: `2M` or `2M,50`. Without the second number, a
/// request for each 64 KiB.
pub(crate) fn parse_budget(text: &str) -> Result<Budget, String> {
    let (bytes, requests) = text.split_once(',').map_or((text, None), |(b, r)| (b, Some(r)));
    let bytes_per_second = parse_rate(bytes)?;
    let requests_per_second = match requests {
        None => bytes_per_second.div_ceil(65_536),
        Some(requests) => requests
            .trim()
            .parse()
            .ok()
            .filter(|&n| n > 0)
            .ok_or_else(|| format!("`{requests}` is no number of requests per second: write `2M,50`"))?,
    };
    Ok(Budget {
        bytes_per_second,
        requests_per_second,
    })
}

/// A picture's size in pixels: `1280x720`.
pub(crate) fn parse_dimensions(text: &str) -> Result<(u32, u32), String> {
    let wrong = || format!("`{text}` is no size: write WIDTHxHEIGHT in pixels, as in 1280x720");
    let (width, height) = text.split_once('x').ok_or_else(wrong)?;
    let number = |part: &str| {
        part.parse()
            .ok()
            .filter(|n| (1..=16_384).contains(n))
            .ok_or_else(wrong)
    };
    Ok((number(width)?, number(height)?))
}

/// A time: `90`, `1:30`, `0:01:30.250`.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time: write SS, MM:SS or HH:MM:SS, each with .mmm if needed");
    let parts: Vec<&str> = text.trim().trim_end_matches('s').split(':').collect();
    if parts.len() > 3 {
        return Err(wrong());
    }
    let mut seconds: u64 = 0;
    let mut nanos: u64 = 0;
    for (index, part) in parts.iter().enumerate() {
        let last = index + 1 == parts.len();
        let (whole, fraction) = part.split_once('.').unwrap_or((part, ""));
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty()
            || !digits(whole)
            || !digits(fraction)
            || (!last && part.contains('.'))
            || fraction.len() > 9
        {
            return Err(wrong());
        }
        let value: u64 = whole.parse().map_err(|_| wrong())?;
        if index > 0 && value >= 60 {
            return Err(wrong());
        }
        seconds = seconds
            .checked_mul(60)
            .and_then(|s| s.checked_add(value))
            .ok_or_else(wrong)?;
        if !fraction.is_empty() {
            nanos = format!("{fraction:0<9}").parse().map_err(|_| wrong())?;
        }
    }
    // More than this is a slip of the finger, and would overflow nanoseconds later.
    if seconds > 10 * 365 * 86_400 {
        return Err(wrong());
    }
    Ok(Duration::new(seconds, nanos as u32))
}

/// A place in content: a time, `start`, `end` or `n%`.
pub(crate) fn parse_position(text: &str) -> Result<Position, String> {
    match text.trim() {
        place if matches!(place, "start" | "end") || place.ends_with('%') => {
            place.parse().map_err(|why| format!("{why}"))
        }
        _ => parse_time(text)
            .map(|time| Position::Time(ContentTime::from(time)))
            .map_err(|why| format!("{why}, or `start`, `end` or `n%`")),
    }
}

/// A time span with a unit (`10m`, `2h`, `1d`), or as [`parse_time`] has it.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let factor = match text.chars().last() {
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return parse_time(text),
    };
    let number: u64 = text[..text.len() - 1]
        .parse()
        .map_err(|_| format!("`{text}` is no time span: write 90, 1:30, 10m, 2h or 1d"))?;
    let seconds = number
        .checked_mul(factor)
        .filter(|s| *s <= 10 * 365 * 86_400)
        .ok_or_else(|| format!("`{text}` is too long"))?;
    Ok(Duration::from_secs(seconds))
}

/// For how long something is valid: a time span of a second at least.
pub(crate) fn parse_validity(text: &str) -> Result<Duration, String> {
    match parse_span(text)? {
        span if span.as_secs() == 0 => Err("what is valid for less than a second is of use to nobody".into()),
        span => Ok(span),
    }
}

/// `3.1 MB`.
pub(crate) fn human_bytes(bytes: u64) -> String {
    let value = bytes as f64;
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.1} kB", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} MB", value / 1e6),
        _ => format!("{:.2} GB", value / 1e9),
    }
}

/// `1:02:03.456` or `2:03.456`, to the millisecond.
pub(crate) fn human_time(time: Duration) -> String {
    let millis = time.as_millis();
    let (hours, minutes, seconds, rest) = (
        millis / 3_600_000,
        millis / 60_000 % 60,
        millis / 1000 % 60,
        millis % 1000,
    );
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}.{rest:03}")
    } else {
        format!("{minutes}:{seconds:02}.{rest:03}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets() {
        for (text, bytes_per_second, requests_per_second) in [("2M,50", 2_000_000, 50), ("100", 100, 1)] {
            let budget = Budget {
                bytes_per_second,
                requests_per_second,
            };
            assert_eq!(parse_budget(text).unwrap(), budget, "{text}");
        }
        assert!(parse_budget("0").is_err());
        assert!(parse_budget("2M,0").is_err());
        assert!(parse_budget("2M,many").is_err());
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("800k", 800_000),
            ("1.5M", 1_500_000),
            ("64KiB", 65_536),
            ("2G", 2_000_000_000),
            (".5MiB", 524_288),
            ("1MB/s", 1_000_000),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "1X", "-1", "1.2.3", "99999999999G", "1e6"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert!(parse_rate("0").is_err());
        assert_eq!([parse_ratio("1.5"), parse_ratio("0")], [Ok(1.5), Ok(0.0)]);
        for wrong in ["nan", "inf", "-1", "", "1,5"] {
            assert!(parse_ratio(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times() {
        for (text, millis) in [
            ("90", 90_000),
            ("1:30", 90_000),
            ("0:01:30.250", 90_250),
            ("1:00:00", 3_600_000),
            ("0.001", 1),
            ("90s", 90_000),
        ] {
            assert_eq!(parse_time(text).map(|t| t.as_millis()), Ok(millis), "{text}");
        }
        for text in [
            "",
            ":",
            "1:60",
            "1.5:00",
            "a",
            "1:2:3:4",
            "-1",
            "999999999999",
            "1.",
        ] {
            let ok = parse_time(text);
            // A point without digits after it is a whole number.
            assert_eq!(ok.is_ok(), text == "1.", "{text}");
        }
        for (text, position) in [
            ("start", Position::Start),
            ("end", Position::End),
            ("1:30s", Position::Time(ContentTime::from_nanos(90_000_000_000))),
            ("12.5%", "12.5%".parse().expect("a position")),
        ] {
            assert_eq!(parse_position(text), Ok(position), "{text}");
        }
        for text in ["101%", "%", "middle", "-1", ""] {
            assert!(parse_position(text).is_err(), "{text}");
        }
        assert_eq!(parse_span("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(parse_span("45"), Ok(Duration::from_secs(45)));
        assert!(parse_span("m").is_err());
    }

    #[test]
    fn printed_forms() {
        assert_eq!(human_bytes(3_139_717), "3.14 MB");
        assert_eq!(human_time(Duration::from_millis(3_723_456)), "1:02:03.456");
        assert_eq!(human_time(Duration::from_millis(123_456)), "2:03.456");
    }
}
