//! A database that an earlier version filled is brought up to date with all that is in it, on SQLite and on PostgreSQL.

#[path = "common/postgres.rs"]
mod postgres;

use std::path::Path;

use ad_server_mock::clock::SystemClock;
use ad_server_mock::money::Micros;
use ad_server_mock::report::{ByBasis, Filter};
use ad_server_mock::store::settle::{Beacon, Recorded};
use ad_server_mock::{Config, ads::Asking, decide::Question, serve};
use postgres::Postgres;
use sqlx::AnyConnection;
use sqlx::Connection as _;
use sqlx::migrate::Migrator;

/// 2026-06-15 00:00 UTC, and the day of it.
const NOW: i64 = 1_781_481_600_000;

/// What the first version wrote: three questions, three decisions, one of them billed, one still open, one released.
const FIRST: &str = "
INSERT INTO settings VALUES ('beacon_key', 'a key'), ('catalog_version', '7');
INSERT INTO advertisers VALUES ('aurora', 'Aurora', 'aurora.example', 'IAB8', 'https://authority.example/');
INSERT INTO campaigns VALUES ('spring', 'aurora', 'Spring', 60000, 'EUR', 20000, 20000);
INSERT INTO flights (id, campaign_id, name, price, priority, pacing, reserved, billed, last_decided)
    VALUES ('one', 'spring', 'One', 20000, 8, 'fast', 1, 1, 3);
INSERT INTO creatives (id, flight_id, title, path, media_type, width, height, duration, size, modified, sha256,
    ad_registry, ad_id, weight, bitrate, decided)
    VALUES ('fifteen', 'one', 'Fifteen', '/nowhere', 'audio/mpeg', 0, 0, 15000, 1, 0, 'ab', 'r', 'i', 1, 128, 3);
INSERT INTO requests (id, asked, show, wanted, filled, error_code) VALUES
    ('q1', NOW, 'harbour', 1, 1, NULL), ('q2', NOW, 'harbour', 1, 1, NULL), ('q3', NOW, NULL, 2, 1, NULL),
    ('q4', NOW, NULL, 1, 0, '303');
INSERT INTO decisions (ad_serving_id, seq, request_id, download, campaign_id, flight_id, creative_id, sha256, price,
    decided, expires, state) VALUES
    ('d1', 1, 'q1', 'x', 'spring', 'one', 'fifteen', 'ab', 20000, NOW, 9000000000000, 'billed'),
    ('d2', 2, 'q2', NULL, 'spring', 'one', 'fifteen', 'ab', 20000, NOW, 9000000000000, 'open'),
    ('d3', 3, 'q3', NULL, 'spring', 'one', 'fifteen', 'ab', 20000, NOW, 9000000000000, 'released');
INSERT INTO rotation VALUES ('harbour', 'fifteen', 2, 2);
INSERT INTO events (ad_serving_id, event, tracker, basis, received, client_time, code, late) VALUES
    ('d1', 'impression', '1', 'played', NOW, NULL, NULL, 0), ('d1', 'complete', '1', 'played', NOW, NULL, NULL, 0),
    ('d3', 'error', '1', 'delivered', NOW, NULL, '405', 0);
INSERT INTO invalid_traffic VALUES (DAY, 'signature', 5);
";

/// What the third version added to that.
const THIRD: &str = "
INSERT INTO publishers VALUES ('media', 'Media', 7000);
INSERT INTO shows (id, publisher_id, title) VALUES ('harbour', 'media', 'The Harbour');
INSERT INTO tokens VALUES ('a hash', 'me', 'admin', NULL, NOW, NULL);
INSERT INTO proofs VALUES ('d1', NOW, 'account', NULL, 1, 1);
INSERT INTO tallies VALUES (DAY, 'harbour', 'one', 'fifteen', 'proved', 'played', '', 1, 0);
";

/// Brings the schema to what it was after `steps` migrations.
async fn migrate(connection: &mut AnyConnection, steps: usize) {
    let earlier = tempfile::tempdir().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() > steps, "there is something left to do");
    for file in &files[..steps] {
        std::fs::copy(file, earlier.path().join(file.file_name().unwrap())).unwrap();
    }
    Migrator::new(earlier.path())
        .await
        .unwrap()
        .run(connection)
        .await
        .unwrap();
}

async fn fill(connection: &mut AnyConnection, rows: &str) {
    let day = (NOW / 86_400_000).to_string();
    for statement in rows
        .replace("NOW", &NOW.to_string())
        .replace("DAY", &day)
        .split(";\n")
    {
        if !statement.trim().is_empty() {
            let statement = sqlx::AssertSqlSafe(statement.to_owned());
            sqlx::raw_sql(statement).execute(&mut *connection).await.unwrap();
        }
    }
}

/// Opens what is there with this version, and looks at it and goes on with it.
async fn goes_on(db: String, with_third: bool) {
    let s = serve(Config {
        clock: std::sync::Arc::new(SystemClock),
        uploads: Some(std::env::temp_dir()),
        ..Config::new(db)
    })
    .await
    .unwrap();
    let report = s.ads().db().report(&Filter::default(), NOW).await.unwrap();
    assert_eq!((report.requests.asked, report.requests.filled), (4, 3));
    assert_eq!(report.requests.no_ad_reported, 1);
    assert_eq!((report.totals.decisions, report.totals.billed), (3, 1));
    assert_eq!(
        report.totals.impressions,
        ByBasis {
            delivered: 0,
            played: 1
        }
    );
    assert_eq!(
        report.totals.complete,
        ByBasis {
            delivered: 0,
            played: 1
        }
    );
    assert_eq!(report.errors_by_code["405"], 1);
    assert_eq!(report.invalid_traffic["signature"], 5);
    assert_eq!(report.spend_micros["EUR"], Micros(20_000));
    assert_eq!(report.totals.proved.played, u64::from(with_third));
    let row = &report.rows[0];
    assert_eq!((row.campaign.as_str(), row.title.as_str()), ("spring", "Fifteen"));
    // The decision that was open is still to be billed, once; the money for one more impression is left, and no more.
    let beacon = || Beacon {
        ad_serving_id: "d2".into(),
        event: "impression".into(),
        tracker: "1".into(),
        basis: "played",
        client_time: None,
        code: None,
    };
    assert_eq!(s.ads().record(beacon(), NOW).await.unwrap(), Recorded::Counted);
    assert_eq!(s.ads().record(beacon(), NOW).await.unwrap(), Recorded::Repeated);
    for (n, found) in [1, 0].into_iter().enumerate() {
        let question = Question {
            ads: 1,
            ..Question::default()
        };
        let asking = Asking {
            request_id: format!("new {n}"),
            listener: None,
            proof_key: None,
            now: NOW,
            expires: 9_000_000_000_000,
            seed: 1,
        };
        let pod = s
            .ads()
            .decide(&question, &asking, || format!("new decision {n}"))
            .await
            .unwrap();
        assert_eq!(pod.len(), found, "question {n}");
        assert!(
            pod.iter()
                .all(|ad| !ad.creative().archived && ad.creative().info_hash.is_none())
        );
    }
    let report = s.report().await.unwrap();
    assert_eq!((report.totals.decisions, report.totals.billed), (4, 2));
    s.stop().await.unwrap();
}

async fn upgrades(url: &str, db: String, steps: usize) {
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(url).await.unwrap();
    // What the first version wrote is always brought up by the versions between.
    migrate(&mut connection, 1).await;
    fill(&mut connection, FIRST).await;
    if steps > 1 {
        migrate(&mut connection, steps).await;
        fill(&mut connection, THIRD).await;
    }
    connection.close().await.unwrap();
    goes_on(db, steps > 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_sqlite_database_goes_on() {
    for steps in [1, 3] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ads.db").display().to_string();
        upgrades(&format!("sqlite:{path}?mode=rwc"), path, steps).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_postgresql_database_goes_on() {
    for steps in [1, 3] {
        let db = Postgres::start();
        upgrades(&db.url(), db.url(), steps).await;
    }
}
