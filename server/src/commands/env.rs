//! `flukedeploy env`: an app's variables. Values go in and never come out.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use http::Method;
use serde_json::{Map, Value, json};

use crate::cli::{AppOf, Env, EnvCommand, EnvSet};
use crate::client::api::{ANSWER_TIME, Api};
use crate::client::exit::{Exit, Failure};
use crate::client::output::{self, line, list, note, text};
use crate::client::prompt;
use crate::commands::apps;

/// Largest file of variables, in bytes.
const LARGEST: u64 = 1024 * 1024;

pub(crate) async fn run(args: &Env) -> anyhow::Result<Exit> {
    let (api, json) = (Api::of(&args.remote.client)?, args.remote.json);
    let app = match &args.command {
        EnvCommand::List(of) => api.get(&apps::target(of)).await?,
        EnvCommand::Set(set) => {
            let values = values(set).await?;
            let count = values.len();
            let field = if set.secret {
                "secret_env_vars"
            } else {
                "env_vars"
            };
            let app = change(&api, &set.of, json!({ field: values })).await?;
            note(&format!("set {count}"));
            app
        }
        EnvCommand::Unset(unset) => {
            let app = change(&api, &unset.of, json!({"remove_env_vars": unset.names})).await?;
            note(&format!("removed {}", unset.names.len()));
            app
        }
    };
    if json {
        let names = json!({
            "app_name": app["app_name"],
            "environment": app["environment"],
            "env_vars": app["env_vars"],
            "env_var_warnings": list(&app, "env_var_warnings"),
            "settings_version": app["settings_version"],
        });
        output::json(&names)?;
        return Ok(Exit::Done);
    }
    if matches!(args.command, EnvCommand::List(_)) {
        for variable in list(&app, "env_vars") {
            let mark = if variable["is_secret"] == true {
                "  secret"
            } else {
                ""
            };
            line(&format!("{}{mark}", text(&variable["key"])))?;
        }
    }
    for warning in list(&app, "env_var_warnings") {
        note(&text(warning));
    }
    Ok(Exit::Done)
}

async fn change(api: &Api, of: &AppOf, change: Value) -> anyhow::Result<Value> {
    let target = apps::target(of);
    api.call(Method::PATCH, &target, Some(change), ANSWER_TIME)
        .await
}

async fn values(set: &EnvSet) -> anyhow::Result<Map<String, Value>> {
    let mut values = Map::new();
    if let Some(file) = &set.file {
        let from = if file == Path::new("-") {
            prompt::all().await?
        } else {
            read(file)?
        };
        values = in_file(&from)?;
    }
    let (given, named): (Vec<&String>, Vec<&String>) =
        set.variables.iter().partition(|word| word.contains('='));
    if set.secret && !given.is_empty() {
        return Err(Failure::usage(
            "values of secrets are not taken as arguments, where others could read them",
            "give the NAME alone and its value on standard input, or --file",
        )
        .into());
    }
    for (name, value) in given.iter().filter_map(|word| word.split_once('=')) {
        values.insert(name.to_owned(), json!(value));
    }
    match named.as_slice() {
        [] => {}
        [name] if set.file.as_deref() != Some(Path::new("-")) => {
            let value = prompt::secret(&format!("Value of {name} (it does not show)")).await?;
            values.insert((*name).clone(), json!(without_newline(&value)));
        }
        _ => {
            return Err(Failure::usage(
                "standard input holds one value",
                "give one NAME at a time, or --file",
            )
            .into());
        }
    }
    if values.is_empty() {
        return Err(
            Failure::usage("there is nothing to set", "give NAME=value, NAME or --file").into(),
        );
    }
    Ok(values)
}

fn read(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(LARGEST).read_to_string(&mut text))
        .with_context(|| format!("{} cannot be read", file.display()))?;
    Ok(text)
}

fn without_newline(value: &str) -> &str {
    let value = value.strip_suffix('\n').unwrap_or(value);
    value.strip_suffix('\r').unwrap_or(value)
}

/// `NAME=value` lines: `#` begins a comment, `export` is skipped, quotes around a value are taken off;
/// within double ones `\n`, `\"` and `\\` mean what they do elsewhere. Nothing is put in for `$NAME`.
fn in_file(text: &str) -> Result<Map<String, Value>, Failure> {
    let mut values = Map::new();
    for (number, whole) in text.lines().enumerate() {
        let entry = whole.trim();
        if entry.is_empty() || entry.starts_with('#') {
            continue;
        }
        let entry = entry.strip_prefix("export ").unwrap_or(entry);
        let found = entry.split_once('=').and_then(|(name, value)| {
            let name = name.trim();
            (!name.is_empty()).then_some(())?;
            Some((name, unquoted(value.trim())?))
        });
        let Some((name, value)) = found else {
            // The line itself may hold a secret.
            return Err(Failure::usage(
                format!("line {} of the file is not NAME=value", number + 1),
                "correct that line; values over several lines are read one at a time, from standard input",
            ));
        };
        values.insert(name.to_owned(), json!(value));
    }
    Ok(values)
}

fn unquoted(value: &str) -> Option<String> {
    if let Some(rest) = value.strip_prefix('\'') {
        return rest.strip_suffix('\'').map(ToOwned::to_owned);
    }
    let Some(rest) = value.strip_prefix('"') else {
        let end = value.find(" #").unwrap_or(value.len());
        return Some(value[..end].trim_end().to_owned());
    };
    let mut text = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => break,
            '\\' => match chars.next()? {
                'n' => text.push('\n'),
                c @ ('"' | '\\' | '$') => text.push(c),
                other => text.extend(['\\', other]),
            },
            c => text.push(c),
        }
    }
    let after = chars.as_str().trim_start();
    (after.is_empty() || after.starts_with('#')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_variables_is_read_as_people_write_it() {
        let text = "# comment\n\nA=1\nexport B = two words # why\nC='raw $X \\n'\n\
            D=\"a\\n\\\"b\\\" \\\\ \\t\" # why\nE=\nF=x=y#z\n";
        let values = in_file(text).unwrap();
        let expected = json!({"A": "1", "B": "two words", "C": "raw $X \\n",
            "D": "a\n\"b\" \\ \\t", "E": "", "F": "x=y#z"});
        assert_eq!(Value::Object(values), expected);
    }

    #[test]
    fn faults_name_the_line_and_never_what_is_in_it() {
        for bad in [
            "A=1\nhunter2\n",
            "\n=hunter2",
            "#\nA='hunter2",
            "#\nA=\"hunter2",
            "#\nA=\"x\" hunter2",
        ] {
            let refused = in_file(bad).unwrap_err().to_string();
            assert!(
                refused.starts_with("line 2 of") && !refused.contains("hunter2"),
                "{refused}"
            );
        }
    }

    #[test]
    fn one_newline_at_the_end_is_none_of_the_value() {
        assert_eq!(without_newline("a\nb\n"), "a\nb");
        assert_eq!(without_newline("a\r\n"), "a");
        assert_eq!(without_newline("a"), "a");
    }
}
