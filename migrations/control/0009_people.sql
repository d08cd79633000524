-- People: invitations, second factors, and sessions that can be listed and ended one by one.

ALTER TABLE accounts ADD COLUMN display_name TEXT;
-- Since when the account is turned off; NULL: it is not.
ALTER TABLE accounts ADD COLUMN disabled_at INTEGER;

-- Whose token it is; NULL: nobody's in particular. It stops with its owner.
ALTER TABLE tokens ADD COLUMN owner TEXT;
CREATE INDEX tokens_by_owner ON tokens (owner) WHERE owner IS NOT NULL;

CREATE TABLE invitations (
    sequence         INTEGER PRIMARY KEY AUTOINCREMENT,
    id               TEXT NOT NULL UNIQUE,
    -- SHA-256 of the link's secret.
    secret_hash      TEXT NOT NULL UNIQUE,
    name             TEXT,
    display_name     TEXT,
    is_administrator INTEGER NOT NULL CHECK (is_administrator IN (0, 1)),
    -- What the person gets beside the account, as JSON; room for rights per app.
    grants           TEXT NOT NULL DEFAULT '[]',
    created_at       INTEGER NOT NULL,
    created_by       TEXT NOT NULL,
    -- The account that invited; NULL: a token, or the platform itself.
    inviter          TEXT,
    expires_at       INTEGER NOT NULL,
    revoked_at       INTEGER,
    accepted_at      INTEGER,
    -- The name of the account that came of it.
    accepted_as      TEXT
) STRICT;

CREATE TABLE second_factors (
    account      TEXT PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
    -- Sealed.
    secret       TEXT NOT NULL,
    -- NULL: shown, but no code of it was seen yet; it counts from then on.
    confirmed_at INTEGER,
    -- The last time step whose code was taken: no code is taken twice.
    last_step    INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE recovery_codes (
    account TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    -- SHA-256 of the code.
    hash    TEXT NOT NULL,
    PRIMARY KEY (account, hash)
) STRICT, WITHOUT ROWID;

-- Read out of the session's own data, so that there is one truth.
ALTER TABLE sessions ADD COLUMN account TEXT
    GENERATED ALWAYS AS (json_extract(data, '$.signed_in.signed_in.account_id')) VIRTUAL;
ALTER TABLE sessions ADD COLUMN handle TEXT
    GENERATED ALWAYS AS (json_extract(data, '$.signed_in.signed_in.session')) VIRTUAL;
CREATE INDEX sessions_by_account ON sessions (account) WHERE account IS NOT NULL;
