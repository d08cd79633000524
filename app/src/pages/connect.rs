use leptos::prelude::*;

use crate::components::{PageHead, Section, code, frame};
use crate::context::Desk;
use crate::paths;

/// `/connect`: what to paste where, for scripts and agents.
#[component]
pub(crate) fn ConnectPage() -> impl IntoView {
    let desk = Desk::take();
    let config = desk.px.config();
    let base = config.public_url.trim_end_matches('/');
    let deploy = format!(
        "export FLUKEDEPLOY_API_TOKEN=fd_…\n\ncurl -X POST {base}/api/v1/deployments \\\n  \
         -H \"Authorization: Bearer $FLUKEDEPLOY_API_TOKEN\" \\\n  -H \"Content-Type: application/json\" \\\n  \
         -d '{{\"app_name\":\"hello\",\"image\":\"nginx:stable\",\"create\":true}}'"
    );
    let watch = format!(
        "curl -H \"Authorization: Bearer $FLUKEDEPLOY_API_TOKEN\" \\\n  {base}/api/v1/deployments/<deployment_id>"
    );
    let stream = format!(
        "websocat -H \"Authorization: Bearer $FLUKEDEPLOY_API_TOKEN\" \\\n  \"{}/?app_name=hello\"",
        config.stream_url.trim_end_matches('/')
    );
    let http = serde_json::json!({"mcpServers": {"flukedeploy": {
        "type": "http", "url": format!("{base}/mcp"),
        "headers": {"Authorization": "Bearer ${FLUKEDEPLOY_API_TOKEN}"},
    }}});
    let stdio = serde_json::json!({"mcpServers": {"flukedeploy": {
        "command": "flukedeploy", "args": ["mcp"],
        "env": {"FLUKEDEPLOY_URL": base, "FLUKEDEPLOY_API_TOKEN": "${FLUKEDEPLOY_API_TOKEN}"},
    }}});
    let content = view! {
        {PageHead::new("API and MCP")
            .lead("Everything here can be done by a script or an agent, with the same names, the same answers and the same rights.")
            .actions(view! { <a class="button button-primary" href=paths::TOKENS>"Create a token"</a> })
            .view()}
        <div class="steps">
            <section aria-labelledby="rest">
                <div class="section-head"><h2 id="rest">"REST"</h2><span class="section-note">"Deploy an image; the app is made if it does not exist."</span></div>
                {code("rest-deploy", deploy)}
            </section>
            <section aria-labelledby="status">
                <div class="section-head"><h2 id="status">"See how it goes"</h2><span class="section-note">"A failed deployment answers with its diagnosis."</span></div>
                {code("rest-status", watch)}
            </section>
            <section aria-labelledby="stream">
                <div class="section-head"><h2 id="stream">"Log stream"</h2><span class="section-note">"WebSocket; every entry as it happens."</span></div>
                {code("stream-command", stream)}
            </section>
            <section aria-labelledby="mcp">
                <div class="section-head"><h2 id="mcp">"MCP over HTTP"</h2><span class="section-note">"For the configuration of an MCP client."</span></div>
                {code("mcp-http", pretty(&http))}
            </section>
            <section aria-labelledby="mcp-local">
                <div class="section-head"><h2 id="mcp-local">"MCP over stdio"</h2><span class="section-note">"Where the client starts a program on this server."</span></div>
                {code("mcp-stdio", pretty(&stdio))}
            </section>
        </div>
    };
    frame(&desk, Section::Connect, content)
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}")
}
