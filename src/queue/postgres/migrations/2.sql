-- Attempts are numbered by the write that starts them, which holds the lock of all writes: it knows their numbers
-- without waiting for the server.
ALTER TABLE attempts ALTER attempt_id DROP IDENTITY;

-- These were checked for every step of a job. A pool that leaves ends its leases, and a batch is never removed
-- before its jobs.
ALTER TABLE jobs DROP CONSTRAINT jobs_lease_pool_fkey;
ALTER TABLE attempts DROP CONSTRAINT attempts_batch_id_fkey;
ALTER TABLE attempts DROP CONSTRAINT attempts_job_id_fkey;
