-- Rollbacks that somebody asked a CI job for. Each row is one step of a request: who asked and why, then what became of
-- it; a row is never changed or deleted (triggers see to it).
CREATE TABLE rollback_requests (
    id %ID%,
    request_id TEXT NOT NULL,
    deployment_id TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    environment TEXT NOT NULL,
    at BIGINT NOT NULL,
    step TEXT NOT NULL CHECK (step IN ('asked', 'started', 'refused', 'unknown')),
    who TEXT,
    reason TEXT,
    target_version TEXT,
    workflow TEXT,
    detail TEXT
);
CREATE INDEX rollback_requests_by_deployment ON rollback_requests (deployment_id, id);
