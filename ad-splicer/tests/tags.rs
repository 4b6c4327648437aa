//! Tags and cover art stay as they were, read by mutagen, which shares no code with what writes them.

mod common;

use std::path::Path;

use common::{Fixture, at};
use serde_json::Value;

/// Puts a cover of 10 KiB into a file.
const ADD_COVER: &str = "
import sys, base64, mutagen, mutagen.flac, mutagen.id3
f = mutagen.File(sys.argv[1])
cover = bytes(range(256)) * 40
if sys.argv[1].endswith('.mp3'):
    f.tags.add(mutagen.id3.APIC(encoding=3, mime='image/png', type=3, desc='Cover', data=cover))
else:
    picture = mutagen.flac.Picture()
    picture.data, picture.type, picture.mime = cover, 3, 'image/png'
    f['metadata_block_picture'] = [base64.b64encode(picture.write()).decode()]
f.save()
";

/// Title, artist, covers and length in seconds.
const READ: &str = "
import sys, json, base64, mutagen, mutagen.flac
f = mutagen.File(sys.argv[1])
t = f.tags
if sys.argv[1].endswith('.mp3'):
    found = [str(t['TIT2']), str(t['TPE1']), [a.data.hex() for a in t.getall('APIC')]]
else:
    pictures = [mutagen.flac.Picture(base64.b64decode(p)) for p in t['metadata_block_picture']]
    found = [t['title'][0], t['artist'][0], [p.data.hex() for p in pictures]]
print(json.dumps([found, f.info.length]))
";

fn mutagen(script: &str, path: &Path) -> Vec<u8> {
    common::run("/usr/bin/python3", &["-c", script, path.to_str().unwrap()], None)
}

fn read(path: &Path) -> (Value, f64) {
    serde_json::from_slice(&mutagen(READ, path)).unwrap()
}

#[test]
fn tags_and_covers_stay_as_they_were() {
    for (name, rate, coding) in [
        ("content.mp3", 44_100, ["-c:a", "libmp3lame"]),
        ("content.opus", 48_000, ["-c:a", "libopus"]),
        ("content.ogg", 44_100, ["-c:a", "libvorbis"]),
    ] {
        let fixture = Fixture::new(name, rate, 1, &coding);
        mutagen(ADD_COVER, &fixture.content);
        let (before, _) = read(&fixture.content);
        assert_eq!(before[0], "Episode", "{name}");
        assert_eq!(before[2][0].as_str().unwrap().len(), 2 * 256 * 40, "{name}");

        let breaks = [at(5_000, vec![common::ad(rate, 1, rate, 500.0)])];
        let (path, report) = fixture.splice(&format!("spliced-{name}"), &breaks);
        let (after, lasts) = read(&path);
        assert_eq!(after, before, "{name}");
        // Of chained streams mutagen does not tell the length of all.
        if name != "content.ogg" {
            let reported = report.duration.as_secs_f64();
            assert!((lasts - reported).abs() < 0.05, "{name}: {lasts}, not {reported}");
        }
    }
}

#[test]
fn what_stands_before_the_first_frame_of_mp3_is_not_heard() {
    let fixture = Fixture::new("content.mp3", 44_100, 1, &["-c:a", "libmp3lame"]);
    let plain = std::fs::read(&fixture.content).unwrap();
    let tags = 10
        + plain[6..10]
            .iter()
            .fold(0, |size, byte| size << 7 | usize::from(*byte));
    let breaks = [at(5_000, vec![common::ad(44_100, 1, 44_100, 500.0)])];
    let (path, _) = fixture.splice("plain.mp3", &breaks);
    let expected = std::fs::read(path).unwrap();
    for rubbish in [&[0; 5_000][..], b"what a recorder left here"] {
        let content = [&plain[..tags], rubbish, &plain[tags..]].concat();
        std::fs::write(&fixture.content, content).unwrap();
        let (path, _) = fixture.splice("spliced.mp3", &breaks);
        assert!(
            std::fs::read(path).unwrap() == expected,
            "{} bytes",
            rubbish.len()
        );
    }
}
