//! VMAP documents: cue points that were read can be written, and read again as the same.
#![no_main]

use ad_splicer::cues::vmap;
use libfuzzer_sys::fuzz_target;

fn seeds() -> Vec<Vec<u8>> {
    let document = |body: &str| {
        format!("<vmap:VMAP xmlns:vmap=\"http://www.iab.net/videosuite/vmap\" version=\"1.0\">{body}</vmap:VMAP>")
            .into_bytes()
    };
    vec![
        document(
            "<vmap:AdBreak timeOffset=\"00:00:42.500\" breakType=\"linear\" breakId=\"a\"><vmap:AdSource id=\"a\">\
             <vmap:AdTagURI templateType=\"vast4\"><![CDATA[http://a/b?c=[X]]]></vmap:AdTagURI></vmap:AdSource>\
             <vmap:TrackingEvents><vmap:Tracking event=\"breakStart\">http://a/</vmap:Tracking></vmap:TrackingEvents>\
             </vmap:AdBreak>",
        ),
        document("<vmap:AdBreak timeOffset=\"50%\" breakType=\"linear\" repeatAfter=\"00:10:00\"/>"),
        document(
            "<vmap:AdBreak timeOffset=\"start\" breakType=\"linear\"><vmap:AdSource><vmap:VASTAdData>\
             <VAST version=\"4.2\"><Ad/></VAST></vmap:VASTAdData></vmap:AdSource></vmap:AdBreak>",
        ),
        document("<vmap:AdBreak timeOffset=\"#1\" breakType=\"nonlinear,display\"/>"),
    ]
}

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| {
    if let Ok(read) = vmap::parse_bytes(data)
        && let Ok(written) = vmap::write(&read.cues)
    {
        let again = vmap::parse(&written).expect("what was written can be read");
        assert_eq!(again.cues.len(), read.cues.len());
        let third = vmap::write(&again.cues).expect("and written again");
        assert_eq!(third, written);
    }
});
