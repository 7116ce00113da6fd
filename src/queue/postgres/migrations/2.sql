-- Attempts are numbered by the write that starts them, which holds the lock of all writes: it knows their numbers
-- without waiting for the server. Runs of the older version, which go on meanwhile, leave that to the server.
CREATE FUNCTION next_attempt() RETURNS BIGINT LANGUAGE sql VOLATILE
    AS 'SELECT coalesce(max(attempt_id), 0) + 1 FROM overnight.attempts';
ALTER TABLE attempts ALTER attempt_id DROP IDENTITY;
ALTER TABLE attempts ALTER attempt_id SET DEFAULT next_attempt();

-- These were checked for every row that is loaded and for every step of a job, and took most of the time of a load.
-- A row and its job are written by one statement, a pool that leaves ends its leases, and no batch or lane is ever
-- removed before its jobs.
ALTER TABLE rows DROP CONSTRAINT rows_batch_id_fkey;
ALTER TABLE jobs DROP CONSTRAINT jobs_job_id_fkey;
ALTER TABLE jobs DROP CONSTRAINT jobs_lane_id_fkey;
ALTER TABLE jobs DROP CONSTRAINT jobs_lease_pool_fkey;
ALTER TABLE attempts DROP CONSTRAINT attempts_batch_id_fkey;
ALTER TABLE attempts DROP CONSTRAINT attempts_job_id_fkey;

-- Locked by each write before its first read. Waiting for a table's lock takes no snapshot. A wait with one
-- would keep all versions of rows since then from being cleaned up, which every other write reads past.
CREATE TABLE gate ();
