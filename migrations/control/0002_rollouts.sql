-- What a rollout needs to remember: how far it is, what callers want of it, what it did; and of an
-- environment: whether it is meant to serve, what stands by, and what is still watched.

ALTER TABLE environments ADD COLUMN mode TEXT NOT NULL DEFAULT '{"kind":"running"}';
ALTER TABLE environments ADD COLUMN standby TEXT;
ALTER TABLE environments ADD COLUMN probation TEXT;

ALTER TABLE deployments ADD COLUMN wishes TEXT NOT NULL DEFAULT '{}';
ALTER TABLE deployments ADD COLUMN progress TEXT NOT NULL DEFAULT '{}';
ALTER TABLE deployments ADD COLUMN receipt TEXT;

-- Why a release that was healthy is not gone back to by itself.
ALTER TABLE releases ADD COLUMN withdrawn TEXT;
