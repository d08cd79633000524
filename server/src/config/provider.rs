//! The sign-in provider.

use flukedeploy_domain::addresses::AllowedAddresses;
use flukedeploy_platform::config::ProviderConfig;
use http::Uri;

use super::secret;
use crate::cli::Settings;

/// Longest name of a provider.
const MAX_NAME: usize = 64;
/// Longest issuer and client id.
const MAX_TEXT: usize = 512;

pub(super) fn settings(
    faults: &mut Vec<String>,
    settings: &Settings,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Option<ProviderConfig> {
    let typed = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let client_secret = secret(
        faults,
        environment("FLUKEDEPLOY_OIDC_CLIENT_SECRET"),
        "FLUKEDEPLOY_OIDC_CLIENT_SECRET",
        settings.oidc_client_secret_file.as_deref(),
    );
    let (issuer, client_id) = (
        typed(&settings.oidc_issuer),
        typed(&settings.oidc_client_id),
    );
    let Some(issuer) = issuer else {
        if client_id.is_some() || client_secret.is_some() {
            faults.push("--oidc-issuer must be given with --oidc-client-id".to_owned());
        }
        return None;
    };
    let host = host(&issuer);
    if host.is_none() {
        faults.push(format!(
            "--oidc-issuer must be an https:// address without query (http:// only to this \
             machine), not {}",
            flukedeploy_domain::names::quoted(&issuer)
        ));
    }
    let fits = |text: &String| text.len() <= MAX_TEXT && text.bytes().all(|b| b.is_ascii_graphic());
    let client_id = client_id.filter(fits);
    if client_id.is_none() {
        faults.push(
            "--oidc-client-id must be given with --oidc-issuer, as the provider calls us"
                .to_owned(),
        );
    }
    let name = typed(&settings.oidc_name).or_else(|| host.clone());
    let is_name =
        |name: &String| name.chars().count() <= MAX_NAME && !name.chars().any(char::is_control);
    let name = name.filter(is_name);
    if name.is_none() && host.is_some() {
        faults.push(format!(
            "--oidc-name must have {MAX_NAME} characters at most"
        ));
    }
    host?;
    Some(ProviderConfig {
        issuer,
        client_id: client_id?,
        client_secret,
        name: name?,
    })
}

/// The host of an issuer that may be one.
fn host(issuer: &str) -> Option<String> {
    let uri: Uri = issuer.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    let here = host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    let plain = issuer.len() > MAX_TEXT || issuer.contains(['?', '#', '@']);
    (!plain && (scheme == "https" || (scheme == "http" && here))).then_some(host)
}

/// The provider may stand inside, since the operator named it: its own host, and no other by that.
pub(crate) fn reachable(provider: &ProviderConfig, allowed: &[String]) -> AllowedAddresses {
    let own = host(&provider.issuer).unwrap_or_default();
    let entries: Vec<&str> = allowed
        .iter()
        .map(String::as_str)
        .chain([own.as_str()])
        .collect();
    AllowedAddresses::parse(&entries).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn read(args: &[&str], secret: Option<&str>) -> Result<Option<ProviderConfig>, Vec<String>> {
        let cli =
            crate::cli::Cli::try_parse_from(["flukedeploy", "serve"].iter().chain(args)).unwrap();
        let crate::cli::Command::Serve(typed) = cli.command else {
            panic!("not serve")
        };
        let environment = |name: &str| {
            secret
                .filter(|_| name == "FLUKEDEPLOY_OIDC_CLIENT_SECRET")
                .map(ToOwned::to_owned)
        };
        let mut faults = Vec::new();
        let read = settings(&mut faults, &typed, &environment);
        if faults.is_empty() {
            Ok(read)
        } else {
            Err(faults)
        }
    }

    #[test]
    fn a_provider_is_named_whole_or_not_at_all() {
        assert_eq!(read(&[], None), Ok(None));
        let whole = [
            "--oidc-issuer",
            "https://id.example.com/realms/a",
            "--oidc-client-id",
            "fluke",
        ];
        let provider = read(&whole, Some("very-secret")).unwrap().unwrap();
        assert_eq!(provider.name, "id.example.com");
        assert_eq!(provider.issuer, whole[1]);
        assert!(!format!("{provider:?}").contains("very-secret"));
        assert_eq!(
            read(&["--oidc-client-id", "fluke"], None)
                .unwrap_err()
                .len(),
            1
        );
        assert_eq!(read(&[], Some("very-secret")).unwrap_err().len(), 1);
        for issuer in [
            "http://id.example.com",
            "https://id.example.com/?a=b",
            "id.example.com",
            "https://a@b",
        ] {
            let faults = read(&["--oidc-issuer", issuer], Some("very-secret")).unwrap_err();
            assert_eq!(faults.len(), 2, "{faults:?}");
            assert!(!faults.concat().contains("very-secret"));
        }
        let here = [
            "--oidc-issuer",
            "http://127.0.0.1:9000",
            "--oidc-client-id",
            "fluke",
        ];
        assert!(read(&here, None).unwrap().is_some());
    }

    #[test]
    fn only_the_issuers_own_host_may_be_inside() {
        let provider = ProviderConfig {
            issuer: "https://id.internal/".to_owned(),
            client_id: "fluke".to_owned(),
            client_secret: None,
            name: "Inside".to_owned(),
        };
        let allowed = reachable(&provider, &[]);
        let inside = "10.0.0.5".parse().unwrap();
        assert!(allowed.may_reach("id.internal", inside));
        assert!(!allowed.may_reach("metadata.internal", inside));
    }
}
