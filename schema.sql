-- The queue: one SQLite file. It is opened with journal_mode = WAL, synchronous = FULL and
-- foreign_keys = ON. Its user_version is 7, its application_id 0x6f766e74 ("ovnt").
--
-- Times are whole milliseconds since 1970-01-01 00:00 UTC. Money is whole micro-dollars.
--
-- Paths of folders, clips and local images are relative to the folder of this file if they are in it,
-- so that a project can be moved; absolute otherwise. See `src/queue/sqlite/paths.rs`.
--
-- Sums and counts are written in the transaction that changes the rows they sum up, once for all of
-- them; see `src/policy/tally.rs`.
--
-- Conditions list states one by one: for `IN (…)` with more than two values SQLite builds a table
-- each time it checks a row.

-- A batch: the rows of one manifest, counted and priced together.
CREATE TABLE batches (
    batch_id        INTEGER PRIMARY KEY,         -- also the order in which batches are worked on
    name            TEXT    NOT NULL UNIQUE,     -- unique name, as given to `--batch`
    model           TEXT    NOT NULL,            -- model that its jobs request
    folder          TEXT    NOT NULL UNIQUE COLLATE NOCASE, -- path of the folder for its clips;
                                                 -- unique regardless of case, because some
                                                 -- file systems ignore case
    budget          INTEGER CHECK (budget >= 0), -- maximum of spent + reserved; NULL is no limit
    has_files       INTEGER NOT NULL DEFAULT 0,  -- 1 if its rows may name local image files
    -- Sums over its attempts, so that budget checks and `status` never scan them.
    spent           INTEGER NOT NULL DEFAULT 0,  -- total cost of its attempts
    reserved        INTEGER NOT NULL DEFAULT 0,  -- total estimate of its attempts that are open or
                                                 -- presumed absent
    at_risk         INTEGER NOT NULL DEFAULT 0,  -- the part of `reserved` that is in doubt or
                                                 -- presumed absent
    -- The number of jobs in each state, so that a claim knows which states to search.
    queued          INTEGER NOT NULL DEFAULT 0,  -- jobs that wait to be submitted
    submitting      INTEGER NOT NULL DEFAULT 0,  -- jobs whose submission is in progress
    in_doubt        INTEGER NOT NULL DEFAULT 0,  -- jobs that a provider may have accepted
    running         INTEGER NOT NULL DEFAULT 0,  -- jobs that a provider has accepted
    downloading     INTEGER NOT NULL DEFAULT 0,  -- jobs whose clip is finished but not stored
    succeeded       INTEGER NOT NULL DEFAULT 0,  -- jobs whose clip is stored
    failed          INTEGER NOT NULL DEFAULT 0,  -- jobs that were given up
    cancelled       INTEGER NOT NULL DEFAULT 0,  -- jobs that were cancelled
    created_at      INTEGER NOT NULL,            -- when it was first loaded
    fresh_at        INTEGER                      -- when it was last loaded to be rendered anew,
                                                 -- whatever was made before; NULL if never
) STRICT;

-- A lane: the jobs of a batch that the same providers may run, in the same order of preference. A
-- batch has only a few.
CREATE TABLE lanes (
    lane_id         INTEGER PRIMARY KEY,         -- the lane's number, over all batches
    batch_id        INTEGER NOT NULL REFERENCES batches (batch_id), -- the batch of its jobs
    providers       TEXT    NOT NULL,            -- the providers, comma separated, in order of
                                                 -- preference

    UNIQUE (batch_id, providers)
) STRICT;

-- A job: one image and prompt, to become one video. The view `job_list` is easier to read.
CREATE TABLE jobs (
    job_id          INTEGER PRIMARY KEY,         -- jobs that are due at the same time are submitted
                                                 -- in this order
    batch_id        INTEGER NOT NULL REFERENCES batches (batch_id), -- the batch it belongs to
    row_key         TEXT    NOT NULL,            -- the manifest row's stable key
    line            INTEGER NOT NULL,            -- the manifest line it was last loaded from
    input           TEXT    NOT NULL,            -- the model input in Overnight's field names, a
                                                 -- JSON object
    fingerprint     BLOB    NOT NULL,            -- first 16 bytes of a SHA-256 of model and input;
                                                 -- changes if the row does
    lane_id         INTEGER NOT NULL REFERENCES lanes (lane_id), -- the providers that may run it
    estimate        INTEGER NOT NULL,            -- its price at the most expensive of them
    file_stem       TEXT,                        -- name of the clip in the batch's folder, without
                                                 -- its ending, valid on Linux, macOS and Windows;
                                                 -- NULL if it is the row key
    file_key        TEXT,                        -- the stem, case folded; NULL if it is the row key
                                                 -- in lower case as far as it is ASCII
    state           TEXT    NOT NULL,            -- see `domain/job_state.rs`
    state_since     INTEGER,                     -- when it entered this state; NULL if it has been
                                                 -- queued since `queued_at`
    due_at          INTEGER,                     -- earliest time of the next step; NULL if none is
                                                 -- scheduled: it is submitting, final, or waits
                                                 -- for the user's decision
    at_provider     TEXT,                        -- the provider that has or may have it; NULL if
                                                 -- queued or final
    lease_token     INTEGER,                     -- proof of the right to record an outcome; NULL if
                                                 -- no pool has leased the job
    lease_pool      TEXT    REFERENCES pools (pool_id), -- the pool that holds the lease
    attempt_id      INTEGER REFERENCES attempts (attempt_id), -- the current or last attempt at this
                                                 -- input; NULL before the first
    failures        INTEGER NOT NULL DEFAULT 0,  -- consecutive failed steps in this state; sets the
                                                 -- backoff
    attempts        INTEGER NOT NULL DEFAULT 0,  -- submissions that a provider accepted or may have
                                                 -- accepted: only these can cost money
    refusals        INTEGER NOT NULL DEFAULT 0,  -- submissions that were refused but may be retried
    polls           INTEGER NOT NULL DEFAULT 0,  -- polls of its predictions
    downloads       INTEGER NOT NULL DEFAULT 0,  -- downloads that were started
    crashes         INTEGER NOT NULL DEFAULT 0,  -- consecutive leases lost with a dead pool
    output          TEXT,                        -- path of the clip; NULL until one is stored; the
                                                 -- earlier one while it is rendered anew
    bytes           INTEGER,                     -- size of the clip, in bytes
    sha256          TEXT,                        -- SHA-256 of the clip, in hexadecimal
    error           TEXT,                        -- why the last step failed; NULL if it did not
    queued_at       INTEGER NOT NULL,            -- when it was loaded, or its row last changed
    submitted_at    INTEGER,                     -- when its last attempt was submitted
    finished_at     INTEGER,                     -- when it entered a final state; NULL otherwise

    UNIQUE (batch_id, row_key),
    CHECK (state = 'queued' OR state = 'submitting' OR state = 'in_doubt' OR state = 'running' OR state = 'downloading'
           OR state = 'succeeded' OR state = 'failed' OR state = 'cancelled'),
    CHECK ((state = 'succeeded' OR state = 'failed' OR state = 'cancelled') = (finished_at IS NOT NULL)),
    CHECK ((state = 'succeeded') <= (output IS NOT NULL AND bytes IS NOT NULL AND sha256 IS NOT NULL)),
    CHECK ((state <> 'queued' AND finished_at IS NULL) = (at_provider IS NOT NULL)),
    CHECK ((at_provider IS NOT NULL) <= (attempt_id IS NOT NULL)),
    CHECK ((lease_token IS NULL) = (lease_pool IS NULL)),
    CHECK (state <> 'submitting' OR lease_token IS NOT NULL)
) STRICT;

-- No two clips of a batch have names that differ only in case.
CREATE UNIQUE INDEX jobs_file ON jobs (batch_id, ifnull(file_key, lower(row_key)));

-- Each stage of a job has an index of its own that contains only the jobs in that stage. A claim
-- therefore costs the same however many jobs are finished, and jobs are counted without reading
-- them.

-- Jobs that wait to be submitted, by lane, in order.
CREATE INDEX jobs_waiting ON jobs (lane_id, due_at) WHERE state = 'queued';
-- Jobs that wait for a poll, a reconciliation or a download, by provider, in order. A job without a
-- due time waits for the user's decision.
CREATE INDEX jobs_moving ON jobs (state, at_provider, due_at) WHERE at_provider IS NOT NULL AND lease_token IS NULL;
-- Jobs that a pool has leased, to release them when the pool is dead.
CREATE INDEX jobs_leased ON jobs (lease_pool) WHERE lease_pool IS NOT NULL;
-- Finished jobs by finish time, for the throughput and the time left.
CREATE INDEX jobs_ended ON jobs (batch_id, state, finished_at) WHERE finished_at IS NOT NULL;

-- An attempt: one submission of a job, paid for at most once. The row is committed before the
-- request is sent.
CREATE TABLE attempts (
    attempt_id      INTEGER PRIMARY KEY,         -- grows with every attempt in the queue
    job_id          INTEGER NOT NULL REFERENCES jobs (job_id), -- the job it is for
    batch_id        INTEGER NOT NULL REFERENCES batches (batch_id), -- the job's batch, so that sums
                                                 -- need not read the job
    number          INTEGER NOT NULL,            -- counts from 1 within the job, refused and absent
                                                 -- attempts included
    state           TEXT    NOT NULL,            -- see `domain/attempt.rs`
    provider        TEXT    NOT NULL,            -- the provider it is submitted to
    wire_model      TEXT    NOT NULL,            -- the provider's name for the model
    request         TEXT    NOT NULL,            -- the model input as sent, a JSON object
    request_digest  INTEGER NOT NULL DEFAULT 0,  -- first 8 bytes of the SHA-256 of `request`; 0 if
                                                 -- it was not computed
    clip_s          INTEGER,                     -- length of the clip in seconds; NULL if unknown
    fingerprint     BLOB,                        -- the job's fingerprint when it was submitted: what
                                                 -- was asked for; NULL if it is not known
    reuses          INTEGER REFERENCES attempts (attempt_id), -- the attempt whose clip this one takes
                                                 -- for nothing; NULL if it was submitted itself
    output          TEXT,                        -- the clip that it made, once its job asks for
                                                 -- another; NULL before that
    bytes           INTEGER,                     -- size of that clip, in bytes
    sha256          TEXT,                        -- SHA-256 of that clip, in hexadecimal
    client_token    TEXT    NOT NULL,            -- Overnight's unique name for the submission, sent
                                                 -- to providers that store one
    estimate        INTEGER NOT NULL,            -- the price reserved while it is open
    cost            INTEGER NOT NULL DEFAULT 0,  -- the booked cost, which is the estimate if it was
                                                 -- abandoned; 0 while `cost_source` is NULL
    cost_source     TEXT,                        -- how the cost is known: `reported`, `units`,
                                                 -- `credits`, `rule` or `reused`; NULL until it is
                                                 -- known
    early_cost      TEXT,                        -- the cost reported in the response to the
                                                 -- submission, a JSON object
    prediction_id   TEXT,                        -- the provider's id for the prediction
    prediction      TEXT,                        -- the id and the URLs sent with it, a JSON object
    output_url      TEXT,                        -- where the clip can be downloaded
    processing_ms   INTEGER,                     -- the provider's processing time, in milliseconds
    error           TEXT,                        -- why it failed
    submitted_at    INTEGER NOT NULL,            -- when this row was committed
    answered_at     INTEGER,                     -- when the submit call ended, whatever its result
    finished_at     INTEGER,                     -- when it was closed; NULL while it is open: it
                                                 -- then occupies a slot and reserves its estimate

    UNIQUE (job_id, number),
    CHECK (state = 'submitting' OR state = 'in_doubt' OR state = 'accepted'
           OR state = 'refused' OR state = 'presumed_absent' OR state = 'absent' OR state = 'done'
           OR state = 'failed' OR state = 'abandoned'),
    CHECK ((state = 'submitting' OR state = 'in_doubt' OR state = 'accepted') = (finished_at IS NULL)),
    CHECK (cost_source = 'reported' OR cost_source = 'units' OR cost_source = 'credits' OR cost_source = 'rule'
           OR cost_source = 'reused'),
    CHECK ((reuses IS NOT NULL) <= (estimate = 0 AND cost = 0 AND cost_source = 'reused' AND prediction_id IS NULL)),
    CHECK ((output IS NULL) = (bytes IS NULL AND sha256 IS NULL)),
    CHECK ((cost_source IS NOT NULL) >= (state IN ('done', 'failed'))),
    CHECK ((state IN ('accepted', 'done')) <= (prediction_id IS NOT NULL OR reuses IS NOT NULL))
) STRICT;

-- Submissions by the time of their answer, for the rate limit of the last minute. Those without an
-- answer are open attempts.
CREATE INDEX attempts_rate ON attempts (provider, answered_at) WHERE answered_at IS NOT NULL;
-- Open attempts: the unresolved ones, of which no two identical ones may exist at a time, and all of
-- them, to verify `batches.reserved` and `providers.in_flight`.
CREATE INDEX attempts_open ON attempts (state, provider, wire_model, request_digest) WHERE finished_at IS NULL;
-- Attempts that are presumed absent and still reserve their estimates, and those that are absent.
CREATE INDEX attempts_absent ON attempts (provider, submitted_at)
    WHERE state IN ('presumed_absent', 'absent');
-- Paid attempts, with only the columns that are summed, to verify `batches.spent`.
CREATE INDEX attempts_paid ON attempts (batch_id, cost) WHERE cost > 0;
-- The predictions that belong to this queue, each to one attempt.
CREATE UNIQUE INDEX attempts_prediction ON attempts (provider, prediction_id) WHERE prediction_id IS NOT NULL;
-- The clips that were made, by what was asked for.
CREATE INDEX attempts_made ON attempts (fingerprint) WHERE state = 'done' AND reuses IS NULL;
-- The attempts that take the clip of another.
CREATE INDEX attempts_reuses ON attempts (reuses) WHERE reuses IS NOT NULL;
-- Recent processing times by route.
CREATE INDEX attempts_processing ON attempts (provider, wire_model, finished_at) WHERE processing_ms IS NOT NULL;

-- The state of a provider that every process on this queue must know.
CREATE TABLE providers (
    provider        TEXT    PRIMARY KEY,         -- `eachlabs`, `aimlapi` or `fal`
    in_flight       INTEGER NOT NULL DEFAULT 0,  -- open attempts
    creates_from    INTEGER NOT NULL DEFAULT 0,  -- no submission before this time
    calls_from      INTEGER NOT NULL DEFAULT 0,  -- no call of any kind before this time
    failures        INTEGER NOT NULL DEFAULT 0,  -- consecutive hold signals without a healthy one;
                                                 -- sets the backoff
    paused          TEXT,                        -- why it is suspended until any run starts;
                                                 -- NULL if submissions are allowed
    refuses_looks   INTEGER NOT NULL DEFAULT 0,  -- 1 if polls and searches are suspended as well
    hold_reason     TEXT,                        -- why submissions are held; NULL if no reason was
                                                 -- given
    alone           INTEGER NOT NULL DEFAULT 0,  -- 1 if submissions go one at a time until one is
                                                 -- accepted
    alone_until     INTEGER NOT NULL DEFAULT 0,  -- no submission before this time, while one that
                                                 -- goes alone is under way
    waits_below     INTEGER,                     -- no submission while there are this many open
                                                 -- attempts; NULL if their number does not matter
    lost_responses  INTEGER NOT NULL DEFAULT 0,  -- submissions in a row whose response was lost
    lost_at         INTEGER NOT NULL DEFAULT 0   -- when the last of them was lost
) STRICT;

-- What is known of a route: a provider's way to run a model. A route has a row only once it was
-- refused, or billed another price than the catalogue's.
CREATE TABLE routes (
    provider        TEXT    NOT NULL,            -- the provider
    wire_model      TEXT    NOT NULL,            -- the provider's name for the model
    held_until      INTEGER NOT NULL DEFAULT 0,  -- no submission before this time
    alone_until     INTEGER NOT NULL DEFAULT 0,  -- no submission before this time, while one that
                                                 -- goes alone is under way
    hold_reason     TEXT,                        -- why it was refused; NULL if it is not held
    priced          INTEGER,                     -- what the catalogue says of a bill; NULL if no bill
                                                 -- differed from it
    billed          INTEGER,                     -- the bill: prices are multiplied by billed / priced
    learned_at      INTEGER,                     -- when that bill came
    price_accepted  INTEGER NOT NULL DEFAULT 0,  -- 1 if the user has accepted that price

    PRIMARY KEY (provider, wire_model),
    CHECK (priced > 0 AND billed > 0),
    CHECK ((priced IS NULL) = (billed IS NULL) AND (priced IS NULL) = (learned_at IS NULL))
) STRICT, WITHOUT ROWID;

-- Local image files that a provider takes as links. Each is uploaded to it once, however many rows
-- use it.
CREATE TABLE uploads (
    upload_id       INTEGER PRIMARY KEY,         -- uploads that are due at the same time are made
                                                 -- in this order
    provider        TEXT    NOT NULL,            -- the provider it is uploaded to
    sha256          TEXT    NOT NULL,            -- SHA-256 of the content; identifies the image
    file            TEXT    NOT NULL,            -- the file to upload, as an input names it
    url             TEXT,                        -- where the provider finds it; NULL until it is
                                                 -- uploaded
    expires_at      INTEGER,                     -- when the URL expires; NULL if it does not
    due_at          INTEGER,                     -- earliest time of the next try; NULL if it is
                                                 -- uploaded or rejected
    lease_token     INTEGER,                     -- proof of the right to record an outcome; NULL if
                                                 -- no pool has leased the upload
    lease_pool      TEXT    REFERENCES pools (pool_id), -- the pool that holds the lease
    failures        INTEGER NOT NULL DEFAULT 0,  -- consecutive failed tries; sets the backoff
    error           TEXT,                        -- why the last try failed; NULL if it did not

    UNIQUE (provider, sha256),
    CHECK ((lease_token IS NULL) = (lease_pool IS NULL)),
    CHECK (url IS NULL OR due_at IS NULL)
) STRICT;

-- Uploads that are due now or later, in order.
CREATE INDEX uploads_due ON uploads (provider, due_at) WHERE due_at IS NOT NULL;
-- Uploads that a pool has leased, to release them when the pool is dead.
CREATE INDEX uploads_leased ON uploads (lease_pool) WHERE lease_pool IS NOT NULL;

-- Settings of the active runs that were changed while they run. A run that finds no other run
-- active clears them.
CREATE TABLE controls (
    name            TEXT    PRIMARY KEY,         -- `paused`, `workers`, `budget`, `budget.BATCH` or
                                                 -- `in_flight.PROVIDER`
    value           TEXT    NOT NULL,            -- the current value
    was             TEXT,                        -- the previous value; NULL is what each run was
                                                 -- started with
    set_by          TEXT    NOT NULL,            -- who changed it
    set_at          INTEGER NOT NULL             -- when it was changed
) STRICT, WITHOUT ROWID;

-- A pool: one run that works on this queue.
CREATE TABLE pools (
    pool_id         TEXT    PRIMARY KEY,         -- a random id, never used again
    host            TEXT    NOT NULL,            -- host name of the machine
    pid             INTEGER NOT NULL,            -- process id, for messages only
    started_at      INTEGER NOT NULL,            -- when it joined
    expires_at      INTEGER NOT NULL             -- when its leases expire unless it renews them
) STRICT;

-- Single values.
CREATE TABLE meta (
    key             TEXT    PRIMARY KEY,         -- `queue_id`: a random id that makes client tokens
                                                 -- unique over all queues; `generation`: a number
                                                 -- that grows with each run; `seen_at`: the latest
                                                 -- heartbeat of a pool; `clock_set_at`: when the
                                                 -- clock of the machine was last changed;
                                                 -- `key_mark.PROVIDER`: a salted hash of its API key;
                                                 -- `key_changed_at.PROVIDER`: when that was last found
                                                 -- to be another one; `doubt_since`: since when
                                                 -- a copy of the queue may have paid for what this
                                                 -- one does not know; `unclaimed_since`: since when
                                                 -- it has paid for what may be loaded here yet;
                                                 -- `run_setup`: the limits and prices of the
                                                 -- active runs, a JSON object
    value           TEXT    NOT NULL             -- the value; times in milliseconds, as text
) STRICT, WITHOUT ROWID;

-- The jobs with what other tables and columns say about them, for people to read.
CREATE VIEW job_list AS
SELECT j.job_id, b.name AS batch, j.row_key, j.line, b.model, j.input, l.providers, j.estimate,
    ifnull(j.file_stem, j.row_key) || '.mp4' AS file_name, j.state,
    ifnull(j.state_since, j.queued_at) AS state_since, j.due_at, j.at_provider, a.prediction_id,
    j.attempts, j.failures, j.output, j.bytes, j.sha256, j.error, j.queued_at, j.submitted_at,
    j.finished_at
FROM jobs j JOIN batches b USING (batch_id) JOIN lanes l USING (lane_id)
    LEFT JOIN attempts a ON a.attempt_id = j.attempt_id;
