-- Version 8: which run may buy a job that has a clip already. Nobody has agreed to more than what that run got to buy.
ALTER TABLE jobs ADD COLUMN rerun_by TEXT;
