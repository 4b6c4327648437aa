//! What is seen of an ad that is only heard, in video: the image of a companion, or a card.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use common::gateway::Scene;
use common::grove;
use common::tools::{generate, printed};

const VIDEO: &str = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 50 -c:a aac -b:a 96k";

/// A page and a script that are larger than any image, a larger image that is none, and a red one.
const COMPANIONS: &str = "<Creative><CompanionAds>
    <Companion width='300' height='250'><StaticResource creativeType='image/png'>HOST/red.png</StaticResource></Companion>
    <Companion width='970' height='250'><IFrameResource>HOST/other</IFrameResource></Companion>
    <Companion width='980' height='250'><StaticResource creativeType='application/x-javascript'>HOST/other</StaticResource></Companion>
    <Companion width='320' height='250'><StaticResource creativeType='image/png'>HOST/damaged.png</StaticResource></Companion>
    </CompanionAds></Creative>";

fn vast(host: &str, companions: &str) -> String {
    format!(
        "<VAST version='4.2'><Ad id='a'><InLine><AdSystem>x</AdSystem><AdTitle>A title</AdTitle><Advertiser>Acme</Advertiser>
        <Impression>{host}/seen</Impression><Creatives><Creative><Linear><Duration>00:00:01</Duration><MediaFiles>
        <MediaFile type='audio/wav' delivery='progressive'>{host}/ad.wav</MediaFile></MediaFiles></Linear></Creative>
        {}</Creatives></InLine></Ad></VAST>",
        companions.replace("HOST", host)
    )
}

/// An ad server, what else it has, and how often that was asked for.
fn server(companions: &'static str, others: Arc<AtomicUsize>) -> Router {
    let decision = move |request: Request| {
        let host = request.headers()["host"].to_str().expect("text").to_owned();
        async move { vast(&format!("http://{host}"), companions) }
    };
    let other = move || {
        others.fetch_add(1, Ordering::SeqCst);
        async { "<html>" }
    };
    Router::new()
        .route("/vast", get(decision))
        .route("/seen", get(async || ""))
        .route("/other", get(other))
}

/// Four seconds of video that has the ad after two of them.
fn with_the_ad(scene: &Scene) -> String {
    scene.sound("e.mp4", 4, VIDEO);
    scene.publish("e.mp4", &["--cue", "2", "--ads", &scene.server.url("vast")]);
    let path = scene.folder.path().join("out.mp4");
    std::fs::write(&path, scene.get("e.mp4", "out.mp4", &[])).expect("space on the disk");
    path.to_str().expect("a name").to_owned()
}

/// Mean red, green and blue of a part of the picture within the ad.
fn colour(video: &str, crop: &str) -> [u8; 3] {
    let filter = format!("{crop},scale=1:1,format=rgb24");
    let raw = ["-vf", &filter, "-frames:v", "1", "-f", "rawvideo", "-"];
    let pixel = printed("ffmpeg", &[&["-ss", "2.5", "-i", video][..], &raw].concat());
    pixel.try_into().expect("three bytes")
}

#[test]
fn the_largest_companion_that_is_an_image_is_shown() {
    let others = Arc::new(AtomicUsize::new(0));
    let scene = Scene::with(server(COMPANIONS, Arc::clone(&others)));
    let red = ["color=red:s=300x250:d=1".to_owned()];
    generate(&scene.web().join("red.png"), &red, "-frames:v 1");
    std::fs::write(scene.web().join("damaged.png"), "no image").expect("space on the disk");
    let video = with_the_ad(&scene);
    // It keeps its shape: 108 pixels wide of 160.
    for (crop, is_red) in [
        ("crop=8:8:76:40", true),
        ("crop=8:8:30:40", true),
        ("crop=8:8:8:40", false),
    ] {
        let colour = colour(&video, crop);
        let looks_red = colour[0] > 150 && colour[1] < 60 && colour[2] < 60;
        assert_eq!(looks_red, is_red, "{crop}: {colour:?}");
    }
    assert_eq!(
        others.load(Ordering::SeqCst),
        0,
        "no page and no script is fetched"
    );
}

#[test]
fn without_a_companion_a_card_names_the_advertiser() {
    let scene = Scene::with(server("", Arc::default()));
    let video = with_the_ad(&scene);
    let pictures = |video: &str| printed("ffmpeg", &["-i", video, "-map", "0:v", "-f", "framemd5", "-"]);
    // `grove splice` knows no other name than the file's.
    let named = |name: &str| {
        let folder = scene.folder.path();
        std::fs::copy(folder.join("web/ad.wav"), folder.join(name)).expect("space on the disk");
        grove(folder, ["splice", "web/e.mp4", "-o", "named.mp4"])
            .args(["--ad", &format!("2={name}")])
            .run()
            .expect(0);
        pictures(folder.join("named.mp4").to_str().expect("a name"))
    };
    let is = pictures(&video);
    assert!(is == named("Acme.wav"), "the card is another");
    assert!(is != named("Other.wav"), "the card names nobody");
}

#[test]
fn what_is_shown_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = |media: &str, companions: &str| -> Vec<String> {
        std::fs::write(
            folder.path().join("vast.xml"),
            vast("http://m.example", companions),
        )
        .expect("written");
        let args = ["ads", "resolve", "vast.xml", "--media", media];
        let finished = grove(folder.path(), args).run().expect(0);
        let lines = String::from_utf8(finished.stdout).expect("text");
        let lines = lines.lines().filter(|line| line.contains("companion"));
        lines
            .map(|line| line.split_whitespace().collect::<Vec<_>>()[1..].join(" "))
            .collect()
    };
    let all = |red: &str, damaged: &str| {
        vec![
            format!("300x250 http://m.example/red.png, {red}"),
            "970x250 http://m.example/other, not shown".to_owned(),
            "980x250 http://m.example/other, not shown".to_owned(),
            format!("320x250 http://m.example/damaged.png, {damaged}"),
        ]
    };
    let (first, next) = ("shown in video", "shown in video if the one before cannot be");
    for media in ["video", "any"] {
        assert_eq!(said(media, COMPANIONS), all(next, first), "{media}");
    }
    assert_eq!(said("audio", COMPANIONS), all("not shown", "not shown"));
    assert!(said("video", "").is_empty());
}
