//! From documents to a [`Decision`]: wrappers, merging, pods, fallbacks. Pure: it asks for documents and is given them.
//!
//! Contract: make a [`Resolver`], then take requests from [`Resolver::poll_fetch`] and answer each with
//! [`Resolver::handle_document`], in any order, until it asks for nothing more and waits for nothing; then
//! [`Resolver::finish`]. It may be finished at any moment before: what has not come counts as timed out (301).
//!
//! Bounds: five wrappers on the way to an ad (302 beyond), 32 documents and 128 ads a break, 64 ads a document. Further ads
//! are as if they were not there.

use std::collections::HashMap;

use super::{
    decision::{Ad, AdKind, Decision, Problem, VastCode, WrapperHop},
    select::{self, MediaPreference},
    vast::{self, AdElement, Document, usable_url},
};
use crate::beacons::UnixMillis;

/// Wrappers that are followed on the way to one ad (VAST 4.2 §2.4.1.2 asks for at least five).
pub const MOST_WRAPPERS: usize = 5;
/// Documents fetched for one break.
pub const MOST_DOCUMENTS: usize = 32;

/// Ads and wrappers of all documents of one break together. Each ad takes over what the wrappers above it report, so this
/// bounds the memory of a decision.
const MOST_ADS: usize = 128;

/// Names a document that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentId(usize);

/// A document that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentRequest {
    /// To be given back with the answer.
    pub id: DocumentId,
    /// Its URL, with macros as written.
    pub url: String,
}

/// Why a document could not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The VAST error code: 301 for whatever the network did, 303 for an empty answer.
    pub code: VastCode,
    /// One sentence.
    pub text: String,
}

#[derive(Debug)]
struct Node {
    /// The wrapper that leads here: its document, and its place in it.
    parent: Option<(usize, usize)>,
    /// Wrappers on the way here.
    depth: usize,
    /// The tag's URL; empty for an inline document.
    url: String,
    state: State,
}

#[derive(Debug)]
enum State {
    Wanted,
    Waiting,
    Missing(Missing),
    Here(Document),
}

#[derive(Debug)]
enum Link {
    To(usize),
    Refused(VastCode, String),
}

/// Resolves one break.
#[derive(Debug)]
pub struct Resolver {
    nodes: Vec<Node>,
    links: HashMap<(usize, usize), Link>,
    /// Ads of the documents that are here.
    ads: usize,
    preference: MediaPreference,
    requested_at: UnixMillis,
}

/// What a document comes down to.
#[derive(Debug, Default)]
struct Outcome {
    pod: Vec<Ad>,
    fallbacks: Vec<Ad>,
}

impl Resolver {
    /// Begins with an ad tag. `requested_at` is when ads' `Expires` begins to count.
    pub fn from_tag(url: &str, preference: MediaPreference, requested_at: UnixMillis) -> Self {
        let state = match usable_url(url) {
            Some(_) => State::Wanted,
            None => State::Missing(Missing {
                code: VastCode::WRAPPER_TIMEOUT,
                text: "the ad tag is not a URL of http or https".to_owned(),
            }),
        };
        let url = usable_url(url).unwrap_or_default();
        let node = Node {
            parent: None,
            depth: 0,
            url,
            state,
        };
        Self {
            nodes: vec![node],
            links: HashMap::new(),
            ads: 0,
            preference,
            requested_at,
        }
    }

    /// Begins with a document that is here already.
    pub fn from_inline(text: &str, preference: MediaPreference, requested_at: UnixMillis) -> Self {
        let node = Node {
            parent: None,
            depth: 0,
            url: String::new(),
            state: State::Waiting,
        };
        let mut resolver = Self {
            nodes: vec![node],
            links: HashMap::new(),
            ads: 0,
            preference,
            requested_at,
        };
        resolver.handle_document(DocumentId(0), Ok(text.as_bytes()));
        resolver
    }

    /// The next document to fetch.
    pub fn poll_fetch(&mut self) -> Option<DocumentRequest> {
        let index = self
            .nodes
            .iter()
            .position(|node| matches!(node.state, State::Wanted))?;
        self.nodes[index].state = State::Waiting;
        Some(DocumentRequest {
            id: DocumentId(index),
            url: self.nodes[index].url.clone(),
        })
    }

    /// A document came, or did not. Answers to what is not waited for are ignored.
    pub fn handle_document(&mut self, id: DocumentId, answer: Result<&[u8], Missing>) {
        let DocumentId(index) = id;
        if !self
            .nodes
            .get(index)
            .is_some_and(|node| matches!(node.state, State::Waiting))
        {
            return;
        }
        let parsed = answer.and_then(|bytes| {
            vast::parse_bytes(bytes).map_err(|error| Missing {
                code: error.code(),
                text: error.to_string(),
            })
        });
        match parsed {
            Err(missing) => self.nodes[index].state = State::Missing(missing),
            Ok(document) if self.ads == MOST_ADS && !document.ads.is_empty() => {
                self.nodes[index].state = State::Missing(Missing {
                    code: VastCode::WRAPPER_LIMIT,
                    text: format!("the break has more than {MOST_ADS} ads"),
                });
            }
            Ok(mut document) => {
                document.ads.truncate(MOST_ADS - self.ads);
                self.ads += document.ads.len();
                self.follow(index, &document);
                self.nodes[index].state = State::Here(document);
            }
        }
    }

    /// Asks for what a document's wrappers lead to.
    fn follow(&mut self, index: usize, document: &Document) {
        let considered = self.considered(index, document);
        for place in considered {
            let Some(wrapper) = &document.ads[place].wrapper else {
                continue;
            };
            let depth = self.nodes[index].depth + 1;
            let link = if self
                .parent_wrapper(index)
                .is_some_and(|above| !above.follow_additional)
            {
                Link::Refused(
                    VastCode::WRAPPER,
                    "the wrapper above it allows no further wrappers".to_owned(),
                )
            } else if self.is_loop(index, &wrapper.uri) {
                Link::Refused(
                    VastCode::WRAPPER_LIMIT,
                    format!("the wrappers go in a circle, back to {}", wrapper.uri),
                )
            } else if depth > MOST_WRAPPERS {
                Link::Refused(
                    VastCode::WRAPPER_LIMIT,
                    format!("there are more than {MOST_WRAPPERS} wrappers"),
                )
            } else if self.nodes.len() >= MOST_DOCUMENTS {
                Link::Refused(
                    VastCode::WRAPPER_LIMIT,
                    format!("the break needs more than {MOST_DOCUMENTS} documents"),
                )
            } else {
                let url = wrapper.uri.clone();
                self.nodes.push(Node {
                    parent: Some((index, place)),
                    depth,
                    url,
                    state: State::Wanted,
                });
                Link::To(self.nodes.len() - 1)
            };
            self.links.insert((index, place), link);
        }
    }

    /// The ads of a document that its parent wrapper lets through.
    fn considered(&self, index: usize, document: &Document) -> Vec<usize> {
        let all = 0..document.ads.len();
        match self.parent_wrapper(index) {
            Some(wrapper) if !wrapper.allow_multiple => all
                .filter(|&place| document.ads[place].sequence.is_none())
                .take(1)
                .collect(),
            _ => all.collect(),
        }
    }

    fn parent_wrapper(&self, index: usize) -> Option<&vast::Wrapper> {
        let (parent, place) = self.nodes[index].parent?;
        self.element(parent, place)?.wrapper.as_ref()
    }

    fn element(&self, index: usize, place: usize) -> Option<&AdElement> {
        match &self.nodes[index].state {
            State::Here(document) => document.ads.get(place),
            _ => None,
        }
    }

    fn is_loop(&self, mut index: usize, uri: &str) -> bool {
        loop {
            if self.nodes[index].url == uri {
                return true;
            }
            match self.nodes[index].parent {
                Some((parent, _)) => index = parent,
                None => return false,
            }
        }
    }

    /// The decision, with whatever has come.
    pub fn finish(self) -> Decision {
        let mut decision = Decision::default();
        if let State::Here(document) = &self.nodes[0].state {
            decision.version.clone_from(&document.version);
        }
        let outcome = self.outcome(0, &[], &mut decision);
        decision.pod = outcome.pod;
        decision.fallbacks = outcome.fallbacks;
        decision
    }

    /// What the document at `index` comes down to, `chain` being the wrappers above it, outermost first.
    fn outcome(&self, index: usize, chain: &[(usize, &AdElement)], decision: &mut Decision) -> Outcome {
        let node = &self.nodes[index];
        let document = match &node.state {
            State::Here(document) => document,
            State::Missing(missing) => {
                decision
                    .problems
                    .push(problem(missing.code, missing.text.clone(), chain, None, &[]));
                return Outcome::default();
            }
            State::Wanted | State::Waiting => {
                let text = format!("no answer in time from {}", host(&node.url));
                decision
                    .problems
                    .push(problem(VastCode::WRAPPER_TIMEOUT, text, chain, None, &[]));
                return Outcome::default();
            }
        };
        let considered = self.considered(index, document);
        if considered.is_empty() {
            let text = if document.ads.is_empty() {
                "the ad server had no ad".to_owned()
            } else {
                "the wrapper allows one stand-alone ad, and the response has only a pod".to_owned()
            };
            decision
                .problems
                .push(problem(VastCode::NO_AD, text, chain, None, &document.errors));
            return Outcome::default();
        }
        let mut pod_places: Vec<usize> = considered
            .iter()
            .copied()
            .filter(|&place| document.ads[place].sequence.is_some())
            .collect();
        // Stable: equal numbers stay in document order.
        pod_places.sort_by_key(|&place| document.ads[place].sequence);
        let mut slots: Vec<(Outcome, bool)> = pod_places
            .into_iter()
            .map(|place| {
                let falls_back = document.ads[place]
                    .wrapper
                    .as_ref()
                    .is_none_or(|wrapper| wrapper.fallback_on_no_ad);
                (self.ad_outcome(index, place, chain, decision), falls_back)
            })
            .collect();
        let mut stand_alone: std::collections::VecDeque<Outcome> = considered
            .iter()
            .filter(|&&place| document.ads[place].sequence.is_none())
            .map(|&place| self.ad_outcome(index, place, chain, decision))
            .filter(|outcome| !outcome.pod.is_empty())
            .collect();
        if slots.is_empty() {
            // No pod: the first stand-alone ad that can be played is the break.
            slots.extend(stand_alone.pop_front().map(|outcome| (outcome, false)));
        }
        let mut result = Outcome::default();
        for (mut slot, falls_back) in slots {
            if slot.pod.is_empty() && falls_back {
                slot = stand_alone.pop_front().unwrap_or_default();
            }
            result.pod.append(&mut slot.pod);
            result.fallbacks.append(&mut slot.fallbacks);
        }
        for mut spare in stand_alone {
            result.fallbacks.append(&mut spare.pod);
            result.fallbacks.append(&mut spare.fallbacks);
        }
        result
    }

    /// What one ad comes down to: itself, or what its wrapper leads to.
    fn ad_outcome(
        &self,
        index: usize,
        place: usize,
        chain: &[(usize, &AdElement)],
        decision: &mut Decision,
    ) -> Outcome {
        let Some(element) = self.element(index, place) else {
            return Outcome::default();
        };
        if let Some((code, text)) = &element.fault {
            decision
                .problems
                .push(problem(*code, text.clone(), chain, Some(element), &[]));
            return Outcome::default();
        }
        let Some(wrapper) = &element.wrapper else {
            return self.inline_outcome(element, chain, decision);
        };
        match self.links.get(&(index, place)) {
            Some(Link::To(child)) => {
                let mut longer = chain.to_vec();
                longer.push((index, element));
                let mut outcome = self.outcome(*child, &longer, decision);
                for ad in &mut outcome.pod {
                    ad.sequence = ad.sequence.or(element.sequence);
                }
                outcome
            }
            Some(Link::Refused(code, text)) => {
                decision
                    .problems
                    .push(problem(*code, text.clone(), chain, Some(element), &[]));
                Outcome::default()
            }
            None => {
                let text = format!("{} was not followed", host(&wrapper.uri));
                decision
                    .problems
                    .push(problem(VastCode::WRAPPER, text, chain, Some(element), &[]));
                Outcome::default()
            }
        }
    }

    fn inline_outcome(
        &self,
        element: &AdElement,
        chain: &[(usize, &AdElement)],
        decision: &mut Decision,
    ) -> Outcome {
        let ad = merge(element, chain, self.preference, self.requested_at);
        let blocked = chain
            .iter()
            .filter_map(|(_, wrapper)| wrapper.wrapper.as_ref())
            .find_map(|wrapper| {
                ad.categories.iter().find(|category| {
                    wrapper.blocked.iter().any(|blocked| {
                        blocked.code == category.code
                            && (blocked.authority.is_none() || blocked.authority == category.authority)
                    })
                })
            });
        let refused = if let Some(category) = blocked {
            Some((
                VastCode::BLOCKED_CATEGORY,
                format!("{} is of the blocked category {}", ad.name(), category.code),
            ))
        } else if ad.kind == AdKind::NonLinear {
            Some((
                VastCode::LINEARITY,
                format!("{} is non-linear: it is listed, not played", ad.name()),
            ))
        } else if ad.kind == AdKind::CompanionOnly {
            Some((
                VastCode::LINEARITY,
                format!("{} has no linear creative: it is listed, not played", ad.name()),
            ))
        } else if ad.media_files.is_empty() {
            Some((
                VastCode::MEDIA_UNSUPPORTED,
                format!("{} has no media file that can be used", ad.name()),
            ))
        } else {
            None
        };
        match refused {
            None => Outcome {
                pod: vec![ad],
                fallbacks: Vec::new(),
            },
            Some((code, text)) => {
                decision.problems.push(Problem {
                    code,
                    text,
                    error_urls: ad.errors.clone(),
                    ad_id: ad.ad_id.clone(),
                });
                decision.not_played.push(ad);
                Outcome::default()
            }
        }
    }
}

/// A problem, told to the ad at fault, to every wrapper of the chain, nearest first, and to a response's root.
fn problem(
    code: VastCode,
    text: String,
    chain: &[(usize, &AdElement)],
    element: Option<&AdElement>,
    root_errors: &[String],
) -> Problem {
    let elements = element
        .into_iter()
        .chain(chain.iter().rev().map(|(_, wrapper)| *wrapper));
    let error_urls = root_errors
        .iter()
        .chain(elements.flat_map(|element| &element.errors))
        .cloned()
        .collect();
    let ad_id = element
        .or(chain.last().map(|(_, wrapper)| *wrapper))
        .and_then(|element| element.id.clone());
    Problem {
        code,
        text,
        error_urls,
        ad_id,
    }
}

/// One ad out of an InLine and the wrappers above it: everything that reports is added up, the InLine's first, then the
/// wrappers' from the nearest; what can only be one thing is the nearest's.
fn merge(
    inline: &AdElement,
    chain: &[(usize, &AdElement)],
    preference: MediaPreference,
    requested_at: UnixMillis,
) -> Ad {
    let linear = inline
        .linears
        .iter()
        .find(|linear| !select::choose(&linear.media_files, preference).is_empty())
        .or(inline.linears.first());
    let mut ad = Ad {
        ad_id: inline.id.clone(),
        sequence: inline.sequence,
        ad_system: inline.ad_system.clone(),
        title: inline.title.clone(),
        advertiser: inline.advertiser.clone(),
        ad_serving_id: inline.ad_serving_id.clone(),
        categories: inline.categories.clone(),
        kind: match (linear, inline.non_linears) {
            (Some(_), _) => AdKind::Linear,
            (None, 1..) => AdKind::NonLinear,
            (None, 0) => AdKind::CompanionOnly,
        },
        sha256: inline.sha256,
        torrent: inline.torrent.clone(),
        proof_url: inline.proof_url.clone(),
        caps: inline.caps.clone(),
        chain: chain
            .iter()
            .map(|(_, element)| WrapperHop {
                ad_id: element.id.clone(),
                ad_system: element.ad_system.clone(),
                uri: element
                    .wrapper
                    .as_ref()
                    .map(|wrapper| wrapper.uri.clone())
                    .unwrap_or_default(),
            })
            .collect(),
        ..Ad::default()
    };
    if let Some(linear) = linear {
        ad.creative_id.clone_from(&linear.creative_id);
        ad.universal_ad_ids.clone_from(&linear.universal_ad_ids);
        ad.duration = linear.duration;
        ad.skip_offset = linear.skip_offset;
        ad.media_files = select::choose(&linear.media_files, preference);
        ad.left_out = select::left_out(&linear.media_files);
    }
    // An InLine's other linear creatives are not played, so their trackers stay silent; a wrapper's all apply.
    ad.tracking
        .extend(linear.iter().flat_map(|linear| linear.tracking.iter().cloned()));
    ad.click_through = linear.and_then(|linear| linear.click_through.clone());
    ad.click_tracking.extend(
        linear
            .iter()
            .flat_map(|linear| linear.click_tracking.iter().cloned()),
    );
    let wrappers = || chain.iter().rev().map(|(_, element)| *element);
    for element in std::iter::once(inline).chain(wrappers()) {
        ad.impressions.extend(element.impressions.iter().cloned());
        ad.errors.extend(element.errors.iter().cloned());
        ad.tracking.extend(element.viewability.iter().cloned());
        ad.verifications.extend(element.verifications.iter().cloned());
        if ad.companions.is_empty() {
            ad.companions.clone_from(&element.companions);
        }
        if let Some(expires) = element.expires {
            let at = requested_at.after(expires);
            ad.expires_at = Some(ad.expires_at.map_or(at, |earlier| earlier.min(at)));
        }
    }
    for linear in wrappers().flat_map(|element| &element.linears) {
        ad.tracking.extend(linear.tracking.iter().cloned());
        ad.click_tracking.extend(linear.click_tracking.iter().cloned());
        if ad.click_through.is_none() {
            ad.click_through.clone_from(&linear.click_through);
        }
    }
    ad
}

/// A URL's host, to name it in a sentence without its query.
pub(crate) fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn inline(id: &str, attributes: &str, extra: &str) -> String {
        format!(
            "<Ad id='{id}' {attributes}><InLine><AdTitle>{id}</AdTitle><Error>http://e/{id}</Error>
             <Impression>http://i/{id}</Impression>{extra}<Creatives><Creative><Linear><Duration>00:00:10</Duration>
             <TrackingEvents><Tracking event='start'>http://t/{id}</Tracking></TrackingEvents>
             <MediaFiles><MediaFile type='audio/mpeg'>http://m/{id}.mp3</MediaFile></MediaFiles></Linear></Creative></Creatives>
             </InLine></Ad>"
        )
    }

    fn wrapper(id: &str, attributes: &str, options: &str, uri: &str) -> String {
        format!(
            "<Ad id='{id}' {attributes}><Wrapper {options}><Error>http://e/{id}</Error><Impression>http://i/{id}</Impression>
             <Creatives><Creative><Linear><TrackingEvents><Tracking event='start'>http://t/{id}</Tracking></TrackingEvents>
             <VideoClicks><ClickThrough>http://c/{id}</ClickThrough><ClickTracking>http://k/{id}</ClickTracking></VideoClicks>
             </Linear></Creative></Creatives><VASTAdTagURI>{uri}</VASTAdTagURI></Wrapper></Ad>"
        )
    }

    fn vast(ads: &[String]) -> String {
        format!(
            "<VAST version='4.2'><Error>http://e/root</Error>{}</VAST>",
            ads.concat()
        )
    }

    fn resolve(root: &str, documents: &[(&str, String)]) -> Decision {
        let mut resolver = Resolver::from_inline(root, MediaPreference::default(), NOW);
        while let Some(request) = resolver.poll_fetch() {
            if let Some((_, text)) = documents.iter().find(|(url, _)| *url == request.url) {
                resolver.handle_document(request.id, Ok(text.as_bytes()));
            }
        }
        resolver.finish()
    }

    fn ids(ads: &[Ad]) -> Vec<&str> {
        ads.iter().filter_map(|ad| ad.ad_id.as_deref()).collect()
    }

    fn codes(decision: &Decision) -> Vec<u16> {
        decision.problems.iter().map(|problem| problem.code.0).collect()
    }

    fn chain_of(length: usize) -> (String, Vec<(String, String)>) {
        let mut documents: Vec<_> = (1..length)
            .map(|n| {
                (
                    format!("http://w/{n}"),
                    vast(&[wrapper(&format!("w{n}"), "", "", &format!("http://w/{}", n + 1))]),
                )
            })
            .collect();
        documents.push((format!("http://w/{length}"), vast(&[inline("end", "", "")])));
        (vast(&[wrapper("w0", "", "", "http://w/1")]), documents)
    }

    fn resolve_chain(length: usize) -> Decision {
        let (root, documents) = chain_of(length);
        let documents: Vec<_> = documents
            .iter()
            .map(|(url, text)| (url.as_str(), text.clone()))
            .collect();
        resolve(&root, &documents)
    }

    #[test]
    fn rule_1_five_wrappers_are_followed_and_a_sixth_is_302() {
        assert_eq!(ids(&resolve_chain(5).pod), ["end"]);
        let decision = resolve_chain(6);
        assert_eq!((ids(&decision.pod), codes(&decision)), (vec![], vec![302]));
        // Told to every wrapper of the chain, nearest first.
        let told: Vec<_> = (0..6).rev().map(|n| format!("http://e/w{n}")).collect();
        assert_eq!(decision.problems[0].error_urls, told);
    }

    #[test]
    fn rule_1_a_wrapper_loop_is_detected() {
        let mut resolver = Resolver::from_tag("http://w/a", MediaPreference::default(), NOW);
        let mut fetched = 0;
        while let Some(request) = resolver.poll_fetch() {
            fetched += 1;
            let next = if request.url.ends_with('a') {
                "http://w/b"
            } else {
                "http://w/a"
            };
            resolver.handle_document(request.id, Ok(vast(&[wrapper("w", "", "", next)]).as_bytes()));
        }
        let decision = resolver.finish();
        assert_eq!((fetched, codes(&decision)), (2, vec![302]));
        assert!(decision.problems[0].text.contains("circle"));
    }

    #[test]
    fn rule_1_follow_additional_wrappers_false_is_obeyed() {
        let documents = [
            ("http://w/1", vast(&[wrapper("w1", "", "", "http://w/2")])),
            ("http://w/2", vast(&[inline("a", "", "")])),
        ];
        let root = vast(&[wrapper(
            "w0",
            "",
            "followAdditionalWrappers='false'",
            "http://w/1",
        )]);
        assert_eq!(codes(&resolve(&root, &documents)), [300]);
        let root = vast(&[wrapper("w0", "", "", "http://w/1")]);
        assert_eq!(ids(&resolve(&root, &documents).pod), ["a"]);
    }

    #[test]
    fn rule_1_allow_multiple_ads_false_takes_the_first_ad_that_is_in_no_pod() {
        let documents = [(
            "http://w/1",
            vast(&[
                inline("p1", "sequence='1'", ""),
                inline("a", "", ""),
                inline("b", "", ""),
            ]),
        )];
        let decision = resolve(&vast(&[wrapper("w0", "", "", "http://w/1")]), &documents);
        assert_eq!(
            (ids(&decision.pod), ids(&decision.fallbacks)),
            (vec!["a"], vec![])
        );
        let decision = resolve(
            &vast(&[wrapper("w0", "", "allowMultipleAds='1'", "http://w/1")]),
            &documents,
        );
        assert_eq!(
            (ids(&decision.pod), ids(&decision.fallbacks)),
            (vec!["p1"], vec!["a", "b"])
        );
        let only_pod = [("http://w/1", vast(&[inline("p1", "sequence='1'", "")]))];
        assert_eq!(
            codes(&resolve(&vast(&[wrapper("w0", "", "", "http://w/1")]), &only_pod)),
            [303]
        );
    }

    #[test]
    fn rule_1_fallback_on_no_ad_decides_whether_a_stand_alone_ad_stands_in() {
        let documents = [("http://w/1", vast(&[]))];
        let root = |options: &str| {
            vast(&[
                wrapper("w", "sequence='1'", options, "http://w/1"),
                inline("spare", "", ""),
                inline("p2", "sequence='2'", ""),
            ])
        };
        let decision = resolve(&root(""), &documents);
        assert_eq!(
            (ids(&decision.pod), codes(&decision)),
            (vec!["spare", "p2"], vec![303])
        );
        let decision = resolve(&root("fallbackOnNoAd='false'"), &documents);
        assert_eq!(
            (ids(&decision.pod), ids(&decision.fallbacks)),
            (vec!["p2"], vec!["spare"])
        );
    }

    #[test]
    fn rule_3_everything_that_reports_is_merged_along_the_chain() {
        let decision = resolve_chain(2);
        let ad = &decision.pod[0];
        assert_eq!(ad.impressions, ["http://i/end", "http://i/w1", "http://i/w0"]);
        assert_eq!(ad.errors, ["http://e/end", "http://e/w1", "http://e/w0"]);
        assert_eq!(
            ad.tracking.iter().map(|t| t.url.as_str()).collect::<Vec<_>>(),
            ["http://t/end", "http://t/w1", "http://t/w0"]
        );
        assert_eq!(ad.click_tracking, ["http://k/w1", "http://k/w0"]);
        assert_eq!(
            ad.click_through.as_deref(),
            Some("http://c/w1"),
            "the nearest to the InLine wins"
        );
        assert_eq!(
            ad.chain.iter().map(|hop| hop.uri.as_str()).collect::<Vec<_>>(),
            ["http://w/1", "http://w/2"]
        );
    }

    #[test]
    fn rule_3_companions_are_the_inlines_or_else_the_nearest_wrappers() {
        let companion = |width: u32| {
            format!(
                "<Creative><CompanionAds><Companion width='{width}' height='50'><StaticResource>http://m/{width}</StaticResource>
                 </Companion></CompanionAds></Creative><Creative><Linear>"
            )
        };
        let with = |ad: String, width: u32| match width {
            0 => ad,
            width => ad.replace("<Creative><Linear>", &companion(width)),
        };
        // Widths in the outer wrapper, the inner one, and the InLine; and which of them are shown.
        for (outer, inner, end, shown) in [(1, 2, 3, 3), (1, 2, 0, 2), (1, 0, 0, 1), (0, 0, 0, 0)] {
            let documents = [
                (
                    "http://w/1",
                    vast(&[with(wrapper("w1", "", "", "http://w/2"), inner)]),
                ),
                ("http://w/2", vast(&[with(inline("a", "", ""), end)])),
            ];
            let root = vast(&[with(wrapper("w0", "", "", "http://w/1"), outer)]);
            let decision = resolve(&root, &documents);
            let widths: Vec<u32> = decision.pod[0]
                .companions
                .iter()
                .filter_map(|c| c.width)
                .collect();
            let expected: Vec<u32> = (shown != 0).then_some(shown).into_iter().collect();
            assert_eq!(widths, expected, "{outer} {inner} {end}");
        }
    }

    #[test]
    fn rule_3_a_wrapped_pod_fires_the_wrappers_trackers_for_each_ad() {
        let documents = [(
            "http://w/1",
            vast(&[inline("b", "sequence='2'", ""), inline("a", "sequence='1'", "")]),
        )];
        let decision = resolve(
            &vast(&[wrapper("w", "", "allowMultipleAds='true'", "http://w/1")]),
            &documents,
        );
        assert_eq!(ids(&decision.pod), ["a", "b"]);
        assert!(
            decision
                .pod
                .iter()
                .all(|ad| ad.impressions.iter().any(|url| url == "http://i/w"))
        );
    }

    #[test]
    fn rule_3_a_blocked_category_is_205_and_the_next_ad_plays() {
        let category = "<Category authority='iab'>232</Category>";
        let documents = [(
            "http://w/1",
            vast(&[inline("bad", "", category), inline("good", "", "")]),
        )];
        let blocking = wrapper("w", "", "allowMultipleAds='1'", "http://w/1").replace(
            "<Error>",
            "<BlockedAdCategories authority='iab'>232,99</BlockedAdCategories><Error>",
        );
        let decision = resolve(&vast(&[blocking]), &documents);
        assert_eq!((ids(&decision.pod), codes(&decision)), (vec!["good"], vec![205]));
        assert_eq!(decision.problems[0].error_urls, ["http://e/bad", "http://e/w"]);
    }

    #[test]
    fn rule_4_pods_play_by_sequence_and_a_failed_ad_is_replaced_by_a_stand_alone_one() {
        let unplayable = inline("p2", "sequence='2'", "").replace("audio/mpeg", "video/x-flv");
        let root = vast(&[
            inline("p3", "sequence='3'", ""),
            inline("s1", "", ""),
            unplayable.clone(),
            inline("p1", "sequence='1'", ""),
            inline("s2", "", ""),
        ]);
        let decision = resolve(&root, &[]);
        assert_eq!(ids(&decision.pod), ["p1", "s1", "p3"]);
        assert_eq!(
            (ids(&decision.fallbacks), codes(&decision)),
            (vec!["s2"], vec![403])
        );
        let decision = resolve(&vast(&[inline("p1", "sequence='1'", ""), unplayable]), &[]);
        assert_eq!(
            (ids(&decision.pod), ids(&decision.not_played)),
            (vec!["p1"], vec!["p2"])
        );
    }

    #[test]
    fn rule_4_without_a_pod_one_stand_alone_ad_plays_and_the_others_stand_by() {
        let decision = resolve(&vast(&[inline("a", "", ""), inline("b", "", "")]), &[]);
        assert_eq!(
            (ids(&decision.pod), ids(&decision.fallbacks)),
            (vec!["a"], vec!["b"])
        );
    }

    #[test]
    fn companion_only_ads_are_listed_and_the_next_ad_plays() {
        let companion = "<Ad id='c'><InLine><Error>http://e/c</Error><Creatives><Creative><CompanionAds>
            <Companion width='300' height='250'><StaticResource>http://m/c.png</StaticResource></Companion>
            </CompanionAds></Creative></Creatives></InLine></Ad>";
        let decision = resolve(&vast(&[companion.to_owned(), inline("a", "", "")]), &[]);
        assert_eq!(
            (ids(&decision.pod), ids(&decision.not_played)),
            (vec!["a"], vec!["c"])
        );
        assert_eq!(
            (decision.not_played[0].kind, codes(&decision)),
            (AdKind::CompanionOnly, vec![201])
        );
    }

    #[test]
    fn rule_6_nothing_usable_is_403_and_a_mezzanine_is_never_played() {
        let root = vast(&[inline("a", "", "")
            .replace(
                "<MediaFiles>",
                "<MediaFiles><Mezzanine type='audio/mpeg'>http://m/mezzanine.mp3</Mezzanine>",
            )
            .replace(
                "<MediaFile type='audio/mpeg'>",
                "<MediaFile type='application/x-mpegURL'>",
            )]);
        assert_eq!(codes(&resolve(&root, &[])), [403]);
    }

    #[test]
    fn rule_7_expires_counts_from_the_request_and_the_earliest_of_the_chain_counts() {
        let decision = resolve(&vast(&[inline("a", "", "<Expires>60</Expires>")]), &[]);
        assert_eq!(decision.pod[0].expires_at, Some(UnixMillis(1_060_000)));
    }

    #[test]
    fn rule_8_an_empty_vast_is_303_and_fires_the_root_error() {
        let decision = resolve(
            "<VAST version='3.0'><Error>http://e/root?[ERRORCODE]</Error></VAST>",
            &[],
        );
        assert_eq!(codes(&decision), [303]);
        assert_eq!(decision.problems[0].error_urls, ["http://e/root?[ERRORCODE]"]);
        assert_eq!(
            (decision.reason().as_deref(), decision.vast_error()),
            (Some("the ad server had no ad"), Some(VastCode(303)))
        );
        let behind = resolve(
            &vast(&[wrapper("w", "", "", "http://w/1")]),
            &[("http://w/1", vast(&[]))],
        );
        assert_eq!(behind.problems[0].error_urls, ["http://e/root", "http://e/w"]);
    }

    #[test]
    fn rule_8_what_never_came_is_301_for_every_wrapper() {
        let documents = [(
            "http://w/1",
            vast(&[wrapper("w1", "", "", "http://late.example/x?secret=1")]),
        )];
        let decision = resolve(&vast(&[wrapper("w0", "", "", "http://w/1")]), &documents);
        assert_eq!(codes(&decision), [301]);
        assert_eq!(decision.problems[0].error_urls, ["http://e/w1", "http://e/w0"]);
        assert_eq!(decision.problems[0].text, "no answer in time from late.example");
    }

    #[test]
    fn a_break_has_a_bounded_number_of_ads() {
        let wrappers: Vec<_> = (0..4)
            .map(|n| {
                wrapper(
                    &format!("w{n}"),
                    "",
                    "allowMultipleAds='1'",
                    &format!("http://w/{n}"),
                )
            })
            .collect();
        let pod: Vec<_> = (1..=64)
            .map(|n| inline(&n.to_string(), &format!("sequence='{n}'"), ""))
            .collect();
        let documents: Vec<_> = (0..4).map(|n| (format!("http://w/{n}"), vast(&pod))).collect();
        let documents: Vec<_> = documents
            .iter()
            .map(|(url, text)| (url.as_str(), text.clone()))
            .collect();
        let decision = resolve(&vast(&wrappers), &documents);
        // The wrappers are four of them.
        assert_eq!(decision.pod.len() + decision.fallbacks.len(), MOST_ADS - 4);
        assert_eq!(codes(&decision), [302, 302]);
    }

    #[test]
    fn a_break_needs_a_bounded_number_of_documents() {
        let mut resolver = Resolver::from_tag("http://w/root", MediaPreference::default(), NOW);
        let mut fetched = 0;
        while let Some(request) = resolver.poll_fetch() {
            fetched += 1;
            let ads: Vec<_> = (0..8)
                .map(|n| {
                    wrapper(
                        "w",
                        "sequence='1'",
                        "allowMultipleAds='1'",
                        &format!("{}/{n}", request.url),
                    )
                })
                .collect();
            resolver.handle_document(request.id, Ok(vast(&ads).as_bytes()));
        }
        assert_eq!(fetched, MOST_DOCUMENTS);
        assert!(codes(&resolver.finish()).iter().all(|&code| code == 302));
    }
}
