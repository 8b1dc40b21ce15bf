-- How closely the clips of a batch are looked at, as its manifest said when it was last read: what is collected before
-- the manifest is read again goes by it.
ALTER TABLE batches ADD COLUMN checks TEXT NOT NULL DEFAULT 'full' CHECK (checks IN ('quick', 'full', 'strict'));
