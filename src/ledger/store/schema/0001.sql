-- What both databases share. `%ID%` is the one word that they spell differently; ids are UUIDs as text, times
-- microseconds since 1970 (UTC), JSON is text, as sqlx's `Any` carries it.

CREATE TABLE entities (
    id %ID%,
    entity_id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    version TEXT,
    description TEXT,
    config TEXT NOT NULL,
    parameters TEXT NOT NULL,
    dependencies TEXT NOT NULL,
    status TEXT NOT NULL,
    health_status TEXT NOT NULL,
    deployed_at BIGINT,
    deployed_by TEXT,
    deployment_config TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT,
    -- Name of the app that a CI job reports; nothing for entities that only the API knows.
    app TEXT UNIQUE,
    -- Written first by every transaction on the entity's deployments: its row lock makes them take turns.
    turn BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX entities_by_age ON entities (created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX entities_by_name ON entities (name);

CREATE TABLE deployments (
    id %ID%,
    deployment_id TEXT NOT NULL UNIQUE,
    entity_id TEXT NOT NULL REFERENCES entities (entity_id),
    version TEXT NOT NULL,
    environment TEXT NOT NULL,
    config_snapshot TEXT NOT NULL,
    parameters_snapshot TEXT,
    status TEXT NOT NULL CHECK (status IN ('pending', 'deploying', 'active', 'inactive', 'failed', 'rolled_back')),
    deployed_at BIGINT NOT NULL,
    deployed_by TEXT NOT NULL,
    deployment_method TEXT,
    rolled_back_at BIGINT,
    rolled_back_by TEXT,
    rollback_reason TEXT,
    previous_deployment_id TEXT,
    health_checks TEXT NOT NULL,
    last_health_check BIGINT,
    error_logs TEXT,
    deployment_duration_seconds BIGINT,
    validation_results TEXT,
    -- When the commit was made that it brings; only CI jobs tell that.
    committed_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
-- The promise: at most one active deployment per entity and environment, whatever the code does.
CREATE UNIQUE INDEX deployments_one_active ON deployments (entity_id, environment) WHERE status = 'active';
-- Indexes for each combination of filters of a list, in the order of the list.
CREATE INDEX deployments_by_time ON deployments (deployed_at, id);
CREATE INDEX deployments_by_environment ON deployments (environment, deployed_at, id);
CREATE INDEX deployments_by_status ON deployments (status, deployed_at, id);
CREATE INDEX deployments_by_both ON deployments (environment, status, deployed_at, id);
-- Within an entity a status is looked for along the index, which has it.
CREATE INDEX deployments_by_entity ON deployments (entity_id, deployed_at, id, status);
CREATE INDEX deployments_by_place ON deployments (entity_id, environment, deployed_at, id, status);

-- Every change of a status, in order; a row is never changed or deleted (triggers see to it).
CREATE TABLE deployment_events (
    id %ID%,
    deployment_id TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    environment TEXT NOT NULL,
    from_status TEXT,
    to_status TEXT NOT NULL,
    at BIGINT NOT NULL,
    who TEXT NOT NULL,
    reason TEXT
);
CREATE INDEX deployment_events_by_deployment ON deployment_events (deployment_id, id);

-- How many deployments there are, so that `total` is read and not counted. A scope is an entity's id, or one of 64
-- shards `s00` to `s63` that add up to everything, so that writers of different entities seldom wait for each other.
CREATE TABLE counters (
    scope TEXT NOT NULL,
    environment TEXT NOT NULL,
    status TEXT NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (scope, environment, status)
);

-- Events for others, written by the transaction that made them true. `id` orders those of one entity; `sequence` is
-- given once they are committed, rises by one, and is what readers go by.
CREATE TABLE outbox (
    id %ID%,
    sequence BIGINT UNIQUE,
    event_id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    subject TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    deployment_id TEXT NOT NULL,
    at BIGINT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX outbox_unsequenced ON outbox (id) WHERE sequence IS NULL;
CREATE INDEX outbox_by_deployment ON outbox (deployment_id, id);

-- How far a reader of the outbox has come, such as the publisher to NATS.
CREATE TABLE cursors (
    name TEXT NOT NULL PRIMARY KEY,
    sequence BIGINT NOT NULL
);

CREATE TABLE tokens (
    id %ID%,
    name TEXT NOT NULL UNIQUE,
    hash TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);

-- The latest report of each deployment that a CI job told of, as it came.
CREATE TABLE reports (
    report_id TEXT NOT NULL PRIMARY KEY,
    deployment_id TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
