//! Forms: each posts to its page's own address. A refused one is drawn again with what was typed
//! and what is wrong beside each field; an accepted one leads on with 303.

pub(crate) mod account;
pub(crate) mod approvals;
pub(crate) mod apps;
pub(crate) mod building;
pub(crate) mod credentials;
pub(crate) mod deployments;
pub(crate) mod environments;
pub(crate) mod everyday;
mod labels;
pub(crate) mod log_forwarders;
mod parse;
pub(crate) mod parts;
pub(crate) mod people;
pub(crate) mod permissions;
pub(crate) mod projects;
pub(crate) mod provider;
pub(crate) mod repairs;
pub(crate) mod session;
pub(crate) mod sources;
pub(crate) mod theme;
pub(crate) mod tokens;
pub(crate) mod uploads;
pub(crate) mod webhooks;

use std::mem;
use std::str::FromStr;
use std::sync::Arc;

use axum::Form;
use axum::extract::{FromRequest, Query, Request};
use axum::response::{IntoResponse, Response};
use flukedeploy_domain::access::Actor;
use flukedeploy_domain::build::RepositoryUrl;
use flukedeploy_domain::names::{EnvironmentName, Invalid};
use flukedeploy_platform::deployments::{Accepted, DeploymentPlan};
use flukedeploy_platform::people::Origin;
use flukedeploy_platform::{Error, Kind, Platform};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode, Uri};

use crate::context::Visitor;
use crate::router::DashboardSettings;
use crate::{paths, render};

/// Names of hidden fields that carry a form over a sign-in.
const CARRIED: &str = "carried.";
const CARRIED_TO: &str = "carried_to";
/// Field of a one-time code.
pub(crate) const CODE: &str = "code";

/// What was typed, and what is wrong with it. No `Debug`: values may be secrets.
#[derive(Clone, Default)]
pub(crate) struct Typed {
    values: Vec<(String, String)>,
    faults: Vec<Invalid>,
    problem: Option<Problem>,
    plan: Option<Arc<DeploymentPlan>>,
}

/// What is wrong with the request as a whole.
#[derive(Clone)]
pub(crate) struct Problem {
    pub(crate) title: String,
    pub(crate) text: Option<String>,
    pub(crate) attention: bool,
}

impl Typed {
    pub(crate) fn new(values: Vec<(String, String)>) -> Self {
        Self {
            values,
            ..Self::default()
        }
    }

    /// A form that met an ended session, inside the sign-in form.
    pub(crate) fn carried(address: &str, form: &Typed) -> Self {
        Self::packed(address, form).with_notice(
            "Your session ended",
            "Sign in again; what you typed is kept, and nothing was done yet.",
        )
    }

    /// A form that needs a proof of who sends it, inside the form that asks for one.
    fn to_confirm(address: &str, form: &Typed) -> Self {
        Self::packed(address, form).with_notice(
            "Nothing was done yet",
            "This needs a proof that it is you. What you typed is kept.",
        )
    }

    fn packed(address: &str, form: &Typed) -> Self {
        let mut values = vec![
            ("next".to_owned(), address.to_owned()),
            (CARRIED_TO.to_owned(), address.to_owned()),
        ];
        let worth = form
            .values
            .iter()
            // Of a secret only that there was one: no page holds it.
            .filter(|(name, value)| {
                if is_secret(name) {
                    !value.trim().is_empty()
                } else {
                    !name.contains("password") && name != CODE && !name.starts_with(CARRIED)
                }
            });
        values.extend(worth.map(|(name, value)| {
            let value = if is_secret(name) {
                String::new()
            } else {
                without_password(name, value)
            };
            (format!("{CARRIED}{name}"), value)
        }));
        Self {
            values,
            ..Self::default()
        }
    }

    /// A file that met an ended session: it cannot be carried.
    pub(crate) fn sent_back(address: &str) -> Self {
        Self::new(vec![("next".to_owned(), address.to_owned())]).with_notice(
            "Your session ended",
            "Sign in again, and send the file once more: it was not kept.",
        )
    }

    /// What [`Typed::carried`] packed, with the address it was meant for. `title` says what happened
    /// meanwhile.
    pub(crate) fn unpacked(&self, title: &str) -> Option<(String, Self)> {
        let address = paths::local(self.get(CARRIED_TO)?)?.to_owned();
        let values: Vec<_> = self.carried_fields(CARRIED).collect();
        (!values.is_empty()).then(|| {
            let text = if values.iter().any(|(name, _)| is_secret(name)) {
                "Here is what you typed, without secrets: type those again. It was not sent yet: \
                 look it over and send it."
            } else {
                "Here is what you typed. It was not sent yet: look it over and send it."
            };
            let typed = Self {
                values,
                ..Self::default()
            }
            .with_notice(title, text);
            (address, typed)
        })
    }

    /// The hidden fields of a form that is carried, under the names they travel with.
    pub(crate) fn hidden(&self) -> Vec<(String, String)> {
        let travels = |name: &str| name == CARRIED_TO || name.starts_with(CARRIED);
        self.values
            .iter()
            .filter(|(name, _)| travels(name))
            .cloned()
            .collect()
    }

    fn carried_fields<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (String, String)> + 'a {
        self.values.iter().filter_map(move |(name, value)| {
            Some((name.strip_prefix(prefix)?.to_owned(), value.clone()))
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value as it was typed.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value without space around it; nothing typed is `None`.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name)
            .map(str::trim)
            .filter(|value| !value.is_empty())
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.values
            .iter()
            .filter(move |(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn has(&self, name: &str, value: &str) -> bool {
        self.all(name).any(|typed| typed == value)
    }

    /// What is wrong with a field: with its name, or with a part of it (`env_vars.'X'`).
    pub(crate) fn fault(&self, name: &str) -> Option<String> {
        let of_field = |fault: &&Invalid| labels::belongs(&fault.field, name);
        let sentences: Vec<String> = self
            .faults
            .iter()
            .filter(of_field)
            .map(|fault| match labels::part(&fault.field) {
                Some(part) => crate::words::sentence(&format!("{part} {}", fault.problem)),
                None => crate::words::sentence(&labels::in_form_words(&fault.problem)),
            })
            .collect();
        (!sentences.is_empty()).then(|| sentences.join(" "))
    }

    /// Something secret was typed there that is not put back into the page.
    pub(crate) fn was_withheld(&self, name: &str) -> bool {
        is_secret(name) && self.text(name).is_some()
    }

    pub(crate) fn problem(&self) -> Option<&Problem> {
        self.problem.as_ref()
    }

    pub(crate) fn with_notice(mut self, title: &str, text: &str) -> Self {
        self.problem = Some(Problem {
            title: title.to_owned(),
            text: Some(text.to_owned()),
            attention: true,
        });
        self
    }

    /// The same, where a field of `NAME=value` lines has none for these names.
    pub(crate) fn without_lines_of(&self, field: &str, names: &[&str]) -> Self {
        let mut shown = self.clone();
        for (_, value) in shown.values.iter_mut().filter(|(name, _)| name == field) {
            let is_shown = |line: &&str| {
                let name = line.split_once('=').map(|(name, _)| name.trim());
                name.is_none_or(|name| !names.contains(&name))
            };
            *value = value
                .split('\n')
                .filter(is_shown)
                .collect::<Vec<_>>()
                .join("\n");
        }
        shown
    }

    /// What the form would do, where somebody asked for that first.
    pub(crate) fn plan(&self) -> Option<&DeploymentPlan> {
        self.plan.as_deref()
    }

    pub(crate) fn with_plan(mut self, plan: DeploymentPlan) -> Self {
        self.plan = Some(Arc::new(plan));
        self
    }

    pub(crate) fn with_error(mut self, error: &Error) -> Self {
        // A code that was wrong is no good the second time.
        self.values.retain(|(name, _)| name != CODE);
        for (name, value) in &mut self.values {
            *value = without_password(name, value);
        }
        self.faults = error.faults().to_vec();
        self.problem = Some(match error.kind() {
            Kind::Invalid => Problem {
                title: "Nothing was done yet".to_owned(),
                text: Some(self.invalid_text()),
                attention: false,
            },
            // What to try is told for callers with a token; a person only has to type again.
            Kind::Unauthenticated => Problem {
                title: crate::words::sentence(&error.public_detail()),
                text: None,
                attention: false,
            },
            _ => Problem {
                title: crate::words::sentence(&error.public_detail()),
                text: error.next_step().map(|step| crate::words::sentence(&step)),
                attention: false,
            },
        });
        self
    }

    /// Faults are named again above the form, for those that belong to no field of it.
    fn invalid_text(&self) -> String {
        self.faults
            .iter()
            .map(|fault| match labels::label(&fault.field) {
                Some(label) => {
                    let part = labels::part(&fault.field)
                        .map_or_else(String::new, |part| format!("{part} "));
                    let problem = labels::in_form_words(&fault.problem);
                    crate::words::sentence(&format!("{label} {part}{problem}"))
                }
                None => crate::words::sentence(&fault.to_string()),
            })
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// Field: variables that are marked secret.
pub(crate) const SECRET_VARIABLES: &str = "secret_env_vars";
/// Field: what a secret holds that is delivered as a file.
pub(crate) const FILE_CONTENT: &str = "file_content";

/// Fields whose values never appear in a page, not even for who typed them.
fn is_secret(name: &str) -> bool {
    matches!(
        name,
        "secret"
            | "secret_key"
            | "build_secrets"
            | SECRET_VARIABLES
            | FILE_CONTENT
            | webhooks::SECRET
            | log_forwarders::AUTHORIZATION
    )
}

/// The address of a repository is no place for a password. It is refused with one, and comes back
/// without.
fn without_password(name: &str, value: &str) -> String {
    let cut = match (value.split_once("://"), value.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) if name == "repository" => {
            format!("{scheme}://{rest}")
        }
        _ => return value.to_owned(),
    };
    // Where nothing is wrong with it, it is what it is.
    if value.trim().parse::<RepositoryUrl>().is_ok() {
        value.to_owned()
    } else {
        cut
    }
}

/// A posted form, whatever its fields.
pub(crate) struct Posted(pub(crate) Typed);

impl<S: Send + Sync> FromRequest<S> for Posted {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        match Form::<Vec<(String, String)>>::from_request(request, state).await {
            Ok(Form(values)) => Ok(Self(Typed::new(values))),
            Err(rejection) => {
                let status = rejection.into_response().status();
                let text = if status == StatusCode::PAYLOAD_TOO_LARGE {
                    "A form may have at most 1 MiB. Go back and shorten it; nothing was done."
                } else {
                    "This was not sent by one of FlukeDeploy's forms. Nothing was done."
                };
                Err(render::plain_page(status, "This form cannot be read", text))
            }
        }
    }
}

/// A form as it was sent: by whom, to which address, and with what in it.
pub(crate) struct Sent {
    px: Platform,
    visitor: Visitor,
    uri: Uri,
    origin: Origin,
    /// People come over HTTPS.
    is_secure: bool,
    typed: Typed,
}

impl FromRequest<Platform> for Sent {
    type Rejection = Response;

    async fn from_request(request: Request, px: &Platform) -> Result<Self, Response> {
        let visitor = request.extensions().get::<Visitor>().cloned();
        let uri = request.uri().clone();
        let origin = crate::client::origin(px, request.extensions(), request.headers());
        let settings = request.extensions().get::<DashboardSettings>();
        let is_secure = settings.is_some_and(|settings| settings.cookie_secure);
        let Posted(typed) = Posted::from_request(request, px).await?;
        Ok(Self {
            px: px.clone(),
            visitor: visitor.unwrap_or_default(),
            uri,
            origin,
            is_secure,
            typed,
        })
    }
}

impl Sent {
    /// The gate lets no stranger's form through; should it ever, this is the answer.
    fn actor(&self) -> Result<&Actor, Error> {
        self.visitor.actor.as_ref().ok_or(Error::Unauthenticated {
            why: "sign in first",
        })
    }

    /// Who acts, and what the form's address names. Who it is comes first: a stranger is not told
    /// what is wrong with an address.
    fn addressed<T: FromStr<Err = Invalid>>(&self, named: &str) -> Result<(&Actor, T), Error> {
        let actor = self.actor()?;
        Ok((actor, named.parse()?))
    }

    /// `?environment=` of the address: the one that the form was opened for.
    fn environment(&self) -> Result<EnvironmentName, Error> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&self.uri);
        let named = pairs.ok().and_then(|Query(pairs)| {
            let found = pairs.into_iter().find(|(name, _)| name == "environment");
            found.map(|(_, value)| value)
        });
        Ok(match named.filter(|name| !name.is_empty()) {
            Some(name) => name.parse()?,
            None => EnvironmentName::production(),
        })
    }

    /// Leads on, or draws the form's page again with what was typed.
    async fn answer(mut self, result: Result<String, Error>) -> Response {
        match result {
            Ok(to) => render::see_other(&to),
            Err(error) => {
                render::note_failure(&error);
                let status = render::status_of(&error);
                if matches!(error, Error::ProofNeeded) {
                    let address = render::address_of(&self.uri);
                    let typed = Typed::to_confirm(address, &self.typed);
                    return render::page(&self.px, self.visitor, paths::CONFIRM, typed, status)
                        .await;
                }
                let typed = mem::take(&mut self.typed).with_error(&error);
                self.draw(typed, status).await
            }
        }
    }

    /// Leads on to what was started, or draws the form's page again with the plan.
    async fn answer_or_plan(mut self, result: Result<Outcome, Error>) -> Response {
        match result {
            Ok(Outcome::Plan(plan)) => {
                let typed = mem::take(&mut self.typed).with_plan(*plan);
                self.draw(typed, StatusCode::OK).await
            }
            Ok(Outcome::Started(accepted)) => {
                let to = paths::deployment(&accepted.deployment.deployment_id);
                self.answer(Ok(to)).await
            }
            Err(error) => self.answer(Err(error)).await,
        }
    }

    async fn draw(self, typed: Typed, status: StatusCode) -> Response {
        let page = paths::page_of(render::address_of(&self.uri));
        render::page(&self.px, self.visitor, &page, typed, status).await
    }

    /// The form's page with what shows only this once. A redirect would have to keep it somewhere.
    async fn show_once(self, shown: Vec<(String, String)>) -> Response {
        let mut response = self.draw(Typed::new(shown), StatusCode::CREATED).await;
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// What comes of a form that can be asked for its plan first.
enum Outcome {
    Started(Box<Accepted>),
    Plan(Box<DeploymentPlan>),
}

/// The use case's names of fields, where the form calls them otherwise.
fn with_form_names(error: Error, name: impl Fn(&str) -> Option<&'static str>) -> Error {
    let renamed = |fault: Invalid| match name(&fault.field) {
        Some(name) => Invalid::new(name, fault.problem),
        None => fault,
    };
    match error {
        Error::Invalid(faults) => Error::Invalid(faults.into_iter().map(renamed).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(pairs: &[(&str, &str)]) -> Typed {
        Typed::new(
            pairs
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn faults_find_their_field() {
        let form = typed(&[]).with_error(&Error::Invalid(vec![
            Invalid::new("health.path", "must start with '/'"),
            Invalid::new("env_vars.'9X'", "must have a name of letters"),
            Invalid::new("host", "must not start a label with '-'"),
        ]));
        assert_eq!(form.fault("health_path").unwrap(), "Must start with '/'.");
        assert_eq!(
            form.fault("env_vars").unwrap(),
            "'9X' must have a name of letters."
        );
        assert!(form.fault("domains").is_some() && form.fault("image").is_none());
    }

    #[test]
    fn a_form_survives_a_sign_in_but_passwords_do_not() {
        let form = typed(&[("image", "shop:v2"), ("password", "hunter2hunter2")]);
        let carried = Typed::carried("/apps/shop/deploy", &form);
        assert_eq!(carried.get("next"), Some("/apps/shop/deploy"));
        let back = Typed::new(carried.hidden());
        let (address, unpacked) = back.unpacked("You are signed in again").unwrap();
        assert_eq!(address, "/apps/shop/deploy");
        assert_eq!(unpacked.get("image"), Some("shop:v2"));
        assert_eq!(unpacked.get("password"), None);
        assert!(
            !unpacked
                .problem()
                .unwrap()
                .text
                .as_deref()
                .unwrap()
                .contains("secret")
        );

        let form = typed(&[
            ("credential_host", "git.example.com"),
            ("secret", "hunter2"),
        ]);
        let carried = Typed::carried("/credentials", &form);
        assert!(carried.hidden().iter().all(|(_, value)| value != "hunter2"));
        let (_, unpacked) = Typed::new(carried.hidden())
            .unpacked("You are signed in again")
            .unwrap();
        assert_eq!(unpacked.get("credential_host"), Some("git.example.com"));
        let none = Typed::carried("/webhooks", &typed(&[("url", "x"), (webhooks::SECRET, "")]));
        assert!(
            none.hidden()
                .iter()
                .all(|(name, _)| !name.contains("password"))
        );
        assert!(
            unpacked
                .problem()
                .unwrap()
                .text
                .as_deref()
                .unwrap()
                .contains("type those again")
        );
        let evil = typed(&[("carried_to", "//evil.example"), ("carried.image", "x")]);
        assert!(evil.unpacked("You are signed in again").is_none());
    }
}
