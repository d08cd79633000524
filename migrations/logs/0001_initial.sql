-- Log entries, in a file of their own. Times are unix nanoseconds: container logs are resumed from
-- the newest stored line, and within one millisecond there are many.

CREATE TABLE log_entries (
    -- Order of arrival, the tie-break between entries of one time.
    sequence   INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    at_ns      INTEGER NOT NULL,
    level      INTEGER NOT NULL,
    event      TEXT NOT NULL,
    app        TEXT NOT NULL,
    deployment TEXT,
    -- Only for lines of containers.
    service    TEXT,
    -- The message in lower case (Unicode), for searching; the text as it came is in `entry`.
    folded     TEXT NOT NULL,
    -- Last, since it is long: filters never have to read past it.
    entry      TEXT NOT NULL
) STRICT;

CREATE INDEX log_entries_by_time ON log_entries (at_ns);
CREATE INDEX log_entries_by_app ON log_entries (app, at_ns);
CREATE INDEX log_entries_by_deployment ON log_entries (deployment, at_ns)
    WHERE deployment IS NOT NULL;
CREATE INDEX log_entries_by_service ON log_entries (service, at_ns)
    WHERE service IS NOT NULL;
