-- What a project shares with its apps. As in settings, the names of variables stay in the JSON, with
-- empty values; what they hold is sealed beside them.

ALTER TABLE projects ADD COLUMN variables TEXT NOT NULL DEFAULT '{}';
ALTER TABLE projects ADD COLUMN sealed TEXT;
ALTER TABLE projects ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
