-- Beacons: stored once by key; finished ones stay as bare keys for a while, so that storing them again does nothing.
CREATE TABLE beacon (
    key         TEXT    NOT NULL PRIMARY KEY,
    event       TEXT    NOT NULL,
    url         TEXT    NOT NULL,
    -- 1: a Grove ad server, which counts by key; 0: anybody else, who is never told twice.
    grove       INTEGER NOT NULL CHECK (grove IN (0, 1)),
    -- Unix milliseconds.
    happened_at INTEGER NOT NULL,
    next_at     INTEGER NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    -- waiting, sending (a third party's URL, marked before it is sent), sent, unknown (a crash fell while it was being
    -- sent), dropped (too old, or refused for good)
    state       TEXT    NOT NULL DEFAULT 'waiting'
                CHECK (state IN ('waiting', 'sending', 'sent', 'unknown', 'dropped')),
    -- What the last attempt ended with.
    outcome     TEXT
) STRICT;

CREATE INDEX beacon_due ON beacon (state, next_at);

-- Who is sending. One row: whoever holds it until then.
CREATE TABLE drain_lease (
    id         INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    holder     TEXT    NOT NULL,
    held_until INTEGER NOT NULL
) STRICT;

INSERT INTO drain_lease (id, holder, held_until) VALUES (1, '', 0);
