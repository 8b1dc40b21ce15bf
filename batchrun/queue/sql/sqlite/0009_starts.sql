-- Version 9: what every submit counts stands in the indexes themselves: with thousands of predictions running, or started in
-- the last minutes, looking each row up was most of a submit's time.
DROP INDEX attempts_by_time;
CREATE INDEX attempts_by_time ON attempts (submitted_ms, answered_ms, state);
DROP INDEX attempts_open;
CREATE INDEX attempts_open ON attempts (submitted_ms, state) WHERE state IN ('submitting', 'unknown', 'running');
CREATE INDEX attempts_doubtful ON attempts (state, submitted_ms) WHERE state IN ('submitting', 'unknown');
