//! Joins `style/` into one stylesheet, points the modules of `public/` at each other's hashed
//! names, compresses everything and writes the table that `src/assets.rs` embeds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use sha2::{Digest, Sha256};

/// The cascade, weakest first. Every file of a folder belongs to the layer of that name.
const LAYERS: [&str; 5] = ["reset", "tokens", "base", "components", "pages"];

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("..");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    let (style, public) = (root.join("style"), root.join("public"));
    println!("cargo::rerun-if-changed={}", style.display());
    println!("cargo::rerun-if-changed={}", public.display());

    let mut files = BTreeMap::new();
    for path in files_in(&public)? {
        files.insert(file_name(&path), fs::read(&path)?);
    }
    files.insert("main.css".to_owned(), stylesheet(&style)?.into_bytes());

    let mut table = String::from("pub(super) static ASSETS: &[Asset] = &[\n");
    for (name, (hashed, bytes)) in hash_names(files) {
        let file = out.join(&hashed);
        fs::write(&file, &bytes)?;
        fs::write(out.join(format!("{hashed}.br")), brotli(&bytes)?)?;
        fs::write(out.join(format!("{hashed}.gz")), gzip(&bytes)?)?;
        let include = |suffix: &str| {
            format!(
                "include_bytes!({:?})",
                format!("{}{suffix}", file.display())
            )
        };
        writeln!(
            table,
            "    Asset {{ name: {name:?}, url: {:?}, plain: {}, brotli: {}, gzip: {} }},",
            format!("/assets/{hashed}"),
            include(""),
            include(".br"),
            include(".gz"),
        )
        .map_err(io::Error::other)?;
    }
    table.push_str("];\n");
    fs::write(out.join("assets.rs"), table)
}

/// `@layer` order first, then each layer's files by name: the order never depends on the disk.
fn stylesheet(style: &Path) -> io::Result<String> {
    let mut css = format!("@layer {};\n", LAYERS.join(", "));
    for layer in LAYERS {
        let mut paths = vec![style.join(format!("{layer}.css"))];
        paths.extend(files_in(&style.join(layer))?);
        css += "@layer ";
        css += layer;
        css += " {\n";
        for path in paths.into_iter().filter(|path| path.is_file()) {
            css.push_str(&without_comments(&fs::read_to_string(path)?));
        }
        css.push_str("}\n");
    }
    Ok(css)
}

/// Drops comments, indentation and empty lines. Strings in our styles hold no `/*`.
fn without_comments(css: &str) -> String {
    let mut bare = String::with_capacity(css.len());
    let mut rest = css;
    while let Some((before, comment)) = rest.split_once("/*") {
        bare.push_str(before);
        rest = comment.split_once("*/").map_or("", |(_, after)| after);
    }
    bare.push_str(rest);
    let lines = bare.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.fold(String::new(), |joined, line| joined + line + "\n")
}

/// A name changes with the content. A module that imports another is hashed after it, with the
/// other's hashed name in place, so that a change below reaches everything above.
fn hash_names(mut files: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, (String, Vec<u8>)> {
    let mut done: BTreeMap<String, (String, Vec<u8>)> = BTreeMap::new();
    while !files.is_empty() {
        let names: Vec<String> = files.keys().cloned().collect();
        let ready: Vec<String> = names
            .iter()
            .filter(|name| {
                let text = String::from_utf8_lossy(&files[*name]);
                !names
                    .iter()
                    .any(|other| other != *name && text.contains(&format!("\"./{other}\"")))
            })
            .cloned()
            .collect();
        assert!(
            !ready.is_empty(),
            "modules import each other in a circle: {names:?}"
        );
        for name in ready {
            let Some(mut bytes) = files.remove(&name) else {
                continue;
            };
            for (imported, (hashed, _)) in &done {
                let (from, to) = (format!("\"./{imported}\""), format!("\"./{hashed}\""));
                if let Ok(text) = std::str::from_utf8(&bytes) {
                    bytes = text.replace(&from, &to).into_bytes();
                }
            }
            let hash = Sha256::digest(&bytes)[..6]
                .iter()
                .fold(String::new(), |mut hash, byte| {
                    // Writing to a String cannot fail.
                    let _ = write!(hash, "{byte:02x}");
                    hash
                });
            let (stem, extension) = name.rsplit_once('.').unwrap_or((&name, "bin"));
            done.insert(name.clone(), (format!("{stem}.{hash}.{extension}"), bytes));
        }
    }
    done
}

fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = file_name(&path).starts_with('.');
        if path.is_file() && !hidden {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn brotli(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressed = Vec::new();
    let mut writer = brotli::CompressorWriter::new(&mut compressed, 4096, 11, 22);
    writer.write_all(bytes)?;
    writer.flush()?;
    drop(writer);
    Ok(compressed)
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    writer.write_all(bytes)?;
    writer.finish()
}
