//! Against a program that prints what scanners print, fails, hangs and talks without end.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use serde_json::json;

use super::*;

/// A folder with a "scanner" in it: a Python interpreter under the scanner's name, whose first
/// argument is what it runs.
struct Pretended(PathBuf);

impl Pretended {
    fn new(name: &str, script: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = format!("flukedeploy-scanner-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        std::fs::create_dir(&folder).unwrap();
        let found = std::process::Command::new("python3")
            .args(["-c", "import sys; print(sys.executable)"])
            .output()
            .expect("these tests need python3");
        let python = String::from_utf8(found.stdout).unwrap();
        std::os::unix::fs::symlink(python.trim(), folder.join(name)).unwrap();
        std::fs::write(folder.join("script.py"), script).unwrap();
        Self(folder)
    }

    fn scanner(&self, name: &str) -> Scanner {
        let command = format!(
            "{} -IS {}",
            self.0.join(name).display(),
            self.0.join("script.py").display()
        );
        Scanner::new(
            command.parse().unwrap(),
            Some("unix:///run/other.sock".to_owned()),
            Some(Path::new("/etc/registries/config.json")),
        )
    }
}

impl Drop for Pretended {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn image(local_only: bool) -> PinnedImage {
    let digest = "ab".repeat(32);
    PinnedImage {
        requested: "shop:v1".parse().unwrap(),
        pinned: if local_only {
            format!("sha256:{digest}")
        } else {
            format!("shop@sha256:{digest}")
        },
        local_only,
        architecture: None,
        exposed_ports: Vec::new(),
        has_healthcheck: false,
        user: String::new(),
    }
}

fn scan(scanner: &Scanner, local_only: bool) -> Result<ScanReport, InspectError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime
        .block_on(scanner.scan(&image(local_only)))
        .expect("a scanner is configured")
}

/// Prints this text; as a Python literal, a JSON string will do.
fn printing(text: &str) -> String {
    format!("import sys\nsys.stdout.write({})\n", json!(text))
}

fn trivy_report() -> String {
    let found = |id: &str, severity: &str| {
        json!({"VulnerabilityID": id, "PkgName": "libx", "InstalledVersion": "1.2",
               "FixedVersion": "1.3", "Severity": severity, "Title": "a title"})
    };
    json!({
        "SchemaVersion": 2, "ArtifactName": "shop", "ArtifactType": "container_image",
        "Results": [
            {"Target": "shop (debian 12.1)", "Class": "os-pkgs", "Type": "debian", "Vulnerabilities": [
                found("CVE-2026-0003", "LOW"), found("CVE-2026-0002", "HIGH"),
                found("CVE-2026-0001", "CRITICAL"), found("CVE-2026-0004", "UNKNOWN"),
            ]},
            {"Target": "app/package.json", "Class": "lang-pkgs"},
            {"Target": "/app/.env", "Class": "secret", "Secrets": [
                {"RuleID": "aws-access-key-id", "Title": "AWS Access Key ID", "Severity": "CRITICAL",
                 "Match": "AWS=****"},
            ]},
        ],
    })
    .to_string()
}

#[test]
fn a_report_of_trivy_is_counted() {
    let pretended = Pretended::new("trivy", &printing(&trivy_report()));
    let report = scan(&pretended.scanner("trivy"), false).unwrap();
    assert_eq!(
        report,
        ScanReport {
            scanner: "trivy".to_owned(),
            critical: 2,
            high: 1,
            other: 2,
            worst: [
                "CVE-2026-0001 in libx 1.2 (critical)",
                "secret: AWS Access Key ID in /app/.env (critical)",
                "CVE-2026-0002 in libx 1.2 (high)",
                "CVE-2026-0003 in libx 1.2 (low)",
                "CVE-2026-0004 in libx 1.2 (unknown)",
            ]
            .map(str::to_owned)
            .to_vec(),
        }
    );
}

#[test]
fn a_report_of_grype_is_counted() {
    let found = |severity: &str| {
        json!({
            "vulnerability": {"id": "CVE-2026-1", "severity": severity, "fix": {"state": "fixed"}},
            "relatedVulnerabilities": [], "matchDetails": [],
            "artifact": {"name": "openssl", "version": "3.0.1", "type": "deb"},
        })
    };
    let mut matches = vec![found("Negligible"), found("Critical")];
    matches.extend((0..20).map(|_| found("High")));
    let report = json!({"matches": matches, "source": {}, "descriptor": {"name": "grype"}});
    let pretended = Pretended::new("grype", &printing(&report.to_string()));
    let report = scan(&pretended.scanner("grype"), true).unwrap();
    assert_eq!((report.critical, report.high, report.other), (1, 20, 1));
    assert_eq!(report.worst.len(), WORST);
    assert_eq!(report.worst[0], "CVE-2026-1 in openssl 3.0.1 (critical)");
}

/// What the scanner is given comes back as the package's name.
const ECHO: &str = "
import json, os, sys
words = sys.argv[1:] + [os.environ.get('DOCKER_HOST', ''), os.environ.get('DOCKER_CONFIG', '')]
words += [name for name in os.environ if name.startswith('FLUKEDEPLOY_')]
found = [{'VulnerabilityID': word, 'Severity': 'LOW'} for word in words]
matches = [{'vulnerability': {'id': word}, 'artifact': {}} for word in words]
print(json.dumps({'SchemaVersion': 2, 'Results': [{'Vulnerabilities': found}], 'matches': matches}))
";

#[test]
fn arguments_are_a_list_and_our_secrets_stay_here() {
    let given = |name: &str, local_only: bool| {
        let pretended = Pretended::new(name, ECHO);
        let report = scan(&pretended.scanner(name), local_only).unwrap();
        let first = |line: &String| line.split(" in ").next().unwrap_or_default().to_owned();
        report.worst.iter().map(first).collect::<Vec<_>>()
    };
    let digest = "ab".repeat(32);
    let ends = ["unix:///run/other.sock", "/etc/registries"];
    let (named, id) = (format!("shop@sha256:{digest}"), format!("sha256:{digest}"));
    let trivy = ["image", "--format", "json", "--quiet"];
    assert_eq!(
        given("trivy", false),
        [&trivy[..], &[&named], &ends].concat()
    );
    assert_eq!(given("trivy", true), [&trivy[..], &[&id], &ends].concat());
    let grype = ["-o", "json"];
    assert_eq!(
        given("grype", false),
        [&grype[..], &[&named], &ends].concat()
    );
    let id = format!("docker:{id}");
    assert_eq!(given("grype", true), [&grype[..], &[&id], &ends].concat());
}

#[test]
fn a_failure_is_told_in_its_words() {
    let script =
        "import sys\nsys.stderr.write('FATAL\\tcannot pull the database\\n')\nsys.exit(3)\n";
    let pretended = Pretended::new("trivy", script);
    let error = scan(&pretended.scanner("trivy"), false).unwrap_err();
    assert!(matches!(error, InspectError::Failed { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("cannot pull the database") && text.contains("status: 3"),
        "{text}"
    );
}

#[test]
fn findings_count_although_it_ends_with_an_error() {
    let script = format!("{}sys.exit(1)\n", printing(&trivy_report()));
    let pretended = Pretended::new("trivy", &script);
    assert_eq!(
        scan(&pretended.scanner("trivy"), false).unwrap().critical,
        2
    );
    // An empty report and an error are no clean image.
    let empty = json!({"SchemaVersion": 2}).to_string();
    let pretended = Pretended::new("trivy", &format!("{}sys.exit(1)\n", printing(&empty)));
    assert!(scan(&pretended.scanner("trivy"), false).is_err());
}

#[test]
fn what_is_no_report_is_no_clean_image() {
    for (name, text) in [
        ("trivy", ""),
        ("trivy", "{}"),
        ("trivy", "[]"),
        ("trivy", "no vulnerabilities"),
        ("grype", "{}"),
        ("grype", "{\"matches\": null}"),
    ] {
        let kind = name.parse::<ScannerCommand>().unwrap().kind;
        assert!(parse(kind, name, text.as_bytes()).is_err(), "{name} {text}");
    }
    let clean = parse(Kind::Grype, "grype", b"{\"matches\": []}").unwrap();
    assert_eq!((clean.critical, clean.high, clean.other), (0, 0, 0));
}

#[test]
fn one_that_hangs_is_ended_with_what_it_started() {
    let script = "
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
open(os.path.join(os.path.dirname(sys.argv[0]), 'pids'), 'w').write(f'{os.getpid()} {child.pid}')
time.sleep(60)
";
    let pretended = Pretended::new("trivy", script);
    let mut scanner = pretended.scanner("trivy");
    scanner.time_limit = Duration::from_secs(2);
    let begun = Instant::now();
    let error = scan(&scanner, false).unwrap_err();
    assert!(
        matches!(error, InspectError::TimedOut { seconds: 2, .. }),
        "{error}"
    );
    assert!(begun.elapsed() < Duration::from_secs(20));
    let pids = std::fs::read_to_string(pretended.0.join("pids")).unwrap();
    assert_eq!(pids.split(' ').count(), 2);
    for pid in pids.split(' ') {
        // A killed process may be a zombie for a moment.
        let runs = || {
            std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| !stat.contains(") Z "))
        };
        while runs() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{pid} goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn one_that_prints_without_end_is_stopped() {
    let script = "import sys\nwhile True: sys.stdout.write(' ' * 1048576)\n";
    let pretended = Pretended::new("trivy", script);
    let error = scan(&pretended.scanner("trivy"), false).unwrap_err();
    assert!(error.to_string().contains("more than 64 MiB"), "{error}");
}

#[test]
fn one_that_is_not_there_is_not_run() {
    let scanner = Scanner::new("/nowhere/trivy".parse().unwrap(), None, None);
    let error = scan(&scanner, false).unwrap_err();
    assert!(matches!(error, InspectError::NotRun { .. }), "{error}");
}

#[test]
fn only_what_can_be_read_may_be_configured() {
    for good in [
        "trivy",
        "/opt/bin/grype",
        "trivy-0.58 --cache-dir /var/cache/trivy",
    ] {
        assert!(good.parse::<ScannerCommand>().is_ok(), "{good}");
    }
    for bad in ["", " ", "clair", "/usr/bin/env trivy"] {
        assert!(bad.parse::<ScannerCommand>().is_err(), "{bad}");
    }
    let long = format!("trivy {}", "-x ".repeat(MAX_ARGUMENTS + 1));
    assert!(long.parse::<ScannerCommand>().is_err());
}
