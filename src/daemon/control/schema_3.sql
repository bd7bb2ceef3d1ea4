-- A secret that is shown without a name is found by its MAC.
CREATE INDEX secret_shown ON secret (verifier) WHERE revoked_unix_ms IS NULL AND verifier IS NOT NULL;

-- Who an explore's secret stands for: the first of the app's owners.
CREATE INDEX account_owner ON account (app, created_unix_ms, name)
    WHERE revoked_unix_ms IS NULL AND substr(name, -6) = '-owner';

-- Workers that were announced through the bridge. resource '': every block of the account.
CREATE TABLE announcement (
    app TEXT NOT NULL,
    uid TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('owner', 'partner', 'user')),
    resource TEXT NOT NULL,
    -- Whether other users may be given it.
    public INTEGER NOT NULL CHECK (public IN (0, 1)),
    announced_unix_ms INTEGER NOT NULL,
    PRIMARY KEY (app, uid, role, resource)
) STRICT, WITHOUT ROWID;

CREATE INDEX announcement_public ON announcement (app, announced_unix_ms)
    WHERE public = 1 AND role <> 'user';
