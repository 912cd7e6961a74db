//! Every row of the story, with the answer, the record and the systems' own word for it; and beside
//! each refusal a twin that succeeds, so that refusing everything fails.

use crate::gateway::{Company, Gateway, Who};
use serde_json::{Value, json};

const COPILOT: Who<'_> =
    Who { agent: "support-copilot", tenant: "acct_alpha", session: "s1", depots: &[] };
const PLANNER: Who<'_> =
    Who { agent: "dispatch-planner", tenant: "acct_alpha", session: "s1", depots: &["HAM", "BER"] };

struct Row {
    who: Who<'static>,
    tool: &'static str,
    arguments: Value,
    code: &'static str,
    /// How many statements look up whose it is, and how many for the twin.
    look_ups: (usize, usize),
    twin: (&'static str, Value),
}

fn row(tool: &'static str, arguments: Value, code: &'static str, twin: Value) -> Row {
    Row { who: COPILOT, tool, arguments, code, look_ups: (0, 0), twin: (tool, twin) }
}

#[expect(clippy::too_many_lines, reason = "it is a list")]
fn refusals() -> Vec<Row> {
    let usage = |account: &str, days: Value| json!({"account_id": account, "days": days});
    let fine = || usage("acct_alpha", json!(7));
    let parcel = |account: &str| {
        json!({"parcels": [
            {"account_id": "acct_alpha", "parcel_id": "pcl_2000001"},
            {"account_id": account, "parcel_id": "pcl_2000002"},
        ]})
    };
    let shipment = |id: &str| json!({"shipment_id": id});
    let day = |depot: &str| json!({"depot": depot, "day": "2026-11-24"});
    vec![
        row("get_account_usage", usage("acct_delta", json!(7)), "out_of_scope", fine()),
        row(
            "get_account_usage",
            usage("acct_alpha", json!(9_000_000)),
            "invalid_arguments",
            fine(),
        ),
        row("get_account_usage", usage("acct_alpha", json!("7")), "invalid_arguments", fine()),
        row(
            "get_account_usage",
            json!({"account_id": "acct_alpha", "days": 7, "limit": 1}),
            "invalid_arguments",
            fine(),
        ),
        row("get_account_usage", json!({"account_id": "acct_alpha"}), "invalid_arguments", fine()),
        row("get_account_usage", json!([7]), "invalid_arguments", fine()),
        row(
            "get_account_usage",
            usage("acct_bravo", json!(8)),
            "out_of_scope",
            usage("acct_alpha", json!(8)),
        ),
        Row {
            look_ups: (0, 2),
            ..row("track_parcels", parcel("acct_bravo"), "out_of_scope", parcel("acct_alpha"))
        },
        Row {
            look_ups: (1, 1),
            ..row("get_shipment", shipment("shp_100002"), "out_of_scope", shipment("shp_100001"))
        },
        Row {
            look_ups: (1, 1),
            ..row("get_shipment", shipment("shp_999999"), "out_of_scope", shipment("shp_100001"))
        },
        Row {
            twin: ("get_account_usage", fine()),
            ..row("drop_table", json!({}), "unknown_tool", json!({}))
        },
        Row {
            twin: ("get_account_usage", fine()),
            ..row("list_vehicles", json!({"depots": ["HAM"]}), "unknown_tool", json!({}))
        },
        row(
            "list_invoices",
            json!({"account_id": "acct_bravo", "limit": 50}),
            "out_of_scope",
            json!({"account_id": "acct_alpha", "limit": 50}),
        ),
        Row {
            look_ups: (1, 0),
            twin: ("list_invoices", json!({"account_id": "acct_alpha", "limit": 3})),
            ..row(
                "refund_invoice",
                json!({"invoice_id": "inv_500004", "amount_cents": 100, "note": "n"}),
                "approval_required",
                json!({}),
            )
        },
        Row { who: PLANNER, ..row("list_departures", day("MUC"), "out_of_scope", day("HAM")) },
    ]
}

/// A session of its own for each row, so that no limit of one is met by another.
async fn token(gateway: &Gateway, who: Who<'_>, session: usize) -> String {
    gateway.token(Who { session: &format!("row-{session}"), ..who }).await
}

/// The minute of the clock that limits are counted in.
fn minute() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the program under test reads the real clock")]
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_secs() / 60
}

#[tokio::test]
async fn each_refusal_is_told_recorded_and_touches_no_system_while_its_twin_succeeds() {
    let company = Company::new();
    let gateway = company.serve();
    for (number, row) in refusals().into_iter().enumerate() {
        let Row { who, tool, arguments, code, look_ups, twin: (twin_tool, twin) } = row;
        let token = token(&gateway, who, number).await;
        let before = company.touched();
        let answer = gateway.call(&token, tool, arguments.clone()).await;
        assert_eq!(answer["status"], "refused", "{tool} {arguments}: {answer}");
        assert_eq!(answer["error"]["code"], code, "{tool} {arguments}: {answer}");
        for word in ["message", "next"] {
            assert!(answer["error"][word].as_str().is_some_and(|w| !w.is_empty()), "{answer}");
        }
        let records = company.records(&["--call", answer["call"].as_str().unwrap()], 1);
        assert_eq!(records.len(), 1, "{records:?}");
        assert_eq!((&records[0]["kind"], &records[0]["code"]), (&json!("refusal"), &json!(code)));
        assert_eq!(
            (&records[0]["agent"], &records[0]["tenant"]),
            (&json!(who.agent), &json!("acct_alpha"))
        );
        assert_eq!(company.touched(), before + look_ups.0, "{tool} {arguments} reached a system");

        let before = company.touched();
        let answer = gateway.call(&token, twin_tool, twin.clone()).await;
        assert_eq!(answer["status"], "completed", "{twin_tool} {twin}: {answer}");
        assert!(
            answer["result"]["row_count"].as_u64().unwrap() > 0,
            "{twin_tool} {twin}: {answer}"
        );
        let records = company.records(&["--call", answer["call"].as_str().unwrap()], 2);
        assert_eq!(
            (&records[0]["kind"], &records[1]["kind"]),
            (&json!("intent"), &json!("outcome"))
        );
        assert_eq!(
            (&records[1]["status"], &records[1]["applied"]),
            (&json!("ok"), &json!("applied"))
        );
        assert_eq!(company.touched(), before + look_ups.1 + 1, "{twin_tool} {twin}");
    }
    gateway.stop();
    company.says(&["audit", "verify", "."]);
}

#[tokio::test]
async fn both_doors_say_the_same_of_every_row() {
    let company = Company::new();
    let gateway = company.serve();
    for (number, Row { who, tool, arguments, code, .. }) in refusals().into_iter().enumerate() {
        let token = token(&gateway, who, number).await;
        let mut http = gateway.call(&token, tool, arguments.clone()).await["error"].clone();
        let answer = gateway.mcp_call(&token, tool, arguments.clone()).await;
        let mut mcp = if code == "unknown_tool" {
            assert_eq!(answer["error"]["code"], -32602, "{answer}");
            answer["error"]["data"].clone()
        } else {
            assert_eq!(answer["result"]["isError"], true, "{answer}");
            let told = answer["result"]["structuredContent"].clone();
            let text = answer["result"]["content"][0]["text"].as_str().unwrap();
            assert_eq!(serde_json::from_str::<Value>(text).unwrap(), told);
            told
        };
        for told in [&mut http, &mut mcp] {
            told.as_object_mut().unwrap().remove("call").unwrap();
        }
        assert_eq!(http, mcp, "{tool} {arguments}");
        assert_eq!(mcp["code"], code);
    }
}

#[tokio::test]
async fn a_tool_that_is_not_granted_reads_like_one_that_nobody_has() {
    let company = Company::new();
    let gateway = company.serve();
    let token = gateway.token(COPILOT).await;
    let mut answers = Vec::new();
    for tool in ["list_vehicles", "list_departures", "no_such_tool", "", "a b", "../x"] {
        let mut answer = gateway.call(&token, tool, json!({"depots": ["HAM"]})).await;
        answer["error"].as_object_mut().unwrap().remove("call");
        answer.as_object_mut().unwrap().remove("call");
        answers.push(answer.to_string());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test]
async fn an_injected_instruction_is_shown_without_what_people_cannot_see_and_obeying_it_gains_nothing()
 {
    let company = Company::new();
    let gateway = company.serve();
    let token = gateway.token(COPILOT).await;
    let ticket = gateway.call(&token, "read_ticket", json!({"ticket_id": "tkt_300042"})).await;
    assert_eq!(ticket["status"], "completed", "{ticket}");
    let body = ticket["result"]["rows"][0]["body"].as_str().unwrap();
    assert!(body.contains("acct_bravo") && body.contains("A. Lindqvist"), "{body}");
    assert!(body.chars().all(|c| c == '\n' || !c.is_control()), "{body:?}");
    assert!(
        !body.chars().any(|c| matches!(c, '\u{200b}' | '\u{2060}' | '\u{e0000}'..='\u{e007f}')),
        "{body:?}"
    );
    let before = company.touched();
    let obeyed = gateway
        .call(&token, "list_invoices", json!({"account_id": "acct_bravo", "limit": 50}))
        .await;
    assert_eq!(obeyed["error"]["code"], "out_of_scope");
    assert_eq!(company.touched(), before);
    let records = company.records(&["--call", ticket["call"].as_str().unwrap()], 2);
    assert!(records[1]["hidden_characters"].as_u64().unwrap() > 10, "{}", records[1]);
}

#[tokio::test]
async fn a_loop_meets_its_limit_and_other_work_goes_on() {
    let company = Company::new();
    let gateway = company.serve();
    let mut attempt = 0;
    let token = loop {
        attempt += 1;
        let token = token(&gateway, COPILOT, attempt).await;
        let (minute, before) = (minute(), company.touched());
        let mut codes = Vec::new();
        for _ in 0..9 {
            let answer =
                gateway.call(&token, "get_shipment", json!({"shipment_id": "shp_100001"})).await;
            codes.push(answer["error"]["code"].as_str().unwrap_or("completed").to_owned());
        }
        if minute == self::minute() {
            assert_eq!(codes[..5], ["completed"; 5]);
            assert_eq!(codes[5..], ["rate_limited"; 4]);
            // Each was looked up, then answered.
            assert_eq!(company.touched(), before + 2 * 5);
            break token;
        } // The minute of the clock turned in between: again, in a session of its own.
    };
    let other = gateway.call(&token, "get_shipment", json!({"shipment_id": "shp_100004"})).await;
    assert_eq!(other["status"], "completed", "{other}");
}

#[tokio::test]
async fn a_failing_system_is_an_error_result_without_internals_and_comes_back_by_itself() {
    let company = Company::new();
    let gateway = company.serve();
    let token = gateway.token(COPILOT).await;
    let call = async || {
        gateway
            .call(
                &token,
                "get_temperature_log",
                json!({"shipment_id": "shp_100100", "readings": 5}),
            )
            .await
    };
    let data = company.path().join("data");
    std::fs::rename(data.join("telematics.db"), data.join("away")).unwrap();
    let answer = call().await;
    assert_eq!(
        (&answer["status"], &answer["error"]["code"]),
        (&json!("faulted"), &json!("system_unavailable")),
        "{answer}"
    );
    assert!(!answer.to_string().contains("telematics"), "{answer}");
    let records = company.records(&["--call", answer["call"].as_str().unwrap()], 2);
    assert_eq!(
        (&records[1]["status"], &records[1]["code"]),
        (&json!("fault"), &json!("system_unavailable"))
    );
    assert_eq!(records[1]["applied"], "not_applied");
    let shown = company.says(&["audit", "show", answer["call"].as_str().unwrap(), "."]);
    assert!(shown.contains("telematics.db"), "the operator is told what the agent is not: {shown}");
    std::fs::rename(data.join("away"), data.join("telematics.db")).unwrap();
    assert_eq!(call().await["status"], "completed");
}

/// A call of a tool of the CRM, and its two records.
async fn asked_the_crm(
    company: &Company,
    gateway: &Gateway,
    call: (&str, Value),
) -> (Value, Value) {
    let token = gateway.token(COPILOT).await;
    let answer = gateway.call(&token, call.0, call.1).await;
    let mut records = company.records(&["--call", answer["call"].as_str().unwrap()], 2);
    (answer, records.remove(1))
}

#[tokio::test]
async fn an_api_is_asked_with_its_own_key_and_one_that_answers_too_late_is_not_waited_for() {
    let company = Company::new();
    let crm = company.crm();
    let gateway = company.serve();
    let list = |former: bool| {
        ("list_contacts", json!({"account_id": "acct_alpha", "former": former, "limit": 9}))
    };
    let (answer, record) = asked_the_crm(&company, &gateway, list(false)).await;
    assert_eq!((&answer["status"], &record["status"]), (&json!("completed"), &json!("ok")));
    let rows = answer["result"]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| row["account"] == "acct_alpha" && row.get("email").is_none()));
    let one = ("get_contact", json!({"contact_id": rows[0]["id"]}));
    let (answer, _) = asked_the_crm(&company, &gateway, one).await;
    assert!(answer["result"]["rows"][0]["email"].as_str().unwrap().contains('@'), "{answer}");
    // Another account's and nobody's read alike.
    for id in ["con_700002", "con_999999"] {
        let one = ("get_contact", json!({"contact_id": id}));
        let (answer, _) = asked_the_crm(&company, &gateway, one).await;
        assert_eq!(answer["result"]["row_count"], 0, "{answer}");
    }
    let (answer, record) = asked_the_crm(&company, &gateway, list(true)).await;
    assert_eq!(answer["error"]["code"], "system_timed_out", "{answer}");
    assert_eq!(
        (&record["code"], &record["applied"]),
        (&json!("system_timed_out"), &json!("not_applied"))
    );
    let key = std::fs::read_to_string(company.path().join("state/crm.key")).unwrap();
    std::fs::write(company.path().join("state/crm.key"), "another-made-up-key").unwrap();
    gateway.stop();
    // A key that the CRM does not know: an error to the agent, a reason to the operator.
    let gateway = company.serve();
    let (answer, record) = asked_the_crm(&company, &gateway, list(false)).await;
    assert_eq!(answer["error"]["code"], "system_failed", "{answer}");
    let shown = company.says(&["audit", "show", record["call"].as_str().unwrap(), "."]);
    assert!(
        shown.contains("the system answered 401") && !answer.to_string().contains("401"),
        "{shown}"
    );
    assert!(!shown.contains(&key) && !shown.contains("another-made-up"), "{shown}");
    drop(crm);
    let (answer, _) = asked_the_crm(&company, &gateway, list(false)).await;
    assert_eq!(answer["error"]["code"], "system_unavailable", "{answer}");
}

#[tokio::test]
async fn the_demo_asks_no_proxy_whatever_its_environment_says() {
    let trap = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", trap.local_addr().unwrap());
    let company = Company::new();
    let mut demo = tokio::process::Command::new(env!("CARGO_BIN_EXE_countersign"));
    demo.args([
        "demo",
        "--dir",
        ".",
        "--listen",
        "127.0.0.1:0",
        "--crm",
        "127.0.0.1:0",
        "--mail",
        "127.0.0.1:0",
        "--once",
    ]);
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
    {
        demo.env(name, &proxy);
    }
    demo.env_remove("no_proxy").env_remove("NO_PROXY").env_remove("REQUEST_METHOD");
    let ended = tokio::select! {
        ended = demo.current_dir(company.path()).output() => ended.unwrap(),
        reached = trap.accept() => panic!("the proxy was asked: {reached:?}"),
    };
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
}

#[tokio::test]
async fn the_demo_tells_its_story_starts_again_and_starts_afresh() {
    let company = Company::new();
    let demo = [
        "demo",
        "--dir",
        ".",
        "--listen",
        "127.0.0.1:0",
        "--crm",
        "127.0.0.1:0",
        "--mail",
        "127.0.0.1:0",
        "--once",
    ];
    for (more, says) in [(None, "Going on"), (None, "Going on"), (Some("--fresh"), "a new journal")]
    {
        let told = company.says(&demo.into_iter().chain(more).collect::<Vec<_>>());
        assert!(told.contains(says), "{told}");
        assert!(told.contains("Every step went as it must.") && !told.contains('✗'), "{told}");
        company.says(&["audit", "verify", "."]);
    }
}

/// Runs the program as a person does: its output is a terminal.
fn on_a_terminal(company: &Company, arguments: &[&str]) -> std::process::Output {
    std::process::Command::new("python3")
        .args([
            "-c",
            "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))",
        ])
        .arg(env!("CARGO_BIN_EXE_countersign"))
        .args(arguments)
        .current_dir(company.path())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap()
}

#[tokio::test]
async fn every_command_works_on_a_terminal() {
    let company = Company::new();
    for arguments in [
        &[
            "demo",
            "--dir",
            ".",
            "--listen",
            "127.0.0.1:0",
            "--crm",
            "127.0.0.1:0",
            "--mail",
            "127.0.0.1:0",
            "--once",
        ][..],
        &["check", "."],
        &["audit", "tail", "."],
        &["audit", "verify", "."],
        &["init", "fresh"],
    ] {
        let output = on_a_terminal(&company, arguments);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    }
    company.edit("posture/posture.yaml", |text| text.replace("limits:", "limit:"));
    let broken = on_a_terminal(&company, &["check", "."]);
    let said = String::from_utf8_lossy(&broken.stdout);
    assert_eq!(broken.status.code(), Some(1), "{said}");
    assert!(said.contains("\u{1b}[") && said.contains("did you mean"), "{said}");
}

#[tokio::test]
async fn the_demo_touches_no_folder_that_is_not_its_own() {
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("letters.txt"), "mine").unwrap();
    let company = Company::new();
    let folder = elsewhere.path().to_str().unwrap();
    for more in [&[][..], &["--fresh"]] {
        let mut arguments = vec![
            "demo",
            "--dir",
            folder,
            "--listen",
            "127.0.0.1:0",
            "--crm",
            "127.0.0.1:0",
            "--mail",
            "127.0.0.1:0",
            "--once",
        ];
        arguments.extend(more);
        assert_eq!(company.run(&arguments).status.code(), Some(2));
    }
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 1);
    // A folder that somebody prepared: a link in the place of a file that the demo writes.
    let victim = elsewhere.path().join("letters.txt");
    std::fs::remove_file(company.path().join("countersign.yaml")).unwrap();
    std::os::unix::fs::symlink(&victim, company.path().join("countersign.yaml")).unwrap();
    assert_eq!(company.run(&["demo", "--dir", ".", "--once"]).status.code(), Some(2));
    assert_eq!(std::fs::read_to_string(victim).unwrap(), "mine");
}
