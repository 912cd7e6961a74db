//! What agents may reach, drawn and told: every tool of every agent is there, and can be read.

use crate::gateway::Company;
use serde_json::Value;
use std::collections::BTreeSet;

/// Of each element of this name its attributes and what it holds.
fn elements<'a>(svg: &'a str, name: &str) -> Vec<(&'a str, &'a str)> {
    let begins = format!("<{name} ");
    let parts = svg.split(begins.as_str()).skip(1);
    parts.map(|part| part.split_once('>').unwrap()).collect()
}

fn number(attributes: &str, name: &str) -> usize {
    let begins = format!("{name}=\"");
    let at = format!(" {attributes}");
    let rest = at.split_once(&format!(" {begins}")).unwrap().1.to_owned();
    rest.split_once('"').unwrap().0.parse().unwrap()
}

/// Nothing of a picture is cut off, no two boxes meet, and each label stands in the box that it begins in,
/// at 8 pixels a character: more than the fonts take that are asked for.
fn can_be_read(svg: &str) {
    let (root, _) = elements(svg, "svg")[0];
    let (width, height) = (number(root, "width"), number(root, "height"));
    let boxes: Vec<_> = elements(svg, "rect")
        .iter()
        .map(|(of, _)| ["x", "y", "width", "height"].map(|name| number(of, name)))
        .collect();
    for [x, y, w, h] in &boxes {
        assert!(x + w <= width && y + h <= height, "{x} {y}");
        let meet = boxes
            .iter()
            .filter(|[a, b, c, d]| a < &(x + w) && x < &(a + c) && b < &(y + h) && y < &(b + d));
        assert_eq!(meet.count(), 1, "{x} {y}");
    }
    let mut lines: Vec<(usize, usize, usize)> = Vec::new();
    for (of, rest) in elements(svg, "text") {
        let label = rest.split_once('<').unwrap().0;
        let (x, y) = (number(of, "x"), number(of, "y"));
        let end = x + 8 * label.chars().count();
        assert!(end <= width && y <= height, "{label}");
        let own =
            boxes.iter().find(|[a, b, c, d]| (*a..a + c).contains(&x) && (*b..b + d).contains(&y));
        assert!(own.is_none_or(|[a, _, c, _]| end <= a + c), "{label}");
        lines.push((y, x, end));
    }
    lines.sort_unstable();
    for two in lines.windows(2) {
        assert!(two[0].0 != two[1].0 || two[0].2 <= two[1].1, "{two:?}");
    }
}

fn drawn(company: &Company) -> String {
    let svg = company.says(&["posture", "show", ".", "--format", "svg"]);
    can_be_read(&svg);
    let set = company.says(&["posture", "show", ".", "--format", "json"]);
    let set: Value = serde_json::from_str(&set).unwrap();
    let tools = set["agents"].as_array().unwrap().iter().flat_map(|agent| {
        agent["tools"].as_array().unwrap().iter().map(|tool| tool["tool"].as_str().unwrap())
    });
    let (all, tools) = (tools.clone().count(), tools.collect::<BTreeSet<_>>());
    for tool in &tools {
        assert!(svg.contains(&format!(">{tool}</text>")), "{tool}");
    }
    // A line for each grant, one from each tool to its system, four that say what lines mean.
    assert_eq!(svg.matches("<path ").count(), all + tools.len() + 4);
    svg
}

#[test]
fn everything_that_agents_may_reach_is_drawn_and_can_be_read() {
    let company = Company::new();
    let svg = drawn(&company);
    assert_eq!(svg, drawn(&company), "the same posture is drawn alike");
    for outside in ["http://", "https://", "url(", "<image", "<script", "href"] {
        let own = svg.replace("http://www.w3.org/2000/svg", "");
        assert!(!own.contains(outside), "{outside}");
    }
    // Both ways not to be undone are marked, and wait for a person.
    assert_eq!(svg.matches(">! irreversible, 4</text>").count(), 2);
    let markdown = company.says(&["posture", "show", ".", "--format", "markdown"]);
    // Every row has the cells of its table's header.
    let mut cells = None;
    for line in markdown.lines() {
        let count = line.replace("\\|", "").matches('|').count();
        cells = line.starts_with('|').then(|| cells.unwrap_or(count));
        assert!(cells.is_none_or(|cells| cells == count), "{line}");
    }
}

#[test]
fn a_picture_of_sixty_tools_can_be_read() {
    let company = Company::new();
    let tool = std::fs::read_to_string(company.path().join("posture/tools/get_account_usage.yaml"));
    let tool = tool.unwrap();
    let mut grants = String::new();
    for n in 0..44 {
        let name = format!("look_at_usage_of_an_account_in_another_way_{n}");
        let at = company.path().join(format!("posture/tools/{name}.yaml"));
        std::fs::write(at, tool.replace("tool: get_account_usage", &format!("tool: {name}")))
            .unwrap();
        grants.push_str(&format!("  - {{ tool: {name}, reason: \"To be drawn.\" }}\n"));
    }
    for agent in ["support-copilot", "dispatch-planner"] {
        company.edit(&format!("posture/agents/{agent}.yaml"), |text| {
            text.replacen("grants:\n", &format!("grants:\n{grants}"), 1)
        });
    }
    drawn(&company);
}

/// What people sign says that somebody agrees where somebody always does, and nowhere else.
#[test]
fn who_need_not_be_asked_for_a_time_or_where_a_decision_point_speaks_is_not_said_to_agree() {
    let of = |company: &Company, tool: &str| {
        let set = company.says(&["posture", "show", ".", "--format", "json"]);
        let set: Value = serde_json::from_str(&set).unwrap();
        let agents = set["agents"].as_array().unwrap().iter();
        let mut tools = agents.flat_map(|agent| agent["tools"].as_array().unwrap());
        tools.find(|of| of["tool"] == tool).unwrap().clone()
    };
    let company = Company::new();
    for (tool, figure) in
        [("refund_invoice", "amount_cents"), ("change_billing_address", "changes")]
    {
        let sound = of(&company, tool);
        assert_eq!((&sound["asks_people"], &sound["exception"]), (&true.into(), &Value::Null));
        assert_eq!(sound["worst_per_tenant"][figure]["gated"], true, "{sound}");
    }
    let dashed = drawn(&company).matches("stroke-dasharray").count();
    company.edit("posture/tools/refund_invoice.yaml", |text| {
        text + "exception: { rung: 2, reason: Quarter end., reviewed_by: sec@acme.example, expires: 2099-01-01 }\n"
    });
    company.edit("posture/tools/change_billing_address.yaml", |text| {
        text.replace(
            "approvers: { group: support-leads }",
            "approvers: { group: support-leads }\n  decision: { system: crm, path: /yes, timeout: 1s }",
        )
    });
    for tool in ["refund_invoice", "change_billing_address"] {
        let open = of(&company, tool);
        assert_eq!(open["asks_people"], false, "{open}");
        let figures = open["worst_per_tenant"].as_object().unwrap();
        assert!(figures.values().all(|figure| figure["gated"] == false), "{open}");
    }
    // The tool's box, its line to the system, and that of its one agent.
    assert_eq!(drawn(&company).matches("stroke-dasharray").count(), dashed - 2 * 3);
    let told = company.says(&["posture", "show", "."]);
    assert!(told.contains("EXCEPTION"), "{told}");
}
