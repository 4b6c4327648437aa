//! Bridges that are made when they are read: the same bytes as when they are made before, and nothing is waited for that is not read.

mod common;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ad_splicer::content::Content;
use ad_splicer::splice::{self, At, Break, Options, Rendition};
use ad_splicer::time::ContentTime;
use common::{Fixture, ad};

const LATER: Options = Options {
    read_deadline: Duration::from_secs(60),
    fade: Duration::from_millis(5),
    growing: false,
    measured: false,
    later: true,
    ad_chapters: false,
};

/// Content that can be sealed: from then on nothing can be read of it.
struct Sealed {
    bytes: Vec<u8>,
    sealed: AtomicBool,
}

impl Content for Sealed {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8], deadline: Duration) -> io::Result<usize> {
        if self.sealed.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.bytes.read_at(offset, buffer, deadline)
    }
}

fn breaks(rate: usize, channels: usize) -> Vec<Break> {
    let at = |at, ads| Break {
        at,
        replace: Duration::ZERO,
        ads,
    };
    let second = rate;
    vec![
        at(At::Start, vec![ad(rate, channels, second, 500.0)]),
        at(
            At::Time(ContentTime::from_millis(8_017)),
            vec![
                ad(rate, channels, second, 400.0),
                ad(rate, channels, 2 * second, 600.0),
            ],
        ),
        Break {
            replace: Duration::from_millis(1_500),
            ..at(
                At::Time(ContentTime::from_millis(15_100)),
                vec![ad(rate, channels, second + 77, 450.0)],
            )
        },
        at(At::End, vec![ad(rate, channels, second, 700.0)]),
    ]
}

fn read(rendition: &Rendition, content: &dyn Content, start: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut at = 0;
    while at < len {
        let offset = start + at as u64;
        match rendition.read_at(content, offset, &mut bytes[at..], Duration::from_secs(1))? {
            0 => break,
            count => at += count,
        }
    }
    bytes.truncate(at);
    Ok(bytes)
}

/// Whatever is read first.
fn the_bytes_are_the_same(name: &str, rate: usize, channels: usize, coding: &[&str]) {
    let fixture = Fixture::new(name, rate, channels, coding);
    let content = std::fs::read(&fixture.content).unwrap();
    let breaks = breaks(rate, channels);
    let now = splice::prepare(&content, &breaks, &Options::default()).unwrap();
    let whole = read(&now, &content, 0, now.len() as usize).unwrap();

    let later = splice::prepare(&content, &breaks, &LATER).unwrap();
    assert_eq!(later.len(), now.len(), "{name}");
    assert_eq!(later.points(), now.points(), "{name}");
    assert_eq!(later.audio(), now.audio(), "{name}");
    assert_eq!(later.report().ads, now.report().ads, "{name}");
    // From the end to the beginning.
    for start in (0..now.len())
        .step_by(50_000)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        let got = read(&later, &content, start, 50_000).unwrap();
        assert!(
            got == whole[start as usize..][..got.len()],
            "{name}: from {start}"
        );
    }
    let mut written = Vec::new();
    let again = splice::prepare(&content, &breaks, &LATER).unwrap();
    again.write_to(&content, &mut written, &LATER).unwrap();
    assert!(written == whole, "{name}: as it is written");
}

#[test]
fn mp3_is_the_same_whatever_is_read_first() {
    for (name, rate, channels, coding) in [
        ("cbr.mp3", 44_100, 2, &["-b:a", "128k"][..]),
        ("full.mp3", 48_000, 2, &["-b:a", "320k"]),
        ("vbr.mp3", 44_100, 1, &["-q:a", "4"]),
        ("mpeg2.mp3", 22_050, 1, &["-b:a", "48k"]),
    ] {
        let coding = [&["-c:a", "libmp3lame"], coding].concat();
        the_bytes_are_the_same(name, rate, channels, &coding);
    }
}

#[test]
fn aac_is_the_same_whatever_is_read_first() {
    for (name, rate, channels) in [("content.aac", 44_100, 2), ("content.m4a", 48_000, 1)] {
        the_bytes_are_the_same(name, rate, channels, &["-c:a", "aac", "-b:a", "96k"]);
    }
}

#[test]
fn what_is_not_read_is_not_waited_for() {
    let coding = ["-c:a", "libmp3lame", "-b:a", "128k"];
    let fixture = Fixture::new("sealed.mp3", 44_100, 2, &coding);
    let content = Sealed {
        bytes: std::fs::read(&fixture.content).unwrap(),
        sealed: AtomicBool::new(false),
    };
    let breaks = breaks(44_100, 2);
    let now = splice::prepare(&content, &breaks, &Options::default()).unwrap();
    let head = now.audio().unwrap().start as usize;
    let later = splice::prepare(&content, &breaks, &LATER).unwrap();
    content.sealed.store(true, Ordering::Relaxed);
    let got = read(&later, &content, 0, head).unwrap();
    assert!(got == read(&now, &content, 0, head).unwrap());
    // The pre-roll's bridge needs content, and is asked for again when that is there.
    let failed = read(&later, &content, head as u64, 1).unwrap_err();
    assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
    content.sealed.store(false, Ordering::Relaxed);
    let got = read(&later, &content, head as u64, 1_000).unwrap();
    assert!(got == read(&now, &content, head as u64, 1_000).unwrap());
}
