//! What to ask before there is an agent: whether the work is one for an agent at all.
//!
//! Rules decide, in the order of [`Answers::weighed`], and each says why. There are no points: a person who
//! disagrees can see with what.

use serde_json::{Map, Value};

/// One question, with the answers that there are.
#[derive(Debug)]
pub struct Question {
    /// Its name, in files and on the command line.
    pub name: &'static str,
    /// As people are asked.
    pub asks: &'static str,
    /// Each answer's name, and what it means.
    pub answers: &'static [(&'static str, &'static str)],
}

/// All of them, in the order in which they are asked.
pub const QUESTIONS: [Question; 8] = [
    Question {
        name: "steps",
        asks: "Could you write the steps down beforehand?",
        answers: &[
            ("yes", "yes, all of them, with what decides between them"),
            ("mostly", "for most cases, and there are others"),
            ("no", "no: what comes next depends on what was found"),
        ],
    },
    Question {
        name: "input",
        asks: "What does the work begin with?",
        answers: &[
            ("fields", "fields, tables, a form"),
            ("text", "a text that something is to be taken from"),
            ("dialogue", "a conversation that goes to and fro"),
        ],
    },
    Question {
        name: "volume",
        asks: "How many cases are there in a week?",
        answers: &[
            ("few", "fewer than twenty"),
            ("many", "twenty to a thousand"),
            ("masses", "more than a thousand"),
        ],
    },
    Question {
        name: "wrong",
        asks: "One case in a hundred goes wrong. What then?",
        answers: &[
            ("nothing", "nothing was changed, somebody asks again"),
            ("undone", "it can be put right within the day"),
            ("lasting", "money is gone, a promise was made, somebody is harmed"),
        ],
    },
    Question {
        name: "noticed",
        asks: "Who would notice?",
        answers: &[
            ("before", "a person looks at each before it happens"),
            ("after", "a check or a person finds it afterwards"),
            ("nobody", "nobody"),
        ],
    },
    Question {
        name: "rule",
        asks: "Must you be able to say by which rule each case was decided?",
        answers: &[("no", "no"), ("yes", "yes: a law, a contract or a regulator asks for it")],
    },
    Question {
        name: "strangers",
        asks: "Does it read what strangers wrote, see what is confidential, and change or send something?",
        answers: &[
            ("one", "one of these, or none"),
            ("two", "two of these"),
            ("three", "all three"),
        ],
    },
    Question {
        name: "owner",
        asks: "Is there a person who answers for what it does?",
        answers: &[("yes", "yes, by name"), ("no", "not yet")],
    },
];

/// What is the right tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Not before something has changed.
    NotYet,
    /// People do it.
    People,
    /// A program without a model.
    Script,
    /// A program that asks a model once, for what is to be taken from a text.
    ScriptWithModel,
    /// A program for most of it, and an agent for what is left.
    Mixed,
    /// An agent whose changes wait for a person.
    GatedAgent,
    /// An agent.
    Agent,
}

impl Advice {
    /// Its name for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotYet => "not_yet",
            Self::People => "people",
            Self::Script => "script",
            Self::ScriptWithModel => "script_with_model",
            Self::Mixed => "mixed",
            Self::GatedAgent => "gated_agent",
            Self::Agent => "agent",
        }
    }

    /// Whether an agent is at least part of it.
    #[must_use]
    pub const fn is_agent(self) -> bool {
        matches!(self, Self::Mixed | Self::GatedAgent | Self::Agent)
    }

    /// In words.
    #[must_use]
    pub const fn said(self) -> &'static str {
        match self {
            Self::NotYet => "an agent is the wrong tool as things stand",
            Self::People => "an agent is the wrong tool: let people do it",
            Self::Script => "an agent is the wrong tool: write a script",
            Self::ScriptWithModel => {
                "an agent is the wrong tool: write a script that asks a model once"
            }
            Self::Mixed => "a script for most of it, and an agent for what is left",
            Self::GatedAgent => "an agent, and what it changes waits for a person",
            Self::Agent => "an agent",
        }
    }
}

/// Answers by the names of their questions, each of which has one of the answers that there are.
#[derive(Debug, Clone)]
pub struct Answers(Map<String, Value>);

impl Answers {
    /// From an object of a file.
    ///
    /// # Errors
    /// A sentence that names what is missing or no answer.
    pub fn new(given: Map<String, Value>) -> Result<Self, String> {
        for name in given.keys() {
            if !QUESTIONS.iter().any(|question| question.name == name) {
                return Err(format!("there is no question `{name}`"));
            }
        }
        for Question { name, answers, .. } in &QUESTIONS {
            let known = || answers.iter().map(|(answer, _)| *answer).collect::<Vec<_>>().join(", ");
            let Some(given) = given.get(*name) else {
                return Err(format!("`{name}` is not answered: one of {}", known()));
            };
            if !answers.iter().any(|(answer, _)| given.as_str() == Some(answer)) {
                return Err(format!("{given} is no answer to `{name}`: one of {}", known()));
            }
        }
        Ok(Self(given))
    }

    fn is(&self, question: &str, answer: &str) -> bool {
        self.0.get(question).and_then(Value::as_str) == Some(answer)
    }

    /// What they come to, and why: the first rule that fits decides, and the rest is what to mind.
    #[must_use]
    pub fn weighed(&self) -> (Advice, Vec<&'static str>) {
        let is = |question, answer| self.is(question, answer);
        let fixed = is("steps", "yes");
        let (advice, why) = match () {
            () if is("wrong", "lasting") && is("noticed", "nobody") => (
                Advice::NotYet,
                "what goes wrong lasts, and nobody would notice: have somebody look before it happens",
            ),
            () if is("owner", "no") => {
                (Advice::NotYet, "nobody answers for what it does: name the person first")
            }
            () if fixed && is("input", "fields") => (
                Advice::Script,
                "the steps are known and begin with fields: a model adds cost and chance, and decides nothing",
            ),
            () if is("rule", "yes") && !fixed => (
                Advice::People,
                "each case has to follow a rule that can be named, and nobody can write the steps down: \
                 a model's reason is no rule",
            ),
            () if fixed => (
                Advice::ScriptWithModel,
                "the steps are known: a model takes from the text what a form would have had, once, and \
                 the script does the rest",
            ),
            () if is("volume", "few") => (
                Advice::People,
                "there are too few cases to pay for evaluating and watching an agent",
            ),
            () if is("steps", "mostly") => (
                Advice::Mixed,
                "most cases have steps that can be written down, the others have not",
            ),
            () if is("wrong", "lasting") => {
                (Advice::GatedAgent, "the way depends on what is found, and what goes wrong lasts")
            }
            () if is("strangers", "three") => (
                Advice::GatedAgent,
                "the way depends on what is found, and strangers can have a say in it",
            ),
            () => (
                Advice::Agent,
                "the way depends on what is found, and what goes wrong can be put right",
            ),
        };
        let mut reasons = vec![why];
        if is("strangers", "three") {
            reasons.push(
                "it reads what strangers wrote, sees what is confidential, and acts: whoever writes to it \
                 can have it act. Take one of the three away, or let each act wait for a person",
            );
        }
        if is("noticed", "nobody") && !is("wrong", "lasting") {
            reasons.push("nobody would notice what goes wrong: say who looks, and how often");
        }
        if is("volume", "masses") && advice.is_agent() {
            reasons.push(
                "more than a thousand cases a week have a pattern: look with `countersign fit` at the \
                 log after the first weeks",
            );
        }
        (advice, reasons)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every way to answer them all.
    fn all() -> Vec<Answers> {
        let mut all = vec![Map::new()];
        for Question { name, answers, .. } in &QUESTIONS {
            all = all
                .into_iter()
                .flat_map(|so_far| {
                    answers.iter().map(move |(answer, _)| {
                        let mut given = so_far.clone();
                        given.insert((*name).to_owned(), Value::from(*answer));
                        given
                    })
                })
                .collect();
        }
        all.into_iter().map(|given| Answers::new(given).unwrap()).collect()
    }

    #[test]
    fn whatever_is_answered_the_wrong_tool_is_never_called_the_right_one() {
        let mut met = std::collections::BTreeSet::new();
        for answers in all() {
            let (advice, reasons) = answers.weighed();
            met.insert(advice.as_str());
            assert!(!reasons.is_empty());
            let is = |question, answer| answers.is(question, answer);
            if advice.is_agent() {
                assert!(!is("steps", "yes"), "{answers:?}");
                assert!(is("owner", "yes") && is("rule", "no"), "{answers:?}");
                assert!(!(is("wrong", "lasting") && is("noticed", "nobody")), "{answers:?}");
            }
            if advice == Advice::Agent {
                assert!(!is("wrong", "lasting") && !is("strangers", "three"), "{answers:?}");
            }
        }
        assert_eq!(met.len(), 7, "{met:?}");
    }

    #[test]
    fn every_question_is_answered_with_an_answer_that_there_is() {
        let whole = all().remove(0).0;
        for question in &QUESTIONS {
            let mut without = whole.clone();
            without.remove(question.name);
            assert!(Answers::new(without).unwrap_err().contains(question.name));
            let mut wrong = whole.clone();
            wrong.insert(question.name.to_owned(), Value::from("perhaps"));
            assert!(Answers::new(wrong).unwrap_err().contains("perhaps"));
        }
        let mut more = whole;
        more.insert("weather".to_owned(), Value::from("fine"));
        assert_eq!(Answers::new(more).unwrap_err(), "there is no question `weather`");
    }
}
