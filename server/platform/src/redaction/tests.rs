use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use flukedeploy_domain::log_entry::{EventType, Level, LogMetadata, LogSource, SourceType};
use proptest::prelude::*;
use time::OffsetDateTime;

use super::*;
use crate::ports::{LineOrigin, LogBatch, Logged, ReplicaLine};

/// Put together here, so that no scanner takes this file for a leak.
fn made(prefix: &str, count: usize) -> String {
    format!("{prefix}{}", &"A1b2C3d4E5f6G7h8I9j0".repeat(6)[..count])
}

fn knowing(variables: &[(&str, &str)]) -> Redactor {
    let mut settings = Settings::default();
    for (name, value) in variables {
        let (name, value) = ((*name).to_owned(), (*value).to_owned());
        settings.env_vars.0.insert(name, value);
    }
    let redaction = Redaction::default();
    redaction.learn("shop", &settings);
    redaction.of("shop")
}

#[test]
fn a_known_value_goes_in_every_form() {
    let value = "p\"ss wörd/+7&x";
    let redactor = knowing(&[("DB_PASSWORD", value)]);
    let json = serde_json::json!({ "value": value }).to_string();
    let twice = serde_json::json!({ "log": json }).to_string();
    for form in [
        value.to_owned(),
        format!("before {value} and {value}"),
        json,
        twice,
        STANDARD.encode(value),
        STANDARD.encode(format!("user:{value}")),
        STANDARD.encode(format!("us:{value}@host")),
        URL_SAFE_NO_PAD.encode(format!("u:{value}")),
        "p%22ss%20w%C3%B6rd%2F%2B7%26x".to_owned(),
        "p%22ss+w%c3%b6rd%2f%2b7%26x".to_owned(),
        "p%22ss%20w%C3%B6rd/+7&x".to_owned(),
    ] {
        let shown = redactor.text(&form);
        assert!(shown.contains("[redacted:DB_PASSWORD]"), "{form} → {shown}");
        for part in ["wörd", "w%C3", "w\u{f6}", "/+7"] {
            assert!(!shown.contains(part), "{form} → {shown}");
        }
    }
    let shown = redactor.text("say \"x\" to p\"ss wörd/+7&x!").into_owned();
    assert_eq!(shown, "say \"x\" to [redacted:DB_PASSWORD]!");
}

#[test]
fn base64_around_a_value_goes_as_a_whole() {
    let redactor = knowing(&[("API_TOKEN", "s3cr3t")]);
    for before in ["", "a", "ab", "abc"] {
        for after in ["", "y", "yz", "xyz!"] {
            let text = format!("{before}s3cr3t{after}");
            let code = STANDARD.encode(text);
            let shown = redactor.text(&format!("auth={code}; ok")).into_owned();
            assert_eq!(shown, "auth=[redacted:API_TOKEN]; ok", "{code}");
        }
    }
}

#[test]
fn only_what_is_secret_and_long_enough_is_learnt() {
    let redactor = knowing(&[
        ("NODE_ENV", "production"),
        ("ROOT_PASSWORD", "password"),
        ("DB_HOST", "database.internal"),
        ("PIN_SECRET", "12345"),
        ("EMPTY_TOKEN", ""),
        ("LINE_SECRET", "----------"),
        ("DATABASE_URL", "postgres://shop:h4rdT0gu3ss@db/shop"),
        ("STRIPE", &made("sk_live_", 24)),
    ]);
    for text in [
        "production database.internal 12345 wrong password ----------",
        "connected to postgres://shop@db/shop",
    ] {
        assert_eq!(redactor.text(text), text);
    }
    assert_eq!(
        redactor.text("the password is h4rdT0gu3ss"),
        "the password is [redacted:DATABASE_URL]"
    );
    let key = made("sk_live_", 24);
    assert_eq!(redactor.text(&key[..]), "[redacted:STRIPE]");
}

#[test]
fn what_is_marked_goes_whatever_it_is_called_and_weak_values_are_told() {
    let mut settings = Settings::default();
    let variables = [
        ("COLOUR", "p\"ss wörd/+7&x"),
        ("SIZE", "large-as-life"),
        ("PIN", "12345"),
        ("WORD", "Production"),
        ("LINE", "-------"),
        ("EMPTY", ""),
        ("OPEN_PIN", "54321"),
    ];
    for (name, value) in variables {
        let (name, value) = (name.to_owned(), value.to_owned());
        settings.env_vars.0.insert(name, value);
    }
    let marked = ["COLOUR", "PIN", "WORD", "LINE", "EMPTY", "GONE"];
    settings.secret_env_vars = marked.map(ToOwned::to_owned).into();
    let redaction = Redaction::default();
    redaction.learn("shop", &settings);
    let redactor = redaction.of("shop");
    for form in [
        "p\"ss wörd/+7&x".to_owned(),
        serde_json::json!({ "a": "p\"ss wörd/+7&x" }).to_string(),
        STANDARD.encode("user:p\"ss wörd/+7&x"),
        "p%22ss%20w%C3%B6rd%2F%2B7%26x".to_owned(),
    ] {
        let shown = redactor.text(&form);
        assert!(shown.contains("[redacted:COLOUR]"), "{form} → {shown}");
        assert!(!shown.contains("rd/+7"), "{form} → {shown}");
    }
    let text = "large-as-life 12345 production -------";
    assert_eq!(redactor.text(text), text);
    assert_eq!(hidden_nowhere(&settings), ["LINE", "PIN", "WORD"]);
}

#[test]
fn values_of_many_lines_are_known_line_by_line() {
    let redactor = knowing(&[("TLS_SECRET", "first line\nsecond line\n")]);
    assert_eq!(
        redactor.text("> second line <"),
        "> [redacted:TLS_SECRET] <"
    );
    assert_eq!(
        redactor.text(r#"{"x":"first line\nsecond line"}"#),
        r#"{"x":"[redacted:TLS_SECRET]"}"#
    );
}

#[test]
fn overlapping_and_cut_values_leave_nothing() {
    let long = made("", 100);
    let redactor = knowing(&[
        ("A_SECRET", "abcdef"),
        ("B_SECRET", "defghi"),
        ("C_SECRET", "abcdefghijkl"),
        ("L_SECRET", &long),
    ]);
    assert_eq!(redactor.text("xabcdefghix"), "x[redacted:A_SECRET]x");
    assert_eq!(redactor.text("abcdefghijklm"), "[redacted:C_SECRET]m");
    assert_eq!(
        redactor.text(&format!("tail: {}", &long[..20])),
        "tail: [redacted:L_SECRET]"
    );
    assert_eq!(
        redactor.text(&format!("{}… more", &long[..40])),
        "[redacted:L_SECRET]… more"
    );
}

#[test]
fn what_is_secret_by_its_form_goes_without_being_known() {
    let redactor = Redactor::default();
    let gone = |text: String, shown: &str| assert_eq!(redactor.text(&text), shown, "{text}");
    gone(format!("t {} t", made("ghp_", 36)), "t [redacted] t");
    gone(format!("t {} t", made("glpat-", 20)), "t [redacted] t");
    gone(format!("t {} t", made("xoxb-", 24)), "t [redacted] t");
    gone(
        format!("key={} t", made("sk_live_", 24)),
        "key=[redacted] t",
    );
    gone(format!("id AKIA{}", "Q3".repeat(8)), "id [redacted]");
    gone(
        format!("{} used", made("fd_abc123_", 43)),
        "[redacted] used",
    );
    gone(format!("{} used", made("flk_", 40)), "[redacted] used");
    gone(
        format!(
            "j {}.{}.{} j",
            made("eyJ", 20),
            made("eyJ", 20),
            made("", 30)
        ),
        "j [redacted] j",
    );
    gone(
        "postgres://shop:h4rd:T0@gu3ss@db/shop?x=1".to_owned(),
        "postgres://shop:[redacted]@db/shop?x=1",
    );
    gone(
        "redis://:hunter2@cache".to_owned(),
        "redis://:[redacted]@cache",
    );
    gone(
        "login password=hunter2 user=bob".to_owned(),
        "login password=[redacted] user=bob",
    );
    gone("PASSWORD=abc".to_owned(), "PASSWORD=[redacted]");
    gone("?token=abcdef123&a=1".to_owned(), "?token=[redacted]&a=1");
    gone(
        "curl --password hunter2 x".to_owned(),
        "curl --password [redacted] x",
    );
    gone(
        r#"{"password": "hunter 2", "a": 1}"#.to_owned(),
        r#"{"password": "[redacted]", "a": 1}"#,
    );
    gone(
        r#"{\"apiKey\":\"abcdefgh\",\"b\":1}"#.to_owned(),
        r#"{\"apiKey\":\"[redacted]\",\"b\":1}"#,
    );
    gone(
        "{ clientSecret: 'it''s', ok: 1 }".to_owned(),
        "{ clientSecret: 'it''s', ok: 1 }",
    );
    gone(
        "{ clientSecret: 'itsasecret', ok: 1 }".to_owned(),
        "{ clientSecret: '[redacted]', ok: 1 }",
    );
    gone(
        "\"password\"=>\"hunter2\"".to_owned(),
        "\"password\"=>\"[redacted]\"",
    );
    gone(
        "db.password: hunter2!".to_owned(),
        "db.password: [redacted]",
    );
    gone(
        "Authorization: Bearer abcdef.123".to_owned(),
        "Authorization: Bearer [redacted]",
    );
    gone(
        "authorization: Basic dTpw\u{63}3M= next".to_owned(),
        "authorization: Basic [redacted] next",
    );
    gone(
        r#""Authorization":"Bearer abc def123""#.to_owned(),
        r#""Authorization":"Bearer abc def123""#,
    );
    gone(
        r#""Authorization":["Bearer abcdef123"]"#.to_owned(),
        r#""Authorization":["Bearer abcdef123"]"#,
    );
    gone("X-Api-Key: 4f5e6d7c8b".to_owned(), "X-Api-Key: [redacted]");
    let pem = format!(
        "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
        made("", 64)
    );
    gone(format!("read {pem}, ok"), "read [redacted], ok");
    gone(pem.replace('\n', "\\n"), "[redacted]");
    gone(
        format!("-----BEGIN PRIVATE KEY-----\n{}", made("", 64)),
        "[redacted]",
    );
}

#[test]
fn what_only_resembles_a_secret_stays() {
    let redactor = knowing(&[("A_SECRET", "zyxwvuts")]);
    for text in [
        "",
        "the password is wrong",
        "invalid password: too short",
        "password: must have 8 characters",
        "token=512 prompt_tokens=12345678",
        "TOKEN_TTL=3600seconds key=value monkey=banana",
        "password=$PASSWORD token=${TOKEN} secret=<secret>",
        "password_file=/run/secrets/password secret=/run/secrets/x1",
        "https://example.com/a:b@c http://user@host/ postgres://u:$PW@h",
        "AKIA ghp_short eyJhbGciOi fd_x flk_",
        "-----BEGIN CERTIFICATE-----",
        "cannot read -----BEGIN PRIVATE KEY----- from the file that was given",
        "pass 12 fail 0 skipped 3 passed=12 tokens: 12345678",
        "if token == \"abcdefghi\" {",
        "Authorization: required",
        "key: value, primary_key=customers_pkey, cache_key=user12345",
    ] {
        let shown = redactor.text(text);
        assert_eq!(shown, text);
        assert!(matches!(shown, Cow::Borrowed(_)), "{text}");
    }
}

#[test]
fn every_text_of_an_entry_is_looked_at() {
    let secret = "sw0rdf1sh!";
    let mut settings = Settings::default();
    settings
        .build
        .secrets
        .0
        .insert("PLAIN".to_owned(), secret.to_owned());
    let redaction = Redaction::default();
    redaction.learn("shop", &settings);
    let fields = serde_json::json!({
        "a": format!("x {secret} y"), "b": {"c": [secret]}, secret: 1, "password": "only-by-its-name",
        "deep": {"user": {"apiKey": "only-by-its-name"}}, "number": 12,
    });
    let metadata = LogMetadata {
        stack_trace: Some(format!("boom\n  at {secret}")),
        error_code: Some(secret.to_owned()),
        version: Some(secret.to_owned()),
        fields: serde_json::from_value(fields).unwrap(),
        ..LogMetadata::new(EventType::PostDeploy, "shop")
    };
    let source = LogSource {
        kind: SourceType::Container,
        container_name: "shop".to_owned(),
        service_id: None,
        node_id: None,
        task_id: None,
        stream: None,
    };
    let at = OffsetDateTime::UNIX_EPOCH;
    let line = ReplicaLine {
        at: 0,
        number: 1,
        level: Level::Info,
        message: secret.to_owned(),
        stack_trace: metadata.stack_trace.clone(),
        fields: metadata.fields.clone(),
        origin: Arc::new(LineOrigin {
            source: source.clone(),
            metadata: LogMetadata {
                stack_trace: None,
                fields: BTreeMap::new(),
                ..metadata.clone()
            },
        }),
    };
    let mut entry = LogEntry::new(at, 1, Level::Info, secret, source, metadata);
    let mut logged = Logged::Line(line);
    redaction.of("shop").logged(&mut logged);
    entry.tags = vec![secret.to_owned()];
    redaction.entry(&mut entry);
    // A line is what its entry is.
    let batch = LogBatch::new(vec![logged], Vec::new());
    let tags = entry.tags.clone();
    let of_line = LogEntry {
        tags,
        ..batch.entries()[0].clone()
    };
    assert_eq!(of_line, entry);
    let shown = serde_json::to_string(&entry).unwrap();
    assert!(
        !shown.contains("sw0rd") && !shown.contains("only-by-its-name"),
        "{shown}"
    );
    assert!(shown.contains("\"number\":12"));
    // Another app's secrets are its own affair.
    assert_eq!(redaction.of("other").text(secret), secret);
}

#[test]
fn credentials_are_known_everywhere() {
    let redaction = Redaction::default();
    redaction.learn_credentials(&[Credential {
        kind: flukedeploy_domain::credential::CredentialKind::Registry,
        host: "registry.example.com".to_owned(),
        username: "bob".to_owned(),
        secret: "n0b0dykn0ws".to_owned(),
        known_hosts: None,
        created_at: OffsetDateTime::UNIX_EPOCH,
    }]);
    assert_eq!(
        redaction.of("any").text("login n0b0dykn0ws"),
        "login [redacted]"
    );
}

#[test]
fn a_line_made_to_be_slow_is_not() {
    let redactor = knowing(&[("A_SECRET", &"aaaaaaab".repeat(1_000))]);
    for piece in [
        "token",
        "key=",
        "://",
        "eyJ",
        ".eyJ",
        ",eyJa",
        "-----BEGIN ",
        "password=\"",
        "a",
        "aaaaaaab",
        "key\\",
        "Authorization: ",
        "-----BEGIN PRIVATE KEY-----",
        "://a:",
        "@",
        "fd_",
        "key ",
    ] {
        let text = piece.repeat(64 * 1024 / piece.len());
        let began = std::time::Instant::now();
        let _ = redactor.text(&text);
        let took = began.elapsed();
        assert!(took.as_millis() < 3_000, "{piece}: {took:?}");
    }
}

proptest! {
    #[test]
    fn no_known_value_is_left_and_nothing_else_is_lost(
        value in "[ -~äß€]{6,40}", before in "[ -~]{0,20}", after in "[ -~]{0,20}",
    ) {
        let redactor = knowing(&[("X_SECRET", &value)]);
        let trimmed = value.trim();
        let everyday = trimmed.len() < SHORTEST || redactor.app.is_none();
        let text = format!("{before}{value}{after}");
        let shown = redactor.text(&text);
        prop_assume!(!everyday);
        prop_assert!(!shown.contains(trimmed), "{text} → {shown}");
        prop_assert!(shown.contains("[redacted"));
    }

    #[test]
    fn anything_is_survived_and_twice_is_as_once(text in "(\\PC|[\"'=:/@ \\\\\n]|password|token|eyJ|://){0,40}") {
        let redactor = Redactor::default();
        let once = redactor.text(&text).into_owned();
        prop_assert_eq!(redactor.text(&once), once.as_str());
    }
}

#[test]
#[ignore = "measures; meant for an optimised build"]
fn how_long_a_line_takes() {
    let many: Vec<(String, String)> = (0..20)
        .map(|n| (format!("S{n}_SECRET"), made(&format!("v{n}"), 24 + n)))
        .collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let line = "2026-11-22T21:05:22.123Z request 4711 from 10.0.0.7 served in 12 ms, 2048 bytes, cache hit, user bob";
    let url = "GET https://shop.example.com/cart?page=2 200 in 12 ms, key=abc referer https://example.com/";
    for (what, redactor) in [
        ("nothing known", Redactor::default()),
        ("3 values", knowing(&many[..3])),
        ("20 values", knowing(&many)),
    ] {
        for (kind, line) in [("plain", line), ("with addresses", url)] {
            let rounds = 300_000;
            let began = std::time::Instant::now();
            for _ in 0..rounds {
                std::hint::black_box(redactor.text(std::hint::black_box(line)));
            }
            let each = began.elapsed().as_nanos() / rounds;
            println!("{what}, {kind}: {each} ns a line of {} bytes", line.len());
        }
    }
}

#[test]
fn a_large_file_does_not_make_the_other_secrets_be_forgotten() {
    use std::fmt::Write as _;
    let mut large = String::new();
    for number in 0..20_000 {
        writeln!(large, "line-{number}-of-a-file").unwrap();
    }
    let mut variables = vec![("TOKEN".to_owned(), "kept-in-mind-canary".to_owned())];
    variables
        .extend((0..5).map(|number| (format!("FILE_{number}_KEY"), format!("{number}{large}"))));
    let variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let redactor = knowing(&variables);
    let shown = redactor.text("with kept-in-mind-canary and line-7-of-a-file");
    assert!(!shown.contains("canary"), "{shown}");
    assert!(!shown.contains("line-7-"), "{shown}");
}
