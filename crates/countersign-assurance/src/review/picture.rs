//! Systems and trust boundaries, drawn: agents and people on the left, the gateway in the middle, what it
//! reaches on the right. Widths and heights follow from the names alone.

use crate::markup::escaped;
use crate::threat::Ground;
use countersign_posture::{Backend, SystemSpec};

const WIDTH: usize = 900;
/// Where the three columns begin, and how wide each is.
const COLUMNS: [usize; 3] = [10, 325, 640];
const COLUMN_WIDTH: usize = 250;
/// How far a box stands in from its column, and how large it is.
const INSET: usize = 14;
const BOX: (usize, usize) = (222, 32);
/// From one box of a column to the next.
const ROW: usize = 44;
/// Where the first begins.
const TOP: usize = 70;
/// Longest name in a box, in characters.
const NAME_CHARS_MAX: usize = 26;
/// Longest line in the small letters of a column, in characters.
const BELOW_CHARS_MAX: usize = 40;

/// What has been drawn so far, and how many rows there are.
struct Drawn {
    text: String,
    rows: usize,
}

/// Where a row begins.
const fn y_of(row: usize) -> usize {
    row.saturating_mul(ROW).saturating_add(TOP)
}

impl Drawn {
    /// Where the last row begins.
    const fn last(&self) -> usize {
        y_of(self.rows.saturating_sub(1))
    }

    const fn height(&self) -> usize {
        y_of(self.rows).saturating_add(20)
    }

    /// Where the gateway's own box ends.
    const fn gateway_ends(&self) -> usize {
        self.last().saturating_sub(16)
    }

    fn rect(&mut self, (x, y): (usize, usize), (width, height): (usize, usize), class: &str) {
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

    fn line(&mut self, (x1, y1): (usize, usize), (x2, y2): (usize, usize)) {
        self.text.push_str(&format!(
            "<line class=\"l\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" marker-end=\"url(#head)\"/>"
        ));
    }

    /// A column: what it is, and what that means.
    fn column(&mut self, column: usize, ends: usize, [title, below]: [&str; 2]) {
        self.rect((column, 10), (COLUMN_WIDTH, ends.saturating_sub(10)), "z");
        let x = column.saturating_add(INSET);
        self.word((x, 34), "t", title);
        self.word((x, 52), "k", below);
    }

    /// A box at `y` with a name in it.
    fn named(&mut self, column: usize, y: usize, (class, name): (&str, &str)) {
        let x = column.saturating_add(INSET);
        self.rect((x, y), BOX, class);
        self.word((x.saturating_add(12), y.saturating_add(21)), "n", &shortened(name));
    }

    /// From a box on the left at `y` to the gateway.
    fn enters(&mut self, y: usize) {
        let [left, middle, _] = COLUMNS;
        let from = y.saturating_add(BOX.1 / 2);
        let to = from.min(self.gateway_ends().saturating_sub(8));
        let x = left.saturating_add(INSET).saturating_add(BOX.0);
        self.line((x, from), (middle.saturating_add(INSET), to));
    }

    /// From the gateway to a box on the right at `y`.
    fn leaves(&mut self, y: usize) {
        let [_, middle, right] = COLUMNS;
        let to = y.saturating_add(BOX.1 / 2);
        let from = to.min(self.gateway_ends().saturating_sub(8));
        let x = middle.saturating_add(INSET).saturating_add(BOX.0);
        self.line((x, from), (right.saturating_add(INSET), to));
    }

    fn outside(&mut self, agents: &[String], (people, known): (&str, &str)) {
        let [left, ..] = COLUMNS;
        let last = self.last();
        let ends = last.saturating_sub(36);
        self.column(left, ends, ["Outside: not trusted", "agents, their models and hosts"]);
        for (row, agent) in agents.iter().enumerate() {
            self.named(left, y_of(row), ("u", agent));
            self.enters(y_of(row));
        }
        let begins = ends.saturating_add(8);
        let rest = self.height().saturating_sub(begins).saturating_sub(10);
        self.rect((left, begins), (COLUMN_WIDTH, rest), "z");
        let x = left.saturating_add(INSET);
        self.word((x, last.saturating_sub(10)), "k", &shortened_to(known, BELOW_CHARS_MAX));
        self.named(left, last, ("p", people));
        self.enters(last);
    }

    fn gateway(&mut self, journal: &str) {
        let [_, middle, _] = COLUMNS;
        let ends = self.height().saturating_sub(10);
        self.column(middle, ends, ["The gateway's machine", "the only holder of credentials"]);
        let (x, ends) = (middle.saturating_add(INSET), self.gateway_ends());
        self.rect((x, TOP), (BOX.0, ends.saturating_sub(TOP)), "g");
        let x = x.saturating_add(12);
        self.word((x, 94), "t", "Countersign");
        self.word((x, 114), "k", "token, grant, limits, input, tenant,");
        self.word((x, 134), "k", "policy, gate, intent on record");
        let last = self.last();
        self.named(middle, last, ("p", journal));
        let centre = middle.saturating_add(COLUMN_WIDTH / 2);
        self.line((centre, ends), (centre, last));
    }

    fn systems(&mut self, systems: &[&SystemSpec]) {
        let [_, _, right] = COLUMNS;
        let ends = self.height().saturating_sub(10);
        self.column(right, ends, ["Production systems", "reached by the gateway alone"]);
        for (row, system) in systems.iter().enumerate() {
            let kind = match &system.backend {
                Backend::Sqlite { .. } => "SQLite",
                Backend::Postgres { .. } => "PostgreSQL",
                Backend::Http { .. } => "HTTP API",
                Backend::Email(_) => "mail server",
                Backend::Mcp(_) => "MCP server",
            };
            let (x, y) = (right.saturating_add(INSET), y_of(row));
            self.rect((x, y), BOX, "s");
            let x = x.saturating_add(12);
            self.word((x, y.saturating_add(14)), "n", &shortened(system.name.as_str()));
            self.word((x, y.saturating_add(27)), "k", kind);
            self.leaves(y);
        }
    }
}

fn shortened(word: &str) -> String {
    shortened_to(word, NAME_CHARS_MAX)
}

fn shortened_to(word: &str, chars: usize) -> String {
    match word.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", word.get(..end).unwrap_or_default()),
        None => word.to_owned(),
    }
}

const STYLE: &str = ".z{fill:#f6f8fa;stroke:#57606a;stroke-dasharray:6 4}.u{fill:#fff;stroke:#b42318}.g{fill:#fff;stroke:#0550ae;stroke-width:2}.s{fill:#fff;stroke:#1a7f37}.p{fill:#fff;stroke:#57606a}.l{stroke:#57606a;stroke-width:1.2}.t{font:600 13px system-ui,sans-serif;fill:#1b1f24}.n{font:13px system-ui,sans-serif;fill:#1b1f24}.k{font:11px system-ui,sans-serif;fill:#57606a}";

/// The drawing, and what it shows in words.
pub(super) fn boundaries(ground: &Ground<'_>) -> (String, String) {
    let agents: Vec<_> = ground.loaded.register.iter().map(|e| e.agent.to_string()).collect();
    let systems: Vec<_> = ground.loaded.systems.values().collect();
    let (people, known) = match &ground.deployment.people {
        Some(people) => ("People who approve", format!("sign in at {}", people.issuer)),
        None => ("Nobody can sign in", String::new()),
    };
    let journal = match ground.deployment.relay.exporters.is_empty() {
        true => "Journal, not exported",
        false => "Journal, handed on",
    };
    // People stand below the agents, with a row between.
    let rows = agents.len().saturating_add(2).max(systems.len()).max(4);
    let mut drawn = Drawn { text: String::new(), rows };
    drawn.gateway(journal);
    drawn.systems(&systems);
    // Last, so that its lines lie over the gateway's column.
    drawn.outside(&agents, (people, &known));
    let told = format!(
        "Agents ({}) are outside and not trusted. They reach the gateway alone, with a token. It reaches the systems ({}) and holds the credentials. People ({}) and the journal ({}) are on its side.",
        super::listed(&agents),
        super::listed(systems.iter().map(|system| &system.name)),
        people.to_lowercase(),
        journal.to_lowercase(),
    );
    let svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{}\" xmlns=\"http://www.w3.org/2000/svg\"><style>{STYLE}</style><defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#57606a\"/></marker></defs>{}</svg>",
        drawn.height(),
        escaped(&told),
        drawn.text
    );
    (svg, told)
}
