-- The queue: one SQLite file. Opened with journal_mode = WAL, synchronous = FULL, foreign_keys = ON.
-- Times are whole milliseconds since 1970-01-01 UTC. Money is whole micro-dollars. PRAGMA user_version is 1,
-- application_id is 0x6f766e74 ("ovnt").

-- The rows of one manifest, counted and priced together.
CREATE TABLE batches (
    batch_id        INTEGER PRIMARY KEY,
    name            TEXT    NOT NULL UNIQUE,            -- what the user calls it
    model           TEXT    NOT NULL,                   -- the model its jobs ask for
    folder          TEXT    NOT NULL UNIQUE COLLATE NOCASE, -- absolute folder its clips go to, its own on every file system
    budget          INTEGER CHECK (budget >= 0),        -- spent + reserved never passes this; NULL is no limit
    -- Kept by the triggers below, so that the budget and `status` never scan the attempts.
    spent           INTEGER NOT NULL DEFAULT 0,         -- sum of the costs of its attempts
    reserved        INTEGER NOT NULL DEFAULT 0,         -- sum of the estimates of its open attempts
    at_risk         INTEGER NOT NULL DEFAULT 0,         -- the part of `reserved` whose attempts are in doubt
    created_at      INTEGER NOT NULL                    -- first load
) STRICT;

-- One image and prompt to become one video.
CREATE TABLE jobs (
    job_id          INTEGER PRIMARY KEY,                -- also the order in which jobs are submitted
    batch_id        INTEGER NOT NULL REFERENCES batches (batch_id),
    row_key         TEXT    NOT NULL,                   -- the manifest row's stable id
    line            INTEGER NOT NULL,                   -- the manifest line it was last loaded from
    model           TEXT    NOT NULL,                   -- the model it asks for
    input           TEXT    NOT NULL,                   -- its fields in our words, a JSON object
    fingerprint     TEXT    NOT NULL,                   -- SHA-256 over model and input: a changed row has another
    providers       TEXT    NOT NULL,                   -- who may run it, comma separated, in order of preference
    estimate        INTEGER NOT NULL,                   -- its price on the dearest of them
    file_name       TEXT    NOT NULL,                   -- the clip's name in the batch's folder, safe on every system
    file_name_key   TEXT    NOT NULL,                   -- the same, folded: no two jobs differ only by case
    state           TEXT    NOT NULL CHECK (state IN ('queued', 'submitting', 'in_doubt', 'running', 'downloading',
                                                      'succeeded', 'failed', 'cancelled')),
    state_since     INTEGER NOT NULL,                   -- when this state began
    due_at          INTEGER,                            -- earliest time of the next step; NULL waits for a person
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
    CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK ((state = 'succeeded') <= (output IS NOT NULL AND bytes IS NOT NULL AND sha256 IS NOT NULL)),
    CHECK ((state IN ('submitting', 'in_doubt', 'running', 'downloading')) <= (attempt_id IS NOT NULL)),
    CHECK ((lease_token IS NULL) = (lease_pool IS NULL)),
    CHECK (state <> 'submitting' OR lease_token IS NOT NULL)
) STRICT;

-- What waits for a create: found by batch and by who may run it, in order.
CREATE INDEX jobs_waiting ON jobs (batch_id, providers, due_at, job_id) WHERE state = 'queued';
-- What waits for a look or a download: found by due time.
CREATE INDEX jobs_moving ON jobs (state, due_at) WHERE state IN ('in_doubt', 'running', 'downloading');
-- What a pool holds: found when the pool is dead.
CREATE INDEX jobs_leased ON jobs (lease_pool) WHERE lease_pool IS NOT NULL;
-- What `jobs --state` lists.
CREATE INDEX jobs_by_state ON jobs (batch_id, state, job_id);

-- What came to an end lately: the pace, and with it the time left.
CREATE INDEX jobs_finished ON jobs (batch_id, finished_at) WHERE finished_at IS NOT NULL;

-- One try at a job: at most one paid submission. The row is committed before the create call leaves.
CREATE TABLE attempts (
    attempt_id      INTEGER PRIMARY KEY,
    job_id          INTEGER NOT NULL REFERENCES jobs (job_id),
    batch_id        INTEGER NOT NULL REFERENCES batches (batch_id),
    number          INTEGER NOT NULL,                   -- counts from 1 in its job
    state           TEXT    NOT NULL CHECK (state IN ('submitting', 'in_doubt', 'accepted', 'refused', 'absent', 'done',
                                                      'failed', 'abandoned')),
    provider        TEXT    NOT NULL,                   -- where it was sent
    wire_model      TEXT    NOT NULL,                   -- the provider's name for the model
    request         TEXT    NOT NULL,                   -- the model's input as sent, a JSON object
    client_token    TEXT    NOT NULL UNIQUE,            -- our name for it, sent where the provider stores one
    estimate        INTEGER NOT NULL,                   -- the price reserved while it is open
    cost            INTEGER NOT NULL DEFAULT 0,         -- what it cost
    cost_source     TEXT    CHECK (cost_source IN ('reported', 'units', 'credits', 'rule')), -- how that is known
    early_cost      TEXT,                               -- what the create answer said of the cost
    prediction_id   TEXT,                               -- the provider's handle
    prediction      TEXT,                               -- the handle with its links, a JSON object
    output_url      TEXT,                               -- where the clip can be fetched
    processing_ms   INTEGER,                            -- how long the provider worked on it
    error           TEXT,                               -- what went wrong with it
    submitted_at    INTEGER NOT NULL,                   -- when the intent was committed
    answered_at     INTEGER,                            -- when the create call ended, however it ended
    finished_at     INTEGER,                            -- when the prediction was seen to have ended

    UNIQUE (job_id, number),
    CHECK ((cost_source IS NOT NULL) >= (state IN ('done', 'failed'))),
    CHECK ((state IN ('accepted', 'done')) <= (prediction_id IS NOT NULL))
) STRICT;

-- The create rate: creates still unanswered, and those answered within the last minute.
CREATE INDEX attempts_rate ON attempts (provider, answered_at);
-- Submissions that a provider may or may not have taken: of two that are alike only one may be among them.
CREATE INDEX attempts_unsure ON attempts (provider, wire_model) WHERE state IN ('submitting', 'in_doubt');
-- What the kept sums are held against: open attempts, and paid ones, with nothing but what is summed.
CREATE INDEX attempts_open ON attempts (batch_id, provider, state, estimate)
    WHERE state IN ('submitting', 'in_doubt', 'accepted');
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

-- How many jobs of a batch are in which state; kept by the triggers below.
CREATE TABLE job_counts (
    batch_id        INTEGER NOT NULL REFERENCES batches (batch_id),
    state           TEXT    NOT NULL,
    jobs            INTEGER NOT NULL,
    PRIMARY KEY (batch_id, state)
) STRICT, WITHOUT ROWID;

-- Single values.
CREATE TABLE meta (
    key             TEXT    PRIMARY KEY,                -- `queue_id`: random, makes client tokens unique over all queues;
                                                        -- `seen_at`: a pool's last sign of life; `clock_set_at`: when the
                                                        -- machine's clock was set, by itself
    value           TEXT    NOT NULL                    -- its value
) STRICT, WITHOUT ROWID;

CREATE TRIGGER jobs_count_new AFTER INSERT ON jobs BEGIN
    INSERT INTO job_counts (batch_id, state, jobs) VALUES (new.batch_id, new.state, 1)
        ON CONFLICT (batch_id, state) DO UPDATE SET jobs = jobs + 1;
END;

CREATE TRIGGER jobs_count_moved AFTER UPDATE OF state ON jobs WHEN old.state <> new.state BEGIN
    UPDATE job_counts SET jobs = jobs - 1 WHERE batch_id = old.batch_id AND state = old.state;
    INSERT INTO job_counts (batch_id, state, jobs) VALUES (new.batch_id, new.state, 1)
        ON CONFLICT (batch_id, state) DO UPDATE SET jobs = jobs + 1;
END;

CREATE TRIGGER attempts_book_new AFTER INSERT ON attempts BEGIN
    UPDATE batches SET reserved = reserved + new.estimate WHERE batch_id = new.batch_id;
    INSERT INTO providers (provider, in_flight) VALUES (new.provider, 1)
        ON CONFLICT (provider) DO UPDATE SET in_flight = in_flight + 1;
END;

CREATE TRIGGER attempts_book_change AFTER UPDATE OF state, cost ON attempts BEGIN
    UPDATE batches SET
        spent = spent + new.cost - old.cost,
        reserved = reserved + new.estimate * (new.state IN ('submitting', 'in_doubt', 'accepted'))
                            - old.estimate * (old.state IN ('submitting', 'in_doubt', 'accepted')),
        at_risk = at_risk + new.estimate * (new.state = 'in_doubt') - old.estimate * (old.state = 'in_doubt')
    WHERE batch_id = new.batch_id;
    UPDATE providers SET in_flight = in_flight + (new.state IN ('submitting', 'in_doubt', 'accepted'))
                                               - (old.state IN ('submitting', 'in_doubt', 'accepted'))
    WHERE provider = new.provider;
END;
