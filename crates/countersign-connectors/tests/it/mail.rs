//! Messages against a real SMTP server.

use crate::bench::{Ticking, planned};
use crate::smtp::{Desk, Smtp, domain, system, tool};
use countersign_connectors::doctor::{Needs, examine};
use countersign_connectors::{
    EmailSystem, MailEncryption, MailServer, MailServerError, Networks, System,
};
use countersign_core::recipient::Recipient;
use countersign_core::refusal::{Applied, SystemFaultKind};
use countersign_core::tool::{Effect, Tool};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

const ENCRYPTIONS: [MailEncryption; 3] =
    [MailEncryption::Off, MailEncryption::StartTls, MailEncryption::Tls];

fn letter(to: Value) -> Value {
    json!({"to": to, "about": "über Bremen", "said": "It is on its way."})
}

#[tokio::test]
async fn an_honest_message_arrives_once_as_plain_text_with_headers_of_the_systems() {
    for encryption in ENCRYPTIONS {
        let smtp = Smtp::start(encryption).await;
        let desk = Desk::over(EmailSystem {
            reply_to: Some(Recipient::parse("desk@acme.example").unwrap()),
            domains: Some([domain("customer.example"), domain("bücher.example")].into()),
            ..smtp.system()
        });
        let to = json!(["Ann@CUSTOMER.example", "bob@bücher.example", "Ann@customer.example"]);
        let report = desk.send(letter(to)).await.unwrap();
        let [(to, content)] = <[_; 1]>::try_from(smtp.taken()).unwrap();
        assert_eq!(to, ["Ann@customer.example", "bob@xn--bcher-kva.example"]);
        let (headers, text) = content.split_once("\r\n\r\n").unwrap();
        let header = |name: &str| {
            let unfolded = headers.replace("\r\n ", " ");
            let found: Vec<_> = unfolded
                .lines()
                .filter_map(|line| line.split_once(": "))
                .filter(|(found, _)| found.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.to_owned())
                .collect();
            assert_eq!(found.len(), 1, "{name}: {headers}");
            found[0].clone()
        };
        assert!(header("From").ends_with("<help@acme.example>"), "{headers}");
        assert_eq!(header("To"), "Ann@customer.example, bob@xn--bcher-kva.example");
        assert_eq!(header("Reply-To"), "desk@acme.example");
        assert!(header("Subject").starts_with("Your parcel: =?utf-8?"), "{headers}");
        assert_eq!(header("Date"), "Thu, 01 Jan 1970 00:00:00 +0000");
        assert_eq!(header("Auto-Submitted"), "auto-generated");
        assert_eq!(header("Content-Type"), "text/plain; charset=utf-8");
        assert_eq!(header("MIME-Version"), "1.0");
        let id = header("Message-ID");
        assert!(id.starts_with('<') && id.ends_with("@acme.example>"), "{id}");
        assert_eq!(text, "Dear customer,\r\n\r\nIt is on its way.\r\n.\r\nAcme\r\n\r\n\r\n");
        let row = json!({"message_id": id, "recipients": to, "accepted": true});
        assert_eq!(report.result, json!([row]));
        let log = smtp.log();
        assert_eq!(log[0]["mail"], "help@acme.example");
        assert_eq!(log[0]["tls"], encryption != MailEncryption::Off);
        assert_eq!(log[0]["who"], encryption != MailEncryption::Off);
    }
}

#[tokio::test]
async fn each_message_has_a_name_of_its_own() {
    let smtp = Smtp::start(MailEncryption::Off).await;
    let desk = smtp.desk();
    let mut names = Vec::new();
    for _ in 0..2 {
        let report = desk.send(letter(json!("ann@customer.example"))).await.unwrap();
        names.push(report.result[0]["message_id"].clone());
        desk.pass(1);
    }
    assert_ne!(names[0], names[1]);
    assert_eq!(smtp.taken().len(), 2);
}

#[tokio::test]
async fn what_would_reach_others_or_write_headers_is_refused_and_nobody_is_connected_to() {
    let smtp = Smtp::start(MailEncryption::Off).await;
    let desk = Desk::over(EmailSystem {
        domains: Some([domain("customer.example")].into()),
        ..smtp.system()
    });
    let with = |key: &str, value: Value| {
        let mut letter = letter(json!("ann@customer.example"));
        letter[key] = value;
        letter
    };
    let many: Vec<String> = (0..17).map(|n| format!("a{n}@customer.example")).collect();
    for (arguments, why) in [
        (with("about", json!("x\r\nBcc: eve@evil.example")), "the subject holds"),
        (with("about", json!("x\nBcc: eve@evil.example")), "the subject holds"),
        (with("about", json!("x\rBcc: eve@evil.example")), "the subject holds"),
        (with("about", json!("x\u{85}y")), "the subject holds"),
        (with("about", json!("x\u{2028}y")), "the subject holds"),
        (with("about", json!("x\u{0}y")), "the subject holds"),
        (with("about", json!("x".repeat(999))), "the subject holds"),
        (with("said", json!("x\u{0}y")), "the text holds"),
        (with("said", json!("x\ry")), "the text holds"),
        (with("to", json!("ann@customer.example, eve@evil.example")), "more than one address"),
        (with("to", json!("ann@customer.example>\r\nRCPT TO:<eve@evil.example")), "line break"),
        (with("to", json!("\"Eve\" <ann@customer.example>")), "a bare address"),
        (with("to", json!("Eve<ann@customer.example>")), "a bare address"),
        (with("to", json!("eve%evil.example@customer.example")), "a way to go"),
        (with("to", json!("ann@\u{441}ustomer.example")), "several scripts"),
        (with("to", json!("ann@xn--ustomer-1fg.example")), "a recipient"),
        (with("to", json!("ann@customer.example.")), "no domain name"),
        (with("to", json!("ann@evil.customer.example")), "the system's own `domains`"),
        (with("to", json!("ann@customer.example.evil.example")), "the system's own `domains`"),
        (with("to", json!(["ann@customer.example", "eve@evil.example"])), "own `domains`"),
        (with("to", json!(many)), "1 to 16 addresses"),
        (with("to", json!([])), "1 to 16 addresses"),
        (with("to", json!([["ann@customer.example"]])), "no text"),
        (with("to", json!(7)), "1 to 16 addresses"),
    ] {
        let fault = desk.send(arguments.clone()).await.unwrap_err();
        assert!(fault.detail.contains(why), "{arguments}: {}", fault.detail);
        assert!(!fault.detail.contains("evil"), "{}", fault.detail);
        assert_eq!((fault.kind, fault.applied), (SystemFaultKind::Failed, Applied::NotApplied));
    }
    assert_eq!(smtp.log(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_tool_whose_effect_is_less_sends_nothing() {
    let smtp = Smtp::start(MailEncryption::Off).await;
    for effect in [Effect::Reversible, Effect::Persistent] {
        let tool = Tool { effect, ..tool(10_000) };
        let fault = smtp.desk().call(tool, letter(json!("ann@customer.example"))).await;
        assert_eq!(fault.unwrap_err().applied, Applied::NotApplied);
    }
    assert_eq!(smtp.log(), Vec::<Value>::new());
}

#[tokio::test]
async fn all_recipients_are_taken_or_nobody_is_written_to() {
    let smtp = Smtp::start(MailEncryption::StartTls).await;
    for (refused, kind) in [("nobody", SystemFaultKind::Failed), ("later", SystemFaultKind::Busy)] {
        let to = json!(["ann@customer.example", format!("{refused}@customer.example")]);
        let fault = smtp.desk().send(letter(to)).await.unwrap_err();
        assert_eq!((fault.kind, fault.applied), (kind, Applied::NotApplied), "{}", fault.detail);
        assert!(!fault.detail.contains("made-up-password"), "{}", fault.detail);
        assert_eq!(smtp.log().last(), Some(&json!({"rset": true})));
    }
    assert_eq!(smtp.taken(), []);
}

#[tokio::test]
async fn what_is_known_of_a_message_follows_from_the_answer_to_its_end() {
    let smtp = Smtp::start(MailEncryption::StartTls).await;
    for (said, kind, applied) in [
        ("AT-END-4", SystemFaultKind::Busy, Applied::NotApplied),
        ("AT-END-5", SystemFaultKind::Failed, Applied::NotApplied),
        ("HANG-UP", SystemFaultKind::Failed, Applied::Unknown),
        ("SILENCE", SystemFaultKind::TimedOut, Applied::Unknown),
    ] {
        let arguments = json!({"to": "ann@customer.example", "about": "x", "said": said});
        let timeout_ms = if said == "SILENCE" { 1_500 } else { 10_000 };
        let fault = smtp.desk().call(tool(timeout_ms), arguments).await.unwrap_err();
        assert_eq!((fault.kind, fault.applied), (kind, applied), "{said}: {}", fault.detail);
    }
    // Both had it: that is what is not known.
    assert_eq!(smtp.taken().len(), 2);
}

/// A server of lines: says each answer after the line that asks for it, then no more.
fn scripted(answers: &'static [&'static str]) -> (u16, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut heard = String::new();
        for (index, answer) in answers.iter().enumerate() {
            if index > 0 && reader.read_line(&mut heard).unwrap_or(0) == 0 {
                return heard;
            }
            stream.write_all(answer.as_bytes()).unwrap();
        }
        let mut rest = Vec::new();
        drop(reader.read_to_end(&mut rest));
        heard + &String::from_utf8_lossy(&rest)
    });
    (port, heard)
}

#[tokio::test]
async fn before_the_message_is_asked_for_nothing_was_sent() {
    let long = format!("220 {}\r\n", "x".repeat(2_000)).leak();
    let scripts: [(&'static [&'static str], SystemFaultKind); 6] = [
        (&[], SystemFaultKind::TimedOut),
        (&["220 hello\r\n"], SystemFaultKind::TimedOut),
        (&["554 no\r\n"], SystemFaultKind::Unavailable),
        (&["220 hello\r\n", "250 x\r\n", "250 ok\r\n", "250 ok\r\n"], SystemFaultKind::TimedOut),
        (
            &["220 hello\r\n", "250 x\r\n", "250 ok\r\n", "250 ok\r\n", "250 not asked\r\n"],
            SystemFaultKind::Failed,
        ),
        (&*Box::leak(Box::new([&*long])), SystemFaultKind::Unavailable),
    ];
    for (script, kind) in scripts {
        let (port, heard) = scripted(script);
        let desk = Desk::over(system(&format!("127.0.0.1:{port}"), MailEncryption::Off));
        let fault = desk.call(tool(700), letter(json!("ann@customer.example"))).await.unwrap_err();
        assert_eq!((fault.kind, fault.applied), (kind, Applied::NotApplied), "{}", fault.detail);
        let heard = heard.join().unwrap();
        assert!(!heard.contains("Dear customer"), "{heard}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let desk = Desk::over(system(&nobody.to_string(), MailEncryption::Off));
    let fault = desk.send(letter(json!("ann@customer.example"))).await.unwrap_err();
    let known = (fault.kind, fault.applied);
    assert_eq!(known, (SystemFaultKind::Unavailable, Applied::NotApplied));
}

#[tokio::test]
async fn neither_password_nor_message_is_told_to_whom_cannot_be_trusted() {
    let starttls = Smtp::start(MailEncryption::StartTls).await;
    let tls = Smtp::start(MailEncryption::Tls).await;
    let bare = Smtp::bare().await;
    for (smtp, change) in [
        (&starttls, "authorities"),
        (&tls, "authorities"),
        (&starttls, "name"),
        (&tls, "name"),
        (&bare, "nothing"),
        (&tls, "starttls"),
    ] {
        let mut system = smtp.system();
        match change {
            "authorities" => system.authorities = None,
            "name" => {
                let other = format!("mail.acme.example:{}", smtp.port);
                system.server = MailServer::parse(&other).unwrap();
            }
            "starttls" => system.encryption = MailEncryption::StartTls,
            _ => {}
        }
        let fault = Desk::over(system).call(tool(2_000), letter(json!("a@customer.example"))).await;
        let fault = fault.unwrap_err();
        assert_eq!(fault.applied, Applied::NotApplied);
        assert!(!fault.detail.contains("made-up"), "{}", fault.detail);
        assert_eq!(smtp.log(), Vec::<Value>::new(), "{change}: {}", fault.detail);
    }
}

#[tokio::test]
async fn what_is_added_to_the_answer_to_starttls_is_not_taken_for_the_servers_word() {
    let injected = "220 go ahead\r\n250 injected\r\n250 injected\r\n250 injected\r\n";
    let script = Box::leak(Box::new(["220 hello\r\n", "250-x\r\n250 STARTTLS\r\n", injected]));
    let (port, heard) = scripted(script);
    let desk = Desk::over(system(&format!("localhost:{port}"), MailEncryption::StartTls));
    let fault = desk.call(tool(3_000), letter(json!("ann@customer.example"))).await.unwrap_err();
    assert_eq!(fault.applied, Applied::NotApplied);
    assert!(fault.detail.contains("encryption cannot be trusted"), "{}", fault.detail);
    assert!(!heard.join().unwrap().contains("MAIL"));
}

#[tokio::test]
async fn a_server_lies_only_where_the_system_permits() {
    let smtp = Smtp::start(MailEncryption::StartTls).await;
    let elsewhere = EmailSystem { networks: Networks::new(Vec::new()), ..smtp.system() };
    let fault = Desk::over(elsewhere).send(letter(json!("ann@customer.example"))).await;
    let fault = fault.unwrap_err();
    assert!(fault.detail.contains("no such address is permitted"), "{}", fault.detail);
    assert_eq!(smtp.log(), Vec::<Value>::new());
    let here = system("127.0.0.1:25", MailEncryption::Off);
    assert_eq!(here.check(), Ok(()));
    let elsewhere = EmailSystem { networks: Networks::new(Vec::new()), ..here };
    assert_eq!(elsewhere.check(), Err(MailServerError::Address));
    let public = |encryption| EmailSystem {
        networks: Networks::new(Vec::new()),
        authorities: None,
        ..system("93.184.215.14:25", encryption)
    };
    assert_eq!(public(MailEncryption::Off).check(), Err(MailServerError::Plaintext));
    assert_eq!(public(MailEncryption::Tls).check(), Ok(()));
    let named = system("localhost:25", MailEncryption::Off);
    assert_eq!(named.check(), Err(MailServerError::Plaintext));
    let unread = EmailSystem {
        authorities: Some("-----BEGIN CERTIFICATE-----\nx".to_owned()),
        ..public(MailEncryption::Tls)
    };
    assert!(matches!(unread.check(), Err(MailServerError::Authorities(_))));
}

#[test]
fn a_server_is_written_in_one_way() {
    for text in ["smtp.example.com:587", "127.0.0.1:25", "[::1]:25", "localhost:1"] {
        assert_eq!(MailServer::parse(text).unwrap().to_string(), text);
    }
    for text in [
        "",
        "smtp.example.com",
        ":25",
        "SMTP.example.com:25",
        "smtp.example.com.:25",
        "smtp.example.com:0",
        "smtp.example.com:+25",
        "smtp.example.com:025",
        "smtp.example.com:65536",
        "smtp://smtp.example.com:25",
        "user@smtp.example.com:25",
        "127.1:25",
        "::1:25",
        "smtp.example.com:25/",
    ] {
        assert_eq!(MailServer::parse(text), Err(MailServerError::Form), "{text}");
    }
}

#[tokio::test]
async fn the_doctor_signs_in_and_sends_nothing() {
    let examined = async |system: EmailSystem| {
        let system = System::Email(system);
        let symptoms = examine(&system, &Needs::default(), "nobody", &Ticking::default()).await;
        symptoms.map(|found| found.into_iter().map(|symptom| symptom.code).collect::<Vec<_>>())
    };
    let secret = |text: &str| SecretString::from(text);
    for encryption in ENCRYPTIONS {
        let smtp = Smtp::start(encryption).await;
        assert_eq!(examined(smtp.system()).await.unwrap(), [""; 0]);
        if encryption != MailEncryption::Off {
            let credential = Some((secret("mailer"), secret("another made-up")));
            let stranger = EmailSystem { credential, ..smtp.system() };
            assert_eq!(examined(stranger).await.unwrap(), ["mail-credential"]);
            let untrusted = EmailSystem { authorities: None, ..smtp.system() };
            assert_eq!(examined(untrusted).await.unwrap(), ["mail-certificate"]);
            let elsewhere = EmailSystem { networks: Networks::new(Vec::new()), ..smtp.system() };
            assert_eq!(examined(elsewhere).await.unwrap(), ["foreign-address"]);
        }
        assert_eq!(smtp.log(), Vec::<Value>::new());
    }
    let bare = Smtp::bare().await;
    assert_eq!(examined(bare.system()).await.unwrap(), ["no-starttls"]);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = examined(system(&nobody.to_string(), MailEncryption::Off)).await.unwrap_err();
    assert_eq!(gone.kind, SystemFaultKind::Unavailable);
}

#[tokio::test]
async fn a_mail_server_takes_no_statement() {
    let smtp = Smtp::start(MailEncryption::Off).await;
    let statement = crate::upstream::get("/");
    let plan = countersign_core::tool::Plan::Http(statement);
    let fault = smtp.desk().call(planned("mail", plan), json!({})).await.unwrap_err();
    assert_eq!(fault.applied, Applied::NotApplied);
    assert_eq!(smtp.log(), Vec::<Value>::new());
}
