-- Version 10: what people look at of a large queue is counted without walking its jobs.
DROP INDEX jobs_by_state;
CREATE INDEX jobs_by_state ON jobs (batch_id, state, generation, chosen_by);
CREATE INDEX jobs_not_fine ON jobs (batch_id, failure_kind) WHERE failure_kind IS NOT NULL;
CREATE INDEX jobs_warned ON jobs (batch_id, json_extract(file_facts, '$.warnings[0]'))
    WHERE json_extract(file_facts, '$.warnings[0]') IS NOT NULL;
CREATE INDEX jobs_not_shown ON jobs (batch_id, json_extract(file_facts, '$.not_shown[0]'))
    WHERE json_extract(file_facts, '$.not_shown[0]') IS NOT NULL;
