//! VAST documents: parsed within bounds.
#![no_main]

use ad_splicer::decide::vast;
use libfuzzer_sys::fuzz_target;

fn seeds() -> Vec<Vec<u8>> {
    let inline = "<VAST version=\"4.2\"><Error><![CDATA[http://a/e]]></Error><Ad id=\"1\" sequence=\"1\"><InLine><AdSystem>a</AdSystem>\
        <AdTitle>t</AdTitle><Impression><![CDATA[ http://a/i ]]></Impression><Expires>60</Expires><Category authority=\"x\">IAB1</Category>\
        <Creatives><Creative sequence=\"1\"><UniversalAdId idRegistry=\"r\">v</UniversalAdId><Linear skipoffset=\"00:00:05\">\
        <Duration>00:00:15.5</Duration><TrackingEvents><Tracking event=\"progress\" offset=\"10%\">http://a/p</Tracking></TrackingEvents>\
        <MediaFiles><MediaFile delivery=\"progressive\" type=\"audio/mpeg\" bitrate=\"128\" width=\"0\" height=\"0\">http://a/m.mp3</MediaFile>\
        </MediaFiles></Linear></Creative><Creative><CompanionAds><Companion width=\"1\" height=\"1\"><StaticResource creativeType=\"image/png\">\
        http://a/c.png</StaticResource></Companion></CompanionAds></Creative></Creatives></InLine></Ad></VAST>";
    let wrapper = "<VAST version=\"3.0\"><Ad><Wrapper followAdditionalWrappers=\"0\" allowMultipleAds=\"1\"><VASTAdTagURI>http://a/w\
        </VASTAdTagURI><AdVerifications><Verification vendor=\"v\"><JavaScriptResource>http://a/v.js</JavaScriptResource></Verification>\
        </AdVerifications></Wrapper></Ad></VAST>";
    [inline, wrapper].map(|text| text.as_bytes().to_vec()).to_vec()
}

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| {
    if let Ok(document) = vast::parse_bytes(data) {
        for ad in &document.ads {
            assert!(ad.impressions.iter().all(|url| vast::usable_url(url).is_some()));
        }
    }
});
