-- Who gets log entries, and how far each has got.

CREATE TABLE log_forwarders (
    id              TEXT PRIMARY KEY,
    kind            TEXT NOT NULL,
    url             TEXT NOT NULL,
    -- Headers and signing key, as JSON. Sealed, as the address is: its path may be a secret.
    secrets         TEXT NOT NULL,
    filter          TEXT NOT NULL,
    active          INTEGER NOT NULL CHECK (active IN (0, 1)),
    created_at      INTEGER NOT NULL,
    -- The number of a line in the log store: everything up to it is through.
    cursor          INTEGER NOT NULL,
    sent            INTEGER NOT NULL DEFAULT 0,
    missed          INTEGER NOT NULL DEFAULT 0,
    refused         INTEGER NOT NULL DEFAULT 0,
    last_success_at INTEGER,
    last_error      TEXT,
    failures        INTEGER NOT NULL DEFAULT 0,
    next_try_at     INTEGER
) STRICT, WITHOUT ROWID;
