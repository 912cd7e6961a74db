//! Cedar policies, asked about for every request at once: Cedar's symbolic compiler writes the question
//! down for cvc5, a program of its own.

use crate::bound::{SOLVER_ANSWERS_MAX, SOLVER_STARTS_MAX};
use cedar_policy_symcc::solver::LocalSolver;
use cedar_policy_symcc::{CedarSymCompiler, Env, WellFormedAsserts};
use std::env;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::process::Command;
use tokio::time::timeout;

/// The variable that names the solver.
const VARIABLE: &str = "CVC5";

/// A solver that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where.
    program: PathBuf,
    /// The version, as it says itself.
    pub version: String,
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoSolver {
    /// No such program.
    #[error("there is no cvc5: {program} does not start")]
    Missing {
        /// What was tried.
        program: String,
    },
    /// Another program.
    #[error("{program} is no cvc5: it does not say which version it is")]
    Other {
        /// What was tried.
        program: String,
    },
}

impl Found {
    /// The program that `$CVC5` names, else `cvc5` on the path.
    ///
    /// # Errors
    /// [`NoSolver`], if it does not start, or is another program.
    pub async fn here() -> Result<Self, NoSolver> {
        let program = env::var_os(VARIABLE).filter(|named| !named.is_empty());
        let program = PathBuf::from(program.unwrap_or_else(|| "cvc5".into()));
        let name = program.display().to_string();
        let mut asked = Command::new(&program);
        asked.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
        let Ok(Ok(said)) = timeout(SOLVER_STARTS_MAX, asked.output()).await else {
            return Err(NoSolver::Missing { program: name });
        };
        let said = String::from_utf8_lossy(&said.stdout);
        let version = said.split_once("cvc5 version ").map(|(_, rest)| rest);
        match version.and_then(|rest| rest.split([' ', '\n']).next()) {
            Some(version) => Ok(Self { program, version: version.to_owned() }),
            None => Err(NoSolver::Other { program: name }),
        }
    }
}

/// What a solver says of a question.
#[derive(Debug)]
pub enum Answer {
    /// It holds of every request.
    Holds,
    /// It does not hold of this one.
    Fails(Box<Env>),
    /// Nobody knows, and why: never taken for a proof.
    Undecided(String),
}

/// A solver at work: a process, begun with the first question and again after one that it did not answer.
#[derive(Debug)]
pub struct Solver {
    found: Found,
    compiler: Option<CedarSymCompiler<LocalSolver>>,
}

impl Solver {
    /// One that has not begun.
    #[must_use]
    pub const fn new(found: Found) -> Self {
        Self { found, compiler: None }
    }

    /// Whether what is asserted can be nowhere.
    pub async fn ask(&mut self, asserts: &WellFormedAsserts<'_>) -> Answer {
        let mut compiler = match self.compiler.take().map_or_else(|| self.begin(), Ok) {
            Ok(compiler) => compiler,
            Err(why) => return Answer::Undecided(why),
        };
        let answer = match timeout(SOLVER_ANSWERS_MAX, compiler.check_sat(asserts)).await {
            Ok(Ok(None)) => Answer::Holds,
            Ok(Ok(Some(found))) => Answer::Fails(Box::new(found)),
            // The process is in the middle of something: it ends here, and the next question has another.
            Ok(Err(error)) => return Answer::Undecided(told(&error)),
            Err(_late) => {
                let seconds = SOLVER_ANSWERS_MAX.as_secs();
                return Answer::Undecided(format!("no answer within {seconds} s"));
            }
        };
        self.compiler = Some(compiler);
        answer
    }

    fn begin(&self) -> Result<CedarSymCompiler<LocalSolver>, String> {
        let mut command = Command::new(&self.found.program);
        let limit = format!("--tlimit-per={}", SOLVER_ANSWERS_MAX.as_millis());
        command.args(["--lang", "smt", &limit]).kill_on_drop(true);
        let solver = LocalSolver::from_command(&mut command).map_err(|error| told(&error))?;
        CedarSymCompiler::new(solver).map_err(|error| told(&error))
    }
}

/// An error with what caused it.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
