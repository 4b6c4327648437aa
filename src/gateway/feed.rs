//! A podcast's feed whose episodes come through the gateway: text is put before the addresses of media, and every other byte stays. Pure.
//!
//! Changed are, of RSS and Atom: `enclosure`, `link rel="enclosure"`, `media:content` of sound and video, the sources of a
//! `podcast:alternateEnclosure` (but not where its `podcast:integrity` tells what bytes have to come: with ads they are others), and
//! `itunes:new-feed-url`, by which an app would leave. The JSON that `podcast:chapters` names comes through the gateway too, which moves its
//! times with the first enclosure of the episode. An episode whose `.torrent` the feed names elsewhere than beside the media is asked
//! for by that. `length` stays what the publisher wrote: how long an episode is with its ads is decided when somebody listens. A `podcast:liveItem` is
//! left alone: what is live has no `.torrent`. So is what leads to the gateway already.
//!
//! Whatever its encoding, as long as it holds ASCII: bytes above are passed as they are. Where it is not well-formed, what follows stays as
//! it is. Not for: fetching it.

use std::ops::Range;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use url::Url;

use super::address::chapters_of;
use crate::feed::TORRENT_TYPE;

/// How a section of text begins in which nothing is escaped.
const CDATA: &str = "<![CDATA[";

/// Edits: what is replaced, by what.
type Edits = Vec<(Range<usize>, String)>;

/// The feed at `place` with the addresses of its media behind `gateway` (`http://127.0.0.1:4768/`). `None` when it is no feed.
pub(super) fn through(feed: &[u8], place: &Url, gateway: &str) -> Option<Vec<u8>> {
    // Each byte is a character of the same number, so that all come back as they were.
    let text: String = feed.iter().copied().map(char::from).collect();
    let edits = Scan::new(&text, place, gateway).run()?;
    let mut result = String::with_capacity(text.len() + edits.len() * gateway.len());
    let mut done = 0;
    for (range, new) in edits {
        result.push_str(&text[done..range.start]);
        result.push_str(&new);
        done = range.end;
    }
    result.push_str(&text[done..]);
    Some(result.chars().map(|c| c as u8).collect())
}

/// What was written, of which each byte came as a character of its number: what is no UTF-8 is Latin 1.
fn written(bytes: &str) -> String {
    let all: Option<Vec<u8>> = bytes.chars().map(|c| u8::try_from(c).ok()).collect();
    let text = all.and_then(|bytes| String::from_utf8(bytes).ok());
    text.unwrap_or_else(|| bytes.to_owned())
}

/// An address in the feed: where it stands, and as what.
struct Address {
    at: Range<usize>,
    url: Option<Url>,
    media_type: Option<String>,
}

/// What is known of an episode so far.
#[derive(Default)]
struct Episode {
    enclosures: Vec<Address>,
    /// Its `.torrent`s, each with the type of the media.
    torrents: Vec<(Url, Option<String>)>,
    chapters: Vec<Address>,
}

/// What is known of an alternate enclosure so far.
#[derive(Default)]
struct Alternate {
    media_type: Option<String>,
    sources: Vec<Address>,
    has_integrity: bool,
}

struct Scan<'a> {
    text: &'a str,
    place: &'a Url,
    gateway: &'a str,
    edits: Edits,
    episode: Episode,
    alternate: Alternate,
    /// Whether this is within something live.
    is_live: bool,
}

impl<'a> Scan<'a> {
    fn new(text: &'a str, place: &'a Url, gateway: &'a str) -> Self {
        Self {
            text,
            place,
            gateway,
            edits: Vec::new(),
            episode: Episode::default(),
            alternate: Alternate::default(),
            is_live: false,
        }
    }

    fn run(mut self) -> Option<Edits> {
        let mut reader = Reader::from_str(self.text);
        let mut is_feed = false;
        let mut moves = false;
        loop {
            let start = reader.buffer_position() as usize;
            match reader.read_event() {
                Ok(Event::Start(element)) => {
                    is_feed |= matches!(element.name().as_ref(), "rss" | "feed" | "rdf:RDF");
                    moves = element.name().as_ref() == "itunes:new-feed-url";
                    self.element(&element);
                }
                Ok(Event::Empty(element)) => {
                    self.element(&element);
                    match element.name().as_ref() {
                        name if name.ends_with(":alternateEnclosure") => self.end_alternate(),
                        name if name.ends_with(":liveItem") => self.is_live = false,
                        _ => {}
                    }
                }
                Ok(Event::Text(_)) if moves => self.new_place(start),
                Ok(Event::CData(_)) if moves => self.new_place(start + CDATA.len()),
                Ok(Event::End(element)) => {
                    moves = false;
                    match element.name().as_ref() {
                        "item" | "entry" => self.end_episode(),
                        name if name.ends_with(":liveItem") => self.is_live = false,
                        name if name.ends_with(":alternateEnclosure") => self.end_alternate(),
                        _ => {}
                    }
                }
                Ok(Event::Eof) | Err(_) => break,
                Ok(_) => {}
            }
        }
        self.end_episode();
        self.edits.sort_by_key(|(range, _)| range.start);
        is_feed.then_some(self.edits)
    }

    fn element(&mut self, element: &BytesStart<'_>) {
        let name = element.name();
        let local = name.as_ref().rsplit(':').next().unwrap_or_default();
        let has_prefix = local.len() < name.as_ref().len();
        self.is_live |= local == "liveItem" && has_prefix;
        if self.is_live {
            return;
        }
        let media_type = || self.attribute(element, "type").map(|(_, value)| value);
        match local {
            "enclosure" if !has_prefix => {
                let found = self.address(element, "url", media_type());
                self.episode.enclosures.extend(found);
            }
            "link"
                if self
                    .attribute(element, "rel")
                    .is_some_and(|(_, rel)| rel == "enclosure") =>
            {
                let found = self.address(element, "href", media_type());
                self.episode.enclosures.extend(found);
            }
            "content" if has_prefix => {
                let kind = media_type().or_else(|| self.attribute(element, "medium").map(|(_, kind)| kind));
                if kind.is_some_and(|kind| kind.starts_with("audio") || kind.starts_with("video"))
                    && let Some(found) = self.address(element, "url", None)
                {
                    self.send_through(&found, "", None);
                }
            }
            "chapters" if has_prefix && media_type().is_some_and(|kind| kind.contains("json")) => {
                let found = self.address(element, "url", None);
                self.episode.chapters.extend(found);
            }
            "alternateEnclosure" => {
                self.alternate = Alternate {
                    media_type: media_type(),
                    ..Alternate::default()
                };
            }
            "integrity" => self.alternate.has_integrity = true,
            "source" if has_prefix => {
                let kind = self.attribute(element, "contentType").map(|(_, kind)| kind);
                let Some(found) = self.address(element, "uri", None) else {
                    return;
                };
                let named = found
                    .url
                    .as_ref()
                    .is_some_and(|url| url.path().ends_with(".torrent"));
                match (found.url.clone(), kind.as_deref()) {
                    (Some(url), Some(TORRENT_TYPE)) => self.torrent(url),
                    (Some(url), None) if named => self.torrent(url),
                    _ => self.alternate.sources.push(found),
                }
            }
            _ => {}
        }
    }

    fn torrent(&mut self, url: Url) {
        let media_type = self.alternate.media_type.clone();
        self.episode.torrents.push((url, media_type));
    }

    /// An attribute's place in the text, and its value.
    fn attribute(&self, element: &BytesStart<'_>, name: &str) -> Option<(Range<usize>, String)> {
        let attribute = element.attributes().flatten().find(|a| a.key.as_ref() == name)?;
        // What is read from a text is a part of it.
        let start = (attribute.value.as_ptr() as usize).checked_sub(self.text.as_ptr() as usize)?;
        let at = start..start + attribute.value.len();
        let raw = self.text.get(at.clone()).filter(|raw| *raw == attribute.value)?;
        let value = quick_xml::escape::unescape(raw).map_or_else(|_| raw.to_owned(), Into::into);
        Some((at, value))
    }

    fn address(&self, element: &BytesStart<'_>, name: &str, media_type: Option<String>) -> Option<Address> {
        let (at, _) = self.attribute(element, name)?;
        let raw = written(&self.text[at.clone()]);
        let value = quick_xml::escape::unescape(&raw).map_or_else(|_| raw.clone(), Into::into);
        let url = self.place.join(value.trim()).ok();
        Some(Address {
            url: url.filter(|url| matches!(url.scheme(), "http" | "https")),
            at,
            media_type,
        })
    }

    /// Has an address lead through the gateway, to what `within` names there, and to another place when one is given.
    fn send_through(&mut self, address: &Address, within: &str, instead: Option<&Url>) {
        let Some(url) = &address.url else { return };
        // What came through the gateway before.
        if url.as_str().starts_with(self.gateway) {
            return;
        }
        let raw = &self.text[address.at.clone()];
        let is_whole = ["http://", "https://"].iter().any(|scheme| {
            let beginning = raw.as_bytes().get(..scheme.len());
            beginning.is_some_and(|beginning| beginning.eq_ignore_ascii_case(scheme.as_bytes()))
        });
        self.edits.push(match instead {
            None if is_whole => (
                address.at.start..address.at.start,
                format!("{}{within}", self.gateway),
            ),
            other => {
                let there = quick_xml::escape::escape(other.unwrap_or(url).as_str()).into_owned();
                (address.at.clone(), format!("{}{within}{there}", self.gateway))
            }
        });
    }

    fn end_episode(&mut self) {
        let episode = std::mem::take(&mut self.episode);
        let mut played: Option<String> = None;
        for enclosure in &episode.enclosures {
            let Some(url) = &enclosure.url else { continue };
            let beside = crate::context::with_suffix(url, ".torrent");
            let is_beside = episode.torrents.iter().any(|(torrent, _)| *torrent == beside);
            let same = |(_, media_type): &&(Url, Option<String>)| *media_type == enclosure.media_type;
            let elsewhere = episode.torrents.iter().find(same).filter(|_| !is_beside);
            let elsewhere = elsewhere.map(|(torrent, _)| torrent);
            self.send_through(enclosure, "", elsewhere);
            played.get_or_insert_with(|| elsewhere.unwrap_or(url).to_string());
        }
        // Of a feed that came through the gateway before, chapters stay as they came.
        let Some(played) = played.filter(|played| !played.starts_with(self.gateway)) else {
            return;
        };
        for chapters in &episode.chapters {
            self.send_through(chapters, &chapters_of(&played), None);
        }
    }

    fn end_alternate(&mut self) {
        let alternate = std::mem::take(&mut self.alternate);
        if alternate.has_integrity {
            return;
        }
        for source in &alternate.sources {
            self.send_through(source, "", None);
        }
    }

    /// A new place of the feed, whose text begins at `start`.
    fn new_place(&mut self, start: usize) {
        let rest = &self.text[start..];
        let begin = start + (rest.len() - rest.trim_start().len());
        let place = &self.text[begin..];
        if place.starts_with("http") && !place.starts_with(self.gateway) {
            self.edits.push((begin..begin, format!("{}feed/", self.gateway)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "http://127.0.0.1:4768/";

    fn through_gateway(feed: &str) -> String {
        let place = Url::parse("https://example.org/shows/feed.xml").unwrap();
        let result = through(feed.as_bytes(), &place, HERE).expect("a feed");
        String::from_utf8(result).expect("it was text before")
    }

    #[test]
    fn media_comes_through_the_gateway_and_nothing_else_changes() {
        let feed = r#"<?xml version="1.0"?>
<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom"><channel>
  <atom:link rel="self" href="https://example.org/shows/feed.xml"/>
  <itunes:new-feed-url> https://new.example/feed.xml </itunes:new-feed-url>
  <title>Müll &amp; Co</title> <link>https://example.org/</link>
  <image><url>https://example.org/cover.png</url></image>
  <item><title>One</title>
    <enclosure type='audio/mpeg' length="5" url = 'https://cdn.example/1.mp3?a=1&amp;b=2'/>
    <media:content url="https://cdn.example/1.mp4" type="video/mp4"/>
    <media:content url="https://cdn.example/1.png" medium="image"/>
    <podcast:alternateEnclosure type="audio/opus"><podcast:source uri="https://cdn.example/1.opus"/></podcast:alternateEnclosure>
    <podcast:alternateEnclosure type="audio/flac"><podcast:source uri="https://cdn.example/1.flac"/><podcast:integrity type="sri" value="sha256-x"/></podcast:alternateEnclosure>
  </item>
  <item><enclosure url="../2.mp3" length="6" type="audio/mpeg"></enclosure></item>
  <item><enclosure url="ftp://example.org/3.mp3" length="6" type="audio/mpeg"/></item>
</channel></rss>
"#;
        let result = through_gateway(feed);
        let changed = feed
            .replace(
                "'https://cdn.example/1.mp3?",
                &format!("'{HERE}https://cdn.example/1.mp3?"),
            )
            .replace(
                "\"https://cdn.example/1.mp4\"",
                &format!("\"{HERE}https://cdn.example/1.mp4\""),
            )
            .replace(
                "\"https://cdn.example/1.opus\"",
                &format!("\"{HERE}https://cdn.example/1.opus\""),
            )
            .replace("\"../2.mp3\"", &format!("\"{HERE}https://example.org/2.mp3\""))
            .replace(
                " https://new.example/",
                &format!(" {HERE}feed/https://new.example/"),
            );
        assert_eq!(result, changed);
    }

    #[test]
    fn chapters_come_through_the_gateway_with_what_is_played() {
        let item = |chapters: &str, media: &str| {
            format!(
                r#"<rss><channel><item><podcast:chapters {chapters}/><enclosure url="{media}" type="audio/mpeg"/></item></channel></rss>"#
            )
        };
        let json = r#"type="application/json+chapters""#;
        let feed = item(
            &format!(r#"url="c.json?a=1&amp;b=2" {json}"#),
            "https://cdn.example/1.mp3?a=1&amp;b=2",
        );
        let found = through_gateway(&feed);
        let due = format!(
            "url=\"{HERE}chapters/https%3A%2F%2Fcdn%2Eexample%2F1%2Emp3%3Fa%3D1%26b%3D2/https://example.org/shows/c.json?a=1&amp;b=2\""
        );
        assert!(found.contains(&due), "{found}");
        assert_eq!(through_gateway(&found), found);
        // Chapters of another kind, and of what does not come through the gateway, stay where they are.
        for feed in [
            item(r#"url="c.txt" type="text/plain""#, "https://cdn.example/1.mp3"),
            item(&format!(r#"url="c.json" {json}"#), "ftp://cdn.example/1.mp3"),
        ] {
            let found = through_gateway(&feed);
            assert!(!found.contains("chapters/"), "{found}");
        }
    }

    #[test]
    fn what_is_live_stays_where_it_is() {
        let feed = r#"<rss><channel>
<podcast:liveItem status="live"><enclosure url="https://live.example/1" type="audio/mpeg"/>
<podcast:alternateEnclosure type="audio/mpeg"><podcast:source uri="https://live.example/2"/></podcast:alternateEnclosure></podcast:liveItem>
<item><enclosure url="https://cdn.example/1.mp3" type="audio/mpeg"/>
<podcast:alternateEnclosure type="audio/mpeg"><podcast:source uri="https://cdn.example/t.torrent" contentType="application/x-bittorrent"/></podcast:alternateEnclosure></item>
</channel></rss>"#;
        let changed = feed.replace(
            "\"https://cdn.example/1.mp3\"",
            &format!("\"{HERE}https://cdn.example/t.torrent\""),
        );
        assert_eq!(through_gateway(feed), changed);
    }

    #[test]
    fn what_came_through_the_gateway_does_not_do_so_twice() {
        let feed = r#"<rss><channel><itunes:new-feed-url><![CDATA[ https://new.example/f.xml]]></itunes:new-feed-url>
<item><enclosure url="https://cdn.example/1.mp3"/></item></channel></rss>"#;
        let once = through_gateway(feed);
        assert!(
            once.contains(&format!("<![CDATA[ {HERE}feed/https://new.example/f.xml]]>")),
            "{once}"
        );
        assert!(
            once.contains(&format!("\"{HERE}https://cdn.example/1.mp3\"")),
            "{once}"
        );
        assert_eq!(through_gateway(&once), once);
    }

    #[test]
    fn an_address_that_is_not_ascii_leads_where_it_did() {
        let feed = r#"<rss><item><enclosure url="gespräche/über &amp; unter.mp3"/></item></rss>"#;
        let result = through_gateway(feed);
        let there = "https://example.org/shows/gespr%C3%A4che/%C3%BCber%20&amp;%20unter.mp3";
        assert!(result.contains(&format!("\"{HERE}{there}\"")), "{result}");
        let place = Url::parse("https://x.example/").unwrap();
        let latin = b"<rss><item><enclosure url=\"\xfc.mp3\"/></item></rss>";
        let result = through(latin, &place, HERE).unwrap();
        let result = String::from_utf8(result).expect("it is ASCII now");
        assert!(
            result.contains(&format!("\"{HERE}https://x.example/%C3%BC.mp3\"")),
            "{result}"
        );
    }

    #[test]
    fn an_episode_is_asked_for_by_the_torrent_that_the_feed_names() {
        let item = |torrent: &str| {
            format!(
                r#"<rss><channel><item><enclosure url="https://cdn.example/1.mp3" type="audio/mpeg"/>
<podcast:alternateEnclosure type="audio/mpeg"><podcast:source uri="{torrent}" contentType="application/x-bittorrent"/><podcast:integrity type="sri" value="sha256-x"/></podcast:alternateEnclosure></item></channel></rss>"#
            )
        };
        let beside = through_gateway(&item("https://cdn.example/1.mp3.torrent"));
        assert!(
            beside.contains(&format!("url=\"{HERE}https://cdn.example/1.mp3\"")),
            "{beside}"
        );
        let elsewhere = through_gateway(&item("https://example.org/t/1.torrent?a=1&amp;b=2"));
        assert!(
            elsewhere.contains(&format!(
                "url=\"{HERE}https://example.org/t/1.torrent?a=1&amp;b=2\""
            )),
            "{elsewhere}"
        );
        assert!(
            elsewhere.contains("uri=\"https://example.org/t/1.torrent"),
            "{elsewhere}"
        );
    }

    #[test]
    fn atom_other_encodings_and_broken_feeds() {
        let atom = r#"<feed><entry><link rel="enclosure" href="https://x.example/1.mp3"/><link rel="alternate" href="https://x.example/"/></entry></feed>"#;
        assert_eq!(
            through_gateway(atom),
            atom.replace(
                "https://x.example/1.mp3",
                &format!("{HERE}https://x.example/1.mp3")
            )
        );
        let place = Url::parse("https://x.example/").unwrap();
        let latin = b"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><rss><title>M\xfcll</title><enclosure url=\"https://x.example/\xfc.mp3\"/></rss>";
        let result = through(latin, &place, HERE).unwrap();
        let added = b"http://127.0.0.1:4768/";
        assert_eq!(result.len(), latin.len() + added.len());
        let at = result
            .windows(added.len())
            .position(|part| part == added)
            .unwrap();
        assert_eq!([&result[..at], &result[at + added.len()..]].concat(), latin);
        let broken = r#"<rss><item><enclosure url="https://x.example/1.mp3"/></item><oops></rss>"#;
        assert!(through_gateway(broken).contains(&format!("\"{HERE}https://x.example/1.mp3\"")));
        for none in ["<html><body>404</body></html>", "", "not XML", "\u{feff}"] {
            assert_eq!(through(none.as_bytes(), &place, HERE), None, "{none}");
        }
    }
}
