-- For the search of the audit trail. What is computed from an entry changes neither it nor its hash.
-- An entry that somebody made unreadable must show when the trail is checked, not keep us from starting.
ALTER TABLE audit_entries ADD COLUMN resource TEXT
    GENERATED ALWAYS AS (json_extract(iif(json_valid(entry), entry, '{}'), '$.resource')) VIRTUAL;
ALTER TABLE audit_entries ADD COLUMN actor_id TEXT
    GENERATED ALWAYS AS (json_extract(iif(json_valid(entry), entry, '{}'), '$.actor.id')) VIRTUAL;
ALTER TABLE audit_entries ADD COLUMN actor_name TEXT
    GENERATED ALWAYS AS (json_extract(iif(json_valid(entry), entry, '{}'), '$.actor.name')) VIRTUAL;
ALTER TABLE audit_entries ADD COLUMN action TEXT
    GENERATED ALWAYS AS (json_extract(iif(json_valid(entry), entry, '{}'), '$.action')) VIRTUAL;
ALTER TABLE audit_entries ADD COLUMN door TEXT
    GENERATED ALWAYS AS (json_extract(iif(json_valid(entry), entry, '{}'), '$.actor.door')) VIRTUAL;
ALTER TABLE audit_entries ADD COLUMN outcome TEXT
    GENERATED ALWAYS AS (coalesce(json_extract(iif(json_valid(entry), entry, '{}'), '$.outcome'), 'done')) VIRTUAL;
ALTER TABLE audit_entries ADD COLUMN at TEXT
    GENERATED ALWAYS AS (json_extract(iif(json_valid(entry), entry, '{}'), '$.at')) VIRTUAL;

CREATE INDEX audit_entries_by_resource ON audit_entries (resource);
CREATE INDEX audit_entries_by_actor_id ON audit_entries (actor_id);
CREATE INDEX audit_entries_by_actor_name ON audit_entries (actor_name);
CREATE INDEX audit_entries_by_action ON audit_entries (action);
CREATE INDEX audit_entries_by_time ON audit_entries (at);
