-- What a site declared at each revision, what is held until somebody confirms it, and who did what.

-- Every database that a site ever declared, and for which revisions: from `since` on, up to, but without, `until`. What
-- a site declared at a revision are the rows that hold it; a revision costs only what it changes.
CREATE TABLE declared (
    site                text NOT NULL REFERENCES sites (name),
    name                text NOT NULL,
    since               bigint NOT NULL,
    -- Absent: it is declared now.
    until               bigint,
    type                text NOT NULL,
    -- JSON, canonical, as in `resources`.
    spec                text NOT NULL,
    regions             text[] NOT NULL,
    deletion_protection boolean NOT NULL,
    PRIMARY KEY (site, name, since)
);
CREATE UNIQUE INDEX declared_now ON declared (site, name) WHERE until IS NULL;
CREATE INDEX declared_before ON declared (site, until) WHERE until IS NOT NULL;

INSERT INTO declared (site, name, since, type, spec, regions, deletion_protection)
SELECT r.site, r.name, s.revision, MIN(r.type), MIN(r.spec), ARRAY_AGG(r.region ORDER BY r.region COLLATE "C"),
       BOOL_OR(r.deletion_protection)
FROM resources r JOIN sites s ON s.name = r.site
WHERE r.removed_at IS NULL GROUP BY r.site, r.name, s.revision;

ALTER TABLE history
    ADD COLUMN kind        text NOT NULL DEFAULT 'Apply',
    ADD COLUMN rollback_to bigint,
    -- What was declared then is on record. It wasn't kept before there was a record of it.
    ADD COLUMN recorded    boolean NOT NULL DEFAULT true;
UPDATE history h SET recorded = (h.revision = s.revision) FROM sites s WHERE s.name = h.site;
CREATE INDEX history_by_age ON history (applied_at);

ALTER TABLE resources
    -- Losing the data of what runs under this name is confirmed, for this generation.
    ADD COLUMN data_loss_confirmed boolean NOT NULL DEFAULT false,
    -- uid of the resource that this one replaces by a change of type.
    ADD COLUMN replaces            uuid,
    -- `Deletion`: an apply (of hold_revision) took it away, but it is still desired until somebody confirms that.
    -- `Replacement`: its region is expected to keep what runs until somebody confirms that its data may be lost; the
    -- region has the last word.
    ADD COLUMN hold_kind           text,
    ADD COLUMN hold_message        text,
    ADD COLUMN hold_revision       bigint,
    ADD CONSTRAINT resources_hold CHECK (
        (hold_kind IS NULL) = (hold_message IS NULL) AND (hold_kind IS NULL) = (hold_revision IS NULL));
CREATE INDEX resources_replacing ON resources (replaces) WHERE replaces IS NOT NULL;

-- Of the report. Those from before this migration are reported again within one resync.
ALTER TABLE statuses ADD COLUMN reason text NOT NULL DEFAULT '';
