//! Vorbis comments, the tags of FLAC, Opus and Vorbis, and the chapters in them: `CHAPTER001=00:12:34.500` and `CHAPTER001NAME=…`.
//!
//! Only chapters' times are changed (what is left of none is left out), and `LENGTH` where it is the content's, in milliseconds; every other tag is copied as it is. What cannot be made sense of is copied whole.

use std::collections::{HashMap, HashSet};

use crate::plan::SplicePlan;
use crate::splice::Chapter;
use crate::splice::layout::{ends, is_replaced, moved};
use crate::time::{ContentTime, PresentationTime};

/// Most chapters that are told of.
const MOST_CHAPTERS: usize = 10_000;

/// Where the comments are: each one's range in the data, after its length.
fn comments(data: &[u8]) -> Vec<std::ops::Range<usize>> {
    let length = |at: usize| {
        let bytes = data.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
    };
    let mut found = Vec::new();
    let Some(vendor) = length(0) else { return found };
    let mut at = vendor.saturating_add(4);
    let Some(count) = length(at) else { return found };
    at += 4;
    for _ in 0..count {
        let Some(len) = length(at) else { break };
        let start = at + 4;
        if data.len().saturating_sub(start) < len {
            break;
        }
        found.push(start..start + len);
        at = start + len;
    }
    found
}

/// The number and the time of a chapter, when a comment is one.
fn chapter(comment: &str) -> Option<(&str, ContentTime)> {
    let (key, value) = comment.split_once('=')?;
    let number = key
        .get(..7)
        .filter(|name| name.eq_ignore_ascii_case("CHAPTER"))
        .and(key.get(7..))?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut parts = value.trim().split(':').rev();
    let seconds: f64 = parts.next()?.parse().ok()?;
    let minutes: u32 = parts.next()?.parse().ok()?;
    let hours: u32 = parts.next()?.parse().ok()?;
    let whole = f64::from(hours) * 3600.0 + f64::from(minutes) * 60.0;
    (seconds.is_finite() && parts.next().is_none())
        .then(|| (number, ContentTime::from_secs_f64(whole + seconds)))
}

/// The number of a chapter whose time a comment gives, right or wrong.
fn timed(comment: &str) -> Option<&str> {
    let key = comment.split_once('=')?.0;
    described(comment).filter(|number| key.len() == "CHAPTER".len() + number.len())
}

/// What a block says of chapters: of each where it begins in the content and its title, in the order of their beginnings. The error names the comment whose time cannot be read.
pub(crate) fn stated(data: &[u8]) -> Result<Vec<(ContentTime, String)>, String> {
    let all: Vec<&str> = comments(data)
        .into_iter()
        .map(|range| text(data, range))
        .collect();
    let titles = titles(&all);
    let mut found = Vec::new();
    for (comment, number) in all.iter().filter_map(|comment| Some((comment, timed(comment)?))) {
        let is_clock = |value: &str| {
            value
                .bytes()
                .all(|byte| byte.is_ascii_digit() || b":. ".contains(&byte))
        };
        let time = comment.split_once('=').filter(|(_, value)| is_clock(value));
        let (_, time) = time.and_then(|_| chapter(comment)).ok_or_else(|| {
            let tag: String = comment.chars().take(60).collect();
            format!("the tag {tag:?} has no time, such as 00:12:34.500")
        })?;
        found.push((time, titles.get(number).copied().unwrap_or_default().to_owned()));
        if found.len() == MOST_CHAPTERS {
            break;
        }
    }
    found.sort_by_key(|chapter| chapter.0);
    Ok(found)
}

fn titles<'a>(comments: &[&'a str]) -> HashMap<&'a str, &'a str> {
    let mut titles = HashMap::new();
    for (number, title) in comments.iter().filter_map(|comment| name(comment)) {
        titles.entry(number).or_insert(title);
    }
    titles
}

/// The number and the title of a chapter, when a comment names one.
fn name(comment: &str) -> Option<(&str, &str)> {
    let (key, value) = comment.split_once('=')?;
    let number = key
        .get(..7)
        .filter(|name| name.eq_ignore_ascii_case("CHAPTER"))
        .and(key.get(7..))?;
    let end = number.len().checked_sub(4)?;
    let (number, name) = number.split_at_checked(end)?;
    name.eq_ignore_ascii_case("NAME").then_some((number, value))
}

/// The number of a chapter that a comment describes, with its name or a link.
fn described(comment: &str) -> Option<&str> {
    let (key, _) = comment.split_once('=')?;
    let number = key
        .get(..7)
        .filter(|name| name.eq_ignore_ascii_case("CHAPTER"))
        .and(key.get(7..))?;
    let digits = number.bytes().take_while(u8::is_ascii_digit).count();
    let (number, what) = number.split_at(digits);
    let is_known = what.is_empty()
        || ["NAME", "URL"]
            .iter()
            .any(|known| what.eq_ignore_ascii_case(known));
    (digits > 0 && is_known).then_some(number)
}

/// The numbers of the chapters that nothing is left of.
fn left_out<'a>(plan: &SplicePlan, comments: &[&'a str]) -> HashSet<&'a str> {
    let listed: Vec<(&str, ContentTime)> = comments
        .iter()
        .filter_map(|comment| chapter(comment))
        .take(MOST_CHAPTERS)
        .collect();
    let starts: Vec<ContentTime> = listed.iter().map(|chapter| chapter.1).collect();
    let mut gone = HashSet::new();
    let mut left = HashSet::new();
    for ((number, start), end) in listed.into_iter().zip(ends(plan, &starts)) {
        if is_replaced(plan, &(start..end), unit(plan)) {
            gone.insert(number);
        } else {
            left.insert(number);
        }
    }
    gone.retain(|number| !left.contains(number));
    gone
}

/// What a comment is to be that says how long the content is, in milliseconds; `None` for any other.
fn length(plan: &SplicePlan, comment: &str) -> Option<String> {
    let (key, value) = comment.split_once('=')?;
    let stated: u64 = value
        .parse()
        .ok()
        .filter(|_| key.eq_ignore_ascii_case("LENGTH"))?;
    let content = ContentTime::from_samples(plan.content_samples(), plan.sample_rate()).as_millis();
    // Some count whole seconds.
    (stated.abs_diff(content) <= 1_000).then(|| format!("{key}={}", plan.duration().as_millis()))
}

fn text(data: &[u8], range: std::ops::Range<usize>) -> &str {
    std::str::from_utf8(&data[range]).unwrap_or_default()
}

fn unit(plan: &SplicePlan) -> u64 {
    u64::from(plan.sample_rate().div_ceil(1000))
}

/// The chapters in presentation time, each up to the next.
pub(crate) fn chapters(plan: &SplicePlan, data: &[u8]) -> Vec<Chapter> {
    let all: Vec<&str> = comments(data)
        .into_iter()
        .map(|range| text(data, range))
        .collect();
    let titles = titles(&all);
    let left_out = left_out(plan, &all);
    let mut found: Vec<Chapter> = all
        .iter()
        .filter_map(|comment| chapter(comment))
        .take(MOST_CHAPTERS)
        .filter(|(number, _)| !left_out.contains(number))
        .map(|(number, time)| {
            let start = moved(plan, time, unit(plan));
            Chapter {
                id: number.to_owned(),
                title: titles.get(number).copied().unwrap_or_default().to_owned(),
                start,
                end: start,
            }
        })
        .collect();
    found.sort_by_key(|chapter| chapter.start);
    let end = PresentationTime::from(plan.duration());
    let ends: Vec<_> = found
        .iter()
        .skip(1)
        .map(|chapter| chapter.start)
        .chain([end])
        .collect();
    for (chapter, end) in found.iter_mut().zip(ends) {
        chapter.end = end;
    }
    found
}

/// A comment whose chapter's time is moved; `None` for any other.
fn moved_chapter(plan: &SplicePlan, comment: &str) -> Option<String> {
    let (_, time) = chapter(comment)?;
    let (key, _) = comment.split_once('=')?;
    let millis = moved(plan, time, unit(plan)).as_millis();
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    Some(format!("{key}={hours:02}:{minutes:02}:{seconds:02}.{millis:03}"))
}

/// The data with the chapters' times moved, and the length that of the result.
pub(crate) fn edit(plan: &SplicePlan, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut copied = 0;
    let all = comments(data);
    let texts: Vec<&str> = all.iter().map(|range| text(data, range.clone())).collect();
    let left_out = left_out(plan, &texts);
    let mut fewer = 0;
    for (range, comment) in all.into_iter().zip(texts) {
        if described(comment).is_some_and(|number| left_out.contains(number)) {
            out.extend(&data[copied..range.start - 4]);
            copied = range.end;
            fewer += 1;
        } else if let Some(changed) = moved_chapter(plan, comment).or_else(|| length(plan, comment)) {
            out.extend(&data[copied..range.start - 4]);
            out.extend((changed.len() as u32).to_le_bytes());
            out.extend(changed.as_bytes());
            copied = range.end;
        }
    }
    out.extend(&data[copied..]);
    if fewer > 0
        && let Some(vendor) = out.first_chunk::<4>().map(|len| u32::from_le_bytes(*len))
        && let Some(count) = out
            .get_mut(4 + vendor as usize..)
            .and_then(<[u8]>::first_chunk_mut::<4>)
    {
        *count = u32::from_le_bytes(*count).saturating_sub(fewer).to_le_bytes();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{PlannedBreak, Steps};
    use proptest::prelude::*;

    fn data(comments: &[&str]) -> Vec<u8> {
        let mut out = b"\x04\0\0\0test".to_vec();
        out.extend((comments.len() as u32).to_le_bytes());
        for comment in comments {
            out.extend((comment.len() as u32).to_le_bytes());
            out.extend(comment.as_bytes());
        }
        out.push(1);
        out
    }

    #[test]
    fn what_is_stated_is_what_is_written_and_a_time_that_is_none_is_named() {
        let at = |comments: &[&str]| {
            let found = stated(&data(comments))?;
            Ok::<_, String>(
                found
                    .into_iter()
                    .map(|(at, title)| (at.as_millis(), title))
                    .collect::<Vec<_>>(),
            )
        };
        let two = [
            "CHAPTER002=00:01:30.5",
            "chapter001=00:00:10.000",
            "CHAPTER001NAME=Ad",
            "CHAPTERS=many",
            "CHAPTER001URL=x",
        ];
        let expected = vec![(10_000, "Ad".to_owned()), (90_500, String::new())];
        assert_eq!(at(&two), Ok(expected), "in order, whatever the content's length");
        for wrong in ["00:00:1x.500", "12.5", "", "0:0:-3", "0:0:1e3"] {
            let error = at(&["TITLE=x", &format!("CHAPTER007={wrong}")]).expect_err(wrong);
            assert!(
                error.contains(&format!("{:?}", format!("CHAPTER007={wrong}"))),
                "{error}"
            );
        }
    }

    #[test]
    fn chapters_move_and_everything_else_stays() {
        let planned = PlannedBreak {
            lead: 0,
            index: 0,
            span: 10_000..10_000,
            ads: vec![5_000],
        };
        let plan = SplicePlan::new(1_000, 60_000, Steps::ANY, &[planned]).unwrap();
        let before = data(&[
            "TITLE=CHAPTER001=x",
            "CHAPTER000=00:00:00.000",
            "CHAPTER000NAME=One",
            "chapter001=0:0:10",
            "CHAPTER001NAME=Two",
            "CHAPTERS=3",
            "length=59500",
            "LENGTH=60",
        ]);
        let after = data(&[
            "TITLE=CHAPTER001=x",
            "CHAPTER000=00:00:00.000",
            "CHAPTER000NAME=One",
            "chapter001=00:00:15.000",
            "CHAPTER001NAME=Two",
            "CHAPTERS=3",
            "length=65000",
            "LENGTH=60",
        ]);
        assert_eq!(edit(&plan, &before), after);
        let found = chapters(&plan, &before);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].title.as_str(), found[1].title.as_str()), ("One", "Two"));
        assert_eq!(
            (found[0].end.as_millis(), found[1].end.as_millis()),
            (15_000, 65_000)
        );
    }

    #[test]
    fn a_chapter_of_which_nothing_is_left_goes_with_all_that_describes_it() {
        let planned = PlannedBreak {
            lead: 0,
            index: 0,
            span: 10_000..20_000,
            ads: vec![5_000],
        };
        let plan = SplicePlan::new(1_000, 60_000, Steps::ANY, &[planned]).unwrap();
        let before = data(&[
            "CHAPTER000=00:00:00.000",
            "CHAPTER000NAME=One",
            "CHAPTER001=00:00:11.000",
            "CHAPTER001NAME=Two",
            "CHAPTER002=00:00:18.000",
            "TITLE=Episode",
            "chapter001url=https://example.org/",
        ]);
        let after = data(&[
            "CHAPTER000=00:00:00.000",
            "CHAPTER000NAME=One",
            "CHAPTER002=00:00:15.000",
            "TITLE=Episode",
        ]);
        assert_eq!(edit(&plan, &before), after);
        let found: Vec<_> = chapters(&plan, &before)
            .into_iter()
            .map(|chapter| (chapter.id, chapter.end.as_millis()))
            .collect();
        assert_eq!(found, [("000".to_owned(), 15_000), ("002".to_owned(), 55_000)]);
    }

    #[test]
    fn a_flood_of_chapters_costs_no_more_than_reading_it() {
        let plan = SplicePlan::new(1_000, 60_000, Steps::ANY, &[]).unwrap();
        let mut comments = vec!["chapter1name=One", "CHAPTER1NAME=Two"];
        comments.resize(3 * MOST_CHAPTERS, "CHAPTER1=0:0:0");
        let found = chapters(&plan, &data(&comments));
        assert_eq!(found.len(), MOST_CHAPTERS);
        assert!(found.iter().all(|chapter| chapter.title == "One"));
    }

    proptest! {
        #[test]
        fn what_makes_no_sense_is_copied(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let plan = SplicePlan::new(1_000, 60_000, Steps::ANY, &[]).unwrap();
            prop_assert_eq!(edit(&plan, &bytes), bytes);
        }
    }
}
