//! Files of marks of every kind: each mark that is read is within the limits, and has a place that can be written.
#![no_main]

use ad_splicer::cues::MOST_CUES;
use ad_splicer::cues::marks::{self, Options};
use libfuzzer_sys::fuzz_target;

fn seeds() -> Vec<Vec<u8>> {
    [
        "0.0\t0.0\tIntro\n42.54\t50.0\tAd break\n",
        "{\"version\":\"1.2.0\",\"chapters\":[{\"startTime\":0,\"title\":\"A\"},{\"startTime\":9.5,\"title\":\"ad\"}]}",
        "#EXTM3U\n#EXT-X-CUE-OUT:30\n#EXTINF:4,\na.ts\n#EXT-X-CUE-IN\n#EXTINF:4,\nb.ts\n",
        "#EXTM3U\n#EXT-X-PROGRAM-DATE-TIME:2024-01-01T00:00:00Z\n#EXT-X-DATERANGE:ID=\"a\",START-DATE=\"2024-01-01T00:00:02Z\",\
         CLASS=\"com.apple.hls.interstitial\",DURATION=15\n#EXTINF:4,\na.ts\n",
        "/DAvAAAAAAAA///wFAVIAACPf+/+c2nALv4AUsz1AAAAAAAKAAhDVUVJAAABNWLbowo=\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into_iter()
    .chain([transport_stream()])
    .collect()
}

/// A programme association and nothing after it.
fn transport_stream() -> Vec<u8> {
    let mut packet = vec![
        0x47, 0x40, 0, 0x10, 0, 0, 0xb0, 0x0d, 0, 1, 0xc1, 0, 0, 0, 1, 0xf0, 0, 0x2a, 0xb1, 0x04, 0xb2,
    ];
    packet.resize(188, 0xff);
    [packet.clone(), packet].concat()
}

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| {
    let Ok(read) = marks::parse(data, &Options::default()) else { return };
    assert!(read.cues().count() <= MOST_CUES);
    for mark in &read.marks {
        assert!(!mark.position.to_string().is_empty());
    }
});
