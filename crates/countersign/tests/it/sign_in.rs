//! `countersign login` against a real OpenID provider: the code flow with PKCE, back to loopback.

use crate::gateway::{Company, Gateway};
use crate::oidc::{Provider, company};
use reqwest::Url;
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};

/// A `login` that waits for a browser.
struct Login {
    child: Child,
    stderr: BufReader<ChildStderr>,
    url: Url,
}

impl Login {
    fn start(company: &Company, gateway: &Gateway, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["login", "--no-browser", "--gateway", &gateway.url])
            .args(more)
            .env("XDG_CONFIG_HOME", company.path().join("config"))
            .env_remove("COUNTERSIGN_TOKEN")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.trim_start().starts_with("http") {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended without an address");
        }
        let url = Url::parse(line.trim()).unwrap();
        Self { child, stderr, url }
    }

    fn member(&self, name: &str) -> String {
        let mut pairs = self.url.query_pairs();
        let found = pairs.find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned()).unwrap_or_default()
    }

    /// How it ended, and what it said.
    fn ended(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        self.stderr.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

/// A browser that goes where it is sent until it would come back to this machine's `login`.
async fn browse(from: Url) -> Url {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let mut cookies = BTreeMap::new();
    let mut at = from;
    for _hop in 0..12 {
        let sent: Vec<_> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let answer = client.get(at.clone()).header(COOKIE, sent.join("; ")).send().await.unwrap();
        for cookie in answer.headers().get_all(SET_COOKIE) {
            let cookie = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = cookie.split_once('=').unwrap();
            cookies.insert(name.to_owned(), value.to_owned());
        }
        let Some(location) = answer.headers().get(LOCATION) else {
            panic!("{at} leads nowhere: {}", answer.text().await.unwrap());
        };
        at = at.join(location.to_str().unwrap()).unwrap();
        if at.path() == "/callback" {
            return at;
        }
    }
    panic!("it goes on for ever: {at}");
}

async fn get(url: Url) -> u16 {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.get(url).send().await.unwrap().status().as_u16()
}

fn kept(company: &Company) -> Option<Value> {
    let file = company.path().join("config/countersign/sign-ins.json");
    Some(serde_json::from_str(&std::fs::read_to_string(file).ok()?).unwrap())
}

#[tokio::test]
async fn somebody_signs_in_by_a_browser_and_only_by_the_answer_to_their_own_question() {
    let provider = Provider::start();
    let company = company(&[&provider], "");
    let gateway = company.serve();
    let login = Login::start(&company, &gateway, &[]);
    assert_eq!(login.member("code_challenge_method"), "S256");
    assert!(login.member("state").len() >= 43 && login.member("nonce").len() >= 43);
    assert_eq!(login.member("prompt"), "");
    let back = browse(login.url.clone()).await;
    // What some page sends there is not an answer: a foreign state, none, another path, another issuer.
    for (from, to) in [("state=", "state=x"), ("state=", "other="), ("/callback", "/favicon.ico")] {
        let other = Url::parse(&back.as_str().replacen(from, to, 1)).unwrap();
        assert_eq!(get(other).await, 404);
    }
    let mut other = back.clone();
    let pairs: Vec<_> = back.query_pairs().into_owned().filter(|(name, _)| name != "iss").collect();
    other.query_pairs_mut().clear().extend_pairs(pairs).append_pair("iss", "https://x.example");
    assert_eq!(get(other).await, 404);
    assert_eq!(kept(&company), None);
    assert_eq!(get(back).await, 200);
    let (code, said) = login.ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("as sam@acme.example") && said.contains("finance"), "{said}");
    let kept = kept(&company).unwrap();
    let token = kept["of"][&gateway.url]["token"].as_str().unwrap();
    let me = gateway.http.get(format!("{}/admin/v1/me", gateway.url)).bearer_auth(token);
    let me: Value = me.send().await.unwrap().json().await.unwrap();
    assert_eq!(me["person"]["id"], "p-sam", "{me}");
    assert_eq!(me["tenants"], "all", "{me}");
    assert!(me["signed_in"].is_string(), "{me}");
    // A person of no verified address has none.
    let lax =
        json!({"account": "p-x", "person": {"email": "sam@acme.example", "email_verified": false}});
    provider.asked("become", lax).await;
    let login = Login::start(&company, &gateway, &["--fresh"]);
    assert_eq!((login.member("prompt"), login.member("max_age")), ("login".into(), "0".into()));
    assert_eq!(get(browse(login.url.clone()).await).await, 200);
    let (code, said) = login.ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("as p-x"), "{said}");
    gateway.stop();
}

#[tokio::test]
async fn a_sign_in_that_the_provider_refuses_keeps_nothing() {
    let provider = Provider::start();
    let company = company(&[&provider], "");
    let gateway = company.serve();
    let login = Login::start(&company, &gateway, &[]);
    let mut back = Url::parse(&login.member("redirect_uri")).unwrap();
    let state = login.member("state");
    back.query_pairs_mut().append_pair("state", &state).append_pair("error", "access_denied");
    assert_eq!(get(back).await, 200);
    let (code, said) = login.ended();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("access_denied"), "{said}");
    // A code that the provider never gave.
    let login = Login::start(&company, &gateway, &[]);
    let mut back = Url::parse(&login.member("redirect_uri")).unwrap();
    let state = login.member("state");
    back.query_pairs_mut().append_pair("state", &state).append_pair("code", "made-up");
    assert_eq!(get(back).await, 200);
    let (code, said) = login.ended();
    assert_eq!(code, Some(2), "{said}");
    assert_eq!(kept(&company), None);
    gateway.stop();
}
