//! Every page and its address.
#![expect(
    unreachable_pub,
    reason = "what #[component] makes beside the function is pub"
)]

use leptos::prelude::*;
use leptos_meta::provide_meta_context;
use leptos_router::components::{Route, Router, Routes};
use leptos_router::path;

use crate::pages::{
    account::AccountPage,
    app::AppPage,
    app_permissions::AppPermissionsPage,
    approvals::ApprovalsPage,
    apps::AppsPage,
    audit::AuditPage,
    audit_entry::AuditEntryPage,
    components::ComponentsPage,
    confirm::ConfirmPage,
    connect::ConnectPage,
    credentials::CredentialsPage,
    delete_app::DeleteAppPage,
    delete_webhook::DeleteWebhookPage,
    deploy::DeployPage,
    deployment::DeploymentPage,
    deployments::DeploymentsPage,
    invitation::InvitationPage,
    log_forwarder::{DeleteLogForwarderPage, LogForwarderPage},
    log_forwarders::LogForwardersPage,
    logs::{AllLogsPage, LogsPage},
    new_app::NewAppPage,
    new_environment::NewEnvironmentPage,
    not_found::NotFoundPage,
    overview::OverviewPage,
    people::PeoplePage,
    permissions::PermissionsPage,
    person::{DeletePersonPage, ResetPersonPage},
    project::ProjectPage,
    projects::ProjectsPage,
    promote::PromotePage,
    remove_credential::RemoveCredentialPage,
    repair::RepairPage,
    revoke_token::RevokeTokenPage,
    rollback::RollbackPage,
    second_factor::SecondFactorPage,
    set_up::{SetUpHelpPage, SetUpPage},
    sign_in::SignInPage,
    sign_in_code::SignInCodePage,
    system::SystemPage,
    tokens::TokensPage,
    upload::UploadPage,
    webhook::WebhookPage,
    webhooks::WebhooksPage,
};

/// Runs once at start to list the routes, without any request: pages take what they need
/// themselves.
#[component]
pub(crate) fn App() -> impl IntoView {
    provide_meta_context();
    view! {
        <Router>
            <Routes fallback=NotFoundPage>
                <Route path=path!("/") view=OverviewPage/>
                <Route path=path!("/apps") view=AppsPage/>
                <Route path=path!("/apps/new") view=NewAppPage/>
                <Route path=path!("/apps/:name") view=AppPage/>
                <Route path=path!("/apps/:name/deploy") view=DeployPage/>
                <Route path=path!("/apps/:name/deploy/upload") view=UploadPage/>
                <Route path=path!("/apps/:name/environments/new") view=NewEnvironmentPage/>
                <Route path=path!("/apps/:name/promote") view=PromotePage/>
                <Route path=path!("/apps/:name/rollback") view=RollbackPage/>
                <Route path=path!("/apps/:name/logs") view=LogsPage/>
                <Route path=path!("/apps/:name/permissions") view=AppPermissionsPage/>
                <Route path=path!("/apps/:name/delete") view=DeleteAppPage/>
                <Route path=path!("/deployments") view=DeploymentsPage/>
                <Route path=path!("/deployments/:id") view=DeploymentPage/>
                <Route path=path!("/approvals") view=ApprovalsPage/>
                <Route path=path!("/logs") view=AllLogsPage/>
                <Route path=path!("/tokens") view=TokensPage/>
                <Route path=path!("/tokens/:id/revoke") view=RevokeTokenPage/>
                <Route path=path!("/credentials") view=CredentialsPage/>
                <Route path=path!("/credentials/:kind/:host/remove") view=RemoveCredentialPage/>
                <Route path=path!("/webhooks") view=WebhooksPage/>
                <Route path=path!("/webhooks/:id") view=WebhookPage/>
                <Route path=path!("/log-forwarders") view=LogForwardersPage/>
                <Route path=path!("/log-forwarders/:id") view=LogForwarderPage/>
                <Route path=path!("/log-forwarders/:id/delete") view=DeleteLogForwarderPage/>
                <Route path=path!("/webhooks/:id/delete") view=DeleteWebhookPage/>
                <Route path=path!("/system") view=SystemPage/>
                <Route path=path!("/system/repairs/:action") view=RepairPage/>
                <Route path=path!("/connect") view=ConnectPage/>
                <Route path=path!("/components") view=ComponentsPage/>
                <Route path=path!("/permissions") view=PermissionsPage/>
                <Route path=path!("/projects") view=ProjectsPage/>
                <Route path=path!("/projects/:name") view=ProjectPage/>
                <Route path=path!("/people") view=PeoplePage/>
                <Route path=path!("/people/:id/delete") view=DeletePersonPage/>
                <Route path=path!("/people/:id/reset") view=ResetPersonPage/>
                <Route path=path!("/audit") view=AuditPage/>
                <Route path=path!("/audit/:sequence") view=AuditEntryPage/>
                <Route path=path!("/account") view=AccountPage/>
                <Route path=path!("/account/confirm") view=ConfirmPage/>
                <Route path=path!("/account/second-factor") view=SecondFactorPage/>
                <Route path=path!("/sign-in") view=SignInPage/>
                <Route path=path!("/sign-in/code") view=SignInCodePage/>
                <Route path=path!("/invitations/:secret") view=InvitationPage/>
                <Route path=path!("/setup") view=SetUpHelpPage/>
                <Route path=path!("/setup/:token") view=SetUpPage/>
            </Routes>
        </Router>
    }
}
