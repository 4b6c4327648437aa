//! The desk in a real browser with its scripts off, in both languages; and what it does not let through.

#[path = "common/browser.rs"]
mod browser;
mod common;

use ad_server_mock::store::tokens::Role;
use browser::Browser;
use common::{Setup, toml};

/// Saves a screenshot where `DESK_SCREENSHOTS` says, for people to look at; it must be an image of the page anyway.
fn look(browser: &mut Browser, name: &str) {
    let png = browser.screenshot();
    assert!(
        png.starts_with(b"\x89PNG") && png.len() > 5_000,
        "{name}: {} bytes",
        png.len()
    );
    if let Some(folder) = std::env::var_os("DESK_SCREENSHOTS") {
        std::fs::write(std::path::Path::new(&folder).join(format!("{name}.png")), png).expect("a file");
    }
}

/// Writes into fields of the form that `form` selects, and sends it.
fn send(b: &mut Browser, form: &str, fields: &[(&str, &str)]) {
    for (name, value) in fields {
        b.ask(&format!(
            "document.querySelector({form:?}).elements[{name:?}].value = {value:?}; 0"
        ));
    }
    // As a person does: what the browser does not accept is not sent.
    assert_eq!(
        b.ask(&format!("document.querySelector({form:?}).checkValidity()")),
        true,
        "{form}"
    );
    b.follow(&format!("document.querySelector({form:?}).submit()"));
}

/// Changes what there is: a campaign, a flight, a creative, shows, publishers, advertisers; archives and restores.
fn edit(b: &mut Browser, base: &str) {
    let campaign = format!("{base}/desk/campaigns/kettle");
    b.go(&campaign);
    b.ask("document.querySelector('#edit').open = true; 0");
    look(b, "change-campaign");
    send(
        b,
        "#edit form:not(.archive)",
        &[("name", "Summer"), ("budget", "750.5")],
    );
    assert!(
        b.text().contains("Summer") && b.text().contains("750.50 USD"),
        "{}",
        b.text()
    );
    // A flight, with all that it can say.
    b.follow("document.querySelector('a[href=\"/desk/flights/kettle\"]').click()");
    assert_eq!(
        b.ask("document.querySelector('input[name=starts]').value"),
        "2026-06-01T00:00"
    );
    look(b, "change-flight");
    let fields = [
        ("name", "July"),
        ("ends", "2026-07-31T18:30"),
        ("goal", "60"),
        ("cap", "70"),
        ("price", "22.5"),
        ("priority", "3"),
        ("pacing", "daily"),
        ("kind", "sponsorship"),
        ("frequency_count", "2"),
        ("frequency_hours", "24"),
        ("shows", "harbour, night"),
        ("countries", "ES"),
    ];
    send(b, "main form.card", &fields);
    assert!(
        b.text().contains("July") && b.text().contains("22.5"),
        "{}",
        b.text()
    );
    b.go(&format!("{base}/desk/flights/kettle"));
    for (name, value) in [
        ("ends", "2026-07-31T18:30"),
        ("shows", "harbour, night"),
        ("kind", "sponsorship"),
        ("frequency_count", "2"),
    ] {
        assert_eq!(
            b.ask(&format!(
                "document.querySelector('main form.card').elements[{name:?}].value"
            )),
            value
        );
    }
    // What makes no sense is refused in a sentence.
    b.ask("document.querySelector('input[name=ends]').value = '2026-05-01T00:00'; 0");
    b.follow("document.querySelector('main form.card').submit()");
    assert!(b.text().contains("ends: it is not after starts"), "{}", b.text());
    // A creative.
    b.go(&format!("{base}/desk/creatives/kettle"));
    send(
        b,
        "main form.card",
        &[
            ("title", "The kettle"),
            ("weight", "4"),
            ("click_through", ""),
            ("skip_after", "5"),
        ],
    );
    assert!(b.text().contains("The kettle"), "{}", b.text());
    b.go(&format!("{base}/desk/creatives/kettle"));
    assert_eq!(
        b.ask("document.querySelector('input[name=skip_after]').value"),
        "5"
    );
    look(b, "change-creative");
    // Archived, and restored.
    b.follow("document.querySelector('form.archive').submit()");
    assert!(b.text().contains("The kettle · Archived"), "{}", b.text());
    b.follow("document.querySelector('#edit form.archive').submit()");
    b.go(&format!("{base}/desk"));
    assert_eq!(
        b.ask("document.querySelectorAll('section.card').length"),
        1,
        "only the other one"
    );
    b.ask("document.querySelector('details.card').open = true; 0");
    look(b, "archived");
    b.follow("document.querySelector('details.card a').click()");
    b.follow("document.querySelector('#edit form.archive').submit()");
    b.go(&format!("{base}/desk"));
    assert_eq!(b.ask("document.querySelectorAll('section.card').length"), 2);
    // Shows and what may play in their breaks, who publishes them, who advertises.
    b.go(&format!("{base}/desk/settings"));
    send(
        b,
        "form[action='/desk/publishers']",
        &[("id", "media"), ("name", "Harbour Media"), ("share", "70")],
    );
    send(
        b,
        "form[action='/desk/shows']",
        &[
            ("id", "harbour"),
            ("title", "Harbour"),
            ("blocked", "IAB7-39, IAB8"),
        ],
    );
    let show = "form[action='/desk/shows']:has(input[value=harbour])";
    send(
        b,
        show,
        &[
            ("title", "The Harbour"),
            ("separation", "download"),
            ("share", "75.5"),
        ],
    );
    send(
        b,
        "form[action='/desk/advertisers']:has(input[value=boots])",
        &[("category", "IAB18"), ("domain", "boots.example")],
    );
    for (form, name, value) in [
        (show, "title", "The Harbour"),
        (show, "separation", "download"),
        (show, "share", "75.5"),
        (show, "blocked", "IAB7-39, IAB8"),
        (
            "form[action='/desk/advertisers']:has(input[value=boots])",
            "category",
            "IAB18",
        ),
    ] {
        assert_eq!(
            b.ask(&format!(
                "document.querySelector({form:?}).elements[{name:?}].value"
            )),
            value,
            "{form} {name}"
        );
    }
    look(b, "settings");
    b.go(&format!("{base}/desk/language/es"));
    b.go(&format!("{base}/desk/settings"));
    assert!(b.text().contains("Competidores separados en"), "{}", b.text());
    look(b, "ajustes");
    b.go(&format!("{base}/desk/flights/kettle"));
    assert!(b.text().contains("Para un oyente, como mucho"), "{}", b.text());
    look(b, "cambiar-linea");
    b.go(&format!("{base}/desk/language/en"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_runs_a_campaign_without_a_script() {
    let s = Setup::new(&toml(
        &[("kettle", "a.mp3"), ("boots", "b.wav")],
        "budget = 500\nname = \"Spring <i>&</i> summer\"",
        "start = 2026-06-01\nend = 2026-06-30\ngoal = 40\nname = \"June\"",
    ))
    .await;
    for n in 0..14 {
        let ad = s.vast(&format!("show=harbour&break={n}")).await.0.remove(0);
        let basis = ["delivered", "played"][n % 2];
        for event in [
            "impression",
            "start",
            "firstQuartile",
            "midpoint",
            "thirdQuartile",
            "complete",
        ] {
            assert_eq!(s.status(&ad.beacon(event, basis)).await, 204);
        }
        if n % 3 == 2 {
            s.clock.advance(86_400_000);
        }
    }
    let (base, token) = (s.server.url(), s.token.clone());
    let sine = s.dir.path().join("sine.wav");
    std::fs::write(&sine, common::wav(2)).unwrap();
    let pages = tokio::task::spawn_blocking(move || {
        let mut b = Browser::start();
        b.go(&format!("{base}/"));
        assert_eq!(b.ask("location.pathname"), "/desk/login", "not without a token");
        look(&mut b, "login");
        b.ask("document.querySelector('input[name=token]').value = 'wrong'; 0");
        b.follow("document.querySelector('main form').submit()");
        assert!(b.text().contains("That token is not known."));
        b.ask(&format!(
            "document.querySelector('input[name=token]').value = {token:?}; 0"
        ));
        b.follow("document.querySelector('main form').submit()");
        assert_eq!(b.ask("location.pathname"), "/desk");
        assert_eq!(
            b.ask("document.cookie.includes('grove_desk')"),
            false,
            "not for scripts"
        );
        let text = b.text();
        assert!(
            text.contains("Spring <i>&</i> summer"),
            "as it was written: {text}"
        );
        assert_eq!(b.ask("document.querySelectorAll('main i').length"), 0);
        assert!(text.contains("7 / 40"), "{text}");
        assert_eq!(b.ask("document.querySelectorAll('.chart rect').length"), 10);
        look(&mut b, "overview");
        b.follow("document.querySelector('.card h3 a').click()");
        look(&mut b, "campaign");
        // An upload, and what was measured.
        b.choose("input[type=file]", &sine);
        b.ask("document.querySelector('.upload input[name=title]').value = 'A sine'; 0");
        b.follow("document.querySelector('.upload').submit()");
        let text = b.text();
        assert!(
            text.contains("A sine") && text.contains("-12.7 LUFS") && text.contains("2.0 s"),
            "{text}"
        );
        assert!(
            b.ask("[...document.querySelectorAll('audio')].at(-1).controls")
                .as_bool()
                .unwrap()
        );
        look(&mut b, "creatives");
        b.follow("document.querySelector('form[action$=pause]').submit()");
        assert!(b.text().contains("Paused"));
        edit(&mut b, &base);
        b.go(&format!("{base}/desk/reports?from=2026-06-01&to=2026-06-30"));
        look(&mut b, "reports");
        let text = b.text();
        assert!(text.contains("2026-06-16") && text.contains("harbour"), "{text}");
        b.follow("document.querySelector('header a[lang=es]').click()");
        assert_eq!(
            b.ask("location.pathname + location.search"),
            "/desk/reports?from=2026-06-01&to=2026-06-30",
            "in the other language where one was"
        );
        let spanish = b.text();
        assert!(
            spanish.contains("Por programa") && spanish.contains("Cobertura"),
            "{spanish}"
        );
        assert_eq!(b.ask("document.documentElement.lang"), "es");
        look(&mut b, "informes");
        b.size(420, 900);
        b.go(&format!("{base}/desk"));
        look(&mut b, "narrow");
        assert!(!b.ask("location.href").as_str().unwrap().contains(&token));
    });
    pages.await.unwrap();
    s.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_of_other_pages_and_other_peoples_campaigns_are_refused() {
    let s = Setup::new(&toml(&[("a", "a.mp3"), ("b", "b.wav")], "", "")).await;
    s.token("of b", Role::Advertiser, Some("b")).await;
    let http = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let url = |path: &str| format!("{}{path}", s.server.url());
    let post = async |path: &str, cookie: &str, body: String, site: &str| {
        let request = http
            .post(url(path))
            .header("Cookie", cookie)
            .header("Sec-Fetch-Site", site)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(body);
        request.send().await.unwrap()
    };
    let log_in = async |token: &str| {
        let answer = post(
            "/desk/login",
            "",
            format!("token={}", token.replace(' ', "+")),
            "same-origin",
        )
        .await;
        assert_eq!(answer.status(), 303);
        let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
        assert!(
            cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
            "{cookie}"
        );
        assert!(!cookie.contains(token));
        cookie.split(';').next().unwrap().to_owned()
    };
    let word = async |cookie: &str| {
        let page = http
            .get(url("/desk"))
            .header("Cookie", cookie)
            .send()
            .await
            .unwrap();
        assert!(
            page.headers()["content-security-policy"]
                .to_str()
                .unwrap()
                .starts_with("default-src 'none'")
        );
        let page = page.text().await.unwrap();
        page.split("name=\"word\" value=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .to_owned()
    };
    let mine = log_in("of b").await;
    let admin = log_in(&s.token).await;
    let (my_word, admin_word) = (word(&mine).await, word(&admin).await);
    let pause = |word: &str| format!("word={word}&paused=yes");
    let archive = |word: &str| format!("word={word}&archived=yes");
    for (path, cookie, body, site, status) in [
        (
            "/desk/flights/b/pause",
            &mine,
            pause(&my_word),
            "same-origin",
            303,
        ),
        ("/desk/flights/b/pause", &mine, pause("guess"), "same-origin", 403),
        (
            "/desk/flights/b/pause",
            &mine,
            pause(&admin_word),
            "same-origin",
            403,
        ),
        ("/desk/flights/b/pause", &mine, pause(&my_word), "cross-site", 403),
        (
            "/desk/flights/a/pause",
            &mine,
            pause(&my_word),
            "same-origin",
            403,
        ),
        (
            "/desk/flights/a/pause",
            &admin,
            pause(&admin_word),
            "same-origin",
            303,
        ),
        (
            "/desk/campaigns/a/archive",
            &mine,
            archive(&my_word),
            "same-origin",
            403,
        ),
        (
            "/desk/campaigns/b/archive",
            &mine,
            archive("guess"),
            "same-origin",
            403,
        ),
        (
            "/desk/campaigns/b/archive",
            &mine,
            archive(&my_word),
            "cross-site",
            403,
        ),
        (
            "/desk/creatives/a/archive",
            &mine,
            archive(&my_word),
            "same-origin",
            403,
        ),
        (
            "/desk/creatives/b/archive",
            &mine,
            archive(&my_word),
            "same-origin",
            303,
        ),
        (
            "/desk/publishers",
            &mine,
            format!("word={my_word}&id=p&name=P&share=1"),
            "same-origin",
            403,
        ),
        (
            "/desk/advertisers",
            &mine,
            format!("word={my_word}&id=b&name=B&domain=&category="),
            "same-origin",
            403,
        ),
        (
            "/desk/advertisers",
            &admin,
            format!("word={admin_word}&id=b&name=B&domain=&category="),
            "same-origin",
            303,
        ),
    ] {
        let answer = post(path, cookie, body.clone(), site).await;
        assert_eq!(answer.status(), status, "{path} {body} {site}");
    }
    let page = async |cookie: &str, path: &str| {
        let answer = http.get(url(path)).header("Cookie", cookie).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(page(&mine, "/desk/campaigns/b").await.0, 200);
    assert_eq!(page(&mine, "/desk/campaigns/a").await.0, 404);
    assert_eq!(page(&mine, "/desk/flights/a").await.0, 403);
    assert_eq!(page(&mine, "/desk/creatives/a").await.0, 403);
    assert!(
        page(&mine, "/desk/settings")
            .await
            .1
            .contains("There is nothing here")
    );
    assert!(!page(&mine, "/desk/creatives").await.1.contains("<td>a</td>"));
    // A cookie that was changed, and one that is too old.
    assert_eq!(page(&format!("{mine}0"), "/desk").await.0, 303);
    s.clock.advance(12 * 3_600_000);
    assert_eq!(page(&mine, "/desk").await.0, 303);
    s.server.stop().await.unwrap();
}
