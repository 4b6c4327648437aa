//! Nothing that was acknowledged is lost when the server is killed.

mod common;

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::toml;
use serde_json::Value;

/// The server as a process of its own, and its URL.
fn start(dir: &std::path::Path) -> (Child, String) {
    let mut server = Command::new(env!("CARGO_BIN_EXE_ad-server-mock"))
        .args([
            "serve",
            "--json",
            "--http",
            "127.0.0.1:0",
            "--load",
            "ads.toml",
            "--db",
            "ads.db",
            "--most-a-minute",
            "0",
        ])
        .current_dir(dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server runs");
    let mut line = String::new();
    BufReader::new(server.stdout.take().expect("a pipe"))
        .read_line(&mut line)
        .expect("a line");
    let said: Value = serde_json::from_str(&line).expect("JSON");
    (server, said["url"].as_str().expect("a URL").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_kill() {
    /// The server is killed when so many beacons were acknowledged, while others are on their way.
    const ENOUGH: usize = 300;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.mp3"), "a".repeat(1000)).unwrap();
    std::fs::write(dir.path().join("ads.toml"), toml(&[("a", "a.mp3")], "", "")).unwrap();
    let (mut server, base) = start(dir.path());
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let http = common::client();
    let mut viewers = tokio::task::JoinSet::new();
    for viewer in 0..40 {
        let (http, base, count) = (http.clone(), base.clone(), Arc::clone(&acknowledged));
        viewers.spawn(async move {
            let (mut decided, mut counted) = (Vec::new(), Vec::new());
            for n in 0.. {
                let url = format!("{base}/vast?break={viewer}-{n}");
                // The server is gone when a request fails: what came before was answered whole.
                let Ok(answer) = http.get(url).send().await else {
                    break;
                };
                let Ok(text) = answer.text().await else { break };
                let Some(ad) = common::parse(&text).0.pop() else {
                    break;
                };
                decided.push(ad.serving_id.clone());
                match http.get(ad.beacon("impression", "played")).send().await {
                    Ok(answer) if answer.status() == 204 => {
                        counted.push(ad.serving_id.clone());
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    _ => break,
                }
            }
            (decided, counted)
        });
    }
    while acknowledged.load(Ordering::Relaxed) < ENOUGH {
        assert!(server.try_wait().unwrap().is_none(), "the server ended by itself");
        tokio::task::yield_now().await;
    }
    // SIGKILL.
    server.kill().unwrap();
    server.wait().unwrap();
    let (mut decided, mut counted) = (HashSet::new(), HashSet::new());
    for (d, c) in viewers.join_all().await {
        decided.extend(d);
        counted.extend(c);
    }
    assert!(counted.len() >= ENOUGH, "{}", counted.len());
    println!(
        "{} decisions and {} beacons were acknowledged",
        decided.len(),
        counted.len()
    );

    let (mut server, _) = start(dir.path());
    let db = dir.path().join("ads.db");
    let db = ad_server_mock::store::Location::parse(db.to_str().unwrap()).unwrap();
    let db = ad_server_mock::store::Db::open(&db).await.unwrap();
    let stored = db.states().await.unwrap();
    for id in &decided {
        assert!(
            stored.contains_key(id),
            "the decision {id} was answered and is lost"
        );
    }
    for id in &counted {
        assert_eq!(
            stored[id], "billed",
            "the impression of {id} was acknowledged and is lost"
        );
    }
    db.close().await;
    server.kill().unwrap();
    server.wait().unwrap();
}
