//! What is wrong with what somebody wrote, and where: plain data, to be rendered by the binary.

use std::{fmt, ops::Range, path::PathBuf, sync::Arc};

/// A file as it was read. Findings share it, so that a caret can be drawn under the text.
pub struct Source {
    folder: PathBuf,
    path: String,
    text: String,
    lines: Vec<usize>,
}

impl Source {
    /// A folder, a path relative to it, with `/` between its parts, and the file's text.
    #[must_use]
    pub fn new(
        folder: impl Into<PathBuf>,
        path: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        let text = text.into();
        let ends = text.match_indices('\n').map(|(at, _)| at.saturating_add(1));
        let lines = std::iter::once(0).chain(ends).collect();
        Self { folder: folder.into(), path: path.into(), text, lines }
    }
    /// The path, relative to the posture folder; of a deployment file, its name.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
    /// The path by which the file was opened.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.join(&self.path)
    }
    /// The whole text; empty if the file could not be read as text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
    /// The same file with another text of the same length and lines.
    pub(crate) fn with_text(self, text: String) -> Self {
        Self { text, ..self }
    }
    /// Line and column of a byte offset, both from 1; the column counts characters.
    #[must_use]
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|&start| start <= offset);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or_default();
        (line, before.chars().count().saturating_add(1))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text may hold a deployment's secrets.
        f.debug_tuple("Source").field(&self.path).finish()
    }
}

/// A stretch of a file.
#[derive(Debug, Clone)]
pub struct Place {
    /// The file.
    pub source: Arc<Source>,
    /// Byte offsets into its text.
    pub span: Range<usize>,
}

impl Place {
    /// What was written there.
    #[must_use]
    pub fn text(&self) -> &str {
        self.source.text.get(self.span.clone()).unwrap_or_default()
    }
}

/// Whether a finding stops the posture from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not.
    Warning,
}

macro_rules! codes {
    ($(#[doc = $doc:literal] $variant:ident $severity:ident $text:literal,)*) => {
        /// What kind of mistake. The text is stable: tools may match on it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code { $(#[doc = $doc] $variant,)* }

        impl Code {
            /// Every code there is.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As it is written in reports.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
            /// What is wrong, in one sentence.
            #[must_use]
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$variant => $doc.trim_ascii(),)* }
            }
            /// Whether it stops the posture from being used.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }
        }
    };
}

codes! {
    // Files.
    /// A file or folder that is missing or cannot be read.
    Unreadable Error "unreadable",
    /// Something in the posture folder that is no part of a posture.
    UnexpectedFile Error "unexpected-file",
    /// A symbolic link that leads out of the posture folder.
    SymlinkEscape Error "symlink-escape",
    /// A file, or the posture as a whole, larger than allowed.
    TooLarge Error "too-large",
    /// Bytes that are not UTF-8.
    NotUtf8 Error "not-utf-8",
    /// A file with nothing in it.
    EmptyFile Error "empty-file",
    /// A file whose name differs from the name inside.
    FileName Error "file-name",
    /// Something of the form of a credential, which everybody who reads the file then has.
    InlineSecret Error "inline-secret",
    // YAML.
    /// Not YAML.
    YamlSyntax Error "yaml-syntax",
    /// Anchors, aliases, tags, merge keys, complex keys, several documents.
    YamlFeature Error "yaml-feature",
    /// Nested deeper than allowed.
    YamlDepth Error "yaml-depth",
    /// A key twice in one mapping.
    DuplicateKey Error "duplicate-key",
    /// A scalar that YAML readers read differently.
    AmbiguousScalar Error "ambiguous-scalar",
    // Shape.
    /// A key that means nothing here.
    UnknownKey Error "unknown-key",
    /// A key that must be there.
    MissingKey Error "missing-key",
    /// Text where a number belongs, and the like.
    WrongType Error "wrong-type",
    /// The right type, and not a value that fits.
    BadValue Error "bad-value",
    /// Not a name.
    BadName Error "bad-name",
    /// Characters that people cannot see.
    HiddenCharacter Error "hidden-character",
    /// A limit of nothing.
    ZeroLimit Error "zero-limit",
    // Names that lead nowhere, or to two.
    /// The same name, client or issuer twice.
    Duplicate Error "duplicate",
    /// A grant of a tool that is not there.
    UnknownTool Error "unknown-tool",
    /// A case of an agent that is not there.
    UnknownAgent Error "unknown-agent",
    /// An agent or a system of a vendor that is not there.
    UnknownVendor Error "unknown-vendor",
    /// A tool of a system that is not there.
    UnknownSystem Error "unknown-system",
    /// A caller reference to a claim that is not named.
    UnknownCaller Error "unknown-caller",
    /// A reference of a system, or of a destination under `notify`, that the deployment does not resolve.
    UnknownReference Error "unknown-reference",
    /// A reference of the deployment that nothing uses.
    UnusedReference Warning "unused-reference",
    // A tool's input.
    /// An argument without an upper bound on its size or value.
    UnboundedInput Error "unbounded-input",
    /// Keywords of a schema that do not fit its type or one another.
    SchemaConflict Error "schema-conflict",
    /// A pattern that the linear-time engine does not take.
    BadPattern Error "bad-pattern",
    /// A pattern that also matches a part of the text.
    UnanchoredPattern Error "unanchored-pattern",
    /// A string of which nothing says what it may be.
    LooseString Error "loose-string",
    /// Money that is not counted in whole units.
    MoneyType Error "money-type",
    // A tool's description.
    /// A description that tells the model what to do.
    DescriptionCommands Warning "description-commands",
    /// Two tools that a model could take for one another.
    AlikeTools Warning "alike-tools",
    // A tool's scope.
    /// A tool that nothing ties to the caller: it reads every tenant's rows.
    UnscopedTool Error "unscoped-tool",
    /// An argument by which the model may name what is another tenant's.
    UnscopedIdentifier Error "unscoped-identifier",
    /// A `public` where something else already says who may name or read it.
    IdlePublic Error "idle-public",
    /// A scoped argument that the input does not declare.
    ScopePath Error "scope-path",
    /// A scoped argument that may be left out.
    ScopeOptional Error "scope-optional",
    /// A scoped argument that is no string.
    ScopeType Error "scope-type",
    /// A bound name that the model may also send.
    BindDeclared Error "bind-declared",
    /// A scoped argument or bound name that the statement or request does not use: it keeps nobody's rows out.
    ScopeUnused Error "scope-unused",
    /// A statement that names the caller, and lets rows through that are not the caller's.
    ScopeLoose Error "scope-loose",
    /// A statement of which it is not seen that it keeps to the caller's rows.
    ScopeUnsure Warning "scope-unsure",
    /// A look-up, a preview, a check or an undo that names nothing of the caller: it speaks of what is anybody's.
    LookUpCaller Error "look-up-caller",
    /// An `owned` look-up whose statement does not ask about the identifier.
    LookUpValue Error "look-up-value",
    /// A look-up about more identifiers than a call may ask about.
    LookUpBound Error "look-up-bound",
    // A tool's statement or request.
    /// Text that is not closed, or a placeholder of a form that is not bound by name.
    BadSql Error "bad-sql",
    /// A statement that is no SQL as far as it can be read without the database.
    UnreadSql Warning "unread-sql",
    /// More than one statement.
    SeveralStatements Error "several-statements",
    /// A read that does not begin as one.
    ReadStatement Error "read-statement",
    /// Text put into the statement instead of bound to it.
    SqlInterpolation Error "sql-interpolation",
    /// An effect whose statement does not name the caller's tenant.
    EffectTenant Error "effect-tenant",
    /// A placeholder that is neither an argument nor bound.
    UnknownPlaceholder Error "unknown-placeholder",
    /// A request with a path, a header or a body that is not sent: a host, a dot segment, a `Host`.
    BadRequest Error "bad-request",
    /// An argument where a request cannot hold it: left out or free text in a path, a list outside the body.
    ArgumentPlace Error "argument-place",
    /// A message by a tool whose effect is not `irreversible`.
    MessageEffect Error "message-effect",
    /// A message of which nothing says where it may go: no address, too many, or no rule for them.
    MessageRecipient Error "message-recipient",
    /// A subject of more than one line, or with an argument that may hold a line break.
    MessageSubject Error "message-subject",
    /// A statement, a request or a message for a system that takes another of these.
    CallSystem Error "call-system",
    /// An argument that the statement or request does not use.
    UnusedArgument Warning "unused-argument",
    // What MCP servers define.
    /// A file of pins that does not say what a server defines.
    BadPin Error "bad-pin",
    /// A call of what nobody has pinned, so that the server says what it means.
    Unpinned Error "unpinned",
    /// Arguments that the pinned definition does not take, or that it asks for and nobody sends.
    PinArguments Error "pin-arguments",
    /// An argument of another type than the pinned definition takes.
    PinType Warning "pin-type",
    /// A pinned definition that no tool calls.
    UnusedPin Warning "unused-pin",
    /// A tool offered as a resource or a prompt that it is not.
    BadOffer Error "bad-offer",
    // Gates and grants.
    /// An effect for which people must be asked, and nobody who is.
    GateApprovers Error "gate-approvers",
    /// A gate, or a decision point in one, on a tool that never waits for it.
    IdleGate Error "idle-gate",
    /// A step of the ladder below the one that the effect stands on.
    LoweredRung Error "lowered-rung",
    /// An exception that goes no lower than the ladder does.
    IdleException Error "idle-exception",
    /// In production, an exception that has ended.
    EndedException Error "ended-exception",
    /// An exception that ends soon; in development, one that has ended.
    EndingException Warning "ending-exception",
    /// An effect that nobody agrees to, and nothing that shows that it took place.
    MissingCheck Error "missing-check",
    /// A check, an undo or a bound on rows where there is nothing that it could be about.
    IdleCheck Error "idle-check",
    /// Money or a deletion on a step below the fourth.
    UnderstatedEffect Error "understated-effect",
    /// A tool that says it sends nothing, and does.
    UnderstatedFlow Error "understated-flow",
    /// A budget of what cannot be added up.
    BadBudget Error "bad-budget",
    /// In production, the grant of an effect that nobody reviewed.
    UnreviewedGrant Error "unreviewed-grant",
    // Vendors and reviews.
    /// A vendor that no agent and no system depends on.
    UnusedVendor Warning "unused-vendor",
    /// In production, an agent that says on no vendor it depends.
    NoVendor Error "no-vendor",
    /// In production, a vendor of which nobody decided that it may have what it gets.
    VendorDecision Error "vendor-decision",
    /// In production, what `init` made up and nobody has replaced.
    TemplateLeft Error "template-left",
    /// In production, a vendor or an agent that was not reviewed again in time.
    EndedReview Error "ended-review",
    /// A vendor or an agent that is to be reviewed soon; in development, one that was not in time.
    EndingReview Warning "ending-review",
    /// A tool that no agent is granted.
    UngrantedTool Warning "ungranted-tool",
    // The evaluation suite.
    /// A case that nothing could fail.
    IdleCase Error "idle-case",
    // Hand-written policies.
    /// A policy that is not Cedar.
    PolicySyntax Error "policy-syntax",
    /// A policy that goes deeper than it can be evaluated.
    PolicyDepth Error "policy-depth",
    /// A policy without an id, or with an annotation that means nothing.
    PolicyAnnotation Error "policy-annotation",
    /// A hand-written policy that permits.
    PolicyPermit Error "policy-permit",
    /// A policy that names what does not exist.
    PolicyName Error "policy-name",
    /// A policy that does not fit the schema of the tools it bears on.
    PolicyType Error "policy-type",
    /// A policy that can never match, or compares with what a thing never is.
    PolicyNever Error "policy-never",
    /// A policy that forbids every call of the tools it bears on.
    PolicyAlways Warning "policy-always",
    /// A policy that errs whenever it is evaluated.
    PolicyErrs Error "policy-errs",
    // The deployment.
    /// In production, a listener that strangers reach without encryption.
    PlaintextListener Error "plaintext-listener",
    /// The development issuer where a stranger could reach it.
    DevelopmentIssuer Error "development-issuer",
    /// An issuer whose keys come from nowhere, from two places, or over a way that can be changed.
    IssuerKeys Error "issuer-keys",
    /// An issuer whose tokens are for no tenant, or for one that is not its own.
    IssuerTenant Error "issuer-tenant",
    /// An agent that does not say whose tokens it calls with, where several issuers are trusted.
    AgentIssuer Error "agent-issuer",
    /// Nobody whose tokens are accepted.
    NoIssuer Error "no-issuer",
    /// People who sign in at somebody who is not trusted, or at nobody.
    PeopleIssuer Error "people-issuer",
    /// An audience that people's tokens share with agents'.
    PeopleAudience Error "people-audience",
    /// A client by which people sign in, and an agent calls.
    PeopleClient Error "people-client",
    /// A human whom the posture and the deployment know by two claims.
    PersonClaim Error "person-claim",
    /// A fourth step that nobody can take, because people sign in elsewhere than those whom the agent acts for.
    PeopleElsewhere Warning "people-elsewhere",
    /// In production, a gate that nobody can open, because nobody can sign in.
    NoPeople Error "no-people",
    /// The same in development.
    NoPeopleYet Warning "no-people-yet",
    /// In production, nothing that hands the journal on.
    NoExporter Error "no-exporter",
    /// In production, nobody who is told of alerts.
    NoAlertRoute Error "no-alert-route",
    /// In production, nobody who has to have signed the posture.
    NoSignOff Error "no-sign-off",
    /// A role in which somebody has to sign, and nobody can.
    SignOffRole Error "sign-off-role",
    /// In production, an agent of which no grant stands at `production`.
    NothingStaged Warning "nothing-staged",
    /// In production, an agent that may write before it may read.
    WritesFirst Error "writes-first",
    // The machine that serves.
    /// A reference whose variable or file is not on this machine.
    AbsentReference Error "absent-reference",
    /// A reference whose value its system cannot use.
    UnfitReference Error "unfit-reference",
    /// A file of an issuer's keys that is not on this machine, or holds none that fits.
    AbsentKeys Error "absent-keys",
    /// A journal, or its signing key, that is not on this machine or cannot be used.
    AbsentJournal Error "absent-journal",
    /// A folder for statement logs that cannot be made.
    AbsentLogs Error "absent-logs",
    /// An exporter's file that cannot be written on this machine.
    AbsentExport Error "absent-export",
    /// An address at which this machine cannot listen.
    ListenAddress Error "listen-address",
    /// In production, a posture that is not the one that was signed.
    Uncovered Error "uncovered",
    /// The same elsewhere, where it is said who has to sign.
    UncoveredYet Warning "uncovered-yet",
}

impl Code {
    /// Those that are not about what is written, but about the machine that it is to be served on.
    pub const HERE: [Self; 9] = [
        Self::AbsentReference,
        Self::UnfitReference,
        Self::AbsentKeys,
        Self::AbsentJournal,
        Self::AbsentLogs,
        Self::AbsentExport,
        Self::ListenAddress,
        Self::Uncovered,
        Self::UncoveredYet,
    ];
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One mistake.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Of what kind.
    pub code: Code,
    /// Where.
    pub place: Place,
    /// What is wrong: one sentence, lower case, what was written in backticks.
    pub message: String,
    /// How to mend it, where there is more to say than the message does.
    pub help: Option<String>,
}

impl Finding {
    /// Whether it stops the posture from being used.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        self.code.severity()
    }
    /// Line and column where it begins, both from 1.
    #[must_use]
    pub fn position(&self) -> (usize, usize) {
        self.place.source.position(self.place.span.start)
    }
}

impl fmt::Display for Finding {
    /// One line: `tools/a.yaml:3:5: error[unknown-key]: …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.position();
        let severity = match self.severity() {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let Self { code, place, message, help } = self;
        write!(f, "{}:{line}:{column}: {severity}[{code}]: {message}", place.source.path)?;
        match help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// In the order in which a reader goes through the files.
pub fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| {
        let key = |f: &Finding| (f.place.span.start, f.place.span.end, f.code);
        (a.place.source.path.as_str(), key(a), &a.message).cmp(&(
            b.place.source.path.as_str(),
            key(b),
            &b.message,
        ))
    });
}

/// Whether one of them is an error.
pub(crate) fn any_error(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity() == Severity::Error)
}

/// `did you mean …?`, if one of the candidates is close to what was written.
#[must_use]
pub fn did_you_mean<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let near = written.chars().count().checked_div(3).unwrap_or(0).clamp(1, 3);
    candidates
        .into_iter()
        .filter_map(|candidate| Some((distance(written, candidate, near)?, candidate)))
        .min()
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}

/// Levenshtein's, over at most the first 64 characters of each; `None` beyond `max`, which most
/// pairs pass within a few rows.
fn distance(a: &str, b: &str, max: usize) -> Option<usize> {
    let mut row: Vec<usize> = (0..=b.chars().take(64).count()).collect();
    for (index, from) in a.chars().take(64).enumerate() {
        let mut diagonal = index;
        let mut left = index.saturating_add(1);
        let mut cells = row.iter_mut();
        if let Some(first) = cells.next() {
            *first = left;
        }
        for (cell, to) in cells.zip(b.chars()) {
            let substituted = diagonal.saturating_add(usize::from(from != to));
            diagonal = *cell;
            left = substituted.min(diagonal.saturating_add(1)).min(left.saturating_add(1));
            *cell = left;
        }
        if row.iter().all(|&cell| cell > max) {
            return None;
        }
    }
    row.last().copied().filter(|&distance| distance <= max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let source = Source::new("", "f", "ab\né x\n");
        for (offset, position) in [(0, (1, 1)), (2, (1, 3)), (3, (2, 1)), (5, (2, 2)), (8, (3, 1))]
        {
            assert_eq!(source.position(offset), position, "{offset}");
        }
    }

    #[test]
    fn the_nearest_name_is_offered_and_nothing_far_off() {
        let names = ["per_session", "per_minute", "per_hour"];
        assert_eq!(did_you_mean("per_minut", names).as_deref(), Some("did you mean `per_minute`?"));
        assert_eq!(did_you_mean("perhour", names).as_deref(), Some("did you mean `per_hour`?"));
        assert_eq!(did_you_mean("limit", names), None);
        assert_eq!(distance("kitten", "sitting", 3), Some(3));
        assert_eq!(distance("kitten", "sitting", 2), None);
        assert_eq!(distance("", "abc", 3), Some(3));
        assert_eq!(distance("abc", "", 3), Some(3));
    }

    #[test]
    fn no_two_codes_share_a_text() {
        let texts: std::collections::BTreeSet<_> = Code::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
    }
}
