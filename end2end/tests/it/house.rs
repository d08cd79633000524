//! The walls of the house: which crate may know which.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Everything a crate of ours may depend on, of what walls are about.
const ALLOWED: [(&str, &[&str]); 11] = [
    ("flukedeploy-domain", &[]),
    ("flukedeploy-platform", &["flukedeploy-domain"]),
    (
        "flukedeploy-engine",
        &["flukedeploy-domain", "flukedeploy-platform", "bollard"],
    ),
    (
        "flukedeploy-store",
        &["flukedeploy-domain", "flukedeploy-platform", "sqlx"],
    ),
    (
        "flukedeploy-sources",
        &["flukedeploy-domain", "flukedeploy-platform"],
    ),
    (
        "flukedeploy-logs",
        &["flukedeploy-domain", "flukedeploy-platform"],
    ),
    (
        "flukedeploy-flukebase",
        &["flukedeploy-domain", "flukedeploy-platform"],
    ),
    ("flukedeploy-ingress", &["flukedeploy-domain"]),
    (
        "flukedeploy-app",
        &["flukedeploy-domain", "flukedeploy-platform", "leptos"],
    ),
    (
        "flukedeploy",
        &[
            "flukedeploy-app",
            "flukedeploy-domain",
            "flukedeploy-engine",
            "flukedeploy-flukebase",
            "flukedeploy-ingress",
            "flukedeploy-logs",
            "flukedeploy-platform",
            "flukedeploy-sources",
            "flukedeploy-store",
        ],
    ),
    // Black box: it knows the product through the wire alone.
    ("flukedeploy-end2end", &["bollard"]),
];

/// Crates that only one of ours may name.
const WALLED: [&str; 4] = ["bollard", "sqlx", "leptos", "rusqlite"];

#[test]
fn dependencies_point_one_way() -> Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--locked",
            "--offline",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let ours: BTreeSet<&str> = packages
        .iter()
        .filter_map(|package| package["name"].as_str())
        .collect();
    let allowed: BTreeMap<_, _> = ALLOWED.into_iter().collect();
    ensure!(
        ours.iter()
            .copied()
            .eq(allowed.keys().copied().collect::<BTreeSet<_>>()),
        "crates have come or gone: {ours:?}"
    );
    for package in packages {
        let name = package["name"].as_str().context("a package has a name")?;
        for dependency in package["dependencies"].as_array().context("dependencies")? {
            let on = dependency["name"]
                .as_str()
                .context("a dependency has a name")?;
            // Tests may use an adapter to try the real thing.
            let shipped = dependency["kind"].is_null();
            let walled = ours.contains(on) || WALLED.contains(&on);
            ensure!(
                !shipped || !walled || allowed[name].contains(&on),
                "{name} must not depend on {on}: see the map in ARCHITECTURE.md"
            );
        }
    }
    Ok(())
}
