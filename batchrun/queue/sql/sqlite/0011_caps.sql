-- Version 11: what the newest reading of a manifest says of money. A run that has read something else buys nothing more by it.
ALTER TABLE batches ADD COLUMN caps TEXT;
