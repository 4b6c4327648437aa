//! What `grove ads resolve` prints: JSON for scripts, text for people. Both from the same decision.

use std::time::Duration;

use ad_splicer::beacons::{Scheduled, schedule};
use ad_splicer::cues::{Action, BreakEvent, CuePoint};
use ad_splicer::decide::{
    Ad, AdKind, BreakDecision, Companion, Decision, MediaPreference, Offset, Problem, select,
};
use serde_json::{Map, Value, json};

use super::Resolved;
use crate::output::print_line;
use crate::units::human_time;

/// The whole answer as one object.
pub(super) fn json(resolved: &Resolved, media: MediaPreference) -> Value {
    match resolved {
        Resolved::One(decision) => decision_json(decision, media),
        Resolved::Breaks {
            version,
            breaks,
            notes,
        } => json!({
            "version": version,
            "breaks": breaks.iter().map(|decided| break_json(decided, media)).collect::<Vec<_>>(),
            "notes": notes,
            "problems": breaks.iter().flat_map(|decided| {
                decided.decision.problems.iter().map(|problem| {
                    let mut value = problem_json(problem);
                    value["break"] = json!(decided.cue.id);
                    value
                })
            }).collect::<Vec<_>>(),
        }),
    }
}

fn break_json(decided: &BreakDecision, media: MediaPreference) -> Value {
    let cue = &decided.cue;
    let mut value = decision_json(&decided.decision, media);
    value["id"] = json!(cue.id);
    value["position"] = json!(cue.position.to_string());
    value["replace"] = match cue.action {
        Action::Insert => Value::Null,
        Action::Replace(span) => json!(span.as_secs_f64()),
    };
    value["max_duration"] = json!(cue.max_duration.map(|most| most.as_secs_f64()));
    value["max_ads"] = json!(cue.max_ads);
    value["repeat_after"] = json!(cue.repeat_after.map(|step| step.as_secs_f64()));
    value["tracking"] = break_tracking(cue);
    value
}

fn break_tracking(cue: &CuePoint) -> Value {
    by_event(cue.tracking.iter().map(|tracking| {
        let name = match tracking.event {
            BreakEvent::BreakStart => "breakStart",
            BreakEvent::BreakEnd => "breakEnd",
            BreakEvent::Error => "error",
        };
        (name, tracking.url.as_str())
    }))
}

fn by_event<'a>(trackers: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    let mut map: Map<String, Value> = Map::new();
    for (event, url) in trackers {
        if let Value::Array(urls) = map.entry(event).or_insert_with(|| json!([])) {
            urls.push(json!(url));
        }
    }
    Value::Object(map)
}

fn decision_json(decision: &Decision, media: MediaPreference) -> Value {
    let ads = |ads: &[Ad]| ads.iter().map(|ad| ad_json(ad, media)).collect::<Vec<_>>();
    json!({
        "version": decision.version,
        "pod": ads(&decision.pod),
        "fallbacks": ads(&decision.fallbacks),
        "not_played": ads(&decision.not_played),
        "problems": decision.problems.iter().map(problem_json).collect::<Vec<_>>(),
    })
}

fn problem_json(problem: &Problem) -> Value {
    json!({
        "code": problem.code.0,
        "text": problem.text,
        "ad_id": problem.ad_id,
        "reported_to": problem.error_urls,
    })
}

/// Viewability's own names, which are no tracking events of the creative.
const VIEWABILITY: [&str; 3] = ["viewable", "notViewable", "viewUndetermined"];

fn ad_json(ad: &Ad, media: MediaPreference) -> Value {
    let trackers = |of_view: bool| {
        let wanted = ad
            .tracking
            .iter()
            .filter(move |tracking| VIEWABILITY.contains(&tracking.event.as_str()) == of_view);
        by_event(wanted.map(|tracking| (tracking.event.as_str(), tracking.url.as_str())))
    };
    json!({
        "ad_id": ad.ad_id,
        "sequence": ad.sequence,
        "kind": ad.kind,
        "ad_system": ad.ad_system,
        "title": ad.title,
        "advertiser": ad.advertiser,
        "ad_serving_id": ad.ad_serving_id,
        "creative_id": ad.creative_id,
        "universal_ad_ids": ad.universal_ad_ids.iter().map(|id| &id.id).collect::<Vec<_>>(),
        "universal_ad_id_registries": ad.universal_ad_ids.iter().map(|id| &id.registry).collect::<Vec<_>>(),
        "categories": ad.categories.iter().map(|category| &category.code).collect::<Vec<_>>(),
        "duration": ad.duration.map(|duration| duration.as_secs_f64()),
        "skip_offset": skip_offset(ad),
        "media_file": ad.media_file().map(|file| json!({
            "url": file.url,
            "type": file.mime,
            "width": file.width,
            "height": file.height,
            "bitrate": file.bitrate,
            "codec": file.codec,
            "sha256": ad.sha256.map(hex::encode),
            "torrent": ad.torrent,
            "why": select::reason(&ad.media_files, media),
        })),
        "other_media_files": ad.media_files.iter().skip(1).map(|file| &file.url).collect::<Vec<_>>(),
        "left_out_media_files": ad.left_out,
        "impressions": ad.impressions,
        "tracking": trackers(false),
        "viewability": trackers(true),
        "errors": ad.errors,
        "click_through": ad.click_through,
        "click_tracking": ad.click_tracking,
        "verifications": ad.verifications,
        "companions": ad.companions.iter().map(|companion| {
            let mut value = json!(companion);
            value["shown"] = json!(images(ad, media).first() == Some(&companion));
            value
        }).collect::<Vec<_>>(),
        "wrappers": ad.chain,
        "expires_at": ad.expires_at,
        "reports": schedule(ad).iter().map(|scheduled| json!({
            "event": scheduled.event,
            "at": scheduled.at.map(|at| at.as_secs_f64()),
            "url": scheduled.url,
        })).collect::<Vec<_>>(),
    })
}

/// Seconds; a percentage stays as it is written while the duration is unknown.
fn skip_offset(ad: &Ad) -> Value {
    match (ad.skip_offset, ad.duration) {
        (None, _) => Value::Null,
        (Some(Offset::Percent(percent)), None) => json!(percent.to_string()),
        (Some(offset), duration) => json!(offset.resolve(duration.unwrap_or_default()).as_secs_f64()),
    }
}

/// The companions that are tried as images, in this order: beside an ad that is only heard, in content that is seen.
fn images(ad: &Ad, media: MediaPreference) -> Vec<&Companion> {
    let is_seen = !matches!(media, MediaPreference::Audio { .. });
    let has_pictures = ad.media_file().is_none_or(|file| file.mime.starts_with("video/"));
    if is_seen && !has_pictures {
        ad.images()
    } else {
        Vec::new()
    }
}

/// The whole answer for people.
pub(super) fn text(resolved: &Resolved, media: MediaPreference) {
    match resolved {
        Resolved::One(decision) => {
            let version = decision.version.as_deref().unwrap_or("of no stated version");
            if !decision.pod.is_empty() || !decision.not_played.is_empty() {
                print_line(&format!("VAST {version}"));
            }
            decision_text(decision, media);
        }
        Resolved::Breaks {
            version,
            breaks,
            notes,
        } => {
            let version = version.as_deref().unwrap_or("of no stated version");
            print_line(&format!("VMAP {version}, {} breaks with ads", breaks.len()));
            for decided in breaks {
                print_line(&format!("break {} at {}", decided.cue.id, decided.cue.position));
                decision_text(&decided.decision, media);
                for tracking in &decided.cue.tracking {
                    print_line(&format!("    {:?}  {}", tracking.event, tracking.url));
                }
            }
            for note in notes {
                print_line(&format!("note: {note}"));
            }
        }
    }
}

fn decision_text(decision: &Decision, media: MediaPreference) {
    for (number, ad) in (1..).zip(&decision.pod) {
        ad_text(&format!("{number}."), ad, media);
    }
    for ad in &decision.fallbacks {
        ad_text("stands by:", ad, media);
    }
    for ad in &decision.not_played {
        ad_text("not played:", ad, media);
    }
    if decision.pod.is_empty() {
        print_line("  nothing plays");
    }
    for problem in &decision.problems {
        print_line(&format!("  error {}: {}", problem.code, problem.text));
        for url in &problem.error_urls {
            print_line(&format!("    reported to  {url}"));
        }
    }
}

fn ad_text(lead: &str, ad: &Ad, media: MediaPreference) {
    let facts = [
        ad.ad_id.as_ref().map(|id| format!("id {id}")),
        ad.ad_system.as_ref().map(|system| format!("from {system}")),
        ad.duration.map(human_time),
        match ad.kind {
            AdKind::Linear => None,
            AdKind::NonLinear => Some("non-linear".to_owned()),
            AdKind::CompanionOnly => Some("companions only".to_owned()),
        },
    ];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    print_line(&format!("  {lead} {}, {}", ad.name(), facts.join(", ")));
    for hop in &ad.chain {
        let of = hop
            .ad_system
            .as_deref()
            .or(hop.ad_id.as_deref())
            .unwrap_or("a wrapper");
        print_line(&format!("    through      {of}, {}", hop.uri));
    }
    if let Some(file) = ad.media_file() {
        let bitrate = file
            .bitrate
            .map_or(String::new(), |kbps| format!(", {kbps} kbit/s"));
        let size = if file.width > 0 {
            format!(", {}x{}", file.width, file.height)
        } else {
            String::new()
        };
        print_line(&format!(
            "    plays        {} ({}{size}{bitrate})",
            file.url, file.mime
        ));
        if let Some(torrent) = &ad.torrent {
            print_line(&format!("                 in the swarm: {torrent}"));
        }
        if let Some(why) = select::reason(&ad.media_files, media) {
            print_line(&format!("                 {why}"));
        }
    }
    for left_out in &ad.left_out {
        print_line(&format!("    left out     {}: {}", left_out.url, left_out.reason));
    }
    if let Some(offset) = ad.skip_offset {
        let after = match (offset, ad.duration) {
            (Offset::Percent(percent), None) => percent.to_string(),
            (offset, duration) => human_time(offset.resolve(duration.unwrap_or_default())),
        };
        print_line(&format!("    may be skipped after {after}"));
    }
    if let Some(page) = &ad.click_through {
        print_line(&format!("    leads to     {page}"));
    }
    for companion in &ad.companions {
        let size = companion.width.zip(companion.height);
        let size = size.map_or(String::new(), |(width, height)| format!(" {width}x{height}"));
        let what = companion
            .resource
            .as_deref()
            .unwrap_or("of no resource that is known");
        let shown = match images(ad, media).iter().position(|image| *image == companion) {
            Some(0) => "shown in video",
            Some(_) => "shown in video if the one before cannot be",
            None => "not shown",
        };
        print_line(&format!("    companion   {size} {what}, {shown}"));
    }
    for Scheduled { event, at, url } in schedule(ad) {
        let when = at.map_or("if it happens".to_owned(), clock);
        print_line(&format!("    {when:>13}  {event}  {url}"));
    }
}

fn clock(at: Duration) -> String {
    format!("{:.3} s", at.as_secs_f64())
}
