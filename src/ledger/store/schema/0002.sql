-- What a deployment said while it ran: each line once, however often a job sends it.
CREATE TABLE deployment_lines (
    deployment_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    at BIGINT NOT NULL,
    stage TEXT,
    text TEXT NOT NULL,
    PRIMARY KEY (deployment_id, number)
);
