-- Whom a sign-in provider vouches for: bound to issuer and subject, never to an e-mail address.

CREATE TABLE identities (
    issuer   TEXT NOT NULL,
    subject  TEXT NOT NULL,
    account  TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    -- As the provider called the person then; for people to read, never to find somebody by.
    shown    TEXT,
    bound_at INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject),
    UNIQUE (account, issuer)
) STRICT, WITHOUT ROWID;
