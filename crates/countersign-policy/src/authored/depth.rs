//! How deep a policy goes, told before Cedar reads it: Cedar reads and evaluates by recursion, and
//! a text that nests without end would end the process.

use std::ops::Range;

/// Deepest nesting of brackets.
const NESTING_MAX: usize = 16;
/// Deepest evaluation: nested brackets, and within each the operators, and the members of members,
/// that stand in a row.
const DEPTH_MAX: usize = 32;

/// Where the first policy goes deeper than it may, if one does.
pub(crate) fn too_deep(text: &str) -> Option<Range<usize>> {
    let mut levels = vec![Level::default()];
    let tokens = Tokens { text, at: 0 };
    for (at, token) in tokens {
        if matches!(token, ")" | "]" | "}") && levels.len() > 1 {
            levels.pop();
        }
        if let Some(level) = levels.last_mut() {
            level.take(token);
        }
        if matches!(token, "(" | "[" | "{") {
            levels.push(Level::default());
        }
        let depth = levels.iter().map(Level::depth).fold(0, usize::saturating_add);
        if levels.len() > NESTING_MAX.saturating_add(1) || depth > DEPTH_MAX {
            return Some(at..at.saturating_add(token.len()));
        }
    }
    None
}

/// Where each policy of a text stands: a semicolon ends one wherever it stands, so what is wrong with
/// one is told apart from the next.
pub(crate) fn policies(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = None;
    let mut end = 0;
    for (at, token) in (Tokens { text, at: 0 }) {
        let start = *from.get_or_insert(at);
        end = at.saturating_add(token.len());
        if token == ";" {
            found.push(start..end);
            from = None;
        }
    }
    found.extend(from.map(|start| start..end));
    found
}

/// What stands in a row between two brackets.
#[derive(Debug, Default)]
struct Level {
    operators: usize,
    members: usize,
}

impl Level {
    fn depth(&self) -> usize {
        self.operators.saturating_add(self.members).saturating_add(1)
    }

    fn take(&mut self, token: &str) {
        match token {
            "," | ";" => *self = Self::default(),
            "." | "(" | "[" | "{" => self.members = self.members.saturating_add(1),
            "&" | "|" | "+" | "-" | "*" | "!" | "if" | "when" | "unless" => {
                self.operators = self.operators.saturating_add(1);
                self.members = 0;
            }
            _ => {}
        }
    }
}

/// Where a word stands outside of strings and comments.
pub(crate) fn word_at(text: &str, word: &str) -> Option<usize> {
    let mut tokens = Tokens { text, at: 0 };
    tokens.find(|(_, token)| *token == word).map(|(at, _)| at)
}

/// Words, strings and single characters of a text, without comments and space. `&&` is one token.
struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.text.get(self.at..)?;
            let first = rest.chars().next()?;
            let length = match first {
                '"' => string(rest),
                '/' if rest.starts_with("//") => rest.find(['\n', '\r']).unwrap_or(rest.len()),
                _ if word(first) => rest.find(|c| !word(c)).unwrap_or(rest.len()),
                '&' | '|' => rest.len().saturating_sub(rest.trim_start_matches(first).len()),
                _ => first.len_utf8(),
            };
            let at = self.at;
            self.at = at.saturating_add(length);
            if !first.is_whitespace() && !rest.starts_with("//") {
                let shown = if matches!(first, '&' | '|') { 1 } else { length };
                return Some((at, rest.get(..shown)?));
            }
        }
    }
}

fn word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of a string literal, which may not be closed.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at.saturating_add(1),
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cedar_policy::{Authorizer, Context, Entities, PolicySet, Request, Schema, Validator};

    fn policy(condition: &str) -> String {
        format!("@id(\"a\") forbid (principal, action, resource) when {{ {condition} }};")
    }

    /// What goes as deep as `depth` by each way there is.
    fn deep(depth: usize) -> Vec<String> {
        let nested =
            |open: &str, close: &str| format!("{}true{}", open.repeat(depth), close.repeat(depth));
        let chained = |term: &str, operator: &str| vec![term; depth].join(operator);
        vec![
            policy(&nested("(", ")")),
            policy(&nested("!(", ")")),
            policy(&format!("{} == [1]", nested("[", "]"))),
            policy(&nested("if true then (", ") else false")),
            policy(&nested("if true then true else ", "")),
            policy(&chained("principal.agent == \"a\"", " && ")),
            policy(&chained("principal.agent == \"a\"", "||")),
            policy(&format!("{} > 3", chained("1", "+"))),
            policy(&format!("{} > 3", chained("1", " -"))),
            policy(&format!("context{} == 1", ".a".repeat(depth))),
            policy(&format!("context{} == 1", "[\"a\"]".repeat(depth))),
            policy(&format!("context{} == 1", ".contains(1)".repeat(depth))),
            policy(&chained("true", " } when { ")),
        ]
    }

    /// In as little stack as any thread of the gateway has, and with nothing optimised.
    fn in_a_small_stack(work: impl FnOnce() + Send + 'static) {
        let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
        thread.spawn(work).unwrap().join().unwrap();
    }

    #[test]
    fn what_is_let_through_can_be_read_validated_and_evaluated() {
        in_a_small_stack(|| {
            let schema: Schema = "entity Caller = { \"agent\": String }; entity Tool;
                action \"t\" appliesTo { principal: [Caller], resource: [Tool], context: {} };"
                .parse()
                .unwrap();
            let mut let_through = 0;
            for text in
                (1..DEPTH_MAX).step_by(3).flat_map(deep).filter(|text| too_deep(text).is_none())
            {
                let_through += 1;
                let policies: PolicySet = text.parse().unwrap();
                let _judged = Validator::new(schema.clone())
                    .validate(&policies, cedar_policy::ValidationMode::Strict);
                let any = || r#"Tool::"any""#.parse().unwrap();
                let request = Request::new(any(), any(), any(), Context::empty(), None).unwrap();
                let response =
                    Authorizer::new().is_authorized(&request, &policies, &Entities::empty());
                for error in response.diagnostics().errors() {
                    assert!(!error.to_string().contains("recursion"), "{text}");
                }
                for policy in policies.policies() {
                    policy.to_json().unwrap();
                }
            }
            assert!(let_through > 50, "{let_through}");
        });
    }

    #[test]
    fn what_goes_deeper_is_told_before_it_is_read() {
        for depth in [DEPTH_MAX + 2, 500, 20_000] {
            for text in deep(depth) {
                let found = too_deep(&text);
                assert!(
                    found.is_some(),
                    "{} at {depth}",
                    text.chars().take(80).collect::<String>()
                );
            }
        }
        // Open without end, or closed too often.
        assert!(too_deep(&"(".repeat(20_000)).is_some());
        assert!(too_deep(&format!("{}{}", ")".repeat(100), "[".repeat(17))).is_some());
    }

    #[test]
    fn texts_comments_lists_and_further_policies_are_not_depth() {
        let listed = vec!["\"a.b\""; 500].join(", ");
        let many = policy("principal.agent == \"a\" && principal.tenant == \"b\"").repeat(200);
        for text in [
            policy(&format!("[{listed}].contains(principal.agent)")),
            policy("principal.agent == \"((((((((((((((((((((((((((((((((((((\\\"((((\""),
            format!("// {}\n{}", "(".repeat(100), policy("true")),
            many,
        ] {
            assert_eq!(too_deep(&text), None, "{text}");
        }
    }
}
