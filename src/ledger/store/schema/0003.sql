-- How often each health check gave which verdict in deployments that ended.
CREATE TABLE check_results (
    entity_id TEXT NOT NULL,
    environment TEXT NOT NULL,
    name TEXT NOT NULL,
    verdict TEXT NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (entity_id, environment, name, verdict)
);
