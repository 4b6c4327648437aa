//! The driver of a decision: fetches what [`super::resolve`] asks for, under a hop's and a break's deadline.
//!
//! Invariants: an answer always comes by the deadline; breaks are decided concurrently and none waits for another's
//! trouble; nothing about the person goes into a request. Where documents come from is the small trait [`Fetch`], which
//! a [`gate::Gate`] is, and a map of fixtures can be.

use std::{future::Future, time::Duration};

use futures_util::{StreamExt, stream, stream::FuturesUnordered};
use serde::Serialize;
use tokio::time::Instant;

use super::{
    decision::{Decision, Problem, VastCode},
    macros::{self, Macros},
    resolve::{DocumentRequest, Missing, Resolver, host},
    select::MediaPreference,
};
use crate::{
    beacons::UnixMillis,
    cues::{self, AdSource, CuePoint},
    time::ContentTime,
    xml,
};

/// How long one document may take.
pub const HOP: Duration = Duration::from_secs(3);
/// How long a break's decision may take when nothing shorter is said.
pub const DEADLINE: Duration = Duration::from_secs(8);
/// Breaks that are decided at once.
const AT_ONCE: usize = 16;

/// Why a document could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// It did not come in time.
    #[error("no answer in time")]
    Timeout,
    /// The server answered with this status.
    #[error("the answer was {0}")]
    Status(u16),
    /// The answer is longer than a document may be.
    #[error("the answer is longer than a VAST document may be")]
    TooLong,
    /// Anything else: name resolution, connection, a forbidden address, a bad URL.
    #[error("{0}")]
    Failed(String),
}

/// A place that documents come from.
pub trait Fetch: Sync {
    /// Gets a document of at most 1 MiB within `timeout`. An empty answer (also 204) is an empty vector.
    fn fetch(&self, url: &str, timeout: Duration)
    -> impl Future<Output = Result<Vec<u8>, FetchError>> + Send;
}

impl Fetch for gate::Gate {
    async fn fetch(&self, url: &str, timeout: Duration) -> Result<Vec<u8>, FetchError> {
        let parsed =
            url::Url::parse(url).map_err(|error| FetchError::Failed(format!("it is not a URL: {error}")))?;
        let failed = |error: gate::Error| match error {
            gate::Error::Timeout { .. } => FetchError::Timeout,
            gate::Error::TooLong { .. } => FetchError::TooLong,
            error => FetchError::Failed(error.to_string()),
        };
        let response = self.get(parsed).timeout(timeout).send().await.map_err(failed)?;
        let status = response.status();
        if !status.is_success() {
            return Err(FetchError::Status(status.as_u16()));
        }
        let body = response
            .bytes_limited(xml::MOST_BYTES as u64)
            .await
            .map_err(failed)?;
        Ok(body.to_vec())
    }
}

/// What is known about content and viewer when a decision is asked for. Nothing personal.
#[derive(Debug, Clone)]
pub struct Context {
    /// For `[CONTENTID]`: the publisher's id of the episode, or its info hash.
    pub content_id: Option<String>,
    /// For `[CONTENTURI]`.
    pub content_uri: Option<String>,
    /// The content's duration.
    pub content_duration: ContentTime,
    /// The wall clock when the decision is asked for.
    pub now: UnixMillis,
    /// For cache busting; a fresh random number for each download.
    pub seed: u64,
    /// What media files suit the content.
    pub media: MediaPreference,
    /// For `[DEVICEUA]`: the program, not the person (`Grove/0.1.0`).
    pub user_agent: Option<String>,
    /// For `[GROVE_KEY]`: the public key that will sign the account of this playback.
    pub viewer_key: Option<String>,
    /// For `[GROVE_AD_ID]`: only when the viewer allows it.
    pub ad_id: Option<String>,
    /// How long one document may take; [`HOP`] by default.
    pub hop: Duration,
}

impl Default for Context {
    fn default() -> Self {
        Self {
            content_id: None,
            content_uri: None,
            content_duration: ContentTime::ZERO,
            now: UnixMillis::default(),
            seed: 0,
            media: MediaPreference::default(),
            user_agent: None,
            viewer_key: None,
            ad_id: None,
            hop: HOP,
        }
    }
}

/// Where in the content a break is, in the words of `[BREAKPOSITION]` (VAST 4.2 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakPlace {
    /// Before the content.
    PreRoll,
    /// In it.
    MidRoll,
    /// After it.
    PostRoll,
}

impl BreakPlace {
    /// Of a break at `at` in content of this duration.
    pub fn of(at: ContentTime, duration: ContentTime) -> Self {
        if at == ContentTime::ZERO {
            Self::PreRoll
        } else if at >= duration {
            Self::PostRoll
        } else {
            Self::MidRoll
        }
    }

    /// The macro's number.
    pub fn number(self) -> u64 {
        match self {
            Self::PreRoll => 1,
            Self::MidRoll => 2,
            Self::PostRoll => 3,
        }
    }
}

/// A break and what was decided for it.
#[derive(Debug, Clone)]
pub struct BreakDecision {
    /// Which break of the content, from 0, in order of play.
    pub index: usize,
    /// The cue point.
    pub cue: CuePoint,
    /// Its content time.
    pub at: ContentTime,
    /// Which repetition of the cue point, 0 for the first.
    pub repetition: u32,
    /// What would play; when its pod is empty, [`Decision::reason`] says why.
    pub decision: Decision,
    /// How long it took.
    pub took: Duration,
}

/// Decides all breaks of a content, concurrently; the result is in order of play. Cue points without ads are left out.
///
/// `deadline` is for all of them together: by then every break has its decision, empty if need be.
pub async fn decide_breaks<F: Fetch>(
    fetch: &F,
    cues: &[CuePoint],
    context: &Context,
    deadline: Duration,
) -> Vec<BreakDecision> {
    let until = Instant::now() + deadline;
    let placed: Vec<_> = cues::in_order(cues, context.content_duration)
        .into_iter()
        .filter(|placed| placed.cue.ads.is_some())
        .enumerate()
        .collect();
    stream::iter(placed.into_iter().map(|(index, placed)| async move {
        let began = Instant::now();
        let left = until.saturating_duration_since(began);
        let decision = decide_break(fetch, placed.cue, placed.at, index, context, left).await;
        BreakDecision {
            index,
            cue: placed.cue.clone(),
            at: placed.at,
            repetition: placed.repetition,
            decision,
            took: began.elapsed(),
        }
    }))
    .buffered(AT_ONCE)
    .collect()
    .await
}

/// Decides one break: resolves its ad source, cuts the pod to the break's limits.
pub async fn decide_break<F: Fetch>(
    fetch: &F,
    cue: &CuePoint,
    at: ContentTime,
    index: usize,
    context: &Context,
    deadline: Duration,
) -> Decision {
    let resolver = match &cue.ads {
        None => {
            return Decision::empty(Problem {
                code: VastCode::NO_AD,
                text: "the cue point has no ad source".to_owned(),
                error_urls: Vec::new(),
                ad_id: None,
            });
        }
        Some(AdSource::Tag(url)) => Resolver::from_tag(url, context.media, context.now),
        Some(AdSource::Inline(text)) => Resolver::from_inline(text, context.media, context.now),
    };
    let macros = |n: u64| {
        request_macros(
            cue,
            at,
            context,
            macros::random(context.seed, ((index as u64) << 16) + n),
        )
    };
    let mut decision = drive(fetch, resolver, macros, context.hop, deadline).await;
    decision.fit(Some(cue.limit()), cue.max_ads);
    decision
}

/// Gets what the resolver asks for until it needs nothing more or time is up.
async fn drive<F: Fetch>(
    fetch: &F,
    mut resolver: Resolver,
    macros: impl Fn(u64) -> Macros,
    hop: Duration,
    deadline: Duration,
) -> Decision {
    let until = Instant::now() + deadline;
    let mut count = 0;
    let mut running = FuturesUnordered::new();
    loop {
        while let Some(DocumentRequest { id, url }) = resolver.poll_fetch() {
            let filled = macros(count).fill(&url);
            count += 1;
            let patience = hop.min(until.saturating_duration_since(Instant::now()));
            running.push(async move {
                // The limit is here too, so that it holds whatever the implementation does.
                let answer = match tokio::time::timeout(patience, fetch.fetch(&filled, patience)).await {
                    Ok(answer) => answer,
                    Err(_) => Err(FetchError::Timeout),
                };
                (id, filled, answer)
            });
        }
        match tokio::time::timeout_at(until, running.next()).await {
            Ok(Some((id, url, answer))) => match answer {
                Ok(bytes) if bytes.is_empty() => {
                    let text = format!("{} had no ad", host(&url));
                    resolver.handle_document(
                        id,
                        Err(Missing {
                            code: VastCode::NO_AD,
                            text,
                        }),
                    );
                }
                Ok(bytes) => resolver.handle_document(id, Ok(&bytes)),
                Err(error) => {
                    let code = match error {
                        FetchError::TooLong => VastCode::XML,
                        // VAST 4.2: 301 is for whatever keeps a URI's document from coming.
                        _ => VastCode::WRAPPER_TIMEOUT,
                    };
                    let text = format!("asking {} for ads: {error}", host(&url));
                    resolver.handle_document(id, Err(Missing { code, text }));
                }
            },
            Ok(None) | Err(_) => return resolver.finish(),
        }
    }
}

/// The URL of a request for the ads of a break: its macros filled.
pub fn fill_request(url: &str, cue: &CuePoint, at: ContentTime, context: &Context) -> String {
    request_macros(cue, at, context, macros::random(context.seed, 0)).fill(url)
}

fn request_macros(cue: &CuePoint, at: ContentTime, context: &Context, random: u64) -> Macros {
    let mut macros = Macros::new(context.now, random)
        .number(
            "BREAKPOSITION",
            BreakPlace::of(at, context.content_duration).number(),
        )
        .playhead("CONTENTPLAYHEAD", Duration::from_nanos(at.as_nanos()))
        .playhead("MEDIAPLAYHEAD", Duration::from_nanos(at.as_nanos()))
        .text("TRANSACTIONID", &token(random))
        .text(macros::DOWNLOAD, &token(macros::random(context.seed, u64::MAX)))
        .optional("CONTENTID", context.content_id.as_deref())
        .optional("CONTENTURI", context.content_uri.as_deref())
        .optional("DEVICEUA", context.user_agent.as_deref())
        .optional(macros::KEY, context.viewer_key.as_deref())
        .optional(macros::AD_ID, context.ad_id.as_deref());
    if context.ad_id.is_some() {
        macros = macros.text("LIMITADTRACKING", "0");
    }
    if let Some(most) = cue.max_duration {
        macros = macros.number("BREAKMAXDURATION", most.as_secs());
    }
    if let Some(most) = cue.max_ads {
        macros = macros
            .number("ADCOUNT", u64::from(most))
            .number("BREAKMAXADS", u64::from(most));
    }
    // VAST 4.1 §6.6: what the placement takes.
    macros = macros.text(
        "ADTYPE",
        match context.media {
            MediaPreference::Audio { .. } => "audio",
            MediaPreference::Video { .. } => "video",
            MediaPreference::Either { .. } => "hybrid",
        },
    );
    macros
}

/// A random UUID. As VAST 4.2's `[TRANSACTIONID]` it tells requests apart, not people.
fn token(random: u64) -> String {
    let (high, low) = (random, macros::random(random, 1));
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        0x8000 | low >> 48 & 0x3fff,
        low & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{
        cues::{CueSource, Position},
        decide::vast::inline_for_creative,
    };

    /// Answers from a function; `None` is a server that never does.
    struct Fixture<A: Fn(&str) -> Option<Result<Vec<u8>, FetchError>> + Sync> {
        answer: A,
        asked: Mutex<Vec<String>>,
    }

    impl<A: Fn(&str) -> Option<Result<Vec<u8>, FetchError>> + Sync> Fixture<A> {
        fn new(answer: A) -> Self {
            Self {
                answer,
                asked: Mutex::default(),
            }
        }
    }

    impl<A: Fn(&str) -> Option<Result<Vec<u8>, FetchError>> + Sync> Fetch for Fixture<A> {
        async fn fetch(&self, url: &str, _: Duration) -> Result<Vec<u8>, FetchError> {
            self.asked.lock().expect("not poisoned").push(url.to_owned());
            match (self.answer)(url) {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
    }

    fn cue(id: &str, seconds: u64, url: &str) -> CuePoint {
        let position = Position::Time(ContentTime::from_nanos(seconds * 1_000_000_000));
        CuePoint {
            ads: Some(AdSource::Tag(url.into())),
            ..CuePoint::new(id, position, CueSource::Vmap)
        }
    }

    fn context() -> Context {
        Context {
            content_duration: ContentTime::from_nanos(180_000_000_000),
            seed: 1,
            ..Context::default()
        }
    }

    fn ad() -> Vec<u8> {
        inline_for_creative(
            "http://m.example/a.mp3",
            Duration::from_secs(8),
            None,
            "tea",
            "audio/mpeg",
        )
        .into_bytes()
    }

    fn wrapper(url: &str) -> Vec<u8> {
        format!("<VAST version='4.2'><Ad><Wrapper><Error>http://e.example/w</Error><VASTAdTagURI>{url}</VASTAdTagURI></Wrapper></Ad></VAST>")
            .into_bytes()
    }

    #[tokio::test]
    async fn one_token_for_all_breaks_of_a_download_and_another_for_the_next() {
        let cues = [1, 2].map(|n| cue(&n.to_string(), n * 30, "http://a.example/?d=[GROVE_DOWNLOAD]"));
        let mut seen = Vec::new();
        for seed in [1, 2] {
            let fixture = Fixture::new(|_| Some(Ok(ad())));
            let context = Context { seed, ..context() };
            decide_breaks(&fixture, &cues, &context, DEADLINE).await;
            let asked = fixture.asked.into_inner().expect("not poisoned");
            assert_eq!(asked.len(), 2);
            assert_eq!(asked[0], asked[1]);
            assert!(!asked[0].contains("GROVE_DOWNLOAD"), "{asked:?}");
            seen.extend(asked.first().cloned());
        }
        assert_ne!(seen[0], seen[1]);
    }

    #[tokio::test]
    async fn rule_2_a_slow_server_misses_its_hop_and_other_breaks_are_not_held_up() {
        let fixture = Fixture::new(|url| (!url.contains("slow")).then(|| Ok(ad())));
        let hop = Duration::from_millis(60);
        let context = Context { hop, ..context() };
        let cues = [
            cue("a", 10, "http://slow.example/"),
            cue("b", 20, "http://fast.example/"),
            CuePoint {
                ads: None,
                ..cue("mark", 15, "")
            },
        ];
        let breaks = decide_breaks(&fixture, &cues, &context, DEADLINE).await;
        assert_eq!(
            breaks
                .iter()
                .map(|b| (b.index, b.decision.pod.len()))
                .collect::<Vec<_>>(),
            [(0, 0), (1, 1)]
        );
        assert_eq!(breaks[0].decision.vast_error(), Some(VastCode::WRAPPER_TIMEOUT));
        assert!(
            breaks[0]
                .decision
                .reason()
                .expect("reason")
                .contains("slow.example")
        );
        assert!(
            breaks[0].took >= hop && breaks[0].took < DEADLINE,
            "{:?}",
            breaks[0].took
        );
        assert!(breaks[1].took < breaks[0].took, "{:?}", breaks[1].took);
    }

    #[tokio::test]
    async fn rule_2_a_break_that_misses_its_deadline_stays_empty_and_its_wrappers_are_told() {
        let first = wrapper("http://never.example/?secret=1");
        let fixture = Fixture::new(|url| (!url.contains("never")).then(|| Ok(first.clone())));
        let deadline = Duration::from_millis(60);
        let began = Instant::now();
        let breaks = decide_breaks(
            &fixture,
            &[cue("a", 10, "http://w.example/")],
            &context(),
            deadline,
        )
        .await;
        assert!(
            began.elapsed() >= deadline && began.elapsed() < HOP,
            "{:?}",
            began.elapsed()
        );
        assert_eq!(breaks[0].decision.vast_error(), Some(VastCode::WRAPPER_TIMEOUT));
        assert_eq!(breaks[0].decision.problems[0].error_urls, ["http://e.example/w"]);
    }

    #[tokio::test]
    async fn failures_are_told_apart() {
        for (answer, code, reason) in [
            (
                Err(FetchError::Failed("connection refused".into())),
                301,
                "connection refused",
            ),
            (Err(FetchError::Status(500)), 301, "500"),
            (Err(FetchError::TooLong), 100, "longer"),
            (Ok(Vec::new()), 303, "no ad"),
            (Ok(b"rubbish".to_vec()), 100, "not XML"),
            (Ok(b"<html/>".to_vec()), 101, "not VAST"),
            (Ok(b"<VAST version='9'/>".to_vec()), 102, "not understood"),
        ] {
            let fixture = Fixture::new(|_| Some(answer.clone()));
            let decision = decide_break(
                &fixture,
                &cue("a", 10, "http://w.example/"),
                ContentTime::ZERO,
                0,
                &context(),
                DEADLINE,
            )
            .await;
            assert_eq!(decision.vast_error(), Some(VastCode(code)), "{answer:?}");
            assert!(
                decision.reason().expect("reason").contains(reason),
                "{:?}",
                decision.reason()
            );
        }
    }

    #[tokio::test]
    async fn rule_9_macros_apply_to_request_urls_and_each_request_differs() {
        let fixture = Fixture::new(|_| Some(Ok(ad())));
        let url = "http://a.example/?p=[BREAKPOSITION]&h=[CONTENTPLAYHEAD]&m=[BREAKMAXDURATION]&n=[ADCOUNT]&i=[CONTENTID]&c=[CACHEBUSTING]";
        let mut first = cue("a", 61, url);
        first.max_duration = Some(Duration::from_secs(45));
        first.max_ads = Some(2);
        let cues = [first, cue("b", 0, url)];
        let context = Context {
            content_id: Some("ep 1".into()),
            ..context()
        };
        let _ = decide_breaks(&fixture, &cues, &context, DEADLINE).await;
        let asked = fixture.asked.lock().expect("not poisoned").clone();
        let without_busting: Vec<_> = asked
            .iter()
            .map(|url| url.split("&c=").next().expect("part"))
            .collect();
        assert!(
            without_busting.contains(&"http://a.example/?p=2&h=00%3A01%3A01.000&m=45&n=2&i=ep%201"),
            "{asked:?}"
        );
        assert!(
            without_busting.contains(&"http://a.example/?p=1&h=00%3A00%3A00.000&m=-1&n=-1&i=ep%201"),
            "{asked:?}"
        );
        assert_ne!(asked[0].split("&c=").nth(1), asked[1].split("&c=").nth(1));
    }

    #[tokio::test]
    async fn a_break_without_a_limit_has_one_all_the_same() {
        let fixture = Fixture::new(|_| {
            let ad = |place| {
                format!(
                    "<Ad sequence='{place}'><InLine><AdTitle>x</AdTitle><Creatives><Creative><Linear>
                     <Duration>00:04:00</Duration><MediaFiles><MediaFile type='audio/mpeg'>http://m.example/a.mp3</MediaFile>
                     </MediaFiles></Linear></Creative></Creatives></InLine></Ad>"
                )
            };
            let ads = (1..=64).map(ad).collect::<Vec<_>>().concat();
            Some(Ok(format!("<VAST version='4.2'>{ads}</VAST>").into_bytes()))
        });
        for (limit, kept) in [(None, 2), (Some(Duration::from_secs(800)), 3)] {
            let mut cue = cue("a", 10, "http://a.example/");
            cue.max_duration = limit;
            let decision = decide_break(&fixture, &cue, ContentTime::ZERO, 0, &context(), DEADLINE).await;
            assert_eq!(decision.pod.len(), kept);
            let cut = |problem: &Problem| problem.code == VastCode::POD_CUT;
            assert!(decision.problems.iter().all(cut), "{:?}", decision.problems);
        }
    }

    #[tokio::test]
    async fn an_id_of_the_device_is_sent_only_when_it_is_given() {
        for (ad_id, expected) in [(None, "-2&1"), (Some("abc".to_owned()), "abc&0")] {
            let fixture = Fixture::new(|_| Some(Ok(ad())));
            let context = Context { ad_id, ..context() };
            let cue = cue("a", 10, "http://a.example/?[GROVE_AD_ID]&[LIMITADTRACKING]");
            decide_breaks(&fixture, &[cue], &context, DEADLINE).await;
            let asked = fixture.asked.into_inner().expect("not poisoned");
            assert_eq!(asked, [format!("http://a.example/?{expected}")]);
        }
    }

    #[tokio::test]
    async fn the_gate_fetches_and_refuses() {
        use axum::{Router, http::StatusCode, routing::get};
        let app = Router::new()
            .route("/ok", get(|| async { ad() }))
            .route("/none", get(|| async { StatusCode::NO_CONTENT }))
            .route("/long", get(|| async { vec![b' '; xml::MOST_BYTES + 1] }))
            .route("/missing", get(|| async { StatusCode::NOT_FOUND }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let base = format!("http://{}", listener.local_addr().expect("address"));
        let mut server = tokio::task::JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await });
        let gate = gate::Gate::new(gate::Policy {
            allow_private: true,
            ..gate::Policy::default()
        });
        let fetch = |path: &str| format!("{base}{path}");
        assert_eq!(gate.fetch(&fetch("/ok"), HOP).await, Ok(ad()));
        assert_eq!(gate.fetch(&fetch("/none"), HOP).await, Ok(Vec::new()));
        assert_eq!(gate.fetch(&fetch("/long"), HOP).await, Err(FetchError::TooLong));
        assert_eq!(
            gate.fetch(&fetch("/missing"), HOP).await,
            Err(FetchError::Status(404))
        );
        let strict = gate::Gate::new(gate::Policy::default());
        assert!(matches!(
            strict.fetch(&fetch("/ok"), HOP).await,
            Err(FetchError::Failed(_))
        ));
    }
}
