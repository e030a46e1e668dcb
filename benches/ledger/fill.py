"""The same deployments in both databases, made by SQL from their numbers: nothing is random."""

ENTITIES = 1000

# `sample` has a row for each deployment: every tenth is the first entity's, the others take turns; the newest of an entity and
# environment is active, of the others one in twenty failed, one in fifty was rolled back.
SAMPLE = """\
CREATE UNLOGGED TABLE sample AS
SELECT n, md5('deployment ' || n)::uuid AS deployment_id, md5('entity ' || entity)::uuid AS entity_id, entity,
    environment, '1.' || n / {entities} || '.0' AS version,
    CASE WHEN row_number() OVER (PARTITION BY entity, environment ORDER BY n DESC) = 1 THEN 'active'
        WHEN n % 20 = 7 THEN 'failed' WHEN n % 50 = 3 THEN 'rolled_back' ELSE 'inactive' END AS status,
    timestamp '2026-01-01' - ({rows} - n) * interval '20 s' AS at,
    '{{"replicas": ' || n % 7 || ', "image": "registry.example.com/shop/api:1.4.2", "limits": {{"cpu": "500m", "memory": "256Mi"}}, '
        || '"features": ["search", "checkout"], "log_level": "info"}}' AS config,
    '{{"passed": true, "checks": {{"deployment_exists": true, "has_config": true, "status": "active"}}, "errors": [], '
        || '"warnings": []}}' AS validation
FROM (
    SELECT n, CASE WHEN n % 10 = 0 THEN 0 ELSE n % {entities} END AS entity,
        (ARRAY['development', 'staging', 'production', 'testing'])[1 + n / {entities} % 4] AS environment
    FROM generate_series(1, {rows}) n
) numbers;
"""
DOCUMENT = """\
INSERT INTO entities (entity_id, name, type, version, status, health_status, config, parameters, created_at, updated_at)
SELECT md5('entity ' || n)::uuid, 'entity-' || n, 'strategy', '1.0.0', 'deployed', 'healthy', '{{"replicas": 2}}', '{{}}', now(), now()
FROM generate_series(0, {entities} - 1) n;
INSERT INTO deployments (deployment_id, entity_id, version, environment, config_snapshot, parameters_snapshot, status, deployed_at,
    deployed_by, deployment_method, health_checks, deployment_duration_seconds, validation_results, created_at, updated_at)
SELECT deployment_id, entity_id, version, environment, config::jsonb, '{{}}', status, at, 'bench', 'api', '[]', 0, validation::jsonb, at, at
FROM sample ORDER BY n;
"""
LEDGER = """\
INSERT INTO entities (entity_id, name, type, version, status, health_status, config, parameters, dependencies, created_at, updated_at)
SELECT md5('entity ' || n)::uuid::text, 'entity-' || n, 'strategy', '1.0.0', 'deployed', 'healthy', '{{"replicas": 2}}', '{{}}', '[]',
    0, 0
FROM generate_series(0, {entities} - 1) n;
INSERT INTO deployments (deployment_id, entity_id, version, environment, config_snapshot, parameters_snapshot, status, deployed_at,
    deployed_by, deployment_method, health_checks, deployment_duration_seconds, validation_results, created_at, updated_at)
SELECT deployment_id::text, entity_id::text, version, environment, config, '{{}}', status, micros, 'bench', 'api', '[]', 0,
    validation, micros, micros
FROM (SELECT *, (extract(epoch FROM at) * 1000000)::bigint AS micros FROM sample) made ORDER BY n;
INSERT INTO deployment_events (deployment_id, entity_id, environment, from_status, to_status, at, who)
SELECT deployment_id, entity_id, environment, NULL, status, deployed_at, deployed_by FROM deployments ORDER BY id;
INSERT INTO counters (scope, environment, status, count)
SELECT entity_id, environment, status, count(*) FROM deployments GROUP BY 1, 2, 3;
INSERT INTO counters (scope, environment, status, count)
SELECT {shard}, environment, status, sum(count) FROM counters GROUP BY 1, 2, 3;
"""
# The shard of an entity, as src/ledger/store/change.rs has it: its UUID modulo 64.
SHARD = "'s' || lpad(((('x' || right(scope, 2))::bit(8)::int) % 64)::text, 2, '0')"


def fill(postgres, database, rows):
    """Fills a database that has its tables, and leaves it as autovacuum would."""
    sql = {"library": DOCUMENT, "ledger": LEDGER}[database]
    numbers = {"entities": ENTITIES, "rows": rows, "shard": SHARD}
    postgres.psql(database, SAMPLE.format(**numbers) + sql.format(**numbers) + "DROP TABLE sample; VACUUM (ANALYZE); CHECKPOINT;")


def ids(postgres, rows):
    """Ids of deployments, all over the rows, and of entities: both databases have the same."""
    every = max(1, rows // 5000)
    deployments = f"SELECT md5('deployment ' || n)::uuid FROM generate_series(1, {rows}, {every}) n"
    entities = f"SELECT md5('entity ' || n)::uuid FROM generate_series(1, {ENTITIES} - 1) n"
    return [postgres.psql("postgres", sql).stdout.split() for sql in (deployments, entities)]


def untold(postgres):
    """Filters by which the ledger's kept totals are not what is there."""
    kept = "SELECT environment, status, sum(count)::bigint FROM counters WHERE scope {} GROUP BY 1, 2 HAVING sum(count) > 0"
    counted = "SELECT environment, status, count(*) FROM deployments GROUP BY 1, 2"
    return [
        line
        for scope in ("LIKE 's%'", "NOT LIKE 's%'")
        for line in postgres.psql("ledger", f"({kept.format(scope)} EXCEPT {counted}) UNION ALL ({counted} EXCEPT {kept.format(scope)})").stdout.split()
    ]
