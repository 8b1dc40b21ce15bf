-- Version 7: which jobs a run was asked to buy (`--only`, `--tag`, `--limit`, `--canary`); other runs do not mind.
ALTER TABLE jobs ADD COLUMN chosen_by TEXT;
