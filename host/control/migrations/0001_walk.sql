-- The control plane's memory: what every site wants, what every region was told, what it says of itself.
--
-- Locks are taken in this order, and in none other: a site, then regions by id, then the rest by key. `relays` and
-- `heartbeats` are tables of their own because they are written by steps that must never make an apply wait.

CREATE TABLE sites (
    name     text PRIMARY KEY,
    revision bigint NOT NULL DEFAULT 0
);

-- Every region that an apply has ever named or that has ever sent a heartbeat.
CREATE TABLE regions (
    id      text PRIMARY KEY,
    -- Raised by every transaction that changes what the region should be: a version names a content.
    -- 0: nothing was ever applied to it, and nothing is ever published to it.
    version bigint NOT NULL DEFAULT 0
);

-- What was last published to a region. Its row lock is the right to publish: one relay per region at a time.
CREATE TABLE relays (
    region            text PRIMARY KEY REFERENCES regions (id),
    published_version bigint NOT NULL DEFAULT 0,
    content_hash      text NOT NULL DEFAULT '',
    published_at      timestamptz,
    -- Publish again although the version has not moved.
    republish         boolean NOT NULL DEFAULT false,
    -- Failures in a row, when to try again, and what the last one said.
    failures          integer NOT NULL DEFAULT 0,
    retry_at          timestamptz,
    problem           text NOT NULL DEFAULT ''
);

-- The latest heartbeat of a region.
CREATE TABLE heartbeats (
    region        text PRIMARY KEY REFERENCES regions (id),
    sequence      bigint NOT NULL,
    version       bigint NOT NULL,
    content_hash  text NOT NULL,
    interval_ms   bigint NOT NULL,
    -- By our clock: what silence is measured from.
    received_at   timestamptz NOT NULL,
    -- The resource types it serves, and the whole of what it says about them.
    types         text[] NOT NULL,
    plugins_hash  text NOT NULL,
    cluster_uid   text NOT NULL,
    plane_version text NOT NULL,
    problems      text[] NOT NULL
);

-- Sets of senren.v1.PluginInfo (as a protobuf Heartbeat that has nothing else), by hash: regions share them.
CREATE TABLE plugin_sets (
    hash    text PRIMARY KEY,
    plugins bytea NOT NULL
);

-- One database in one region: desired, or, with removed_at, departing: no longer desired, not yet gone.
CREATE TABLE resources (
    uid                 uuid PRIMARY KEY,
    site                text NOT NULL REFERENCES sites (name),
    region              text NOT NULL REFERENCES regions (id),
    name                text NOT NULL,
    type                text NOT NULL,
    -- JSON, canonical: sorted keys, no white space.
    spec                text NOT NULL,
    deletion_protection boolean NOT NULL,
    generation          bigint NOT NULL,
    created_at          timestamptz NOT NULL,
    applied_at          timestamptz NOT NULL,
    removed_at          timestamptz,
    -- The version of the region that is the first one without it.
    removed_version     bigint
);
CREATE UNIQUE INDEX resources_desired ON resources (site, region, name) WHERE removed_at IS NULL;
CREATE INDEX resources_desired_by_region ON resources (region) WHERE removed_at IS NULL;
CREATE INDEX resources_by_site ON resources (site);
CREATE INDEX resources_departing_by_region ON resources (region) WHERE removed_at IS NOT NULL;

-- The latest report about a resource.
CREATE TABLE statuses (
    uid        uuid PRIMARY KEY REFERENCES resources (uid) ON DELETE CASCADE,
    sequence   bigint NOT NULL,
    generation bigint NOT NULL,
    ready      boolean NOT NULL,
    deleted    boolean NOT NULL,
    -- senren.v1.ResourceReport, as it came.
    report     bytea NOT NULL,
    -- By our clock: when this generation was first seen ready.
    ready_at   timestamptz
) WITH (fillfactor = 70);

-- The answer that a request id got, for whoever asks again.
CREATE TABLE requests (
    site         text NOT NULL REFERENCES sites (name),
    id           text NOT NULL,
    content_hash text NOT NULL,
    -- senren.v1.ApplyStateResponse.
    answer       bytea NOT NULL,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (site, id)
);
CREATE INDEX requests_by_age ON requests (created_at);

-- What each revision of a site changed.
CREATE TABLE history (
    site       text NOT NULL REFERENCES sites (name),
    revision   bigint NOT NULL,
    applied_at timestamptz NOT NULL,
    request_id text NOT NULL,
    author     text NOT NULL,
    -- [{"action", "region", "name", "type", "uid"}], without what is unchanged.
    changes    jsonb NOT NULL,
    PRIMARY KEY (site, revision)
);
