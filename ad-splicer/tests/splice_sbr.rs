//! HE-AAC that does not say so: SBR whose data is in the packets (ISO/IEC 14496-3 §4.5.2.8.2.3), and of which the stream's configuration has no word.

mod common;

use std::path::Path;

use ad_splicer::again::Again;
use ad_splicer::splice::{self, Options, SpliceError};
use common::sbr::{FILL, SBR, SBR_CHECKED, extended};
use common::{Fixture, ad, at};

const RATE: usize = 24_000;
/// The same packets in MP4.
fn in_mp4(folder: &Path, stream: &[u8], kind: u8) -> Vec<u8> {
    let path = |ending: &str| folder.join(format!("{kind}.{ending}")).display().to_string();
    std::fs::write(path("aac"), stream).unwrap();
    let args = ["-v", "error", "-i", &path("aac"), "-c", "copy", &path("m4a")];
    common::run("ffmpeg", &args, None);
    std::fs::read(path("m4a")).unwrap()
}

/// What ffmpeg takes a file for.
fn profile(folder: &Path, bytes: &[u8]) -> String {
    let path = folder.join("probed");
    std::fs::write(&path, bytes).unwrap();
    let shown = "stream=profile,sample_rate";
    let args = [
        "-v",
        "error",
        "-show_entries",
        shown,
        "-of",
        "csv=p=0",
        path.to_str().unwrap(),
    ];
    String::from_utf8(common::run("ffprobe", &args, None))
        .unwrap()
        .trim()
        .to_owned()
}

#[test]
fn sbr_that_nobody_declared_is_found_in_the_packets() {
    for channels in [1, 2] {
        let fixture = Fixture::new("content.aac", RATE, channels, &["-c:a", "aac", "-t", "4"]);
        let folder = fixture.dir.path();
        let plain = std::fs::read(&fixture.content).unwrap();
        let breaks = [at(2_000, vec![ad(RATE, channels, RATE, 500.0)])];
        for kind in [SBR, SBR_CHECKED] {
            let adts = extended(&plain, kind);
            let mp4 = in_mp4(folder, &adts, kind);
            assert!(!mp4.windows(2).any(|two| two == [0x56, 0xE5]), "SBR is declared");
            for bytes in [adts, mp4] {
                // One channel may become two: that is not said either.
                let found = profile(folder, &bytes);
                assert!(
                    found.starts_with("HE-AAC") && found.ends_with(",48000"),
                    "{found}"
                );
                let refused = common::refusal(&bytes, &breaks);
                assert!(matches!(refused, SpliceError::Again(Again::HeAac)), "{refused}");
            }
        }
        // Anything else there changes nothing.
        let filled = extended(&plain, FILL);
        for (name, bytes) in [
            ("filled.aac", filled.clone()),
            ("filled.m4a", in_mp4(folder, &filled, FILL)),
        ] {
            assert_eq!(profile(folder, &bytes), "LC,24000");
            let taken = splice::splice(&bytes, &breaks, &Options::default(), &mut std::io::sink());
            assert_eq!(taken.map(|report| report.ads.len()).ok(), Some(1), "{name}");
        }
    }
}
