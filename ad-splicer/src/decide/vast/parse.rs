//! One VAST document from text into [`Document`].

use super::{AdElement, Document, Linear, MediaFileElement, Wrapper, usable_url};
use crate::{
    decide::decision::{
        Category, Companion, FrequencyCap, Offset, Tracking, UniversalAdId, VastCode, Verification,
        may_be_image,
    },
    one_line::one_line,
    timecode,
    xml::{self, Element, XmlError},
};

/// Most ads of one document that are looked at.
pub(super) const MOST_ADS: usize = 64;
/// Most URLs of one kind in one ad.
pub(super) const MOST_URLS: usize = 256;

/// Longest name of a category's authority, in characters; usually it is a URL.
const LONGEST_AUTHORITY: usize = 500;

/// Why a document is not usable VAST.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VastError {
    /// Not XML (error 100).
    #[error("the VAST document cannot be read: {0}")]
    Xml(#[from] XmlError),
    /// It begins like a Grove ad server's JSON decision and is none (error 100).
    #[error("the JSON decision cannot be read: {0}")]
    Json(String),
    /// XML, but not VAST (error 101).
    #[error("the document is not VAST: its root element is <{0}>")]
    Root(String),
    /// VAST of a version that is not understood (error 102).
    #[error("VAST version \"{0}\" is not understood: 2.0 to 4.3 are")]
    Version(String),
}

impl VastError {
    /// The VAST error code.
    pub fn code(&self) -> VastCode {
        match self {
            Self::Xml(_) | Self::Json(_) => VastCode::XML,
            Self::Root(_) => VastCode::SCHEMA,
            Self::Version(_) => VastCode::VERSION,
        }
    }
}

/// Parses a document as it came from the network.
pub fn parse_bytes(bytes: &[u8]) -> Result<Document, VastError> {
    parse(&xml::decode(bytes)?)
}

/// Whether a text is to be read as a JSON decision: no XML begins like that.
pub(crate) fn is_json(text: &str) -> bool {
    text.trim_start_matches('\u{feff}').trim_start().starts_with('{')
}

/// Parses a document: VAST, or the JSON decision of a Grove ad server.
pub fn parse(text: &str) -> Result<Document, VastError> {
    if is_json(text) {
        return super::json::parse(text.trim_start_matches('\u{feff}'));
    }
    let root = xml::parse(text.trim_start_matches('\u{feff}'))?;
    if root.is("VideoAdServingTemplate") {
        return Err(VastError::Version("1.0".to_owned()));
    }
    if !root.is("VAST") {
        return Err(VastError::Root(root.name.chars().take(40).collect()));
    }
    let version = root.attribute("version").map(str::to_owned);
    // A missing version is a real documents' mistake; a wrong one says that the rest means something else.
    if let Some(version) = &version {
        let major = version
            .split('.')
            .next()
            .and_then(|major| major.parse::<u32>().ok());
        if !major.is_some_and(|major| (2..=4).contains(&major)) {
            return Err(VastError::Version(version.chars().take(20).collect()));
        }
    }
    let ads = root.all("Ad").take(MOST_ADS).map(ad).collect();
    Ok(Document {
        version,
        errors: urls(&root, "Error"),
        ads,
    })
}

fn ad(element: &Element) -> AdElement {
    let mut ad = AdElement {
        id: element.attribute("id").map(str::to_owned),
        sequence: element
            .attribute("sequence")
            .and_then(|n| n.parse().ok())
            .filter(|&n| n > 0),
        ..AdElement::default()
    };
    let (body, is_wrapper) = match (element.child("InLine"), element.child("Wrapper")) {
        (Some(inline), _) => (inline, false),
        (None, Some(wrapper)) => (wrapper, true),
        (None, None) => {
            ad.fault = Some((
                VastCode::SCHEMA,
                "an Ad holds neither InLine nor Wrapper".to_owned(),
            ));
            return ad;
        }
    };
    let owned = |name: &str| body.child_value(name).map(str::to_owned);
    let named = |name: &str| body.child_value(name).map(one_line);
    ad.ad_system = named("AdSystem");
    ad.title = named("AdTitle");
    ad.advertiser = named("Advertiser");
    ad.ad_serving_id = owned("AdServingId");
    ad.categories = categories(body, "Category");
    ad.expires = body
        .child_value("Expires")
        .and_then(|text| text.parse().ok())
        .map(std::time::Duration::from_secs);
    ad.impressions = urls(body, "Impression");
    ad.errors = urls(body, "Error");
    ad.verifications = body.all("AdVerifications").flat_map(verifications).collect();
    for viewable in body.all("ViewableImpression") {
        for (name, event) in [
            ("Viewable", "viewable"),
            ("NotViewable", "notViewable"),
            ("ViewUndetermined", "viewUndetermined"),
        ] {
            ad.without_creative
                .extend(urls(viewable, name).into_iter().map(|url| Tracking {
                    event: event.to_owned(),
                    offset: None,
                    url,
                }));
        }
    }
    for extension in body
        .all("Extensions")
        .flat_map(|extensions| extensions.all("Extension"))
    {
        // Before VAST 4.1 AdVerifications had no place of its own.
        ad.verifications
            .extend(extension.all("AdVerifications").flat_map(verifications));
        ours(extension, &mut ad);
    }
    let mut linears = Vec::new();
    for creative in body
        .all("Creatives")
        .flat_map(|creatives| creatives.all("Creative"))
    {
        for extension in creative
            .all("CreativeExtensions")
            .flat_map(|list| list.all("CreativeExtension"))
        {
            ours(extension, &mut ad);
        }
        if let Some(element) = creative.child("Linear") {
            let sequence: u32 = creative
                .attribute("sequence")
                .and_then(|n| n.parse().ok())
                .unwrap_or(u32::MAX);
            linears.push((sequence, linear(creative, element)));
        }
        ad.non_linears += creative
            .all("NonLinearAds")
            .flat_map(|list| list.all("NonLinear"))
            .count();
        ad.companions.extend(
            creative
                .all("CompanionAds")
                .flat_map(|list| list.all("Companion"))
                .take(MOST_URLS)
                .map(companion),
        );
    }
    linears.sort_by_key(|(sequence, _)| *sequence);
    ad.linears = linears.into_iter().map(|(_, linear)| linear).collect();
    if is_wrapper {
        let flag = |name: &str, default: bool| match body.attribute(name) {
            Some(text) => matches!(text.to_ascii_lowercase().as_str(), "true" | "1"),
            None => default,
        };
        match body.child_value("VASTAdTagURI").and_then(usable_url) {
            Some(uri) => {
                ad.wrapper = Some(Wrapper {
                    uri,
                    follow_additional: flag("followAdditionalWrappers", true),
                    allow_multiple: flag("allowMultipleAds", false),
                    fallback_on_no_ad: flag("fallbackOnNoAd", true),
                    blocked: categories(body, "BlockedAdCategories"),
                });
            }
            None => {
                ad.fault = Some((
                    VastCode::WRAPPER,
                    "a Wrapper has no VASTAdTagURI of http or https to follow".to_owned(),
                ));
            }
        }
    }
    ad
}

fn urls(parent: &Element, name: &str) -> Vec<String> {
    parent
        .all(name)
        .filter_map(|element| usable_url(element.value()?))
        .take(MOST_URLS)
        .collect()
}

/// Codes of a list may be separated by commas in `BlockedAdCategories`. Each code has the authority with it, so both are
/// bounded: a megabyte of commas would be a copy of it for each.
fn categories(parent: &Element, name: &str) -> Vec<Category> {
    let mut found = Vec::new();
    for element in parent.all(name).take(MOST_URLS) {
        let authority = element
            .attribute("authority")
            .map(|text| text.chars().take(LONGEST_AUTHORITY).collect::<String>());
        for code in element
            .value()
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|code| !code.is_empty())
        {
            if found.len() >= MOST_URLS {
                return found;
            }
            found.push(Category {
                authority: authority.clone(),
                code: code.to_owned(),
            });
        }
    }
    found
}

fn verifications(list: &Element) -> Vec<Verification> {
    list.all("Verification")
        .take(MOST_URLS)
        .map(|element| Verification {
            vendor: element.attribute("vendor").map(str::to_owned),
            resources: ["JavaScriptResource", "ExecutableResource", "FlashResource"]
                .iter()
                .flat_map(|name| urls(element, name))
                .collect(),
            not_executed: tracking(element)
                .into_iter()
                .filter(|tracking| tracking.event == "verificationNotExecuted")
                .map(|tracking| tracking.url)
                .collect(),
        })
        .collect()
}

/// Our extension, for Grove ad servers and clients; whatever of it is not understood is left aside:
///
/// ```xml
/// <Extension type="grove"><CreativeSha256>hex</CreativeSha256><CreativeTorrent>https://…</CreativeTorrent>
///   <ProofUrl>https://…</ProofUrl><NotUsed>https://…</NotUsed>
///   <FrequencyCap impressions="2" seconds="86400"/></Extension>
/// ```
fn ours(extension: &Element, ad: &mut AdElement) {
    if !extension
        .attribute("type")
        .is_some_and(|kind| kind.eq_ignore_ascii_case("grove"))
    {
        return;
    }
    let digest = extension.child_value("CreativeSha256").and_then(|text| {
        let mut digest = [0; 32];
        hex::decode_to_slice(text, &mut digest).ok()?;
        Some(digest)
    });
    ad.sha256 = ad.sha256.or(digest);
    if ad.torrent.is_none() {
        ad.torrent = extension.child_value("CreativeTorrent").and_then(usable_url);
    }
    if ad.proof_url.is_none() {
        ad.proof_url = extension.child_value("ProofUrl").and_then(usable_url);
    }
    // VAST's own `notUsed`, which the schema of no version has.
    let not_used = urls(extension, "NotUsed").into_iter().map(|url| Tracking {
        event: "notUsed".to_owned(),
        offset: None,
        url,
    });
    ad.without_creative.extend(not_used);
    let caps = extension.all("FrequencyCap").filter_map(|cap| {
        let number = |name: &str| cap.attribute(name)?.parse::<u32>().ok();
        Some(FrequencyCap {
            impressions: number("impressions")?,
            within: std::time::Duration::from_secs(u64::from(number("seconds")?)),
        })
    });
    ad.caps.extend(caps.take(8usize.saturating_sub(ad.caps.len())));
}

fn tracking(parent: &Element) -> Vec<Tracking> {
    parent
        .all("TrackingEvents")
        .flat_map(|events| events.all("Tracking"))
        .filter_map(|element| {
            let event = element.attribute("event")?.to_owned();
            let offset = element.attribute("offset").map(Offset::parse);
            if event == "progress" && !matches!(offset, Some(Some(_))) {
                return None;
            }
            Some(Tracking {
                event,
                offset: offset.flatten(),
                url: usable_url(element.value()?)?,
            })
        })
        .take(MOST_URLS)
        .collect()
}

/// The type that an attribute tells, without its parameters.
fn mime(element: &Element, attribute: &str) -> Option<String> {
    let mime = element.attribute(attribute)?.split(';').next()?;
    Some(mime.trim().to_ascii_lowercase())
}

/// Of several resources the first that may be an image, or else the first.
fn companion(element: &Element) -> Companion {
    let number = |name: &str| element.attribute(name).and_then(|n| n.parse().ok());
    let mut resources: Vec<_> = ["StaticResource", "IFrameResource"]
        .into_iter()
        .flat_map(|name| element.all(name).map(move |resource| (name, resource)))
        .take(MOST_URLS)
        .filter_map(|(name, resource)| {
            let mime = match name {
                "IFrameResource" => Some("text/html".to_owned()),
                _ => mime(resource, "creativeType"),
            };
            Some((usable_url(resource.value()?)?, mime))
        })
        .collect();
    resources.sort_by_key(|(_, mime)| !may_be_image(mime.as_deref()));
    let (resource, mime) = match resources.into_iter().next() {
        Some((url, mime)) => (Some(url), mime),
        None => (None, None),
    };
    Companion {
        id: element.attribute("id").map(str::to_owned),
        width: number("width"),
        height: number("height"),
        resource,
        mime,
        click_through: element.child_value("CompanionClickThrough").and_then(usable_url),
    }
}

fn linear(creative: &Element, element: &Element) -> Linear {
    let universal_ad_ids = creative
        .all("UniversalAdId")
        .filter_map(|id| {
            // The text is the id; 4.0 had it in idValue. A placeholder "unknown" names nothing.
            let text = id.value().or_else(|| id.attribute("idValue"))?;
            let registry = id.attribute("idRegistry").unwrap_or("unknown").to_owned();
            Some(UniversalAdId {
                registry,
                id: text.to_owned(),
            })
        })
        .take(MOST_URLS)
        .collect();
    let clicks: Vec<&Element> = element.all("VideoClicks").collect();
    let files: Vec<&Element> = element.all("MediaFiles").collect();
    Linear {
        creative_id: creative
            .attribute("id")
            .or_else(|| creative.attribute("AdID"))
            .map(str::to_owned),
        universal_ad_ids,
        duration: element
            .child_value("Duration")
            .and_then(|text| timecode::parse(text).ok()),
        skip_offset: element.attribute("skipoffset").and_then(Offset::parse),
        media_files: files
            .iter()
            .flat_map(|files| files.all("MediaFile"))
            .filter_map(media_file)
            .take(MOST_URLS)
            .collect(),
        mezzanines: files.iter().flat_map(|files| files.all("Mezzanine")).count(),
        tracking: tracking(element),
        click_through: clicks
            .iter()
            .find_map(|clicks| urls(clicks, "ClickThrough").into_iter().next()),
        click_tracking: clicks
            .iter()
            .flat_map(|clicks| urls(clicks, "ClickTracking"))
            .collect(),
    }
}

fn media_file(element: &Element) -> Option<MediaFileElement> {
    let number = |name: &str| -> Option<u32> {
        let value: f64 = element.attribute(name)?.parse().ok()?;
        (value.is_finite() && value >= 0.0).then_some(value as u32)
    };
    let range = || Some(number("minBitrate")?.midpoint(number("maxBitrate")?));
    Some(MediaFileElement {
        url: usable_url(element.value()?)?,
        mime: mime(element, "type"),
        streaming: element
            .attribute("delivery")
            .is_some_and(|delivery| delivery.eq_ignore_ascii_case("streaming")),
        api_framework: element.attribute("apiFramework").map(str::to_owned),
        codec: element
            .attribute("codec")
            .filter(|&codec| codec != "0")
            .map(str::to_owned),
        width: number("width").unwrap_or(0),
        height: number("height").unwrap_or(0),
        bitrate: number("bitrate").or_else(range).filter(|&kbps| kbps > 0),
        bytes: element.attribute("fileSize").and_then(|bytes| bytes.parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(body: &str) -> AdElement {
        let text = format!("<VAST version='4.2'><Ad id='a'>{body}</Ad></VAST>");
        parse(&text).expect("document").ads.remove(0)
    }

    #[test]
    fn rule_8_xml_100_schema_101_version_102() {
        for (text, code) in [
            ("", 100),
            ("rubbish", 100),
            ("<VAST version='3.0'><Ad>", 100),
            ("<html></html>", 101),
            ("<VMAP version='1.0'/>", 101),
            ("<VAST version='1.0'/>", 102),
            ("<VAST version='5.0'/>", 102),
            ("<VAST version='x'/>", 102),
            ("<VideoAdServingTemplate/>", 102),
        ] {
            assert_eq!(parse(text).expect_err(text).code(), VastCode(code), "{text}");
        }
        for version in ["2.0", "2.0.1", "3.0", "4.0", "4.1", "4.2", "4.3"] {
            assert!(
                parse(&format!("<VAST version='{version}'/>")).is_ok(),
                "{version}"
            );
        }
    }

    #[test]
    fn names_stand_on_one_line() {
        let ad = one(
            "<InLine><AdSystem>Ads\r\n  of Tea</AdSystem><AdTitle>\n\t<![CDATA[Tea\n\tand]]>\n\tbiscuits\n</AdTitle>\
             <Advertiser>Tea&#10;&amp;&#9;Co</Advertiser></InLine>",
        );
        let names = [&ad.ad_system, &ad.title, &ad.advertiser].map(Option::as_deref);
        assert_eq!(
            names,
            [Some("Ads of Tea"), Some("Tea and biscuits"), Some("Tea & Co")]
        );
    }

    #[test]
    fn images_of_companions_are_told_from_pages_and_scripts() {
        let companion = |resources: &str| {
            one(&format!(
                "<InLine><Creatives><Creative><CompanionAds><Companion>{resources}</Companion></CompanionAds></Creative></Creatives></InLine>"
            ))
            .companions
            .remove(0)
        };
        let (page, script) = (
            "<IFrameResource>http://c.example/page</IFrameResource>",
            "<StaticResource creativeType='application/x-javascript'>http://c.example/script</StaticResource>",
        );
        let image = "<StaticResource creativeType=' Image/PNG; q=1'>http://c.example/image</StaticResource>";
        let untold = "<StaticResource>http://c.example/untold</StaticResource>";
        for (resources, name, mime) in [
            ([page, ""], "page", Some("text/html")),
            ([script, page], "script", Some("application/x-javascript")),
            ([script, image], "image", Some("image/png")),
            ([page, untold], "untold", None),
        ] {
            let companion = companion(&resources.concat());
            assert_eq!(companion.resource, Some(format!("http://c.example/{name}")));
            assert_eq!(companion.mime.as_deref(), mime, "{name}");
        }
    }

    #[test]
    fn rule_12_real_documents_are_parsed() {
        let document = parse(
            "\u{feff}<?xml version='1.0'?><VAST xsi:noNamespaceSchemaLocation='vast.xsd' version='2.0'><Ad><InLine>
               <Impression>\n  http://a.example/i?x=1&y=2\n </Impression><Impression>about:blank</Impression>
               <Impression></Impression><Impression><![CDATA[ //b.example/i ]]></Impression>
               <Impression>ftp://c.example/</Impression><Impression>javascript:alert(1)</Impression>
               <Creatives><Creative AdID='c'><Linear><Duration> 00:00:15 </Duration><TrackingEvents>
               <Tracking event='start'> about:blank </Tracking><Tracking event='start'>https://t.example/s t</Tracking>
               <Tracking event='progress' offset='nonsense'>http://t.example/p</Tracking>
               </TrackingEvents></Linear></Creative></Creatives></InLine></Ad></VAST>",
        )
        .expect("lenient");
        let ad = &document.ads[0];
        assert_eq!(
            ad.impressions,
            ["http://a.example/i?x=1&y=2", "https://b.example/i"]
        );
        assert_eq!(ad.linears[0].duration, Some(std::time::Duration::from_secs(15)));
        assert_eq!(
            ad.linears[0]
                .tracking
                .iter()
                .map(|t| t.url.as_str())
                .collect::<Vec<_>>(),
            ["https://t.example/s%20t"]
        );
        assert_eq!(ad.linears[0].creative_id.as_deref(), Some("c"));
        assert_eq!(ad.ad_serving_id, None);
    }

    #[test]
    fn rule_11_the_text_of_universal_ad_id_is_the_id_and_several_are_allowed() {
        let ad = one(
            "<InLine><Creatives><Creative><Linear/><UniversalAdId idRegistry='A' idValue='old'>1</UniversalAdId>
             <UniversalAdId idRegistry='B'>2</UniversalAdId><UniversalAdId idRegistry='C' idValue='3'/></Creative></Creatives></InLine>",
        );
        let ids: Vec<_> = ad.linears[0]
            .universal_ad_ids
            .iter()
            .map(|id| (id.registry.as_str(), id.id.as_str()))
            .collect();
        assert_eq!(ids, [("A", "1"), ("B", "2"), ("C", "3")]);
    }

    #[test]
    fn rule_1_wrapper_attributes_have_their_defaults() {
        let uri = "<VASTAdTagURI>http://w.example/</VASTAdTagURI>";
        let plain = one(&format!("<Wrapper>{uri}</Wrapper>"))
            .wrapper
            .expect("wrapper");
        assert_eq!(
            (
                plain.follow_additional,
                plain.allow_multiple,
                plain.fallback_on_no_ad
            ),
            (true, false, true)
        );
        let set = one(&format!(
            "<Wrapper followAdditionalWrappers='0' allowMultipleAds='true' fallbackOnNoAd='false'>{uri}
             <BlockedAdCategories authority='iab'>232, 450</BlockedAdCategories></Wrapper>"
        ));
        let set = set.wrapper.expect("wrapper");
        assert_eq!(
            (set.follow_additional, set.allow_multiple, set.fallback_on_no_ad),
            (false, true, false)
        );
        assert_eq!(
            set.blocked.iter().map(|c| c.code.as_str()).collect::<Vec<_>>(),
            ["232", "450"]
        );
        assert_eq!(one("<Wrapper/>").fault.expect("no uri").0, VastCode::WRAPPER);
        assert_eq!(one("").fault.expect("nothing").0, VastCode::SCHEMA);
    }

    #[test]
    fn a_list_of_categories_does_not_multiply_its_authority() {
        let (authority, codes) = ("x".repeat(400_000), "a,".repeat(200_000));
        let ad = one(&format!(
            "<InLine><Category authority='{authority}'>{codes}</Category></InLine>"
        ));
        assert_eq!(ad.categories.len(), MOST_URLS);
        let bytes = |category: &Category| category.authority.as_ref().map_or(0, String::len);
        assert!(ad.categories.iter().map(bytes).sum::<usize>() <= MOST_URLS * LONGEST_AUTHORITY);
    }

    #[test]
    fn our_extension_gives_the_creatives_hash_caps_and_where_proofs_and_what_was_not_used_go() {
        let hex = "ab".repeat(32);
        let body = |kind: &str, hex: &str| {
            one(&format!(
                "<InLine><Extensions><Extension type='{kind}'><CreativeSha256>{hex}</CreativeSha256></Extension></Extensions></InLine>"
            ))
        };
        assert_eq!(body("grove", &hex).sha256, Some([0xab; 32]));
        assert_eq!(body("other", &hex).sha256, None);
        assert_eq!(body("grove", "abcd").sha256, None);
        let ad = one("<InLine><Extensions><Extension type='grove'><ProofUrl> https://p.example/1 </ProofUrl>
            <NotUsed><![CDATA[https://n.example/1]]></NotUsed><FrequencyCap impressions='2' seconds='86400'/><FrequencyCap impressions='x'/></Extension></Extensions></InLine>");
        assert_eq!(ad.proof_url.as_deref(), Some("https://p.example/1"));
        let told: Vec<_> = ad
            .without_creative
            .iter()
            .map(|t| (t.event.as_str(), t.url.as_str()))
            .collect();
        assert_eq!(told, [("notUsed", "https://n.example/1")]);
        let within = std::time::Duration::from_secs(86_400);
        assert_eq!(
            ad.caps,
            [FrequencyCap {
                impressions: 2,
                within
            }]
        );
    }
}
