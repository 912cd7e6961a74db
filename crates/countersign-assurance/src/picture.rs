//! What a posture lets agents reach, drawn: agents, their tools, the systems behind these, from left to
//! right.
//!
//! Every tool has a row of its own, so that no two labels meet, and a box is as wide as the widest text in
//! its column. Which row is whose is found by sweeps that put each box at the middle of its neighbours;
//! of all that were tried the one with the fewest crossings stands.

use crate::permission::{May, PermissionSet};
use crate::svg::{CHAR, Picture, path, rect, short, text, width};
use countersign_core::tool::Effect;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

const MARGIN: usize = 20;
const HEAD: usize = 48;
const FOOT: usize = 44;
const PAD: usize = 12;
const BOX: usize = 30;
const PITCH: usize = 40;
/// Between two columns.
const BETWEEN: usize = 150;
/// The least between what agents are called and what tools are said to be.
const TAG_GAP: usize = 2 * CHAR;
const SWEEPS: usize = 12;

/// Draws a permission set.
#[must_use]
pub fn picture(set: &PermissionSet) -> Picture {
    let layers = Layers::of(set).untangled();
    let [agents, tools, systems] = layers.rows();
    let high = agents.len().max(tools.len()).max(systems.len()) * PITCH;
    let columns = layers.columns();
    let mut drawn = String::new();
    for (at, name) in ["Agents", "Tools", "Systems"].iter().enumerate() {
        let (x, _) = columns.get(at).copied().unwrap_or_default();
        text(&mut drawn, (x, MARGIN + 14), " font-weight=\"bold\"", name);
    }
    let tool_rows: Vec<_> = (0..tools.len()).map(|row| HEAD + row * PITCH).collect();
    let left = beside(&layers.to_agents(), agents.len(), &tool_rows, high);
    let right = beside(&layers.systems, systems.len(), &tool_rows, high);
    layers.lines(&mut drawn, &columns, (&left, &tool_rows, &right));
    layers.boxes(&mut drawn, &columns, (&left, &tool_rows, &right));
    let across = columns.last().map_or(0, |(x, wide)| x + wide + MARGIN);
    let needed = legend(&mut drawn, HEAD + high + MARGIN);
    Picture {
        id: "reach".to_owned(),
        title: format!("{}: what agents may reach", set.organisation),
        told: told(set),
        size: (across.max(needed), HEAD + high + FOOT),
        drawn,
    }
}

/// For those who do not see it.
fn told(set: &PermissionSet) -> String {
    let agents = set.agents.iter().map(|of| {
        let tools = of.tools.iter().map(|may| {
            let gated = if may.asks_people { ", which a person has to agree to" } else { "" };
            format!("{} ({}, in {}{gated})", may.tool, may.effect.as_str(), may.system)
        });
        let tools = tools.collect::<Vec<_>>().join("; ");
        format!("{} may use {tools}.", of.agent.agent)
    });
    agents.collect::<Vec<_>>().join(" ")
}

/// What is drawn, each column in the order in which it is drawn.
#[derive(Clone)]
struct Layers<'a> {
    agents: Vec<&'a str>,
    tools: Vec<&'a May>,
    systems_named: Vec<(&'a str, &'static str)>,
    /// Agent and tool, by their places.
    grants: Vec<(usize, usize)>,
    /// Of each tool the place of its system, and of itself.
    systems: Vec<(usize, usize)>,
}

impl<'a> Layers<'a> {
    fn of(set: &'a PermissionSet) -> Self {
        let agents: Vec<_> = set.agents.iter().map(|of| of.agent.agent.as_str()).collect();
        let all = set.agents.iter().flat_map(|of| &of.tools);
        let tools: BTreeMap<_, _> =
            all.map(|may| ((may.system.as_str(), may.tool.as_str()), may)).collect();
        let named: BTreeSet<_> =
            tools.values().map(|may| (may.system.as_str(), may.kind)).collect();
        let systems_named: Vec<_> = named.into_iter().collect();
        let tools: Vec<_> = tools.into_values().collect();
        let place = |name: &str| tools.iter().position(|may| may.tool == name);
        let grants = set
            .agents
            .iter()
            .enumerate()
            .flat_map(|(agent, of)| of.tools.iter().map(move |may| (agent, may.tool.as_str())));
        let grants = grants.filter_map(|(agent, tool)| Some((agent, place(tool)?))).collect();
        let systems = tools.iter().enumerate().filter_map(|(tool, may)| {
            Some((systems_named.iter().position(|(name, _)| *name == may.system)?, tool))
        });
        let systems = systems.collect();
        Self { agents, tools, systems_named, grants, systems }
    }

    fn rows(&self) -> [Vec<usize>; 3] {
        [self.agents.len(), self.tools.len(), self.systems_named.len()].map(|n| (0..n).collect())
    }

    fn to_agents(&self) -> Vec<(usize, usize)> {
        self.grants.clone()
    }

    /// The same with as few crossings as the sweeps find.
    fn untangled(self) -> Self {
        let mut best = self.clone();
        let mut now = self;
        for _ in 0..SWEEPS {
            now = now.swept();
            if now.crossings() < best.crossings() {
                best = now.clone();
            }
        }
        best
    }

    /// Agents and systems at the middle of their tools, then tools at the middle of both.
    fn swept(&self) -> Self {
        let tools = self.tools.len();
        let agents = order(&middles(&self.grants, self.agents.len(), tools));
        let systems = order(&middles(&self.systems, self.systems_named.len(), tools));
        let placed = self.moved(&agents, &(0..tools).collect::<Vec<_>>(), &systems);
        let turned = |of: &[(usize, usize)]| of.iter().map(|(a, b)| (*b, *a)).collect::<Vec<_>>();
        let by_system = middles(&turned(&placed.systems), tools, systems.len());
        let by_agent = middles(&turned(&placed.grants), tools, agents.len());
        // A system's tools stay together: lines to systems are as many as there are tools.
        let both: Vec<_> = by_system
            .iter()
            .zip(&by_agent)
            .map(|(system, agent)| system.saturating_mul(SCALE * 4).saturating_add(*agent))
            .collect();
        let same: Vec<_> = (0..agents.len()).collect();
        placed.moved(&same, &order(&both), &(0..systems.len()).collect::<Vec<_>>())
    }

    /// With each column in this order of its places now.
    fn moved(&self, agents: &[usize], tools: &[usize], systems: &[usize]) -> Self {
        let new = |order: &[usize], old: usize| {
            order.iter().position(|place| *place == old).unwrap_or_default()
        };
        let moved = |of: &[(usize, usize)], order: &[usize]| {
            of.iter().map(|(a, b)| (new(order, *a), new(tools, *b))).collect()
        };
        let pick = |places: &[usize]| places.to_vec();
        Self {
            grants: moved(&self.grants, agents),
            systems: moved(&self.systems, systems),
            agents: pick(agents).iter().filter_map(|at| self.agents.get(*at).copied()).collect(),
            tools: pick(tools).iter().filter_map(|at| self.tools.get(*at).copied()).collect(),
            systems_named: pick(systems)
                .iter()
                .filter_map(|at| self.systems_named.get(*at).copied())
                .collect(),
        }
    }

    fn crossings(&self) -> usize {
        crossings(&self.grants) + crossings(&self.systems)
    }

    /// Where each column begins, and how wide it is.
    fn columns(&self) -> [(usize, usize); 3] {
        let widest = |texts: Vec<usize>| texts.into_iter().max().unwrap_or(0) + 2 * PAD;
        let agents = widest(self.agents.iter().map(|name| width(&short(name))).collect());
        let tools =
            self.tools.iter().map(|may| width(&short(&may.tool)) + TAG_GAP + width(&tag(may)));
        let tools = widest(tools.collect());
        let systems = self.systems_named.iter();
        let systems = widest(systems.map(|system| width(&named(system))).collect());
        let second = MARGIN + agents + BETWEEN;
        [(MARGIN, agents), (second, tools), (second + tools + BETWEEN, systems)]
    }

    fn lines(&self, drawn: &mut String, columns: &Columns, (left, tools, right): Places<'_>) {
        let [(agents_x, agents_wide), (tools_x, tools_wide), (systems_x, _)] = *columns;
        let mut lines: Vec<_> = Vec::new();
        let turned = |of: &[(usize, usize)]| of.iter().map(|(a, b)| (*b, *a)).collect::<Vec<_>>();
        let (by_tool, by_system) = (turned(&self.grants), turned(&self.systems));
        let grants = ports(&self.grants, left).into_iter().zip(ports(&by_tool, tools));
        for ((_, tool), (from, to)) in self.grants.iter().zip(grants) {
            lines.push((*tool, (agents_x + agents_wide, from), (tools_x, to)));
        }
        let systems = ports(&by_system, tools).into_iter().zip(ports(&self.systems, right));
        for ((_, tool), (from, to)) in self.systems.iter().zip(systems) {
            lines.push((*tool, (tools_x + tools_wide, from), (systems_x, to)));
        }
        // What weighs most is drawn last, on top.
        lines.sort_by_key(|(tool, ..)| self.tools.get(*tool).map(|may| may.effect));
        for (tool, (x, y), (to_x, to_y)) in lines {
            let Some(may) = self.tools.get(tool) else { continue };
            let half = (to_x - x) / 2;
            let (near, far) = (x + half, to_x - half);
            path(
                drawn,
                &format!("M{x} {y}C{near} {y} {far} {to_y} {to_x} {to_y}"),
                &stroke(may.effect, may.asks_people),
            );
        }
    }

    fn boxes(&self, drawn: &mut String, columns: &Columns, (left, tools, right): Places<'_>) {
        let [(agents_x, agents_wide), (tools_x, tools_wide), (systems_x, systems_wide)] = *columns;
        let plain = " fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.5\"";
        for (name, y) in self.agents.iter().zip(left) {
            rect(drawn, (agents_x, *y), (agents_wide, BOX), plain);
            text(drawn, (agents_x + PAD, y + 20), "", &short(name));
        }
        for (may, y) in self.tools.iter().zip(tools) {
            let stroke = stroke(may.effect, may.asks_people);
            let more = format!(" fill=\"none\" stroke=\"currentColor\"{stroke}");
            rect(drawn, (tools_x, *y), (tools_wide, BOX), &more);
            text(drawn, (tools_x + PAD, y + 20), "", &short(&may.tool));
            let tag = tag(may);
            let x = tools_x + tools_wide - PAD - width(&tag);
            text(drawn, (x, y + 20), class(may.effect), &tag);
        }
        for (system, y) in self.systems_named.iter().zip(right) {
            rect(drawn, (systems_x, *y), (systems_wide, BOX), plain);
            text(drawn, (systems_x + PAD, y + 20), "", &named(system));
        }
    }
}

type Columns = [(usize, usize); 3];
type Places<'a> = (&'a [usize], &'a [usize], &'a [usize]);

/// What is said of a tool beside its name.
fn tag(may: &May) -> String {
    let mark = if may.effect == Effect::Irreversible { "! " } else { "" };
    format!("{mark}{}, {}", may.effect.as_str(), may.rung)
}

fn named((name, kind): &(&str, &'static str)) -> String {
    format!("{} ({kind})", short(name))
}

const fn class(effect: Effect) -> &'static str {
    match effect {
        Effect::Irreversible => {
            " class=\"irreversible\" fill=\"currentColor\" font-weight=\"bold\""
        }
        Effect::Read | Effect::Reversible | Effect::Persistent => " fill-opacity=\"0.75\"",
    }
}

fn stroke(effect: Effect, gated: bool) -> String {
    let of_effect = match effect {
        Effect::Read => " stroke-width=\"1\" stroke-opacity=\"0.6\"",
        Effect::Reversible | Effect::Persistent => " stroke-width=\"2\"",
        Effect::Irreversible => " class=\"irreversible\" stroke-width=\"3\"",
    };
    let dashed = if gated { " stroke-dasharray=\"7 4\"" } else { "" };
    format!("{of_effect}{dashed}")
}

/// What the lines mean; returns how wide that is.
fn legend(drawn: &mut String, y: usize) -> usize {
    let all = [
        (Effect::Read, false, "reads"),
        (Effect::Persistent, false, "changes"),
        (Effect::Irreversible, false, "! irreversible"),
        (Effect::Persistent, true, "waits for a person"),
    ];
    let mut x = MARGIN;
    for (effect, gated, means) in all {
        path(drawn, &format!("M{x} {y}h36"), &stroke(effect, gated));
        text(drawn, (x + 44, y + 5), "", means);
        x += 44 + width(means) + 2 * MARGIN;
    }
    text(drawn, (x, y + 5), "", "1 to 4: the step of the ladder");
    x + width("1 to 4: the step of the ladder") + MARGIN
}

/// So many parts has the way from one place to the next, where middles are compared.
const SCALE: usize = 1_024;

/// Of each of `count` places on the first side the middle of its neighbours on the other; those without
/// are last.
fn middles(lines: &[(usize, usize)], count: usize, last: usize) -> Vec<usize> {
    let mut sums = vec![(0, 0); count];
    for (from, to) in lines {
        if let Some((sum, of)) = sums.get_mut(*from) {
            *sum += to * SCALE;
            *of += 1;
        }
    }
    sums.into_iter()
        .map(|(sum, of): (usize, usize)| sum.checked_div(of).unwrap_or(last * SCALE))
        .collect()
}

/// The places in order of these keys, and as they were where these are alike.
fn order(keys: &[usize]) -> Vec<usize> {
    let mut places: Vec<_> = keys.iter().enumerate().collect();
    places.sort_by_key(|(_, key)| **key);
    places.into_iter().map(|(place, _)| place).collect()
}

/// How many pairs of lines cross: pairs in order on one side and not on the other.
fn crossings(lines: &[(usize, usize)]) -> usize {
    let mut sorted = lines.to_vec();
    sorted.sort_unstable();
    let (mut seen, mut found) = (BTreeMap::<Reverse<usize>, usize>::new(), 0);
    for (_, to) in sorted {
        found += seen.range(..Reverse(to)).map(|(_, count)| count).sum::<usize>();
        *seen.entry(Reverse(to)).or_default() += 1;
    }
    found
}

/// Where the boxes of a column stand: each as near the middle of its tools as the others leave room.
fn beside(lines: &[(usize, usize)], count: usize, rows: &[usize], high: usize) -> Vec<usize> {
    let mut places = Vec::with_capacity(count);
    let mut least = HEAD;
    for middle in middles(lines, count, rows.len().saturating_sub(1)) {
        let wanted = HEAD + middle * PITCH / SCALE;
        let y = wanted.max(least);
        places.push(y);
        least = y + PITCH;
    }
    let mut most = (HEAD + high).saturating_sub(PITCH);
    for y in places.iter_mut().rev() {
        *y = (*y).min(most);
        most = most.saturating_sub(PITCH);
    }
    places
}

/// Where each line meets the box that it begins at: those of one box share its side, in the order of
/// where they go.
fn ports(lines: &[(usize, usize)], boxes: &[usize]) -> Vec<usize> {
    let mut of_box: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (own, other) in lines {
        of_box.entry(*own).or_default().push(*other);
    }
    of_box.values_mut().for_each(|others| others.sort_unstable());
    let port = |(own, other): &(usize, usize)| {
        let others = of_box.get(own).map(Vec::as_slice).unwrap_or_default();
        let before = others.partition_point(|at| at < other);
        let top = boxes.get(*own).copied().unwrap_or_default();
        top + BOX * (before + 1) / (others.len() + 1)
    };
    lines.iter().map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crossings_are_those_that_are_seen() {
        assert_eq!(crossings(&[(0, 0), (1, 1)]), 0);
        assert_eq!(crossings(&[(0, 1), (1, 0)]), 1);
        assert_eq!(crossings(&[(0, 0), (0, 1), (1, 0), (1, 1)]), 1);
        assert_eq!(crossings(&[(0, 2), (1, 1), (2, 0)]), 3);
    }

    #[test]
    fn no_two_boxes_of_a_column_meet_and_none_is_outside() {
        let rows: Vec<_> = (0..7).map(|row| HEAD + row * PITCH).collect();
        for lines in [vec![(0, 6), (1, 6), (2, 6)], vec![(0, 0), (1, 0), (2, 0)], vec![]] {
            let places = beside(&lines, 3, &rows, 7 * PITCH);
            assert!(places.windows(2).all(|two| two[1] - two[0] >= PITCH), "{places:?}");
            assert!(places[0] >= HEAD && places[2] <= HEAD + 6 * PITCH, "{places:?}");
        }
    }
}
