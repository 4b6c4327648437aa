-- The hierarchy advertiser -> campaign -> flight -> creative, what was decided, and what was reported back.
-- Times are milliseconds since 1970-01-01 UTC. Money is in millionths of a currency unit; a flight's price is per impression
-- (a price per thousand with three decimals is exact). Types and statements keep to what SQLite and PostgreSQL both take.

CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE advertisers (
    id                 TEXT PRIMARY KEY,
    name               TEXT NOT NULL,
    domain             TEXT,
    category           TEXT,
    category_authority TEXT NOT NULL
);

CREATE TABLE campaigns (
    id            TEXT PRIMARY KEY,
    advertiser_id TEXT   NOT NULL REFERENCES advertisers (id),
    name          TEXT   NOT NULL,
    budget        BIGINT,
    currency      TEXT   NOT NULL,
    -- Kept exact inside every transaction that reserves, bills or releases.
    reserved      BIGINT NOT NULL DEFAULT 0,
    spent         BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX campaigns_by_advertiser ON campaigns (advertiser_id);

CREATE TABLE flights (
    id           TEXT PRIMARY KEY,
    campaign_id  TEXT   NOT NULL REFERENCES campaigns (id),
    name         TEXT   NOT NULL,
    paused       BIGINT NOT NULL DEFAULT 0,
    starts       BIGINT,
    ends         BIGINT,
    goal         BIGINT,
    cap          BIGINT,
    price        BIGINT NOT NULL,
    priority     BIGINT NOT NULL,
    pacing       TEXT   NOT NULL,
    -- Impressions reserved (open decisions) and billed; the number of the last decision that chose this flight.
    reserved     BIGINT NOT NULL DEFAULT 0,
    billed       BIGINT NOT NULL DEFAULT 0,
    last_decided BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX flights_by_campaign ON flights (campaign_id);

CREATE TABLE creatives (
    id            TEXT PRIMARY KEY,
    flight_id     TEXT   NOT NULL REFERENCES flights (id),
    title         TEXT   NOT NULL,
    path          TEXT   NOT NULL,
    media_type    TEXT   NOT NULL,
    width         BIGINT NOT NULL,
    height        BIGINT NOT NULL,
    duration      BIGINT NOT NULL,
    size          BIGINT NOT NULL,
    modified      BIGINT NOT NULL,
    sha256        TEXT   NOT NULL,
    ad_registry   TEXT   NOT NULL,
    ad_id         TEXT   NOT NULL,
    weight        BIGINT NOT NULL,
    bitrate       BIGINT NOT NULL,
    click_through TEXT,
    skip_after    BIGINT,
    decided       BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX creatives_by_flight ON creatives (flight_id);
CREATE INDEX creatives_by_sha256 ON creatives (sha256);

-- One row for each question asked; an empty answer has no decisions.
CREATE TABLE requests (
    id         TEXT PRIMARY KEY,
    asked      BIGINT NOT NULL,
    show       TEXT,
    episode    TEXT,
    break_id   TEXT,
    position   TEXT,
    download   TEXT,
    wanted     BIGINT NOT NULL,
    filled     BIGINT NOT NULL,
    error_code TEXT
);

-- A decision is also its reservation. state: open, billed, released (error or notUsed), lapsed (its lifetime passed).
CREATE TABLE decisions (
    ad_serving_id TEXT PRIMARY KEY,
    seq           BIGINT NOT NULL,
    request_id    TEXT   NOT NULL REFERENCES requests (id),
    download      TEXT,
    campaign_id   TEXT   NOT NULL REFERENCES campaigns (id),
    flight_id     TEXT   NOT NULL REFERENCES flights (id),
    creative_id   TEXT   NOT NULL REFERENCES creatives (id),
    sha256        TEXT   NOT NULL,
    price         BIGINT NOT NULL,
    decided       BIGINT NOT NULL,
    expires       BIGINT NOT NULL,
    state         TEXT   NOT NULL
);
CREATE INDEX decisions_by_state ON decisions (state, expires);
CREATE INDEX decisions_by_download ON decisions (download) WHERE download IS NOT NULL;
CREATE INDEX decisions_by_creative ON decisions (creative_id);
CREATE UNIQUE INDEX decisions_by_seq ON decisions (seq);

-- How often, and when last (as a decision number), a creative was chosen for one break of one episode.
CREATE TABLE rotation (
    place       TEXT   NOT NULL,
    creative_id TEXT   NOT NULL REFERENCES creatives (id),
    decided     BIGINT NOT NULL,
    last        BIGINT NOT NULL,
    PRIMARY KEY (place, creative_id)
);

-- What clients reported. The primary key is what makes a beacon count once.
CREATE TABLE events (
    ad_serving_id TEXT   NOT NULL REFERENCES decisions (ad_serving_id),
    event         TEXT   NOT NULL,
    tracker       TEXT   NOT NULL,
    basis         TEXT   NOT NULL,
    received      BIGINT NOT NULL,
    client_time   TEXT,
    code          TEXT,
    late          BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (ad_serving_id, event, tracker, basis)
);

-- Refused beacons, by day (days since 1970-01-01 UTC) and reason: bounded however many arrive.
CREATE TABLE invalid_traffic (
    day    BIGINT NOT NULL,
    reason TEXT   NOT NULL,
    count  BIGINT NOT NULL,
    PRIMARY KEY (day, reason)
);
