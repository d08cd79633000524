-- The control plane's memory. Times are unix milliseconds (columns ending in _at), JSON columns
-- hold the domain's own serde form, words (status, strategy, tier …) are the wire's.

CREATE TABLE apps (
    name       TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE environments (
    app              TEXT NOT NULL REFERENCES apps (name) ON DELETE CASCADE,
    name             TEXT NOT NULL,
    settings         TEXT NOT NULL,
    settings_version INTEGER NOT NULL,
    active_release   INTEGER,
    -- Counts up only, so that a number is never given twice even if releases are removed.
    last_release     INTEGER NOT NULL DEFAULT 0,
    created_at       INTEGER NOT NULL,
    PRIMARY KEY (app, name)
) STRICT, WITHOUT ROWID;

-- The domains of all settings: the key is what keeps two apps from claiming one host.
CREATE TABLE hosts (
    host        TEXT PRIMARY KEY,
    app         TEXT NOT NULL,
    environment TEXT NOT NULL,
    FOREIGN KEY (app, environment) REFERENCES environments (app, name) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX hosts_by_environment ON hosts (app, environment);

CREATE TABLE deployments (
    -- Order of arrival; "newest" means this, since two may share a millisecond.
    sequence         INTEGER PRIMARY KEY AUTOINCREMENT,
    id               TEXT NOT NULL UNIQUE,
    app              TEXT NOT NULL,
    environment      TEXT NOT NULL,
    status           TEXT NOT NULL,
    is_final         INTEGER NOT NULL CHECK (is_final IN (0, 1)),
    cancel_requested INTEGER NOT NULL CHECK (cancel_requested IN (0, 1)),
    initiated_at     INTEGER NOT NULL,
    completed_at     INTEGER,
    version          TEXT,
    reason           TEXT,
    strategy         TEXT NOT NULL,
    replicas         INTEGER NOT NULL,
    replicas_ready   INTEGER NOT NULL,
    health_status    TEXT NOT NULL,
    validation_level TEXT NOT NULL,
    auto_rollback    INTEGER NOT NULL CHECK (auto_rollback IN (0, 1)),
    initiated_by     TEXT NOT NULL,
    release          INTEGER,
    from_release     INTEGER,
    source           TEXT NOT NULL,
    initiated_as     TEXT NOT NULL,
    state            TEXT NOT NULL,
    phases           TEXT NOT NULL,
    image            TEXT,
    settings         TEXT NOT NULL,
    FOREIGN KEY (app, environment) REFERENCES environments (app, name) ON DELETE CASCADE
) STRICT;

CREATE INDEX deployments_by_environment ON deployments (app, environment, sequence);
CREATE INDEX deployments_by_app ON deployments (app, sequence);
CREATE INDEX deployments_by_end ON deployments (is_final, sequence);

CREATE TABLE releases (
    app         TEXT NOT NULL,
    environment TEXT NOT NULL,
    number      INTEGER NOT NULL,
    deployment  TEXT NOT NULL UNIQUE REFERENCES deployments (id) ON DELETE CASCADE,
    image       TEXT NOT NULL,
    settings    TEXT NOT NULL,
    version     TEXT,
    was_healthy INTEGER NOT NULL CHECK (was_healthy IN (0, 1)),
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (app, environment, number),
    FOREIGN KEY (app, environment) REFERENCES environments (app, name) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency_keys (
    actor        TEXT NOT NULL,
    key          TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    deployment   TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (actor, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_by_deployment ON idempotency_keys (deployment);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

CREATE TABLE accounts (
    id                  TEXT PRIMARY KEY,
    name                TEXT NOT NULL UNIQUE,
    password_hash       TEXT NOT NULL,
    tier                TEXT NOT NULL,
    created_at          INTEGER NOT NULL,
    password_changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    sequence     INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    name         TEXT NOT NULL,
    persona      TEXT,
    tier         TEXT NOT NULL,
    secret_hash  TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    created_by   TEXT NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    last_used_at INTEGER
) STRICT;

-- `entry` is kept as the text that was hashed, so that the chain stays checkable when the type grows.
CREATE TABLE audit_entries (
    sequence INTEGER PRIMARY KEY,
    entry    TEXT NOT NULL,
    hash     TEXT NOT NULL
) STRICT;

-- The end of the chain: without it, rows cut off the end would not show.
CREATE TABLE audit_head (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    sequence INTEGER NOT NULL,
    hash     TEXT NOT NULL
) STRICT;

INSERT INTO audit_head (one, sequence, hash) VALUES (1, 0, '');

CREATE TRIGGER audit_entries_never_change BEFORE UPDATE ON audit_entries
BEGIN
    SELECT RAISE(ABORT, 'audit entries are never changed');
END;

CREATE TRIGGER audit_entries_never_go BEFORE DELETE ON audit_entries
BEGIN
    SELECT RAISE(ABORT, 'audit entries are never removed');
END;

CREATE TABLE remembered (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The id is SHA-256 of what the cookie holds: who reads this table cannot take over a session.
CREATE TABLE sessions (
    id_hash    TEXT PRIMARY KEY,
    data       TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_end ON sessions (expires_at);
