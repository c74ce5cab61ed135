-- Whose turn it is to take in what regions report, and how far the topic is read. Without an owner, or after its time,
-- it is anybody's.
CREATE TABLE turns (
    topic      text PRIMARY KEY,
    owner      uuid NOT NULL,
    -- By this server's clock, which all control planes share.
    until      timestamptz NOT NULL,
    -- senren_bus::Position: of which log, and the next offset of each partition.
    log        text NOT NULL DEFAULT '',
    partitions integer[] NOT NULL DEFAULT '{}',
    offsets    bigint[] NOT NULL DEFAULT '{}'
);
