-- Keys that were accepted for a content, and the newest cue sheet of each.
CREATE TABLE pins (
    info_hash BLOB NOT NULL PRIMARY KEY CHECK (length(info_hash) = 32),
    publisher BLOB NOT NULL CHECK (length(publisher) = 32),
    source TEXT NOT NULL,
    pinned_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sheets (
    info_hash BLOB NOT NULL PRIMARY KEY CHECK (length(info_hash) = 32),
    raw BLOB NOT NULL,
    issued INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
