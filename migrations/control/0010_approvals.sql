-- Approvals: who needs somebody else's word in an environment, and the questions that were asked.

-- By name, and not tied to the environment's row: one that is deleted and made again under the
-- same name keeps its rules, so that nobody gets rid of them that way.
CREATE TABLE approval_policies (
    app         TEXT NOT NULL,
    environment TEXT NOT NULL,
    person      TEXT NOT NULL,
    agent       TEXT NOT NULL,
    PRIMARY KEY (app, environment)
) STRICT, WITHOUT ROWID;

CREATE TABLE approvals (
    sequence    INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    -- A deployment asks once.
    deployment  TEXT NOT NULL UNIQUE REFERENCES deployments (id) ON DELETE CASCADE,
    app         TEXT NOT NULL,
    environment TEXT NOT NULL,
    -- Who asks, as JSON, with everybody who stands behind them.
    asked_by    TEXT NOT NULL,
    family      TEXT NOT NULL,
    -- The person at the root of them may answer: people need no approval here.
    maker_may_answer INTEGER NOT NULL CHECK (maker_may_answer IN (0, 1)),
    intent      TEXT,
    plan        TEXT NOT NULL,
    digest      TEXT NOT NULL,
    asked_at    INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    state       TEXT NOT NULL,
    -- Who answered, as JSON, when and why; NULL while it waits.
    decision    TEXT
) STRICT;

CREATE INDEX approvals_by_state ON approvals (state, sequence);
