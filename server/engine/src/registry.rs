//! What a registry's refusal means, from the words the engine passes on.

/// Why a registry did not give an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    NotFound,
    Denied,
    Unreachable,
    /// Nothing we know: the engine's own trouble.
    Other,
}

const UNREACHABLE: [&str; 20] = [
    "connection refused",
    "no such host",
    "i/o timeout",
    "no route to host",
    "network is unreachable",
    "host is unreachable",
    "host is down",
    "connection reset",
    "temporary failure in name resolution",
    "server misbehaving",
    "server gave http response to https client",
    "http: server gave",
    "tls handshake",
    "x509:",
    "request canceled",
    "deadline exceeded",
    "toomanyrequests",
    "bad gateway",
    "service unavailable",
    "eof",
];

const NOT_FOUND: [&str; 6] = [
    "manifest unknown",
    "name unknown",
    "repository name not known",
    "not found",
    "no such image",
    "repository does not exist",
];

const DENIED: [&str; 8] = [
    "unauthorized",
    "authentication required",
    "no basic auth credentials",
    "access denied",
    "access to the resource is denied",
    "insufficient_scope",
    "forbidden",
    "incorrect username or password",
];

/// `at_hub`: the image is Docker Hub's, which says "denied" for whatever does not exist, so that
/// names cannot be guessed. Without credentials a typo is by far the likelier reason, with them
/// it is not.
pub(crate) fn judge(message: &str, at_hub: bool, had_credentials: bool) -> Verdict {
    let words = message.to_ascii_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
    // First: such messages quote addresses and can hold any word.
    if says(&UNREACHABLE) {
        return Verdict::Unreachable;
    }
    let hub_is_vague =
        words.contains("pull access denied") || words.contains("requested access to the resource");
    if at_hub && hub_is_vague && !had_credentials {
        return Verdict::NotFound;
    }
    // "pull access denied for x, repository does not exist or may require 'docker login': denied"
    if words.contains("pull access denied") || says(&DENIED) {
        return Verdict::Denied;
    }
    if says(&NOT_FOUND) {
        return Verdict::NotFound;
    }
    Verdict::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        let hub_denial = "pull access denied for shoop, repository does not exist or may require 'docker login': denied: requested access to the resource is denied";
        for (message, at_hub, credentials, verdict) in [
            (
                "manifest unknown: manifest unknown",
                false,
                false,
                Verdict::NotFound,
            ),
            (
                "manifest for localhost:5000/a:b not found: manifest unknown",
                false,
                true,
                Verdict::NotFound,
            ),
            (
                "name unknown: repository name not known to registry",
                false,
                false,
                Verdict::NotFound,
            ),
            (hub_denial, true, false, Verdict::NotFound),
            (hub_denial, true, true, Verdict::Denied),
            (hub_denial, false, false, Verdict::Denied),
            (
                "errors:\ndenied: requested access to the resource is denied\nunauthorized: authentication required\n",
                true,
                false,
                Verdict::NotFound,
            ),
            (
                "unauthorized: authentication required",
                false,
                true,
                Verdict::Denied,
            ),
            (
                "Get \"http://localhost:5000/v2/\": no basic auth credentials",
                false,
                false,
                Verdict::Denied,
            ),
            (
                "dial tcp 127.0.0.1:1: connect: connection refused",
                false,
                false,
                Verdict::Unreachable,
            ),
            (
                "dial tcp: lookup registry.example on 10.0.0.2:53: no such host",
                false,
                false,
                Verdict::Unreachable,
            ),
            (
                "net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)",
                true,
                false,
                Verdict::Unreachable,
            ),
            (
                "http: server gave HTTP response to HTTPS client",
                false,
                false,
                Verdict::Unreachable,
            ),
            (
                "dial tcp 203.0.113.9:443: i/o timeout",
                false,
                false,
                Verdict::Unreachable,
            ),
            (
                "toomanyrequests: You have reached your pull rate limit",
                true,
                false,
                Verdict::Unreachable,
            ),
            ("no space left on device", false, false, Verdict::Other),
        ] {
            assert_eq!(judge(message, at_hub, credentials), verdict, "{message}");
        }
    }
}
