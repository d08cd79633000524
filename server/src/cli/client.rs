//! What is typed to talk to a control plane from anywhere.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Said below the list of commands.
pub const NOTES: &str = "\
Exit codes of the commands that talk to a control plane:
  0  it is done
  1  the deployment, the rollback or the act failed; the validation found what must not be
  2  what was typed, a file here or the configuration cannot be used; or the server refused it as invalid
  3  no valid token, or not allowed
  4  there is no such app, environment, deployment, release or token
  5  in conflict with what is there
  6  the server cannot be reached, or not now
  7  too many requests or deployments; wait
  8  the server failed, or something else answers there
  9  the deployment was still going on when --timeout was over
130  stopped with Ctrl-C; a deployment goes on

There is no `exec`: the API has none, so no command of a running container can be had from here.";

#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Keep a server's address and a token, which is asked for or read from standard input
    Login(Login),
    /// Forget a server and its token; the token stays valid until it is revoked
    Logout(Logout),
    /// List the servers that are kept
    Servers(Servers),
    /// List, make, show and delete apps
    Apps(Apps),
    /// Deploy an image, a folder or a git repository, and wait for the end
    Deploy(Deploy),
    /// Show a deployment, an app's newest one, or all that are going on; --watch follows it
    Status(Status),
    /// Print what apps and deployments say, and follow it with -f
    Logs(Logs),
    /// Go back to an earlier release, and wait for the end
    Rollback(Rollback),
    /// Check an app, or an image for it, without deploying
    Validate(Validate),
    /// List an app's deployments, the newest first
    History(History),
    /// List, set and unset an app's variables; values are never shown
    Env(Env),
    /// Run another number of replicas, and wait for the end
    Scale(Scale),
    /// Print an app's address, or the dashboard's, and open it in a browser
    Open(Open),
    /// List, make, revoke and rotate API tokens
    Tokens(Tokens),
    /// Print the completions of a shell
    Completions(Completions),
}

/// A control plane, and who asks it.
#[derive(Debug, Clone, Default, Args)]
pub struct Client {
    /// A server that was kept by `login` [default: the one of the last login]
    #[arg(long, global = true, value_name = "NAME")]
    pub server: Option<String>,
    /// The control plane (or set `FLUKEDEPLOY_URL`) [default: the server of the last login, else
    /// `http://127.0.0.1:3000`]
    #[arg(long, global = true, value_name = "URL", conflicts_with = "server")]
    pub url: Option<String>,
    /// File with the token, alone or as an Authorization header (or set `FLUKEDEPLOY_TOKEN`, or
    /// `FLUKEDEPLOY_API_TOKEN_FILE` or `FLUKEDEPLOY_API_TOKEN`) [default: the token of the login]
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// The same, and what the answer looks like.
#[derive(Debug, Clone, Default, Args)]
pub struct Remote {
    #[command(flatten)]
    pub client: Client,
    /// Print the API's JSON, also where it refuses
    #[arg(long, global = true)]
    pub json: bool,
}

/// Which app, and which of its environments.
#[derive(Debug, Args)]
pub struct AppOf {
    /// The app
    pub app: String,
    /// Another environment than production
    #[arg(short, long, value_name = "NAME")]
    pub environment: Option<String>,
}

/// Whether and how long the end is waited for.
#[derive(Debug, Args)]
pub struct Waiting {
    /// Do not wait for the end
    #[arg(long, overrides_with = "wait")]
    pub no_wait: bool,
    /// Wait for the end; this is the default
    #[arg(long, overrides_with = "no_wait")]
    pub wait: bool,
    /// How long to wait; the deployment goes on in any case [default: until it ends]
    #[arg(long, value_name = "SECONDS", conflicts_with = "no_wait")]
    pub timeout: Option<u64>,
}

/// What every act that is recorded like a deployment takes.
#[derive(Debug, Args)]
pub struct Recorded {
    /// When another one is going on: `wait` or `supersede` it
    #[arg(long, value_name = "HOW")]
    pub queue: Option<String>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Names this request: sent again with the same key, it is not done twice
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

#[derive(Debug, Args)]
pub struct Login {
    /// The server's address, `https://deploy.example.com`; asked for if absent
    pub address: Option<String>,
    /// The name it is kept under [default: the address's host]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Print what was kept as JSON, without the token
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Logout {
    /// The server to forget [default: the one of the last login]
    pub name: Option<String>,
    /// Print what was forgotten as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Servers {
    /// Use this one from now on where no other is named
    #[arg(long, value_name = "NAME")]
    pub default: Option<String>,
    /// Print them as JSON, without tokens
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Apps {
    #[command(subcommand)]
    pub command: Option<AppsCommand>,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Subcommand)]
pub enum AppsCommand {
    /// List the apps (this is what `apps` alone does)
    List,
    /// Make an app
    Create(AppsCreate),
    /// Show an app
    Show(AppOf),
    /// Delete an app with everything that belongs to it
    Delete(AppsDelete),
}

#[derive(Debug, Args)]
pub struct AppsCreate {
    /// Its name
    pub app: String,
    /// The port its containers listen on
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// How many replicas
    #[arg(long, value_name = "COUNT")]
    pub replicas: Option<u32>,
    /// Path that answers 2xx when a replica is healthy
    #[arg(long, value_name = "PATH")]
    pub health_path: Option<String>,
    /// A host name of its own; give it again for more
    #[arg(long = "domain", value_name = "HOST")]
    pub domains: Vec<String>,
    /// How new releases come into traffic: `rolling`, `blue_green`, `canary` or `recreate`
    #[arg(long, value_name = "NAME")]
    pub strategy: Option<String>,
}

#[derive(Debug, Args)]
pub struct AppsDelete {
    /// The app
    pub app: String,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct Deploy {
    /// An image (`ghcr.io/me/shop:2`), a folder (`.`, `./web`, `/srv/web`: it begins with `.` or `/`) or a
    /// git repository (`https://…`, `ssh://…`, `git@host:path`)
    #[arg(value_name = "IMAGE|FOLDER|GIT")]
    pub what: String,
    /// The app
    #[arg(short, long)]
    pub app: String,
    /// Another environment than production
    #[arg(short, long, value_name = "NAME")]
    pub environment: Option<String>,
    /// Make the app if there is none of that name
    #[arg(long)]
    pub create: bool,
    /// The port its containers listen on, with --create
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// What to call the release
    #[arg(long, value_name = "TEXT")]
    pub version: Option<String>,
    /// How it comes into traffic: `rolling`, `blue_green`, `canary` or `recreate`
    #[arg(long, value_name = "NAME")]
    pub strategy: Option<String>,
    /// How many replicas
    #[arg(long, value_name = "COUNT")]
    pub replicas: Option<u32>,
    /// What stops it before it begins: `none`, `basic` or `strict`
    #[arg(long, value_name = "LEVEL")]
    pub validation_level: Option<String>,
    /// When it fails, leave it at that instead of going back
    #[arg(long)]
    pub no_rollback: bool,
    /// Branch, tag or commit of a git repository
    #[arg(long = "ref", value_name = "NAME")]
    pub reference: Option<String>,
    /// Folder within a git repository
    #[arg(long, value_name = "PATH")]
    pub subfolder: Option<String>,
    /// Fetch a git repository's submodules
    #[arg(long)]
    pub submodules: bool,
    /// The Dockerfile in the folder or repository
    #[arg(long, value_name = "PATH", conflicts_with = "definition")]
    pub dockerfile: Option<String>,
    /// The definition file in the folder or repository
    #[arg(long, value_name = "PATH")]
    pub definition: Option<String>,
    #[command(flatten)]
    pub recorded: Recorded,
    #[command(flatten)]
    pub waiting: Waiting,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Args)]
pub struct Status {
    /// A deployment's id, or an app for its newest; absent: all that are going on
    pub of: Option<String>,
    /// Another environment of the app than production
    #[arg(short, long, value_name = "NAME")]
    pub environment: Option<String>,
    /// Follow it to its end; the exit code says how it ended
    #[arg(short, long, requires = "of")]
    pub watch: bool,
    /// How long to follow it [default: until it ends]
    #[arg(long, value_name = "SECONDS", requires = "watch")]
    pub timeout: Option<u64>,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Args)]
pub struct Logs {
    /// Only of this app
    pub app: Option<String>,
    /// Go on with what comes, until it is stopped with Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// How many stored entries
    #[arg(short = 'n', long, default_value_t = 100, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub lines: u32,
    /// Only of this deployment
    #[arg(long, value_name = "ID")]
    pub deployment: Option<String>,
    /// This level or worse: debug, info, warn or error
    #[arg(long, value_name = "LEVEL")]
    pub level: Option<String>,
    /// Only entries with this text
    #[arg(short, long, value_name = "TEXT")]
    pub query: Option<String>,
    /// How far back to look; a deployment's entries are found however old they are [default: 60]
    #[arg(long, value_name = "MINUTES")]
    pub since_minutes: Option<u32>,
    /// From this time on, such as 2026-02-04T10:13:20Z; with -f also the id of an entry, to go on
    /// behind it
    #[arg(long, value_name = "TIME", conflicts_with = "since_minutes")]
    pub since: Option<String>,
    /// One JSON object a line instead of text
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub client: Client,
}

#[derive(Debug, Args)]
pub struct Rollback {
    #[command(flatten)]
    pub of: AppOf,
    /// The release to go back to [default: the one before]
    #[arg(long, value_name = "NUMBER")]
    pub release: Option<u32>,
    /// The same, by what it was called
    #[arg(long, value_name = "TEXT", conflicts_with = "release")]
    pub version: Option<String>,
    #[command(flatten)]
    pub recorded: Recorded,
    #[command(flatten)]
    pub waiting: Waiting,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Args)]
pub struct Validate {
    #[command(flatten)]
    pub of: AppOf,
    /// Check this image instead of the release that serves
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// Do not run the app's tests
    #[arg(long)]
    pub no_tests: bool,
    /// Do not run the security scanner
    #[arg(long)]
    pub no_scan: bool,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Args)]
pub struct History {
    #[command(flatten)]
    pub of: AppOf,
    /// How many
    #[arg(short = 'n', long, default_value_t = 10, value_name = "COUNT")]
    pub limit: u32,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Args)]
pub struct Env {
    #[command(subcommand)]
    pub command: EnvCommand,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Subcommand)]
pub enum EnvCommand {
    /// List the names of the variables
    List(AppOf),
    /// Set variables: `NAME=value`, a file, or NAME alone with the value on standard input. They count from
    /// the next deployment or restart on
    Set(EnvSet),
    /// Remove variables
    Unset(EnvUnset),
}

#[derive(Debug, Args)]
pub struct EnvSet {
    #[command(flatten)]
    pub of: AppOf,
    /// `NAME=value`, or one NAME whose value is read from standard input (a newline at its end is none of it)
    #[arg(value_name = "NAME=value")]
    pub variables: Vec<String>,
    /// Mark them secret. Their values are no arguments, where others could read them: give NAME alone, or
    /// a file
    #[arg(long)]
    pub secret: bool,
    /// Read `NAME=value` lines, as in a .env file; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct EnvUnset {
    #[command(flatten)]
    pub of: AppOf,
    /// Their names
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Scale {
    #[command(flatten)]
    pub of: AppOf,
    /// How many replicas
    pub replicas: u32,
    #[command(flatten)]
    pub recorded: Recorded,
    #[command(flatten)]
    pub waiting: Waiting,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Args)]
pub struct Open {
    /// The app; absent: the dashboard
    pub app: Option<String>,
    /// Another environment than production
    #[arg(short, long, value_name = "NAME", requires = "app")]
    pub environment: Option<String>,
    /// Only print the address; a browser is opened on a terminal alone in any case
    #[arg(long)]
    pub print: bool,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Args)]
pub struct Tokens {
    #[command(subcommand)]
    pub command: Option<TokensCommand>,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(Debug, Subcommand)]
pub enum TokensCommand {
    /// List the tokens, without what they are (this is what `tokens` alone does)
    List,
    /// Make a token and print it, this once
    Create(TokensCreate),
    /// Make a token worthless at once
    Revoke(TokenOf),
    /// Print a new token in the place of an old one
    Rotate(TokensRotate),
}

#[derive(Debug, Args)]
pub struct TokenOf {
    /// The token's id, as `tokens` lists it
    pub id: String,
}

#[derive(Debug, Args)]
pub struct TokensCreate {
    /// What it is for
    pub name: String,
    /// `extended`, `advanced` or `admin` [default: extended]
    #[arg(long, value_name = "TIER")]
    pub tier: Option<String>,
    /// Keep it to this app; give it again for more
    #[arg(long = "app", value_name = "NAME")]
    pub apps: Vec<String>,
    /// Keep it to this project; give it again for more
    #[arg(long = "project", value_name = "NAME")]
    pub projects: Vec<String>,
    /// Keep it to this environment of them; give it again for more
    #[arg(long = "environment", value_name = "NAME")]
    pub environments: Vec<String>,
    /// What it may do there: `viewer`, `deployer` or `maintainer`
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
    /// When it ends, such as 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub expires_at: Option<String>,
}

#[derive(Debug, Args)]
pub struct TokensRotate {
    #[command(flatten)]
    pub of: TokenOf,
    /// How long the old one stays good, in seconds
    #[arg(long, value_name = "SECONDS")]
    pub overlap_seconds: Option<u64>,
}

#[derive(Debug, Args)]
pub struct Completions {
    /// `bash`, `zsh` or `fish`
    pub shell: CompletedShell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum CompletedShell {
    Bash,
    Zsh,
    Fish,
}

impl From<CompletedShell> for Shell {
    fn from(shell: CompletedShell) -> Self {
        match shell {
            CompletedShell::Bash => Self::Bash,
            CompletedShell::Zsh => Self::Zsh,
            CompletedShell::Fish => Self::Fish,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn no_flag_is_in_anothers_way() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_takes_a_token_as_an_argument() {
        let mut commands = vec![Cli::command()];
        while let Some(command) = commands.pop() {
            for argument in command.get_arguments() {
                let id = argument.get_id().as_str();
                assert!(
                    !matches!(id, "token" | "password" | "secret_value"),
                    "{} takes {id}",
                    command.get_name()
                );
            }
            commands.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn flags_about_the_server_stand_anywhere() {
        for typed in [
            "flukedeploy env --server work --json list shop",
            "flukedeploy env list shop --server work --json",
        ] {
            let cli = Cli::try_parse_from(typed.split(' ')).unwrap();
            let Command::Client(ClientCommand::Env(env)) = cli.command else {
                panic!("another command: {cli:?}");
            };
            assert_eq!(env.remote.client.server.as_deref(), Some("work"));
            assert!(env.remote.json, "{typed}");
        }
    }
}
