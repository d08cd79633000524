//! Rules about the files that `ADD` and `COPY` take.

use super::Instruction;
use super::rules::Findings;
use super::shell::{self, exec_form};
use crate::checks::has_word;

/// Ends of names that `ADD` unpacks.
const ARCHIVES: &str = ".tar .tar.gz .tgz .tar.bz2 .tbz .tbz2 .tar.xz .txz .tar.zst .gz .bz2 .xz";
const SECRET_FILES: &str = ".env .npmrc .pypirc .netrc .git-credentials .pgpass .dockercfg .aws .ssh .gnupg \
    .kube kubeconfig id_rsa id_dsa id_ecdsa id_ed25519 credentials.json";

/// Sources and flags of `ADD` and `COPY`.
pub(super) fn copies(instruction: &Instruction, findings: &mut Findings) {
    let Instruction {
        line,
        keyword,
        rest,
    } = instruction;
    let text = rest.lines().next().unwrap_or_default();
    let flags: Vec<&str> = text
        .split_whitespace()
        .take_while(|word| word.starts_with("--"))
        .collect();
    let words = exec_form(text).unwrap_or_else(|| {
        let plain = shell::words(text);
        plain
            .into_iter()
            .filter(|word| !word.starts_with("--"))
            .collect()
    });
    let Some((_, sources)) = words.split_last() else {
        return;
    };
    let has_flag = |name: &str| flags.iter().any(|flag| flag.starts_with(name));
    for source in sources {
        let is_address = source.starts_with("http://") || source.starts_with("https://");
        let is_git = source.starts_with("git@") || source.contains(".git");
        let is_plain = !is_address && !is_git && !source.contains('$') && !source.starts_with("<<");
        if keyword == "ADD" && is_address && !is_git && !has_flag("--checksum") {
            findings.warn(
                "add_url",
                *line,
                "ADD fetches an address, whatever it gives at that moment",
                "add --checksum=sha256:…, or fetch and compare it in a RUN",
            );
        }
        if keyword == "ADD" && is_plain && !is_archive(source) {
            findings.warn(
                "add_for_copy",
                *line,
                format!("ADD where COPY does the same: {source}"),
                "use COPY; ADD also unpacks and fetches",
            );
        }
        if is_plain && !has_flag("--from") && is_secret_file(source) {
            findings.risk(
                "copies_secret",
                *line,
                format!("{keyword} takes {source} into the image"),
                "leave it out (.dockerignore); set secrets as variables of the app, or mount them for the build",
            );
        }
    }
}

fn is_archive(source: &str) -> bool {
    let source = source.to_ascii_lowercase();
    ARCHIVES
        .split_whitespace()
        .any(|end| source.trim_end_matches('*').ends_with(end))
}

fn is_secret_file(source: &str) -> bool {
    let source = source.trim_end_matches('/').to_ascii_lowercase();
    let name = source.rsplit('/').next().unwrap_or_default();
    let is_env = name
        .strip_prefix(".env.")
        .is_some_and(|kind| !has_word("example sample template dist defaults schema", kind));
    let ends = |ends: &str| ends.split_whitespace().any(|end| name.ends_with(end));
    let holds = |parts: &str| parts.split_whitespace().any(|part| name.contains(part));
    let is_key = ends(".key .p12 .pfx .jks .keystore") && !holds("pub")
        || ends(".pem") && !holds("cert ca. ca- chain pub");
    has_word(SECRET_FILES, name) || is_env || is_key
}
