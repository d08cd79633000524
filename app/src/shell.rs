//! The document around every page.

use leptos::prelude::*;
use leptos_meta::MetaTags;

use crate::assets;
use crate::context::Theme;
use crate::routes::App;

/// Goes where the shell has an empty `<noscript>`, on pages that want it.
pub(crate) const NO_SCRIPT_REFRESH: &str =
    "<noscript><meta http-equiv=\"refresh\" content=\"2\"></noscript>";

pub(crate) fn shell(theme: Theme) -> impl IntoView {
    let chosen = (theme != Theme::System).then(|| theme.as_str());
    view! {
        <!DOCTYPE html>
        <html lang="en" data-theme=chosen>
            <head>
                <meta charset="utf-8"/>
                <meta name="viewport" content="width=device-width, initial-scale=1"/>
                <meta name="color-scheme" content="light dark"/>
                <link rel="icon" type="image/svg+xml" href=assets::url("favicon.svg")/>
                <link rel="stylesheet" href=assets::url("main.css")/>
                <script type="module" src=assets::url("app.js")></script>
                <noscript></noscript>
                <MetaTags/>
            </head>
            <body>
                <App/>
            </body>
        </html>
    }
}
