//! A creative that was uploaded to the ad server: viewers get it from each other, and from the server when there is nobody else.

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use common::ads::AdServer;
use common::{Grove, fixtures, grove, publish, sha256};

/// Posts a creative to a flight, as a form.
fn upload(server: SocketAddr, token: &str, flight: &str, file: &Path) {
    let mut form =
        b"--grove\r\nContent-Disposition: form-data; name=\"file\"; filename=\"new.mp3\"\r\n\r\n".to_vec();
    form.extend(std::fs::read(file).expect("a fixture"));
    form.extend(b"\r\n--grove--\r\n");
    let mut connection = TcpStream::connect(server).expect("the ad server");
    write!(
        connection,
        "POST /api/v1/flights/{flight}/creatives HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: multipart/form-data; boundary=grove\r\nContent-Length: {}\r\n\r\n",
        form.len()
    )
    .and_then(|()| connection.write_all(&form))
    .expect("it takes the form");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(answer.contains("\"info_hash\":\""), "it is published: {answer}");
}

#[test]
fn a_creative_comes_from_other_viewers_and_from_the_server_when_there_is_no_other_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let mut tracker = grove(at, ["tracker", "--json", "--http", "127.0.0.1:0"]).start();
    let announce = tracker.announce_url();
    let campaign = "[[advertiser]]\nid = \"new\"\nname = \"New\"\n[[advertiser.campaign]]\nid = \"new\"\n\
                    [[advertiser.campaign.flight]]\nid = \"new\"\nprice_per_thousand = 20\npriority = 1\n\
                    targeting = { shows = [\"swarm\"] }\n";
    std::fs::write(at.join("new.toml"), campaign).expect("a file");
    let server = AdServer::start(at, &["--load", "new.toml", "--tracker", &announce]);
    let token = grove(
        at,
        [
            "adserver",
            "token",
            "--db",
            "adserver.db",
            "--name",
            "me",
            "--json",
        ],
    )
    .run()
    .expect(0)
    .json()[0]["token"]
        .as_str()
        .expect("a token")
        .to_owned();
    // Bytes of its own, so that no campaign of the fixtures has them: an ID3v1 tag more.
    let mut bytes = std::fs::read(fixtures().join("kettle.mp3")).expect("a fixture");
    bytes.extend(b"TAG");
    bytes.extend([0; 125]);
    let creative = at.join("new.mp3");
    std::fs::write(&creative, bytes).expect("a file");
    let hash = sha256(&creative);
    upload(server.addr, &token, "new", &creative);
    let (stored, metainfo): (PathBuf, PathBuf) = (
        at.join("adserver.db.creatives").join(&hash),
        at.join("adserver.db.creatives").join(format!("{hash}.torrent")),
    );

    let tag = format!("http://{}/vast?show=swarm&break=1&ads=1", server.addr);
    let published = publish(["--cue", "30", "--ads", &tag]);
    let viewer = |name: &str| -> Grove {
        grove(
            at,
            ["get", "--json", "--allow-private", "--listen", "127.0.0.1:0"],
        )
        .args(["--data", name, "-o", &format!("{name}.mp3")])
        .arg(published.torrent_url())
    };
    let ad = |complete: &serde_json::Value| {
        assert_eq!(complete["ads"][0]["creative_sha256"], hash, "{complete}");
    };
    let mut first = viewer("first").args(["--seed-for", "600"]).start();
    ad(&first.wait_for("complete"));

    // The server lost the file: whoever wants it has nobody else than the first viewer.
    std::fs::rename(&stored, at.join("aside")).expect("the file is there");
    let second = viewer("second").run().expect(0);
    ad(&second.event("complete"));
    let alone = viewer("alone").arg("--no-peers").run().expect(0);
    assert_eq!(
        alone.event("complete")["skipped"][0]["vast_error"],
        401,
        "nobody else has it"
    );

    // Without its metainfo, and with one that is not its own, it is downloaded.
    std::fs::rename(at.join("aside"), &stored).expect("it comes back");
    std::fs::rename(&metainfo, at.join("aside")).expect("it was published");
    ad(&viewer("third").run().expect(0).event("complete"));
    std::fs::copy(&published.torrent, &metainfo).expect("it can be replaced");
    ad(&viewer("fourth").run().expect(0).event("complete"));

    first.interrupt();
    for name in ["first", "second", "fourth"] {
        let store = std::fs::read_dir(at.join(name).join("store")).expect("a store");
        assert_eq!(
            store.count(),
            1,
            "{name} keeps the episode there, and no creative"
        );
    }
    tracker.interrupt();
}
