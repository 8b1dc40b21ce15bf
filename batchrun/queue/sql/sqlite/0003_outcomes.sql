-- Version 3: what became of each request, remembered when its job asks for something else or has another name.

-- The request that an attempt bought, so that attempts are counted over all names.
ALTER TABLE attempts ADD COLUMN fingerprint TEXT CHECK (length(fingerprint) = 64);
UPDATE attempts SET fingerprint = (SELECT fingerprint FROM revisions r WHERE r.revision_id = attempts.revision_id);
CREATE INDEX attempts_by_fingerprint ON attempts (fingerprint);

-- The last end of a request under a job's name: `done` with the clip's digest, or the kind of its failure.
CREATE TABLE outcomes (
    job_id INTEGER NOT NULL REFERENCES jobs,
    fingerprint TEXT NOT NULL CHECK (length(fingerprint) = 64),
    verdict TEXT NOT NULL,
    message TEXT,
    file_sha256 TEXT CHECK (length(file_sha256) = 64),
    file_bytes INTEGER,
    file_facts TEXT,
    PRIMARY KEY (job_id, fingerprint),
    CHECK (verdict <> 'done' OR file_sha256 IS NOT NULL)
) STRICT, WITHOUT ROWID;

CREATE INDEX outcomes_by_fingerprint ON outcomes (fingerprint, verdict);

INSERT INTO outcomes (job_id, fingerprint, verdict, message, file_sha256, file_bytes, file_facts)
SELECT j.job_id, r.fingerprint, CASE j.state WHEN 'done' THEN 'done' ELSE coalesce(j.failure_kind, j.state) END,
    j.failure_message, j.file_sha256, j.file_bytes, j.file_facts
FROM jobs j JOIN revisions r ON r.revision_id = j.revision_id
WHERE j.state IN ('done', 'failed', 'rejected', 'lost');

-- A trigger, so that no statement that ends a job can forget it. A clip is forgotten only for a newer one.
CREATE TRIGGER jobs_leave_an_outcome AFTER UPDATE OF state ON jobs
WHEN NEW.state IN ('done', 'failed', 'rejected', 'lost')
BEGIN
    INSERT INTO outcomes (job_id, fingerprint, verdict, message, file_sha256, file_bytes, file_facts)
    SELECT NEW.job_id, r.fingerprint, CASE NEW.state WHEN 'done' THEN 'done' ELSE coalesce(NEW.failure_kind, NEW.state) END,
        NEW.failure_message, NEW.file_sha256, NEW.file_bytes, NEW.file_facts
    FROM revisions r WHERE r.revision_id = NEW.revision_id
    ON CONFLICT (job_id, fingerprint) DO UPDATE SET verdict = excluded.verdict, message = excluded.message,
        file_sha256 = excluded.file_sha256, file_bytes = excluded.file_bytes, file_facts = excluded.file_facts
    WHERE outcomes.verdict <> 'done' OR excluded.verdict = 'done';
END;
