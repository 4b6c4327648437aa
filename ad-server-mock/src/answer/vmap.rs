//! Writes VMAP 1.0: where the breaks of an episode are, each with its ads inline or with the tag to ask for them.

use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, Event};

use super::vast::{Version, Xml, link, root};
use super::{Context, clock};
use crate::ads::Decided;

const NAMESPACE: &str = "http://www.iab.net/videosuite/vmap";

/// When a break is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Offset {
    Start,
    End,
    /// Milliseconds.
    At(i64),
    /// Per cent of the content.
    Percent(u32),
}

impl Offset {
    /// From `start`, `end`, `n%`, `SS`, `MM:SS` or `HH:MM:SS`, each with `.mmm`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "start" => return Some(Self::Start),
            "end" => return Some(Self::End),
            _ => {}
        }
        if let Some(percent) = text.strip_suffix('%') {
            return percent.parse().ok().filter(|n| *n <= 100).map(Self::Percent);
        }
        let parts: Vec<&str> = text.split(':').collect();
        let (seconds, larger) = parts.split_last()?;
        let seconds: f64 = seconds.parse().ok().filter(|s| (0.0..86_400.0).contains(s))?;
        if larger.len() > 2 {
            return None;
        }
        let minutes = larger.iter().try_fold(0_i64, |sum, part| {
            let n: i64 = part.parse().ok().filter(|n| (0..=999).contains(n))?;
            Some(sum * 60 + n)
        })?;
        Some(Self::At(minutes * 60_000 + (seconds * 1000.0).round() as i64))
    }

    /// As VMAP writes it.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Start => "start".to_owned(),
            Self::End => "end".to_owned(),
            Self::At(millis) => clock(millis),
            Self::Percent(n) => format!("{n}%"),
        }
    }

    /// The position that it is, in the words of a question for ads.
    pub(crate) fn position(self) -> &'static str {
        match self {
            Self::Start | Self::At(0) | Self::Percent(0) => "preroll",
            Self::End | Self::Percent(100) => "postroll",
            Self::At(_) | Self::Percent(_) => "midroll",
        }
    }
}

/// What a break plays.
pub(crate) enum Source<'a> {
    /// Decided now.
    Pod(Context<'a>, Vec<Decided>),
    /// To be asked when it is time.
    Tag(String),
}

/// The breaks of an episode.
pub(crate) fn vmap(version: Version, breaks: &[(Offset, Source<'_>)]) -> String {
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
    let written = xml
        .write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))
        .and_then(|()| all(&mut xml, version, breaks));
    written.expect("writing to memory does not fail");
    String::from_utf8(xml.into_inner()).expect("only UTF-8 was written")
}

fn all(xml: &mut Xml, version: Version, breaks: &[(Offset, Source<'_>)]) -> io::Result<()> {
    let root_attributes = [("xmlns:vmap", NAMESPACE), ("version", "1.0")];
    xml.create_element("vmap:VMAP")
        .with_attributes(root_attributes)
        .write_inner_content(|xml| {
            breaks.iter().enumerate().try_for_each(|(n, (offset, source))| {
                let (time, id) = (offset.text(), format!("break-{}", n + 1));
                let attributes = [
                    ("timeOffset", time.as_str()),
                    ("breakType", "linear"),
                    ("breakId", id.as_str()),
                ];
                xml.create_element("vmap:AdBreak")
                    .with_attributes(attributes)
                    .write_inner_content(|xml| {
                        ad_source(xml, version, &format!("source-{}", n + 1), source)
                    })?;
                Ok(())
            })
        })?;
    Ok(())
}

fn ad_source(xml: &mut Xml, version: Version, id: &str, source: &Source<'_>) -> io::Result<()> {
    let attributes = [
        ("id", id),
        ("allowMultipleAds", "true"),
        ("followRedirects", "true"),
    ];
    xml.create_element("vmap:AdSource")
        .with_attributes(attributes)
        .write_inner_content(|xml| match source {
            Source::Pod(context, pod) => {
                xml.create_element("vmap:VASTAdData")
                    .write_inner_content(|xml| root(xml, *context, version, pod))?;
                Ok(())
            }
            Source::Tag(url) => {
                let template = if version == Version::V2 {
                    "vast2"
                } else if version == Version::V3 {
                    "vast3"
                } else {
                    "vast4"
                };
                link(xml, "vmap:AdTagURI", &[("templateType", template)], url)
            }
        })?;
    Ok(())
}
