-- The queue: one SQLite file. Opened with journal_mode = WAL, synchronous = FULL, foreign_keys = ON.
-- Times are whole milliseconds since 1970-01-01 UTC. Money is whole micro-dollars. PRAGMA user_version is 3,
-- application_id is 0x6f766e74 ("ovnt").
--
-- Conditions name states one by one: for `IN (…)` of more than two SQLite builds a table each time it looks at a row.

-- The rows of one manifest, counted and priced together.
CREATE TABLE batches (
    batch_id        INTEGER PRIMARY KEY,
    name            TEXT    NOT NULL UNIQUE,            -- what the user calls it
    model           TEXT    NOT NULL,                   -- the model its jobs ask for
    folder          TEXT    NOT NULL UNIQUE COLLATE NOCASE, -- absolute folder its clips go to, its own on every file system
    budget          INTEGER CHECK (budget >= 0),        -- spent + reserved never passes this; NULL is no limit
    -- Kept by triggers below, so that the budget and `status` never scan the attempts.
    spent           INTEGER NOT NULL DEFAULT 0,         -- sum of the costs of its attempts
    reserved        INTEGER NOT NULL DEFAULT 0,         -- sum of the estimates of its open attempts
    at_risk         INTEGER NOT NULL DEFAULT 0,         -- the part of `reserved` whose attempts are in doubt
    -- How many jobs are in which state; kept by the load that adds them and by a trigger below, so that a claim knows
    -- what there is to look for.
    queued          INTEGER NOT NULL DEFAULT 0,         -- jobs that wait for a create
    submitting      INTEGER NOT NULL DEFAULT 0,         -- jobs whose create is under way
    in_doubt        INTEGER NOT NULL DEFAULT 0,         -- jobs with an unresolved submission
    running         INTEGER NOT NULL DEFAULT 0,         -- jobs a provider has taken
    downloading     INTEGER NOT NULL DEFAULT 0,         -- jobs whose clip is to be fetched
    succeeded       INTEGER NOT NULL DEFAULT 0,         -- jobs whose clip is on disk
    failed          INTEGER NOT NULL DEFAULT 0,         -- jobs given up
    cancelled       INTEGER NOT NULL DEFAULT 0,         -- jobs taken back
    created_at      INTEGER NOT NULL                    -- first load
) STRICT;

-- One image and prompt to become one video.
CREATE TABLE jobs (
    job_id          INTEGER PRIMARY KEY,                -- also the order in which jobs are submitted
    batch_id        INTEGER NOT NULL REFERENCES batches (batch_id),
    row_key         TEXT    NOT NULL,                   -- the manifest row's stable id
    line            INTEGER NOT NULL,                   -- the manifest line it was last loaded from
    input           TEXT    NOT NULL,                   -- its fields in our words, a JSON object
    fingerprint     TEXT    NOT NULL,                   -- half a SHA-256 over model and input: a changed row has another
    providers       TEXT    NOT NULL,                   -- who may run it, comma separated, in order of preference
    estimate        INTEGER NOT NULL,                   -- its price on the dearest of them
    file_name       TEXT    NOT NULL,                   -- the clip's name in the batch's folder, safe on every system
    file_name_key   TEXT    NOT NULL,                   -- the same, folded: no two jobs differ only by case
    state           TEXT    NOT NULL,                   -- where it is on its way; see `domain/job.rs`
    state_since     INTEGER NOT NULL,                   -- when this state began
    due_at          INTEGER,                            -- earliest time of the next step; NULL waits for a person
    at_provider     TEXT,                               -- who has it; NULL before its create and after its end
    lease_token     INTEGER,                            -- proof of the right to write; NULL is free to claim
    lease_pool      TEXT    REFERENCES pools (pool_id), -- the pool that holds the lease
    attempt_id      INTEGER REFERENCES attempts (attempt_id), -- the attempt under way, or the last one
    failures        INTEGER NOT NULL DEFAULT 0,         -- failed steps of this state in a row; sets the backoff
    attempts        INTEGER NOT NULL DEFAULT 0,         -- submissions a provider took, or may have taken: only these cost money
    refusals        INTEGER NOT NULL DEFAULT 0,         -- submissions refused for now
    polls           INTEGER NOT NULL DEFAULT 0,         -- looks at its predictions
    downloads       INTEGER NOT NULL DEFAULT 0,         -- downloads started
    crashes         INTEGER NOT NULL DEFAULT 0,         -- leases in a row lost to a dead or hung pool
    output          TEXT,                               -- where the clip is, once it is there
    bytes           INTEGER,                            -- its length
    sha256          TEXT,                               -- its SHA-256
    error           TEXT,                               -- what went wrong last
    queued_at       INTEGER NOT NULL,                   -- when it was loaded, or changed
    submitted_at    INTEGER,                            -- when its last attempt was submitted
    finished_at     INTEGER,                            -- when it came to a final state

    UNIQUE (batch_id, row_key),
    UNIQUE (batch_id, file_name_key),
    CHECK (state = 'queued' OR state = 'submitting' OR state = 'in_doubt' OR state = 'running' OR state = 'downloading'
           OR state = 'succeeded' OR state = 'failed' OR state = 'cancelled'),
    CHECK ((state = 'succeeded' OR state = 'failed' OR state = 'cancelled') = (finished_at IS NOT NULL)),
    CHECK ((state = 'succeeded') <= (output IS NOT NULL AND bytes IS NOT NULL AND sha256 IS NOT NULL)),
    CHECK ((state <> 'queued' AND finished_at IS NULL) = (at_provider IS NOT NULL)),
    CHECK ((at_provider IS NOT NULL) <= (attempt_id IS NOT NULL)),
    CHECK ((lease_token IS NULL) = (lease_pool IS NULL)),
    CHECK (state <> 'submitting' OR lease_token IS NOT NULL)
) STRICT;

-- Every step of a job's way has an index of its own, which holds the jobs that are there and nothing else. So a claim
-- costs the same however many jobs have come to an end, and how many there are is counted without reading a job.

-- What waits for a create: found by batch and by who may run it, in order.
CREATE INDEX jobs_waiting ON jobs (batch_id, providers, due_at, job_id) WHERE state = 'queued';
-- What waits for a look or a download: found by whom to ask, in order; what has no due time waits for a person.
CREATE INDEX jobs_moving ON jobs (state, at_provider, due_at) WHERE at_provider IS NOT NULL AND lease_token IS NULL;
-- What a pool holds: found when the pool is dead.
CREATE INDEX jobs_leased ON jobs (lease_pool) WHERE lease_pool IS NOT NULL;
-- What has come to an end, and when: the pace, and with it the time left.
CREATE INDEX jobs_ended ON jobs (batch_id, state, finished_at) WHERE finished_at IS NOT NULL;

-- One try at a job: at most one paid submission. The row is committed before the create call leaves.
CREATE TABLE attempts (
    attempt_id      INTEGER PRIMARY KEY,
    job_id          INTEGER NOT NULL REFERENCES jobs (job_id),
    batch_id        INTEGER NOT NULL REFERENCES batches (batch_id),
    number          INTEGER NOT NULL,                   -- counts from 1 in its job
    state           TEXT    NOT NULL,                   -- how far it got; see `domain/attempt.rs`
    provider        TEXT    NOT NULL,                   -- where it was sent
    wire_model      TEXT    NOT NULL,                   -- the provider's name for the model
    request         TEXT    NOT NULL,                   -- the model's input as sent, a JSON object
    request_digest  INTEGER NOT NULL DEFAULT 0,         -- the first 8 bytes of its SHA-256; 0 was not kept
    clip_s          INTEGER,                            -- length of the clip in seconds, where the model knows it
    client_token    TEXT    NOT NULL,                   -- our name for it, sent where the provider stores one
    estimate        INTEGER NOT NULL,                   -- the price reserved while it is open
    cost            INTEGER NOT NULL DEFAULT 0,         -- what it cost
    cost_source     TEXT,                               -- how that is known
    early_cost      TEXT,                               -- what the create answer said of the cost
    prediction_id   TEXT,                               -- the provider's handle
    prediction      TEXT,                               -- the handle with its links, a JSON object
    output_url      TEXT,                               -- where the clip can be fetched
    processing_ms   INTEGER,                            -- how long the provider worked on it
    error           TEXT,                               -- what went wrong with it
    submitted_at    INTEGER NOT NULL,                   -- when the intent was committed
    answered_at     INTEGER,                            -- when the create call ended, however it ended
    finished_at     INTEGER,                            -- when it was over; until then it is open: it holds a slot and
                                                        -- its price

    UNIQUE (job_id, number),
    CHECK (state = 'submitting' OR state = 'in_doubt' OR state = 'accepted'
           OR state = 'refused' OR state = 'absent' OR state = 'done' OR state = 'failed' OR state = 'abandoned'),
    CHECK ((state = 'submitting' OR state = 'in_doubt' OR state = 'accepted') = (finished_at IS NULL)),
    CHECK (cost_source = 'reported' OR cost_source = 'units' OR cost_source = 'credits' OR cost_source = 'rule'),
    CHECK ((cost_source IS NOT NULL) >= (state IN ('done', 'failed'))),
    CHECK ((state IN ('accepted', 'done')) <= (prediction_id IS NOT NULL))
) STRICT;

-- The create rate: creates answered within the last minute. Those still unanswered are among the jobs that are leased.
CREATE INDEX attempts_rate ON attempts (provider, answered_at) WHERE answered_at IS NOT NULL;
-- What holds a slot and a price: of two submissions that are alike only one may be unsure at a time.
CREATE INDEX attempts_open ON attempts (provider, request_digest) WHERE finished_at IS NULL;
-- What the kept sum is held against: paid attempts, with nothing but what is summed.
CREATE INDEX attempts_paid ON attempts (batch_id, cost) WHERE cost > 0;
-- Which prediction ids are ours already.
CREATE UNIQUE INDEX attempts_prediction ON attempts (provider, prediction_id) WHERE prediction_id IS NOT NULL;
-- How long predictions took lately, by route.
CREATE INDEX attempts_processing ON attempts (provider, wire_model, finished_at) WHERE processing_ms IS NOT NULL;

-- What every process on this queue must know of a provider.
CREATE TABLE providers (
    provider        TEXT    PRIMARY KEY,
    in_flight       INTEGER NOT NULL DEFAULT 0,         -- open attempts; kept by the triggers below
    creates_from    INTEGER NOT NULL DEFAULT 0,         -- no create before this time
    calls_from      INTEGER NOT NULL DEFAULT 0,         -- no call at all before this time
    failures        INTEGER NOT NULL DEFAULT 0,         -- failed creates in a row; sets the backoff
    paused          TEXT,                               -- why no create is sent until a new run; NULL is open
    refuses_looks   INTEGER NOT NULL DEFAULT 0          -- 1 when it refused the key for looks as well
) STRICT;

-- Processes that work on this queue.
CREATE TABLE pools (
    pool_id         TEXT    PRIMARY KEY,                -- never used twice
    host            TEXT    NOT NULL,                   -- the machine, and its boot: a lock outlives neither
    pid             INTEGER NOT NULL,                   -- for messages only
    started_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL                    -- its leases end here unless it renews
) STRICT;

-- Single values.
CREATE TABLE meta (
    key             TEXT    PRIMARY KEY,                -- `queue_id`: random, makes client tokens unique over all queues;
                                                        -- `seen_at`: a pool's last sign of life; `clock_set_at`: when the
                                                        -- machine's clock was set, by itself
    value           TEXT    NOT NULL                    -- its value
) STRICT, WITHOUT ROWID;

CREATE TRIGGER jobs_count_moved AFTER UPDATE OF state ON jobs WHEN old.state <> new.state BEGIN
    UPDATE batches SET
        queued = queued + (new.state = 'queued') - (old.state = 'queued'),
        submitting = submitting + (new.state = 'submitting') - (old.state = 'submitting'),
        in_doubt = in_doubt + (new.state = 'in_doubt') - (old.state = 'in_doubt'),
        running = running + (new.state = 'running') - (old.state = 'running'),
        downloading = downloading + (new.state = 'downloading') - (old.state = 'downloading'),
        succeeded = succeeded + (new.state = 'succeeded') - (old.state = 'succeeded'),
        failed = failed + (new.state = 'failed') - (old.state = 'failed'),
        cancelled = cancelled + (new.state = 'cancelled') - (old.state = 'cancelled')
    WHERE batch_id = new.batch_id;
END;

CREATE TRIGGER attempts_book_new AFTER INSERT ON attempts BEGIN
    UPDATE batches SET reserved = reserved + new.estimate WHERE batch_id = new.batch_id;
    INSERT INTO providers (provider, in_flight) VALUES (new.provider, 1)
        ON CONFLICT (provider) DO UPDATE SET in_flight = in_flight + 1;
END;

CREATE TRIGGER attempts_book_change AFTER UPDATE OF state, cost, finished_at ON attempts
WHEN (old.finished_at IS NULL) <> (new.finished_at IS NULL) OR old.cost <> new.cost
    OR (old.state = 'in_doubt') <> (new.state = 'in_doubt')
BEGIN
    UPDATE batches SET
        spent = spent + new.cost - old.cost,
        reserved = reserved + new.estimate * (new.finished_at IS NULL) - old.estimate * (old.finished_at IS NULL),
        at_risk = at_risk + new.estimate * (new.state = 'in_doubt') - old.estimate * (old.state = 'in_doubt')
    WHERE batch_id = new.batch_id;
    UPDATE providers SET in_flight = in_flight + (new.finished_at IS NULL) - (old.finished_at IS NULL)
    WHERE provider = new.provider;
END;
