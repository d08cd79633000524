-- Values that are secrets are sealed with a key that lies outside the database. In settings and
-- sources the names of variables stay, with empty values; what they hold is sealed beside them.

ALTER TABLE environments ADD COLUMN sealed TEXT;
ALTER TABLE releases ADD COLUMN sealed TEXT;
ALTER TABLE deployments ADD COLUMN sealed TEXT;
ALTER TABLE deployments ADD COLUMN source_sealed TEXT;

-- Which key everything is sealed with. No row: nothing is sealed yet.
CREATE TABLE sealing (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    key_id   TEXT NOT NULL,
    -- A known text, sealed: another key does not open it.
    proof    TEXT NOT NULL,
    -- 0: free pages and the write-ahead log may still hold what was there before.
    is_clean INTEGER NOT NULL CHECK (is_clean IN (0, 1))
) STRICT;
