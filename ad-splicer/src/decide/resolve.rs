//! From documents to a [`Decision`]: wrappers, merging, pods, fallbacks. Pure: it asks for documents and is given them.
//!
//! Contract: make a [`Resolver`], then take requests from [`Resolver::poll_fetch`] and answer each with
//! [`Resolver::handle_document`], in any order, until it asks for nothing more and waits for nothing; then
//! [`Resolver::finish`]. It may be finished at any moment before: what has not come counts as timed out (301).
//!
//! Bounds: five wrappers on the way to an ad (302 beyond), 32 documents and 128 ads a break, 64 ads a document. Further ads
//! are as if they were not there.

mod merge;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use self::merge::merge;
use super::{
    decision::{Ad, AdKind, Decision, Problem, VastCode},
    select::MediaPreference,
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

/// A URL's host, to name it in a sentence without its query.
pub(crate) fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}
