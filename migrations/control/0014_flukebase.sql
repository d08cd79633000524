-- FlukeBase: where it is, which app belongs to which project, and what waits for it.

CREATE TABLE flukebase (
    only            INTEGER PRIMARY KEY CHECK (only = 1),
    -- What was set by hand; NULL: as configured.
    active          INTEGER CHECK (active IN (0, 1)),
    url             TEXT,
    -- Sealed.
    token           TEXT,
    default_project INTEGER,
    -- What follows from that and from the configuration, as of the last start or change: the outbox
    -- is written in transactions that know nothing else.
    is_on           INTEGER NOT NULL CHECK (is_on IN (0, 1)),
    other_apps      INTEGER
) STRICT;

CREATE TABLE flukebase_bindings (
    app       TEXT PRIMARY KEY REFERENCES apps (name) ON DELETE CASCADE,
    project   INTEGER NOT NULL,
    variables INTEGER NOT NULL CHECK (variables IN (0, 1))
) STRICT, WITHOUT ROWID;

-- A row is written in the transaction of the change it tells about.
CREATE TABLE flukebase_outbox (
    -- Counts up only, so that it is the order in which things happened.
    sequence        INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The same thing is never queued twice.
    key             TEXT NOT NULL UNIQUE,
    project         INTEGER NOT NULL,
    message         TEXT NOT NULL,
    status          TEXT NOT NULL,
    attempts        INTEGER NOT NULL DEFAULT 0,
    next_attempt_at INTEGER,
    last_error      TEXT,
    queued_at       INTEGER NOT NULL,
    ended_at        INTEGER
) STRICT;

CREATE INDEX flukebase_outbox_waiting ON flukebase_outbox (project, sequence)
    WHERE status = 'waiting';
CREATE INDEX flukebase_outbox_by_status ON flukebase_outbox (status, sequence);
CREATE INDEX flukebase_outbox_by_age ON flukebase_outbox (queued_at);

-- What each project said last. Sealed: values are secrets.
CREATE TABLE flukebase_variables (
    project     INTEGER NOT NULL,
    environment TEXT NOT NULL,
    variables   TEXT NOT NULL,
    fetched_at  INTEGER NOT NULL,
    PRIMARY KEY (project, environment)
) STRICT, WITHOUT ROWID;
