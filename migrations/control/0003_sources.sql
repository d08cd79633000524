-- What deployments find out before they start a release, and what is shown to registries and
-- repositories.

ALTER TABLE deployments ADD COLUMN preparation TEXT NOT NULL DEFAULT '{}';

CREATE TABLE credentials (
    kind        TEXT NOT NULL,
    host        TEXT NOT NULL,
    username    TEXT NOT NULL,
    secret      TEXT NOT NULL,
    known_hosts TEXT,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (kind, host)
) STRICT, WITHOUT ROWID;
