-- Times are milliseconds since the Unix epoch. What is revoked or removed keeps its row: it is never made
-- again with a secret that was valid before.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE app (
    name TEXT PRIMARY KEY,
    open INTEGER NOT NULL CHECK (open IN (0, 1)),
    direct TEXT NOT NULL CHECK (direct IN ('any', 'entitled')),
    created_unix_ms INTEGER NOT NULL,
    removed_unix_ms INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE account (
    name TEXT PRIMARY KEY,
    app TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL,
    revoked_unix_ms INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX account_app ON account (app);

-- kind 'account': subject is the account, resource the one it is bound to, or ''.
-- kind 'explore': subject is the app. kind 'service': subject is '<uid>/<app>'.
CREATE TABLE secret (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('account', 'explore', 'service')),
    subject TEXT NOT NULL,
    resource TEXT NOT NULL DEFAULT '',
    app TEXT NOT NULL,
    generation INTEGER NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('derived', 'chosen', 'weak')),
    -- The MAC of the secret under the store key; not kept of a weak one.
    verifier BLOB CHECK ((verifier IS NULL) = (origin = 'weak')),
    -- StoredKey and ServerKey (RFC 5802), one after the other; derived secrets yield theirs on demand.
    scram_sha256 BLOB CHECK ((scram_sha256 IS NULL) = (origin = 'derived')),
    scram_sha1 BLOB CHECK ((scram_sha1 IS NULL) = (origin = 'derived')),
    created_unix_ms INTEGER NOT NULL,
    revoked_unix_ms INTEGER
) STRICT;

CREATE UNIQUE INDEX secret_generation ON secret (kind, subject, resource, generation);
CREATE UNIQUE INDEX secret_live ON secret (kind, subject, resource) WHERE revoked_unix_ms IS NULL;
-- All that a login reads: a hit and a miss both end on one page of this index.
CREATE INDEX secret_login ON secret (subject, resource, verifier, scram_sha256, kind, revoked_unix_ms)
    WHERE kind = 'account' AND revoked_unix_ms IS NULL;
CREATE INDEX secret_app ON secret (app) WHERE revoked_unix_ms IS NULL;
CREATE INDEX secret_weak ON secret (id) WHERE origin = 'weak' AND revoked_unix_ms IS NULL;

CREATE TABLE service (
    uid TEXT NOT NULL,
    app TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('get', 'purchase')),
    expires_unix_ms INTEGER,
    granted_unix_ms INTEGER NOT NULL,
    PRIMARY KEY (uid, app)
) STRICT, WITHOUT ROWID;

CREATE INDEX service_app ON service (app);

-- What a running daemon has to be told; written in the transaction of the change itself.
CREATE TABLE change (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at_unix_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL
) STRICT;

-- The operators' app is always there.
INSERT INTO app (name, open, direct, created_unix_ms) VALUES ('nexus', 0, 'any', unixepoch() * 1000);

-- Looked up where an account is not found, so that a denial costs the same look-ups whatever its reason.
-- No account has an empty name, and nobody knows a secret with this verifier.
INSERT INTO secret (kind, subject, app, generation, origin, verifier, created_unix_ms)
VALUES ('account', '', '', 0, 'derived', randomblob(32), 0);
