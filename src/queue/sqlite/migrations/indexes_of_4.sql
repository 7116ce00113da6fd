-- What version 4 has gained without a change of its format: an index that programs of the same
-- version maintain without knowing it.
CREATE INDEX IF NOT EXISTS attempts_unresolved ON attempts (provider, wire_model, request_digest) WHERE (state = 'submitting' OR state = 'in_doubt');
