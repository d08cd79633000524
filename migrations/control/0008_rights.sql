-- Who may do what. An account of the tier admin and a token that is not narrowed may act in the whole
-- instance; everybody else has what is granted here. Who loses an app loses its grants: another app
-- that comes under the name begins with none.

CREATE TABLE projects (
    name       TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

ALTER TABLE apps ADD COLUMN project TEXT REFERENCES projects (name) ON DELETE SET NULL;

CREATE INDEX apps_by_project ON apps (project);

CREATE TABLE grants (
    id           TEXT PRIMARY KEY,
    subject_kind TEXT NOT NULL CHECK (subject_kind IN ('account', 'token')),
    subject      TEXT NOT NULL,
    app          TEXT REFERENCES apps (name) ON DELETE CASCADE,
    project      TEXT REFERENCES projects (name) ON DELETE CASCADE,
    role         TEXT NOT NULL,
    -- A JSON list of names; NULL: all.
    environments TEXT,
    created_at   INTEGER NOT NULL,
    created_by   TEXT NOT NULL,
    CHECK ((app IS NULL) <> (project IS NULL)),
    UNIQUE (subject_kind, subject, app),
    UNIQUE (subject_kind, subject, project)
) STRICT, WITHOUT ROWID;

CREATE INDEX grants_by_app ON grants (app);
CREATE INDEX grants_by_project ON grants (project);

-- Who made a token: it never reaches farther than its maker does now. NULL: the platform itself.
ALTER TABLE tokens ADD COLUMN maker_kind TEXT;
ALTER TABLE tokens ADD COLUMN maker TEXT;
ALTER TABLE tokens ADD COLUMN is_narrowed INTEGER NOT NULL DEFAULT 0 CHECK (is_narrowed IN (0, 1));
-- Limits as JSON; NULL: none.
ALTER TABLE tokens ADD COLUMN limits TEXT;

-- For the budgets of tokens.
ALTER TABLE deployments ADD COLUMN begun_by TEXT
    GENERATED ALWAYS AS (json_extract(initiated_as, '$.id')) VIRTUAL;

CREATE INDEX deployments_by_beginner ON deployments (begun_by, initiated_at);
