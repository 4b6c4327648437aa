//! `grove inspect`: metainfo, cue sheet, signature and every check; a bad one exits 2 with the reason.
//!
//! Not for: changing anything. In particular no key is pinned by looking at it.

mod live;

use std::time::Duration;

use ad_splicer::cues::{Action, AdSource, BreakLoudness, CuePoint, vmap};
use ad_splicer::facts::{CueFacts, Facts};
use ad_splicer::time::ContentTime;
use engine::cue_sheet::SignedCueSheet;
use engine::metainfo::Metainfo;
use engine::node::Node;
use serde_json::{Value, json};

use self::live::Live;
use crate::beacons;
use crate::cli::InspectArgs;
use crate::context::Context;
use crate::joining::trust_peers;
use crate::output::{ExitStatus, Explain, Outcome, bad_input, print_json, print_line};
use crate::source::{Resolved, Torrent, resolve};
use crate::trust::{Judged, judge, now};
use crate::units::{human_bytes, human_time};

/// Looks at one source.
pub(crate) async fn run(args: &InspectArgs, json: bool) -> Outcome {
    let mut context = Context::new(&args.net)?;
    // What it says is how things are now.
    context.documents = None;
    trust_peers(&context, &args.peer).await?;
    if args.live {
        // Where it listens is said before anything else.
        let live = Live::start(&context, json).await?;
        let shown = match look(&context, Some(live.node()), args, json).await {
            Ok(torrent) => live.show(args, &torrent, json).await,
            Err(error) => Err(error),
        };
        live.stop().await;
        return shown;
    }
    let looked = look(&context, None, args, json).await;
    beacons::drain(&context).await;
    looked.map(|_| ExitStatus::Done)
}

/// Says what the source is. An error when something is wrong with it, or its cue sheet is refused.
async fn look(
    context: &Context,
    node: Option<&Node>,
    args: &InspectArgs,
    json: bool,
) -> anyhow::Result<Torrent> {
    let torrent = match resolve(
        context,
        node,
        &args.peer,
        &args.source,
        args.episode.episode.as_deref(),
    )
    .await?
    {
        Resolved::Torrent(torrent) => torrent,
        Resolved::Plain(bare) => {
            return Err(bad_input(bare.to_string()))
                .hint(|| format!("`grove publish FILE --origin {}` makes one", bare.url));
        }
    };
    let now = now()?;
    let judged = judge(context, &torrent, now).await?;
    let cues = match judged.as_ref().and_then(|judged| judged.offered.as_ref()) {
        Some(signed) => {
            vmap::parse(&signed.sheet().vmap)
                .or_bad_input(|| format!("the cue sheet of {} is no valid VMAP", args.source))?
                .cues
        }
        None => Vec::new(),
    };
    if json {
        print_json(&as_json(&torrent.metainfo, judged.as_ref(), &cues));
    } else {
        print_text(&torrent.metainfo, judged.as_ref(), &cues, now);
    }
    match judged.map(|judged| judged.verdict) {
        Some(Err(reason)) => Err(bad_input(format!(
            "the cue sheet of {} is refused: {reason}",
            args.source
        )))
        .hint(|| "the content itself is fine; without a trusted cue sheet it plays without ads".into()),
        _ => Ok(*torrent),
    }
}

fn as_json(metainfo: &Metainfo, judged: Option<&Judged>, cues: &[CuePoint]) -> Value {
    json!({
        "event": "inspected",
        "name": metainfo.name(),
        "info_hash": metainfo.info_hash_v2().to_string(),
        "info_hash_v1": metainfo.info_hash_v1().map(hex::encode),
        "bytes": metainfo.length(),
        "piece_length": metainfo.piece_length(),
        "pieces": pieces(metainfo),
        "private": metainfo.private(),
        "web_seeds": metainfo.web_seeds(),
        "trackers": metainfo.trackers(),
        "created_by": metainfo.created_by(),
        "files": metainfo.files().iter().enumerate().map(|(index, file)| json!({
            "number": index + 1,
            "path": file.path().join("/"),
            "bytes": file.length(),
            "pieces_root": file.pieces_root().to_string(),
        })).collect::<Vec<_>>(),
        "cue_sheet": judged.map(|judged| {
            let facts = judged.offered.as_ref().and_then(facts);
            let sheet = judged.offered.as_ref().map(engine::cue_sheet::SignedCueSheet::sheet);
            json!({
                "publisher": sheet.map(|sheet| sheet.publisher.to_string()),
                "issued": sheet.map(|sheet| sheet.issued),
                "expires": sheet.map(|sheet| sheet.expires),
                "signature_valid": sheet.is_some(),
                "origin_budget": sheet.and_then(|sheet| sheet.budget).map(|budget| json!({
                    "bytes_per_second": budget.bytes_per_second,
                    "requests_per_second": budget.requests_per_second,
                })),
                "trusted": judged.verdict.is_ok(),
                "fingerprint": sheet.map(|sheet| sheet.publisher.fingerprint()),
                "facts": facts,
                "cues": cues.iter().map(|cue| json!({
                    "id": cue.id,
                    "position": cue.position.to_string(),
                    "replace": match cue.action {
                        Action::Insert => None,
                        Action::Replace(span) => Some(span.as_secs_f64()),
                    },
                    "max_duration": cue.max_duration.map(|most| most.as_secs_f64()),
                    "max_ads": cue.max_ads,
                    "repeat_after": cue.repeat_after.map(|step| step.as_secs_f64()),
                    "loudness": cue.loudness.to_string(),
                    "impressions_on": cue.impressions_on,
                    "ads": match &cue.ads {
                        Some(AdSource::Tag(url)) => json!({ "tag": url }),
                        Some(AdSource::Inline(_)) => json!("inline"),
                        None => Value::Null,
                    },
                })).collect::<Vec<_>>(),
                "why": judged.verdict.as_ref().unwrap_or_else(|reason| reason),
            })
        }),
    })
}

fn pieces(metainfo: &Metainfo) -> u64 {
    metainfo
        .files()
        .iter()
        .map(|file| file.length().div_ceil(metainfo.piece_length()))
        .sum()
}

fn print_text(metainfo: &Metainfo, judged: Option<&Judged>, cues: &[CuePoint], now: u64) {
    print_line(metainfo.name());
    print_line(&format!("  info hash  {} (v2)", metainfo.info_hash_v2()));
    if let Some(v1) = metainfo.info_hash_v1() {
        print_line(&format!("             {} (v1)", hex::encode(v1)));
    }
    print_line(&format!(
        "  content    {} ({} bytes) in {} pieces of {}",
        human_bytes(metainfo.length()),
        metainfo.length(),
        pieces(metainfo),
        human_bytes(metainfo.piece_length())
    ));
    for (index, file) in metainfo.files().iter().enumerate() {
        let number = if metainfo.is_single_file() {
            String::new()
        } else {
            format!("{} ", index + 1)
        };
        let root = if file.length() == 0 {
            String::new()
        } else {
            format!(", root {}", file.pieces_root())
        };
        print_line(&format!(
            "  file       {number}{} ({} bytes){root}",
            file.path().join("/"),
            file.length(),
        ));
    }
    if metainfo.private() {
        print_line("  private    only its trackers are asked for peers");
    }
    for seed in metainfo.web_seeds() {
        print_line(&format!("  web seed   {seed}"));
    }
    for tracker in metainfo.trackers().iter().flatten() {
        print_line(&format!("  tracker    {tracker}"));
    }
    print_line("  checks     bencoding, names, piece layers against roots, both info hashes: all good");
    let Some(judged) = judged else {
        print_line("  cue sheet  none: it plays without ads");
        return;
    };
    match &judged.offered {
        Some(signed) => {
            let sheet = signed.sheet();
            print_line(&format!(
                "  publisher  {} ({})",
                sheet.publisher,
                sheet.publisher.fingerprint()
            ));
            print_line(&format!(
                "  cue sheet  issued {} ago, expires in {}; its signature is valid for this content",
                days(now.saturating_sub(sheet.issued)),
                days(sheet.expires.saturating_sub(now))
            ));
        }
        None => print_line("  cue sheet  not valid"),
    }
    let facts = judged.offered.as_ref().and_then(facts);
    if let Some(facts) = &facts {
        let channels = if facts.channels == 1 { "mono" } else { "stereo" };
        let length = ContentTime::from_samples(facts.samples, facts.sample_rate.max(1));
        print_line(&format!(
            "  facts      {} at {} Hz, {channels}, {} ({} frames); from the publisher, and never believed",
            facts.format,
            facts.sample_rate,
            human_time(Duration::from_nanos(length.as_nanos())),
            facts.frames
        ));
    }
    for (number, cue) in cues.iter().enumerate() {
        let ads = match &cue.ads {
            Some(AdSource::Tag(url)) => format!("ads from {url}"),
            Some(AdSource::Inline(_)) => "an ad given inline".to_owned(),
            None => "no ads".to_owned(),
        };
        print_line(&format!(
            "  cue        {} at {}: {}; {ads}",
            cue.id,
            cue.position,
            what_it_does(cue)
        ));
        let facts = facts
            .as_ref()
            .and_then(|facts| Some((facts, facts.cues.get(number)?)));
        if let Some((facts, cue)) = facts {
            print_line(&format!("             {}", around(facts, cue)));
        }
    }
    match &judged.verdict {
        Ok(why) => print_line(&format!("  trusted    yes: {why}")),
        Err(reason) => print_line(&format!("  trusted    NO: {reason}")),
    }
}

/// The publisher's facts, when they can be read.
fn facts(signed: &SignedCueSheet) -> Option<Facts> {
    bt_bencode::from_value(signed.sheet().facts.clone()).ok()
}

/// What a break does to the content, and its limits.
fn what_it_does(cue: &CuePoint) -> String {
    let mut parts = vec![match cue.action {
        Action::Insert => "inserts".to_owned(),
        Action::Replace(span) => format!("replaces {}", human_time(span)),
    }];
    parts.extend(
        cue.max_duration
            .map(|most| format!("at most {}", human_time(most))),
    );
    parts.extend(cue.max_ads.map(|most| match most {
        1 => "at most 1 ad".to_owned(),
        most => format!("at most {most} ads"),
    }));
    parts.extend(
        cue.repeat_after
            .map(|step| format!("again every {}", human_time(step))),
    );
    parts.extend(match cue.loudness {
        BreakLoudness::Content => None,
        BreakLoudness::Target(_) => Some(format!("ads at {} LUFS", cue.loudness)),
        BreakLoudness::AsIs => Some("ads as loud as they are".to_owned()),
    });
    parts.join(", ")
}

/// What the publisher found around a cue.
fn around(facts: &Facts, cue: &CueFacts) -> String {
    let time = |sample| {
        let time = ContentTime::from_samples(sample, facts.sample_rate.max(1));
        human_time(Duration::from_nanos(time.as_nanos()))
    };
    let loudness = cue.loudness.map_or_else(
        || "silence".to_owned(),
        |lufs| format!("{:.1} LUFS", f64::from(lufs) / 100.0),
    );
    let pause = match (cue.silence, cue.silence_samples) {
        (Some(at), Some(length)) => format!("the nearest pause is at {}, {} long", time(at), time(length)),
        _ => "no pause is near".to_owned(),
    };
    format!("frame {} at byte {}, {loudness}; {pause}", cue.frame, cue.offset)
}

fn days(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
