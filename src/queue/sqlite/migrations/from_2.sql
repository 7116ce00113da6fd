-- Copies everything but the batches from version 2 or 3 into tables of the current version. The old
-- tables have the suffix `_old`.

INSERT INTO pools SELECT * FROM pools_old;
INSERT INTO meta SELECT * FROM meta_old;
INSERT INTO attempts SELECT * FROM attempts_old;
INSERT INTO jobs SELECT * FROM jobs_old;

-- The triggers have booked the copied attempts a second time: restore the stored values.
DELETE FROM providers;
INSERT INTO providers SELECT * FROM providers_old;
