-- Copies the tables that a queue has since version 4.

INSERT INTO uploads (
    upload_id, provider, sha256, file, url, expires_at, due_at, lease_token, lease_pool, failures, error)
SELECT
    upload_id, provider, sha256, file, url, expires_at, due_at, lease_token, lease_pool, failures, error
FROM uploads_old;

INSERT INTO controls (name, value, was, set_by, set_at)
SELECT name, value, was, set_by, set_at FROM controls_old;
