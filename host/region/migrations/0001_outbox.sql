-- What remains to be published. A row is here from before its report is published until after that is acknowledged.
CREATE TABLE senren_region.outbox (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    region text NOT NULL,
    -- senren.v1.StatusReport. Its sequence is part of it, so that publishing it twice is harmless.
    report bytea NOT NULL
);
CREATE INDEX outbox_region ON senren_region.outbox (region, id);
