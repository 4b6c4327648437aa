//! Writes VAST 4.2: a pod of decided ads, or an answer without ads.
//!
//! Elements come in the order of the VAST 4.2 schema. `notUsed` is in the text of VAST 4.2 (§3.14.1) but was left out of
//! its schema; the text is followed. Not for reading VAST, and not for choosing ads.

use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesCData, BytesDecl, BytesText, Event};

use crate::sign::{Key, Subject};
use crate::store::Decided;

type Xml = Writer<Vec<u8>>;

const NAMESPACE: &str = "http://www.iab.com/VAST";

/// Events offered for every linear ad, in the order that they happen.
const EVENTS: [&str; 10] = [
    "start",
    "firstQuartile",
    "midpoint",
    "thirdQuartile",
    "complete",
    "mute",
    "unmute",
    "pause",
    "resume",
    "notUsed",
];
/// The only tracker of each event: this server's own.
pub(crate) const TRACKER: &str = "1";
/// Every event that this server ever signs a beacon for.
pub(crate) fn is_event(event: &str) -> bool {
    EVENTS.contains(&event) || matches!(event, "impression" | "click" | "error" | "skip")
}

/// The answer to a question for ads. `base` is this server's own URL, `expires` in seconds.
pub(crate) fn document(base: &str, key: &Key, request_id: &str, pod: &[Decided], expires: i64) -> String {
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
    write(&mut xml, base, key, request_id, pod, expires).expect("writing to memory does not fail");
    String::from_utf8(xml.into_inner()).expect("only UTF-8 was written")
}

fn write(
    xml: &mut Xml,
    base: &str,
    key: &Key,
    request_id: &str,
    pod: &[Decided],
    expires: i64,
) -> io::Result<()> {
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let vast = xml
        .create_element("VAST")
        .with_attributes([("version", "4.2"), ("xmlns", NAMESPACE)]);
    vast.write_inner_content(|xml| {
        if pod.is_empty() {
            let subject = Subject {
                event: "noAd",
                id: request_id,
                flight: "",
                creative: "",
                tracker: "",
            };
            return link(xml, "Error", &[], &key.url(base, subject));
        }
        pod.iter().enumerate().try_for_each(|(n, ad)| {
            let sequence = (pod.len() > 1).then(|| (n + 1).to_string());
            one(xml, base, key, ad, sequence.as_deref(), expires)
        })
    })?;
    Ok(())
}

fn one(
    xml: &mut Xml,
    base: &str,
    key: &Key,
    ad: &Decided,
    sequence: Option<&str>,
    expires: i64,
) -> io::Result<()> {
    let beacon = |event: &str| {
        key.url(
            base,
            Subject {
                event,
                id: &ad.ad_serving_id,
                flight: &ad.flight_id,
                creative: &ad.creative_id,
                tracker: TRACKER,
            },
        )
    };
    let kind = if ad.media_type.starts_with("audio/") {
        "audio"
    } else {
        "video"
    };
    let mut attributes = vec![("id", ad.creative_id.as_str())];
    attributes.extend(sequence.map(|s| ("sequence", s)));
    attributes.push(("adType", kind));
    xml.create_element("Ad")
        .with_attributes(attributes)
        .write_inner_content(|xml| {
            xml.create_element("InLine").write_inner_content(|xml| {
                text(
                    xml,
                    "AdSystem",
                    &[("version", env!("CARGO_PKG_VERSION"))],
                    "Grove Ads",
                )?;
                link(xml, "Error", &[], &beacon("error"))?;
                xml.create_element("Extensions").write_inner_content(|xml| {
                    xml.create_element("Extension")
                        .with_attribute(("type", "grove"))
                        .write_inner_content(|xml| text(xml, "CreativeSha256", &[], &ad.sha256))?;
                    Ok(())
                })?;
                link(xml, "Impression", &[("id", TRACKER)], &beacon("impression"))?;
                let pricing = [("model", "CPM"), ("currency", ad.currency.as_str())];
                // A price in millionths per impression is thousandths per thousand.
                text(
                    xml,
                    "Pricing",
                    &pricing,
                    &format!("{}.{:03}", ad.price / 1000, ad.price % 1000),
                )?;
                text(xml, "AdServingId", &[], &ad.ad_serving_id)?;
                text(xml, "AdTitle", &[], &ad.title)?;
                text(xml, "Advertiser", &[], &ad.advertiser)?;
                if let Some(category) = &ad.category {
                    text(
                        xml,
                        "Category",
                        &[("authority", &ad.category_authority)],
                        category,
                    )?;
                }
                xml.create_element("Creatives")
                    .write_inner_content(|xml| creative(xml, base, ad, &beacon))?;
                text(xml, "Expires", &[], &expires.to_string())
            })?;
            Ok(())
        })?;
    Ok(())
}

fn creative(xml: &mut Xml, base: &str, ad: &Decided, beacon: &dyn Fn(&str) -> String) -> io::Result<()> {
    let ids = [("id", ad.creative_id.as_str()), ("sequence", "1")];
    xml.create_element("Creative")
        .with_attributes(ids)
        .write_inner_content(|xml| {
            let skip = ad.skip_after.map(clock);
            let linear = xml.create_element("Linear");
            let linear = linear.with_attributes(skip.iter().map(|s| ("skipoffset", s.as_str())));
            linear.write_inner_content(|xml| {
                xml.create_element("TrackingEvents").write_inner_content(|xml| {
                    let skip = ad.skip_after.map(|_| "skip");
                    EVENTS
                        .into_iter()
                        .chain(skip)
                        .try_for_each(|event| link(xml, "Tracking", &[("event", event)], &beacon(event)))
                })?;
                text(xml, "Duration", &[], &clock(ad.duration))?;
                xml.create_element("MediaFiles").write_inner_content(|xml| {
                    let numbers = [ad.bitrate, ad.width, ad.height, ad.size].map(|n| n.to_string());
                    let attributes = [
                        ("delivery", "progressive"),
                        ("type", ad.media_type.as_str()),
                        ("bitrate", numbers[0].as_str()),
                        ("width", numbers[1].as_str()),
                        ("height", numbers[2].as_str()),
                        ("fileSize", numbers[3].as_str()),
                    ];
                    link(
                        xml,
                        "MediaFile",
                        &attributes,
                        &format!("{base}/creatives/{}", ad.sha256),
                    )
                })?;
                if let Some(page) = &ad.click_through {
                    xml.create_element("VideoClicks").write_inner_content(|xml| {
                        link(xml, "ClickTracking", &[], &beacon("click"))?;
                        link(xml, "ClickThrough", &[], page)
                    })?;
                }
                Ok(())
            })?;
            text(
                xml,
                "UniversalAdId",
                &[("idRegistry", &ad.ad_registry)],
                &ad.ad_id,
            )
        })?;
    Ok(())
}

fn text(xml: &mut Xml, name: &str, attributes: &[(&str, &str)], content: &str) -> io::Result<()> {
    let element = xml
        .create_element(name)
        .with_attributes(attributes.iter().copied());
    element.write_text_content(BytesText::new(content))?;
    Ok(())
}

/// A URL, in CDATA as VAST asks. Ours and parsed ones have every `>` escaped, so none can end the CDATA.
fn link(xml: &mut Xml, name: &str, attributes: &[(&str, &str)], url: &str) -> io::Result<()> {
    let element = xml
        .create_element(name)
        .with_attributes(attributes.iter().copied());
    element.write_cdata_content(BytesCData::new(url))?;
    Ok(())
}

/// `HH:MM:SS.mmm`.
fn clock(millis: i64) -> String {
    let s = millis / 1000;
    format!(
        "{:02}:{:02}:{:02}.{:03}",
        s / 3600,
        s / 60 % 60,
        s % 60,
        millis % 1000
    )
}

#[cfg(test)]
mod tests {
    use quick_xml::Reader;

    use super::*;

    fn ad(id: &str) -> Decided {
        Decided {
            ad_serving_id: id.to_owned(),
            advertiser: "Fish & <Chips>".to_owned(),
            category: Some("IAB8".to_owned()),
            category_authority: "https://authority.example/\"list\"?a=1&b=2".to_owned(),
            currency: "EUR".to_owned(),
            flight_id: "flight-1".to_owned(),
            price: 25_500,
            creative_id: "creative-1".to_owned(),
            title: "Two ]]> \"for\" one".to_owned(),
            media_type: "audio/mpeg".to_owned(),
            width: 0,
            height: 0,
            duration: 3_725_040,
            size: 120_000,
            sha256: "ab".repeat(32),
            ad_registry: "ad-id.org".to_owned(),
            ad_id: "ABCD".to_owned(),
            bitrate: 128,
            click_through: Some("https://fish.example/?a=1&b=2".to_owned()),
            skip_after: Some(5_000),
        }
    }

    /// Every element as its path, with what is in it; fails on anything that is not well-formed.
    fn flatten(xml: &str) -> Vec<(String, String, String)> {
        let mut reader = Reader::from_str(xml);
        let (mut path, mut out) = (Vec::new(), Vec::<(String, String, String)>::new());
        // Index in `out` of each open element.
        let mut open = Vec::new();
        loop {
            match reader.read_event().unwrap() {
                Event::Start(e) => {
                    path.push(e.name().as_ref().to_owned());
                    let attributes: Vec<_> = e
                        .attributes()
                        .map(|a| a.unwrap())
                        .map(|a| format!("{}={}", a.key.as_ref() as &str, a.value))
                        .collect();
                    open.push(out.len());
                    out.push((path.join("/"), attributes.join(" "), String::new()));
                }
                Event::End(_) => {
                    path.pop();
                    open.pop();
                }
                Event::Text(t) if !open.is_empty() => out[*open.last().unwrap()].2 += &t.xml10_content(),
                Event::CData(t) => out[*open.last().unwrap()].2 += &t.xml10_content(),
                Event::GeneralRef(r) => {
                    out[*open.last().unwrap()].2 += match &*r.xml10_content() {
                        "amp" => "&",
                        "lt" => "<",
                        "gt" => ">",
                        "quot" => "\"",
                        other => panic!("&{other};"),
                    };
                }
                Event::Eof => break,
                _ => {}
            }
        }
        assert!(path.is_empty());
        // The writer's indentation is not content.
        out.into_iter()
            .map(|(p, a, text)| (p, a, text.trim().to_owned()))
            .collect()
    }

    #[test]
    fn elements_come_in_the_order_of_the_schema() {
        let key = Key::new(b"k");
        let xml = document("http://ads.example", &key, "r", &[ad("one"), ad("two")], 3600);
        let all = flatten(&xml);
        let under = |parent: &str| -> Vec<String> {
            let first = all.iter().position(|(p, ..)| p == parent).unwrap();
            let depth = parent.split('/').count() + 1;
            all[first + 1..]
                .iter()
                .take_while(|(p, ..)| p.starts_with(&format!("{parent}/")))
                .filter(|(p, ..)| p.split('/').count() == depth)
                .map(|(p, ..)| p.rsplit('/').next().unwrap().to_owned())
                .collect()
        };
        assert_eq!(all[0].1, "version=4.2 xmlns=http://www.iab.com/VAST");
        assert_eq!(all[1].1, "id=creative-1 sequence=1 adType=audio");
        let inline = "VAST/Ad/InLine";
        assert_eq!(
            under(inline),
            [
                "AdSystem",
                "Error",
                "Extensions",
                "Impression",
                "Pricing",
                "AdServingId",
                "AdTitle",
                "Advertiser",
                "Category",
                "Creatives",
                "Expires"
            ]
        );
        let linear = &format!("{inline}/Creatives/Creative/Linear");
        assert_eq!(
            under(linear),
            ["TrackingEvents", "Duration", "MediaFiles", "VideoClicks"]
        );
        assert_eq!(
            under(&format!("{linear}/VideoClicks")),
            ["ClickTracking", "ClickThrough"]
        );
        assert_eq!(
            under(&format!("{inline}/Creatives/Creative")),
            ["Linear", "UniversalAdId"]
        );
        let value = |name: &str| {
            let (_, attributes, content) = all.iter().find(|(p, ..)| p.ends_with(name)).unwrap();
            (attributes.as_str(), content.as_str())
        };
        assert_eq!(value("/AdTitle").1, "Two ]]> \"for\" one");
        assert_eq!(value("/Advertiser").1, "Fish & <Chips>");
        assert_eq!(value("/Pricing"), ("model=CPM currency=EUR", "25.500"));
        assert_eq!(value("/Duration").1, "01:02:05.040");
        assert_eq!(value("/Linear").0, "skipoffset=00:00:05.000");
        assert_eq!(
            value("/MediaFile").0,
            "delivery=progressive type=audio/mpeg bitrate=128 width=0 height=0 fileSize=120000"
        );
        assert_eq!(
            value("/MediaFile").1,
            format!("http://ads.example/creatives/{}", "ab".repeat(32))
        );
        assert_eq!(value("/ClickThrough").1, "https://fish.example/?a=1&b=2");
        assert_eq!(value("/UniversalAdId"), ("idRegistry=ad-id.org", "ABCD"));
        assert_eq!(value("/CreativeSha256").1, "ab".repeat(32));
        let events: Vec<_> = all
            .iter()
            .filter(|(p, ..)| p.ends_with("/Tracking"))
            .take(11)
            .collect();
        assert_eq!(events[0].1, "event=start");
        assert_eq!(events[10].1, "event=skip");
        for (_, attributes, url) in events {
            let event = attributes.strip_prefix("event=").unwrap();
            assert!(is_event(event));
            assert!(
                url.starts_with(&format!(
                    "http://ads.example/b/{event}/one?basis=[GROVE_BASIS]&ts=[TIMESTAMP]&f="
                )),
                "{url}"
            );
        }
    }

    #[test]
    fn one_ad_has_no_sequence_and_none_gives_the_root_error() {
        let key = Key::new(b"k");
        let all = flatten(&document("http://a", &key, "r", &[ad("one")], 60));
        assert_eq!(all[1].1, "id=creative-1 adType=audio");
        let all = flatten(&document("http://a", &key, "r", &[], 60));
        assert_eq!(
            all.iter().map(|(p, ..)| p.as_str()).collect::<Vec<_>>(),
            ["VAST", "VAST/Error"]
        );
        assert!(
            all[1]
                .2
                .starts_with("http://a/b/noAd/r?ts=[TIMESTAMP]&code=[ERRORCODE]&s="),
            "{}",
            all[1].2
        );
    }
}
