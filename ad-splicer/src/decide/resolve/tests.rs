//! Wrappers, merging, pods and their order, by the rules of VAST; expectations written by hand.

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
    let unplayable = inline("p2", "sequence='2'", "").replace("audio/mpeg", "application/x-shockwave-flash");
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
