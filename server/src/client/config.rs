//! The servers that `login` keeps, and which of them a command talks to.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flukedeploy_platform::secret::Secret;
use http::Uri;
use serde::{Deserialize, Serialize};

use super::exit::Failure;
use crate::cli::Client;
use crate::commands::token;
use crate::files;

/// Where a control plane listens unless it is told otherwise.
const LOCAL: &str = "http://127.0.0.1:3000";

/// The file. It holds tokens, so it is its owner's alone, and never shows itself.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Config {
    /// Used where no server is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) default: Option<String>,
    #[serde(default)]
    pub(crate) servers: BTreeMap<String, Kept>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) url: String,
    pub(crate) token: String,
}

impl Config {
    /// `$FLUKEDEPLOY_CONFIG`, or below the user's own configuration.
    pub(crate) fn path() -> Result<PathBuf, Failure> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(path) = set("FLUKEDEPLOY_CONFIG") {
            return Ok(path.into());
        }
        let home = || Some(Path::new(&set("HOME")?).join(".config"));
        let base = set("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home);
        let base = base.ok_or_else(|| {
            Failure::usage(
                "neither HOME nor FLUKEDEPLOY_CONFIG is set: nothing says where the configuration is",
                "set FLUKEDEPLOY_CONFIG to a file",
            )
        })?;
        Ok(base.join("flukedeploy").join("config.toml"))
    }

    /// An absent file is an empty one.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => {
                return Err(error).with_context(|| format!("{shown} cannot be read"));
            }
        };
        let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Failure::usage(
                format!("{shown} holds tokens, and others may read or change it (mode {mode:03o})"),
                format!("chmod 600 {shown}; if others could read it, replace the tokens"),
            )
            .into());
        }
        toml::from_str(&text).map_err(|error| {
            // The library quotes the line, which may hold a token.
            let line = error
                .span()
                .and_then(|span| text.get(..span.start))
                .map_or(1, |before| before.matches('\n').count() + 1);
            Failure::usage(
                format!("{shown} is no configuration (line {line})"),
                "correct it, or remove it and run 'flukedeploy login'",
            )
            .into()
        })
    }

    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        // A link stays one: people keep such files elsewhere.
        let place = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        files::write_private(&place, &toml::to_string(self)?)
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    fn named(&self, name: &str) -> Result<&Kept, Failure> {
        self.servers.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.servers.keys().map(String::as_str).collect();
            let known = if known.is_empty() {
                "none is".to_owned()
            } else {
                known.join(", ")
            };
            Failure::usage(
                format!("no server is kept under the name '{name}'; kept: {known}"),
                "flukedeploy login ADDRESS --name NAME",
            )
        })
    }
}

/// What the environment says.
#[derive(Default)]
pub(crate) struct Environment {
    url: Option<String>,
    token: Option<String>,
    /// As a control plane on this machine is given its bootstrap token.
    local_token_file: Option<PathBuf>,
    local_token: Option<String>,
}

impl Environment {
    pub(crate) fn here() -> Self {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            url: set("FLUKEDEPLOY_URL"),
            token: set("FLUKEDEPLOY_TOKEN"),
            local_token_file: set("FLUKEDEPLOY_API_TOKEN_FILE").map(PathBuf::from),
            local_token: set("FLUKEDEPLOY_API_TOKEN"),
        }
    }
}

/// Whom a command talks to, and as whom.
#[derive(Debug)]
pub(crate) struct Server {
    /// Without a `/` in the end.
    pub(crate) url: String,
    pub(crate) token: Secret,
}

impl Server {
    pub(crate) fn of(client: &Client) -> anyhow::Result<Self> {
        // Where nothing says where the file is, as under an init system, there is none.
        let config =
            || Config::path().map_or_else(|_| Ok(Config::default()), |path| Config::load(&path));
        Self::chosen(client, &Environment::here(), config)
    }

    /// Flags, then the environment, then the file. A kept token goes to the address it was kept for and
    /// to no other.
    fn chosen(
        client: &Client,
        environment: &Environment,
        config: impl FnOnce() -> anyhow::Result<Config>,
    ) -> anyhow::Result<Self> {
        let given = client.url.as_deref().or(environment.url.as_deref());
        let given = given.map(checked_url).transpose()?;
        let token = match (&client.token_file, &environment.token) {
            (Some(file), _) => Some(token::read(file)?),
            (None, Some(token)) => Some(token::clean(token)),
            (None, None) => None,
        };
        if let (Some(url), Some(token), None) = (&given, &token, &client.server) {
            return Ok(Self {
                url: url.clone(),
                token: token.clone(),
            });
        }
        let config = config()?;
        let kept = match (&client.server, &given, &config.default) {
            (Some(name), None, _) | (None, None, Some(name)) => Some(config.named(name)?),
            (Some(name), Some(url), _) => {
                let kept = config.named(name)?;
                if kept.url != *url {
                    return Err(Failure::usage(
                        format!("--server {name} and FLUKEDEPLOY_URL name different servers"),
                        "leave one of them out",
                    )
                    .into());
                }
                Some(kept)
            }
            (None, Some(url), _) => config.servers.values().find(|kept| kept.url == *url),
            (None, None, None) => None,
        };
        let url = match (given, kept) {
            (Some(url), _) => url,
            (None, Some(kept)) => checked_url(&kept.url)?,
            (None, None) => LOCAL.to_owned(),
        };
        let token = match (token, kept) {
            (Some(token), _) => token,
            (None, Some(kept)) => token::clean(&kept.token),
            (None, None) => match (&environment.local_token_file, &environment.local_token) {
                (Some(file), _) => token::read(file)?,
                (None, Some(token)) => token::clean(token),
                (None, None) => {
                    return Err(Failure::usage(
                        format!("there is no token for {url}"),
                        "run 'flukedeploy login', set FLUKEDEPLOY_TOKEN, or name a file with --token-file",
                    )
                    .into());
                }
            },
        };
        Ok(Self { url, token })
    }
}

/// An address of a control plane, without a `/` in the end.
pub(crate) fn checked_url(text: &str) -> Result<String, Failure> {
    let text = text.trim().trim_end_matches('/');
    let wrong = |what: &str| {
        Failure::usage(
            format!("the server's address {what}"),
            "give it as https://deploy.example.com",
        )
    };
    let uri: Uri = text.parse().map_err(|_| wrong("cannot be read"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("must begin with http:// or https://"));
    }
    let authority = uri.authority().ok_or_else(|| wrong("has no host"))?;
    if authority.host().is_empty() {
        return Err(wrong("has no host"));
    }
    if authority.as_str().contains('@') {
        return Err(wrong("must not hold a name or password"));
    }
    if uri.query().is_some() {
        return Err(wrong("must end before '?'"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "default = \"home\"\n[servers.home]\nurl = \"https://home.example\"\n\
        token = \"home-token\"\n[servers.work]\nurl = \"https://work.example\"\ntoken = \"work-token\"\n";

    fn choose(client: &Client, environment: &Environment) -> Result<(String, String), String> {
        let config = || Ok(toml::from_str(FILE)?);
        Server::chosen(client, environment, config)
            .map(|server| (server.url, server.token.expose().to_owned()))
            .map_err(|error| error.to_string())
    }

    fn of(server: Option<&str>, url: Option<&str>) -> Client {
        Client {
            server: server.map(ToOwned::to_owned),
            url: url.map(ToOwned::to_owned),
            token_file: None,
        }
    }

    fn pair(url: &str, token: &str) -> (String, String) {
        (url.to_owned(), token.to_owned())
    }

    #[test]
    fn the_environment_wins_over_the_file_and_flags_over_both() {
        let nothing = Environment::default();
        let home = pair("https://home.example", "home-token");
        assert_eq!(choose(&of(None, None), &nothing).unwrap(), home);
        let work = pair("https://work.example", "work-token");
        assert_eq!(choose(&of(Some("work"), None), &nothing).unwrap(), work);
        let both = Environment {
            url: Some("http://env.example/".to_owned()),
            token: Some("Bearer env-token\n".to_owned()),
            ..Environment::default()
        };
        let env = pair("http://env.example", "env-token");
        assert_eq!(choose(&of(None, None), &both).unwrap(), env);
        let flag = pair("http://flag.example", "env-token");
        let client = of(None, Some("http://flag.example"));
        assert_eq!(choose(&client, &both).unwrap(), flag);
        assert!(choose(&of(Some("work"), None), &both).is_err());
        assert!(choose(&of(Some("away"), None), &nothing).is_err());
    }

    #[test]
    fn a_kept_token_goes_to_its_own_address_alone() {
        let nothing = Environment::default();
        let elsewhere = choose(&of(None, Some("https://other.example")), &nothing);
        assert!(elsewhere.unwrap_err().starts_with("there is no token for"));
        let own = choose(&of(None, Some("https://work.example/")), &nothing);
        assert_eq!(own.unwrap(), pair("https://work.example", "work-token"));
        // And the bootstrap token of a server on this machine goes to no server that was logged in to.
        let local = Environment {
            local_token: Some("bootstrap".to_owned()),
            ..Environment::default()
        };
        let home = pair("https://home.example", "home-token");
        assert_eq!(choose(&of(None, None), &local).unwrap(), home);
        let here = choose(&of(None, Some(LOCAL)), &local).unwrap();
        assert_eq!(here, pair(LOCAL, "bootstrap"));
    }

    #[test]
    fn addresses_are_whole_and_hold_no_password() {
        assert_eq!(
            checked_url("https://a.example/ ").unwrap(),
            "https://a.example"
        );
        assert_eq!(
            checked_url("http://[::1]:3000").unwrap(),
            "http://[::1]:3000"
        );
        for bad in [
            "",
            "a.example",
            "ftp://a.example",
            "https://me:secret@a.example",
            "https://",
            "https://a.example/?x=y",
            "unix:///run/x",
        ] {
            let refused = checked_url(bad).unwrap_err().to_string();
            assert!(!refused.contains("secret"), "{refused}");
        }
    }

    #[test]
    fn the_file_is_its_owners_alone_and_faults_in_it_quote_nothing() {
        let folder = std::env::temp_dir().join(format!("fd-config-{}", std::process::id()));
        let path = folder.join("deep").join("config.toml");
        assert!(Config::load(&path).unwrap().servers.is_empty());
        let mut config: Config = toml::from_str(FILE).unwrap();
        config.save(&path).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        config.servers.remove("home");
        config.save(&path).unwrap();
        assert_eq!(Config::load(&path).unwrap().servers.len(), 1);

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let refused = Config::load(&path).err().unwrap().to_string();
        assert!(refused.contains("640"), "{refused}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "[servers]\nx = \"s3cret-token\"\n").unwrap();
        let refused = Config::load(&path).err().unwrap();
        let refused = format!("{refused:?}");
        assert!(
            refused.contains("line 2") && !refused.contains("s3cret"),
            "{refused}"
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
