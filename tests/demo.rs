//! The demo as a whole: five real viewers, one web server, and figures that only hold when delivery, splice and reports all work.

mod common;

use std::collections::BTreeSet;

use serde_json::Value;

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key]
        .as_array()
        .unwrap_or_else(|| panic!("{key} is no list: {value}"))
}

#[test]
fn the_demo_tells_the_whole_story() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("kept");
    let finished = common::grove(folder.path(), ["demo", "--json", "--fixtures"])
        .arg(common::fixtures())
        .arg("--keep")
        .arg(&kept)
        .run()
        .expect(0);
    let [summary] = finished.json().try_into().expect("one object on stdout");
    let viewers = list(&summary, "viewers");
    let number =
        |value: &Value, key: &str| value[key].as_u64().unwrap_or_else(|| panic!("no {key}: {value}"));
    assert_eq!(viewers.len(), 5);

    // Delivery: at most 2.3 copies for five viewers, and none for the last.
    let length = std::fs::metadata(common::episode()).expect("the episode").len();
    assert_eq!(number(&summary, "plain_bytes"), 5 * length);
    assert!(number(&summary, "origin_bytes") * 10 <= length * 23, "{summary}");
    assert_eq!(number(&viewers[4], "from_origin"), 0, "{}", viewers[4]);
    for viewer in viewers {
        assert_eq!(
            number(viewer, "from_origin") + number(viewer, "from_peers"),
            length,
            "{viewer}"
        );
    }
    let offload = summary["offload"].as_f64().expect("a number");
    assert!((offload - (1.0 - number(&summary, "origin_bytes") as f64 / (5 * length) as f64)).abs() < 1e-9);

    // Ads: three in each file, counted once each, and not the same everywhere.
    let ads: Vec<Vec<&str>> = viewers
        .iter()
        .map(|viewer| {
            list(viewer, "ads")
                .iter()
                .filter_map(|ad| ad["creative_sha256"].as_str())
                .collect()
        })
        .collect();
    assert!(ads.iter().all(|ads| ads.len() == 3), "{ads:?}");
    assert!(
        ads.iter().collect::<BTreeSet<_>>().len() > 1,
        "every viewer got the same creatives"
    );
    assert_eq!(summary["spliced_ads"], 15);
    assert_eq!(summary["impressions"], 15);

    // What is kept.
    for viewer in viewers {
        let path = viewer["path"].as_str().expect("a path");
        assert_eq!(
            std::fs::metadata(path).expect("the result is kept").len(),
            number(viewer, "bytes")
        );
    }
    let picture = std::fs::read_to_string(kept.join("timeline.svg")).expect("a picture");
    assert_eq!(picture.matches("viewer-").count(), 5);
    let page = std::fs::read_to_string(kept.join("report.html")).expect("a page");
    assert!(
        page.contains("<svg") && page.contains("viewer-5"),
        "the page lacks its parts"
    );
}
