-- Since when the region should be at a version that it does not confirm. Absent: it is not behind.
ALTER TABLE regions ADD COLUMN behind_since timestamptz;
