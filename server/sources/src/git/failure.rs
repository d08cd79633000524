//! What git and ssh say when something fails, in our words and with the next step.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flukedeploy_domain::build::Transport;
use flukedeploy_domain::credential::Credential;
use flukedeploy_domain::diagnosis::tame;
use flukedeploy_platform::ports::SourceError;

use crate::fault::{denied, not_found, refused};

/// Longest part of git's own words in a message.
const MAX_QUOTE: usize = 240;

/// What is known about a run that failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) host: &'a str,
    pub(super) transport: Transport,
    /// What was shown to the host.
    pub(super) credential: Option<&'a Credential>,
    /// The repository as it was asked for.
    pub(super) repository: &'a str,
}

/// Finds the cause in git's words. They may hold anything: a hostile server writes there too.
pub(super) fn explain(words: &str, context: Context<'_>) -> SourceError {
    // The address may hold any of the words that are looked for.
    let low = words
        .to_ascii_lowercase()
        .replace(&context.repository.to_ascii_lowercase(), "");
    let says = |any: &[&str]| any.iter().any(|text| low.contains(text));
    let Context {
        host, repository, ..
    } = context;
    let quote = quote(words, context.credential);
    let kind = match context.transport {
        Transport::Ssh => "git_key",
        Transport::Https | Transport::Http => "git_token",
    };
    let store =
        format!("store a credential of kind {kind} for {host} that may read this repository");
    if says(&[
        "host key verification failed",
        "host key is known for",
        "identification has changed",
    ]) {
        return refused(
            format!("the host key of {host} is not the one that is stored with the key"),
            format!(
                "look at the keys that 'ssh-keyscan {host}' prints, check them with whoever runs the \
                 host, and store them as known_hosts of the credential"
            ),
        );
    }
    if says(&[
        "error in libcrypto",
        "invalid format",
        "is not a private key",
    ]) {
        return denied(
            format!("the private key that is stored for {host} cannot be read"),
            "store the key again, whole, in OpenSSH or PEM form and without a passphrase",
        );
    }
    if says(&[
        "permission denied (",
        "authentication failed",
        "could not read username",
        "could not read password",
        "terminal prompts disabled",
        "returned error: 401",
        "returned error: 403",
        "too many authentication failures",
    ]) {
        return match context.credential {
            None => denied(
                format!("{host} wants credentials for {repository}, and none are stored for it"),
                store,
            ),
            Some(_) => denied(
                format!("{host} refused the stored credentials for {repository}"),
                format!("check that they are still valid and may read this repository, or {store}"),
            ),
        };
    }
    if says(&[
        "returned error: 301",
        "returned error: 302",
        "returned error: 303",
        "returned error: 307",
        "returned error: 308",
        "unable to update url base from redirection",
    ]) {
        return refused(
            format!(
                "{host} answered with a redirect to another address, and redirects are not followed"
            ),
            "open the repository in a browser and use the address it ends at (often it ends with .git)",
        );
    }
    if says(&["transport '"]) && says(&["not allowed"]) {
        return refused(
            format!("{host} asked for a way of transport that is not allowed ({quote})"),
            "use a repository that is served over https or ssh",
        );
    }
    if says(&[
        "ssl certificate",
        "certificate verification",
        "gnutls",
        "ssl_",
        "tls connect",
    ]) {
        return refused(
            format!("the TLS certificate of {host} is not trusted, or TLS failed ({quote})"),
            "install a certificate on the host that this machine trusts",
        );
    }
    if says(&["dumb http transport", "not valid: is this a git repository"]) {
        return not_found(
            format!("there is no git repository at {repository}, or not over 'smart' HTTP"),
            "check the address: it must be the one that 'git clone' takes",
        );
    }
    if says(&[
        "couldn't find remote ref",
        "no such remote ref",
        "not our ref",
        "unadvertised object",
    ]) {
        return not_found(
            format!("{repository} has no such branch, tag or commit"),
            "check its name, and that it was pushed",
        );
    }
    if says(&[
        "fsck",
        "bad object",
        "index-pack",
        "unpack-objects",
        "did not send all necessary",
    ]) {
        return refused(
            format!("{repository} holds objects that are damaged or not safe ({quote})"),
            "run 'git fsck' on the repository and mend what it finds",
        );
    }
    if says(&[
        "returned error: 404",
        "not found",
        "does not exist",
        "does not appear to be a git repository",
        "returned error: 410",
    ]) {
        return not_found(
            format!(
                "{host} knows no repository {repository}, or does not show it without other credentials"
            ),
            format!("check the address; if the repository is private, {store}"),
        );
    }
    unreachable(&low, host, &quote)
}

fn unreachable(low: &str, host: &str, quote: &str) -> SourceError {
    let says = |any: &[&str]| any.iter().any(|text| low.contains(text));
    let why = if says(&[
        "connection refused",
        "couldn't connect",
        "failed to connect",
    ]) {
        "refused the connection"
    } else if says(&["timed out", "timeout", "too slow", "operation too"]) {
        "did not answer in time"
    } else if says(&["could not resolve", "name or service not known"]) {
        "is not known to the name servers"
    } else if says(&["no route to host", "network is unreachable"]) {
        "cannot be reached from this machine"
    } else {
        return SourceError::Unreachable {
            message: format!("git could not fetch from {host} ({quote})"),
        };
    };
    SourceError::Unreachable {
        message: format!("{host} {why}"),
    }
}

/// The line that tells most, without anything that is secret.
fn quote(words: &str, credential: Option<&Credential>) -> String {
    let clean = without_secrets(words, credential);
    let line = clean
        .lines()
        .find(|line| line.contains("error:"))
        .or_else(|| clean.lines().rev().find(|line| line.contains("fatal:")))
        .or_else(|| clean.lines().rev().find(|line| !line.trim().is_empty()))
        .unwrap_or("it said nothing");
    format!("git: {}", tame(line.trim(), MAX_QUOTE))
}

/// Cuts out secrets in the forms in which they are used, and each line of a key.
fn without_secrets(words: &str, credential: Option<&Credential>) -> String {
    let mut clean = words.to_owned();
    let Some(credential) = credential else {
        return clean;
    };
    let mut forms = vec![
        credential.secret.clone(),
        STANDARD.encode(&credential.secret),
        basic(credential),
    ];
    forms.extend(credential.secret.lines().map(str::to_owned));
    forms.retain(|form| form.len() >= 4);
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    for form in forms {
        clean = clean.replace(&form, "…");
    }
    clean
}

/// User and token as HTTP's basic authentication wants them. Hosts that go by the token alone take
/// any user; `git` is one that none of them refuses.
pub(super) fn basic(credential: &Credential) -> String {
    let user = match credential.username.as_str() {
        "" => "git",
        user => user,
    };
    STANDARD.encode(format!("{user}:{}", credential.secret))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flukedeploy_domain::credential::CredentialKind;

    fn credential() -> Credential {
        Credential {
            kind: CredentialKind::GitToken,
            host: "git.example.com".to_owned(),
            username: String::new(),
            secret: "canary-token-1".to_owned(),
            known_hosts: None,
            created_at: time::OffsetDateTime::UNIX_EPOCH,
        }
    }

    fn explained(words: &str, credential: Option<&Credential>) -> String {
        let error = explain(
            words,
            Context {
                host: "git.example.com",
                transport: Transport::Https,
                credential,
                repository: "https://git.example.com/shop.git",
            },
        );
        format!("{error:?}")
    }

    #[test]
    fn words_of_git_become_kinds() {
        for (words, begins) in [
            (
                "fatal: could not read Username for 'https://x': terminal prompts disabled",
                "Denied",
            ),
            ("git@x: Permission denied (publickey).", "Denied"),
            (
                "fatal: unable to access 'https://x/': The requested URL returned error: 302",
                "Refused",
            ),
            (
                "remote: Repository not found.\nfatal: repository 'https://x/' not found",
                "NotFound",
            ),
            ("fatal: couldn't find remote ref nope", "NotFound"),
            ("Host key verification failed.", "Refused"),
            (
                "fatal: unable to access: Failed to connect to x port 1: Connection refused",
                "Unreachable",
            ),
            (
                "server certificate verification failed. CAfile: none",
                "Refused",
            ),
            ("", "Unreachable"),
        ] {
            let text = explained(words, None);
            assert!(text.starts_with(begins), "{words}: {text}");
        }
    }

    #[test]
    fn secrets_and_escapes_are_cut_out_of_what_is_quoted() {
        let own = credential();
        let words = format!(
            "fatal: \u{1b}[31mstrange canary-token-1 {} {}",
            STANDARD.encode("canary-token-1"),
            basic(&own)
        );
        let text = explained(&words, Some(&own));
        assert!(text.contains("strange …"), "{text}");
        for secret in [
            "canary",
            &STANDARD.encode("canary-token-1"),
            &basic(&own),
            "\u{1b}",
        ] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
