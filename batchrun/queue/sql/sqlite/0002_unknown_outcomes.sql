-- Version 2: what may become of a submit of unknown outcome. Two tables are made anew, because SQLite cannot change a
-- CHECK: attempts (states `late` and `left`, the provider's clock, the audit of the charge) and the ledger (`unknown`).
-- Foreign keys are off while migrations run.

DROP TRIGGER ledger_is_append_only;
DROP TRIGGER ledger_is_kept;
DROP TRIGGER ledger_reserve_first;
DROP TRIGGER ledger_releases_what_was_held;
DROP TRIGGER ledger_charge_has_prediction;
DROP TRIGGER attempts_keep_their_prediction;

-- One submit, at most: written before the POST leaves. Its id is the token by which answers are recorded.
CREATE TABLE attempts_2 (
    attempt_id TEXT PRIMARY KEY,
    job_id INTEGER NOT NULL REFERENCES jobs DEFERRABLE INITIALLY DEFERRED,
    revision_id INTEGER NOT NULL REFERENCES revisions,
    batch_id INTEGER NOT NULL REFERENCES batches,
    campaign TEXT,
    run_id TEXT NOT NULL,
    day TEXT NOT NULL CHECK (length(day) = 10),
    price_usd_micros INTEGER NOT NULL CHECK (price_usd_micros >= 0),
    state TEXT NOT NULL CHECK (state IN (
        'submitting', 'unknown', 'running', 'late', 'completed', 'failed', 'refused', 'void', 'left')),
    image_url TEXT NOT NULL,
    submitted_ms INTEGER NOT NULL,
    send_by_ms INTEGER NOT NULL,
    -- the provider's clock less ours when the intent was written, where it was known
    server_ahead_ms INTEGER,
    answered_ms INTEGER,
    prediction_id TEXT UNIQUE CHECK (length(prediction_id) > 0),
    status_word TEXT,
    output_url TEXT,
    code INTEGER,
    message TEXT,
    finished_ms INTEGER,
    -- when the provider's billing was compared with the ledger
    audited_ms INTEGER,
    -- when a person was told that it was charged late
    told_ms INTEGER,
    CHECK (state IN ('submitting', 'unknown', 'refused', 'void', 'left') OR prediction_id IS NOT NULL),
    CHECK ((state IN ('completed', 'failed', 'refused', 'void', 'left')) = (finished_ms IS NOT NULL))
) STRICT;

INSERT INTO attempts_2 (attempt_id, job_id, revision_id, batch_id, campaign, run_id, day, price_usd_micros, state,
    image_url, submitted_ms, send_by_ms, answered_ms, prediction_id, status_word, output_url, code, message, finished_ms)
SELECT attempt_id, job_id, revision_id, batch_id, campaign, run_id, day, price_usd_micros, state,
    image_url, submitted_ms, send_by_ms, answered_ms, prediction_id, status_word, output_url, code, message, finished_ms
FROM attempts;
DROP TABLE attempts;
ALTER TABLE attempts_2 RENAME TO attempts;

-- A job that was lost while it ran is over, and so is its attempt; its money stays held.
UPDATE attempts SET state = 'left', finished_ms = submitted_ms
WHERE state = 'running' AND attempt_id IN (SELECT attempt_id FROM jobs WHERE state = 'lost');

CREATE UNIQUE INDEX attempts_one_open_per_job ON attempts (job_id) WHERE state IN ('submitting', 'unknown', 'running');
CREATE INDEX attempts_open ON attempts (submitted_ms) WHERE state IN ('submitting', 'unknown', 'running');
CREATE INDEX attempts_by_time ON attempts (submitted_ms);
CREATE INDEX attempts_by_day ON attempts (batch_id, day);
CREATE INDEX attempts_by_campaign_day ON attempts (campaign, day) WHERE campaign IS NOT NULL;
CREATE INDEX attempts_by_job ON attempts (job_id);
CREATE INDEX attempts_given_up ON attempts (finished_ms) WHERE state IN ('void', 'left');
CREATE INDEX attempts_late ON attempts (submitted_ms) WHERE state = 'late';
CREATE INDEX attempts_of_late_charges ON attempts (submitted_ms) WHERE told_ms = 0;
CREATE INDEX attempts_to_audit ON attempts (finished_ms) WHERE audited_ms IS NULL AND state IN ('completed', 'failed');

-- Every movement of money: added, never changed. held + spent of an attempt tell where its money is.
CREATE TABLE ledger_2 (
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
        WHEN 'unknown' THEN held_usd_micros = 0 AND spent_usd_micros = 0
        WHEN 'settle' THEN held_usd_micros = -amount_usd_micros AND spent_usd_micros = amount_usd_micros
        WHEN 'void' THEN held_usd_micros = -amount_usd_micros AND spent_usd_micros = 0
        WHEN 'refund_due' THEN held_usd_micros = 0 AND spent_usd_micros = 0
        WHEN 'refunded' THEN held_usd_micros = -amount_usd_micros AND spent_usd_micros = 0
        WHEN 'refund_denied' THEN held_usd_micros = -amount_usd_micros AND spent_usd_micros = amount_usd_micros
        WHEN 'adjust' THEN held_usd_micros = 0 AND abs(spent_usd_micros) = amount_usd_micros
        WHEN 'late_charge' THEN held_usd_micros = 0 AND spent_usd_micros = amount_usd_micros
        ELSE 0 END)
) STRICT;

INSERT INTO ledger_2 SELECT row_id, attempt_id, batch_id, campaign, run_id, day, kind, amount_usd_micros,
    held_usd_micros, spent_usd_micros, at_ms FROM ledger ORDER BY row_id;
INSERT INTO ledger_2 (attempt_id, batch_id, campaign, run_id, day, kind, amount_usd_micros, held_usd_micros,
    spent_usd_micros, at_ms)
SELECT attempt_id, batch_id, campaign, run_id, day, 'unknown', price_usd_micros, 0, 0, coalesce(answered_ms, submitted_ms)
FROM attempts WHERE state = 'unknown';
DROP TABLE ledger;
ALTER TABLE ledger_2 RENAME TO ledger;

CREATE UNIQUE INDEX ledger_one_reserve ON ledger (attempt_id) WHERE kind = 'reserve';
CREATE UNIQUE INDEX ledger_one_settlement ON ledger (attempt_id)
    WHERE kind IN ('settle', 'void', 'refunded', 'refund_denied');
CREATE UNIQUE INDEX ledger_one_unknown ON ledger (attempt_id) WHERE kind = 'unknown';
CREATE UNIQUE INDEX ledger_one_refund_due ON ledger (attempt_id) WHERE kind = 'refund_due';
CREATE UNIQUE INDEX ledger_one_late_charge ON ledger (attempt_id) WHERE kind = 'late_charge';
CREATE INDEX ledger_by_attempt ON ledger (attempt_id);

CREATE TRIGGER ledger_is_append_only BEFORE UPDATE ON ledger
BEGIN SELECT RAISE(ABORT, 'a ledger row is never changed'); END;
CREATE TRIGGER ledger_is_kept BEFORE DELETE ON ledger
BEGIN SELECT RAISE(ABORT, 'a ledger row is never deleted'); END;
CREATE TRIGGER ledger_reserve_first BEFORE INSERT ON ledger
WHEN NEW.kind <> 'reserve' AND NOT EXISTS (
    SELECT 1 FROM ledger WHERE attempt_id = NEW.attempt_id AND kind = 'reserve')
BEGIN SELECT RAISE(ABORT, 'money moves only after its reservation'); END;
CREATE TRIGGER ledger_releases_what_was_held BEFORE INSERT ON ledger
WHEN NEW.kind IN ('settle', 'void', 'refunded', 'refund_denied') AND NEW.held_usd_micros <> -(
    SELECT amount_usd_micros FROM ledger WHERE attempt_id = NEW.attempt_id AND kind = 'reserve')
BEGIN SELECT RAISE(ABORT, 'a settlement releases exactly what was reserved'); END;
CREATE TRIGGER ledger_charge_has_prediction BEFORE INSERT ON ledger
WHEN NEW.kind IN ('settle', 'refund_due', 'refunded', 'refund_denied', 'late_charge', 'adjust') AND NOT EXISTS (
    SELECT 1 FROM attempts WHERE attempt_id = NEW.attempt_id AND prediction_id IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'only an attempt with a prediction can be charged'); END;
CREATE TRIGGER ledger_late_charge_after_void BEFORE INSERT ON ledger
WHEN NEW.kind = 'late_charge' AND NOT EXISTS (
    SELECT 1 FROM ledger WHERE attempt_id = NEW.attempt_id AND kind = 'void')
BEGIN SELECT RAISE(ABORT, 'only a void attempt can be charged late'); END;
CREATE TRIGGER ledger_adjust_after_settlement BEFORE INSERT ON ledger
WHEN NEW.kind = 'adjust' AND NOT EXISTS (
    SELECT 1 FROM ledger WHERE attempt_id = NEW.attempt_id AND kind IN ('settle', 'void', 'refunded', 'refund_denied'))
BEGIN SELECT RAISE(ABORT, 'only what is settled can be adjusted'); END;
-- Whatever the provider's books say: an attempt never gave money, it only took some or none.
CREATE TRIGGER ledger_spent_is_not_negative BEFORE INSERT ON ledger
WHEN NEW.spent_usd_micros < 0 AND NEW.spent_usd_micros + (
    SELECT sum(spent_usd_micros) FROM ledger WHERE attempt_id = NEW.attempt_id) < 0
BEGIN SELECT RAISE(ABORT, 'an attempt cannot cost less than nothing'); END;
CREATE TRIGGER attempts_keep_their_prediction BEFORE UPDATE OF prediction_id ON attempts
WHEN OLD.prediction_id IS NOT NULL AND NEW.prediction_id IS NOT OLD.prediction_id
BEGIN SELECT RAISE(ABORT, 'an attempt keeps its prediction'); END;

CREATE INDEX revisions_by_picture ON revisions (image_sha256) WHERE image_sha256 IS NOT NULL;

-- What pictures and first frames of this queue look like: from these it learns how near the two are to each other.
CREATE TABLE looks (
    attempt_id TEXT PRIMARY KEY REFERENCES attempts,
    picture_sha256 TEXT NOT NULL CHECK (length(picture_sha256) = 64),
    picture BLOB NOT NULL,
    frame BLOB NOT NULL
) STRICT, WITHOUT ROWID;
