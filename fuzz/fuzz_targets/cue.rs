//! `--cue`, `--ad` and times as people write them: what is understood is written the same way back.
#![no_main]

use ad_splicer::cues::argument::{AdArgument, CueArgument};
use ad_splicer::timecode;
use libfuzzer_sys::fuzz_target;

fn seeds() -> Vec<Vec<u8>> {
    ["0:42.5", "1:02:03.456+15,max=30,ads=2", "start", "end", "33.3%", "12=https://a/b.mp3", "90s+0:10"]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(time) = timecode::parse(text) {
        let written = timecode::format(time).to_string();
        assert_eq!(timecode::parse(&written).expect("what was written can be read"), time);
    }
    if let Ok(argument) = text.parse::<CueArgument>() {
        let _ = argument.into_cue("a");
    }
    let _ = text.parse::<AdArgument>();
});
