//! VMAP 1.0 documents into cue points and back.
//!
//! Both namespaces occur in real documents and neither is required. What VMAP cannot say is in an extension of ours, which
//! other readers ignore:
//!
//! ```xml
//! <vmap:Extension type="grove"><grove:Break replace="00:00:15" maxDuration="00:01:00" maxAds="2"/></vmap:Extension>
//! ```
//!
//! `nanoseconds` there is the exact position when `timeOffset`, which has milliseconds, cannot hold it; `impressionsOn`
//! is the basis on which third parties' impressions are fired.

use std::{collections::HashSet, fmt::Write, time::Duration};

use serde::Serialize;

use super::{
    Action, AdSource, BreakEvent, BreakLoudness, BreakTracking, CuePoint, CueSource, MOST_CUES, Position,
};
use crate::{
    beacons::Basis,
    decide::vast::usable_url,
    time::ContentTime,
    timecode,
    xml::{self, Element, XmlError, cdata, escape},
};

/// Why a document is not usable VMAP. Each says where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VmapError {
    /// It cannot be read at all.
    #[error("the VMAP document cannot be read: {0}")]
    Xml(#[from] XmlError),
    /// Something in it is wrong.
    #[error("the VMAP document is wrong: {0}")]
    Content(XmlError),
    /// What should be written is not VAST.
    #[error("the ads of cue point \"{cue}\" cannot be written: {reason}")]
    Inline {
        /// The cue point's id.
        cue: String,
        /// What is wrong with its document.
        reason: XmlError,
    },
}

/// A parsed document.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Vmap {
    /// The breaks that can be used, in document order.
    pub cues: Vec<CuePoint>,
    /// What was left aside, one sentence each.
    pub notes: Vec<String>,
}

/// Reads a document from a file: UTF-8, UTF-16 with a byte order mark, or Latin-1 when it says so.
pub fn parse_bytes(bytes: &[u8]) -> Result<Vmap, VmapError> {
    parse(&xml::decode(bytes)?)
}

/// Reads a document.
pub fn parse(text: &str) -> Result<Vmap, VmapError> {
    let root = xml::parse(text)?;
    let fail =
        |element: &Element, reason: String| VmapError::Content(XmlError::at(text, element.start, reason));
    if !root.is("VMAP") {
        return Err(fail(
            &root,
            format!("its root element is <{}>, not <VMAP>", root.name),
        ));
    }
    if let Some(version) = root
        .attribute("version")
        .filter(|version| version.split('.').next() != Some("1"))
    {
        return Err(fail(
            &root,
            format!("version \"{version}\" is not understood: 1.0 is"),
        ));
    }
    let mut vmap = Vmap::default();
    let mut used = HashSet::new();
    for (number, element) in root.all("AdBreak").enumerate() {
        if number >= MOST_CUES {
            return Err(fail(
                element,
                format!("there are more than {MOST_CUES} ad breaks"),
            ));
        }
        let mut id = element
            .attribute("breakId")
            .map_or_else(|| format!("break-{}", number + 1), str::to_owned);
        while !used.insert(id.clone()) {
            id = format!("{id}-{}", number + 1);
        }
        let offset = element
            .attribute("timeOffset")
            .ok_or_else(|| fail(element, "an AdBreak has no timeOffset".into()))?;
        if let Some(ordinal) = offset.strip_prefix('#') {
            if !ordinal.parse::<u32>().is_ok_and(|m| m >= 1) {
                return Err(fail(
                    element,
                    format!("timeOffset \"{offset}\" is not #m with m from 1"),
                ));
            }
            vmap.notes.push(format!(
                "break {id} is at opportunity {offset}, which has no time: it is left aside"
            ));
            continue;
        }
        if let Some(kinds) = element.attribute("breakType")
            && !kinds
                .split(',')
                .any(|kind| kind.trim().eq_ignore_ascii_case("linear"))
        {
            vmap.notes
                .push(format!("break {id} is {kinds}, not linear: it is left aside"));
            continue;
        }
        let position: Position = offset
            .parse()
            .map_err(|error| fail(element, format!("timeOffset: {error}")))?;
        let mut cue = CuePoint::new(id, position, CueSource::Vmap);
        if let Some(repeat) = element.attribute("repeatAfter") {
            let step =
                timecode::parse(repeat).map_err(|error| fail(element, format!("repeatAfter: {error}")))?;
            cue.repeat_after = (!step.is_zero()).then_some(step);
        }
        cue.ads = ad_source(text, element, &cue.id, &mut vmap.notes);
        cue.tracking = tracking(element);
        for extension in element.all("Extensions").flat_map(|list| list.all("Extension")) {
            if extension.attribute("type") == Some("grove")
                && let Some(limits) = extension.child("Break")
            {
                read_extension(limits, &mut cue).map_err(|reason| fail(limits, reason))?;
            }
        }
        vmap.cues.push(cue);
    }
    Ok(vmap)
}

/// At most one `AdSource`, holding one of three things (VMAP 1.0 §2.3.2).
fn ad_source(text: &str, element: &Element, id: &str, notes: &mut Vec<String>) -> Option<AdSource> {
    let source = element.child("AdSource")?;
    if let Some(data) = source.child("VASTAdData").or_else(|| source.child("VASTData")) {
        return match (data.child("VAST"), data.value()) {
            (Some(vast), _) => Some(AdSource::Inline(text[vast.start..vast.end].to_owned())),
            (None, Some(escaped)) => Some(AdSource::Inline(escaped.to_owned())),
            (None, None) => {
                notes.push(format!("break {id} has an empty VASTAdData: it stays empty"));
                None
            }
        };
    }
    if let Some(tag) = source.child("AdTagURI") {
        let url = tag.value().and_then(usable_url);
        if url.is_none() {
            notes.push(format!(
                "the AdTagURI of break {id} is not a URL of http or https: it stays empty"
            ));
        }
        return url.map(AdSource::Tag);
    }
    if source.child("CustomAdData").is_some() {
        notes.push(format!(
            "break {id} has CustomAdData, which is not VAST: it stays empty"
        ));
    }
    None
}

fn tracking(element: &Element) -> Vec<BreakTracking> {
    element
        .all("TrackingEvents")
        .flat_map(|events| events.all("Tracking"))
        .filter_map(|tracking| {
            let event = match tracking.attribute("event")?.to_ascii_lowercase().as_str() {
                "breakstart" => BreakEvent::BreakStart,
                "breakend" => BreakEvent::BreakEnd,
                "error" => BreakEvent::Error,
                _ => return None,
            };
            Some(BreakTracking {
                event,
                url: usable_url(tracking.value()?)?,
            })
        })
        .take(64)
        .collect()
}

fn read_extension(limits: &Element, cue: &mut CuePoint) -> Result<(), String> {
    let time = |name: &str| -> Result<Option<Duration>, String> {
        match limits.attribute(name).map(timecode::parse) {
            None => Ok(None),
            Some(Ok(time)) if time.is_zero() => Err(format!("{name} leaves no time at all")),
            Some(Ok(time)) => Ok(Some(time)),
            Some(Err(error)) => Err(format!("{name}: {error}")),
        }
    };
    if let Some(replaced) = time("replace")? {
        cue.action = Action::Replace(replaced);
    }
    cue.max_duration = time("maxDuration")?;
    if let Some(most) = limits.attribute("maxAds") {
        let most = most.parse().ok().filter(|n| (1..=100).contains(n));
        cue.max_ads = Some(most.ok_or("maxAds is not a number from 1 to 100")?);
    }
    if let Some(nanos) = limits.attribute("nanoseconds") {
        let nanos: u64 = nanos.parse().map_err(|_| "nanoseconds is not a number")?;
        match cue.position {
            Position::Time(time) if time.as_nanos() / 1_000_000 == nanos / 1_000_000 => {
                cue.position = Position::Time(ContentTime::from_nanos(nanos));
            }
            _ => return Err("nanoseconds does not agree with timeOffset".to_owned()),
        }
    }
    if let Some(loudness) = limits.attribute("loudness") {
        cue.loudness = loudness.parse().map_err(|error| format!("loudness: {error}"))?;
    }
    cue.impressions_on = match limits.attribute("impressionsOn") {
        None => None,
        Some("delivered") => Some(Basis::Delivered),
        Some("played") => Some(Basis::Played),
        Some(_) => return Err("impressionsOn is neither delivered nor played".to_owned()),
    };
    Ok(())
}

/// Writes cue points as VMAP 1.0. [`CuePoint::source`] is not kept: what is read back is from VMAP.
///
/// An inline document's XML declaration is left out, since it stands inside another one. Fails when an inline document is
/// not XML.
pub fn write(cues: &[CuePoint]) -> Result<String, VmapError> {
    let mut text =
        String::from("<vmap:VMAP xmlns:vmap=\"http://www.iab.net/videosuite/vmap\" version=\"1.0\">\n");
    for cue in cues {
        write_break(&mut text, cue)?;
    }
    text.push_str("</vmap:VMAP>\n");
    Ok(text)
}

fn write_break(text: &mut String, cue: &CuePoint) -> Result<(), VmapError> {
    let offset = match cue.position {
        Position::Time(time) => timecode::format_millis(Duration::from_nanos(time.as_nanos())),
        other => other.to_string(),
    };
    let id = escape(&cue.id);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "<vmap:AdBreak timeOffset=\"{offset}\" breakType=\"linear\" breakId=\"{id}\""
    );
    if let Some(step) = cue.repeat_after {
        let _ = write!(text, " repeatAfter=\"{}\"", timecode::format(step));
    }
    text.push_str(">\n");
    match &cue.ads {
        None => {}
        Some(source) => {
            let _ = write!(
                text,
                "<vmap:AdSource id=\"{id}\" allowMultipleAds=\"true\" followRedirects=\"true\">"
            );
            match source {
                AdSource::Tag(url) => {
                    let _ = write!(
                        text,
                        "<vmap:AdTagURI templateType=\"vast4\">{}</vmap:AdTagURI>",
                        cdata(url)
                    );
                }
                AdSource::Inline(document) => {
                    let root = xml::parse(document).map_err(|reason| VmapError::Inline {
                        cue: cue.id.clone(),
                        reason,
                    })?;
                    let _ = write!(
                        text,
                        "<vmap:VASTAdData>{}</vmap:VASTAdData>",
                        &document[root.start..root.end]
                    );
                }
            }
            text.push_str("</vmap:AdSource>\n");
        }
    }
    if !cue.tracking.is_empty() {
        text.push_str("<vmap:TrackingEvents>");
        for tracking in &cue.tracking {
            let event = match tracking.event {
                BreakEvent::BreakStart => "breakStart",
                BreakEvent::BreakEnd => "breakEnd",
                BreakEvent::Error => "error",
            };
            let _ = write!(
                text,
                "<vmap:Tracking event=\"{event}\">{}</vmap:Tracking>",
                cdata(&tracking.url)
            );
        }
        text.push_str("</vmap:TrackingEvents>\n");
    }
    let mut limits = String::new();
    if let Action::Replace(replaced) = cue.action {
        let _ = write!(limits, " replace=\"{}\"", timecode::format(replaced));
    }
    if let Some(most) = cue.max_duration {
        let _ = write!(limits, " maxDuration=\"{}\"", timecode::format(most));
    }
    if let Some(most) = cue.max_ads {
        let _ = write!(limits, " maxAds=\"{most}\"");
    }
    if let Position::Time(time) = cue.position
        && !time.as_nanos().is_multiple_of(1_000_000)
    {
        let _ = write!(limits, " nanoseconds=\"{}\"", time.as_nanos());
    }
    if cue.loudness != BreakLoudness::Content {
        let _ = write!(limits, " loudness=\"{}\"", cue.loudness);
    }
    if let Some(basis) = cue.impressions_on {
        let _ = write!(limits, " impressionsOn=\"{}\"", basis.as_str());
    }
    if !limits.is_empty() {
        let _ = writeln!(
            text,
            "<vmap:Extensions><vmap:Extension type=\"grove\"><grove:Break xmlns:grove=\"urn:grove:vmap:1\"{limits}/>\
             </vmap:Extension></vmap:Extensions>"
        );
    }
    text.push_str("</vmap:AdBreak>\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decide::vast::inline_for_creative;

    #[test]
    fn vmap_ids_are_unique_also_when_a_made_one_is_taken() {
        let breaks: String = ["a-3", "a", "a", "a-3-3"]
            .map(|id| format!("<AdBreak timeOffset='start' breakId='{id}'/>"))
            .concat();
        let vmap = parse(&format!("<VMAP version='1.0'>{breaks}</VMAP>")).expect("document");
        let ids: HashSet<_> = vmap.cues.iter().map(|cue| &cue.id).collect();
        assert_eq!(ids.len(), 4);
    }

    #[test]
    fn vmap_every_form_of_a_real_document_is_read() {
        let text = "<?xml version='1.0'?><vmap:VMAP xmlns:vmap='http://www.iab.net/vmap-1.0' version='1.0'>
            <vmap:AdBreak timeOffset='start' breakType='linear,display' breakId='pre'><vmap:AdSource>
              <vmap:AdTagURI templateType='vast3'>\n http://a.example/?x=1&amp;y=[CACHEBUSTING] \n</vmap:AdTagURI></vmap:AdSource>
              <vmap:TrackingEvents><vmap:Tracking event='breakStart'>http://t.example/s</vmap:Tracking>
              <vmap:Tracking event='error'>about:blank</vmap:Tracking></vmap:TrackingEvents></vmap:AdBreak>
            <AdBreak timeOffset='00:01:00.500' breakType='linear' repeatAfter='00:10:00'><AdSource><VASTAdData>
              <VAST version='3.0'><Ad id='x'/></VAST></VASTAdData></AdSource></AdBreak>
            <AdBreak timeOffset='50%' breakId='pre'><AdSource><CustomAdData>x</CustomAdData></AdSource></AdBreak>
            <AdBreak timeOffset='#2' breakType='linear'/>
            <AdBreak timeOffset='10' breakType='nonlinear'/>
            <AdBreak timeOffset='end' breakType='linear'/></vmap:VMAP>";
        let vmap = parse(text).expect("real document");
        let positions: Vec<_> = vmap
            .cues
            .iter()
            .map(|cue| (cue.id.as_str(), cue.position.to_string()))
            .collect();
        let expected = [
            ("pre", "start"),
            ("break-2", "00:01:00.500"),
            ("pre-3", "50%"),
            ("break-6", "end"),
        ];
        assert_eq!(
            positions,
            expected.map(|(id, position)| (id, position.to_owned()))
        );
        assert_eq!(
            vmap.cues[0].ads,
            Some(AdSource::Tag("http://a.example/?x=1&y=[CACHEBUSTING]".into()))
        );
        assert_eq!(vmap.cues[0].tracking.len(), 1);
        assert_eq!(
            vmap.cues[1].ads,
            Some(AdSource::Inline("<VAST version='3.0'><Ad id='x'/></VAST>".into()))
        );
        assert_eq!(vmap.cues[1].repeat_after, Some(Duration::from_secs(600)));
        assert_eq!((vmap.cues[2].ads.clone(), vmap.cues[3].ads.clone()), (None, None));
        assert_eq!(vmap.notes.len(), 3, "{:?}", vmap.notes);
        let other = text.replace("iab.net/vmap-1.0", "iab.net/videosuite/vmap");
        assert_eq!(parse(&other).expect("other namespace"), vmap);
    }

    #[test]
    fn vmap_rubbish_is_named_with_its_position() {
        let with = |body: &str| format!("<VMAP version='1.0'>\n{body}</VMAP>");
        for (text, reason) in [
            (String::new(), "no element"),
            ("<VAST/>".into(), "not <VMAP>"),
            ("<VMAP version='2.0'/>".into(), "version \"2.0\""),
            (with("<AdBreak/>"), "no timeOffset (line 2"),
            (with("<AdBreak timeOffset='soon'/>"), "\"soon\" is not a time"),
            (with("<AdBreak timeOffset='#0'/>"), "#m with m from 1"),
            (with("<AdBreak timeOffset='1' repeatAfter='x'/>"), "repeatAfter"),
            (with("<AdBreak timeOffset='1'>"), "not well-formed"),
            (
                with(
                    "<AdBreak timeOffset='1'><Extensions><Extension type='grove'><Break maxAds='0'/></Extension></Extensions></AdBreak>",
                ),
                "maxAds",
            ),
            (
                with(
                    "<AdBreak timeOffset='1'><Extensions><Extension type='grove'><Break nanoseconds='9'/></Extension></Extensions></AdBreak>",
                ),
                "agree",
            ),
        ] {
            let error = parse(&text).expect_err(&text).to_string();
            assert!(
                error.contains(reason) && error.contains("line "),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn inline_ads_survive_and_their_declaration_does_not() {
        let vast = inline_for_creative(
            "http://m/a.mp3?a=1&b=2",
            Duration::from_secs(8),
            Some([1; 32]),
            "Tea",
            "audio/mpeg",
        );
        let mut cue = CuePoint::new("cue <1>", Position::Start, CueSource::Vmap);
        cue.ads = Some(AdSource::Inline(format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{vast}"
        )));
        let read = parse(&write(&[cue.clone()]).expect("written")).expect("read");
        assert_eq!(read.cues[0].ads, Some(AdSource::Inline(vast)));
        assert_eq!(read.cues[0].id, "cue <1>");
        cue.ads = Some(AdSource::Inline("rubbish".into()));
        assert!(
            write(&[cue])
                .expect_err("rubbish")
                .to_string()
                .contains("cue <1>")
        );
    }

    fn any_cue() -> impl Strategy<Value = CuePoint> {
        let position = prop_oneof![
            Just(Position::Start),
            Just(Position::End),
            (0..=100_000_u32)
                .prop_map(|n| Position::Percent(super::super::Percent::from_thousandths(n).expect("range"))),
            (0..1_000_000_000_000_u64).prop_map(|n| Position::Time(ContentTime::from_nanos(n))),
        ];
        let time = || (1..100_000_000_000_u64).prop_map(Duration::from_nanos);
        let ads = prop_oneof![
            Just(None),
            Just(Some(AdSource::Tag("https://a.example/?x=1&y=[Z]]]>".into())))
        ];
        let limits = (
            prop::option::of(time()),
            prop::option::of(time()),
            prop::option::of(1..=100_u32),
            prop::option::of(time()),
        );
        let basis = prop::option::of(prop_oneof![Just(Basis::Delivered), Just(Basis::Played)]);
        let loudness = prop_oneof![
            Just(BreakLoudness::Content),
            Just(BreakLoudness::AsIs),
            (-4000..=-500).prop_map(BreakLoudness::Target)
        ];
        (position, ads, limits, basis, loudness).prop_map(
            |(position, ads, (replace, max, most, repeat), basis, loudness)| CuePoint {
                loudness,
                action: replace.map_or(Action::Insert, Action::Replace),
                max_duration: max,
                max_ads: most,
                repeat_after: repeat,
                ads,
                impressions_on: basis,
                tracking: vec![BreakTracking {
                    event: BreakEvent::BreakEnd,
                    url: "http://t.example/?a&b".into(),
                }],
                ..CuePoint::new("x", position, CueSource::Vmap)
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(mut cues in prop::collection::vec(any_cue(), 0..8)) {
            for (number, cue) in cues.iter_mut().enumerate() {
                cue.id = format!("cue-{number}");
            }
            let read = parse(&write(&cues).expect("written")).expect("read");
            prop_assert_eq!(read.cues, cues);
            prop_assert_eq!(read.notes, Vec::<String>::new());
        }
    }
}
