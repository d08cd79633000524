//! `flukedeploy login`: keeping a server's address and a token.

use flukedeploy_platform::secret::Secret;
use http::Uri;
use serde_json::json;

use crate::cli::Login;
use crate::client::api::{Api, Target};
use crate::client::config::{Config, Kept, Server, checked_url};
use crate::client::exit::{Exit, Failure};
use crate::client::{output, prompt};
use crate::commands::token;

pub(crate) async fn run(args: Login) -> anyhow::Result<Exit> {
    let path = Config::path()?;
    // Before anything is asked: what is there may be in the way.
    let mut config = Config::load(&path)?;
    let address = match args.address {
        Some(address) => address,
        None if prompt::is_asked() => prompt::line("Address of the server").await?,
        None => {
            return Err(Failure::usage(
                "the server's address is missing",
                "flukedeploy login https://deploy.example.com < token-file",
            )
            .into());
        }
    };
    let url = checked_url(&address)?;
    let uri: Uri = url.parse()?;
    let authority = uri.authority().map(http::uri::Authority::as_str);
    let name = args.name.or_else(|| authority.map(ToOwned::to_owned));
    let name = name.unwrap_or_else(|| url.clone());
    if is_open(&uri) {
        output::note("this address is not encrypted: the token can be read on its way");
    }
    let token = token::clean(&prompt::secret("Token (it does not show)").await?);
    if token.expose().is_empty() {
        return Err(Failure::usage(
            "no token was given",
            "make one on the dashboard's page of tokens, and type it here or pass it on standard input",
        )
        .into());
    }
    check(&url, &token).await?;
    config.servers.insert(
        name.clone(),
        Kept {
            url: url.clone(),
            token: token.expose().to_owned(),
        },
    );
    config.default = Some(name.clone());
    config.save(&path)?;
    if args.json {
        output::json(&json!({"server": name, "url": url, "default": true}))?;
    } else {
        output::line(&format!("logged in to {url}, kept as {name}"))?;
    }
    Ok(Exit::Done)
}

/// The server knows the token: any may list the apps that it may see.
async fn check(url: &str, token: &Secret) -> anyhow::Result<()> {
    let api = Api::new(Server {
        url: url.to_owned(),
        token: token.clone(),
    });
    let apps = api.get(&Target::of(&["apps"])).await?;
    if apps["apps"].is_array() {
        return Ok(());
    }
    Err(Failure::unreadable("what answers there is no FlukeDeploy").into())
}

/// Not encrypted, and not on this machine.
fn is_open(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_here = host == "localhost"
        || host.ends_with(".localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    uri.scheme_str() == Some("http") && !is_here
}
