-- Publishers with their shows, targeting, frequency, daily pace, wrappers, access tokens; and what several servers on one
-- database need: no number that all of them would have to draw in turn, and a download that holds a creative once.

CREATE TABLE publishers (
    id    TEXT PRIMARY KEY,
    name  TEXT   NOT NULL,
    -- What the publisher gets of each billed impression, in hundredths of a per cent.
    share BIGINT NOT NULL
);

CREATE TABLE shows (
    id           TEXT PRIMARY KEY,
    publisher_id TEXT   NOT NULL REFERENCES publishers (id),
    title        TEXT   NOT NULL,
    -- Its own share instead of the publisher's.
    share        BIGINT,
    -- Categories that never play in it, as a JSON list.
    blocked      TEXT   NOT NULL DEFAULT '[]',
    -- Whether two ads of one category are kept apart in a pod, or in a whole download.
    separation   TEXT   NOT NULL DEFAULT 'pod'
);
CREATE INDEX shows_by_publisher ON shows (publisher_id);

ALTER TABLE flights ADD COLUMN kind TEXT NOT NULL DEFAULT 'spot';
ALTER TABLE flights ADD COLUMN targeting TEXT NOT NULL DEFAULT '{}';
ALTER TABLE flights ADD COLUMN frequency_count BIGINT;
ALTER TABLE flights ADD COLUMN frequency_millis BIGINT;
-- The last day (days since 1970-01-01 UTC) with a decision, and the impressions reserved and billed out of that day's.
ALTER TABLE flights ADD COLUMN day BIGINT NOT NULL DEFAULT 0;
ALTER TABLE flights ADD COLUMN day_served BIGINT NOT NULL DEFAULT 0;
ALTER TABLE flights DROP COLUMN last_decided;

-- Hundredths of LUFS and dBTP, where they were measured.
ALTER TABLE creatives ADD COLUMN loudness BIGINT;
ALTER TABLE creatives ADD COLUMN true_peak BIGINT;
-- Another server's VAST tag: the ad is a wrapper around it, and there is no file.
ALTER TABLE creatives ADD COLUMN tag TEXT;

ALTER TABLE requests ADD COLUMN country TEXT;
ALTER TABLE requests ADD COLUMN device TEXT;
-- Who asked, as a keyed hash of address and user agent that only this server can make.
ALTER TABLE requests ADD COLUMN listener TEXT;
CREATE INDEX requests_by_time ON requests (asked);

DROP INDEX decisions_by_seq;
ALTER TABLE decisions DROP COLUMN seq;
ALTER TABLE decisions ADD COLUMN show TEXT;
ALTER TABLE decisions ADD COLUMN category TEXT;
ALTER TABLE decisions ADD COLUMN viewer TEXT;
-- What the show's publisher gets if it is billed, in millionths.
ALTER TABLE decisions ADD COLUMN payout BIGINT NOT NULL DEFAULT 0;
-- When it was billed.
ALTER TABLE decisions ADD COLUMN billed BIGINT;
DROP INDEX decisions_by_download;
CREATE UNIQUE INDEX decisions_by_download ON decisions (download, sha256) WHERE download IS NOT NULL;
CREATE INDEX decisions_by_viewer ON decisions (viewer, decided) WHERE viewer IS NOT NULL;
CREATE INDEX decisions_by_time ON decisions (decided);
CREATE INDEX events_by_time ON events (received);

DROP INDEX decisions_by_creative;
DROP INDEX decisions_by_state;
CREATE INDEX decisions_open ON decisions (expires) WHERE state = 'open';

-- In memory since: whose turn it is in a place.
DROP TABLE rotation;

-- Everything that reports add up, counted in the transaction that stored it. `show`, `flight_id` and `creative_id` are ''
-- where there is none, `detail` is an error code where there is one, `amount` is money in millionths. Metrics: request, filled, noAd,
-- decision, each event, late, billed, payout, proved.
CREATE TABLE tallies (
    day         BIGINT NOT NULL,
    show        TEXT   NOT NULL,
    flight_id   TEXT   NOT NULL,
    creative_id TEXT   NOT NULL,
    metric      TEXT   NOT NULL,
    basis       TEXT   NOT NULL,
    detail      TEXT   NOT NULL,
    count       BIGINT NOT NULL,
    amount      BIGINT NOT NULL,
    PRIMARY KEY (day, show, flight_id, creative_id, metric, basis, detail)
);
INSERT INTO tallies SELECT asked / 86400000, COALESCE(show, ''), '', '', 'request', '', '', COUNT(*), 0
    FROM requests GROUP BY 1, 2;
INSERT INTO tallies SELECT asked / 86400000, COALESCE(show, ''), '', '', 'filled', '', '', COUNT(*), 0
    FROM requests WHERE filled > 0 GROUP BY 1, 2;
INSERT INTO tallies SELECT asked / 86400000, COALESCE(show, ''), '', '', 'noAd', '', error_code, COUNT(*), 0
    FROM requests WHERE error_code IS NOT NULL GROUP BY 1, 2, 7;
UPDATE decisions SET show = (SELECT r.show FROM requests r WHERE r.id = decisions.request_id);
UPDATE decisions SET billed = decided WHERE state = 'billed';
INSERT INTO tallies SELECT decided / 86400000, COALESCE(show, ''), flight_id, creative_id, 'decision', '', '', COUNT(*), 0
    FROM decisions GROUP BY 1, 2, 3, 4;
INSERT INTO tallies SELECT billed / 86400000, COALESCE(show, ''), flight_id, creative_id, 'billed', '', '', COUNT(*),
        CAST(SUM(price) AS BIGINT)
    FROM decisions WHERE state = 'billed' GROUP BY 1, 2, 3, 4;
INSERT INTO tallies SELECT e.received / 86400000, COALESCE(d.show, ''), d.flight_id, d.creative_id, e.event, e.basis,
        CASE WHEN e.event = 'error' THEN COALESCE(e.code, '') ELSE '' END, COUNT(*), 0
    FROM events e JOIN decisions d ON d.ad_serving_id = e.ad_serving_id GROUP BY 1, 2, 3, 4, 5, 6, 7;
INSERT INTO tallies SELECT e.received / 86400000, COALESCE(d.show, ''), d.flight_id, d.creative_id, 'late', e.basis, '', COUNT(*), 0
    FROM events e JOIN decisions d ON d.ad_serving_id = e.ad_serving_id WHERE e.late = 1 GROUP BY 1, 2, 3, 4, 6;

-- Who may use the API and the desk. Only a hash of each token is kept.
CREATE TABLE tokens (
    hash    TEXT PRIMARY KEY,
    name    TEXT   NOT NULL,
    role    TEXT   NOT NULL,
    -- The advertiser or publisher that the token is for.
    scope   TEXT,
    created BIGINT NOT NULL,
    revoked BIGINT
);
