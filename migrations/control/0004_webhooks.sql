-- Who outside is told about what happens here, and everything that was or will be told them.

CREATE TABLE webhooks (
    id          TEXT PRIMARY KEY,
    url         TEXT NOT NULL,
    secret      TEXT NOT NULL,
    events      TEXT NOT NULL,
    -- No reference: it outlives the app, to tell of its end.
    app         TEXT,
    active      INTEGER NOT NULL CHECK (active IN (0, 1)),
    -- Counts up only: deliveries take their ids and their places from it.
    last_number INTEGER NOT NULL DEFAULT 0,
    created_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The outbox. A row is written in the transaction of the change it tells about.
CREATE TABLE webhook_deliveries (
    id              TEXT PRIMARY KEY,
    webhook         TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    sequence        INTEGER NOT NULL,
    event           TEXT NOT NULL,
    -- The very bytes that are sent and signed.
    body            TEXT NOT NULL,
    status          TEXT NOT NULL,
    attempts        INTEGER NOT NULL,
    next_attempt_at INTEGER,
    last_status     INTEGER,
    last_error      TEXT,
    created_at      INTEGER NOT NULL,
    queued_at       INTEGER NOT NULL,
    delivered_at    INTEGER
) STRICT;

CREATE UNIQUE INDEX webhook_deliveries_in_order ON webhook_deliveries (webhook, sequence);
CREATE INDEX webhook_deliveries_waiting ON webhook_deliveries (webhook, sequence)
    WHERE status = 'pending';
CREATE INDEX webhook_deliveries_by_age ON webhook_deliveries (queued_at);
