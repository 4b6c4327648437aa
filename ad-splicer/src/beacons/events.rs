//! From what happened to the beacons that tell it. Pure.
//!
//! - [`delivered`]: an ad is whole in a rendition whose download is valid. Impressions only: nobody can say from a
//!   download what was heard, so there are no quartiles.
//! - [`played`]: something that this client presented.
//! - [`problems`] and [`break_events`]: errors, and the break's own events.
//!
//! A third party's impression fires on the one basis that the cue sheet states; without a statement, on the basis on
//! which this viewer gets the ad. A Grove server gets both kinds and keeps them apart.

use std::{collections::HashSet, time::Duration};

use super::{Basis, Beacon, BeaconKey, Receiver, UnixMillis};
use crate::{
    cues::{BreakEvent, CuePoint},
    decide::{
        Ad, Offset, Problem, VastCode,
        macros::{self, Macros},
    },
    proof::Account,
    time::ContentTime,
};

/// Where and for whom something happens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Session {
    /// The rendition's or playback's own id: what makes keys unique. Never an id of a person or device.
    pub id: String,
    /// Seed for `[CACHEBUSTING]`.
    pub seed: u64,
    /// For `[CONTENTID]`.
    pub content_id: Option<String>,
    /// For `[CONTENTURI]`.
    pub content_uri: Option<String>,
    /// For `[DEVICEUA]`: the program.
    pub user_agent: Option<String>,
    /// The break's number in the content, from 0.
    pub break_index: usize,
    /// The break's content time.
    pub break_at: ContentTime,
    /// 1 pre-roll, 2 mid-roll, 3 post-roll.
    pub break_position: u8,
    /// The ad's place in the pod, from 0.
    pub pod_index: usize,
    /// Ads in the pod.
    pub pod_length: usize,
    /// On which basis third parties' impressions fire ([`CuePoint::impressions_on`]).
    pub impressions_on: Option<Basis>,
}

/// What can happen to an ad that is presented (VAST 4.2 §3.14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The creative is ready.
    Loaded,
    /// The first frame was presented: impressions and `start`.
    Start,
    /// A quarter was presented continuously at normal speed.
    FirstQuartile,
    /// Half was.
    Midpoint,
    /// Three quarters were.
    ThirdQuartile,
    /// All of it was.
    Complete,
    /// This much was presented: fires the `progress` trackers whose offset it is.
    Progress(Duration),
    /// The person skipped, after `skipoffset`.
    Skip,
    /// Sound off.
    Mute,
    /// Sound on.
    Unmute,
    /// Paused.
    Pause,
    /// Going on.
    Resume,
    /// Closed.
    CloseLinear,
    /// Prepared, and never presented. Nothing comes after it.
    NotUsed,
    /// The click-through was opened.
    ClickThrough,
    /// It could not be presented.
    Error(VastCode),
}

impl Event {
    /// Its name in VAST.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Start => "start",
            Self::FirstQuartile => "firstQuartile",
            Self::Midpoint => "midpoint",
            Self::ThirdQuartile => "thirdQuartile",
            Self::Complete => "complete",
            Self::Progress(_) => "progress",
            Self::Skip => "skip",
            Self::Mute => "mute",
            Self::Unmute => "unmute",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::CloseLinear => "closeLinear",
            Self::NotUsed => "notUsed",
            Self::ClickThrough => "clickTracking",
            Self::Error(_) => "error",
        }
    }
}

/// Something that happened to an ad while it was presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occurrence {
    /// What.
    pub event: Event,
    /// When, by the wall clock.
    pub at: UnixMillis,
    /// How much of the ad had been presented.
    pub ad_time: Duration,
}

/// The progress offsets that an ad wants to hear of, in order, for a presentation that lasts `duration`.
pub fn progress_offsets(ad: &Ad, duration: Duration) -> Vec<Duration> {
    let progress = ad.tracking.iter().filter(|tracking| tracking.event == "progress");
    let mut offsets: Vec<Duration> = progress
        .filter_map(|tracking| Some(tracking.offset?.resolve(duration)))
        .filter(|&at| at <= duration)
        .collect();
    offsets.sort_unstable();
    offsets.dedup();
    offsets
}

/// Beacons for an ad that is whole in a rendition whose download is valid.
pub fn delivered(session: &Session, ad: &Ad, at: UnixMillis) -> Vec<Beacon> {
    let mut maker = Maker::new(session, &ad.identity(), Basis::Delivered, at);
    let macros = maker.ad_macros(ad);
    for url in &ad.impressions {
        maker.impression(url, &macros);
    }
    maker.beacons
}

/// Beacons for something that this client presented. `duration` is how long the ad is as presented.
pub fn played(session: &Session, ad: &Ad, duration: Duration, happened: Occurrence) -> Vec<Beacon> {
    let mut maker = Maker::new(session, &ad.identity(), Basis::Played, happened.at);
    let content = Duration::from_nanos(session.break_at.as_nanos());
    let macros = maker
        .ad_macros(ad)
        .playhead("ADPLAYHEAD", happened.ad_time)
        .playhead("CONTENTPLAYHEAD", content)
        .playhead("MEDIAPLAYHEAD", content);
    match happened.event {
        Event::Error(code) => {
            let macros = macros.error(code);
            for url in &ad.errors {
                maker.push(&format!("error {code}"), url, &macros);
            }
        }
        Event::ClickThrough => {
            for url in &ad.click_tracking {
                maker.push("clickTracking", url, &macros);
            }
        }
        Event::Progress(offset) => {
            for tracking in ad.tracking.iter().filter(|tracking| tracking.event == "progress") {
                if tracking.offset.is_some_and(|at| at.resolve(duration) == offset) {
                    maker.push(&format!("progress {}", offset.as_nanos()), &tracking.url, &macros);
                }
            }
        }
        event => {
            let macros = match event {
                Event::Mute => macros.text("PLAYERSTATE", "muted"),
                _ => macros,
            };
            if event == Event::Start {
                for url in &ad.impressions {
                    maker.impression(url, &macros);
                }
                // Verification scripts are not run: 2 is "not supported" (VAST 4.2 §3.17).
                let reasoned = macros.clone().number("REASON", 2);
                for url in ad
                    .verifications
                    .iter()
                    .flat_map(|verification| &verification.not_executed)
                {
                    maker.push("verificationNotExecuted", url, &reasoned);
                }
            }
            for tracking in ad
                .tracking
                .iter()
                .filter(|tracking| fires(event, &tracking.event))
            {
                maker.push(&tracking.event, &tracking.url, &macros);
            }
        }
    }
    maker.beacons
}

/// Whether a tracker's event, as it is named in VAST, is what happened. `creativeView` is VAST 3.0's name for what is shown
/// first; whether sound is in view cannot be determined, which is an event too (VAST 4.2 §3.4.3).
fn fires(event: Event, tracker: &str) -> bool {
    tracker == event.name()
        || (event == Event::Start && matches!(tracker, "creativeView" | "viewUndetermined"))
}

/// What would be reported of an ad, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    /// The event's name.
    pub event: String,
    /// How far into the ad it comes when the ad is played through; `None` when it depends on what happens.
    pub at: Option<Duration>,
    /// The URL, its macros as written.
    pub url: String,
}

/// Everything that may be reported of an ad: what comes in an undisturbed playback in its order, then what depends on what
/// happens. Trackers of events that this client never has are left out.
pub fn schedule(ad: &Ad) -> Vec<Scheduled> {
    let mut all = Vec::new();
    let mut add = |event: &str, at: Option<Duration>, url: &str| {
        all.push(Scheduled {
            event: event.to_owned(),
            at,
            url: url.to_owned(),
        });
    };
    let zero = Some(Duration::ZERO);
    let whole = ad.duration;
    for tracking in ad.tracking.iter().filter(|tracking| tracking.event == "loaded") {
        add("loaded", zero, &tracking.url);
    }
    for url in &ad.impressions {
        add("impression", zero, url);
    }
    for url in ad
        .verifications
        .iter()
        .flat_map(|verification| &verification.not_executed)
    {
        add("verificationNotExecuted", zero, url);
    }
    for tracking in &ad.tracking {
        let at = match tracking.event.as_str() {
            name if fires(Event::Start, name) => zero,
            "firstQuartile" => whole.map(|whole| whole / 4),
            "midpoint" => whole.map(|whole| whole / 2),
            "thirdQuartile" => whole.map(|whole| whole * 3 / 4),
            "complete" => whole,
            "progress" => match (tracking.offset, whole) {
                (Some(Offset::Time(time)), _) => Some(time),
                (Some(offset), Some(whole)) => Some(offset.resolve(whole)),
                _ => continue,
            },
            "skip" | "mute" | "unmute" | "pause" | "resume" | "closeLinear" | "notUsed" => None,
            _ => continue,
        };
        add(&tracking.event, at, &tracking.url);
    }
    for url in &ad.click_tracking {
        add("clickTracking", None, url);
    }
    for url in &ad.errors {
        add("error", None, url);
    }
    // Stable: what comes at one time stays in the order above.
    all.sort_by_key(|scheduled| scheduled.at.unwrap_or(Duration::MAX));
    all
}

/// Beacons for what went wrong in a decision: each problem's code to each of its URLs, once.
pub fn problems(session: &Session, problems: &[Problem], at: UnixMillis) -> Vec<Beacon> {
    let mut beacons = Vec::new();
    for problem in problems {
        let identity = problem.ad_id.as_deref().unwrap_or_default();
        let mut maker = Maker::new(session, identity, Basis::Delivered, at);
        let macros = maker.macros().error(problem.code);
        for url in &problem.error_urls {
            maker.push(&format!("error {}", problem.code), url, &macros);
        }
        beacons.append(&mut maker.beacons);
    }
    beacons
}

/// Beacons for a break's own events (VMAP 1.0). `code` fills `[ERRORCODE]` of an error.
pub fn break_events(
    session: &Session,
    cue: &CuePoint,
    event: BreakEvent,
    code: Option<VastCode>,
    basis: Basis,
    at: UnixMillis,
) -> Vec<Beacon> {
    let mut maker = Maker::new(session, &cue.id, basis, at);
    let mut macros = maker.macros();
    if let Some(code) = code {
        macros = macros.error(code);
    }
    let name = match event {
        BreakEvent::BreakStart => "breakStart",
        BreakEvent::BreakEnd => "breakEnd",
        BreakEvent::Error => "breakError",
    };
    for tracking in cue.tracking.iter().filter(|tracking| tracking.event == event) {
        maker.push(name, &tracking.url, &macros);
    }
    maker.beacons
}

/// The account of a playback, to be posted to where an ad's server takes accounts. `None` when it takes none, or the account
/// cannot be written.
pub fn account(session: &Session, ad: &Ad, account: &Account, at: UnixMillis) -> Option<Beacon> {
    let url = ad.proof_url.as_deref()?;
    let body = serde_json::to_string(account).ok()?;
    let mut maker = Maker::new(session, &ad.identity(), Basis::Played, at);
    let macros = maker.ad_macros(ad);
    maker.push(&format!("proof {}", account.head.count), url, &macros);
    let beacon = maker.beacons.pop()?;
    // It is idempotent by its own nonces, so that it is offered until it is taken.
    Some(Beacon {
        receiver: Receiver::Grove,
        body: Some(body),
        ..beacon
    })
}

/// Makes the beacons of one occurrence; the same key comes out of it once.
struct Maker<'a> {
    session: &'a Session,
    identity: String,
    basis: Basis,
    at: UnixMillis,
    keys: HashSet<BeaconKey>,
    beacons: Vec<Beacon>,
}

impl<'a> Maker<'a> {
    fn new(session: &'a Session, identity: &str, basis: Basis, at: UnixMillis) -> Self {
        let identity = format!("{}/{}/{identity}", session.break_index, session.pod_index);
        Self {
            session,
            identity,
            basis,
            at,
            keys: HashSet::new(),
            beacons: Vec::new(),
        }
    }

    fn macros(&self) -> Macros {
        let session = self.session;
        let random = macros::random(session.seed ^ self.at.0, session.break_index as u64);
        Macros::new(self.at, random)
            .basis(self.basis)
            .number("BREAKPOSITION", u64::from(session.break_position))
            .number("PODSEQUENCE", session.pod_index as u64 + 1)
            .number("ADCOUNT", session.pod_length as u64)
            .optional("CONTENTID", session.content_id.as_deref())
            .optional("CONTENTURI", session.content_uri.as_deref())
            .optional("DEVICEUA", session.user_agent.as_deref())
    }

    fn ad_macros(&self, ad: &Ad) -> Macros {
        self.macros()
            .optional("ADSERVINGID", ad.ad_serving_id.as_deref())
            .optional("ASSETURI", ad.media_file().map(|file| file.url.as_str()))
            .optional("MEDIAMIME", ad.media_file().map(|file| file.mime.as_str()))
            .optional(
                "ADTYPE",
                ad.media_file().and_then(|file| file.mime.split('/').next()),
            )
            .list(
                "ADCATEGORIES",
                ad.categories.iter().map(|category| &category.code),
            )
            .list(
                "UNIVERSALADID",
                ad.universal_ad_ids
                    .iter()
                    .map(|id| format!("{} {}", id.registry, id.id)),
            )
    }

    /// An impression: a third party's only on the basis that counts for it.
    fn impression(&mut self, url: &str, macros: &Macros) {
        let stated = self
            .session
            .impressions_on
            .is_none_or(|basis| basis == self.basis);
        if stated || macros::is_grove(url) {
            self.push("impression", url, macros);
        }
    }

    fn push(&mut self, event: &str, url: &str, macros: &Macros) {
        let receiver = if macros::is_grove(url) {
            Receiver::Grove
        } else {
            Receiver::ThirdParty
        };
        // To a Grove server, delivered and played are two events; to anybody else an event happens once.
        let keyed = match receiver {
            Receiver::Grove => format!("{event} {}", self.basis.as_str()),
            Receiver::ThirdParty => event.to_owned(),
        };
        let key = BeaconKey::new(&self.session.id, &self.identity, &keyed, url);
        if self.keys.insert(key.clone()) {
            let event = event.to_owned();
            self.beacons.push(Beacon {
                key,
                event,
                url: macros.fill(url),
                receiver,
                at: self.at,
                body: None,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Tracking, Verification};

    const AT: UnixMillis = UnixMillis(1_453_018_507_127);

    fn ad() -> Ad {
        let tracking = |event: &str, offset: Option<&str>, url: &str| Tracking {
            event: event.into(),
            offset: offset.and_then(Offset::parse),
            url: url.into(),
        };
        Ad {
            ad_serving_id: Some("serving 1".into()),
            impressions: vec![
                "http://ours/i?basis=[GROVE_BASIS]&t=[TIMESTAMP]&s=[ADSERVINGID]".into(),
                "http://theirs/i?b=[BREAKPOSITION]".into(),
                "http://theirs/i?b=[BREAKPOSITION]".into(),
            ],
            tracking: vec![
                tracking("start", None, "http://theirs/start?c=[CONTENTPLAYHEAD]"),
                tracking("midpoint", None, "http://ours/mid?basis=%5BGROVE_BASIS%5D"),
                tracking("progress", Some("50%"), "http://theirs/half"),
                tracking("progress", Some("00:00:02"), "http://theirs/two"),
                tracking("progress", Some("00:01:00"), "http://theirs/never"),
            ],
            errors: vec!["http://theirs/e?[ERRORCODE]".into()],
            verifications: vec![Verification {
                vendor: None,
                resources: vec![],
                not_executed: vec!["http://verify/?r=[REASON]".into()],
            }],
            ..Ad::default()
        }
    }

    fn session() -> Session {
        Session {
            id: "rendition 1".into(),
            break_position: 2,
            pod_length: 1,
            ..Session::default()
        }
    }

    fn urls(beacons: &[Beacon]) -> Vec<&str> {
        beacons.iter().map(|beacon| beacon.url.as_str()).collect()
    }

    fn at(event: Event) -> Occurrence {
        Occurrence {
            event,
            at: AT,
            ad_time: Duration::from_secs(4),
        }
    }

    #[test]
    fn a_download_fires_impressions_and_no_quartiles() {
        let beacons = delivered(&session(), &ad(), AT);
        assert_eq!(
            urls(&beacons),
            [
                "http://ours/i?basis=delivered&t=2016-01-17T08%3A15%3A07.127Z&s=serving%201",
                "http://theirs/i?b=2"
            ]
        );
        assert_eq!(
            [beacons[0].receiver, beacons[1].receiver],
            [Receiver::Grove, Receiver::ThirdParty]
        );
    }

    #[test]
    fn rule_5_the_first_frame_fires_impressions_start_and_rule_10_reason_2() {
        let beacons = played(&session(), &ad(), Duration::from_secs(8), at(Event::Start));
        assert_eq!(
            urls(&beacons)[1..],
            [
                "http://theirs/i?b=2",
                "http://verify/?r=2",
                "http://theirs/start?c=00%3A00%3A00.000"
            ]
        );
        assert!(beacons[0].url.contains("basis=played"));
        let midpoint = played(&session(), &ad(), Duration::from_secs(8), at(Event::Midpoint));
        assert_eq!(urls(&midpoint), ["http://ours/mid?basis=played"]);
    }

    #[test]
    fn rule_5_progress_takes_times_and_percentages() {
        let eight = Duration::from_secs(8);
        assert_eq!(
            progress_offsets(&ad(), eight),
            [Duration::from_secs(2), Duration::from_secs(4)]
        );
        let fired = played(
            &session(),
            &ad(),
            eight,
            at(Event::Progress(Duration::from_secs(4))),
        );
        assert_eq!(urls(&fired), ["http://theirs/half"]);
    }

    #[test]
    fn a_third_partys_impression_fires_on_the_stated_basis_only() {
        let session = Session {
            impressions_on: Some(Basis::Played),
            ..session()
        };
        assert_eq!(delivered(&session, &ad(), AT).len(), 1, "ours only");
        let start = played(&session, &ad(), Duration::from_secs(8), at(Event::Start));
        assert!(urls(&start).contains(&"http://theirs/i?b=2"));
    }

    #[test]
    fn an_event_has_the_same_key_whenever_it_is_told_and_another_basis_another_one_for_ours() {
        let keys = |beacons: Vec<Beacon>| beacons.into_iter().map(|beacon| beacon.key).collect::<Vec<_>>();
        let first = keys(delivered(&session(), &ad(), AT));
        assert_eq!(first, keys(delivered(&session(), &ad(), UnixMillis(5))));
        let start = keys(played(
            &session(),
            &ad(),
            Duration::from_secs(8),
            at(Event::Start),
        ));
        assert_ne!(first[0], start[0]);
        assert_eq!(first[1], start[1]);
        let elsewhere = Session {
            break_index: 1,
            ..session()
        };
        assert_ne!(first, keys(delivered(&elsewhere, &ad(), AT)));
    }

    #[test]
    fn errors_carry_their_code() {
        let beacons = played(
            &session(),
            &ad(),
            Duration::from_secs(8),
            at(Event::Error(VastCode(405))),
        );
        assert_eq!(urls(&beacons), ["http://theirs/e?405"]);
        let problem = Problem {
            code: VastCode(303),
            text: String::new(),
            error_urls: vec!["http://a/[ERRORCODE]".into(), "http://b/[ERRORCODE]".into()],
            ad_id: None,
        };
        assert_eq!(
            urls(&problems(&session(), &[problem.clone(), problem], AT))[..2],
            ["http://a/303", "http://b/303"]
        );
    }

    #[test]
    fn rule_5_everything_that_may_be_reported_is_listed_with_its_time() {
        let mut ad = ad();
        ad.duration = Some(Duration::from_secs(8));
        let named = |event: &str| Tracking {
            event: event.into(),
            offset: None,
            url: format!("http://theirs/{event}"),
        };
        for event in ["complete", "skip", "creativeView", "otherAdInteraction", "loaded"] {
            ad.tracking.push(named(event));
        }
        let listed: Vec<_> = schedule(&ad)
            .into_iter()
            .map(|scheduled| (scheduled.event, scheduled.at.map(|at| at.as_secs())))
            .collect();
        let expected = [
            ("loaded", Some(0)),
            ("impression", Some(0)),
            ("impression", Some(0)),
            ("impression", Some(0)),
            ("verificationNotExecuted", Some(0)),
            ("start", Some(0)),
            ("creativeView", Some(0)),
            ("progress", Some(2)),
            ("midpoint", Some(4)),
            ("progress", Some(4)),
            ("complete", Some(8)),
            ("progress", Some(60)),
            ("skip", None),
            ("error", None),
        ]
        .map(|(event, at)| (event.to_owned(), at));
        assert_eq!(listed, expected);
    }

    #[test]
    fn rule_5_creative_view_and_an_undetermined_view_come_with_the_start() {
        let mut ad = ad();
        for event in ["creativeView", "viewUndetermined", "viewable"] {
            ad.tracking.push(Tracking {
                event: event.into(),
                offset: None,
                url: format!("http://theirs/{event}"),
            });
        }
        let fired = played(&session(), &ad, Duration::from_secs(8), at(Event::Start));
        let fired = urls(&fired);
        assert!(
            fired.contains(&"http://theirs/creativeView")
                && fired.contains(&"http://theirs/viewUndetermined")
        );
        assert!(!fired.contains(&"http://theirs/viewable"));
    }
}
