//! Podcast feeds (RSS 2.0 with the podcast namespace): which episodes there are, and a feed with our `.torrent` added to one of them.
//!
//! Pure: text in, data or text out. The new feed is the old one with text inserted: every other byte stays, so listeners without Grove
//! notice nothing. Follows the podcast namespace's `alternateEnclosure`, `source` and `integrity`.
//!
//! Not for: fetching, or choosing what a listener wants beyond `--episode`.

use std::borrow::Cow;
use std::ops::Range;

use ad_splicer::one_line::one_line;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use url::Url;

/// The content type of a `.torrent` in a feed.
pub(crate) const TORRENT_TYPE: &str = "application/x-bittorrent";

/// The podcast namespace's name.
const NAMESPACE: &str = "https://podcastindex.org/namespace/1.0";

/// Deeper nesting than this is no feed.
const MAX_DEPTH: usize = 64;

/// Why a feed cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FeedError {
    #[error("it is not well-formed XML at byte {offset}: {reason}")]
    Xml { offset: u64, reason: String },
    #[error("it is not an RSS feed: there is no <channel>")]
    NoChannel,
    #[error("no item of it has the enclosure {url}: {}", what_there_is(there))]
    NoEnclosure {
        url: String,
        /// The enclosures that it has, those of the same name first.
        there: Vec<String>,
    },
    #[error("it has no episode `{wanted}`: it has {count} of them")]
    NoEpisode { wanted: String, count: usize },
    #[error("none of its {count} episodes has an enclosure with a URL")]
    NoMedia { count: usize },
}

/// Enclosures that are named where none fits.
const MOST_NAMED: usize = 3;

fn what_there_is(enclosures: &[String]) -> String {
    let named = enclosures[..enclosures.len().min(MOST_NAMED)].join(", ");
    match enclosures.len() {
        0 => "it has none".to_owned(),
        count if count > MOST_NAMED => format!("it has {named} and {} more", count - MOST_NAMED),
        _ => format!("it has {named}"),
    }
}

/// The last part of a URL's path.
fn file_name(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default()
}

/// One `<item>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) guid: String,
    pub(crate) title: String,
    /// The enclosure's URL; an empty one leads nowhere.
    pub(crate) enclosure: Option<String>,
    /// The enclosure's media type.
    pub(crate) media_type: Option<String>,
    /// URLs of `.torrent` files among the alternate enclosures.
    pub(crate) torrents: Vec<String>,
    /// Where text can be inserted after the enclosure.
    after_enclosure: usize,
    /// Alternate enclosures that are ours to replace.
    ours: Vec<Range<usize>>,
}

impl Item {
    fn has_media(&self) -> bool {
        self.enclosure.is_some() || !self.torrents.is_empty()
    }
}

/// What is added to an item.
#[derive(Clone, Debug)]
pub(crate) struct Addition<'a> {
    /// The enclosure that it belongs to, as the feed has it.
    pub(crate) media_url: &'a str,
    pub(crate) torrent_url: &'a str,
    pub(crate) media_type: &'a str,
    /// Bytes of the media file.
    pub(crate) length: u64,
    /// A subresource integrity value, `sha256-…`.
    pub(crate) integrity: &'a str,
}

struct Feed {
    items: Vec<Item>,
    /// The prefix that is bound to the podcast namespace, and where a binding could be inserted.
    prefix: Option<String>,
    root_end: usize,
}

/// The text of a feed: UTF-8, or ISO-8859-1 where its declaration says so, whose bytes are the first 256 characters.
pub(crate) fn text_of(bytes: &[u8]) -> Option<Cow<'_, str>> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Some(Cow::Borrowed(text));
    }
    let declaration = bytes.split(|byte| *byte == b'>').next()?;
    let declaration = String::from_utf8_lossy(declaration).to_ascii_lowercase();
    let names = ["\"iso-8859-1\"", "'iso-8859-1'"];
    let is_latin = declaration.starts_with("<?xml") && names.iter().any(|name| declaration.contains(name));
    is_latin.then(|| Cow::Owned(bytes.iter().copied().map(char::from).collect()))
}

/// The episodes of a feed, in its order.
pub(crate) fn parse(text: &str) -> Result<Vec<Item>, FeedError> {
    scan(text).map(|feed| feed.items)
}

/// The item that `--episode` means: `latest` is the first in the feed that has media (others are of text alone), a number counts from 1, anything else is a GUID.
pub(crate) fn choose<'a>(items: &'a [Item], wanted: &str) -> Result<&'a Item, FeedError> {
    let by_guid = items.iter().find(|item| item.guid == wanted);
    let found = by_guid.or_else(|| match wanted {
        "latest" => items.iter().find(|item| item.has_media()),
        number => number
            .parse::<usize>()
            .ok()
            .and_then(|n| items.get(n.checked_sub(1)?)),
    });
    found.ok_or_else(|| match items.len() {
        count @ 1.. if wanted == "latest" => FeedError::NoMedia { count },
        count => FeedError::NoEpisode {
            wanted: wanted.to_owned(),
            count,
        },
    })
}

/// The feed with a `.torrent` beside the enclosure; one that is there already for it is replaced.
pub(crate) fn with_torrent(text: &str, addition: &Addition<'_>) -> Result<String, FeedError> {
    let feed = scan(text)?;
    // The very text comes first, then other spellings of the same URL.
    let wanted = Url::parse(addition.media_url).ok();
    let is_it = |url: &String| wanted.is_some() && Url::parse(url).ok() == wanted;
    let has = |item: &&Item| item.enclosure.as_ref().is_some_and(is_it);
    let mut items = feed.items.iter();
    let item = items
        .find(|item| item.enclosure.as_deref() == Some(addition.media_url))
        .or_else(|| feed.items.iter().find(has));
    let item = item.ok_or_else(|| {
        let mut there: Vec<String> = feed
            .items
            .iter()
            .filter_map(|item| item.enclosure.clone())
            .collect();
        there.sort_by_key(|url| file_name(url) != file_name(addition.media_url));
        FeedError::NoEnclosure {
            url: addition.media_url.to_owned(),
            there,
        }
    })?;
    let prefix = feed.prefix.as_deref().unwrap_or("podcast");
    let media_type = item.media_type.as_deref().unwrap_or(addition.media_type);
    let indent: String = {
        let before = &text[..item.after_enclosure];
        let line = before.rfind('\n').map_or("", |at| &before[at + 1..]);
        line.chars().take_while(|c| c.is_whitespace()).collect()
    };
    let added = format!(
        "\n{indent}<{prefix}:alternateEnclosure type=\"{}\" length=\"{}\">\
         \n{indent}  <{prefix}:source uri=\"{}\" contentType=\"{TORRENT_TYPE}\"/>\
         \n{indent}  <{prefix}:integrity type=\"sri\" value=\"{}\"/>\
         \n{indent}</{prefix}:alternateEnclosure>",
        escape(media_type),
        addition.length,
        escape(addition.torrent_url),
        escape(addition.integrity),
    );
    // Edits from the back to the front, so that earlier offsets stay right.
    let mut edits: Vec<(Range<usize>, String)> = item
        .ours
        .iter()
        .map(|range| (with_whitespace(text, range), String::new()))
        .collect();
    edits.push((item.after_enclosure..item.after_enclosure, added));
    if feed.prefix.is_none() {
        edits.push((
            feed.root_end..feed.root_end,
            format!(" xmlns:podcast=\"{NAMESPACE}\""),
        ));
    }
    edits.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    let mut result = text.to_owned();
    for (range, new) in edits {
        result.replace_range(range, &new);
    }
    Ok(result)
}

/// An element together with the white space before it, so that replacing it again and again adds no empty lines.
fn with_whitespace(text: &str, range: &Range<usize>) -> Range<usize> {
    text[..range.start].trim_end().len()..range.end
}

fn escape(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

fn scan(text: &str) -> Result<Feed, FeedError> {
    let mut reader = Reader::from_str(text);
    let mut feed = Feed {
        items: Vec::new(),
        prefix: None,
        root_end: 0,
    };
    let mut path: Vec<String> = Vec::new();
    let mut item: Option<Item> = None;
    let mut alternate: Option<(usize, Vec<String>)> = None;
    let mut channel = false;
    loop {
        let start = reader.buffer_position() as usize;
        let xml = |reason: String, offset: u64| FeedError::Xml { offset, reason };
        let event = reader
            .read_event()
            .map_err(|error| xml(error.to_string(), start as u64))?;
        let end = reader.buffer_position() as usize;
        let (element, empty) = match &event {
            Event::Start(element) => (Some(element), false),
            Event::Empty(element) => (Some(element), true),
            _ => (None, false),
        };
        if let Some(element) = element {
            let name = element.name().as_ref().to_owned();
            if path.is_empty() {
                feed.prefix = bound_prefix(element);
                feed.root_end = end - if empty { 2 } else { 1 };
            }
            let podcast = feed.prefix.as_deref().unwrap_or("podcast");
            let local = name.strip_prefix(podcast).and_then(|rest| rest.strip_prefix(':'));
            match (name.as_str(), local) {
                ("channel", _) => channel = true,
                ("item", _) if path.last().is_some_and(|parent| parent == "channel") => {
                    item = Some(Item::default());
                }
                ("enclosure", _) => {
                    if let Some(item) = item.as_mut().filter(|item| item.enclosure.is_none()) {
                        item.enclosure = attribute(element, "url").filter(|url| !url.trim().is_empty());
                        item.media_type = attribute(element, "type");
                        if empty {
                            item.after_enclosure = end;
                        }
                    }
                }
                (_, Some("alternateEnclosure")) => alternate = Some((start, Vec::new())),
                (_, Some("source")) => {
                    if let (Some((_, torrents)), Some(uri)) = (alternate.as_mut(), attribute(element, "uri"))
                    {
                        let kind = attribute(element, "contentType");
                        if kind.as_deref() == Some(TORRENT_TYPE)
                            || kind.is_none() && uri.ends_with(".torrent")
                        {
                            torrents.push(uri);
                        }
                    }
                }
                _ => {}
            }
            if !empty {
                if path.len() >= MAX_DEPTH {
                    return Err(xml("it is nested too deeply".into(), start as u64));
                }
                path.push(name);
            }
        }
        match event {
            Event::End(element) => {
                let name = element.name().as_ref().to_owned();
                path.pop();
                if name == "enclosure" {
                    if let Some(item) = item.as_mut().filter(|item| item.after_enclosure == 0) {
                        item.after_enclosure = end;
                    }
                } else if name.ends_with(":alternateEnclosure") {
                    if let (Some((begin, torrents)), Some(item)) = (alternate.take(), item.as_mut())
                        && !torrents.is_empty()
                    {
                        item.ours.push(begin..end);
                        item.torrents.extend(torrents);
                    }
                } else if name == "item" {
                    feed.items.extend(item.take());
                }
            }
            Event::Text(text) => {
                if let (Some(item), [.., parent, field]) = (item.as_mut(), path.as_slice())
                    && parent == "item"
                {
                    let value = text.xml10_content().into_owned();
                    push_field(item, field, &value);
                }
            }
            Event::CData(text) => {
                if let (Some(item), [.., parent, field]) = (item.as_mut(), path.as_slice())
                    && parent == "item"
                {
                    push_field(item, field, &text);
                }
            }
            Event::GeneralRef(reference) => {
                if let (Some(item), [.., parent, field]) = (item.as_mut(), path.as_slice())
                    && parent == "item"
                {
                    let raw = format!("&{};", &*reference);
                    let value = quick_xml::escape::unescape(&raw)
                        .map(std::borrow::Cow::into_owned)
                        .unwrap_or(raw);
                    push_field(item, field, &value);
                }
            }
            Event::Eof if path.is_empty() => break,
            Event::Eof => return Err(xml(format!("it ends inside <{}>", path.join("><")), end as u64)),
            _ => {}
        }
    }
    for item in &mut feed.items {
        item.guid = item.guid.trim().to_owned();
        item.title = one_line(&item.title);
    }
    if channel {
        Ok(feed)
    } else {
        Err(FeedError::NoChannel)
    }
}

fn push_field(item: &mut Item, field: &str, value: &str) {
    match field {
        "guid" => item.guid.push_str(value),
        "title" => item.title.push_str(value),
        _ => {}
    }
}

fn attribute(element: &BytesStart<'_>, wanted: &str) -> Option<String> {
    let attribute = element
        .attributes()
        .flatten()
        .find(|a| a.key.as_ref() == wanted)?;
    let raw = attribute.value.into_owned();
    Some(
        quick_xml::escape::unescape(&raw)
            .map(std::borrow::Cow::into_owned)
            .unwrap_or(raw),
    )
}

/// The prefix that the root element binds to the podcast namespace.
fn bound_prefix(root: &BytesStart<'_>) -> Option<String> {
    root.attributes().flatten().find_map(|attribute| {
        let key = attribute.key.as_ref().to_owned();
        let value = &attribute.value;
        let ours = value == NAMESPACE || value.contains("podcast-namespace");
        ours.then(|| key.strip_prefix("xmlns:").map(str::to_owned))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEED: &str = r#"<?xml version="1.0"?>
<rss version="2.0">
  <channel>
    <title>Show</title>
    <item>
      <title>Two &amp; more</title>
      <guid>b</guid>
      <enclosure url="https://x.example/2.mp3?a=1&amp;b=2" length="5" type="audio/mpeg"/>
    </item>
    <item><title><![CDATA[One]]></title><guid>a</guid><enclosure url="https://x.example/1.mp3" length="4" type="audio/mpeg"></enclosure></item>
  </channel>
</rss>
"#;

    fn addition(media_url: &str) -> Addition<'_> {
        Addition {
            media_url,
            torrent_url: "https://x.example/2.mp3.torrent",
            media_type: "audio/mpeg",
            length: 5,
            integrity: "sha256-AAAA",
        }
    }

    #[test]
    fn episodes_are_found_by_guid_number_and_latest() {
        let items = parse(FEED).unwrap();
        assert_eq!(items.len(), 2);
        assert_eq!(items[0].title, "Two & more");
        assert_eq!(
            items[0].enclosure.as_deref(),
            Some("https://x.example/2.mp3?a=1&b=2")
        );
        assert_eq!(choose(&items, "latest").unwrap().guid, "b");
        assert_eq!(choose(&items, "2").unwrap().title, "One");
        assert_eq!(choose(&items, "a").unwrap().title, "One");
        for wanted in ["0", "3", "zzz"] {
            assert!(choose(&items, wanted).is_err(), "{wanted}");
        }
    }

    #[test]
    fn the_latest_is_the_newest_that_has_media() {
        let feed = |third: &str| {
            format!(
                "<rss><channel><item><guid>text</guid></item><item><guid>empty</guid><enclosure url=\" \"/></item>\
                 <item><guid>media</guid>{third}</item></channel></rss>"
            )
        };
        let items = parse(&feed("<enclosure url=\"1.mp3\"/>")).unwrap();
        assert_eq!(choose(&items, "latest").unwrap().guid, "media");
        assert_eq!(choose(&items, "1").unwrap().guid, "text");
        assert_eq!(items[1].enclosure, None);
        let error = choose(&parse(&feed("")).unwrap(), "latest").unwrap_err();
        assert_eq!(
            error.to_string(),
            "none of its 3 episodes has an enclosure with a URL"
        );
        let error = choose(&[], "latest").unwrap_err();
        assert_eq!(error.to_string(), "it has no episode `latest`: it has 0 of them");
    }

    #[test]
    fn an_enclosure_may_be_spelt_in_other_ways() {
        for written in [
            "ünï sp ace.mp3",
            "%C3%BCn%C3%AF%20sp%20ace.mp3",
            "%C3%BCnï sp%20ace.mp3",
        ] {
            let feed = FEED.replace("1.mp3", written);
            let media = Url::parse("https://X.example:443/ünï sp ace.mp3").unwrap();
            let new = with_torrent(&feed, &addition(media.as_str())).unwrap();
            let items = parse(&new).unwrap();
            assert_eq!(
                (items[0].torrents.len(), items[1].torrents.len()),
                (0, 1),
                "{written}"
            );
            assert!(new.contains(written), "what was there stays");
        }
    }

    #[test]
    fn text_is_utf_8_or_declared_latin() {
        let latin = b"<?xml version='1.0' encoding='ISO-8859-1'?><rss><title>Caf\xE9 > \x22</title></rss>";
        assert!(text_of(latin).unwrap().contains("Café > \""));
        assert_eq!(text_of("Café".as_bytes()).unwrap(), "Café");
        for other in [
            &b"Caf\xE9 'iso-8859-1'"[..],
            b"<?xml version='1.0'?><rss>\xE9</rss>",
        ] {
            assert_eq!(text_of(other), None);
        }
    }

    #[test]
    fn a_torrent_is_added_once_and_nothing_else_changes() {
        for url in ["https://x.example/2.mp3?a=1&b=2", "https://x.example/1.mp3"] {
            let once = with_torrent(FEED, &addition(url)).unwrap();
            let items = parse(&once).unwrap();
            let item = items
                .iter()
                .find(|item| item.enclosure.as_deref() == Some(url))
                .unwrap();
            assert_eq!(item.torrents, ["https://x.example/2.mp3.torrent"]);
            assert!(once.contains("xmlns:podcast="));
            assert_eq!(
                with_torrent(&once, &addition(url)).unwrap(),
                once,
                "adding again changes nothing"
            );
            let kept: String = FEED
                .lines()
                .filter(|line| !line.contains("<rss") && !line.contains("enclosure"))
                .collect();
            let lines: Vec<&str> = once.lines().collect();
            assert!(
                FEED.lines()
                    .filter(|l| kept.contains(*l))
                    .all(|l| lines.contains(&l))
            );
        }
    }

    #[test]
    fn what_is_no_feed_is_said() {
        assert!(matches!(parse("<html></html>"), Err(FeedError::NoChannel)));
        assert!(matches!(parse("<rss><channel>"), Err(FeedError::Xml { .. })));
        assert!(matches!(
            parse("<rss></channel></rss>"),
            Err(FeedError::Xml { .. })
        ));
        assert!(matches!(
            with_torrent(FEED, &addition("https://other.example/")),
            Err(FeedError::NoEnclosure { .. })
        ));
        let error = with_torrent(FEED, &addition("https://other.example/1.mp3")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no item of it has the enclosure https://other.example/1.mp3: it has https://x.example/1.mp3, https://x.example/2.mp3?a=1&b=2"
        );
    }
}
