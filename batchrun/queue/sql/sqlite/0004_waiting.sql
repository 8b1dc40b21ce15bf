-- Version 4: what a run waits for just now, so that `status` can say it from another terminal.
ALTER TABLE runs ADD COLUMN waiting TEXT;
