//! Limits that the client keeps by itself, without anybody knowing who it is: how often a creative comes, which ads may
//! stand in one break. Pure.
//!
//! - *Frequency*: an ad's own caps, against the device's history (`memory`), by [`names`].
//! - *Same creative*: never twice in a break.
//! - *Competitive separation*: ads of one category never twice in a break.
//!
//! An ad that is over a limit is replaced like one that failed, but nobody is told of an error: it was prepared by nobody and
//! is *not used*. Not for: pods that a publisher wrote into the cue sheet, who said what is to play.

use std::time::Duration;

use super::decision::{Ad, Decision, Problem, VastCode};

/// Ads that a limit keeps from being presented, each with the reason.
pub type OverLimit = Vec<(Ad, String)>;

/// What a creative is known by: every `UniversalAdId`, else its hash, else the ad server's ids.
pub fn names(ad: &Ad) -> Vec<String> {
    let universal: Vec<String> = ad
        .universal_ad_ids
        .iter()
        .filter(|id| !id.id.eq_ignore_ascii_case("unknown"))
        .map(|id| format!("{} {}", id.registry.to_ascii_lowercase(), id.id))
        .collect();
    if !universal.is_empty() {
        return universal;
    }
    if let Some(digest) = &ad.sha256 {
        return vec![format!("sha256 {}", hex::encode(digest))];
    }
    let system = ad.ad_system.as_deref().unwrap_or_default();
    let id = ad.creative_id.as_deref().or(ad.ad_id.as_deref());
    id.map(|id| format!("{system}/{id}")).into_iter().collect()
}

/// Takes out of a decision what is over a limit. `presented` says how often a creative of these names was presented here
/// within a time.
pub fn enforce(decision: &mut Decision, presented: impl Fn(&[String], Duration) -> u32) -> OverLimit {
    let mut kept = Vec::new();
    let over_cap = |ad: &Ad| {
        let names = names(ad);
        ad.caps
            .iter()
            .find(|cap| presented(&names, cap.within) >= cap.impressions)
            .map(|cap| {
                format!(
                    "{} was presented here {} times within {} s, which is its cap",
                    ad.name(),
                    cap.impressions,
                    cap.within.as_secs()
                )
            })
    };
    let mut index = 0;
    while index < decision.pod.len() {
        let (before, rest) = decision.pod.split_at(index);
        let ad = &rest[0];
        let reason = over_cap(ad).or_else(|| before.iter().find_map(|other| conflict(other, ad)));
        match reason {
            None => index += 1,
            Some(reason) => {
                let ad = decision.pod.remove(index);
                let sequence = ad.sequence;
                decision.problems.push(Problem {
                    code: VastCode::UNDEFINED,
                    text: reason.clone(),
                    error_urls: Vec::new(),
                    ad_id: ad.ad_id.clone(),
                });
                kept.push((ad, reason));
                if !decision.fallbacks.is_empty() {
                    let mut standing_in = decision.fallbacks.remove(0);
                    standing_in.sequence = sequence;
                    decision.pod.insert(index, standing_in);
                }
            }
        }
    }
    kept
}

/// Why two ads may not stand in one break.
fn conflict(first: &Ad, second: &Ad) -> Option<String> {
    let theirs = names(first);
    if names(second).iter().any(|name| theirs.contains(name)) {
        return Some(format!("{} stands in this break already", second.name()));
    }
    let shared = second
        .categories
        .iter()
        .find(|category| first.categories.contains(category))?;
    Some(format!(
        "{} is of category {}, as another ad of this break is",
        second.name(),
        shared.code
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Category, FrequencyCap, UniversalAdId};

    fn ad(id: &str, universal: &str, category: Option<&str>) -> Ad {
        Ad {
            ad_id: Some(id.into()),
            universal_ad_ids: vec![UniversalAdId {
                registry: "Ad-ID.org".into(),
                id: universal.into(),
            }],
            categories: category
                .map(|code| Category {
                    authority: Some("iab".into()),
                    code: code.into(),
                })
                .into_iter()
                .collect(),
            ..Ad::default()
        }
    }

    fn ids(ads: &[Ad]) -> Vec<&str> {
        ads.iter().filter_map(|ad| ad.ad_id.as_deref()).collect()
    }

    fn decision(pod: Vec<Ad>, fallbacks: Vec<Ad>) -> Decision {
        Decision {
            pod,
            fallbacks,
            ..Decision::default()
        }
    }

    #[test]
    fn rule_11_a_creative_over_its_cap_is_replaced_and_nobody_is_told_of_an_error() {
        let mut capped = ad("capped", "1", None);
        capped.errors = vec!["http://e/".into()];
        let within = Duration::from_secs(60);
        capped.caps = vec![FrequencyCap {
            impressions: 2,
            within,
        }];
        let enforced = |times: u32| {
            let mut decision = decision(vec![capped.clone()], vec![ad("spare", "2", None)]);
            let kept = enforce(&mut decision, |names, looked_back| {
                assert_eq!((names, looked_back), (&["ad-id.org 1".to_owned()][..], within));
                times
            });
            (ids(&decision.pod).join(","), kept.len(), decision.problems)
        };
        assert_eq!(enforced(1).0, "capped");
        let (pod, kept, problems) = enforced(2);
        assert_eq!((pod.as_str(), kept), ("spare", 1));
        assert!(problems[0].error_urls.is_empty() && problems[0].text.contains("its cap"));
    }

    #[test]
    fn rule_11_the_same_creative_never_stands_twice_in_a_break() {
        let pod = vec![ad("a", "1", None), ad("b", "1", None), ad("c", "2", None)];
        let mut decision = decision(pod, Vec::new());
        enforce(&mut decision, |_, _| 0);
        assert_eq!(ids(&decision.pod), ["a", "c"]);
    }

    #[test]
    fn competing_ads_never_stand_in_one_break_nor_does_a_competing_replacement() {
        let pod = vec![ad("a", "1", Some("232")), ad("b", "2", Some("232"))];
        let spare = vec![ad("c", "3", Some("232")), ad("d", "4", Some("7"))];
        let mut decision = decision(pod, spare);
        let kept = enforce(&mut decision, |_, _| 0);
        assert_eq!(ids(&decision.pod), ["a", "d"]);
        assert_eq!(
            kept.iter().map(|(ad, _)| ad.name()).collect::<Vec<_>>(),
            ["ad b", "ad c"]
        );
    }

    #[test]
    fn without_a_universal_id_the_hash_or_the_servers_ids_name_a_creative() {
        let mut nameless = ad("a", "UNKNOWN", None);
        (nameless.ad_system, nameless.creative_id) = (Some("sys".into()), Some("c".into()));
        assert_eq!(names(&nameless), ["sys/c"]);
        nameless.sha256 = Some([0xab; 32]);
        assert_eq!(names(&nameless), [format!("sha256 {}", "ab".repeat(32))]);
        assert_eq!(names(&Ad::default()), Vec::<String>::new());
    }
}
