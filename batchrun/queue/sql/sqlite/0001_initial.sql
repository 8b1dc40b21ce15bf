-- The queue, version 1, for SQLite. Times are milliseconds since 1970 UTC, money is integer micro-dollars.
-- What must never be is refused here, whatever the program does.

-- To whom the queue belongs: set at creation, compared at every opening.
CREATE TABLE queue_identity (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    queue_id TEXT NOT NULL CHECK (length(queue_id) > 0),
    kind TEXT NOT NULL CHECK (kind IN ('paid', 'preview')),
    origin TEXT NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;

-- One process working on the queue. The lease of a job is its run: renewing it is one row, however many jobs it holds.
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started_ms INTEGER NOT NULL,
    lease_until_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE batches (
    batch_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    manifest TEXT NOT NULL,
    campaign TEXT,
    generation INTEGER NOT NULL DEFAULT 0 CHECK (generation >= 0),
    created_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE jobs (
    job_id INTEGER PRIMARY KEY,
    batch_id INTEGER NOT NULL REFERENCES batches,
    key TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN (
        'queued', 'submitting', 'running', 'downloading', 'done',
        'unknown', 'parked', 'failed', 'rejected', 'lost', 'cancelled')),
    revision_id INTEGER NOT NULL REFERENCES revisions DEFERRABLE INITIALLY DEFERRED,
    attempt_id TEXT REFERENCES attempts DEFERRABLE INITIALLY DEFERRED,
    priority INTEGER NOT NULL,
    position INTEGER NOT NULL,
    price_usd_micros INTEGER NOT NULL CHECK (price_usd_micros >= 0),
    tags TEXT NOT NULL,
    -- where a local picture lies now; what it must contain says the revision
    image_path TEXT,
    output_path TEXT NOT NULL,
    output_key TEXT NOT NULL UNIQUE,
    generation INTEGER NOT NULL,
    -- the manifest asks for something else by now: finish what is paid for, buy no further attempt of this
    outdated INTEGER NOT NULL DEFAULT 0 CHECK (outdated IN (0, 1)),
    lease_run_id TEXT,
    not_before_ms INTEGER NOT NULL DEFAULT 0,
    -- the finished file, written before it gets its final name
    file_sha256 TEXT CHECK (length(file_sha256) = 64),
    file_bytes INTEGER CHECK (file_bytes > 0),
    file_facts TEXT,
    -- the file that this queue has put under the output path, until it puts another one there
    placed_sha256 TEXT,
    failure_kind TEXT,
    failure_message TEXT,
    changed_ms INTEGER NOT NULL,
    finished_ms INTEGER,
    UNIQUE (batch_id, key),
    CHECK ((file_sha256 IS NULL) = (file_bytes IS NULL)),
    CHECK (state <> 'done' OR file_sha256 IS NOT NULL),
    CHECK (attempt_id IS NOT NULL OR state IN ('queued', 'done', 'failed', 'cancelled')),
    CHECK (state <> 'queued' OR attempt_id IS NULL),
    CHECK ((state IN ('done', 'failed', 'rejected', 'lost', 'cancelled')) = (finished_ms IS NOT NULL)),
    CHECK ((state IN ('parked', 'failed', 'rejected', 'lost')) <= (failure_kind IS NOT NULL))
) STRICT;

CREATE INDEX jobs_to_start ON jobs (batch_id, priority DESC, position, job_id) WHERE state = 'queued';
CREATE INDEX jobs_paid_for ON jobs (batch_id, job_id) WHERE state IN ('submitting', 'running', 'downloading');
CREATE INDEX jobs_leased ON jobs (lease_run_id) WHERE lease_run_id IS NOT NULL;
CREATE INDEX jobs_by_state ON jobs (batch_id, state);

-- What was asked for, at one time. Never changed: attempts point here.
CREATE TABLE revisions (
    revision_id INTEGER PRIMARY KEY,
    job_id INTEGER NOT NULL REFERENCES jobs DEFERRABLE INITIALLY DEFERRED,
    take INTEGER NOT NULL CHECK (take >= 1),
    fingerprint TEXT NOT NULL CHECK (length(fingerprint) = 64),
    fp_version INTEGER NOT NULL,
    model TEXT NOT NULL,
    prompt TEXT NOT NULL CHECK (length(prompt) > 0),
    negative_prompt TEXT NOT NULL,
    guidance_hundredths INTEGER NOT NULL CHECK (guidance_hundredths BETWEEN 0 AND 100),
    duration_s INTEGER NOT NULL CHECK (duration_s > 0),
    image_url TEXT,
    image_sha256 TEXT CHECK (length(image_sha256) = 64),
    created_ms INTEGER NOT NULL,
    CHECK ((image_sha256 IS NULL) <> (image_url IS NULL))
) STRICT;

CREATE INDEX revisions_by_job ON revisions (job_id);
CREATE INDEX revisions_by_fingerprint ON revisions (fingerprint);

-- One submit, at most: written before the POST leaves. Its id is the token by which answers are recorded.
CREATE TABLE attempts (
    attempt_id TEXT PRIMARY KEY,
    job_id INTEGER NOT NULL REFERENCES jobs DEFERRABLE INITIALLY DEFERRED,
    revision_id INTEGER NOT NULL REFERENCES revisions,
    batch_id INTEGER NOT NULL REFERENCES batches,
    campaign TEXT,
    run_id TEXT NOT NULL,
    day TEXT NOT NULL CHECK (length(day) = 10),
    price_usd_micros INTEGER NOT NULL CHECK (price_usd_micros >= 0),
    state TEXT NOT NULL CHECK (state IN (
        'submitting', 'unknown', 'running', 'completed', 'failed', 'refused', 'void')),
    image_url TEXT NOT NULL,
    submitted_ms INTEGER NOT NULL,
    send_by_ms INTEGER NOT NULL,
    answered_ms INTEGER,
    prediction_id TEXT UNIQUE CHECK (length(prediction_id) > 0),
    status_word TEXT,
    output_url TEXT,
    code INTEGER,
    message TEXT,
    finished_ms INTEGER,
    CHECK (state IN ('submitting', 'unknown', 'refused', 'void') OR prediction_id IS NOT NULL),
    CHECK ((state IN ('completed', 'failed', 'refused', 'void')) = (finished_ms IS NOT NULL))
) STRICT;

CREATE UNIQUE INDEX attempts_one_open_per_job ON attempts (job_id) WHERE state IN ('submitting', 'unknown', 'running');
CREATE INDEX attempts_open ON attempts (submitted_ms) WHERE state IN ('submitting', 'unknown', 'running');
CREATE INDEX attempts_by_time ON attempts (submitted_ms);
CREATE INDEX attempts_by_day ON attempts (batch_id, day);
CREATE INDEX attempts_by_campaign_day ON attempts (campaign, day) WHERE campaign IS NOT NULL;
CREATE INDEX attempts_by_job ON attempts (job_id);

-- A picture that lies at the provider for one attempt to come. The remote name carries the attempt's id.
CREATE TABLE uploads (
    attempt_id TEXT PRIMARY KEY,
    job_id INTEGER NOT NULL REFERENCES jobs,
    revision_id INTEGER NOT NULL REFERENCES revisions,
    url TEXT NOT NULL,
    uploaded_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX uploads_by_job ON uploads (job_id);

-- Every movement of money: added, never changed. held + spent of an attempt tell where its money is.
CREATE TABLE ledger (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    attempt_id TEXT NOT NULL REFERENCES attempts,
    batch_id INTEGER NOT NULL,
    campaign TEXT,
    run_id TEXT NOT NULL,
    day TEXT NOT NULL,
    kind TEXT NOT NULL,
    amount_usd_micros INTEGER NOT NULL CHECK (amount_usd_micros >= 0),
    held_usd_micros INTEGER NOT NULL,
    spent_usd_micros INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    CHECK (CASE kind
        WHEN 'reserve' THEN held_usd_micros = amount_usd_micros AND spent_usd_micros = 0
        WHEN 'settle' THEN held_usd_micros <= 0 AND spent_usd_micros = amount_usd_micros
        WHEN 'void' THEN held_usd_micros = -amount_usd_micros AND spent_usd_micros = 0
        WHEN 'refund_due' THEN held_usd_micros = 0 AND spent_usd_micros = 0
        WHEN 'refunded' THEN held_usd_micros = -amount_usd_micros AND spent_usd_micros = 0
        WHEN 'refund_denied' THEN held_usd_micros = -amount_usd_micros AND spent_usd_micros = amount_usd_micros
        WHEN 'adjust' THEN held_usd_micros = 0 AND abs(spent_usd_micros) = amount_usd_micros
        WHEN 'late_charge' THEN held_usd_micros = 0 AND spent_usd_micros = amount_usd_micros
        ELSE 0 END)
) STRICT;

CREATE UNIQUE INDEX ledger_one_reserve ON ledger (attempt_id) WHERE kind = 'reserve';
CREATE UNIQUE INDEX ledger_one_settlement ON ledger (attempt_id)
    WHERE kind IN ('settle', 'void', 'refunded', 'refund_denied');
CREATE UNIQUE INDEX ledger_one_refund_due ON ledger (attempt_id) WHERE kind = 'refund_due';
CREATE UNIQUE INDEX ledger_one_late_charge ON ledger (attempt_id) WHERE kind = 'late_charge';

CREATE TRIGGER ledger_is_append_only BEFORE UPDATE ON ledger
BEGIN SELECT RAISE(ABORT, 'a ledger row is never changed'); END;
CREATE TRIGGER ledger_is_kept BEFORE DELETE ON ledger
BEGIN SELECT RAISE(ABORT, 'a ledger row is never deleted'); END;
CREATE TRIGGER revisions_are_immutable BEFORE UPDATE ON revisions
BEGIN SELECT RAISE(ABORT, 'a revision is never changed'); END;
CREATE TRIGGER ledger_reserve_first BEFORE INSERT ON ledger
WHEN NEW.kind <> 'reserve' AND NOT EXISTS (
    SELECT 1 FROM ledger WHERE attempt_id = NEW.attempt_id AND kind = 'reserve')
BEGIN SELECT RAISE(ABORT, 'money moves only after its reservation'); END;
CREATE TRIGGER ledger_releases_what_was_held BEFORE INSERT ON ledger
WHEN NEW.kind IN ('settle', 'void', 'refunded', 'refund_denied') AND NEW.held_usd_micros <> -(
    SELECT amount_usd_micros FROM ledger WHERE attempt_id = NEW.attempt_id AND kind = 'reserve')
BEGIN SELECT RAISE(ABORT, 'a settlement releases exactly what was reserved'); END;
CREATE TRIGGER ledger_charge_has_prediction BEFORE INSERT ON ledger
WHEN NEW.kind IN ('settle', 'refund_due', 'refunded', 'refund_denied', 'late_charge') AND NOT EXISTS (
    SELECT 1 FROM attempts WHERE attempt_id = NEW.attempt_id AND prediction_id IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'only an attempt with a prediction can be charged'); END;
CREATE TRIGGER attempts_keep_their_prediction BEFORE UPDATE OF prediction_id ON attempts
WHEN OLD.prediction_id IS NOT NULL AND NEW.prediction_id IS NOT OLD.prediction_id
BEGIN SELECT RAISE(ABORT, 'an attempt keeps its prediction'); END;
