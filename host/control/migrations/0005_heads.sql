-- The highest version that the region's topic has shown, whoever published it: one that is used never names another
-- content. Above `version` only where this database does not know what was published: it is new, or an old backup.
ALTER TABLE regions ADD COLUMN head bigint NOT NULL DEFAULT 0;
