-- Accounts of play are beacons with a body, which is posted.
ALTER TABLE beacon ADD COLUMN body TEXT;

-- Decisions with a stated expiry, for when the ad server cannot be asked. What is played of one again is reported under the
-- session under which it was reported first, so that nothing counts twice.
CREATE TABLE decision (
    content    TEXT    NOT NULL,
    -- The break and where its ads come from, hashed: another source is another place.
    place      TEXT    NOT NULL,
    session    TEXT    NOT NULL,
    seed       INTEGER NOT NULL,
    -- Unix milliseconds.
    expires_at INTEGER NOT NULL,
    -- JSON.
    decision   TEXT    NOT NULL,
    PRIMARY KEY (content, place)
) STRICT;

CREATE INDEX decision_expires ON decision (expires_at);

-- What this device presented, for frequency caps. It never leaves the device.
CREATE TABLE presented (
    -- UniversalAdId, or what else names the creative.
    creative TEXT    NOT NULL,
    at       INTEGER NOT NULL
) STRICT;

CREATE INDEX presented_creative ON presented (creative, at);
