//! `grove ads resolve`: resolves VAST or VMAP as the client would, and shows what would play and what would be reported.
//!
//! Nothing is played and nothing is reported. The same code decides as in `get` and `play` (`ad_splicer::decide`).

mod show;

use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use ad_splicer::beacons::UnixMillis;
use ad_splicer::cues::vmap::Vmap;
use ad_splicer::cues::{AdSource, CuePoint, CueSource, Position};
use ad_splicer::decide::document::{self, Read};
use ad_splicer::decide::{
    self, BreakDecision, DEADLINE, Decision, Fetch, FetchError, HOP, MediaPreference, Problem, VastCode,
    decide_break,
};
use ad_splicer::time::ContentTime;
use url::Url;

use crate::beacons::USER_AGENT;
use crate::cli::{AdMedia, AdsArgs, AdsCommand, ResolveArgs};
use crate::context::Context;
use crate::output::{ExitStatus, Explain, Outcome, bad_input, print_json};

/// What the command comes to.
pub(crate) enum Resolved {
    /// VAST: one break.
    One(Decision),
    /// VMAP: its version, its breaks, and what of it was left aside.
    Breaks {
        version: Option<String>,
        breaks: Vec<BreakDecision>,
        notes: Vec<String>,
    },
}

/// Runs the subcommand.
pub(crate) async fn run(args: &AdsArgs, json: bool) -> Outcome {
    match &args.command {
        AdsCommand::Resolve(args) => resolve(args, json).await,
    }
}

async fn resolve(args: &ResolveArgs, json: bool) -> Outcome {
    let context = Context::new(&args.net)?;
    if args.duration.is_none() && matches!(args.at, Position::End | Position::Percent(_)) {
        return Err(bad_input(format!(
            "--at {} is a part of the content, and nothing says how long that is",
            args.at
        )))
        .hint(|| "say it with --duration".into());
    }
    let asking = asking(args);
    let (resolved, status) = match as_url(&args.source) {
        Some(url) => {
            context.gate.trust_url(&url);
            tag(&context, args, &url, &asking).await
        }
        None => document(&context, &read(&args.source)?, &asking, args, DEADLINE).await,
    };
    if json {
        print_json(&show::json(&resolved, asking.media));
    } else {
        show::text(&resolved, asking.media);
    }
    if status != ExitStatus::Done
        && let Some(problem) = resolved.first_problem()
    {
        eprintln!(
            "error: cannot resolve {}: {} (VAST error {})",
            args.source, problem.text, problem.code
        );
        if status == ExitStatus::BadInput {
            eprintln!("hint: a VAST document (2.0 to 4.3) or a VMAP 1.0 document is wanted");
        }
    }
    Ok(status)
}

impl Resolved {
    fn first_problem(&self) -> Option<&Problem> {
        match self {
            Resolved::One(decision) => decision.problems.first(),
            Resolved::Breaks { .. } => None,
        }
    }
}

fn as_url(source: &str) -> Option<Url> {
    let url = Url::parse(source).ok()?;
    matches!(url.scheme(), "http" | "https").then_some(url)
}

/// A document that is here, or standard input. No more of it is read than a document may have.
fn read(source: &str) -> anyhow::Result<Vec<u8>> {
    let most = document::MOST_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    let read = if source == "-" {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(Path::new(source)).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    read.or_bad_input(|| format!("cannot read {source}"))
        .hint(|| "give a file, a URL of http or https, or - for standard input".into())?;
    Ok(bytes)
}

fn asking(args: &ResolveArgs) -> decide::Context {
    let (width, height) = args.size;
    let bitrate = args.bitrate;
    decide::Context {
        content_duration: args.duration.map_or(ContentTime::ZERO, ContentTime::from),
        now: UnixMillis::now(),
        seed: rand::random(),
        user_agent: Some(USER_AGENT.to_owned()),
        media: match args.media {
            AdMedia::Any => MediaPreference::Either {
                bitrate,
                width,
                height,
            },
            AdMedia::Audio => MediaPreference::Audio { bitrate },
            AdMedia::Video => MediaPreference::Video { width, height },
        },
        ..decide::Context::default()
    }
}

/// A place in the content, for the macros of a single VAST document's requests.
fn cue(args: &ResolveArgs, source: AdSource) -> (CuePoint, ContentTime) {
    let at = match (args.at, args.duration) {
        (Position::Time(at), _) => at,
        (position, duration) => position.resolve(duration.map_or(ContentTime::ZERO, ContentTime::from)),
    };
    let mut cue = CuePoint::new("break-1", Position::Time(at), CueSource::CommandLine);
    cue.ads = Some(source);
    (cue, at)
}

/// What is behind a URL: an ad tag, whose macros are filled, or a VMAP document.
async fn tag(
    context: &Context,
    args: &ResolveArgs,
    url: &Url,
    asking: &decide::Context,
) -> (Resolved, ExitStatus) {
    let (cue, at) = cue(args, AdSource::Tag(url.to_string()));
    // As typed: a macro's brackets are not a URL's.
    let filled = decide::fetch::fill_request(&args.source, &cue, at, asking);
    let began = Instant::now();
    match Fetch::fetch(&context.gate, &filled, HOP).await {
        Ok(bytes) if bytes.is_empty() => {
            let text = format!("{} had no ad", url.host_str().unwrap_or_default());
            (failed(VastCode::NO_AD, text), ExitStatus::Done)
        }
        // The first hop is part of the break's time.
        Ok(bytes) => {
            let left = DEADLINE.saturating_sub(began.elapsed());
            document(context, &bytes, asking, args, left).await
        }
        Err(error) => {
            let code = if error == FetchError::TooLong {
                VastCode::XML
            } else {
                VastCode::WRAPPER_TIMEOUT
            };
            (failed(code, error.to_string()), ExitStatus::Failed)
        }
    }
}

fn failed(code: VastCode, text: String) -> Resolved {
    Resolved::One(Decision::empty(Problem {
        code,
        text,
        error_urls: Vec::new(),
        ad_id: None,
    }))
}

async fn document(
    context: &Context,
    bytes: &[u8],
    asking: &decide::Context,
    args: &ResolveArgs,
    deadline: Duration,
) -> (Resolved, ExitStatus) {
    match document::read(bytes) {
        Err(error) => (failed(error.code(), error.to_string()), ExitStatus::BadInput),
        Ok(Read::Vast(text)) => {
            let (cue, at) = cue(args, AdSource::Inline(text));
            let decision = decide_break(&context.gate, &cue, at, 0, asking, deadline).await;
            (Resolved::One(decision), ExitStatus::Done)
        }
        Ok(Read::Vmap(version, vmap)) => (breaks(context, version, vmap, asking).await, ExitStatus::Done),
    }
}

/// Every break of a VMAP document, in order of play. Without the content's duration, what is relative to it is placed as if
/// the content were of no length, and stays in document order.
async fn breaks(
    context: &Context,
    version: Option<String>,
    vmap: Vmap,
    asking: &decide::Context,
) -> Resolved {
    let mut asking = asking.clone();
    if asking.content_duration == ContentTime::ZERO {
        // Long enough for every time that is written, so that none is moved to the end.
        let latest = vmap.cues.iter().filter_map(|cue| match cue.position {
            Position::Time(time) => Some(time),
            _ => None,
        });
        asking.content_duration = latest.max().unwrap_or(ContentTime::ZERO);
    }
    // Each once: how often a break repeats depends on the content, and is shown beside it.
    let mut cues = vmap.cues;
    let repeats: Vec<Option<Duration>> = cues.iter_mut().map(|cue| cue.repeat_after.take()).collect();
    let ids: Vec<String> = cues.iter().map(|cue| cue.id.clone()).collect();
    let mut breaks = decide::decide_breaks(&context.gate, &cues, &asking, DEADLINE).await;
    for cue in cues.iter().filter(|cue| cue.ads.is_none()) {
        let at = cue.position.resolve(asking.content_duration);
        breaks.push(BreakDecision {
            index: 0,
            cue: cue.clone(),
            at,
            repetition: 0,
            decision: decide_break(&context.gate, cue, at, 0, &asking, DEADLINE).await,
            took: Duration::ZERO,
        });
    }
    let place = |decided: &BreakDecision| ids.iter().position(|id| *id == decided.cue.id);
    // In order of play; those at one time in document order.
    breaks.sort_by_key(|decided| (decided.at, place(decided)));
    for decided in &mut breaks {
        decided.cue.repeat_after = place(decided).and_then(|place| repeats[place]);
    }
    Resolved::Breaks {
        version,
        breaks,
        notes: vmap.notes,
    }
}
