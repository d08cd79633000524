use proptest::prelude::*;

use super::*;

/// A file that nothing is to be said about.
const GOOD: &str = r#"# syntax=docker/dockerfile:1
ARG RUST=1.95
FROM rust:${RUST}-slim AS build
WORKDIR /src
COPY . .
RUN --mount=type=secret,id=token TOKEN="$(cat /run/secrets/token)" cargo build --release

FROM debian:bookworm-slim@sha256:0000000000000000000000000000000000000000000000000000000000000000
RUN apt-get update \
    # what TLS needs
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/shop /usr/local/bin/shop
ENV PORT=8080 TOKEN_TTL=3600 API_TOKEN_FILE=/run/secrets/token
EXPOSE 8080 9000-9010/udp
USER 10001:10001
HEALTHCHECK CMD ["shop", "check"]
ENTRYPOINT ["shop"]
CMD ["serve"]
"#;

fn rules(text: &str) -> Vec<(String, CheckStatus)> {
    let checks = lint(text, None);
    let short = |check: Check| {
        let name = check.name.replace("dockerfile.", "");
        (name, check.status)
    };
    checks.into_iter().map(short).collect()
}

/// The only findings of a good file with these lines at its end.
#[track_caller]
fn only(lines: &str, rule: &str, status: CheckStatus) -> Check {
    let text = format!("{GOOD}{lines}");
    let checks = lint(&text, None);
    let found: Vec<_> = checks
        .iter()
        .map(|check| (check.name.as_str(), check.status))
        .collect();
    assert_eq!(
        found,
        [(format!("dockerfile.{rule}").as_str(), status)],
        "{lines}"
    );
    checks.into_iter().next().unwrap()
}

#[test]
fn a_good_file_passes() {
    assert_eq!(rules(GOOD), [("dockerfile".to_owned(), CheckStatus::Pass)]);
    let small = "FROM gcr.io/distroless/static:nonroot-v1\nCOPY shop /\nCMD [\"/shop\"]\n";
    assert_eq!(rules(small), [("dockerfile".to_owned(), CheckStatus::Pass)]);
}

#[test]
fn what_cannot_be_built_fails() {
    use CheckStatus::Fail;
    assert_eq!(
        rules("RUN true\n"),
        [
            ("before_from".to_owned(), Fail),
            ("no_from".to_owned(), Fail)
        ]
    );
    assert_eq!(rules(""), [("no_from".to_owned(), Fail)]);
    only("RUNN true\n", "unknown_instruction", Fail);
    only("RUN\n", "missing_argument", Fail);
    only("RUN <<EOF\ntrue\n", "unfinished", Fail);
    for port in ["70000", "http", "80/quic", "90-80", "80:80"] {
        only(&format!("EXPOSE {port}\n"), "port_range", Fail);
    }
}

#[test]
fn each_unwise_thing_has_its_name() {
    use CheckStatus::Warning;
    for (lines, rule) in [
        ("ADD https://example.com/x /x\n", "add_url"),
        ("ADD src /src\n", "add_for_copy"),
        ("RUN true && sudo make install\n", "sudo"),
        ("RUN [\"sudo\", \"make\"]\n", "sudo"),
        ("RUN <<EOF\nset -e\nsudo make\nEOF\n", "sudo"),
        (
            "RUN apt-get install --no-install-recommends x && rm -rf /var/lib/apt/lists/*\n",
            "apt_yes",
        ),
        ("COPY .env /app/\n", "copies_secret"),
        (
            "COPY --chown=1:1 a deploy/id_rsa /root/.ssh/\n",
            "copies_secret",
        ),
        ("COPY [\"tls/server.key\", \"/etc/\"]\n", "copies_secret"),
        ("ARG NPM_TOKEN\n", "secret"),
        ("ENV DB_PASSWORD=s3cr3t-canary\n", "secret"),
        ("ENV DB_PASSWORD s3cr3t-canary\n", "secret"),
        (
            "RUN curl -u x --password=s3cr3t-canary https://x\n",
            "secret",
        ),
        (
            "RUN git clone https://me:s3cr3tcanary@example.com/x\n",
            "secret",
        ),
        ("CMD serve --now\n", "several_commands"),
        ("USER root\n", "user_root"),
        ("USER 0:0\n", "user_root"),
        ("MAINTAINER me\n", "maintainer"),
        ("EXPOSE 0\n", "port_range"),
    ] {
        if rule == "several_commands" {
            let found = rules(&format!("{GOOD}{lines}"));
            let wanted = ["several_commands", "shell_form"];
            assert_eq!(found, wanted.map(|rule| (rule.to_owned(), Warning)));
            continue;
        }
        let check = only(lines, rule, Warning);
        assert!(check.message.starts_with("line 20: "), "{}", check.message);
        assert!(check.suggestion.is_some_and(|remedy| !remedy.is_empty()));
        assert!(!check.message.contains("canary"), "{}", check.message);
    }
}

#[test]
fn bases_stages_and_users_are_followed() {
    let of = |text: &str| {
        let found = rules(text).into_iter().map(|(rule, _)| rule);
        found.collect::<Vec<_>>()
    };
    for base in ["debian", "debian:latest", "localhost:5000/team/base"] {
        let text = format!("FROM {base}\nUSER 1000\n");
        assert_eq!(of(&text), ["unpinned_base"], "{base}");
    }
    for base in ["scratch", "debian:12", "debian@sha256:00", "$BASE"] {
        assert_eq!(
            of(&format!("FROM {base}\nUSER 1000\n")),
            ["dockerfile"],
            "{base}"
        );
    }
    assert_eq!(of("ARG B=debian\nFROM $B\nUSER 1\n"), ["unpinned_base"]);
    assert_eq!(
        of("FROM a:1 AS Base\nUSER 1\nFROM base\nRUN x\n"),
        ["dockerfile"]
    );
    assert_eq!(
        of("FROM a:1 AS base\nUSER 1\nFROM b:1\nRUN x\n"),
        ["no_user"]
    );
    assert_eq!(
        of("FROM a:1 AS base\nUSER root\nFROM base\n"),
        ["user_root"]
    );
    assert_eq!(of("FROM a:1\nUSER $WHO\n"), ["dockerfile"]);
    // The base image set a user.
    let found = lint("FROM a:1\nRUN x\n", Some("app"));
    assert_eq!(found[0].name, "dockerfile");
    assert_eq!(
        lint("FROM a:1\nRUN x\n", Some(""))[0].name,
        "dockerfile.no_user"
    );
}

#[test]
fn packages_are_looked_at_with_care() {
    let of = |run: &str| rules(&format!("FROM debian:12\nUSER 1\n{run}\n"));
    let names = |run: &str| {
        let found = of(run).into_iter().map(|(rule, _)| rule);
        found.collect::<Vec<_>>()
    };
    assert_eq!(
        names("RUN apt-get install -y x"),
        ["apt_size", "apt_update"]
    );
    assert_eq!(
        of("RUN apt-get update && apt-get -qq install x"),
        [("apt_size".to_owned(), CheckStatus::Pass)]
    );
    assert_eq!(
        names("RUN apt-get update\nRUN apt-get install -yq x"),
        ["apt_size"]
    );
    assert_eq!(names("RUN echo apt-get install x"), ["dockerfile"]);
    // Only the image that is kept has a size.
    let text =
        "FROM debian:12 AS b\nRUN apt-get update && apt-get install -y x\nFROM scratch\nUSER 1\n";
    assert_eq!(rules(text)[0].0, "dockerfile");
}

#[test]
fn commands_get_their_signals() {
    let of = |lines: &str| {
        rules(&format!("FROM debian:12\nUSER 1\n{lines}\n"))[0]
            .0
            .clone()
    };
    assert_eq!(of("CMD serve"), "shell_form");
    assert_eq!(of("ENTRYPOINT ['serve']"), "shell_form");
    assert_eq!(of("CMD exec serve $PORT"), "dockerfile");
    assert_eq!(of("CMD [\"serve\"]"), "dockerfile");
    assert_eq!(of("CMD [\"a\"]\nCMD [\"b\"]"), "several_commands");
    assert_eq!(of("WORKDIR src"), "relative_workdir");
    assert_eq!(of("WORKDIR /app\nWORKDIR src"), "dockerfile");
    assert_eq!(of("WORKDIR \"/app\""), "dockerfile");
}

#[test]
fn files_that_only_resemble_secrets_may_be_copied() {
    for source in [
        ".env.example",
        "keys/id_rsa.pub",
        "certs/ca.pem",
        "fullchain.pem",
        "environment",
        "keyboard.json",
    ] {
        let found = rules(&format!("{GOOD}COPY {source} /x/\n"));
        assert_eq!(found[0].0, "dockerfile", "{source}");
    }
    // It comes from another stage, not from the context.
    assert_eq!(
        rules(&format!("{GOOD}COPY --from=build /x/.env /x/\n"))[0].0,
        "dockerfile"
    );
    assert_eq!(
        rules(&format!("{GOOD}ADD rootfs.tar.xz /\n"))[0].0,
        "dockerfile"
    );
    assert_eq!(
        rules(&format!("{GOOD}ADD --checksum=sha256:00 https://x/y /y\n"))[0].0,
        "dockerfile"
    );
}

#[test]
fn many_places_are_counted_and_long_files_not_read() {
    let text = format!("{GOOD}{}", "MAINTAINER me\n".repeat(8));
    let check = lint(&text, None).into_iter().next().unwrap();
    assert!(check.message.ends_with("; and 3 more"), "{}", check.message);
    let long = "#\n".repeat(MAX_BYTES);
    assert!(lint(&long, None)[0].not_run);
    assert!(lint(&"FROM a:1\n".repeat(MAX_STAGES + 1), None)[0].not_run);
}

/// Each would take minutes if something took time by the square of the length.
#[test]
fn hostile_files_take_no_time() {
    let begun = std::time::Instant::now();
    let filled = |piece: &str| format!("FROM a:1\nENV X={}", piece.repeat(80_000 / piece.len()));
    for piece in [
        "eyJ",
        "eyJ.",
        "token=",
        "token='",
        "://u:p@",
        "-----BEGIN PRIVATE KEY-----",
        "glpat-",
        "$(",
        "\\\n",
        "<<A ",
        "a;",
        "[",
    ] {
        for text in [filled(piece), filled(piece).replace("ENV X=", "RUN ")] {
            assert!(!lint(&text, None).is_empty());
        }
    }
    let wide = format!(
        "ARG A={}\nFROM {}",
        "x".repeat(100_000),
        "${A}".repeat(50_000)
    );
    assert!(!lint(&wide, None).is_empty());
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
}

fn line() -> impl Strategy<Value = String> {
    let keyword = prop::sample::select(KNOWN.split_whitespace().collect::<Vec<_>>());
    let piece = prop::sample::select(vec![
        "$", "${A}", "\"", "'", "\\", "`", "[", "]", "<<EOF", "EOF", "--from=x", "=", "AS",
        "apt-get", "install", "://u:p@h", "0-", "/", ".env", "é", "\t",
    ]);
    let pieces = prop::collection::vec(piece, 0..8);
    (keyword, pieces).prop_map(|(keyword, pieces)| format!("{keyword} {}", pieces.join(" ")))
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(text in "\\PC*") {
        prop_assert!(!lint(&text, None).is_empty());
    }

    #[test]
    fn nothing_like_a_dockerfile_makes_it_panic(lines in prop::collection::vec(line(), 0..20)) {
        let checks = lint(&lines.join("\n"), Some(""));
        prop_assert!(checks.iter().all(|check| check.name.starts_with("dockerfile")));
    }
}
