//! The rules: each has a name, `dockerfile.<rule>`. What cannot be built fails; what is unwise is a
//! warning; what only makes images larger is said in passing.

use std::collections::BTreeMap;

use flukedeploy_domain::check::{Check, CheckStatus};
use flukedeploy_domain::diagnosis::tame;

use super::files::copies;
use super::parse::parse;
use super::shell::{self, Command, exec_form};
use super::{Dockerfile, Instruction};
use crate::checks::image::is_root;
use crate::checks::secrets::{is_secret_name, looks_real, named_in, shapes_in, value_after};
use crate::checks::{DOCKER, SECURITY, has_word};

/// Longest Dockerfile that is looked at, in bytes.
const MAX_BYTES: usize = 512 * 1024;
/// Most stages that are looked at.
const MAX_STAGES: usize = 100;
/// Places of one finding that are named.
const MAX_PLACES: usize = 5;

const KNOWN: &str = "ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN \
    SHELL STOPSIGNAL USER VOLUME WORKDIR";

/// One stage of a build: what follows a `FROM`.
struct Stage<'a> {
    base: String,
    name: Option<String>,
    from: &'a Instruction,
    body: &'a [Instruction],
}

/// Findings by rule, each with its places.
#[derive(Default)]
pub(super) struct Findings(BTreeMap<&'static str, Found>);

pub(super) struct Found {
    status: CheckStatus,
    category: &'static str,
    remedy: &'static str,
    places: Vec<String>,
}

impl Findings {
    fn add(
        &mut self,
        rule: &'static str,
        (status, category): (CheckStatus, &'static str),
        line: usize,
        what: impl AsRef<str>,
        remedy: &'static str,
    ) {
        let found = self.0.entry(rule).or_insert_with(|| Found {
            status,
            category,
            remedy,
            places: Vec::new(),
        });
        if status == CheckStatus::Fail {
            found.status = status;
        }
        found
            .places
            .push(format!("line {line}: {}", tame(what.as_ref(), 160)));
    }

    pub(super) fn warn(
        &mut self,
        rule: &'static str,
        line: usize,
        what: impl AsRef<str>,
        remedy: &'static str,
    ) {
        self.add(rule, (CheckStatus::Warning, DOCKER), line, what, remedy);
    }

    pub(super) fn risk(
        &mut self,
        rule: &'static str,
        line: usize,
        what: impl AsRef<str>,
        remedy: &'static str,
    ) {
        self.add(rule, (CheckStatus::Warning, SECURITY), line, what, remedy);
    }

    fn fail(
        &mut self,
        rule: &'static str,
        line: usize,
        what: impl AsRef<str>,
        remedy: &'static str,
    ) {
        self.add(rule, (CheckStatus::Fail, DOCKER), line, what, remedy);
    }

    fn into_checks(self) -> Vec<Check> {
        let checks = self.0.into_iter().map(|(rule, found)| {
            let name = format!("dockerfile.{rule}");
            let more = found.places.len().saturating_sub(MAX_PLACES);
            let shown = found.places[..found.places.len() - more].join("; ");
            let message = match more {
                0 => shown,
                more => format!("{shown}; and {more} more"),
            };
            match found.status {
                CheckStatus::Pass => {
                    let message = format!("{message} ({})", found.remedy);
                    Check::pass(&name, found.category, message)
                }
                CheckStatus::Warning => {
                    Check::warning(&name, found.category, message, found.remedy)
                }
                CheckStatus::Fail => Check::fail(&name, found.category, message, found.remedy),
            }
        });
        checks.collect()
    }
}

/// All findings about a Dockerfile; one that passed if there are none. `user`: whom the image that
/// was built of it runs as, where that is known: the base image may have set it.
pub(crate) fn lint(text: &str, user: Option<&str>) -> Vec<Check> {
    if text.len() > MAX_BYTES {
        let why = format!("the Dockerfile has more than {} KiB", MAX_BYTES / 1024);
        return vec![Check::not_run("dockerfile", DOCKER, &why)];
    }
    let dockerfile = parse(text);
    let mut findings = Findings::default();
    structure(&dockerfile, &mut findings);
    let stages = stages_of(&dockerfile.instructions);
    if stages.len() > MAX_STAGES {
        let why = format!("the Dockerfile has more than {MAX_STAGES} stages");
        return vec![Check::not_run("dockerfile", DOCKER, &why)];
    }
    bases(&stages, &mut findings);
    for (index, stage) in stages.iter().enumerate() {
        let is_last = index + 1 == stages.len();
        for instruction in stage.body {
            one(instruction, &mut findings);
        }
        packages(&stages, stage, is_last, &mut findings);
        commands(stage, is_last, &mut findings);
        work_dirs(stage, &mut findings);
    }
    who(&stages, user, &mut findings);
    let checks = findings.into_checks();
    if checks.is_empty() {
        let count = dockerfile.instructions.len();
        let message = format!("nothing was found in the Dockerfile's {count} instructions");
        return vec![Check::pass("dockerfile", DOCKER, message)];
    }
    checks
}

/// What the builder itself would refuse.
fn structure(dockerfile: &Dockerfile, findings: &mut Findings) {
    let mut begun = false;
    for Instruction {
        line,
        keyword,
        rest,
    } in &dockerfile.instructions
    {
        let is_known = has_word(KNOWN, keyword);
        if !is_known {
            let what = format!("there is no instruction {}", tame(keyword, 40));
            let remedy = "correct the instruction's name, or the line break before it";
            findings.fail("unknown_instruction", *line, what, remedy);
        } else if rest.is_empty() {
            let what = format!("{keyword} says nothing");
            findings.fail("missing_argument", *line, what, "complete the instruction");
        }
        begun |= keyword == "FROM";
        if is_known && !begun && keyword != "ARG" {
            let what = format!("{keyword} comes before FROM");
            let remedy = "begin with FROM; only ARG may come before it";
            findings.fail("before_from", *line, what, remedy);
        }
    }
    if !begun {
        findings.fail(
            "no_from",
            1,
            "there is no FROM",
            "begin with FROM and a base image",
        );
    }
    if let Some(line) = dockerfile.unfinished {
        let remedy = "end the heredoc with its name alone on a line";
        findings.fail("unfinished", line, "the heredoc never ends", remedy);
    }
}

fn stages_of(instructions: &[Instruction]) -> Vec<Stage<'_>> {
    let begins: Vec<usize> = (0..instructions.len())
        .filter(|&at| instructions[at].keyword == "FROM")
        .collect();
    let first = begins.first().copied().unwrap_or_default();
    let mut defaults = BTreeMap::new();
    for argument in instructions[..first]
        .iter()
        .filter(|found| found.keyword == "ARG")
    {
        defaults.extend(assignments(&argument.rest));
    }
    let stages = begins.iter().enumerate().map(|(index, &at)| {
        let end = begins.get(index + 1).copied().unwrap_or(instructions.len());
        let mut words = instructions[at]
            .rest
            .split_whitespace()
            .filter(|word| !word.starts_with("--"));
        let base = filled(words.next().unwrap_or_default(), &defaults);
        let named = words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("as"));
        Stage {
            base,
            name: words.next().filter(|_| named).map(str::to_ascii_lowercase),
            from: &instructions[at],
            body: &instructions[at + 1..end],
        }
    });
    stages.collect()
}

/// `A=1 B` are `A` with a value and `B` without.
fn assignments(rest: &str) -> Vec<(String, String)> {
    let words = shell::words(rest);
    let pairs = words.into_iter().map(|word| match word.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (word, String::new()),
    });
    pairs.collect()
}

/// With the defaults of arguments set in; what is not known stays.
fn filled(text: &str, defaults: &BTreeMap<String, String>) -> String {
    let mut text = text.to_owned();
    let usable = |value: &str| (1..=300).contains(&value.len());
    for (name, value) in defaults.iter().filter(|(_, value)| usable(value)) {
        if text.len() > 1_000 {
            break;
        }
        text = text.replace(&format!("${{{name}}}"), value);
        if text.ends_with(&format!("${name}")) {
            let keep = text.len() - name.len() - 1;
            text.replace_range(keep.., value);
        }
    }
    text
}

/// The stage that this one stands on, if it is one of this file.
fn below<'s, 'a>(stages: &'s [Stage<'a>], stage: &Stage<'a>) -> Option<&'s Stage<'a>> {
    let base = stage.base.to_ascii_lowercase();
    stages
        .iter()
        .take_while(|before| before.from.line < stage.from.line)
        .filter(|before| before.name.as_deref() == Some(base.as_str()))
        .last()
}

fn bases(stages: &[Stage<'_>], findings: &mut Findings) {
    for stage in stages {
        let base = stage.base.as_str();
        let unknown = base.is_empty() || base.contains('$') || base.contains('@');
        if unknown || base.eq_ignore_ascii_case("scratch") || below(stages, stage).is_some() {
            continue;
        }
        let last = base.rsplit('/').next().unwrap_or(base);
        let tag = last.split_once(':').map(|(_, tag)| tag);
        if tag.is_none_or(|tag| tag == "latest") {
            findings.warn(
                "unpinned_base",
                stage.from.line,
                format!("{base} names no version, so the next build may differ"),
                "name a version's tag or a digest of the base image",
            );
        }
    }
}

/// Rules about one instruction by itself.
fn one(instruction: &Instruction, findings: &mut Findings) {
    let Instruction {
        line,
        keyword,
        rest,
    } = instruction;
    let line = *line;
    match keyword.as_str() {
        "ADD" | "COPY" => copies(instruction, findings),
        "RUN" => {
            let runs_sudo =
                |command: &Command| shell::program(command).is_some_and(|(name, _)| name == "sudo");
            if run_commands(rest).iter().any(runs_sudo) {
                let remedy =
                    "leave it out (a build runs as root until USER says otherwise), or use USER";
                findings.warn("sudo", line, "RUN uses sudo", remedy);
            }
            let named = named_in(rest);
            report_secret(
                line,
                keyword,
                named.first().map(String::as_str),
                rest,
                findings,
            );
        }
        "ARG" | "ENV" => {
            let pairs = match rest.split_once(char::is_whitespace) {
                // The old form: `ENV NAME value`.
                Some((name, value)) if keyword == "ENV" && !name.contains('=') => {
                    vec![(name.to_owned(), value.trim().to_owned())]
                }
                _ => assignments(rest),
            };
            // An argument need not have a default to be meant for a secret.
            let is_secret = |(name, value): &&(String, String)| {
                is_secret_name(name) && (keyword == "ARG" || looks_real(value))
            };
            let named = pairs.iter().find(is_secret).map(|(name, _)| name.as_str());
            report_secret(line, keyword, named, rest, findings);
        }
        "LABEL" | "CMD" | "ENTRYPOINT" => report_secret(line, keyword, None, rest, findings),
        "EXPOSE" => ports(line, rest, findings),
        "MAINTAINER" => findings.warn(
            "maintainer",
            line,
            "MAINTAINER is deprecated",
            "write LABEL org.opencontainers.image.authors=… instead",
        ),
        _ => {}
    }
}

fn report_secret(
    line: usize,
    keyword: &str,
    named: Option<&str>,
    text: &str,
    findings: &mut Findings,
) {
    let shapes = shapes_in(text);
    let what = match (named, shapes.first()) {
        (Some(name), _) => format!("{keyword} with what looks like a secret: {name}"),
        (None, Some(shape)) => format!("{keyword} with what looks like {}", shape.what),
        (None, None) => return,
    };
    findings.risk(
        "secret",
        line,
        what,
        "read secrets of a build with RUN --mount=type=secret, and set those of the app as its variables",
    );
}

fn ports(line: usize, rest: &str, findings: &mut Findings) {
    let remedy = "write ports as 1 to 65535, with /tcp or /udp where needed";
    for word in rest.split_whitespace().filter(|word| !word.contains('$')) {
        let (range, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        let known = ["tcp", "udp", "sctp"].contains(&protocol.to_ascii_lowercase().as_str());
        let what = format!("EXPOSE {word} is no port");
        match (low.parse::<u16>(), high.parse::<u16>()) {
            (Ok(low), Ok(high)) if known && low <= high => {
                if low == 0 {
                    findings.warn("port_range", line, what, remedy);
                }
            }
            _ => findings.fail("port_range", line, what, remedy),
        }
    }
}

/// The commands of a `RUN`, in either form.
fn run_commands(rest: &str) -> Vec<Command> {
    let mut text = rest;
    while text.starts_with("--") {
        text = text
            .split_once(char::is_whitespace)
            .map_or("", |(_, after)| after.trim_start());
    }
    match exec_form(text) {
        Some(words) => match words.as_slice() {
            [shell, flag, script] if shell.ends_with("sh") && flag.ends_with('c') => {
                shell::commands(script)
            }
            _ => vec![words],
        },
        None => shell::commands(text),
    }
}

fn packages(stages: &[Stage<'_>], stage: &Stage<'_>, is_last: bool, findings: &mut Findings) {
    let mut is_updated = false;
    let mut under = below(stages, stage);
    // Each stage stands on an earlier one, so this ends.
    while let Some(stage) = under {
        is_updated |= stage.body.iter().any(|run| run.rest.contains("update"));
        under = below(stages, stage);
    }
    for run in stage.body.iter().filter(|found| found.keyword == "RUN") {
        let all = run_commands(&run.rest);
        let calls: Vec<&[String]> = all
            .iter()
            .filter_map(|command| shell::program(command))
            .filter(|(name, _)| matches!(*name, "apt-get" | "apt"))
            .map(|(_, arguments)| arguments)
            .collect();
        let does = |arguments: &[String], what: &str| arguments.iter().any(|word| word == what);
        is_updated |= calls.iter().any(|call| does(call, "update"));
        let installs: Vec<&&[String]> = calls.iter().filter(|call| does(call, "install")).collect();
        if installs.is_empty() {
            continue;
        }
        if !installs
            .iter()
            .all(|call| call.iter().any(|word| says_yes(word)))
        {
            findings.warn(
                "apt_yes",
                run.line,
                "apt-get install asks, and a build cannot answer",
                "add -y",
            );
        }
        if !is_updated {
            findings.warn(
                "apt_update",
                run.line,
                "apt-get install without apt-get update finds no or old packages",
                "put apt-get update && before it, in the same RUN",
            );
        }
        let text = run.rest.as_str();
        let is_clean = text.contains("/var/lib/apt") || text.contains("apt-get clean");
        let is_small = installs
            .iter()
            .all(|call| does(call, "--no-install-recommends"));
        if is_last && !(is_clean && (is_small || text.contains("install-recommends"))) {
            findings.add(
                "apt_size",
                (CheckStatus::Pass, DOCKER),
                run.line,
                "apt-get install leaves more in the image than needed",
                "--no-install-recommends, and rm -rf /var/lib/apt/lists/* in the same RUN, make it smaller",
            );
        }
    }
}

/// `-y`, `-qqy`, `--yes`; `-qq` means it too.
fn says_yes(word: &str) -> bool {
    match word.strip_prefix("--") {
        Some(long) => matches!(long, "yes" | "assume-yes") || long.starts_with("force-yes"),
        None => word
            .strip_prefix('-')
            .is_some_and(|short| short.contains('y') || short.contains("qq")),
    }
}

fn commands(stage: &Stage<'_>, is_last: bool, findings: &mut Findings) {
    for keyword in ["CMD", "ENTRYPOINT"] {
        let all: Vec<&Instruction> = stage
            .body
            .iter()
            .filter(|found| found.keyword == keyword)
            .collect();
        let Some(last) = all.last() else { continue };
        if all.len() > 1 {
            findings.warn(
                "several_commands",
                last.line,
                format!("only the last of {} {keyword} counts", all.len()),
                "leave one of them",
            );
        }
        let runs_exec = last.rest.starts_with("exec ");
        if is_last && !last.rest.is_empty() && !runs_exec && exec_form(&last.rest).is_none() {
            findings.warn(
                "shell_form",
                last.line,
                format!("{keyword} in shell form: the shell gets the signal to stop, not the app"),
                "write it as a list: [\"program\", \"argument\"], with double quotes",
            );
        }
    }
}

fn work_dirs(stage: &Stage<'_>, findings: &mut Findings) {
    let mut is_absolute = false;
    for found in stage.body.iter().filter(|found| found.keyword == "WORKDIR") {
        let path = value_after(&found.rest).trim_matches(['"', '\'']);
        let has_drive = path.as_bytes().get(1) == Some(&b':');
        is_absolute |= path.starts_with(['/', '$', '\\']) || has_drive || path.is_empty();
        if !is_absolute {
            findings.warn(
                "relative_workdir",
                found.line,
                format!("WORKDIR {path} depends on what the base image has set"),
                "write an absolute path",
            );
        }
    }
}

/// Whom the last stage runs as.
fn who(stages: &[Stage<'_>], user: Option<&str>, findings: &mut Findings) {
    let Some(last) = stages.last() else { return };
    let is_known_well = user.is_some_and(|user| !is_root(user));
    let mut stage = Some(last);
    let mut base = last.base.as_str();
    let mut named = None;
    while let Some(here) = stage {
        named = here.body.iter().rfind(|found| found.keyword == "USER");
        base = &here.base;
        if named.is_some() {
            break;
        }
        stage = below(stages, here);
    }
    let remedy = "end with USER and a user without rights, by its number";
    match named {
        Some(named) if !named.rest.contains('$') && is_root(&named.rest) => {
            findings.risk("user_root", named.line, "the last USER is root", remedy);
        }
        None if !is_known_well && !base.contains("nonroot") && !base.contains("unprivileged") => {
            let what = "no USER: the app runs as the base image says, mostly as root";
            findings.risk("no_user", last.from.line, what, remedy);
        }
        _ => {}
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
