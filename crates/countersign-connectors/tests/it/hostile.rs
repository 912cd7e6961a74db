//! Requests that should go elsewhere: no origin, no name, no argument and no answer leads to a
//! listener that the system does not permit. Each row is tried against real listeners.

use crate::upstream::{
    Api, Asked, Reply, Script, Trap, Upstream, get, json, piece, surrounded, system,
};
use countersign_connectors::{HttpSystem, Networks, Origin, OriginError};
use countersign_core::refusal::SystemFaultKind;
use countersign_core::tool::{HttpPlan, Template};
use serde_json::{Value, json as j};

/// Origins that a URL parser reads as something else than what is written.
const ORIGINS: &[&str] = &[
    "http://2130706433:PORT",
    "http://0x7f000001:PORT",
    "http://0177.0.0.1:PORT",
    "http://0x7f.1:PORT",
    "http://127.1:PORT",
    "http://127.0.1:PORT",
    "http://127.000.000.002:PORT",
    "http://127.0.0.2.:PORT",
    "http://127。0。0。2:PORT",
    "http://①②⑦.0.0.2:PORT",
    "http://[0:0:0:0:0:0:0:1]:PORT",
    "http://[::ffff:127.0.0.2]:PORT",
    "http://[::1%25lo]:PORT",
    "http://LOCALHOST:PORT",
    "http://ⓛocalhost:PORT",
    "http://bücher.example:PORT",
    "http://crm.example.:PORT",
    "http://crm%2eexample:PORT",
    "http://crm.example@127.0.0.2:PORT",
    "http://user:word@127.0.0.2:PORT",
    "http://@127.0.0.2:PORT",
    "http://127.0.0.2:PORT/",
    "http://127.0.0.2:PORT/path",
    "http://127.0.0.2:PORT?query",
    "http://127.0.0.2:PORT#fragment",
    "http:\\\\127.0.0.2:PORT",
    "http:/127.0.0.2:PORT",
    "http:127.0.0.2:PORT",
    "HTTP://127.0.0.2:PORT",
    " http://127.0.0.2:PORT",
    "http://127.0.0.2:PORT\n",
    "http://127.0.0.2\t:PORT",
    "http://crm.example:80",
    "ftp://127.0.0.2:PORT",
    "file:///etc/passwd",
    "data:,x",
    "127.0.0.2:PORT",
    "//127.0.0.2:PORT",
    "",
];

#[tokio::test]
async fn an_origin_that_reads_otherwise_than_it_is_written_is_no_origin() {
    let (upstream, traps) = surrounded(json("[]")).await;
    let port = upstream.address.port().to_string();
    for written in ORIGINS {
        let text = written.replace("PORT", &port);
        assert_eq!(Origin::parse(&text, true).map(drop), Err(OriginError::Form), "{text}");
    }
    none_reached(&traps, &upstream).await;
}

/// Addresses that a system has only if it names their network.
const ADDRESSES: &[&str] = &[
    "127.0.0.1",
    "127.0.0.2",
    "127.8.8.8",
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "169.254.1.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "168.63.129.16",
    "::",
    "::1",
    "::ffff:127.0.0.2",
    "::ffff:169.254.169.254",
    "::127.0.0.2",
    "::ffff:0:127.0.0.2",
    "64:ff9b::7f00:2",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:2",
    "2002:7f00:2::",
    "2002:7f00:2::1",
    "2001::7f00:2",
    "2001:db8::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "100::1",
    "5f00::1",
];

#[tokio::test]
async fn a_name_that_stands_for_what_is_not_public_is_not_reached() {
    let (upstream, traps) = surrounded(json("[]")).await;
    let origin = format!("http://crm.example:{}", upstream.address.port());
    for address in ADDRESSES {
        assert!(!Networks::new(vec![]).permit(address.parse().unwrap()), "{address}");
        let names = Script::of(&[&[address]]);
        let api = Api::of(HttpSystem { names, ..system(&origin, &[]) });
        let fault = api.call(&get("/"), j!({})).await.unwrap_err();
        assert_eq!(fault.kind, SystemFaultKind::Unavailable);
        assert!(fault.detail.contains("no such address is permitted"), "{}", fault.detail);
        // Nor by its literal, which no resolver is asked about.
        let literal = address
            .parse()
            .map_or_else(|_| format!("[{address}]"), |v4: std::net::Ipv4Addr| v4.to_string());
        let literal = format!("http://{literal}:{}", upstream.address.port());
        if Origin::parse(&literal, true).is_ok() {
            let fault = Api::of(system(&literal, &[])).call(&get("/"), j!({})).await.unwrap_err();
            assert!(
                fault.detail.contains("is not one that the system permits"),
                "{}",
                fault.detail
            );
        }
    }
    none_reached(&traps, &upstream).await;
    for public in ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700::1", "64:ff9b::808:808"] {
        assert!(Networks::new(vec![]).permit(public.parse().unwrap()), "{public}");
    }
}

/// What a name stands for, one look-up after the other; `true` if the upstream is then reached.
const NAMES: &[(&[&[&str]], &[bool])] = &[
    // At the first look-up another than at the second.
    (&[&["127.0.0.1"], &["127.0.0.2"]], &[true, false]),
    (&[&["127.0.0.2"], &["127.0.0.1"]], &[false, true]),
    (&[&["127.0.0.2"], &["127.0.0.2"], &["127.0.0.1"]], &[false, false, true]),
    (&[&["127.0.0.1"], &["::1"], &["127.0.0.1"]], &[true, false, true]),
    (&[&["127.0.0.1"], &["::ffff:127.0.0.2"]], &[true, false]),
    (&[&["127.0.0.1"], &["64:ff9b::7f00:2"]], &[true, false]),
    (&[&["127.0.0.1"], &["0.0.0.0"]], &[true, false]),
    (&[&["127.0.0.1"], &["::"]], &[true, false]),
    (&[&["127.0.0.1"], &[]], &[true, false]),
    // Several at once: only what is permitted is tried, whatever the order.
    (&[&["127.0.0.2", "127.0.0.1"]], &[true, true]),
    (&[&["127.0.0.1", "127.0.0.2"]], &[true, true]),
    (&[&["::1", "127.0.0.1"]], &[true, true]),
    (&[&["::1", "127.0.0.2", "127.8.8.8"]], &[false, false]),
    (&[&["::ffff:127.0.0.1"]], &[true, true]),
];

#[tokio::test]
async fn a_name_that_changes_its_mind_leads_to_no_other_address() {
    let (upstream, traps) = surrounded(json("[]")).await;
    // The connection is ended after each answer, so every call asks for the name anew.
    let close = ("connection", "close".to_owned());
    let reply = json("[]");
    upstream.answers(Reply { headers: [reply.headers.clone(), vec![close]].concat(), ..reply });
    let origin = format!("http://crm.example:{}", upstream.address.port());
    for (lists, outcomes) in NAMES {
        let names = Script::of(lists);
        let api = Api::of(HttpSystem { names, ..system(&origin, &["127.0.0.1/32"]) });
        for (at, &reaches) in outcomes.iter().enumerate() {
            let outcome = api.call(&get("/"), j!({})).await;
            assert_eq!(outcome.is_ok(), reaches, "{lists:?} {at}: {outcome:?}");
            assert_eq!(upstream.heard().len(), usize::from(reaches), "{lists:?} {at}");
        }
    }
    none_reached(&traps, &upstream).await;
}

#[tokio::test]
async fn where_machines_tell_their_credentials_is_no_network_of_any_system() {
    let everywhere = ["0.0.0.0/0", "::/0"].map(|text| text.parse().unwrap()).to_vec();
    let everywhere = Networks::new(everywhere);
    for never in [
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
    ] {
        assert!(!everywhere.permit(never.parse().unwrap()), "{never}");
    }
    assert!(everywhere.permit("10.0.0.1".parse().unwrap()));
}

/// Arguments of a path. `None`: no request is made. Else: how it stands on the wire.
const ARGUMENTS: &[(&str, Option<&str>)] = &[
    ("..", None),
    (".", None),
    ("", None),
    ("../admin", None),
    ("..\\admin", None),
    ("%2e%2e", None),
    ("%2E%2e%2fadmin", None),
    ("%252e%252e%252fadmin", None),
    (".%2e", None),
    ("a/../b", None),
    ("a/./b", None),
    ("a//b", None),
    ("/", None),
    ("//127.0.0.2", None),
    ("a%2f..%2fb", None),
    ("a%5c..%5cb", None),
    ("a\\b", None),
    ("a\0b", None),
    ("a%00b", None),
    ("a\r\nHost: 127.0.0.2", None),
    ("a%0d%0aHost:%20127.0.0.2", None),
    ("http://127.0.0.2:PORT/", None),
    ("%25252525252e", None),
    ("@127.0.0.2:PORT", Some("%40127.0.0.2%3APORT")),
    (":PORT@127.0.0.2", Some("%3APORT%40127.0.0.2")),
    ("a?admin=1", Some("a%3Fadmin%3D1")),
    ("a#b", Some("a%23b")),
    ("a;b=c", Some("a%3Bb%3Dc")),
    ("a b", Some("a%20b")),
    ("a&b", Some("a%26b")),
    ("...", Some("...")),
    ("..a", Some("..a")),
    ("%", Some("%25")),
    ("%zz", Some("%25zz")),
    ("a/b", Some("a%2Fb")),
    ("．．", Some("%EF%BC%8E%EF%BC%8E")),
    ("\u{2215}", Some("%E2%88%95")),
    ("ü", Some("%C3%BC")),
];

#[tokio::test]
async fn an_argument_of_a_path_is_one_segment_or_no_request() {
    let (upstream, traps) = surrounded(json("[]")).await;
    let port = upstream.address.port().to_string();
    let api = Api::at(&upstream);
    for (argument, on_the_wire) in ARGUMENTS {
        let argument = argument.replace("PORT", &port);
        let outcome = api.call(&get("/v2/{id}/contacts"), j!({ "id": argument })).await;
        let heard = upstream.heard();
        let Some(segment) = on_the_wire else {
            let fault = outcome.unwrap_err();
            assert!(fault.detail.contains("an argument of the path"), "{}", fault.detail);
            assert!(heard.is_empty(), "{argument}");
            continue;
        };
        assert!(outcome.is_ok(), "{argument}: {outcome:?}");
        let [asked] = <[Asked; 1]>::try_from(heard).unwrap();
        assert_eq!(asked.target, format!("/v2/{}/contacts", segment.replace("PORT", &port)));
    }
    none_reached(&traps, &upstream).await;
}

#[tokio::test]
async fn a_hostile_text_stays_in_its_place_of_query_header_and_body() {
    let (upstream, traps) = surrounded(json("[]")).await;
    let api = Api::at(&upstream);
    let plan = HttpPlan {
        query: vec![("q".to_owned(), piece("{q}"))],
        body: Some(Template::Argument(crate::upstream::required("q"))),
        ..get("/search")
    };
    let header = HttpPlan { headers: vec![("x-q".to_owned(), piece("{q}"))], ..get("/search") };
    for text in [
        "&admin=true",
        "#",
        "a\r\nHost: 127.0.0.2\r\n\r\nGET /admin HTTP/1.1",
        "\0",
        "\u{7f}",
        "http://127.0.0.2/",
        "%0d%0a",
        "\"}, {\"admin\": true",
        "ü\u{2028}",
        "a\tb",
        " x",
    ] {
        let _report = api.call(&plan, j!({ "q": text })).await.unwrap();
        let [asked] = <[Asked; 1]>::try_from(upstream.heard()).unwrap();
        let query = asked.target.strip_prefix("/search?").unwrap();
        assert_eq!(query.matches(['&', '=', '#']).count(), 1, "{query}");
        let sent = url::form_urlencoded::parse(query.as_bytes()).collect::<Vec<_>>();
        assert_eq!(sent, [("q".into(), text.into())]);
        assert_eq!(serde_json::from_slice::<Value>(&asked.body).unwrap(), j!(text));
        let outcome = api.call(&header, j!({ "q": text })).await;
        let visible = text.trim() == text && text.chars().all(|c| (' '..='~').contains(&c));
        assert_eq!(outcome.is_ok(), visible, "{text:?}");
        for asked in upstream.heard() {
            assert_eq!(asked.headers["x-q"], text);
            assert_eq!(asked.target, "/search");
        }
    }
    let long = "x".repeat(9_000);
    for plan in [&plan, &header] {
        assert!(api.call(plan, j!({ "q": long })).await.is_err());
    }
    assert!(api.call(&header, j!({ "q": ["list"] })).await.is_err());
    assert!(upstream.heard().is_empty());
    none_reached(&traps, &upstream).await;
}

#[tokio::test]
async fn an_answer_that_points_elsewhere_is_not_followed() {
    let (upstream, traps) = surrounded(json("[]")).await;
    let api = Api::at(&upstream);
    let port = upstream.address.port();
    for to in [format!("http://127.0.0.2:{port}/"), format!("//[::1]:{port}/"), "/same".to_owned()]
    {
        for status in [300, 301, 302, 303, 305, 307, 308] {
            let headers =
                vec![("location", to.clone()), ("content-type", "application/json".to_owned())];
            upstream.answers(Reply { status, headers, body: "[]".to_owned() });
            let fault = api.call(&get("/"), j!({})).await.unwrap_err();
            assert_eq!(fault.kind, SystemFaultKind::Failed);
            assert!(fault.detail.contains(&format!("answered {status}")), "{}", fault.detail);
            assert_eq!(upstream.heard().len(), 1);
        }
        for name in ["refresh", "link", "alt-svc", "content-location", "location"] {
            let value = format!("0; url={to}");
            let headers = vec![(name, value), ("content-type", "application/json".to_owned())];
            upstream.answers(Reply { headers, ..json("[]") });
            assert!(api.call(&get("/"), j!({})).await.is_ok());
            assert_eq!(upstream.heard().len(), 1);
        }
    }
    none_reached(&traps, &upstream).await;
}

async fn none_reached(traps: &[Trap], upstream: &Upstream) {
    for trap in traps {
        assert_eq!(trap.reached().await, 0, "{}", trap.address);
    }
    assert!(upstream.heard().is_empty());
}

#[test]
fn the_table_has_the_rows_that_it_must_have() {
    let rows = ORIGINS.len() + ADDRESSES.len() + NAMES.len() + ARGUMENTS.len();
    assert!(rows >= 60, "{rows}");
}
