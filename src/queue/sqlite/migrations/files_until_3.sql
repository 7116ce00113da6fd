-- Gives the batches the column that version 4 added. Rows named no local images until version 3.

ALTER TABLE batches_old ADD COLUMN has_files INTEGER NOT NULL DEFAULT 0;
