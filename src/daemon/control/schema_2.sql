-- A password is looked up by its account and its MAC: an account with thousands of secrets costs what one with a
-- single secret costs. A weak secret has no MAC. All that is read is in the index.
DROP INDEX secret_login;
CREATE INDEX secret_password ON secret (subject, verifier, resource, scram_sha256, kind, revoked_unix_ms)
    WHERE kind = 'account' AND revoked_unix_ms IS NULL;

-- A proof of SCRAM is tried against a few secrets of an account: those good for every resource, then the newest.
CREATE INDEX secret_proof ON secret (subject, resource = '' DESC, id DESC)
    WHERE kind = 'account' AND revoked_unix_ms IS NULL;
