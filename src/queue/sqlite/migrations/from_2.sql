-- What a queue of version 2 or 3 holds, but for its batches, into tables of the newest version. The old ones have `_old`
-- behind their names.

INSERT INTO pools SELECT * FROM pools_old;
INSERT INTO meta SELECT * FROM meta_old;
INSERT INTO attempts SELECT * FROM attempts_old;
INSERT INTO jobs SELECT * FROM jobs_old;

-- The copied attempts have been booked a second time.
DELETE FROM providers;
INSERT INTO providers SELECT * FROM providers_old;
