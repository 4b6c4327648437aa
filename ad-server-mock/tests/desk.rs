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
        b.go(&format!("{base}/desk"));
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
        b.go(&format!("{base}/desk/reports?from=2026-06-01&to=2026-06-30"));
        look(&mut b, "reports");
        let text = b.text();
        assert!(text.contains("2026-06-16") && text.contains("harbour"), "{text}");
        b.go(&format!("{base}/desk/language/es"));
        b.go(&format!("{base}/desk/reports?from=2026-06-01&to=2026-06-30"));
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
    assert!(!page(&mine, "/desk/creatives").await.1.contains("<td>a</td>"));
    // A cookie that was changed, and one that is too old.
    assert_eq!(page(&format!("{mine}0"), "/desk").await.0, 303);
    s.clock.advance(12 * 3_600_000);
    assert_eq!(page(&mine, "/desk").await.0, 303);
    s.server.stop().await.unwrap();
}
