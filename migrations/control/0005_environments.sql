-- Environments that go by themselves, and what they leave behind: their volumes can be removed only
-- once no container uses them, so they are remembered from the moment on when their environment is
-- forgotten.

ALTER TABLE environments ADD COLUMN expires_at INTEGER;

CREATE TABLE leftover_volumes (
    app         TEXT NOT NULL,
    environment TEXT NOT NULL,
    volume      TEXT NOT NULL,
    PRIMARY KEY (app, environment, volume)
) STRICT, WITHOUT ROWID;
