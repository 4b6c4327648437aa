//! `grove ads resolve` on documents written by hand, served by a server that behaves as a test wants.

mod common;

use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use common::{Finished, Server, grove};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A server on loopback with fixed documents. Dropping the runtime ends it.
struct Documents {
    base: String,
    _runtime: tokio::runtime::Runtime,
}

impl Documents {
    /// `documents` are made with the server's own address.
    fn serve(documents: impl FnOnce(&str) -> Vec<(&'static str, String)>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let mut app = Router::new()
            .route("/gone", get(|| async { StatusCode::NOT_FOUND }))
            .route("/never", get(std::future::pending::<()>));
        for (path, text) in documents(&base) {
            app = app.route(path, get(move || async move { text }));
        }
        runtime.spawn(async move { axum::serve(listener, app).await });
        Documents {
            base,
            _runtime: runtime,
        }
    }
}

fn resolve(source: &str, args: &[&str]) -> Finished {
    let folder = TempDir::new().expect("a folder");
    grove(
        folder.path(),
        ["ads", "resolve", "--json", "--allow-private", source],
    )
    .args(args)
    .run()
}

fn one(finished: &Finished) -> Value {
    let mut objects = finished.json();
    assert_eq!(objects.len(), 1, "one object and nothing else");
    objects.remove(0)
}

fn inline(id: &str, attributes: &str, media: &str) -> String {
    format!(
        "<Ad id='{id}' {attributes}><InLine><AdSystem>Hand</AdSystem><AdTitle>Title {id}</AdTitle>
         <Error>http://e.example/{id}?[ERRORCODE]</Error><Impression>http://i.example/{id}</Impression>
         <Creatives><Creative id='c{id}'><UniversalAdId idRegistry='ad-id.org'>U{id}</UniversalAdId>
         <Linear skipoffset='25%'><Duration>00:00:08</Duration><TrackingEvents>
         <Tracking event='start'>http://t.example/{id}/start</Tracking>
         <Tracking event='complete'>http://t.example/{id}/complete</Tracking></TrackingEvents>
         <VideoClicks><ClickThrough>http://c.example/{id}</ClickThrough></VideoClicks>
         <MediaFiles>{media}</MediaFiles></Linear></Creative></Creatives></InLine></Ad>"
    )
}

const SOUND: &str =
    "<MediaFile type='audio/mpeg' width='0' height='0' bitrate='64'>http://m.example/64.mp3</MediaFile>
    <Mezzanine type='audio/wav'>http://m.example/mezzanine.wav</Mezzanine>
    <MediaFile type='audio/mpeg' width='0' height='0' bitrate='192'>http://m.example/192.mp3</MediaFile>
    <MediaFile type='application/x-shockwave-flash' width='640' height='360'>http://m.example/flash.swf</MediaFile>";

#[test]
fn a_wrapped_pod_is_shown_with_its_fallbacks_media_files_reports_and_errors() {
    let server = Documents::serve(|_| {
        let flash = "<MediaFile type='application/x-shockwave-flash'>http://m.example/only.swf</MediaFile>";
        let ads = [
            inline("two", "sequence='2'", SOUND),
            inline("one", "sequence='1'", SOUND),
            inline("broken", "sequence='3'", flash),
            inline("first spare", "", SOUND),
            inline("second spare", "", SOUND),
        ];
        vec![("/inner", format!("<VAST version='3.0'>{}</VAST>", ads.concat()))]
    });
    let wrapper = format!(
        "<VAST version='4.2'><Ad id='w'><Wrapper allowMultipleAds='true'><AdSystem>Middle</AdSystem>
         <Error>http://e.example/w</Error><Impression>http://i.example/w</Impression>
         <VASTAdTagURI>{}/inner</VASTAdTagURI></Wrapper></Ad></VAST>",
        server.base
    );
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("wrapper.xml");
    std::fs::write(&file, wrapper).expect("written");
    let answer = one(&resolve(&file.display().to_string(), &[]).expect(0));
    assert_eq!(answer["version"], "4.2");
    let ids = |list: &Value| -> Vec<String> {
        let list = list.as_array().expect("a list");
        list.iter()
            .map(|ad| ad["ad_id"].as_str().expect("an id").to_owned())
            .collect()
    };
    assert_eq!(ids(&answer["pod"]), ["one", "two", "first spare"]);
    assert_eq!(ids(&answer["fallbacks"]), ["second spare"]);
    assert_eq!(ids(&answer["not_played"]), ["broken"]);
    let problems = answer["problems"].as_array().expect("a list");
    assert_eq!(problems.len(), 1, "{answer}");
    assert_eq!(problems[0]["code"], 403);
    assert_eq!(
        problems[0]["reported_to"],
        json!(["http://e.example/broken?[ERRORCODE]", "http://e.example/w"])
    );
    let ad = &answer["pod"][0];
    for (field, expected) in [
        ("sequence", json!(1)),
        ("ad_system", json!("Hand")),
        ("title", json!("Title one")),
        ("creative_id", json!("cone")),
        ("universal_ad_ids", json!(["Uone"])),
        ("duration", json!(8.0)),
        ("skip_offset", json!(2.0)),
        (
            "impressions",
            json!(["http://i.example/one", "http://i.example/w"]),
        ),
        (
            "tracking",
            json!({"start": ["http://t.example/one/start"], "complete": ["http://t.example/one/complete"]}),
        ),
        (
            "errors",
            json!(["http://e.example/one?[ERRORCODE]", "http://e.example/w"]),
        ),
        ("click_through", json!("http://c.example/one")),
        ("verifications", json!([])),
    ] {
        assert_eq!(ad[field], expected, "{field}");
    }
    let file = &ad["media_file"];
    assert_eq!(
        (
            &file["url"],
            &file["type"],
            &file["width"],
            &file["height"],
            &file["bitrate"]
        ),
        (
            &json!("http://m.example/192.mp3"),
            &json!("audio/mpeg"),
            &json!(0),
            &json!(0),
            &json!(192)
        )
    );
    assert!(
        file["why"].as_str().expect("why").contains("192 kbit/s"),
        "{file}"
    );
    assert_eq!(ad["left_out_media_files"][0]["url"], "http://m.example/flash.swf");
    assert_eq!(ad["wrappers"][0]["ad_system"], "Middle");
    assert_eq!(
        ad["reports"].as_array().expect("a list").last().expect("one")["event"],
        "error"
    );
}

#[test]
fn vmap_is_shown_break_by_break_in_the_order_of_play() {
    let server = Documents::serve(|_| {
        vec![(
            "/tag",
            format!("<VAST version='3.0'>{}</VAST>", inline("tag", "", SOUND)),
        )]
    });
    let vmap = format!(
        "<vmap:VMAP xmlns:vmap='http://www.iab.net/videosuite/vmap' version='1.0'>
         <vmap:AdBreak timeOffset='end' breakType='linear' breakId='post'><vmap:AdSource><vmap:AdTagURI>{0}/tag</vmap:AdTagURI></vmap:AdSource></vmap:AdBreak>
         <vmap:AdBreak timeOffset='50%' breakType='linear' breakId='half'/>
         <vmap:AdBreak timeOffset='00:00:10' breakType='linear,display' breakId='ten'><vmap:AdSource><vmap:VASTAdData><VAST version='4.2'>{1}</VAST></vmap:VASTAdData></vmap:AdSource>
         <vmap:TrackingEvents><vmap:Tracking event='breakStart'>http://b.example/start</vmap:Tracking></vmap:TrackingEvents></vmap:AdBreak>
         <vmap:AdBreak timeOffset='start' breakType='nonlinear' breakId='over'/></vmap:VMAP>",
        server.base,
        inline("inside", "", SOUND)
    );
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("vmap.xml");
    std::fs::write(&file, vmap).expect("written");
    let answer = one(&resolve(&file.display().to_string(), &["--duration", "1:00"]).expect(0));
    assert_eq!(answer["version"], "1.0");
    let breaks = answer["breaks"].as_array().expect("a list");
    let shown: Vec<_> = breaks
        .iter()
        .map(|decided| (decided["id"].as_str(), decided["pod"][0]["ad_id"].as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            (Some("ten"), Some("inside")),
            (Some("half"), None),
            (Some("post"), Some("tag"))
        ]
    );
    assert_eq!(
        breaks[0]["tracking"],
        json!({"breakStart": ["http://b.example/start"]})
    );
    assert_eq!(answer["notes"].as_array().map(Vec::len), Some(1), "{answer}");
}

#[test]
fn what_cannot_be_resolved_has_its_code_and_its_exit_status() {
    let server = Documents::serve(|base| {
        let wrapper = |to: &str| {
            format!(
                "<VAST version='4.2'><Ad><Wrapper><VASTAdTagURI>{base}{to}</VASTAdTagURI></Wrapper></Ad></VAST>"
            )
        };
        vec![
            ("/rubbish", "rubbish".to_owned()),
            ("/html", "<html/>".to_owned()),
            ("/version", "<VAST version='7.0'/>".to_owned()),
            (
                "/empty",
                "<VAST version='3.0'><Error>http://e.example/?[ERRORCODE]</Error></VAST>".to_owned(),
            ),
            ("/nothing", String::new()),
            ("/loop", wrapper("/loop")),
            ("/to-gone", wrapper("/gone")),
            ("/to-never", wrapper("/never")),
        ]
    });
    for (path, code, status) in [
        ("/rubbish", 100, 2),
        ("/html", 101, 2),
        ("/version", 102, 2),
        ("/empty", 303, 0),
        ("/nothing", 303, 0),
        ("/loop", 302, 0),
        ("/to-gone", 301, 0),
        ("/gone", 301, 1),
    ] {
        let finished = resolve(&format!("{}{path}", server.base), &[]).expect(status);
        let answer = one(&finished);
        assert_eq!(answer["problems"][0]["code"], code, "{path}: {answer}");
        assert_eq!(answer["pod"], json!([]), "{path}");
        if status != 0 {
            assert!(
                finished.stderr.starts_with("error: "),
                "{path}: {}",
                finished.stderr
            );
        }
    }
    // A server that never answers is waited for as long as a hop may take, and no longer.
    let began = Instant::now();
    let answer = one(&resolve(&format!("{}/to-never", server.base), &[]).expect(0));
    assert_eq!(answer["problems"][0]["code"], 301, "{answer}");
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    resolve("no-such-file.xml", &[]).expect(2);
}

#[test]
fn a_hundred_megabytes_are_refused_after_the_first_one() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("large.xml");
    // Sparse: it is only ever read from as far as a document may go.
    let large = std::fs::File::create(&file).expect("created");
    large.set_len(100_000_000).expect("sized");
    let answer = one(&resolve(&file.display().to_string(), &[]).expect(2));
    assert_eq!(answer["problems"][0]["code"], 100);
    let text = answer["problems"][0]["text"].as_str().expect("a text");
    assert!(text.contains("longer than 1048576 bytes"), "{text}");
}

#[test]
fn a_private_address_in_a_response_is_refused_unless_allowed() {
    let server = Documents::serve(|base| {
        let inner = format!("<VAST version='3.0'>{}</VAST>", inline("a", "", SOUND));
        let outer = format!(
            "<VAST version='4.2'><Ad><Wrapper><VASTAdTagURI>{}/inner</VASTAdTagURI></Wrapper></Ad></VAST>",
            base.replace("127.0.0.1", "localhost")
        );
        vec![("/inner", inner), ("/outer", outer)]
    });
    let folder = TempDir::new().expect("a folder");
    let finished = grove(folder.path(), ["ads", "resolve", "--json"])
        .arg(format!("{}/outer", server.base))
        .run()
        .expect(0);
    let answer = one(&finished);
    assert_eq!(answer["problems"][0]["code"], 301, "{answer}");
    assert_eq!(answer["pod"], json!([]));
}

#[test]
fn a_break_may_be_at_a_part_of_the_content() {
    let server = Server::start(Router::new().route("/vast", get(|| async { "<VAST version='4.2'/>" })));
    let tag = server.url("vast?at=[CONTENTPLAYHEAD]");
    resolve(&tag, &["--at", "50%"])
        .expect(2)
        .says("--at 50%")
        .says("hint: say it with --duration");
    resolve(&tag, &["--at", "middle"]).expect(2).says("`n%`");
    for at in ["50%", "end", "start", "2:00"] {
        resolve(&tag, &["--at", at, "--duration", "3:00"]).expect(0);
    }
    let asked = server.asked().join(" ").replace("%3A", ":");
    let asked: Vec<&str> = asked.split("at=").skip(1).map(|at| &at[..12]).collect();
    assert_eq!(
        asked,
        ["00:01:30.000", "00:03:00.000", "00:00:00.000", "00:02:00.000"]
    );
}
