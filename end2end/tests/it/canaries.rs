//! A secret of every kind, each at its place in one running instance; then everything that can be asked
//! for is asked for and searched. The addresses come from the routers' own lists and the tools from the
//! server, so that a new one is searched too.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use flukedeploy_end2end::api::session_cookie;
use flukedeploy_end2end::instance::Options;
use flukedeploy_end2end::mcp::Era;
use flukedeploy_end2end::stream::Stream;
use flukedeploy_end2end::{random_name, wait};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::bed::Bed;
use crate::secrets::{Canaries, hex};
use crate::yard::{self, Yard};

const SOON: Duration = Duration::from_secs(30);
const REST_ROUTES: &str = include_str!("../../../server/src/doors/rest/routes.rs");
const PAGE_ROUTES: &str = include_str!("../../../app/src/routes.rs");

/// Prints all its secrets, and answers with what it found, as hashes.
const ENTRYPOINT: &str = "cd /run/secrets; \
    for part in \"$API_THING\" \"$SHARED_THING\" \"$(busybox cat FILE_THING)\" \"$(busybox cat shared.key)\"; do \
    printf %s \"$part\" | busybox sha256sum | busybox cut -c1-64; done > /www/hashes; \
    busybox stat -c '%a %u' FILE_THING > /www/mode; echo \"$FILE_THING_FILE $SHARED_FILE_FILE\" > /www/where; \
    echo env $API_THING; echo file $(busybox cat FILE_THING); echo shared $SHARED_THING; \
    echo shared file $(busybox cat shared.key); echo over; exec httpd -f -p 8080 -h /www";

/// What was planted, and how to ask for what there is.
struct Planted {
    canaries: Canaries,
    /// Those that no description of a service or a container may hold.
    files: Canaries,
    values: BTreeMap<&'static str, String>,
    /// Parts of addresses: by the section of the address, its `id` or `name`.
    ids: BTreeMap<&'static str, String>,
    admin: String,
    ann: String,
}

fn made(name: &str) -> String {
    format!("{name}/{}+z", random_name(24))
}

/// Fits an address and a cookie, and is long enough to be told from everything else.
fn plain(name: &str) -> String {
    format!("{name}-{}", random_name(24))
}

fn client() -> Result<Client> {
    let client = Client::builder().redirect(reqwest::redirect::Policy::none());
    Ok(client.build()?)
}

async fn form(
    bed: &Bed,
    cookie: &str,
    path: &str,
    fields: &[(&str, &str)],
) -> Result<reqwest::Response> {
    let url = bed.instance.url();
    let encoded: Vec<String> = (fields.iter())
        .map(|(name, value)| format!("{name}={}", value.replace('+', "%2B").replace(' ', "+")))
        .collect();
    let request = client()?
        .post(format!("{url}{path}"))
        .header("Origin", &url)
        .header("Cookie", cookie)
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(encoded.join("&"));
    Ok(request.send().await?)
}

async fn put(bed: &Bed, path: &str, body: &Value) -> Result<Value> {
    let request = bed.api.request(Method::PUT, path).json(body);
    bed.api.send(request).await?.ok()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Result<&'a str> {
    let rest = text.split_once(before).context("it begins there")?.1;
    Ok(rest.split_once(after).context("it ends there")?.0)
}

/// What an authenticator with this secret shows now.
fn code_of(base32: &str) -> Result<String> {
    let (mut bits, mut buffer, mut key) = (0, 0u32, Vec::new());
    for digit in base32.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            _ => digit - b'2' + 26,
        };
        buffer = (buffer << 5) | u32::from(value);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            key.push(u8::try_from(buffer >> bits & 255)?);
        }
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mut mac = Hmac::<Sha1>::new_from_slice(&key)?;
    mac.update(&(now / 30).to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let offset = usize::from(hash[19] & 15);
    let word: [u8; 4] = hash[offset..offset + 4].try_into()?;
    let number = (u32::from_be_bytes(word) & 0x7fff_ffff) % 1_000_000;
    Ok(format!("{number:06}"))
}

/// A second person, with a second factor: cookie, secret of the factor, a recovery code.
async fn ann(bed: &Bed, password: &str) -> Result<(String, String, String)> {
    let body = json!({"is_administrator": false});
    let link = bed.api.post("/invitations", &body).await?.ok()?;
    let link = link["link"].as_str().context("told once")?;
    let (_, secret) = link.split_once("/invitations/").context("a link")?;
    let fields = [
        ("name", "ann"),
        ("password", password),
        ("password_again", password),
    ];
    let answer = form(bed, "", &format!("/invitations/{secret}"), &fields).await?;
    ensure!(
        answer.status() == 303,
        "ann did not get in: {}",
        answer.status()
    );
    let cookie = session_cookie(answer.headers())?;
    let url = format!("{}/account/second-factor", bed.instance.url());
    let page = client()?.get(url).header("Cookie", &cookie).send().await?;
    let page = page.text().await?;
    let factor = between(&page, "<pre id=\"factor-secret\" tabindex=\"0\">", "</pre>")?.to_owned();
    let code = code_of(&factor)?;
    let answer = form(bed, &cookie, "/account/second-factor", &[("code", &code)]).await?;
    ensure!(
        answer.status() == 201,
        "no second factor: {}",
        answer.status()
    );
    let codes = answer.text().await?;
    let codes = between(
        &codes,
        "<pre id=\"recovery-codes\" tabindex=\"0\">",
        "</pre>",
    )?;
    let first = codes.lines().next().context("a recovery code")?.to_owned();
    Ok((cookie, factor, first))
}

fn text(value: &Value, name: &str) -> Result<String> {
    let found = value[name].as_str();
    Ok(found
        .with_context(|| format!("{name} in {value}"))?
        .to_owned())
}

/// Puts one of everything in its place, and deploys the app that has them.
async fn plant(yard: &Yard, password: &str) -> Result<Planted> {
    let bed = &yard.bed;
    let names = [
        "env",
        "file",
        "shared",
        "shared-file",
        "build",
        "registry",
        "git-token",
        "git-key",
        "forwarder",
    ];
    let mut values: BTreeMap<&'static str, String> =
        names.into_iter().map(|name| (name, made(name))).collect();
    values.insert("bootstrap token", bed.instance.token.clone());
    values.insert("password", password.to_owned());
    let ann_password = plain("ann");
    let key = |value: &str| {
        format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{value}\n-----END OPENSSH PRIVATE KEY-----\n")
    };
    for credential in [
        json!({"kind": "registry", "host": "registry.example.com", "username": "bob",
            "secret": values["registry"]}),
        json!({"kind": "git_token", "host": "git.example.com", "username": "bob",
            "secret": values["git-token"]}),
        json!({"kind": "git_key", "host": "ssh.example.com", "username": "git",
            "secret": key(&values["git-key"]), "known_hosts": "ssh.example.com ssh-ed25519 AAAA"}),
    ] {
        yard.credential(credential).await?;
    }
    let mut ids = BTreeMap::from([
        ("apps", "shop".to_owned()),
        ("projects", "office".to_owned()),
    ]);
    let hook = json!({"url": "http://127.0.0.1:9/hook"});
    let hook = bed.api.post("/webhooks", &hook).await?.ok()?;
    values.insert("webhook", text(&hook, "secret")?);
    ids.insert("webhooks", text(&hook, "id")?);
    let forwarder = json!({"kind": "webhook", "url": "http://127.0.0.1:9/logs",
        "headers": {"authorization": format!("Bearer {}", values["forwarder"])}});
    let forwarder = bed.api.post("/log-forwarders", &forwarder).await?.ok()?;
    ids.insert("log-forwarders", text(&forwarder, "id")?);
    if let Ok(secret) = text(&forwarder, "secret") {
        values.insert("forwarder's key", secret);
    }
    let token = json!({"name": "ci", "tier": "extended"});
    let token = bed.api.post("/tokens", &token).await?.ok()?;
    let secret = text(&token, "token")?;
    // What stands before the secret is the token's name, which is told.
    values.insert(
        "token",
        secret.rsplit('_').next().unwrap_or_default().to_owned(),
    );
    ids.insert("tokens", text(&token, "id")?);
    let (ann, factor, code) = ann(bed, &ann_password).await?;
    let value_of = |cookie: &str| cookie.split_once('=').map(|(_, value)| value.to_owned());
    values.insert("ann's password", ann_password);
    values.insert("ann's session", value_of(&ann).context("a cookie")?);
    values.insert("second factor", factor);
    values.insert("recovery code", code);
    let open = json!({"is_administrator": true});
    let open = text(&bed.api.post("/invitations", &open).await?.ok()?, "link")?;
    let open = open.rsplit('/').next().unwrap_or_default().to_owned();
    values.insert("open invitation", open);
    let fields = [("name", "admin"), ("password", password)];
    let answer = form(bed, "", "/sign-in", &fields).await?;
    let admin = session_cookie(answer.headers())?;
    values.insert("session", value_of(&admin).context("a cookie")?);
    let users = bed.api.get("/users").await?.ok()?;
    ids.insert("users", text(&users["users"][0], "id")?);
    ids.insert("people", ids["users"].clone());

    put(bed, "/apps/shop/project", &json!({"project": "office"})).await?;
    let shared = json!({"secret_env_vars": [{"key": "SHARED_THING", "value": values["shared"]},
        {"key": "SHARED_FILE", "value": values["shared-file"], "file": "shared.key"}]});
    put(bed, "/projects/office/variables", &shared).await?;
    let own = json!({
        "build": {"secrets": {"npm": values["build"]}},
        "secret_env_vars": [{"key": "API_THING", "value": values["env"]},
            {"key": "FILE_THING", "value": values["file"], "delivery": "file"}],
        "jobs": {"release": {"timeout_seconds": 60,
            "command": ["/bin/sh", "-c", "echo job with $(busybox cat /run/secrets/FILE_THING)"]}}});
    bed.change("shop", own).await?;
    let entrypoint = json!(["/bin/sh", "-c", ENTRYPOINT]);
    let dockerfile = yard.dockerfile(&format!(
        "RUN --mount=type=secret,id=npm echo {} && echo built with $(cat /run/secrets/npm) && mkdir -p /www && \
         echo well > /www/health\nENTRYPOINT {entrypoint}",
        bed.instance.data_dir().display()
    ));
    let done = yard.run("shop", json!({"dockerfile": dockerfile})).await?;
    ensure!(
        done["status"] == "success",
        "{done:#}\n{}",
        yard.output(&done).await?
    );
    ids.insert("deployments", text(&done, "deployment_id")?);
    // There is none.
    ids.insert("approvals", "apr-1770200000123-00000001".to_owned());
    let all: Vec<(&'static str, &str)> = (values.iter())
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let files = [
        ("the file", &*values["file"]),
        ("the shared file", &*values["shared-file"]),
    ];
    Ok(Planted {
        canaries: Canaries::new(&all),
        files: Canaries::new(&files),
        values,
        ids,
        admin,
        ann,
    })
}

impl Planted {
    /// An address with everything that is variable in it filled in.
    fn filled(&self, path: &str) -> Result<String> {
        let section = path.split('/').nth(1).unwrap_or_default();
        let mut filled = Vec::new();
        for step in path.split('/') {
            let name = step.strip_prefix(':').or_else(|| {
                step.strip_prefix('{')
                    .and_then(|step| step.strip_suffix('}'))
            });
            filled.push(match name {
                None => step,
                Some("id" | "name") => {
                    let known = self.ids.get(section);
                    known.with_context(|| format!("nothing is known to fill {path} with"))?
                }
                Some("environment") => "production",
                Some("kind") => "registry",
                Some("host") => "registry.example.com",
                // Whoever has the link sees it: it is asked for with another one.
                Some("secret" | "token") => "unknown",
                Some("sequence") => "1",
                Some("action") => "prune_images",
                Some(other) => bail!("nothing is known for '{other}' in {path}"),
            });
        }
        Ok(filled.join("/"))
    }

    async fn rest(&self, bed: &Bed) -> Result<Vec<(String, String)>> {
        let mut told = Vec::new();
        for line in REST_ROUTES.lines() {
            let Some(path) = line.trim().strip_prefix("get \"") else {
                continue;
            };
            let path = path.split('"').next().unwrap_or_default();
            // It never ends; see below.
            if path == "/logs/stream" {
                continue;
            }
            let mut addresses = vec![self.filled(path)?];
            match path {
                "/logs" => addresses.extend([
                    "/logs?limit=1000".to_owned(),
                    "/logs?app_name=shop&summary=true".to_owned(),
                ]),
                "/audit" => addresses.push("/audit?limit=1000".to_owned()),
                _ => {}
            }
            for address in addresses {
                for api in [&bed.api, &bed.instance.api_as(None)] {
                    let answer = api.get(&address).await?;
                    ensure!(answer.status < 500, "{address}: {answer:?}");
                    told.push((format!("GET {address}"), answer.body.to_string()));
                }
            }
        }
        ensure!(told.len() > 60, "only {} answers", told.len());
        for address in ["/healthz", "/readyz", "/metrics", "/api/v2/health"] {
            let answer = client()?
                .get(format!("{}{address}", bed.instance.url()))
                .send();
            told.push((address.to_owned(), answer.await?.text().await?));
        }
        Ok(told)
    }

    /// Bad input around the secrets themselves.
    async fn refusals(&self, bed: &Bed) -> Result<Vec<(String, String)>> {
        let secret = &self.values["file"];
        let large = format!("{secret}{}", "x".repeat(600_000));
        let file = |value: &str| json!({"secret_env_vars": [{"key": "F", "value": value, "file": "../f"}]});
        let mut told = Vec::new();
        for (method, path, body) in [
            (Method::PATCH, "/apps/shop", file(secret)),
            (Method::PATCH, "/apps/shop", file(&large)),
            (Method::PATCH, "/projects/office/variables", file(secret)),
            (
                Method::PUT,
                "/projects/office/variables",
                json!({"secret_env_vars": {"A=B": secret}}),
            ),
            (Method::PATCH, "/projects/nowhere/variables", file(secret)),
            (
                Method::PUT,
                "/credentials",
                json!({"kind": "git_key", "host": "x.example.com", "secret": secret}),
            ),
            (
                Method::PUT,
                "/credentials",
                json!({"kind": "x", "host": "x", "secret": [secret]}),
            ),
            (
                Method::POST,
                "/webhooks",
                json!({"url": "nowhere", "secret": secret}),
            ),
            (
                Method::POST,
                "/log-forwarders",
                json!({"kind": "x", "url": "x", "secret": secret,
                "headers": {"a b": secret}}),
            ),
            (
                Method::POST,
                "/deployments",
                json!({"app_name": "shop", "image": "shop:1",
                "secret_env_vars": [{"key": "A", "value": secret, "delivery": [secret]}]}),
            ),
        ] {
            let request = bed.api.request(method.clone(), path).json(&body);
            let answer = bed.api.send(request).await?;
            ensure!(
                (400..500).contains(&answer.status),
                "{method} {path}: {answer:?}"
            );
            told.push((
                format!("{method} {path}: {}", answer.status),
                answer.body.to_string(),
            ));
        }
        Ok(told)
    }

    async fn pages(&self, bed: &Bed) -> Result<Vec<(String, String)>> {
        let mut told = Vec::new();
        let mut seen = 0;
        for line in PAGE_ROUTES.lines() {
            let Some((_, path)) = line.split_once("path!(\"") else {
                continue;
            };
            let path = self.filled(path.split('"').next().unwrap_or_default())?;
            for (who, cookie) in [("admin", &*self.admin), ("ann", &*self.ann), ("nobody", "")] {
                let request = client()?.get(format!("{}{path}", bed.instance.url()));
                let answer = request.header("Cookie", cookie).send().await?;
                let status = answer.status();
                ensure!(!status.is_server_error(), "{path}: {status}");
                seen += usize::from(who == "admin" && status == 200);
                let headers = answer.headers().iter();
                let headers = headers.filter(|(name, _)| *name != http::header::SET_COOKIE);
                let headers: Vec<String> = headers
                    .map(|(name, value)| format!("{name}: {value:?}"))
                    .collect();
                told.push((
                    format!("{path} as {who}"),
                    headers.join("\n") + &answer.text().await?,
                ));
            }
        }
        ensure!(seen > 30, "the administrator saw only {seen} pages");
        Ok(told)
    }

    async fn tools(&self, bed: &Bed) -> Result<Vec<(String, String)>> {
        let mut mcp = bed.instance.mcp(Era::Stateless).await?;
        let mut told = Vec::new();
        let id = &self.ids["deployments"];
        for tool in mcp.tools().await? {
            let name = text(&tool, "name")?;
            told.push((format!("the tool {name}"), tool.to_string()));
            // What changes something is only asked what it would do, or refuses.
            for arguments in [
                json!({}),
                json!({"app_name": "shop", "image": "shop:1", "dry_run": true}),
                json!({"app_name": "shop"}),
                json!({"deployment_id": id}),
            ] {
                let changes = [
                    "restart",
                    "rollback",
                    "scale",
                    "set_mode",
                    "deploy_app",
                    "control",
                ];
                let is_safe = arguments["dry_run"] == true || arguments["app_name"].is_null();
                if changes.iter().any(|word| name.contains(word)) && !is_safe {
                    continue;
                }
                if name.contains("restart") || name.contains("rollback") {
                    continue;
                }
                let answer = mcp.call(&name, arguments).await?;
                told.push((format!("{name} answers"), answer.to_string()));
            }
        }
        ensure!(told.len() > 25, "only {} results", told.len());
        Ok(told)
    }

    /// Everything that can be read.
    async fn search(&self, bed: &Bed) -> Result<usize> {
        let mut told = self.rest(bed).await?;
        told.extend(self.refusals(bed).await?);
        told.extend(self.pages(bed).await?);
        told.extend(self.tools(bed).await?);
        told.push(("the platform's log".to_owned(), bed.instance.log()?));
        for (what, text) in &told {
            self.canaries.expect_not_in(what, text.as_bytes())?;
        }
        let files = self.canaries.expect_in_no_file(&bed.instance.data_dir())?;
        ensure!(files > 5, "only {files} files were looked at");
        let mut processes = 0;
        for process in fs::read_dir("/proc")? {
            // Those that have ended meanwhile have none.
            let Ok(line) = fs::read(process?.path().join("cmdline")) else {
                continue;
            };
            self.canaries.expect_not_in("an argument list", &line)?;
            processes += 1;
        }
        ensure!(processes > 2, "only {processes} processes were looked at");
        Ok(told.len() + files)
    }

    /// What the engine tells of services and containers.
    async fn search_engine(&self, bed: &Bed) -> Result<()> {
        let docker = &bed.instance.docker;
        let services = docker.list_services(None).await?;
        let described = serde_json::to_string(&services)?;
        ensure!(
            described.contains("FILE_THING"),
            "the service has its secret"
        );
        self.files
            .expect_not_in("a service", described.as_bytes())?;
        let secrets = docker.list_secrets(None).await?;
        let described = serde_json::to_string(&secrets)?;
        ensure!(described.contains("shop-production-s-"), "{described}");
        self.canaries
            .expect_not_in("a list of secrets", described.as_bytes())?;
        for container in docker.list_containers(None).await? {
            let Some(id) = container.id else { continue };
            if let Ok(found) = docker.inspect_container(&id, None).await {
                let described = serde_json::to_string(&found)?;
                self.files
                    .expect_not_in("a container", described.as_bytes())?;
            }
        }
        Ok(())
    }
}

async fn expect_found(bed: &Bed, values: &[&str]) -> Result<()> {
    let (status, hashes) = bed.instance.get_app("shop", "/hashes").await?;
    let expected: Vec<String> = (values.iter())
        .map(|value| hex(&Sha256::digest(value.as_bytes())))
        .collect();
    let found: Vec<&str> = hashes.lines().collect();
    ensure!(
        status == 200 && found == expected,
        "the app found others: {hashes}"
    );
    Ok(())
}

/// Reads the server-sent events of the app until it has printed everything.
async fn events(bed: &Bed) -> Result<String> {
    let request = bed.api.request(Method::GET, "/logs/stream?app_name=shop");
    let mut answer = request.timeout(Duration::from_mins(2)).send().await?;
    let mut told = String::new();
    while let Some(piece) = answer.chunk().await? {
        told.push_str(&String::from_utf8_lossy(&piece));
        if told.contains("\"over\"") {
            return Ok(told);
        }
    }
    bail!("the events ended: {told}")
}

async fn last_line(stream: &Stream) -> Result<String> {
    let is_last = |frame: &Value| frame.to_string().contains("\"over\"");
    stream.wait_for("the last line", SOON, is_last).await?;
    Ok(Value::from(stream.frames()).to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn canaries_of_every_kind_are_nowhere_to_be_read() -> Result<()> {
    let password = plain("admin");
    let options = Options {
        admin_password: Some(password.clone()),
        ..yard::options(&[])
    };
    let yard = Yard::of(Bed::start("canary", options).await?).await?;
    let bed = &yard.bed;
    yard.app("shop").await?;
    let stream = bed.instance.stream("app_name=shop").await?;
    stream.wait_for("a greeting", SOON, |_| true).await?;
    let (planted, events) = tokio::join!(plant(&yard, &password), events(bed));
    let planted = planted?;
    let values = &planted.values;
    planted
        .canaries
        .expect_not_in("the events", events?.as_bytes())?;
    let streamed = last_line(&stream).await?;
    planted
        .canaries
        .expect_not_in("the stream", streamed.as_bytes())?;
    drop(stream);
    let told = wait::until("all lines are told", SOON, || async {
        let answer = bed.api.logs("app_name=shop&limit=1000").await?.to_string();
        Ok(answer.contains("\"over\"").then_some(answer))
    })
    .await?;
    // They were printed, and taken out.
    for part in [
        "env [redacted:API_THING]",
        "file [redacted:FILE_THING]",
        "shared [redacted:SHARED_THING]",
        "shared file [redacted:SHARED_FILE]",
        "job with [redacted:FILE_THING]",
        "built with [redacted:npm]",
    ] {
        ensure!(told.contains(part), "there is no '{part}' in {told}");
    }
    let all = [
        &*values["env"],
        &*values["shared"],
        &*values["file"],
        &*values["shared-file"],
    ];
    expect_found(bed, &all).await?;
    let (_, mode) = bed.instance.get_app("shop", "/mode").await?;
    ensure!(mode.trim() == "400 0", "{mode}");
    let (_, place) = bed.instance.get_app("shop", "/where").await?;
    ensure!(
        place.trim() == "/run/secrets/FILE_THING /run/secrets/shared.key",
        "{place}"
    );
    let looked_at = planted.search(bed).await?;
    planted.search_engine(bed).await?;
    println!(
        "{looked_at} answers and files hold none of {} secrets",
        values.len()
    );

    // A release that is gone back to finds what it had.
    let other = made("other");
    let change = json!({"env_vars": {"FILE_THING": other}});
    bed.change("shop", change).await?;
    let again = bed.act("shop", "restart", &json!({})).await?;
    ensure!(again["status"] == "success", "{again:#}");
    let changed = [all[0], all[1], &*other, all[3]];
    expect_found(bed, &changed).await?;
    let id = bed.api.rollback("shop").await?;
    let back = bed.api.wait_final(&id).await?;
    ensure!(back["status"] == "success", "{back:#}");
    expect_found(bed, &all).await?;

    // And what is to be found is found: at a door, and in a file.
    let open = json!({"reason": format!("because of {}", values["file"])});
    let begun = bed.api.post("/apps/shop/restart", &open).await?.ok()?;
    bed.api.wait_final(&text(&begun, "deployment_id")?).await?;
    let found = planted
        .search(bed)
        .await
        .err()
        .context("nothing was found")?;
    ensure!(found.to_string().contains("holds file as"), "{found}");
    let file = bed.instance.data_dir().join("planted");
    fs::write(
        &file,
        values["second factor"].to_lowercase() + &values["session"],
    )?;
    let found = planted.canaries.expect_in_no_file(&file.with_file_name(""));
    let found = found.err().context("nothing was found in a file")?;
    ensure!(found.to_string().contains("holds"), "{found}");
    yard.finish().await
}
