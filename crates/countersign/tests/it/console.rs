//! The console as its protocol shows it, without a browser: who gets in, what a session is worth, and
//! what another site, another session or an earlier moment may not have it do.

use crate::gateway::{Company, Gateway, Who};
use crate::oidc::{Provider, company};
use crate::people::PAID;
use crate::server::free_port;
use reqwest::header::{COOKIE, HeaderMap, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const WHO: Who<'_> =
    Who { agent: "support-copilot", tenant: "acct_alpha", session: "console", depots: &[] };
const SESSION: &str = "countersign-session";
const SIGN_IN: &str = "countersign-sign-in";

/// What an answer was.
pub(crate) struct Page {
    status: StatusCode,
    headers: HeaderMap,
    pub(crate) text: String,
}

impl Page {
    fn location(&self) -> String {
        self.headers[LOCATION].to_str().unwrap().to_owned()
    }

    /// The value of a hidden field.
    fn field(&self, name: &str) -> String {
        let mark = format!("name=\"{name}\" value=\"");
        let rest =
            self.text.split(&mark).nth(1).unwrap_or_else(|| panic!("no {name}: {}", self.text));
        rest.split('"').next().unwrap().to_owned()
    }

    fn cookie(&self, name: &str) -> Option<String> {
        let cookies = self.headers.get_all(SET_COOKIE).iter().map(|c| c.to_str().unwrap());
        cookies.rev().find(|cookie| cookie.starts_with(&format!("{name}="))).map(str::to_owned)
    }
}

/// As much of a browser as cookies are.
pub(crate) struct Browser {
    http: Client,
    url: String,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    fn at(url: &str) -> Self {
        let http = Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
        Self { http, url: url.to_owned(), cookies: BTreeMap::new() }
    }

    async fn sent(&mut self, request: reqwest::RequestBuilder) -> Page {
        let cookies: Vec<_> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let answer = request.header(COOKIE, cookies.join("; ")).send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        for cookie in headers.get_all(SET_COOKIE) {
            let (name, value) =
                cookie.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        Page { status, headers, text: answer.text().await.unwrap() }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Page {
        let at =
            if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.url) };
        let request = self.http.get(at);
        self.sent(request).await
    }

    /// A form as a page of the console sends it.
    async fn post(&mut self, path: &str, form: &[(&str, &str)]) -> Page {
        let request = self.http.post(format!("{}{path}", self.url));
        let request = request.header(ORIGIN, self.url.clone()).form(form);
        self.sent(request).await
    }

    /// Is somebody made up.
    async fn be(
        &mut self,
        person: &str,
        groups: &str,
        tenants: &str,
        more: &[(&str, &str)],
    ) -> Page {
        let mut form = vec![("person", person), ("groups", groups), ("tenants", tenants)];
        form.extend(more);
        self.post("/console/made-up", &form).await
    }
}

pub(crate) async fn signed_in(gateway: &Gateway, person: &str, groups: &str) -> Browser {
    let mut browser = Browser::at(&gateway.url);
    let entered = browser.be(person, groups, "", &[]).await;
    assert_eq!(entered.status, StatusCode::SEE_OTHER, "{}", entered.text);
    browser
}

/// The example company at the address that it says it has.
pub(crate) fn at_home(company: Company) -> (Company, Gateway) {
    let port = free_port();
    company
        .edit("countersign.yaml", |text| text.replace("127.0.0.1:0", &format!("127.0.0.1:{port}")));
    let gateway = company.serve();
    (company, gateway)
}

async fn drafted(gateway: &Gateway, invoice: &str) -> String {
    refund(gateway, &gateway.token(WHO).await, invoice).await
}

async fn refund(gateway: &Gateway, token: &str, invoice: &str) -> String {
    let arguments = json!({"invoice_id": invoice, "amount_cents": 500, "note": "It came late."});
    let answer = gateway.call(token, "refund_invoice", arguments).await;
    answer["error"]["reference"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

fn made_up() -> (Company, Gateway) {
    let company = Company::new();
    company.lift_limits();
    at_home(company)
}

#[tokio::test]
async fn a_draft_is_decided_once_by_whoever_may_and_each_other_is_told_why_not() {
    let (_company, gateway) = made_up();
    let draft = drafted(&gateway, PAID[0]).await;
    let page = format!("/console/drafts/{draft}");
    // Nobody, somebody of no group, a member of another tenant: there is nothing to see.
    let mut nobody = Browser::at(&gateway.url);
    let sent_away = nobody.get(&page).await;
    assert_eq!(sent_away.status, StatusCode::SEE_OTHER);
    assert!(sent_away.location().starts_with("/console/sign-in?back=%2Fconsole%2Fdrafts%2Fdrf_"));
    for (person, groups, tenants) in
        [("eve@acme.example", "", ""), ("sam@acme.example", "", "acct_bravo")]
    {
        let mut browser = Browser::at(&gateway.url);
        browser.be(person, groups, tenants, &[]).await;
        let seen = browser.get(&page).await;
        assert_eq!(seen.status, StatusCode::NOT_FOUND, "{person}: {}", seen.text);
        assert!(!browser.get("/console/drafts?view=all").await.text.contains(&draft));
        let form = browser.get("/console/drafts").await.field("form");
        let form = [("form", form.as_str()), ("draft", &draft), ("decision", "approve")];
        assert_eq!(
            browser.post("/console/drafts/decide", &form).await.status,
            StatusCode::NOT_FOUND
        );
    }
    // The one on whose behalf it was asked for sees it and may not agree to it, named or not.
    let body = json!({"agent": WHO.agent, "tenant": WHO.tenant, "user": "lee@acme.example"});
    let of_lee = refund(&gateway, &gateway.person(body).await, PAID[1]).await;
    let both = [("ann", "", &draft), ("lee@acme.example", "finance", &of_lee)];
    for (person, groups, own) in both {
        let mut browser = signed_in(&gateway, person, groups).await;
        let seen = browser.get(&format!("/console/drafts/{own}")).await;
        let why = ["You are not one of its approvers", "asked for on your own behalf"];
        assert!(why.iter().any(|why| seen.text.contains(why)), "{person}: {}", seen.text);
        assert!(!seen.text.contains("value=\"approve\""), "{person}");
        let form = seen.field("form");
        let form = [("form", form.as_str()), ("draft", own), ("decision", "approve")];
        let refused = browser.post("/console/drafts/decide", &form).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{person}");
    }
    // A sign-in of an hour ago is not fresh enough.
    let mut stale = Browser::at(&gateway.url);
    stale.be("sam@acme.example", "finance", "", &[("stale", "true")]).await;
    let seen = stale.get(&page).await;
    assert!(
        seen.text.contains("Sign in again to approve") && !seen.text.contains("value=\"approve\"")
    );
    let form = seen.field("form");
    let form = [("form", form.as_str()), ("draft", &draft), ("decision", "approve")];
    assert_eq!(stale.post("/console/drafts/decide", &form).await.status, StatusCode::UNAUTHORIZED);
    // Two tabs: one decides, the other is told.
    let mut sam = signed_in(&gateway, "sam@acme.example", "finance").await;
    let seen = sam.get(&page).await;
    assert!(seen.text.contains("It came late.") && seen.text.contains("value=\"approve\""));
    let form = seen.field("form");
    let form = [("form", form.as_str()), ("draft", &draft), ("decision", "approve")];
    let decided = sam.post("/console/drafts/decide", &form).await;
    assert_eq!((decided.status, decided.location()), (StatusCode::SEE_OTHER, page.clone()));
    let again = sam.post("/console/drafts/decide", &form).await;
    assert_eq!(again.status, StatusCode::CONFLICT, "{}", again.text);
    let after = sam.get(&page).await;
    assert!(
        after.text.contains("by sam@acme.example") && !after.text.contains("value=\"approve\"")
    );
    gateway.stop();
}

#[tokio::test]
async fn a_form_counts_only_from_its_own_session_and_its_own_pages() {
    let (company, gateway) = made_up();
    let draft = drafted(&gateway, PAID[0]).await;
    let mut sam = signed_in(&gateway, "sam@acme.example", "finance").await;
    let mut lee = signed_in(&gateway, "lee@acme.example", "finance").await;
    let theirs = lee.get("/console/drafts").await.field("form");
    let own = sam.get("/console/drafts").await.field("form");
    for form in ["", "made-up", theirs.as_str()] {
        for (path, more) in [
            ("/console/drafts/decide", ("decision", "approve")),
            ("/console/drafts/decide", ("decision", "reject")),
            ("/console/switches/suspend", ("kind", "everything")),
            ("/console/drafts/absence", ("to", "kim@acme.example")),
            ("/console/drafts/absence/end", ("delegation", "dlg_x")),
            ("/console/sign-out", ("x", "")),
        ] {
            let form = [("form", form), ("draft", &draft), ("reason", "no"), more];
            let refused = sam.post(path, &form).await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}: {}", refused.text);
        }
    }
    // Twice the right value is not the right value.
    let form = [("form", own.as_str()), ("form", &own), ("draft", &draft), ("decision", "approve")];
    assert_eq!(sam.post("/console/drafts/decide", &form).await.status, StatusCode::FORBIDDEN);
    // Another site's page, and one that hides whose it is.
    let form = [("form", own.as_str()), ("draft", &draft), ("decision", "approve")];
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        for path in ["/console/drafts/decide", "/console/made-up"] {
            let request =
                sam.http.post(format!("{}{path}", sam.url)).header(ORIGIN, origin).form(&form);
            assert_eq!(sam.sent(request).await.status, StatusCode::FORBIDDEN, "{origin} {path}");
        }
    }
    assert_eq!(company.records(&["--kind", "draft_approved"], 0).len(), 0);
    assert_eq!(company.records(&["--kind", "suspended"], 0).len(), 0);
    assert_eq!(company.records(&["--kind", "delegated"], 0).len(), 0);
    // With all of it right, it is done.
    assert_eq!(sam.post("/console/drafts/decide", &form).await.status, StatusCode::SEE_OTHER);
    assert_eq!(company.records(&["--kind", "draft_approved"], 1).len(), 1);
    gateway.stop();
}

#[tokio::test]
async fn somebody_lets_another_stand_in_and_is_back_and_pages_say_so() {
    const HERE: &str = "/console/drafts/absence";
    let (company, gateway) = made_up();
    let draft = drafted(&gateway, PAID[0]).await;
    let other = drafted(&gateway, PAID[1]).await;
    let mut sam = signed_in(&gateway, "sam@acme.example", "finance").await;
    let mut kim = signed_in(&gateway, "kim@acme.example", "finance").await;
    assert!(sam.get("/console/drafts").await.text.contains(HERE), "the way there");
    // Whom no gate names is told what to do; who is named has a form, and those to choose from.
    let page = kim.get(HERE).await.text;
    assert!(page.contains("Nobody is away") && page.contains("delegates"), "{page}");
    assert!(!page.contains("name=\"to\""), "{page}");
    let page = sam.get(HERE).await;
    assert!(page.text.contains("<option>kim@acme.example</option>"), "{}", page.text);
    let (first, last, beyond) = (day_in(1), day_in(30), day_in(31));
    assert!(page.text.contains(&format!("min=\"{first}\" max=\"{last}\"")), "{}", page.text);
    let form = page.field("form");
    let asks = |to, back| [("form", form.as_str()), ("to", to), ("back", back)];
    for (to, back, status) in [
        ("kim@acme.example", "", StatusCode::BAD_REQUEST),
        ("kim@acme.example", "2020-01-01", StatusCode::BAD_REQUEST),
        ("kim@acme.example", &beyond, StatusCode::BAD_REQUEST),
        ("eve@acme.example", &first, StatusCode::FORBIDDEN),
    ] {
        assert_eq!(sam.post(HERE, &asks(to, back)).await.status, status, "{to} {back}");
    }
    let let_in = sam.post(HERE, &asks("kim@acme.example", &last)).await;
    assert_eq!((let_in.status, let_in.location()), (StatusCode::SEE_OTHER, HERE.to_owned()));
    let page = sam.get(HERE).await;
    assert!(page.text.contains("stands in for") && page.text.contains("I am back"));
    let delegation = page.field("delegation");
    // She sees what he would, and decides it in his stead.
    let path = format!("/console/drafts/{draft}");
    let seen = kim.get(&path).await.text;
    assert!(seen.contains("or kim@acme.example, in the stead of sam@acme.example"), "{seen}");
    assert!(!kim.get(HERE).await.text.contains("I am back"), "his to end, and operators'");
    let hers = kim.get("/console/drafts").await.field("form");
    let decide = |draft: &str| {
        [("form", hers.clone()), ("draft", draft.to_owned()), ("decision", "reject".to_owned())]
    };
    let decided = decide(&draft);
    let mut decided: Vec<_> = decided.iter().map(|(k, v)| (*k, v.as_str())).collect();
    decided.push(("reason", "Not for this."));
    assert_eq!(kim.post("/console/drafts/decide", &decided).await.status, StatusCode::SEE_OTHER);
    let after = sam.get(&path).await.text;
    assert!(after.contains("by kim@acme.example in the stead of sam@acme.example"), "{after}");
    let back = [("form", form.as_str()), ("delegation", delegation.as_str())];
    let ended = sam.post(&format!("{HERE}/end"), &back).await;
    assert_eq!(ended.status, StatusCode::SEE_OTHER);
    assert_eq!(sam.post(&format!("{HERE}/end"), &back).await.status, StatusCode::NOT_FOUND);
    assert_eq!(kim.get(&format!("/console/drafts/{other}")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(company.records(&["--kind", "delegated"], 1).len(), 1);
    gateway.stop();
    company.says(&["audit", "verify", "."]);
}

/// Whoever has not signed in is answered at once, whatever body they say is coming, and what they hold
/// keeps nobody out.
#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for_before_a_sign_in() {
    let (_company, gateway) = made_up();
    let host = gateway.url.trim_start_matches("http://").to_owned();
    let mut held = Vec::new();
    for path in ["/console/sign-out", "/console/signed-out", "/console/drafts/decide"] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 99\r\n\r\n");
        let mut stream = TcpStream::connect(&host).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        let read = stream.read_exact(&mut answer);
        tokio::time::timeout(Duration::from_secs(60), read).await.expect(path).unwrap();
        assert_eq!(&answer[..9], b"HTTP/1.1 ");
        assert_ne!(&answer[9..], b"408", "it gave up on the body: {path}");
        held.push(stream);
    }
    gateway.stop();
}

#[tokio::test]
async fn one_session_keeps_a_few_pages_up_to_date_and_others_have_their_own() {
    let (_company, gateway) = made_up();
    let one = signed_in(&gateway, "ada@acme.example", "audit").await;
    let other = signed_in(&gateway, "sam@acme.example", "finance").await;
    let events = async |browser: &Browser| {
        let cookies: Vec<_> = browser.cookies.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let request = browser.http.get(format!("{}/console/events", browser.url));
        request.header(COOKIE, cookies.join("; ")).send().await.unwrap()
    };
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(events(&one).await);
    }
    assert!(open.iter().all(|stream| stream.status() == StatusCode::OK));
    assert_eq!(events(&one).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(events(&other).await.status(), StatusCode::OK);
    gateway.kill();
}

/// What happens between the making of a page and its first listening is told as well.
#[tokio::test]
async fn a_page_hears_of_what_happened_before_it_listened() {
    let (_company, gateway) = made_up();
    let mut sam = signed_in(&gateway, "sam@acme.example", "finance").await;
    let live = async |sam: &mut Browser| {
        let page = sam.get("/console/drafts").await.text;
        page.split("data-live=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let listening = async |sam: &Browser, at: &str| {
        let cookie = format!("{SESSION}={}", sam.cookies[SESSION]);
        let request = sam.http.get(format!("{}{at}", sam.url)).header(COOKIE, cookie);
        request.send().await.unwrap()
    };
    let before = live(&mut sam).await;
    drafted(&gateway, PAID[0]).await;
    let after = live(&mut sam).await;
    let mut stale = listening(&sam, &before).await;
    let mut fresh = listening(&sam, &after).await;
    let told = tokio::time::timeout(Duration::from_secs(60), stale.chunk()).await;
    let told = told.expect("it is told").unwrap().unwrap();
    assert!(told.starts_with(b"event: drafts\n"), "{told:?}");
    // A page that has it all is told of nothing, in the time of three looks.
    let told = tokio::time::timeout(Duration::from_secs(3), fresh.chunk()).await;
    assert!(told.is_err(), "{told:?}");
    gateway.kill();
}

/// A day that is to come, in UTC.
fn day_in(days: u64) -> String {
    crate::people::in_s(days * 86_400).split('T').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_session_is_a_new_cookie_that_nobody_else_makes_and_that_ends() {
    let (_company, gateway) = made_up();
    // A planted cookie is no session, before or after somebody signs in with it there.
    let mut sam = Browser::at(&gateway.url);
    sam.cookies.insert(SESSION.to_owned(), "planted".to_owned());
    assert_eq!(sam.get("/console/drafts").await.status, StatusCode::SEE_OTHER);
    let entered = sam.be("sam@acme.example", "finance", "", &[]).await;
    let cookie = entered.cookie(SESSION).unwrap();
    for part in ["; HttpOnly", "; SameSite=Lax", "; Path=/", "; Max-Age=28800"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    let first = sam.cookies[SESSION].clone();
    assert!(first.len() >= 43 && first != "planted");
    let mut thief = Browser::at(&gateway.url);
    thief.cookies.insert(SESSION.to_owned(), "planted".to_owned());
    assert_eq!(thief.get("/console/drafts").await.status, StatusCode::SEE_OTHER);
    // Signing in once more ends the one before.
    sam.be("sam@acme.example", "finance", "", &[]).await;
    thief.cookies.insert(SESSION.to_owned(), first);
    assert_eq!(thief.get("/console/drafts").await.status, StatusCode::SEE_OTHER);
    // Two cookies of that name are none: another site of the domain may have set one.
    let second = sam.cookies[SESSION].clone();
    let request = sam.http.get(format!("{}/console/drafts", sam.url));
    let two =
        request.header(COOKIE, format!("{SESSION}={second}; {SESSION}=x")).send().await.unwrap();
    assert_eq!(two.status(), StatusCode::SEE_OTHER);
    // It is no token for anything else, and an agent's token is no session.
    let agent = gateway.token(WHO).await;
    for (path, token) in [("/admin/v1/me", &second), ("/admin/v1/me", &agent)] {
        let asked = gateway.http.get(format!("{}{path}", gateway.url)).bearer_auth(token).send();
        assert_eq!(asked.await.unwrap().status(), StatusCode::UNAUTHORIZED);
    }
    thief.cookies.insert(SESSION.to_owned(), agent);
    assert_eq!(thief.get("/console/drafts").await.status, StatusCode::SEE_OTHER);
    // Signed out, the cookie that somebody kept is worth nothing.
    let form = sam.get("/console/drafts").await.field("form");
    let out = sam.post("/console/sign-out", &[("form", &form)]).await;
    assert_eq!(out.location(), "/console/signed-out");
    assert!(out.headers.contains_key("clear-site-data"));
    thief.cookies.insert(SESSION.to_owned(), second);
    assert_eq!(thief.get("/console/drafts").await.status, StatusCode::SEE_OTHER);
    let ended =
        thief.post("/console/drafts/decide", &[("form", &form), ("decision", "approve")]).await;
    assert_eq!(ended.status, StatusCode::UNAUTHORIZED);
    gateway.stop();
}

/// It names lists and bounds that are about everybody's data.
#[tokio::test]
async fn what_agents_may_reach_is_for_those_who_may_see_everybodys_data() {
    let company = Company::new();
    company.edit("countersign.yaml", |text| {
        text.replace("[operations, finance, support-leads, audit]", "[finance]")
    });
    let (company, gateway) = at_home(company);
    let mut ada = signed_in(&gateway, "ada@acme.example", "finance,operations").await;
    let page = ada.get("/console/reach").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    assert!(ada.get("/console/drafts").await.text.contains("href=\"/console/reach\""));
    let set = company.says(&["posture", "show", ".", "--format", "json"]);
    let set: serde_json::Value = serde_json::from_str(&set).unwrap();
    assert!(page.text.contains(set["posture"].as_str().unwrap()));
    for agent in set["agents"].as_array().unwrap() {
        for tool in agent["tools"].as_array().unwrap() {
            let name = tool["tool"].as_str().unwrap();
            assert!(page.text.contains(&format!(">{name}</text>")), "{name} is not drawn");
            assert!(page.text.contains(&format!("<td>{name}</td>")), "{name} has no row");
        }
    }
    for (person, groups, tenants) in [
        ("eve@acme.example", "", ""),
        ("sam@acme.example", "finance", ""),
        ("bea@acme.example", "operations", "acct_bravo"),
        ("cy@acme.example", "audit,operations", "acct_alpha,acct_bravo"),
    ] {
        let mut browser = Browser::at(&gateway.url);
        browser.be(person, groups, tenants, &[]).await;
        let page = browser.get("/console/reach").await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{person}");
        assert!(!page.text.contains("refund_invoice") && !page.text.contains("<svg"), "{person}");
        assert!(!page.text.contains("href=\"/console/reach\""), "{person}");
    }
    gateway.stop();
}

#[tokio::test]
async fn every_page_says_what_a_browser_may_do_with_it_and_no_other_site_frames_it() {
    let (_company, gateway) = made_up();
    let draft = drafted(&gateway, PAID[0]).await;
    let mut all =
        signed_in(&gateway, "sam@acme.example", "finance,operations,audit,support-leads").await;
    let pages = [
        "/console/drafts",
        "/console/drafts?view=all",
        "/console/drafts?view=done",
        "/console/drafts/absence",
        "/console/activity",
        "/console/alerts",
        "/console/unknown",
        "/console/agents",
        "/console/agents/support-copilot",
        "/console/reach",
        "/console/switches",
        "/console/charts",
        "/console/audit",
        "/console/audit/export",
        "/console/made-up",
        "/console/signed-out",
        "/console/drafts/none",
        "/console/drafts?view=x",
        "/console/calls/none",
        "/console/assets/console.js",
    ];
    let whole = format!("/console/drafts/{draft}");
    for path in pages.into_iter().chain([whole.as_str()]) {
        let page = all.get(path).await;
        let header =
            |name: &str| page.headers.get(name).map_or("", |value| value.to_str().unwrap());
        let policy = header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(header("x-frame-options"), "DENY", "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("referrer-policy"), "same-origin", "{path}");
        assert_eq!(header("cross-origin-opener-policy"), "same-origin", "{path}");
        assert_eq!(header("cross-origin-resource-policy"), "same-origin", "{path}");
        let kept = header("cache-control");
        assert!(kept.contains("no-store") || path.contains("/assets/"), "{path}: {kept}");
        assert!(!page.status.is_server_error(), "{path}: {}", page.status);
        for inline in ["<style", "style=\"", "onclick", "javascript:", "http://", "https://"] {
            let own = page.text.replace("http://www.w3.org/2000/svg", "").replace(&gateway.url, "");
            assert!(
                path.contains("/assets/") || path.contains("export") || !own.contains(inline),
                "{path}: {inline}"
            );
        }
    }
    gateway.stop();
}

#[tokio::test]
async fn whoever_signs_in_is_led_to_a_page_of_the_console_and_nowhere_else() {
    let (_company, gateway) = made_up();
    let outside = [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "\\\\evil.example",
        "/console//evil.example",
        "/console/../v1/tools",
        "/console/%2e%2e/v1",
        "javascript:alert(1)",
        "/console/\r\nSet-Cookie: a=b",
        "/v1/tools",
        "/consolex",
        "http://127.0.0.1:1/console/drafts",
        "/\t/evil.example",
        "@evil.example/console/",
    ];
    for back in outside {
        let mut browser = Browser::at(&gateway.url);
        let entered = browser.be("sam@acme.example", "finance", "", &[("back", back)]).await;
        let to = entered.location();
        let to = Url::parse(&gateway.url).unwrap().join(&to).unwrap();
        assert!(
            to.as_str().starts_with(&format!("{}/console/", gateway.url)),
            "{back:?} led to {to}"
        );
        assert!(entered.cookie("a").is_none());
    }
    let mut browser = Browser::at(&gateway.url);
    let inside = [("back", "/console/activity?agent=x&outcome=ok")];
    let entered = browser.be("sam@acme.example", "finance", "", &inside).await;
    assert_eq!(entered.location(), "/console/activity?agent=x&outcome=ok");
    gateway.stop();
}

/// Goes where the provider leads until that is the console again.
async fn at_the_provider(browser: &mut Browser, from: String) -> String {
    let mut at = Url::parse(&from).unwrap();
    for _hop in 0..12 {
        let page = browser.get(at.as_str()).await;
        at = at.join(&page.location()).unwrap();
        if at.path() == "/console/signed-in" {
            return at.to_string();
        }
    }
    panic!("it goes on for ever: {at}");
}

#[tokio::test]
async fn somebody_signs_in_by_the_companys_provider_and_each_sign_in_comes_back_once() {
    let provider = Provider::start();
    let (_company, gateway) = at_home(company(&[&provider], ""));
    let mut sam = Browser::at(&gateway.url);
    let begun = sam.get("/console/sign-in?back=/console/drafts%3Fview%3Dall").await;
    let asked = Url::parse(&begun.location()).unwrap();
    let says =
        |name: &str| asked.query_pairs().find(|(key, _)| key == name).map(|(_, v)| v.into_owned());
    assert!(asked.as_str().starts_with(&provider.issuer));
    assert_eq!(says("code_challenge_method").unwrap(), "S256");
    assert!(says("state").unwrap().len() >= 43 && says("nonce").unwrap().len() >= 43);
    assert_eq!(says("redirect_uri").unwrap(), format!("{}/console/signed-in", gateway.url));
    let attempt = begun.cookie(SIGN_IN).unwrap();
    assert!(attempt.contains("; HttpOnly") && attempt.contains("; SameSite=Lax"), "{attempt}");
    let fresh = sam.get("/console/sign-in?fresh=true").await.location();
    assert!(fresh.contains("prompt=login") && fresh.contains("max_age=0"), "{fresh}");
    let begun = sam.get("/console/sign-in?back=/console/drafts%3Fview%3Dall").await;
    let back = at_the_provider(&mut sam, begun.location()).await;
    // Another browser, without the cookie or with its own, and another issuer's answer.
    let mut eve = Browser::at(&gateway.url);
    assert_eq!(eve.get(&back).await.status, StatusCode::UNAUTHORIZED);
    eve.get("/console/sign-in").await;
    assert_eq!(eve.get(&back).await.status, StatusCode::UNAUTHORIZED);
    assert!(eve.cookies.get(SESSION).is_none_or(String::is_empty));
    let entered = sam.get(&back).await;
    assert_eq!(
        (entered.status, entered.location()),
        (StatusCode::SEE_OTHER, "/console/drafts?view=all".to_owned()),
        "{}",
        entered.text
    );
    let session = sam.cookies[SESSION].clone();
    assert!(sam.get("/console/drafts").await.text.contains("sam@acme.example"));
    // The answer once more, with the cookie that was there then.
    sam.cookies.insert(SIGN_IN.to_owned(), attempt.split(['=', ';']).nth(1).unwrap().to_owned());
    assert_eq!(sam.get(&back).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(sam.cookies[SESSION], session);
    // One that says that another provider answered, and one that the provider refused.
    let begun = sam.get("/console/sign-in").await;
    let back = at_the_provider(&mut sam, begun.location()).await;
    let other = back.replace(
        &provider.issuer.replace(':', "%3A").replace('/', "%2F"),
        "https%3A%2F%2Fevil.example",
    );
    assert_ne!(other, back, "the provider says who it is");
    assert_eq!(sam.get(&other).await.status, StatusCode::UNAUTHORIZED);
    let begun = sam.get("/console/sign-in").await;
    let state = Url::parse(&begun.location()).unwrap();
    let state = state.query_pairs().find(|(key, _)| key == "state").unwrap().1.into_owned();
    let denied = sam.get(&format!("/console/signed-in?error=access_denied&state={state}")).await;
    assert_eq!(denied.status, StatusCode::UNAUTHORIZED);
    assert!(!denied.text.contains("access_denied"));
    // Nobody is made up where people sign in.
    assert_eq!(sam.get("/console/made-up").await.status, StatusCode::NOT_FOUND);
    assert_eq!(sam.be("eve", "finance", "", &[]).await.status, StatusCode::NOT_FOUND);
    gateway.stop();
}
