//! Systems and trust boundaries, drawn: agents and people on the left, the gateway in the middle, what it
//! reaches on the right. Widths and heights follow from the names alone.

use super::html::escaped;
use crate::threat::Ground;
use countersign_posture::Backend;

const WIDTH: usize = 900;
const ROW: usize = 44;
const TOP: usize = 70;
/// Longest name in a box, in characters.
const NAME_CHARS_MAX: usize = 26;

/// What has been drawn so far.
struct Drawn {
    text: String,
}

impl Drawn {
    fn rect(&mut self, (x, y, width, height): (usize, usize, usize, usize), class: &str) {
        self.text.push_str(&format!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"6\"/>"
        ));
    }

    fn word(&mut self, (x, y): (usize, usize), class: &str, word: &str) {
        self.text.push_str(&format!(
            "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>",
            escaped(word)
        ));
    }

    fn line(&mut self, (x1, y1): (usize, usize), (x2, y2): (usize, usize), class: &str) {
        self.text.push_str(&format!(
            "<line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" marker-end=\"url(#head)\"/>"
        ));
    }
}

fn shortened(word: &str) -> String {
    match word.char_indices().nth(NAME_CHARS_MAX) {
        Some((end, _)) => format!("{}…", word.get(..end).unwrap_or_default()),
        None => word.to_owned(),
    }
}

const STYLE: &str = ".z{fill:#f6f8fa;stroke:#57606a;stroke-dasharray:6 4}.u{fill:#fff;stroke:#b42318}.g{fill:#fff;stroke:#0550ae;stroke-width:2}.s{fill:#fff;stroke:#1a7f37}.p{fill:#fff;stroke:#57606a}.l{stroke:#57606a;stroke-width:1.2}.t{font:600 13px system-ui,sans-serif;fill:#1b1f24}.n{font:13px system-ui,sans-serif;fill:#1b1f24}.k{font:11px system-ui,sans-serif;fill:#57606a}";

/// The drawing, and what it shows in words.
pub(super) fn boundaries(ground: &Ground<'_>) -> (String, String) {
    let agents: Vec<_> = ground.loaded.register.iter().map(|e| e.agent.to_string()).collect();
    let systems: Vec<_> = ground.loaded.systems.values().collect();
    let people = if ground.deployment.people.is_some() {
        "People who approve"
    } else {
        "Nobody can sign in"
    };
    // The left column has people below the agents.
    let rows = agents.len().saturating_add(2).max(systems.len()).max(4);
    let height = rows.saturating_mul(ROW).saturating_add(TOP).saturating_add(30);
    let inner = height.saturating_sub(20);
    let y_of = |row: usize| row.saturating_mul(ROW).saturating_add(TOP);
    let mut drawn = Drawn { text: String::new() };
    let people_at = y_of(rows.saturating_sub(1));
    drawn.rect((10, 10, 250, people_at.saturating_sub(46)), "z");
    drawn.rect(
        (
            10,
            people_at.saturating_sub(28),
            250,
            height.saturating_sub(people_at).saturating_add(18),
        ),
        "z",
    );
    drawn.word((24, people_at.saturating_sub(10)), "k", "known by the company's own issuer");
    drawn.rect((325, 10, 250, inner), "z");
    drawn.rect((640, 10, 250, inner), "z");
    drawn.word((24, 34), "t", "Outside: not trusted");
    drawn.word((339, 34), "t", "The gateway's machine");
    drawn.word((654, 34), "t", "Production systems");
    drawn.word((24, 52), "k", "agents, their models and hosts");
    drawn.word((339, 52), "k", "the only holder of credentials");
    drawn.word((654, 52), "k", "reached by the gateway alone");
    let gate: (usize, usize, usize, usize) =
        (340, y_of(0), 220, inner.saturating_sub(TOP).saturating_sub(ROW).saturating_sub(18));
    let (left, right) = (gate.0, gate.0.saturating_add(gate.2));
    let low = gate.1.saturating_add(gate.3);
    for (row, agent) in agents.iter().enumerate() {
        let y = y_of(row);
        drawn.rect((24, y, 222, 32), "u");
        drawn.word((36, y.saturating_add(21)), "n", &shortened(agent));
        let to = y.saturating_add(16).min(low.saturating_sub(10));
        drawn.line((246, y.saturating_add(16)), (left, to), "l");
    }
    let y = y_of(rows.saturating_sub(1));
    drawn.rect((24, y, 222, 32), "p");
    drawn.word((36, y.saturating_add(21)), "n", people);
    drawn.line((246, y.saturating_add(16)), (left, low.saturating_sub(8)), "l");
    drawn.rect(gate, "g");
    let middle = gate.1.saturating_add(24);
    for (row, (class, said)) in [
        ("t", "Countersign"),
        ("k", "token, grant, limits, input, tenant,"),
        ("k", "policy, gate, intent on record"),
    ]
    .into_iter()
    .enumerate()
    {
        let y = middle.saturating_add(row.saturating_mul(20));
        drawn.word((354, y), class, said);
    }
    drawn.rect((340, y, 220, 32), "p");
    let journal = if ground.deployment.relay.exporters.is_empty() {
        "Journal, not exported"
    } else {
        "Journal, exported"
    };
    drawn.word((354, y.saturating_add(21)), "n", journal);
    drawn.line((450, low), (450, y), "l");
    for (row, system) in systems.iter().enumerate() {
        let y = y_of(row);
        drawn.rect((654, y, 222, 32), "s");
        drawn.word((666, y.saturating_add(14)), "n", &shortened(system.name.as_str()));
        let kind = match &system.backend {
            Backend::Sqlite { .. } => "SQLite",
            Backend::Postgres { .. } => "PostgreSQL",
            Backend::Http { .. } => "HTTP API",
            Backend::Email(_) => "mail server",
            Backend::Mcp(_) => "MCP server",
        };
        drawn.word((666, y.saturating_add(27)), "k", kind);
        let from = y.saturating_add(16).min(low.saturating_sub(10));
        drawn.line((right, from), (654, y.saturating_add(16)), "l");
    }
    let told = format!(
        "Agents ({}) are outside and not trusted. They reach the gateway alone, with a token. It reaches the systems ({}) and holds the credentials. People ({}) and the journal are on its side.",
        super::listed(&agents),
        super::listed(systems.iter().map(|system| &system.name)),
        people.to_lowercase(),
    );
    let svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\" xmlns=\"http://www.w3.org/2000/svg\"><style>{STYLE}</style><defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#57606a\"/></marker></defs>{}</svg>",
        escaped(&told),
        drawn.text
    );
    (svg, told)
}
