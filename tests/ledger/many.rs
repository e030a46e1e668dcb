//! Lists over 50,000 deployments: what a page reads is counted by the database, so that no clock is asked.

use serde_json::Value;
use sqlx::{AnyPool, Row};

use super::support::{Database, Server};

const ROWS: i64 = 50_000;

/// Deployments of a hundred entities in four environments, of which one in ten is of the first entity; and their totals.
const FILL: [&str; 5] = [
    "INSERT INTO entities (entity_id, name, type, version, config, parameters, dependencies, status, health_status, created_at, updated_at) \
     SELECT md5('entity ' || n)::uuid::text, 'e' || n, 'strategy', '1', '{}', '{}', '[]', 'deployed', 'healthy', 0, 0 \
     FROM generate_series(0, 99) n",
    "INSERT INTO deployments (deployment_id, entity_id, version, environment, config_snapshot, status, deployed_at, deployed_by, health_checks, created_at, updated_at) \
     SELECT md5('deployment ' || n)::uuid::text, md5('entity ' || CASE WHEN n % 10 = 0 THEN 0 ELSE n % 100 END)::uuid::text, '1', \
     (ARRAY['development', 'staging', 'production', 'testing'])[1 + n % 4], '{}', CASE WHEN n % 100 = 7 THEN 'failed' ELSE 'inactive' END, \
     n, 'x', '[]', n, n FROM generate_series(1, 50000) n",
    "INSERT INTO counters SELECT entity_id, environment, status, count(*) FROM deployments GROUP BY 1, 2, 3",
    "INSERT INTO counters SELECT 's00', environment, status, sum(count) FROM counters GROUP BY 2, 3",
    "VACUUM (ANALYZE)",
];

/// Rows of `deployments` that were read one after another, and entries of its indexes that were.
async fn read_so_far(pool: &AnyPool) -> (i64, i64) {
    // A connection tells what it has read before it is gone.
    let others = "SELECT CAST(COUNT(*) AS BIGINT) FROM pg_stat_activity WHERE datname = current_database() \
                  AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
    while sqlx::query_scalar::<_, i64>(others).fetch_one(pool).await.unwrap() > 0 {}
    let told = "SELECT CAST(seq_tup_read AS BIGINT), (SELECT CAST(SUM(idx_tup_read) AS BIGINT) FROM pg_stat_user_indexes \
                WHERE relname = 'deployments') FROM pg_stat_user_tables WHERE relname = 'deployments'";
    let row = sqlx::query(told).fetch_one(pool).await.unwrap();
    (row.get(0), row.get(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_reads_no_more_than_what_stands_before_it_and_itself() {
    let Some(database) = Database::postgres().await else { return };
    let server = Server::on(database.clone()).await;
    let pool = database.open().await;
    for text in FILL {
        sqlx::query(text).execute(&pool).await.unwrap();
    }
    server.signal("TERM");
    server.wait();
    // What this connection has read is not told before it is gone.
    pool.close().await;
    let pool = database.open().await;
    let entity =
        sqlx::query_scalar::<_, String>("SELECT md5('entity 0')::uuid::text").fetch_one(&pool).await.unwrap();
    let filters = [
        String::new(),
        "&environment=production".to_owned(),
        "&status=inactive".to_owned(),
        "&status=failed".to_owned(),
        "&environment=production&status=inactive".to_owned(),
        format!("&entity_id={entity}"),
        format!("&entity_id={entity}&environment=development"),
        format!("&entity_id={entity}&environment=development&status=inactive"),
    ];
    for filter in filters {
        let before = read_so_far(&pool).await;
        let server = Server::on(database.clone()).await;
        let total =
            server.get(&format!("/api/v1/deployments?page_size=1{filter}")).await.expect(200)["total"]
                .as_i64()
                .unwrap();
        let last = (total + 99) / 100;
        // An entry of the index for each deployment before the page, from the nearer end; each of the page's, and its row.
        let mut allowed = 1 + 1;
        // Statements that were asked often have another plan.
        for page in [1, 1, 1, 1, 1, 1, 1, 2, last / 2, last] {
            let found = server
                .get(&format!("/api/v1/deployments?page={page}&page_size=100{filter}"))
                .await
                .expect(200);
            assert_eq!(found["total"], Value::from(total));
            let length = i64::try_from(found["deployments"].as_array().unwrap().len()).unwrap();
            let skipped = (page - 1) * 100;
            // Near pages are walked from the front (10,000).
            let walked = if skipped > 10_000 { skipped.min(total - skipped) } else { skipped };
            allowed += walked + 2 * length;
        }
        server.signal("TERM");
        server.wait();
        let after = read_so_far(&pool).await;
        let (scanned, read) = (after.0 - before.0, after.1 - before.1);
        assert_eq!(scanned, 0, "all rows are read for {filter:?}");
        // Of a short list a page may be had by reading it whole.
        let allowed = allowed * 5 / 4;
        assert!(
            read <= allowed,
            "{read} entries of indexes are read for {filter:?}, {allowed} are enough of {total} of {ROWS}"
        );
    }
}
