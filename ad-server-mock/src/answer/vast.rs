//! Writes VAST: a pod of decided ads, wrappers around other servers' tags among them, or an answer without ads.
//!
//! Elements come in the order of each version's schema. `notUsed` is in the text of VAST 4.2 (§3.14.1) but was left out of
//! its schema, and no version before it has it: it stands in our extension. What a version has no element for is left out:
//! older versions lose the AdServingId, the universal ad id and the category, and keep the beacons.

use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesCData, BytesDecl, BytesText, Event};

use super::{Context, clock};
use crate::ads::Decided;

pub(super) type Xml = Writer<Vec<u8>>;

const NAMESPACE: &str = "http://www.iab.com/VAST";

/// Events offered for every linear ad, in the order that they happen.
pub(super) const EVENTS: [&str; 9] = [
    "start",
    "firstQuartile",
    "midpoint",
    "thirdQuartile",
    "complete",
    "mute",
    "unmute",
    "pause",
    "resume",
];
/// What tells that an ad was prepared and not presented.
pub(super) const NOT_USED: &str = "notUsed";
/// The only tracker of each event: this server's own.
pub(crate) const TRACKER: &str = "1";
/// Every event that this server ever signs a beacon for.
pub(crate) fn is_event(event: &str) -> bool {
    EVENTS.contains(&event) || event == NOT_USED || matches!(event, "impression" | "click" | "error" | "skip")
}

/// A version of VAST.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Version {
    V2,
    V3,
    #[default]
    V42,
}

impl Version {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::V2 => "2.0",
            Self::V3 => "3.0",
            Self::V42 => "4.2",
        }
    }

    /// From `2`, `2.0`, `3`, `3.0`, `4`, `4.2`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "2" | "2.0" => Self::V2,
            "3" | "3.0" => Self::V3,
            "4" | "4.2" => Self::V42,
            _ => return None,
        })
    }

    /// The events that this version has for a linear ad.
    fn events(self, skippable: bool) -> impl Iterator<Item = &'static str> {
        let skip = skippable.then_some("skip").filter(|_| self >= Self::V3);
        EVENTS.into_iter().chain(skip)
    }
}

/// The answer to a question for ads.
pub(crate) fn vast(context: Context<'_>, version: Version, pod: &[Decided]) -> String {
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
    let written = xml
        .write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))
        .and_then(|()| root(&mut xml, context, version, pod));
    written.expect("writing to memory does not fail");
    String::from_utf8(xml.into_inner()).expect("only UTF-8 was written")
}

pub(super) fn root(xml: &mut Xml, context: Context<'_>, version: Version, pod: &[Decided]) -> io::Result<()> {
    let mut vast = xml
        .create_element("VAST")
        .with_attribute(("version", version.as_str()));
    if version == Version::V42 {
        vast = vast.with_attribute(("xmlns", NAMESPACE));
    }
    if pod.is_empty() && version == Version::V2 {
        // It has no element for it.
        vast.write_empty()?;
        return Ok(());
    }
    vast.write_inner_content(|xml| {
        if pod.is_empty() {
            return link(xml, "Error", &[], &context.no_ad());
        }
        pod.iter().enumerate().try_for_each(|(n, ad)| {
            let sequence = (pod.len() > 1 && version >= Version::V3).then(|| (n + 1).to_string());
            one(xml, context, version, ad, sequence.as_deref())
        })
    })?;
    Ok(())
}

fn one(
    xml: &mut Xml,
    context: Context<'_>,
    version: Version,
    ad: &Decided,
    sequence: Option<&str>,
) -> io::Result<()> {
    let creative = ad.creative();
    let mut attributes = vec![("id", creative.id.as_str())];
    attributes.extend(sequence.map(|s| ("sequence", s)));
    if version == Version::V42 {
        attributes.push(("adType", creative.kind()));
    }
    xml.create_element("Ad")
        .with_attributes(attributes)
        .write_inner_content(|xml| match &creative.tag {
            Some(tag) => wrapper(xml, context, version, ad, tag),
            None => inline(xml, context, version, ad),
        })?;
    Ok(())
}

fn inline(xml: &mut Xml, context: Context<'_>, version: Version, ad: &Decided) -> io::Result<()> {
    let element = xml.create_element("InLine");
    element.write_inner_content(|xml| {
        let creatives = |xml: &mut Xml| {
            xml.create_element("Creatives")
                .write_inner_content(|xml| creative(xml, context, version, ad))
                .map(|_| ())
        };
        let impression = |xml: &mut Xml| {
            link(
                xml,
                "Impression",
                &[("id", super::TRACKER)],
                &context.beacon(ad, "impression"),
            )
        };
        let error = |xml: &mut Xml| link(xml, "Error", &[], &context.beacon(ad, "error"));
        system(xml)?;
        if version == Version::V42 {
            error(xml)?;
            extensions(xml, context, ad)?;
            impression(xml)?;
            pricing(xml, version, ad)?;
            text(xml, "AdServingId", &[], &ad.ad_serving_id)?;
            text(xml, "AdTitle", &[], &ad.creative().title)?;
            text(xml, "Advertiser", &[], &ad.advertiser().name)?;
            if let Some(category) = &ad.advertiser().category {
                let authority = [("authority", ad.advertiser().category_authority.as_str())];
                text(xml, "Category", &authority, category)?;
            }
            creatives(xml)?;
            return text(xml, "Expires", &[], &context.expires.to_string());
        }
        text(xml, "AdTitle", &[], &ad.creative().title)?;
        if version == Version::V3 {
            text(xml, "Advertiser", &[], &ad.advertiser().name)?;
            pricing(xml, version, ad)?;
        }
        error(xml)?;
        impression(xml)?;
        creatives(xml)?;
        extensions(xml, context, ad)
    })?;
    Ok(())
}

/// Another server decides: our beacons are added to its own.
fn wrapper(xml: &mut Xml, context: Context<'_>, version: Version, ad: &Decided, tag: &str) -> io::Result<()> {
    let element = xml.create_element("Wrapper");
    element.write_inner_content(|xml| {
        system(xml)?;
        let impression = [("id", super::TRACKER)];
        let creatives = |xml: &mut Xml| {
            xml.create_element("Creatives")
                .write_inner_content(|xml| {
                    xml.create_element("Creative").write_inner_content(|xml| {
                        xml.create_element("Linear").write_inner_content(|xml| {
                            tracking(xml, context, version, ad, false)?;
                            xml.create_element("VideoClicks").write_inner_content(|xml| {
                                link(xml, "ClickTracking", &[], &context.beacon(ad, "click"))
                            })?;
                            Ok(())
                        })?;
                        Ok(())
                    })?;
                    Ok(())
                })
                .map(|_| ())
        };
        if version == Version::V42 {
            link(xml, "Error", &[], &context.beacon(ad, "error"))?;
            extensions(xml, context, ad)?;
            link(xml, "Impression", &impression, &context.beacon(ad, "impression"))?;
            pricing(xml, version, ad)?;
            creatives(xml)?;
            for category in context.blocked {
                let authority = [("authority", ad.advertiser().category_authority.as_str())];
                text(xml, "BlockedAdCategories", &authority, category)?;
            }
            return link(xml, "VASTAdTagURI", &[], tag);
        }
        link(xml, "VASTAdTagURI", &[], tag)?;
        link(xml, "Error", &[], &context.beacon(ad, "error"))?;
        link(xml, "Impression", &impression, &context.beacon(ad, "impression"))?;
        creatives(xml)?;
        extensions(xml, context, ad)
    })?;
    Ok(())
}

fn system(xml: &mut Xml) -> io::Result<()> {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    text(xml, "AdSystem", &version, "Grove Ads")
}

fn pricing(xml: &mut Xml, version: Version, ad: &Decided) -> io::Result<()> {
    let model = if version == Version::V42 { "CPM" } else { "cpm" };
    let pricing = [("model", model), ("currency", ad.campaign().currency.as_str())];
    text(xml, "Pricing", &pricing, &ad.flight().price.per_thousand())
}

/// What our own client reads: that an ad was not used, the creative's hash, where a proof of play goes, and a cap that it can
/// keep by itself. Of a wrapper only the first: the rest is its ad's.
fn extensions(xml: &mut Xml, context: Context<'_>, ad: &Decided) -> io::Result<()> {
    xml.create_element("Extensions").write_inner_content(|xml| {
        let element = xml.create_element("Extension").with_attribute(("type", "grove"));
        element.write_inner_content(|xml| {
            link(xml, "NotUsed", &[], &context.beacon(ad, NOT_USED))?;
            if ad.creative().tag.is_some() {
                return Ok(());
            }
            text(xml, "CreativeSha256", &[], &ad.creative().sha256)?;
            if let Some(torrent) = context.torrent(ad) {
                link(xml, "CreativeTorrent", &[], &torrent)?;
            }
            link(xml, "ProofUrl", &[], &context.beacon(ad, "proof"))?;
            if let Some(cap) = ad.flight().frequency {
                let (count, seconds) = (cap.count.to_string(), (cap.millis / 1000).max(1).to_string());
                let cap = [("impressions", count.as_str()), ("seconds", seconds.as_str())];
                xml.create_element("FrequencyCap")
                    .with_attributes(cap)
                    .write_empty()?;
            }
            Ok(())
        })?;
        Ok(())
    })?;
    Ok(())
}

fn tracking(
    xml: &mut Xml,
    context: Context<'_>,
    version: Version,
    ad: &Decided,
    skippable: bool,
) -> io::Result<()> {
    xml.create_element("TrackingEvents").write_inner_content(|xml| {
        version.events(skippable).try_for_each(|event| {
            let beacon = context.beacon(ad, event);
            link(xml, "Tracking", &[("event", event)], &beacon)
        })
    })?;
    Ok(())
}

fn creative(xml: &mut Xml, context: Context<'_>, version: Version, ad: &Decided) -> io::Result<()> {
    let c = ad.creative();
    let mut ids = vec![("id", c.id.as_str()), ("sequence", "1")];
    if version == Version::V3 {
        // Where the version before the UniversalAdId has an id of the creative's own.
        ids.push(("AdID", c.ad_id.as_str()));
    }
    let element = xml.create_element("Creative").with_attributes(ids);
    element.write_inner_content(|xml| {
        let skip = c.skip_after.filter(|_| version >= Version::V3).map(clock);
        let linear = xml.create_element("Linear");
        let linear = linear.with_attributes(skip.iter().map(|s| ("skipoffset", s.as_str())));
        linear.write_inner_content(|xml| {
            let clicks = |xml: &mut Xml| -> io::Result<()> {
                let Some(page) = &c.click_through else {
                    return Ok(());
                };
                let clicked = context.beacon(ad, "click");
                xml.create_element("VideoClicks").write_inner_content(|xml| {
                    if version == Version::V42 {
                        link(xml, "ClickTracking", &[], &clicked)?;
                        return link(xml, "ClickThrough", &[], page);
                    }
                    link(xml, "ClickThrough", &[], page)?;
                    link(xml, "ClickTracking", &[], &clicked)
                })?;
                Ok(())
            };
            if version == Version::V42 {
                tracking(xml, context, version, ad, skip.is_some())?;
                text(xml, "Duration", &[], &clock(c.duration))?;
                media(xml, context, version, ad)?;
                return clicks(xml);
            }
            text(xml, "Duration", &[], &clock(c.duration))?;
            tracking(xml, context, version, ad, skip.is_some())?;
            clicks(xml)?;
            media(xml, context, version, ad)
        })?;
        if version == Version::V42 {
            return text(xml, "UniversalAdId", &[("idRegistry", &c.ad_registry)], &c.ad_id);
        }
        Ok(())
    })?;
    Ok(())
}

fn media(xml: &mut Xml, context: Context<'_>, version: Version, ad: &Decided) -> io::Result<()> {
    let c = ad.creative();
    let numbers = [
        u64::from(c.bitrate),
        u64::from(c.width),
        u64::from(c.height),
        c.size,
    ]
    .map(|n| n.to_string());
    let mut attributes = vec![
        ("delivery", "progressive"),
        ("type", c.media_type.as_str()),
        ("bitrate", numbers[0].as_str()),
        ("width", numbers[1].as_str()),
        ("height", numbers[2].as_str()),
    ];
    if version == Version::V42 {
        attributes.push(("fileSize", numbers[3].as_str()));
    }
    xml.create_element("MediaFiles")
        .write_inner_content(|xml| link(xml, "MediaFile", &attributes, &context.media(ad)))?;
    Ok(())
}

pub(super) fn text(xml: &mut Xml, name: &str, attributes: &[(&str, &str)], content: &str) -> io::Result<()> {
    let element = xml
        .create_element(name)
        .with_attributes(attributes.iter().copied());
    element.write_text_content(BytesText::new(content))?;
    Ok(())
}

/// A URL, in CDATA as VAST asks. Ours and parsed ones have every `>` escaped, so none can end the CDATA.
pub(super) fn link(xml: &mut Xml, name: &str, attributes: &[(&str, &str)], url: &str) -> io::Result<()> {
    let element = xml
        .create_element(name)
        .with_attributes(attributes.iter().copied());
    element.write_cdata_content(BytesCData::new(url))?;
    Ok(())
}
