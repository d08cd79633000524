//! Log entries on their way to others, while receivers and the control plane fail.

use std::sync::{Arc, Mutex};

use flukedeploy_domain::access::{Action, Actor, Tier};
use flukedeploy_domain::app::{App, Environment, RunMode};
use flukedeploy_domain::audit::AuditEntry;
use flukedeploy_domain::forwarder::{
    ForwardFilter, ForwardKind, ForwardState, ForwarderId, ForwarderView, Target,
};
use flukedeploy_domain::log_entry::{
    EventType, Level, LogEntry, LogMetadata, LogSource, SourceType,
};
use flukedeploy_platform::forwarders::{self, ChangeForwarder, CreateForwarder, NewForwarder};
use flukedeploy_platform::ports::{LogBatch, LogStore, Store as _};
use flukedeploy_platform::secret::Secret;
use flukedeploy_platform::{Error, Kind};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use time::{Duration, OffsetDateTime};

use crate::bench::{Life, World, name, production, settings, until};
use crate::sinks::Mood;

/// A world whose log store can be written to directly.
struct Printing {
    world: World,
    log_store: Arc<Mutex<Option<Arc<dyn LogStore>>>>,
}

impl Printing {
    fn new() -> Self {
        let world = World::new();
        let log_store: Arc<Mutex<Option<Arc<dyn LogStore>>>> = Arc::default();
        let kept = Arc::clone(&log_store);
        let fit = move |ports: &mut flukedeploy_platform::Ports| {
            *kept.lock().unwrap() = Some(Arc::clone(&ports.log_store));
        };
        assert!(world.fit.set(Box::new(fit)).is_ok());
        Self { world, log_store }
    }

    /// The process is gone, and what it held of the log store too.
    fn let_go(&self) {
        self.log_store.lock().unwrap().take();
    }

    fn print_at(
        &self,
        life: &Life<'_>,
        app: &str,
        at: OffsetDateTime,
        level: Level,
        lines: impl IntoIterator<Item = String>,
    ) {
        let store = self.log_store.lock().unwrap().clone().unwrap();
        let entries = lines.into_iter().enumerate().map(|(number, line)| {
            let source = LogSource {
                kind: SourceType::Container,
                container_name: format!("{app}.1"),
                service_id: None,
                node_id: None,
                task_id: Some("task".to_owned()),
                stream: Some("stdout".to_owned()),
            };
            let mut metadata = LogMetadata::new(EventType::PostDeploy, app);
            metadata.environment = Some("production".to_owned());
            LogEntry::new(at, number as u64, level, line, source, metadata)
        });
        let batch = LogBatch::of(entries.collect());
        life.run(store.append(Arc::new(batch))).unwrap();
    }

    /// `<app> line <number>` for each number.
    fn print(&self, life: &Life<'_>, app: &str, numbers: std::ops::Range<u32>) {
        self.print_at(life, app, life.px.now(), Level::Info, lines(app, numbers));
    }

    /// Waits until a receiver has taken exactly these of an app's lines, in this order.
    #[track_caller]
    fn arrived(&self, address: &str, app: &str, numbers: std::ops::Range<u32>) {
        let wanted = lines(app, numbers);
        let of_app = || -> Vec<String> {
            let mut taken = self.world.sinks.taken(address);
            taken.retain(|line| line.starts_with(&format!("{app} line ")));
            taken
        };
        until("all lines at the receiver", || {
            self.world.clock.forward(Duration::minutes(3));
            of_app().len() >= wanted.len()
        });
        assert_eq!(of_app(), wanted);
    }
}

fn lines(app: &str, numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers
        .map(|number| format!("{app} line {number}"))
        .collect()
}

/// An app of whose making the log says nothing: an entry of today would keep older ones in its block.
fn silent_app(life: &Life<'_>, app: &str) {
    let now = life.px.now();
    let environment = Environment {
        app: name(app),
        name: production(),
        settings: settings(1),
        settings_version: 1,
        active_release: None,
        mode: RunMode::Running,
        standby: None,
        probation: None,
        expires_at: None,
        created_at: now,
    };
    let audit = AuditEntry::new(
        now,
        &Actor::system(),
        Action::CreateApp,
        format!("app:{app}"),
        "created".to_owned(),
    );
    let app = App {
        name: name(app),
        created_at: now,
    };
    life.run(life.store.create_app(&app, &environment, &audit))
        .unwrap();
}

fn wish(kind: ForwardKind, url: &str) -> CreateForwarder {
    CreateForwarder {
        target: Target::new(kind, url).unwrap(),
        secret: None,
        headers: std::collections::BTreeMap::new(),
        filter: ForwardFilter::default(),
        from_beginning: false,
    }
}

fn make(life: &Life<'_>, cmd: CreateForwarder) -> NewForwarder {
    life.run(forwarders::create_forwarder(
        &life.px,
        &Actor::system(),
        cmd,
    ))
    .unwrap()
}

fn view(life: &Life<'_>, id: &ForwarderId) -> ForwarderView {
    life.run(forwarders::get_forwarder(&life.px, &Actor::system(), id))
        .unwrap()
}

fn turn(life: &Life<'_>, id: &ForwarderId, active: bool) {
    let cmd = ChangeForwarder {
        active: Some(active),
        ..ChangeForwarder::default()
    };
    life.run(forwarders::change_forwarder(
        &life.px,
        &Actor::system(),
        id,
        cmd,
    ))
    .unwrap();
}

#[test]
fn lines_arrive_in_order_in_every_form_and_only_those_wanted() {
    let printing = Printing::new();
    let life = printing.world.boot();
    life.create_app("shop", settings(1));
    printing.print(&life, "shop", 0..10);
    let mut signed = wish(ForwardKind::Webhook, "https://hook.example/in");
    signed.secret = Some(Secret::new("a-secret-of-the-tests"));
    let key = make(&life, signed).secret.unwrap();
    let mut otlp = wish(ForwardKind::Otlp, "https://otel.example");
    let bearer = Secret::new("Bearer a-token-of-the-tests");
    otlp.headers.insert("Authorization".to_owned(), bearer);
    otlp.filter.min_level = Some(Level::Warn);
    let otlp = make(&life, otlp).view;
    let mut syslog = wish(ForwardKind::Syslog, "tls://syslog.example");
    syslog.filter.app_name = Some("shop".parse().unwrap());
    syslog.from_beginning = true;
    make(&life, syslog);

    printing.print(&life, "other", 0..5);
    printing.print(&life, "shop", 10..2_600);
    let now = life.px.now();
    printing.print_at(&life, "other", now, Level::Error, lines("other", 5..9));
    printing.arrived("hook", "shop", 10..2_600);
    printing.arrived("hook", "other", 0..9);
    printing.arrived("otel", "other", 5..9);
    printing.arrived("syslog", "shop", 0..2_600);
    printing.arrived("syslog", "other", 0..0);
    let sinks = &printing.world.sinks;
    for batch in sinks.batches("hook") {
        assert!(batch.messages.len() <= 1_000);
        let mut mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()).unwrap();
        mac.update(&batch.body);
        let signature = batch.header("X-FlukeDeploy-Signature").unwrap();
        let hex = signature.strip_prefix("sha256=").unwrap();
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        mac.verify_slice(&bytes).unwrap();
    }
    let otel = sinks.batches("otel");
    assert!(otel.iter().all(|batch| batch.address.ends_with("/v1/logs")));
    let shown = otel[0].header("Authorization");
    assert_eq!(shown, Some("Bearer a-token-of-the-tests"));
    assert!(
        otel[0]
            .messages
            .iter()
            .all(|line| !line.contains("shop line"))
    );
    // Only names of headers are ever shown again.
    let json = serde_json::to_string(&view(&life, &otlp.id)).unwrap();
    assert!(json.contains(r#""headers":["Authorization"]"#) && !json.contains("a-token"));
    life.shut_down();
}

#[test]
fn who_was_away_gets_everything_in_order_and_others_never_waited() {
    let printing = Printing::new();
    let sinks = &printing.world.sinks;
    let life = printing.world.boot();
    let away = make(&life, wish(ForwardKind::Webhook, "https://away.example/")).view;
    make(&life, wish(ForwardKind::Syslog, "tcp://good.example"));
    let moods = [
        Mood::Down,
        Mood::Answers(500),
        Mood::Answers(302),
        Mood::Answers(401),
    ];
    for (round, mood) in (0..).zip(moods) {
        sinks.is("away", mood);
        printing.print(&life, "shop", round * 900..round * 900 + 900);
        printing.arrived("good", "shop", 0..round * 900 + 900);
        let before = sinks.batches("away").len();
        until("another attempt", || {
            printing.world.clock.forward(Duration::minutes(3));
            sinks.batches("away").len() > before
        });
    }
    assert!(sinks.taken("away").is_empty());
    until("its last answer in its state", || {
        let error = view(&life, &away.id).last_error;
        error.is_some_and(|error| error.contains("401"))
    });
    let state = view(&life, &away.id);
    assert_eq!(state.state, ForwardState::Failing);
    assert!(state.entries_behind >= 3_600, "{}", state.entries_behind);
    assert!(state.next_try_at.is_some() && state.last_success_at.is_none());
    assert!(life.told("_system", "it takes no log entries"));
    sinks.is("away", Mood::Well);
    printing.arrived("away", "shop", 0..3_600);
    until("its state", || view(&life, &away.id).entries_behind == 0);
    let state = view(&life, &away.id);
    assert_eq!(state.state, ForwardState::Forwarding);
    assert!(state.entries_sent >= 3_600 && state.last_error.is_none());
    assert!(life.told("_system", "it takes log entries again"));
    life.shut_down();
}

#[test]
fn nothing_is_lost_when_the_control_plane_dies_again_and_again() {
    let printing = Printing::new();
    let sinks = &printing.world.sinks;
    let life = printing.world.boot();
    make(
        &life,
        wish(ForwardKind::Otlp, "https://otel.example/v1/logs"),
    );
    let mut life = life;
    let mut printed = 0;
    for mood in [
        Mood::Silent,
        Mood::Down,
        Mood::Well,
        Mood::Silent,
        Mood::Slow(100),
    ] {
        sinks.is("otel", mood);
        let before = sinks.batches("otel").len();
        printing.print(&life, "shop", printed..printed + 1_300);
        printed += 1_300;
        until("a batch under way", || {
            printing.world.clock.forward(Duration::minutes(3));
            sinks.batches("otel").len() > before
        });
        printing.let_go();
        life.crash();
        life = printing.world.boot();
    }
    sinks.is("otel", Mood::Well);
    printing.arrived("otel", "shop", 0..printed);
    printing.let_go();
    life.shut_down();
}

#[test]
fn slow_small_busy_and_picky_receivers_get_what_they_can_take() {
    let printing = Printing::new();
    let sinks = &printing.world.sinks;
    sinks.is("slow", Mood::Slow(70));
    sinks.is("small", Mood::Small(70));
    sinks.is("picky", Mood::Small(0));
    sinks.is("busy", Mood::Busy(600));
    sinks.is("part", Mood::Refuses(3));
    let life = printing.world.boot();
    let names = ["slow", "small", "picky", "busy", "part"];
    let made = names.map(|name| {
        let mut cmd = wish(ForwardKind::Otlp, &format!("https://{name}.example"));
        cmd.filter.app_name = None;
        make(&life, cmd).view.id
    });
    printing.print(&life, "shop", 0..20);
    until("an answer of the busy one", || {
        view(&life, &made[3]).failures == 1
    });
    let wait = view(&life, &made[3]).next_try_at.unwrap() - life.px.now();
    assert!(wait > Duration::minutes(9), "{wait}");
    until("all passed by at the picky one", || {
        view(&life, &made[2]).entries_refused >= 20
    });
    assert!(life.told("_system", "is passed by"));
    until("what was refused", || {
        view(&life, &made[4]).entries_refused >= 3
    });
    assert!(life.told("_system", "it refused 3 of"));
    printing.print(&life, "shop", 20..1_500);
    printing.arrived("slow", "shop", 0..1_500);
    printing.arrived("small", "shop", 0..1_500);
    for name in ["slow", "small"] {
        let batches = sinks.batches(name);
        let tries = batches.len();
        assert!(tries < 120, "{name} was asked {tries} times");
    }
    life.shut_down();
}

#[test]
fn what_retention_takes_first_is_counted_and_told() {
    let printing = Printing::new();
    let sinks = &printing.world.sinks;
    sinks.is("away", Mood::Down);
    let life = printing.world.boot();
    silent_app(&life, "shop");
    let away = make(&life, wish(ForwardKind::Webhook, "https://away.example/")).view;
    let old = life.px.now() - Duration::days(3);
    printing.print_at(&life, "shop", old, Level::Info, lines("shop", 0..300));
    until("an attempt", || view(&life, &away.id).failures > 0);
    assert_eq!(view(&life, &away.id).entries_missed, 0);
    life.change_settings("shop", |settings| settings.logs.retain_days = Some(2));
    until("what was missed", || {
        printing.world.clock.forward(Duration::minutes(3));
        view(&life, &away.id).entries_missed == 300
    });
    assert!(life.told("_system", "up to 300 log entries were removed"));
    printing.print(&life, "shop", 300..310);
    sinks.is("away", Mood::Well);
    printing.arrived("away", "shop", 300..310);
    assert_eq!(view(&life, &away.id).entries_missed, 300);
    life.shut_down();
}

#[test]
fn a_paused_forwarder_goes_on_where_it_was_also_after_a_restart() {
    let printing = Printing::new();
    let life = printing.world.boot();
    let made = make(&life, wish(ForwardKind::Syslog, "udp://one.example")).view;
    printing.print(&life, "shop", 0..50);
    printing.arrived("one", "shop", 0..50);
    turn(&life, &made.id, false);
    assert_eq!(view(&life, &made.id).state, ForwardState::Paused);
    printing.let_go();
    life.shut_down();
    let life = printing.world.boot();
    printing.print(&life, "shop", 50..80);
    std::thread::sleep(std::time::Duration::from_millis(600));
    printing.arrived("one", "shop", 0..50);
    assert!(view(&life, &made.id).entries_behind >= 30);
    turn(&life, &made.id, true);
    printing.arrived("one", "shop", 0..80);
    let system = Actor::system();
    life.run(forwarders::delete_forwarder(&life.px, &system, &made.id))
        .unwrap();
    printing.print(&life, "shop", 80..90);
    std::thread::sleep(std::time::Duration::from_millis(600));
    printing.arrived("one", "shop", 0..80);
    printing.let_go();
    life.shut_down();
}

#[test]
fn a_test_is_answered_at_once_and_only_administrators_have_a_say() {
    let printing = Printing::new();
    let sinks = &printing.world.sinks;
    let life = printing.world.boot();
    let made = make(&life, wish(ForwardKind::Webhook, "https://one.example/")).view;
    let system = Actor::system();
    let test = || {
        life.run(forwarders::test_forwarder(&life.px, &system, &made.id))
            .unwrap()
    };
    assert!(test().arrived);
    sinks.is("one", Mood::Answers(403));
    assert_eq!(test().why.as_deref(), Some("it answered 403"));
    let sent = format!("This is a test of the log forwarder {}.", made.id);
    let taken = sinks.taken("one");
    assert_eq!(taken.iter().filter(|line| **line == sent).count(), 1);

    let other = Actor {
        tier: Tier::Advanced,
        ..Actor::system()
    };
    let refused = |result: Result<(), Error>| result.unwrap_err().kind() == Kind::Forbidden;
    let id = &made.id;
    assert!(refused(life.run(async {
        forwarders::list_forwarders(&life.px, &other)
            .await
            .map(drop)
    })));
    assert!(refused(life.run(async {
        let cmd = wish(ForwardKind::Syslog, "tcp://x.example");
        let made = forwarders::create_forwarder(&life.px, &other, cmd).await;
        made.map(drop)
    })));
    assert!(refused(life.run(async {
        let cmd = ChangeForwarder::default();
        let changed = forwarders::change_forwarder(&life.px, &other, id, cmd).await;
        changed.map(drop)
    })));
    assert!(refused(life.run(async {
        forwarders::test_forwarder(&life.px, &other, id)
            .await
            .map(drop)
    })));
    assert!(refused(life.run(async {
        forwarders::delete_forwarder(&life.px, &other, id).await
    })));
    life.shut_down();
}

#[test]
fn an_app_keeps_its_log_for_as_long_as_its_settings_say() {
    let printing = Printing::new();
    let life = printing.world.boot();
    for app in ["short", "usual"] {
        silent_app(&life, app);
        for days in [40, 5] {
            let at = life.px.now() - Duration::days(days);
            let said = format!("{app} {days} days ago");
            printing.print_at(&life, app, at, Level::Info, [said]);
            // A segment holds lines of a day only, a block does not: what fills is dropped whole.
            if days == 40 {
                until("the usual end", || {
                    printing.world.clock.forward(Duration::seconds(1));
                    life.change_settings(app, |settings| settings.logs.retain_mb = Some(100));
                    life.change_settings(app, |settings| settings.logs.retain_mb = Some(99));
                    !life.told(app, "40 days ago")
                });
            }
        }
    }
    assert!(life.told("short", "5 days ago") && life.told("usual", "5 days ago"));
    printing.let_go();
    life.shut_down();
    let life = printing.world.boot();
    assert!(life.told("short", "5 days ago"));
    life.change_settings("short", |settings| settings.logs.retain_days = Some(4));
    until("the new end", || !life.told("short", "5 days ago"));
    assert!(life.told("usual", "5 days ago"));
    let at = life.px.now() - Duration::days(6);
    let again = ["short once more".to_owned()];
    printing.print_at(&life, "short", at, Level::Info, again);
    printing.let_go();
    life.shut_down();
    // The setting holds from the start of the next life on.
    let life = printing.world.boot();
    until("the end after a restart", || {
        !life.told("short", "once more")
    });
    assert!(life.told("usual", "5 days ago"));
    printing.let_go();
    life.shut_down();
}
