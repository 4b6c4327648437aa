//! What a player reads of a rendition that grew while it played is what a file holds of it, byte for byte.
//!
//! FLAC, MP4 and WebM are given otherwise to a player (`Options::growing` says how).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ad_splicer::content::{Content, FileContent};
use ad_splicer::play::Growing;
use ad_splicer::splice::{self, Ad, At, Break, Options, Rendition};
use ad_splicer::time::ContentTime;

/// Twenty seconds of noise, coded by the name's ending.
fn content(dir: &Path, name: &str, coding: &[&str]) -> Arc<dyn Content> {
    let path = dir.join(name);
    let made = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i"])
        .args(["anoisesrc=c=pink:a=0.2:seed=7:r=48000:d=20", "-ac", "2"])
        .args(coding)
        .arg(&path)
        .status()
        .expect("ffmpeg is needed: apt-get install ffmpeg");
    assert!(made.success());
    Arc::new(FileContent::open(&path).expect("the file was made"))
}

/// The same breaks for a player or for a file: a beep of a second at each of these seconds.
fn rendition(content: &dyn Content, at: &[u64], growing: bool) -> Rendition {
    let format = splice::probe(content, &Options::default()).expect("it is known");
    let beep: Arc<[f32]> = (0..format.sample_rate * 2)
        .map(|n| ((n / 2) as f32 * 0.1).sin() * 0.3)
        .collect();
    let breaks: Vec<Break> = at
        .iter()
        .map(|seconds| Break {
            at: At::Time(ContentTime::from_millis(seconds * 1000)),
            replace: Duration::ZERO,
            ads: vec![Ad {
                id: String::new(),
                pcm: Arc::clone(&beep).into(),
                picture: None,
            }],
        })
        .collect();
    let options = Options {
        growing,
        measured: growing,
        ..Options::default()
    };
    splice::prepare(content, &breaks, &options).expect("it can be spliced")
}

fn read(content: &dyn Content, from: u64, until: u64) -> Vec<u8> {
    let mut bytes = vec![0; (until - from) as usize];
    content
        .read_exact_at(from, &mut bytes, Duration::from_secs(10))
        .expect("readable");
    bytes
}

#[test]
fn a_player_reads_the_bytes_of_the_file() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (name, coding) in [
        ("c.mp3", &["-b:a", "128k"][..]),
        ("v.mp3", &["-q:a", "5"]),
        ("c.aac", &["-b:a", "96k"]),
        ("c.wav", &[]),
        ("c.opus", &["-c:a", "libopus", "-b:a", "96k"]),
        ("c.ogg", &["-c:a", "libvorbis"]),
    ] {
        let content = content(dir.path(), name, coding);
        let growing = Growing::new(Arc::clone(&content), rendition(content.as_ref(), &[], true));
        // Each break comes in while what is before it is read.
        let first = read(&growing, 0, content.len() / 10);
        for breaks in [&[8][..], &[8, 15]] {
            let next = rendition(content.as_ref(), breaks, true);
            growing.replace(next).expect("it is in time");
        }
        let rest = read(&growing, first.len() as u64, growing.len());
        let played = [first, rest].concat();
        let whole = rendition(content.as_ref(), &[8, 15], false);
        let mut file = Vec::new();
        whole
            .write_to(content.as_ref(), &mut file, &Options::default())
            .expect("written");
        // A player has the content's own head: what follows is the same.
        let heads = [&rendition(content.as_ref(), &[], true), &whole].map(Rendition::audio);
        let [Some(of_player), Some(of_file)] = heads else {
            panic!("{name}: its audio cannot be told apart");
        };
        let (of_player, of_file) = (
            of_player.start as usize,
            of_file.start as usize..of_file.end as usize,
        );
        assert!(of_file.len() > content.len() as usize / 2, "{name}: {of_file:?}");
        assert!(played[of_player..] == file[of_file], "{name}: the bytes differ");
    }
}
