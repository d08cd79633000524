//! Repositories within a repository, each under the same rules as the first.
//!
//! `git submodule` is not used: what `.gitmodules` says is read, checked as any address that a user
//! writes, and fetched by the commit that the tree names.

use std::collections::{BTreeMap, VecDeque};

use flukedeploy_domain::build::{GitReference, RelativePath, RepositoryUrl};
use flukedeploy_domain::names::quoted;
use flukedeploy_platform::ports::SourceError;

use super::fetch::{Checkout, Fetcher};
use super::run::Git;
use crate::fault::{failed, refused};
use crate::tree::TreeWriter;

/// Submodules of one source, nested ones among them.
const MAX_SUBMODULES: usize = 50;
const MAX_NESTING: usize = 5;

/// One that is to be fetched.
struct Submodule {
    repository: RepositoryUrl,
    commit: GitReference,
    /// Where it goes in the tree that is written.
    place: String,
    nesting: usize,
}

pub(super) async fn write(
    fetcher: &Fetcher<'_>,
    checkout: &Checkout<'_>,
    subfolder: Option<&RelativePath>,
    mut writer: TreeWriter,
) -> Result<TreeWriter, SourceError> {
    let mut waiting: VecDeque<Submodule> = VecDeque::new();
    let inside = subfolder
        .map(|folder| {
            folder
                .as_str()
                .trim_start_matches("./")
                .trim_end_matches('/')
        })
        .filter(|folder| !folder.is_empty() && *folder != ".");
    waiting.extend(named_by(checkout, inside, "", 1).await?);
    let mut number = 0;
    while let Some(submodule) = waiting.pop_front() {
        number += 1;
        if number > MAX_SUBMODULES || submodule.nesting > MAX_NESTING {
            return Err(refused(
                format!(
                    "the repository has more than {MAX_SUBMODULES} submodules, or more than \
                     {MAX_NESTING} within each other"
                ),
                "use fewer submodules, or deploy without them",
            ));
        }
        (fetcher.progress)(format!(
            "Fetching the submodule {} from {}",
            submodule.place, submodule.repository
        ));
        let own = fetcher
            .fetch(&submodule.repository, Some(&submodule.commit), None, number)
            .await
            .map_err(|error| in_submodule(&submodule.place, error))?;
        writer = own
            .unpack(submodule.place.clone().into_bytes(), writer)
            .await?;
        waiting.extend(named_by(&own, None, &submodule.place, submodule.nesting + 1).await?);
    }
    Ok(writer)
}

/// The submodules of a commit, below the folder `inside` of it.
async fn named_by(
    checkout: &Checkout<'_>,
    inside: Option<&str>,
    below: &str,
    nesting: usize,
) -> Result<Vec<Submodule>, SourceError> {
    let git = &checkout.git;
    let described = described(git, &checkout.commit).await?;
    let mut found = Vec::new();
    for (path, about) in described {
        let Some(url) = about else { continue };
        let own = match inside {
            None => path.as_str(),
            Some(folder) => match path
                .strip_prefix(folder)
                .and_then(|rest| rest.strip_prefix('/'))
            {
                Some(rest) => rest,
                None => continue,
            },
        };
        let shown = quoted(&path);
        path.parse::<RelativePath>().map_err(|error| {
            refused(
                format!(
                    "the submodule {shown} is at a strange place: {}",
                    error.problem
                ),
                "correct .gitmodules",
            )
        })?;
        let Some(commit) = commit_at(git, &checkout.commit, &path).await? else {
            // Described, but not in this commit: git ignores it too.
            continue;
        };
        let repository = resolved(&checkout.repository, &url).ok_or_else(|| {
            refused(
                format!(
                    "the submodule {shown} has an address that is not used here: {}",
                    quoted(&without_user(&url))
                ),
                "use https:// or ssh:// addresses without passwords in .gitmodules",
            )
        })?;
        let place = if below.is_empty() {
            own.to_owned()
        } else {
            format!("{below}/{own}")
        };
        found.push(Submodule {
            repository,
            commit,
            place,
            nesting,
        });
        if found.len() > MAX_SUBMODULES {
            break;
        }
    }
    Ok(found)
}

/// Path and address of each submodule in `.gitmodules`.
async fn described(
    git: &Git<'_>,
    commit: &str,
) -> Result<BTreeMap<String, Option<String>>, SourceError> {
    let blob = format!("{commit}:.gitmodules");
    if super::fetch::revision(git, &blob).await?.is_none() {
        return Ok(BTreeMap::new());
    }
    let listed = git
        .run(&[
            "config",
            "--no-includes",
            "--blob",
            &blob,
            "--null",
            "--list",
        ])
        .await?;
    if !listed.status.success() {
        return Err(refused(
            "the repository's .gitmodules cannot be read",
            "correct .gitmodules, or deploy without submodules",
        ));
    }
    let text = String::from_utf8_lossy(&listed.answer).into_owned();
    let mut by_name: BTreeMap<String, (Option<String>, Option<String>)> = BTreeMap::new();
    for record in text.split('\0') {
        let Some((key, value)) = record.split_once('\n') else {
            continue;
        };
        let Some((name, what)) = key
            .strip_prefix("submodule.")
            .and_then(|rest| rest.rsplit_once('.'))
        else {
            continue;
        };
        let about = by_name.entry(name.to_owned()).or_default();
        match what {
            "path" => about.0 = Some(value.to_owned()),
            "url" => about.1 = Some(value.to_owned()),
            _ => {}
        }
    }
    Ok(by_name
        .into_values()
        .filter_map(|(path, url)| Some((path?.trim_end_matches('/').to_owned(), url)))
        .collect())
}

/// The commit that the tree names at a path, if there is a submodule.
async fn commit_at(
    git: &Git<'_>,
    commit: &str,
    path: &str,
) -> Result<Option<GitReference>, SourceError> {
    let listed = git
        .run(&["ls-tree", "-z", "--full-tree", commit, "--", path])
        .await?;
    if !listed.status.success() {
        return Err(failed("listing a commit with git", quoted(path)));
    }
    let text = String::from_utf8_lossy(&listed.answer).into_owned();
    Ok(text
        .split('\0')
        .filter_map(|entry| entry.split_once('\t'))
        .filter(|(_, name)| *name == path)
        .find_map(|(about, _)| about.strip_prefix("160000 commit "))
        .and_then(|commit| commit.trim().parse::<GitReference>().ok())
        .filter(GitReference::is_commit))
}

/// An address of `.gitmodules`, which may be relative to the repository it is in.
fn resolved(parent: &RepositoryUrl, url: &str) -> Option<RepositoryUrl> {
    if !url.starts_with("./") && !url.starts_with("../") {
        return url.parse().ok();
    }
    let mut base = parent.as_str().trim_end_matches('/').to_owned();
    let mut rest = url;
    loop {
        if let Some(below) = rest.strip_prefix("./") {
            rest = below;
        } else if let Some(beside) = rest.strip_prefix("../") {
            let cut = base.rfind(['/', ':'])?;
            // Not into the scheme or the host.
            let start = base.find("://").map_or(0, |at| at + 3);
            if cut <= start {
                return None;
            }
            let separator = base[cut..].chars().next()?;
            base.truncate(cut);
            if separator == ':' {
                base.push(':');
                return format!("{base}{beside}").parse().ok();
            }
            rest = beside;
        } else {
            return format!("{base}/{rest}").parse().ok();
        }
    }
}

/// Without what may be a password.
fn without_user(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        _ => url.to_owned(),
    }
}

fn in_submodule(place: &str, error: SourceError) -> SourceError {
    let said = |message: String| format!("submodule {place}: {message}");
    match error {
        SourceError::NotFound { message, next } => SourceError::NotFound {
            message: said(message),
            next,
        },
        SourceError::Denied { message, next } => SourceError::Denied {
            message: said(message),
            next,
        },
        SourceError::Refused { message, next } => SourceError::Refused {
            message: said(message),
            next,
        },
        SourceError::Unreachable { message } => SourceError::Unreachable {
            message: said(message),
        },
        SourceError::Failed { doing, source } => SourceError::Failed { doing, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_beside_the_repository_are_found() {
        let at = |parent: &str, url: &str| {
            resolved(&parent.parse().unwrap(), url).map(|url| url.to_string())
        };
        let parent = "https://git.example.com/team/shop.git";
        for (url, is) in [
            ("../lib.git", Some("https://git.example.com/team/lib.git")),
            ("../../other/lib", Some("https://git.example.com/other/lib")),
            ("./sub", Some("https://git.example.com/team/shop.git/sub")),
            ("https://b.example.com/x", Some("https://b.example.com/x")),
            ("../../../evil.example/x", None),
            ("/etc", None),
            ("file:///etc", None),
            ("ext::sh -c id", None),
            ("-oProxyCommand=x", None),
            ("!touch /tmp/x", None),
        ] {
            assert_eq!(at(parent, url).as_deref(), is, "{url}");
        }
        assert_eq!(
            at("git@git.example.com:team/shop.git", "../lib.git").as_deref(),
            Some("git@git.example.com:team/lib.git")
        );
        assert_eq!(
            at("git@git.example.com:shop.git", "../lib.git").as_deref(),
            Some("git@git.example.com:lib.git")
        );
    }
}
