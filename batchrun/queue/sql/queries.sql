-- Every statement of the queue, each under a name. The migrations stand in a folder of their own beside this file.

-- ---------------------------------------------------------------- identity and runs

-- name: read_identity
SELECT queue_id, kind, origin FROM queue_identity;

-- name: write_identity
INSERT INTO queue_identity (only_row, queue_id, kind, origin, created_ms)
VALUES (1, :queue_id, :kind, :origin, :now_ms);

-- name: start_run
INSERT INTO runs (run_id, host, pid, started_ms, lease_until_ms)
VALUES (:run_id, :host, :pid, :now_ms, :lease_until_ms)
ON CONFLICT (run_id) DO UPDATE SET lease_until_ms = excluded.lease_until_ms;

-- Runs of this machine that look alive: a process that is gone need not be waited for.
-- name: living_runs_here
SELECT run_id, pid FROM runs WHERE host = :host AND lease_until_ms >= :now_ms AND run_id <> :run_id;

-- Leases that end later than any clock of today can have written: the clock was set back, and nobody renews them.
-- name: end_lost_runs
UPDATE runs SET lease_until_ms = 0 WHERE lease_until_ms > :latest_ms;

-- name: renew_run
UPDATE runs SET lease_until_ms = :lease_until_ms WHERE run_id = :run_id RETURNING run_id;

-- name: say_waiting
UPDATE runs SET waiting = :waiting WHERE run_id = :run_id;

-- name: living_runs
SELECT run_id, host, pid, waiting FROM runs WHERE lease_until_ms >= :now_ms ORDER BY started_ms;

-- name: end_run
UPDATE runs SET lease_until_ms = 0 WHERE run_id = :run_id;

-- name: release_all
UPDATE jobs SET lease_run_id = NULL WHERE lease_run_id = :run_id;

-- ---------------------------------------------------------------- intake: a manifest's generation

-- name: find_batch
SELECT batch_id, name, manifest, generation FROM batches WHERE name = :name;

-- name: insert_batch
INSERT INTO batches (name, manifest, campaign, checks, caps, generation, created_ms)
VALUES (:name, :manifest, :campaign, :checks, :caps, 0, :now_ms) RETURNING batch_id;

-- name: begin_generation
UPDATE batches SET generation = generation + 1, manifest = :manifest, campaign = :campaign, checks = :checks, caps = :caps
WHERE batch_id = :batch_id AND generation = :seen_generation RETURNING generation;

-- A campaign's figures are the same in all its manifests: a run that buys by what another of them said before reads it again.
-- name: tell_campaign
UPDATE batches SET caps = json_set(caps,
    '$.campaign_budget_usd_micros', json_extract(:caps, '$.campaign_budget_usd_micros'),
    '$.campaign_daily_budget_usd_micros', json_extract(:caps, '$.campaign_daily_budget_usd_micros'))
WHERE campaign = :campaign AND batch_id <> :batch_id AND (
    json_extract(caps, '$.campaign_budget_usd_micros') IS NOT json_extract(:caps, '$.campaign_budget_usd_micros')
    OR json_extract(caps, '$.campaign_daily_budget_usd_micros')
        IS NOT json_extract(:caps, '$.campaign_daily_budget_usd_micros'));

-- What the queue knows of some jobs of a batch, for the plan.
-- name: known_jobs
SELECT j.job_id, j.key, j.state, j.output_path, j.failure_kind, j.failure_message, r.revision_id, r.take, r.fingerprint,
       r.prompt, r.image_sha256, r.image_url, a.output_url, a.finished_ms, j.placed_sha256 IS NOT NULL AS has_clip,
       a.job_id IS NULL OR a.job_id <> j.job_id AS is_copy, j.output_key NOT LIKE '%.mp4' AS handed_over,
       j.rerun_by IS NOT NULL AND j.rerun_by <> :run_id AND NOT EXISTS (
          SELECT 1 FROM runs l WHERE l.run_id = j.rerun_by AND l.lease_until_ms >= :now_ms) AS unagreed,
       (SELECT count(*) FROM attempts t WHERE t.fingerprint = r.fingerprint AND t.state = 'failed'
          AND coalesce(t.code, 0) <> 1407) AS failed_attempts
FROM json_each(:keys) k
CROSS JOIN jobs j ON j.batch_id = :batch_id AND j.key = k.value
JOIN revisions r ON r.revision_id = j.revision_id
LEFT JOIN attempts a ON a.attempt_id = j.attempt_id;

-- The folders of a batch's finished clips, of the rows that its manifest has: each path up to its last slash.
-- name: finished_folders
SELECT rtrim(output_path, replace(output_path, '/', '')) AS folder, count(*) AS jobs FROM jobs
WHERE batch_id = :batch_id AND state = 'done' AND generation = :generation GROUP BY folder;

-- The rows of one reading, before they are put in place; `place` is their order.
-- name: make_incoming
CREATE TEMPORARY TABLE IF NOT EXISTS incoming (
    place INTEGER PRIMARY KEY, move TEXT, rerun INTEGER, job_id INTEGER, old_revision_id INTEGER, take INTEGER, key TEXT,
    priority INTEGER, position INTEGER, price_usd_micros INTEGER, tags TEXT, image_path TEXT, output_path TEXT,
    output_key TEXT, fingerprint TEXT, fp_version INTEGER, model TEXT, prompt TEXT, negative_prompt TEXT,
    guidance_hundredths INTEGER, duration_s INTEGER, image_url TEXT, image_sha256 TEXT);

-- name: empty_incoming
DELETE FROM incoming;

-- name: add_incoming
INSERT INTO incoming (move, rerun, job_id, old_revision_id, take, key, priority, position, price_usd_micros, tags, image_path,
    output_path, output_key, fingerprint, fp_version, model, prompt, negative_prompt, guidance_hundredths, duration_s,
    image_url, image_sha256)
VALUES (:move, :rerun, :job_id, :old_revision_id, :take, :key, :priority, :position, :price_usd_micros, :tags, :image_path,
    :output_path, :output_key, :fingerprint, :fp_version, :model, :prompt, :negative_prompt, :guidance_hundredths,
    :duration_s, :image_url, :image_sha256);

-- Whose file a path is already.
-- name: taken_output
SELECT i.key, i.output_path, b.name AS batch, b.manifest, j.key AS owner, j.batch_id = :batch_id AS is_same_batch
FROM incoming i
CROSS JOIN jobs j ON j.output_key = i.output_key JOIN batches b ON b.batch_id = j.batch_id
WHERE NOT (j.batch_id = :batch_id AND j.key = i.key) ORDER BY i.place LIMIT 1;

-- Jobs that have left their manifest, or whose manifest is gone (`left_batches`) or read under another name by now, hand
-- their paths to the rows that ask for them; not while they may still put another clip there. No output has such a key.
-- name: hand_over_outputs
UPDATE jobs SET output_key = output_key || '#' || job_id WHERE job_id IN (
    SELECT j.job_id FROM incoming i CROSS JOIN jobs j ON j.output_key = i.output_key
    JOIN batches b ON b.batch_id = j.batch_id JOIN revisions r ON r.revision_id = j.revision_id
    WHERE j.job_id NOT IN (SELECT x.job_id FROM incoming x WHERE x.job_id IS NOT NULL)
      AND (j.batch_id = :batch_id OR j.generation < b.generation OR b.manifest = :manifest
           OR b.batch_id IN (SELECT value FROM json_each(:left_batches)))
      AND (r.fingerprint = i.fingerprint
           OR j.state NOT IN ('submitting', 'unknown', 'parked', 'running', 'downloading')));

-- name: last_ids
SELECT (SELECT coalesce(max(job_id), 0) FROM jobs) AS job_id,
       (SELECT coalesce(max(revision_id), 0) FROM revisions) AS revision_id;

-- A changed job that another run holds, or that is in flight by now, gets its new revision at a later reading.
-- name: hold_back
UPDATE incoming SET move = 'outdate' WHERE move = 'revise' AND NOT EXISTS (
    SELECT 1 FROM jobs j WHERE j.job_id = incoming.job_id AND j.revision_id = incoming.old_revision_id
      AND NOT EXISTS (SELECT 1 FROM runs l WHERE l.run_id = j.lease_run_id AND l.lease_until_ms >= :now_ms)
      AND j.state IN ('queued', 'done', 'failed', 'rejected', 'lost', 'cancelled'));

-- Revisions before jobs: so each deferred reference is found by an index; the other way round every row scans the jobs.
-- name: add_revisions
INSERT INTO revisions (revision_id, job_id, take, fingerprint, fp_version, model, prompt, negative_prompt,
    guidance_hundredths, duration_s, image_url, image_sha256, created_ms)
SELECT :revisions_before + place, coalesce(job_id, :jobs_before + place), take, fingerprint, fp_version, model, prompt,
    negative_prompt, guidance_hundredths, duration_s, image_url, image_sha256, :now_ms
FROM incoming WHERE move IN ('add', 'revise') ORDER BY place;

-- name: add_jobs
INSERT INTO jobs (job_id, batch_id, key, state, revision_id, priority, position, price_usd_micros,
    tags, image_path, output_path, output_key, generation, changed_ms)
SELECT :jobs_before + place, :batch_id, key, 'queued', :revisions_before + place, priority, position, price_usd_micros,
    tags, image_path, output_path, output_key, :generation, :now_ms
FROM incoming WHERE move = 'add' ORDER BY place;

-- A changed job starts over with its new revision.
-- name: revise_jobs
UPDATE jobs SET state = 'queued', revision_id = :revisions_before + i.place, attempt_id = NULL,
    not_before_ms = 0, failure_kind = NULL, failure_message = NULL, file_sha256 = NULL, file_bytes = NULL,
    file_facts = NULL, finished_ms = NULL, lease_run_id = NULL, outdated = 0, rerun_by = NULL, changed_ms = :now_ms
FROM incoming i WHERE i.move = 'revise' AND jobs.job_id = i.job_id
  AND state IN ('queued', 'done', 'failed', 'rejected', 'lost', 'cancelled');

-- Jobs that failed for a passing reason may be tried again.
-- name: retry_jobs
UPDATE jobs SET state = 'queued', attempt_id = NULL, not_before_ms = 0, failure_kind = NULL, failure_message = NULL,
    finished_ms = NULL, changed_ms = :now_ms
FROM incoming i WHERE i.move = 'retry' AND jobs.job_id = i.job_id AND revision_id = i.old_revision_id
  AND state = 'failed';

-- Done jobs whose file is gone are fetched again: they are paid for.
-- name: refetch_jobs
UPDATE jobs SET state = 'downloading', finished_ms = NULL, file_sha256 = NULL, file_bytes = NULL, file_facts = NULL,
    changed_ms = :now_ms
FROM incoming i WHERE i.move = 'refetch' AND jobs.job_id = i.job_id AND revision_id = i.old_revision_id
  AND state = 'done' AND jobs.output_key LIKE '%.mp4'
  AND EXISTS (SELECT 1 FROM attempts a WHERE a.attempt_id = jobs.attempt_id AND a.job_id = jobs.job_id);

-- Those among them that have another job's clip, or whose path was handed over, are copied again: by any run, because
-- nothing is bought for them.
-- name: recopy_jobs
UPDATE jobs SET state = 'queued', attempt_id = NULL, not_before_ms = 0, finished_ms = NULL, file_sha256 = NULL,
    file_bytes = NULL, file_facts = NULL, rerun_by = NULL, changed_ms = :now_ms
FROM incoming i WHERE i.move = 'refetch' AND jobs.job_id = i.job_id AND revision_id = i.old_revision_id
  AND state = 'done' AND (jobs.output_key NOT LIKE '%.mp4' OR NOT EXISTS (
    SELECT 1 FROM attempts a WHERE a.attempt_id = jobs.attempt_id AND a.job_id = jobs.job_id));

-- What costs nothing follows the manifest.
-- name: keep_jobs
UPDATE jobs SET priority = i.priority, position = i.position, tags = i.tags, generation = :generation,
    image_path = i.image_path, not_before_ms = 0, outdated = i.move = 'outdate',
    price_usd_micros = CASE WHEN state IN ('queued', 'failed', 'cancelled') THEN i.price_usd_micros
        ELSE jobs.price_usd_micros END,
    output_path = CASE WHEN state IN ('queued', 'failed', 'cancelled') THEN i.output_path ELSE jobs.output_path END,
    output_key = CASE WHEN state IN ('queued', 'failed', 'cancelled') OR jobs.output_path = i.output_path
        THEN i.output_key ELSE jobs.output_key END
FROM incoming i WHERE jobs.job_id = i.job_id;

-- They have a clip already, and this run may buy another one.
-- name: allow_reruns
UPDATE jobs SET rerun_by = :run_id FROM incoming i
WHERE i.rerun = 1 AND jobs.job_id = i.job_id AND outdated = 0;

-- ---------------------------------------------------------------- claim: a lease on jobs that have none alive

-- name: claimable_paid
SELECT j.job_id FROM jobs j LEFT JOIN runs l ON l.run_id = j.lease_run_id
WHERE j.batch_id = :batch_id AND j.state IN ('submitting', 'running', 'downloading')
  AND coalesce(j.lease_run_id, '') <> :run_id
  AND (j.lease_run_id IS NULL OR coalesce(l.lease_until_ms, 0) < :now_ms)
  AND j.not_before_ms <= :ready_ms
ORDER BY j.job_id LIMIT :count;

-- Jobs of the newest reading only: what left the manifest is not bought.
-- name: claimable_queued
SELECT j.job_id, j.priority, j.position FROM jobs j LEFT JOIN runs l ON l.run_id = j.lease_run_id
WHERE j.batch_id = :batch_id AND j.state = 'queued' AND j.outdated = 0
  AND j.generation = (SELECT generation FROM batches b WHERE b.batch_id = :batch_id)
  AND j.not_before_ms <= :now_ms AND j.price_usd_micros < :price_below_usd_micros
  AND (:chosen_by IS NULL OR j.chosen_by = :chosen_by)
  AND (j.rerun_by IS NULL OR j.rerun_by = :run_id)
  AND coalesce(j.lease_run_id, '') <> :run_id
  AND (j.lease_run_id IS NULL OR coalesce(l.lease_until_ms, 0) < :now_ms)
ORDER BY j.priority DESC, j.position, j.job_id LIMIT :count;

-- name: outdated_in_flight
SELECT count(*) AS jobs FROM jobs WHERE batch_id = :batch_id AND outdated = 1
  AND generation = (SELECT generation FROM batches b WHERE b.batch_id = :batch_id)
  AND state IN ('submitting', 'unknown', 'parked', 'running', 'downloading');

-- name: choose
UPDATE jobs SET chosen_by = :run_id WHERE batch_id = :batch_id AND key = :key;

-- What an earlier round of the run was asked for and has not bought: this round may be asked for something else.
-- name: choose_anew
UPDATE jobs SET chosen_by = NULL WHERE batch_id = :batch_id AND chosen_by = :run_id AND state = 'queued';

-- How the chosen jobs stand, for a run that goes on only when they are well.
-- name: chosen_states
SELECT state, count(*) AS jobs, coalesce(sum(not_before_ms > :patience_ms OR outdated = 1), 0) AS put_off,
       coalesce(sum(json_extract(file_facts, '$.warnings[0]') IS NOT NULL), 0) AS warned
FROM jobs WHERE batch_id = :batch_id AND chosen_by = :run_id GROUP BY state;

-- name: take_lease
UPDATE jobs SET lease_run_id = :run_id WHERE job_id = :job_id;

-- name: release
UPDATE jobs SET lease_run_id = NULL WHERE job_id = :job_id AND lease_run_id = :run_id;

-- name: read_job
SELECT j.job_id, j.batch_id, b.name AS batch, b.checks, j.key, j.state, j.priority, j.price_usd_micros, j.output_path,
       j.file_sha256, j.placed_sha256, r.revision_id, r.take, r.model, r.prompt, r.negative_prompt,
       r.guidance_hundredths, r.duration_s, j.image_path, r.image_url, r.image_sha256,
       a.attempt_id, a.prediction_id, a.submitted_ms, a.server_ahead_ms, a.output_url,
       u.attempt_id AS upload_attempt_id, u.url AS upload_url, u.uploaded_ms,
       (SELECT count(*) FROM attempts t WHERE t.fingerprint = r.fingerprint AND t.state = 'failed'
          AND coalesce(t.code, 0) <> 1407) AS failed_attempts
FROM jobs j
JOIN batches b ON b.batch_id = j.batch_id
JOIN revisions r ON r.revision_id = j.revision_id
LEFT JOIN attempts a ON a.attempt_id = j.attempt_id
LEFT JOIN uploads u ON u.job_id = j.job_id AND u.revision_id = j.revision_id
  AND NOT EXISTS (SELECT 1 FROM attempts x WHERE x.attempt_id = u.attempt_id)
WHERE j.job_id = :job_id
ORDER BY u.uploaded_ms DESC LIMIT 1;

-- Whether something is left that will be ready soon enough to wait for it, whoever holds it now.
-- name: queued_left
SELECT EXISTS (
    SELECT 1 FROM jobs WHERE batch_id = :batch_id AND state = 'queued' AND outdated = 0
      AND generation = (SELECT generation FROM batches b WHERE b.batch_id = :batch_id)
      AND price_usd_micros < :price_below_usd_micros AND not_before_ms <= :patience_ms
      AND (rerun_by IS NULL OR rerun_by = :run_id)
      AND (:chosen_by IS NULL OR chosen_by = :chosen_by)) AS something;

-- Of batches that the run is not asked for, without what another living run collects.
-- name: paid_left
SELECT EXISTS (
    SELECT 1 FROM jobs j WHERE batch_id = :batch_id AND state IN ('submitting', 'running', 'downloading')
      AND not_before_ms <= :patience_ms
      AND (:is_asked_for OR lease_run_id IS NULL OR lease_run_id = :run_id OR NOT EXISTS (
        SELECT 1 FROM runs l WHERE l.run_id = j.lease_run_id AND l.lease_until_ms >= :now_ms))) AS something;

-- ---------------------------------------------------------------- twins: never bought twice, across names

-- What the queue knows of this job's very request: finished clips, of this job's past too; then what is in flight for
-- other jobs; then how it failed.
-- name: twins
SELECT * FROM (
    SELECT o.verdict, j.job_id, j.key, b.name AS batch, j.output_path, o.file_sha256, o.file_bytes, o.file_facts,
           NULL AS not_before_ms, NULL AS message, 0 AS failed_attempts
    FROM outcomes o JOIN jobs j ON j.job_id = o.job_id JOIN batches b ON b.batch_id = j.batch_id
    WHERE o.fingerprint = (SELECT fingerprint FROM revisions WHERE revision_id = :revision_id AND take = 1)
      AND o.verdict = 'done' ORDER BY o.job_id LIMIT :count)
UNION ALL
SELECT * FROM (
    SELECT j.state, j.job_id, j.key, b.name, j.output_path, NULL, NULL, NULL, j.not_before_ms, NULL, 0
    FROM attempts a JOIN jobs j ON j.job_id = a.job_id AND j.attempt_id = a.attempt_id
    JOIN batches b ON b.batch_id = j.batch_id
    WHERE a.fingerprint = (SELECT fingerprint FROM revisions WHERE revision_id = :revision_id AND take = 1)
      AND j.job_id <> :job_id AND j.state IN ('submitting', 'unknown', 'parked', 'running', 'downloading')
    LIMIT :count)
UNION ALL
SELECT * FROM (
    SELECT o.verdict, j.job_id, j.key, b.name, j.output_path, NULL, NULL, NULL, NULL, o.message,
           (SELECT count(*) FROM attempts t WHERE t.fingerprint = o.fingerprint AND t.state = 'failed'
              AND coalesce(t.code, 0) <> 1407)
    FROM outcomes o JOIN jobs j ON j.job_id = o.job_id JOIN batches b ON b.batch_id = j.batch_id
    WHERE o.fingerprint = (SELECT fingerprint FROM revisions WHERE revision_id = :revision_id AND take = 1)
      AND o.verdict <> 'done' LIMIT :count);

-- The finished clips of some requests, a few of each; whether the provider still keeps one as `kept_attempt` says.
-- name: clips_of_requests
SELECT o.fingerprint, b.name AS batch, j.key, j.output_path, o.file_sha256, o.file_bytes, EXISTS (
    SELECT 1 FROM attempts a WHERE a.job_id = o.job_id AND a.fingerprint = o.fingerprint AND a.state = 'completed'
      AND a.output_url IS NOT NULL AND a.finished_ms > :kept_since_ms
      AND (j.attempt_id IS NULL OR j.attempt_id <> a.attempt_id OR j.state NOT IN ('rejected', 'lost'))) AS is_kept
FROM json_each(:fingerprints) w
CROSS JOIN outcomes o ON o.fingerprint = w.value AND o.verdict = 'done' AND o.job_id IN (
    SELECT x.job_id FROM outcomes x WHERE x.fingerprint = w.value AND x.verdict = 'done' ORDER BY x.job_id LIMIT :count)
JOIN jobs j ON j.job_id = o.job_id JOIN batches b ON b.batch_id = j.batch_id;

-- The newest attempt that brought a good clip of this job's request, under any name, and whose clip the provider keeps.
-- name: kept_attempt
SELECT a.attempt_id, b.name AS batch, j.key FROM attempts a
JOIN jobs j ON j.job_id = a.job_id JOIN batches b ON b.batch_id = j.batch_id
WHERE a.fingerprint = (SELECT fingerprint FROM revisions WHERE revision_id = :revision_id AND take = 1)
  AND a.state = 'completed' AND a.output_url IS NOT NULL AND a.finished_ms > :kept_since_ms
  AND (j.attempt_id IS NULL OR j.attempt_id <> a.attempt_id OR j.state NOT IN ('rejected', 'lost'))
  AND EXISTS (SELECT 1 FROM outcomes o WHERE o.job_id = a.job_id AND o.fingerprint = a.fingerprint AND o.verdict = 'done')
ORDER BY a.submitted_ms DESC LIMIT 1;

-- Its clip is bought already, by that attempt, and its file is gone: it is collected once more, by whoever comes first.
-- name: job_takes_clip
UPDATE jobs SET state = 'downloading', attempt_id = :attempt_id, not_before_ms = 0, failure_kind = NULL,
    failure_message = NULL, file_sha256 = NULL, file_bytes = NULL, file_facts = NULL, changed_ms = :now_ms,
    lease_run_id = NULL
WHERE job_id = :job_id AND state = 'queued' AND outdated = 0 AND lease_run_id = :run_id RETURNING job_id;

-- The clip was bought for another job and copied: no attempt of its own, no money.
-- name: job_copied
UPDATE jobs SET state = 'done', file_sha256 = :sha256, file_bytes = :size_bytes, file_facts = :facts,
    placed_sha256 = :sha256, changed_ms = :now_ms, finished_ms = :now_ms, lease_run_id = NULL,
    failure_kind = NULL, failure_message = NULL
WHERE job_id = :job_id AND state = 'queued' AND outdated = 0 AND lease_run_id = :run_id RETURNING job_id;

-- Jobs that wait for the same clip of another job may look again: something was settled.
-- name: wake_twins
UPDATE jobs SET not_before_ms = 0 WHERE state = 'queued' AND failure_kind = 'twin';

-- ---------------------------------------------------------------- submit

-- name: record_upload
INSERT INTO uploads (attempt_id, job_id, revision_id, url, uploaded_ms)
VALUES (:attempt_id, :job_id, :revision_id, :url, :now_ms);

-- name: open_attempts
SELECT count(*) AS slots, coalesce(sum(state = 'unknown'), 0) AS doubtful FROM attempts
WHERE state IN ('submitting', 'unknown', 'running') AND submitted_ms > :slots_since_ms;

-- name: count_unknown
SELECT coalesce(sum(state = 'unknown'), 0) AS unknown, coalesce(sum(state = 'submitting'), 0) AS unanswered FROM attempts
WHERE state IN ('submitting', 'unknown');

-- Unknown outcomes after which no submit was answered.
-- name: unknown_in_a_row
SELECT count(*) AS in_a_row, max(answered_ms) AS last_ms FROM attempts
WHERE state IN ('submitting', 'unknown') AND state = 'unknown' AND submitted_ms > coalesce(
    (SELECT submitted_ms FROM attempts WHERE prediction_id IS NOT NULL ORDER BY submitted_ms DESC LIMIT 1), 0);

-- Submits without a prediction: under way, of unknown outcome, or given up so lately that they may still turn up.
-- name: open_submits
SELECT a.attempt_id, a.state, a.submitted_ms, a.send_by_ms, a.answered_ms, a.server_ahead_ms, a.image_url AS sent_url,
       b.name AS batch, j.key, j.state AS job_state, j.image_path, j.failure_message, r.revision_id, r.take, r.model,
       r.prompt, r.negative_prompt, r.guidance_hundredths, r.duration_s, r.image_url, r.image_sha256
FROM (SELECT * FROM attempts WHERE state IN ('submitting', 'unknown')
      UNION ALL
      SELECT * FROM attempts t WHERE t.state IN ('void', 'left') AND t.finished_ms > :given_up_since_ms
        AND t.prediction_id IS NULL
        AND EXISTS (SELECT 1 FROM ledger l WHERE l.attempt_id = t.attempt_id AND l.kind = 'unknown')) a
JOIN jobs j ON j.job_id = a.job_id
JOIN batches b ON b.batch_id = a.batch_id
JOIN revisions r ON r.revision_id = a.revision_id
ORDER BY a.submitted_ms;

-- name: predictions_since
SELECT prediction_id, submitted_ms, server_ahead_ms, image_url FROM attempts
WHERE submitted_ms >= :since_ms AND prediction_id IS NOT NULL;

-- name: recent_predictions
SELECT prediction_id FROM attempts
WHERE submitted_ms BETWEEN :since_ms AND :until_ms AND prediction_id IS NOT NULL
ORDER BY submitted_ms DESC LIMIT :count;

-- Starts that the provider may still count in its minute: an attempt is in it until a minute after its answer came. What was
-- written by a clock that was far ahead says nothing about this minute.
-- name: recent_starts
SELECT count(*) AS starts, min(answered_ms) AS oldest_ms FROM attempts
WHERE submitted_ms > :since_ms AND submitted_ms < :until_ms AND (answered_ms IS NULL OR answered_ms > :minute_ago_ms) AND state <> 'void';

-- name: read_caps
SELECT caps FROM batches WHERE batch_id = :batch_id;

-- name: last_day
SELECT max(day) AS day FROM attempts WHERE batch_id = :batch_id;

-- name: last_day_of_campaign
SELECT max(day) AS day FROM attempts WHERE campaign = :campaign;

-- name: insert_attempt
INSERT INTO attempts (attempt_id, job_id, revision_id, batch_id, campaign, run_id, day, price_usd_micros, state,
    image_url, submitted_ms, send_by_ms, server_ahead_ms, fingerprint)
SELECT :attempt_id, j.job_id, j.revision_id, j.batch_id, b.campaign, :run_id, :day, :price_usd_micros, 'submitting',
    :image_url, :now_ms, :send_by_ms, :server_ahead_ms, r.fingerprint
FROM jobs j JOIN batches b ON b.batch_id = j.batch_id JOIN revisions r ON r.revision_id = j.revision_id
WHERE j.job_id = :job_id AND j.state = 'queued' AND j.outdated = 0 AND j.revision_id = :revision_id
  AND j.generation = b.generation AND j.lease_run_id = :run_id
  AND NOT EXISTS (SELECT 1 FROM attempts x WHERE x.attempt_id = :attempt_id)
RETURNING attempt_id;

-- name: job_submitting
UPDATE jobs SET state = 'submitting', attempt_id = :attempt_id, changed_ms = :now_ms
WHERE job_id = :job_id AND state = 'queued' AND lease_run_id = :run_id RETURNING job_id;

-- ---------------------------------------------------------------- answers: by the attempt's token, in any state

-- name: attempt_accepted
UPDATE attempts SET state = 'running', prediction_id = :prediction_id, status_word = :status_word,
    answered_ms = :now_ms, message = NULL
WHERE attempt_id = :attempt_id AND state IN ('submitting', 'unknown') RETURNING job_id;

-- name: prediction_owner
SELECT attempt_id FROM attempts WHERE prediction_id = :prediction_id;

-- What was given up exists after all.
-- name: attempt_late
UPDATE attempts SET state = 'late', prediction_id = :prediction_id, status_word = :status_word,
    answered_ms = :now_ms, finished_ms = NULL, told_ms = 0
WHERE attempt_id = :attempt_id AND state IN ('void', 'refused', 'left') AND prediction_id IS NULL RETURNING job_id;

-- Its job is lost: nobody will ever hear of it again; its money stays held.
-- name: attempt_lost
UPDATE attempts SET state = 'left', finished_ms = :now_ms WHERE attempt_id = :attempt_id AND state = 'running';

-- The clip of a late charge is out of reach: a person hears of it once more.
-- name: attempt_untold
UPDATE attempts SET told_ms = 0 WHERE attempt_id = :attempt_id;

-- Charged late and not told yet, or told and the clip not safe yet.
-- name: late_charges
SELECT a.attempt_id, a.prediction_id, a.state, b.name AS batch, j.key
FROM attempts a JOIN jobs j ON j.job_id = a.job_id JOIN batches b ON b.batch_id = a.batch_id
WHERE a.told_ms = 0 OR a.state = 'late' ORDER BY a.submitted_ms;

-- name: late_told
UPDATE attempts SET told_ms = :now_ms WHERE told_ms = 0;

-- name: attempt_goes_on
UPDATE attempts SET state = 'running' WHERE attempt_id = :attempt_id AND state = 'late';

-- name: attempt_left
UPDATE attempts SET state = 'left', finished_ms = :now_ms, message = :message
WHERE attempt_id = :attempt_id AND state = 'unknown' RETURNING job_id;

-- name: attempt_audited
UPDATE attempts SET audited_ms = :now_ms WHERE attempt_id = :attempt_id;

-- name: attempt_refused
UPDATE attempts SET state = :state, answered_ms = :now_ms, finished_ms = :now_ms, code = :code, message = :message
WHERE attempt_id = :attempt_id AND state IN ('submitting', 'unknown') AND prediction_id IS NULL RETURNING job_id;

-- name: attempt_unknown
UPDATE attempts SET state = 'unknown', answered_ms = :now_ms, message = :message
WHERE attempt_id = :attempt_id AND state = 'submitting' RETURNING job_id;

-- name: attempt_completed
UPDATE attempts SET state = 'completed', status_word = :status_word, output_url = :output_url, finished_ms = :now_ms
WHERE attempt_id = :attempt_id AND state IN ('running', 'late') RETURNING job_id;

-- name: attempt_failed
UPDATE attempts SET state = 'failed', status_word = :status_word, code = :code, message = :message, finished_ms = :now_ms
WHERE attempt_id = :attempt_id AND state IN ('running', 'late') RETURNING job_id;

-- name: attempt_output_url
UPDATE attempts SET output_url = :output_url WHERE attempt_id = :attempt_id AND state = 'completed' RETURNING job_id;

-- name: job_running
UPDATE jobs SET state = 'running', changed_ms = :now_ms, failure_kind = NULL, failure_message = NULL
WHERE job_id = :job_id AND attempt_id = :attempt_id AND state IN ('submitting', 'unknown', 'parked') RETURNING job_id;

-- name: job_unknown
UPDATE jobs SET state = 'unknown', changed_ms = :now_ms, failure_kind = :kind, failure_message = :message,
    lease_run_id = NULL
WHERE job_id = :job_id AND attempt_id = :attempt_id AND state = 'submitting' RETURNING job_id;

-- name: job_parked
UPDATE jobs SET state = 'parked', changed_ms = :now_ms, failure_kind = :kind, failure_message = :message,
    lease_run_id = NULL
WHERE attempt_id = :attempt_id AND state = 'unknown'
  AND job_id = (SELECT job_id FROM attempts WHERE attempt_id = :attempt_id AND state = 'unknown') RETURNING job_id;

-- Nobody could tell what became of its submit; now the prediction does.
-- name: forget_left
DELETE FROM outcomes WHERE job_id = :job_id AND verdict = 'left_undecided';

-- Not bought again yet: it goes on with the prediction that was given up, whoever prepares to buy it just now.
-- name: job_takes_late
UPDATE jobs SET state = 'running', attempt_id = :attempt_id, changed_ms = :now_ms, failure_kind = NULL,
    failure_message = NULL, finished_ms = NULL, lease_run_id = NULL
WHERE job_id = :job_id AND outdated = 0
  AND revision_id = (SELECT revision_id FROM attempts WHERE attempt_id = :attempt_id)
  AND (state = 'queued' OR (state = 'failed' AND failure_kind = 'left_undecided')) RETURNING job_id;

-- name: job_downloading
UPDATE jobs SET state = 'downloading', changed_ms = :now_ms
WHERE job_id = :job_id AND attempt_id = :attempt_id AND state = 'running' RETURNING job_id;

-- name: job_requeued
UPDATE jobs SET state = 'queued', attempt_id = NULL, not_before_ms = :not_before_ms, changed_ms = :now_ms,
    failure_kind = NULL, failure_message = NULL, lease_run_id = NULL
WHERE job_id = :job_id AND attempt_id = :attempt_id AND state IN ('submitting', 'unknown', 'parked', 'running')
  AND outdated = 0 RETURNING job_id;

-- name: job_failed
UPDATE jobs SET state = 'failed', failure_kind = :kind, failure_message = :message, changed_ms = :now_ms,
    finished_ms = :now_ms, lease_run_id = NULL
WHERE job_id = :job_id AND attempt_id = :attempt_id AND state IN ('submitting', 'unknown', 'parked', 'running')
RETURNING job_id;

-- What it asks for is not what was planned: it waits until its manifest is read again.
-- name: job_outdated
UPDATE jobs SET outdated = 1, changed_ms = :now_ms, lease_run_id = NULL
WHERE job_id = :job_id AND state = 'queued' AND lease_run_id = :run_id RETURNING job_id;

-- A job that fails before it is bought: its picture cannot be used any more.
-- name: job_failed_unbought
UPDATE jobs SET state = 'failed', failure_kind = :kind, failure_message = :message, changed_ms = :now_ms,
    finished_ms = :now_ms, lease_run_id = NULL
WHERE job_id = :job_id AND state = 'queued' AND lease_run_id = :run_id RETURNING job_id;

-- ---------------------------------------------------------------- the file

-- name: job_file_ready
UPDATE jobs SET file_sha256 = :sha256, file_bytes = :size_bytes, file_facts = :facts, changed_ms = :now_ms
WHERE job_id = :job_id AND attempt_id = :attempt_id AND state = 'downloading' AND lease_run_id = :run_id
RETURNING job_id;

-- name: job_done
UPDATE jobs SET state = 'done', placed_sha256 = file_sha256, changed_ms = :now_ms, finished_ms = :now_ms, lease_run_id = NULL,
    failure_kind = NULL, failure_message = NULL
WHERE job_id = :job_id AND attempt_id = :attempt_id AND state = 'downloading' AND file_sha256 IS NOT NULL
  AND lease_run_id = :run_id RETURNING job_id;

-- name: job_rejected
UPDATE jobs SET state = 'rejected', failure_kind = :kind, failure_message = :message, file_facts = :facts, changed_ms = :now_ms,
    finished_ms = :now_ms, lease_run_id = NULL
WHERE job_id = :job_id AND attempt_id = :attempt_id AND state = 'downloading' AND lease_run_id = :run_id
RETURNING job_id;

-- name: rejected_jobs
SELECT job_id FROM jobs WHERE batch_id = :batch_id AND state = 'rejected' ORDER BY position, job_id;

-- A person has looked at it: whole and paid for, it only needs its name.
-- name: accept_rejected
UPDATE jobs SET state = 'downloading', file_sha256 = :sha256, file_bytes = :size_bytes, file_facts = :facts,
    not_before_ms = 0, failure_kind = NULL, failure_message = NULL, finished_ms = NULL, changed_ms = :now_ms
WHERE job_id = :job_id AND attempt_id = :attempt_id AND state = 'rejected' RETURNING job_id;

-- name: job_lost
UPDATE jobs SET state = 'lost', failure_kind = :kind, failure_message = :message, changed_ms = :now_ms,
    finished_ms = :now_ms, lease_run_id = NULL
WHERE job_id = :job_id AND attempt_id = :attempt_id AND state IN ('running', 'downloading') AND lease_run_id = :run_id
RETURNING job_id;

-- name: job_put_off
UPDATE jobs SET not_before_ms = :not_before_ms, failure_kind = :kind, failure_message = :message, lease_run_id = NULL
WHERE job_id = :job_id AND lease_run_id = :run_id RETURNING job_id;

-- ---------------------------------------------------------------- ledger

-- One movement: how the price moves between held and spent says the kind (`ledger.MOVES`).
-- name: ledger_move
INSERT INTO ledger (attempt_id, batch_id, campaign, run_id, day, kind, amount_usd_micros, held_usd_micros,
    spent_usd_micros, at_ms)
SELECT attempt_id, batch_id, campaign, run_id, day, :kind, price_usd_micros, :held * price_usd_micros,
    :spent * price_usd_micros, :now_ms
FROM attempts WHERE attempt_id = :attempt_id;

-- The provider's billing says otherwise: the difference, with its sign.
-- name: ledger_adjust
INSERT INTO ledger (attempt_id, batch_id, campaign, run_id, day, kind, amount_usd_micros, held_usd_micros,
    spent_usd_micros, at_ms)
SELECT attempt_id, batch_id, campaign, run_id, day, 'adjust', abs(:more_usd_micros), 0, :more_usd_micros, :now_ms
FROM attempts WHERE attempt_id = :attempt_id;

-- name: ledger_of
SELECT kind, amount_usd_micros, held_usd_micros, spent_usd_micros FROM ledger WHERE attempt_id = :attempt_id
ORDER BY row_id;

-- What moved since a row, summed by everything that a cap can look at.
-- name: ledger_since
SELECT batch_id, campaign, day, run_id, max(row_id) AS last_row_id, sum(held_usd_micros) AS held_usd_micros,
       sum(spent_usd_micros) AS spent_usd_micros
FROM ledger WHERE row_id > :row_id GROUP BY batch_id, campaign, day, run_id;

-- name: refunds_due
SELECT a.attempt_id, a.batch_id, a.prediction_id, a.price_usd_micros, a.finished_ms FROM ledger d
JOIN attempts a ON a.attempt_id = d.attempt_id
WHERE d.kind = 'refund_due' AND NOT EXISTS (
    SELECT 1 FROM ledger s WHERE s.attempt_id = d.attempt_id
      AND s.kind IN ('settle', 'void', 'refunded', 'refund_denied'))
ORDER BY d.row_id LIMIT :count;

-- Charges that the provider's billing has not been asked about yet, or whose refund may still come.
-- name: charges_to_audit
SELECT a.attempt_id, a.prediction_id, a.state, a.finished_ms FROM attempts a
WHERE a.audited_ms IS NULL AND a.state IN ('completed', 'failed')
  AND (a.finished_ms, a.attempt_id) > (:after_ms, :after_id)
  AND EXISTS (SELECT 1 FROM ledger l WHERE l.attempt_id = a.attempt_id
              AND l.kind IN ('settle', 'refund_denied', 'late_charge'))
ORDER BY a.finished_ms, a.attempt_id LIMIT :count;

-- ---------------------------------------------------------------- late clips

-- Predictions that were given up and exist, while their job has moved on.
-- name: late_attempts
SELECT a.attempt_id, a.prediction_id, a.submitted_ms, a.server_ahead_ms, b.name AS batch, j.key, r.duration_s
FROM attempts a JOIN jobs j ON j.job_id = a.job_id JOIN batches b ON b.batch_id = a.batch_id
JOIN revisions r ON r.revision_id = a.revision_id
WHERE a.state = 'late' ORDER BY a.submitted_ms;

-- ---------------------------------------------------------------- looks: whose picture a first frame shows

-- name: record_look
INSERT INTO looks (attempt_id, picture_sha256, picture, frame) VALUES (:attempt_id, :picture_sha256, :picture, :frame)
ON CONFLICT (attempt_id) DO NOTHING;

-- name: look_digests
SELECT DISTINCT picture_sha256 FROM looks;

-- name: read_looks
SELECT picture_sha256, picture, frame FROM looks GROUP BY picture_sha256 LIMIT :count;

-- Every local picture that the queue knows, with how many different requests use it.
-- name: known_pictures
SELECT DISTINCT r.image_sha256, j.image_path,
       (SELECT count(DISTINCT x.fingerprint) FROM revisions x WHERE x.image_sha256 = r.image_sha256) AS requests
FROM jobs j JOIN revisions r ON r.job_id = j.job_id
WHERE r.image_sha256 IS NOT NULL AND j.image_path IS NOT NULL;

-- ---------------------------------------------------------------- views

-- name: list_batches
SELECT batch_id, name, manifest, campaign, generation FROM batches ORDER BY name;

-- name: put_off_jobs
SELECT j.key, j.state, j.failure_kind, j.failure_message FROM jobs j
WHERE j.batch_id = :batch_id AND j.state IN ('queued', 'submitting', 'running', 'downloading')
  AND j.failure_kind IS NOT NULL AND j.not_before_ms > :now_ms
  AND (:chosen_by IS NULL OR j.chosen_by = :chosen_by)
ORDER BY j.position, j.job_id LIMIT :count;

-- Jobs by state, and by the reading in which the manifest held them last: an index has it all.
-- name: state_counts
SELECT state, generation, count(*) AS jobs FROM jobs
WHERE batch_id = :batch_id AND (:chosen_by IS NULL OR chosen_by = :chosen_by) GROUP BY state, generation;

-- Those that have a reason not to be fine, by it.
-- name: trouble_counts
SELECT state, generation = :generation AS current, not_before_ms > :now_ms AS put_off, failure_kind, count(*) AS jobs
FROM jobs WHERE batch_id = :batch_id AND failure_kind > '' AND (:chosen_by IS NULL OR chosen_by = :chosen_by)
GROUP BY state, generation = :generation, not_before_ms > :now_ms, failure_kind;

-- The jobs in some states in the manifest's order, as one text.
-- name: ordered_jobs
SELECT json_group_array(job_id) AS job_ids FROM (
    SELECT job_id FROM jobs WHERE batch_id = :batch_id AND state IN (SELECT value FROM json_each(:states))
    ORDER BY position, job_id);

-- name: list_jobs
SELECT j.key, j.state, j.priority, j.tags, j.output_path, j.failure_kind, j.failure_message, j.changed_ms,
       j.file_bytes, j.file_facts, j.generation = b.generation AS current, r.prompt, r.duration_s, r.take,
       a.prediction_id, a.submitted_ms, a.attempt_id,
       (SELECT coalesce(sum(l.spent_usd_micros), 0) FROM ledger l JOIN attempts t ON t.attempt_id = l.attempt_id
        WHERE t.job_id = j.job_id) AS spent_usd_micros
FROM json_each(:job_ids) w
CROSS JOIN jobs j ON j.job_id = w.value
JOIN batches b ON b.batch_id = j.batch_id
JOIN revisions r ON r.revision_id = j.revision_id
LEFT JOIN attempts a ON a.attempt_id = j.attempt_id
ORDER BY w.key;

-- Finished clips that are whole but look wrong; beside each how many there are.
-- name: warned_jobs
SELECT j.key, json_extract(j.file_facts, '$.warnings') AS notes, count(*) OVER () AS jobs
FROM jobs j JOIN batches b ON b.batch_id = j.batch_id
WHERE j.batch_id = :batch_id AND +j.state = 'done' AND j.generation = b.generation
  AND json_extract(j.file_facts, '$.warnings[0]') > ''
ORDER BY j.position, j.job_id LIMIT :count;

-- Previews that do not show all of what was asked for; beside each how many there are.
-- name: not_shown_jobs
SELECT j.key, json_extract(j.file_facts, '$.not_shown') AS notes, count(*) OVER () AS jobs
FROM jobs j JOIN batches b ON b.batch_id = j.batch_id
WHERE j.batch_id = :batch_id AND +j.state = 'done' AND j.generation = b.generation
  AND json_extract(j.file_facts, '$.not_shown[0]') > ''
ORDER BY j.position, j.job_id LIMIT :count;

-- name: not_fine_jobs
SELECT j.key, j.state, j.failure_kind, j.failure_message, j.generation, a.prediction_id, a.attempt_id
FROM jobs j LEFT JOIN attempts a ON a.attempt_id = j.attempt_id
JOIN batches b ON b.batch_id = j.batch_id
WHERE j.batch_id = :batch_id AND j.state IN ('unknown', 'parked', 'failed', 'rejected', 'lost')
  AND (j.state <> 'failed' OR j.generation = b.generation)
  AND (:chosen_by IS NULL OR j.chosen_by = :chosen_by)
ORDER BY j.position, j.job_id LIMIT :count;

-- ---------------------------------------------------------------- wishes: retry, redo, cancel

-- name: job_by_key
SELECT j.job_id, j.key, b.name AS batch, j.state, j.failure_kind, j.revision_id,
    j.generation = b.generation AS current, r.take, r.fingerprint
FROM jobs j JOIN batches b ON b.batch_id = j.batch_id JOIN revisions r ON r.revision_id = j.revision_id
WHERE j.batch_id = :batch_id AND j.key = :key;

-- A person allows a request once more: how it failed bars it no longer, under no name, but for the verdicts that stay.
-- name: forget_failures
DELETE FROM outcomes WHERE fingerprint = :fingerprint AND verdict <> 'done'
  AND verdict NOT IN (SELECT value FROM json_each(:staying));

-- name: requeue_asked
UPDATE jobs SET state = 'queued', attempt_id = NULL, not_before_ms = 0, failure_kind = NULL, failure_message = NULL,
    finished_ms = NULL, rerun_by = NULL, changed_ms = :now_ms
WHERE job_id = :job_id AND state IN ('failed', 'cancelled') RETURNING job_id;

-- A job that is not in flight, and that no living run holds, may get a new take.
-- name: revisable
SELECT job_id FROM jobs
WHERE job_id = :job_id AND revision_id = :old_revision_id
  AND NOT EXISTS (SELECT 1 FROM runs l WHERE l.run_id = lease_run_id AND l.lease_until_ms >= :now_ms)
  AND state IN ('queued', 'done', 'failed', 'rejected', 'lost', 'cancelled');

-- It starts over with its new revision, as in `revise_jobs`.
-- name: requeue_revised
UPDATE jobs SET state = 'queued', revision_id = :revision_id, attempt_id = NULL,
    not_before_ms = 0, failure_kind = NULL, failure_message = NULL, file_sha256 = NULL, file_bytes = NULL,
    file_facts = NULL, finished_ms = NULL, lease_run_id = NULL, outdated = 0, rerun_by = NULL, changed_ms = :now_ms
WHERE job_id = :job_id AND state IN ('queued', 'done', 'failed', 'rejected', 'lost', 'cancelled');

-- name: next_revision_id
SELECT coalesce(max(revision_id), 0) + 1 AS next_id FROM revisions;

-- name: insert_take
INSERT INTO revisions (revision_id, job_id, take, fingerprint, fp_version, model, prompt, negative_prompt,
    guidance_hundredths, duration_s, image_url, image_sha256, created_ms)
SELECT :revision_id, job_id, take + 1, fingerprint, fp_version, model, prompt, negative_prompt, guidance_hundredths,
    duration_s, image_url, image_sha256, :now_ms
FROM revisions WHERE revision_id = :old_revision_id;

-- A take that is not bought: the job has the one before it again, whose clip still stands under its name. With more than one
-- that was paid for nobody knows any more which of them the clip is of: the last may have been rejected.
-- name: take_back
UPDATE jobs SET state = 'done', revision_id = p.revision_id, attempt_id = p.attempt_id, file_sha256 = p.file_sha256,
    file_bytes = p.file_bytes, file_facts = p.file_facts, not_before_ms = 0, failure_kind = NULL, failure_message = NULL,
    finished_ms = :now_ms, changed_ms = :now_ms, lease_run_id = NULL, rerun_by = NULL
FROM (
    SELECT old.revision_id, o.file_sha256, o.file_bytes, o.file_facts, (
        SELECT a.attempt_id FROM attempts a WHERE a.job_id = old.job_id AND a.revision_id = old.revision_id
          AND a.state = 'completed' ORDER BY a.submitted_ms DESC LIMIT 1) AS attempt_id
    FROM revisions new
    JOIN revisions old ON old.job_id = new.job_id AND old.fingerprint = new.fingerprint AND old.take < new.take
    JOIN outcomes o ON o.job_id = new.job_id AND o.fingerprint = new.fingerprint AND o.verdict = 'done'
    WHERE new.revision_id = :revision_id AND new.job_id = :job_id AND (
        SELECT count(*) FROM attempts a
        WHERE a.job_id = new.job_id AND a.fingerprint = new.fingerprint AND a.state = 'completed') < 2
    ORDER BY attempt_id IS NULL, old.revision_id DESC LIMIT 1) AS p
WHERE jobs.job_id = :job_id AND jobs.revision_id = :revision_id AND jobs.state = 'queued' AND jobs.outdated = 0
  AND jobs.placed_sha256 = p.file_sha256 RETURNING jobs.job_id;

-- name: cancel_queued
UPDATE jobs SET state = 'cancelled', finished_ms = :now_ms, changed_ms = :now_ms, lease_run_id = NULL
WHERE job_id = :job_id AND state = 'queued' RETURNING job_id;

-- ---------------------------------------------------------------- latencies: what the polling has learnt

-- name: record_latency
INSERT INTO latencies (model, duration_s, place, took_ms, learnt_ms)
VALUES (:model, :duration_s, :place, :took_ms, :now_ms)
ON CONFLICT (model, duration_s, place) DO UPDATE SET took_ms = excluded.took_ms, learnt_ms = excluded.learnt_ms;

-- name: read_latencies
SELECT model, duration_s, place, took_ms FROM latencies ORDER BY learnt_ms, place;

-- ---------------------------------------------------------------- report

-- Everything that a page, a table or a sidecar shows of jobs: some of them in the order of their ids, from one on.
-- name: clips
SELECT b.name AS batch, j.key, j.state, j.position, j.tags, j.image_path, j.output_path, j.outdated,
       j.generation = b.generation AS current, j.file_sha256, j.file_bytes, j.file_facts, j.failure_kind,
       j.failure_message, j.changed_ms, r.revision_id, r.take, r.model, r.prompt, r.negative_prompt, r.guidance_hundredths,
       r.duration_s, r.image_url, r.image_sha256, a.prediction_id, a.submitted_ms,
       CASE WHEN a.state = 'completed' THEN a.finished_ms END AS completed_ms,
       (SELECT count(*) FROM attempts t WHERE t.job_id = j.job_id) AS attempts,
       (SELECT coalesce(sum(l.held_usd_micros), 0) FROM ledger l JOIN attempts t ON t.attempt_id = l.attempt_id
        WHERE t.job_id = j.job_id) AS held_usd_micros,
       (SELECT coalesce(sum(l.spent_usd_micros), 0) FROM ledger l JOIN attempts t ON t.attempt_id = l.attempt_id
        WHERE t.job_id = j.job_id) AS spent_usd_micros
FROM jobs j
JOIN batches b ON b.batch_id = j.batch_id
JOIN revisions r ON r.revision_id = j.revision_id
LEFT JOIN attempts a ON a.attempt_id = j.attempt_id
WHERE j.batch_id = :batch_id AND j.key >= :from_key
ORDER BY j.key LIMIT :count;

-- All money of the queue, each attempt once, by what became of it.
-- name: money_lines
SELECT m.batch_id, m.campaign, m.day, count(*) AS attempts, sum(a.price_usd_micros) AS price_usd_micros,
       sum(m.held_usd_micros) AS held_usd_micros, sum(m.spent_usd_micros) AS spent_usd_micros,
       CASE
           WHEN j.attempt_id = m.attempt_id AND j.state = 'done' THEN 'delivered'
           WHEN j.attempt_id = m.attempt_id AND j.state = 'downloading' THEN 'collecting'
           WHEN j.attempt_id = m.attempt_id AND j.state IN ('rejected', 'lost') THEN j.state
           WHEN m.late = 1 THEN 'late'
           WHEN m.settled = 1 THEN 'replaced'
           WHEN m.denied = 1 THEN 'refund_denied'
           WHEN m.refunded = 1 OR (m.void = 1 AND m.due = 1) THEN 'refunded'
           WHEN m.void = 1 THEN 'nothing_created'
           WHEN m.due = 1 THEN 'refund_due'
           WHEN a.state IN ('unknown', 'left') THEN 'unknown'
           ELSE 'running'
       END AS outcome
FROM (SELECT attempt_id, batch_id, campaign, day, sum(held_usd_micros) AS held_usd_micros,
             sum(spent_usd_micros) AS spent_usd_micros,
             max(CASE WHEN kind = 'settle' THEN 1 ELSE 0 END) AS settled,
             max(CASE WHEN kind = 'void' THEN 1 ELSE 0 END) AS void,
             max(CASE WHEN kind = 'refund_due' THEN 1 ELSE 0 END) AS due,
             max(CASE WHEN kind = 'refunded' THEN 1 ELSE 0 END) AS refunded,
             max(CASE WHEN kind = 'refund_denied' THEN 1 ELSE 0 END) AS denied,
             max(CASE WHEN kind = 'late_charge' THEN 1 ELSE 0 END) AS late
      FROM ledger GROUP BY attempt_id, batch_id, campaign, day) m
JOIN attempts a ON a.attempt_id = m.attempt_id
JOIN jobs j ON j.job_id = a.job_id
GROUP BY m.batch_id, m.campaign, m.day, outcome
ORDER BY m.day, m.batch_id;

-- Clips that cost nothing: the queue had bought them for another job.
-- name: copied_clips
SELECT b.batch_id, b.campaign, count(*) AS clips FROM jobs j JOIN batches b ON b.batch_id = j.batch_id
LEFT JOIN attempts a ON a.attempt_id = j.attempt_id
WHERE j.state = 'done' AND (a.job_id IS NULL OR a.job_id <> j.job_id) GROUP BY b.batch_id, b.campaign;
