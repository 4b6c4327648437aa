//! The command as a process: its output, its exit status, and what a kill leaves behind.

mod common;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use common::{client, fill, parse, toml, write};

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ad-server-mock"));
    command
        .current_dir(dir)
        .env_remove("RUST_LOG")
        .args(["--db", "ads.db"]);
    command
}

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.mp3"), [7; 1000]).unwrap();
    write(&dir.path().join("ads.toml"), &toml(&[("a", "a.mp3")], "", ""));
    dir
}

/// A process that is killed when the test is done with it.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Starts on a free port; its URL is in the first line that it prints.
    fn start(dir: &Path) -> (Self, String) {
        let mut child = command(dir)
            .args(["--json", "serve", "--listen", "127.0.0.1:0", "--load", "ads.toml"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let hello: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(hello["event"], "listening");
        let url = hello["url"].as_str().unwrap().to_owned();
        assert_eq!(format!("http://{}", hello["http"].as_str().unwrap()), url);
        (Self(child), url)
    }
}

fn text(output: &Output) -> (Option<i32>, String, String) {
    let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_kill() {
    let dir = folder();
    let (server, url) = Server::start(dir.path());
    let http = client();
    let answer = http
        .get(format!("{url}/vast?break=1"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let ad = parse(&answer).0.remove(0);
    assert_eq!(
        http.get(ad.beacon("impression", "delivered"))
            .send()
            .await
            .unwrap()
            .status(),
        204
    );
    drop(server);

    let (code, out, _) = text(&command(dir.path()).args(["--json", "report"]).output().unwrap());
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, Some(0));
    assert_eq!(
        report["rows"][0]["impressions"],
        serde_json::json!({"delivered": 1, "played": 0})
    );
    assert_eq!(report["rows"][0]["spend_micros"], 20_000);
    let (_, csv, _) = text(&command(dir.path()).args(["report", "--csv"]).output().unwrap());
    assert!(
        csv.lines().nth(1).unwrap().starts_with("a,a,a,a,a,1,1,0,"),
        "{csv}"
    );
    let (_, table, _) = text(&command(dir.path()).arg("report").output().unwrap());
    assert!(table.contains("a/a") && table.contains("0.020000 USD"), "{table}");

    // The key is kept too: what the first server signed, the second takes.
    let (mut server, second) = Server::start(dir.path());
    let (_, raw) = ad.beacons.iter().find(|(e, _)| e == "complete").unwrap();
    let beacon = fill(raw, "played").replacen(&url, &second, 1);
    assert_eq!(http.get(beacon).send().await.unwrap().status(), 204);

    // SIGTERM ends it well, with nothing more on stdout.
    let told = Command::new("kill")
        .arg(server.0.id().to_string())
        .status()
        .unwrap();
    assert!(told.success());
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    server.0.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn a_data_folder_has_the_database_unless_another_place_is_named() {
    let dir = folder();
    let load = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ad-server-mock"));
        let command = command
            .current_dir(dir.path())
            .args(["load", "ads.toml", "--data", "data"]);
        let (code, _, err) = text(&command.args(more).output().unwrap());
        assert_eq!(code, Some(0), "{err}");
        ["data/adserver.db", "other.db"].map(|name| dir.path().join(name).exists())
    };
    assert_eq!(load(&["--db", "other.db"]), [false, true]);
    assert_eq!(load(&[]), [true, true]);
}

#[test]
fn bad_input_exits_2_and_says_where_and_why() {
    let dir = folder();
    let load = |file: &str| text(&command(dir.path()).args(["load", file]).output().unwrap());
    assert_eq!(load("ads.toml").0, Some(0));
    write(&dir.path().join("bad.toml"), &toml(&[("b", "none.mp3")], "", ""));
    let (code, out, err) = load("bad.toml");
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(
        err.starts_with("error: cannot load bad.toml, line 13: file: cannot read none.mp3: "),
        "{err}"
    );
    assert!(err.contains("\nhint: "), "{err}");
    assert_eq!(load("nowhere.toml").0, Some(2));
    let wrong = command(dir.path())
        .args(["serve", "--http", "nonsense"])
        .output()
        .unwrap();
    assert_eq!(text(&wrong).0, Some(2));
    let wrong = command(dir.path())
        .args(["--db", "postgres://h/d", "load", "ads.toml"])
        .output()
        .unwrap();
    assert_eq!(text(&wrong).0, Some(2), "{wrong:?}");
    write(&dir.path().join("networks.txt"), "192.0.2.0/99\n");
    for (args, said) in [
        (
            &["serve", "--data-centres", "networks.txt"][..],
            "error: cannot use networks.txt: ",
        ),
        (
            &["serve", "--data-centres", "none.txt"],
            "error: cannot read none.txt: ",
        ),
        (
            &["report", "--db", "none.db"],
            "error: cannot report: there is no database at none.db",
        ),
    ] {
        let wrong = Command::new(env!("CARGO_BIN_EXE_ad-server-mock"))
            .current_dir(dir.path())
            .args(args)
            .output();
        let (code, _, err) = text(&wrong.unwrap());
        assert_eq!(code, Some(2), "{err}");
        assert!(err.starts_with(said), "{err}");
    }
    // What was refused left nothing behind.
    let (_, out, _) = text(&command(dir.path()).args(["report", "--json"]).output().unwrap());
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["rows"].as_array().unwrap().len(), 1);
    // A port that is taken is a failure, not bad input.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, err) = text(
        &command(dir.path())
            .args(["serve", "--http", &address])
            .output()
            .unwrap(),
    );
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("cannot listen on") && err.contains("hint:"), "{err}");
}
