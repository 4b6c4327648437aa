//! In every format that ads are spliced into, facts that a publisher signs are hints, and an index of frames is what all viewers count by: right facts, false ones and none give the same result, to a file and to a pipe.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::Router;
use bt_bencode::Value;
use common::facts::{entry, with_facts};
use common::tools::generate;
use common::{Server, grove};
use engine::cue_sheet::{CueSheet, SecretKey, SignedCueSheet};
use engine::metainfo::{Builder, Metainfo};
use tempfile::TempDir;

/// What was published, and the server that has it.
struct Published {
    folder: TempDir,
    torrent: PathBuf,
    server: Server,
    name: String,
}

impl Published {
    /// Publishes generated content with an ad in it.
    fn new(name: &str, seconds: u32, coding: &str, cue: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let web = folder.path().join("web");
        std::fs::create_dir(&web).expect("a folder");
        let mut inputs = vec![format!("anoisesrc=c=pink:a=0.2:seed=5:r=48000:d={seconds}")];
        if coding.contains("-c:v") {
            inputs.push(format!("testsrc2=s=160x90:r=25:d={seconds}"));
        }
        generate(&web.join(name), &inputs, coding);
        generate(&web.join("ad.wav"), &["sine=f=440:r=48000:d=1".to_owned()], "");
        let server = Server::start(Router::new().fallback_service(tower_http::services::ServeDir::new(&web)));
        let published = Self {
            torrent: web.join(format!("{name}.torrent")),
            folder,
            server,
            name: name.to_owned(),
        };
        published.publish(cue);
        published
    }

    fn publish(&self, cue: &str) {
        grove(self.folder.path(), ["publish", &format!("web/{}", self.name)])
            .args(["--allow-private", "--data", "publisher"])
            .args([
                "--origin",
                &self.server.url(&self.name),
                "--ad",
                &format!("{cue}=web/ad.wav"),
            ])
            .run()
            .expect(0);
    }

    fn metainfo(&self) -> Metainfo {
        Metainfo::parse(&std::fs::read(&self.torrent).expect("a .torrent")).expect("valid")
    }

    /// The `.torrent` of somebody who makes no index, with the publisher's cue sheet.
    fn without_index(&self) -> Vec<u8> {
        let metainfo = self.metainfo();
        let other = Builder::new(&self.name)
            .web_seed(self.server.url(&self.name))
            .hash_file(&self.folder.path().join("web").join(&self.name), |_| ())
            .expect("the content");
        let signed = SignedCueSheet::open(
            metainfo.cue_sheet().expect("a cue sheet"),
            &metainfo.info_hash_v2(),
        )
        .expect("a valid signature");
        let sheet: CueSheet = signed.sheet().clone();
        let key =
            SecretKey::load_or_create(&self.folder.path().join("publisher/publisher.key")).expect("a key");
        let signed = sheet.sign(&key, &other.info_hash_v2()).expect("signed");
        let other = other.with_cue_sheet(Some(signed.raw())).expect("a .torrent");
        other.to_bytes().to_vec()
    }
}

/// Nothing about the cue is right.
fn falsify(facts: &mut Value) {
    for (key, value) in [
        ("sample_rate", 8_000),
        ("channels", 2),
        ("samples", 4_000),
        ("frames", 9),
    ] {
        *entry(facts, key) = Value::from(value);
    }
    let Value::List(cues) = entry(facts, "cues") else {
        panic!("cues are a list")
    };
    for (key, by) in [
        ("offset", 418_u64),
        ("frame", 1),
        ("sample", 1_152),
        ("position", 999_000_000_000_000),
    ] {
        let value = entry(&mut cues[0], key);
        *value = Value::from(value.as_u64().expect("a number") + by);
    }
    let loudness = entry(&mut cues[0], "loudness");
    *loudness = Value::from(loudness.as_i64().expect("a number") - 2_000);
}

/// What a viewer gets who meets this `.torrent` first, in a file or through a pipe.
fn result(torrent: &[u8], to: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("e.torrent"), torrent).expect("a file");
    let finished = grove(
        folder.path(),
        ["get", "e.torrent", "--allow-private", "--data", "state", "-o", to],
    )
    .run()
    .expect(0);
    if to == "-" {
        return finished.stdout;
    }
    std::fs::read(folder.path().join(to)).expect("the result")
}

#[track_caller]
fn facts_change_nothing(published: &Published) -> Vec<u8> {
    let (name, folder) = (&published.name, published.folder.path());
    let right = result(&std::fs::read(&published.torrent).expect("a .torrent"), "out");
    let wrong = result(&with_facts(folder, &published.torrent, falsify), "out");
    let none = |facts: &mut Value| *facts = Value::Dict(BTreeMap::new());
    let none = result(&with_facts(folder, &published.torrent, none), "-");
    let content = std::fs::read(folder.join("web").join(name)).expect("the content");
    assert!(right != content, "{name}: there is no ad in it");
    assert!(right == wrong, "{name}: false facts make a difference");
    assert!(
        right == none,
        "{name}: without facts, and through a pipe, it is different"
    );
    right
}

/// Content whose frames can only be counted.
#[track_caller]
fn an_index_changes_nothing_but_what_is_read(name: &str, coding: &str) {
    let published = Published::new(name, 60, coding, "50%");
    let before = published.metainfo();
    assert!(before.frame_index().is_some(), "{name}: it has no index");
    let spliced = facts_change_nothing(&published);
    let other = published.without_index();
    assert!(
        spliced == result(&other, "out"),
        "{name}: without an index it is different"
    );
    published.publish("0:20");
    let after = published.metainfo();
    assert_ne!(before.cue_sheet(), after.cue_sheet());
    assert_eq!(
        before.info_hash_v2(),
        after.info_hash_v2(),
        "{name}: a cue that moves splits the swarm"
    );
}

#[test]
fn vbr_mp3() {
    an_index_changes_nothing_but_what_is_read("c.mp3", "-c:a libmp3lame -q:a 5");
}

#[test]
fn adts() {
    an_index_changes_nothing_but_what_is_read("c.aac", "-c:a aac -b:a 96k");
}

#[test]
fn sound_that_says_where_it_is() {
    for (name, coding) in [("c.m4a", "-c:a aac -b:a 96k"), ("c.flac", ""), ("c.wav", "")] {
        let published = Published::new(name, 20, coding, "50%");
        assert_eq!(published.metainfo().frame_index(), None, "{name}");
        facts_change_nothing(&published);
    }
}

#[test]
fn sound_in_ogg_and_webm() {
    for (name, coding) in [
        ("c.opus", "-c:a libopus -b:a 96k"),
        ("c.ogg", "-c:a libvorbis"),
        ("c.webm", "-c:a libopus -b:a 96k"),
    ] {
        let published = Published::new(name, 20, coding, "50%");
        assert_eq!(published.metainfo().frame_index(), None, "{name}");
        facts_change_nothing(&published);
    }
}

#[test]
fn video() {
    let coding = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 50 -c:a aac -b:a 96k";
    let vp9 = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 50 -c:a libopus";
    for (name, coding) in [("c.mp4", coding), ("c.webm", vp9)] {
        facts_change_nothing(&Published::new(name, 8, coding, "0:04"));
    }
}
