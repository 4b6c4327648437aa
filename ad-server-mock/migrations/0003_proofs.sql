-- Proofs of play: accounts that clients sent beside their beacons, and what they came to.

-- The key that a client said it would sign with when it asked.
ALTER TABLE decisions ADD COLUMN proof_key TEXT;

-- The last word on each decision. `rejected` is the name of what was wrong, or NULL when it holds.
CREATE TABLE proofs (
    ad_serving_id TEXT PRIMARY KEY REFERENCES decisions (ad_serving_id),
    received      BIGINT NOT NULL,
    account       TEXT   NOT NULL,
    rejected      TEXT,
    -- Whether it shows some of the ad, and all of it.
    presented     BIGINT NOT NULL,
    whole         BIGINT NOT NULL
);

-- What each account had come to when it was accepted last.
CREATE TABLE proof_accounts (
    nonce TEXT PRIMARY KEY,
    count BIGINT NOT NULL,
    hash  TEXT   NOT NULL
);

-- Every record that was accepted, and in which account.
CREATE TABLE proof_records (
    nonce   TEXT PRIMARY KEY,
    account TEXT NOT NULL
);
