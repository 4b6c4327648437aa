-- What is taken out of use without being forgotten, and creatives that are published through the swarm.

-- Archived: never decided any more; reports keep it. A campaign takes its flights with it, a flight its creatives.
ALTER TABLE campaigns ADD COLUMN archived BIGINT NOT NULL DEFAULT 0;
ALTER TABLE flights ADD COLUMN archived BIGINT NOT NULL DEFAULT 0;
ALTER TABLE creatives ADD COLUMN archived BIGINT NOT NULL DEFAULT 0;

-- The v2 info hash, in hex, of a creative that has a .torrent; the .torrent lies beside its file.
ALTER TABLE creatives ADD COLUMN info_hash TEXT;
