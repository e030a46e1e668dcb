//! Reading much, and reading at once.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::Value;

use crate::support::{Database, Server, id_of, nobody, on_both};

/// So many deployments that the pages at the end are far from the front (store/deployments.rs).
const MANY: i64 = 12_000;

/// Deployments whose versions are their numbers, the newest last, with the totals that are kept of them.
async fn fill(server: &Server, entity: &str) {
    let pool = server.database().open().await;
    let counts = ["s00", entity].map(|scope| format!("('{scope}', 'staging', 'inactive', {MANY})"));
    let statements = [
        format!(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {MANY}) \
             INSERT INTO deployments (deployment_id, entity_id, version, environment, config_snapshot, status, deployed_at, \
             deployed_by, health_checks, created_at, updated_at) \
             SELECT 'deployment ' || n, '{entity}', CAST(n AS TEXT), 'staging', '{{}}', 'inactive', n, 'test_user', '[]', 0, 0 \
             FROM numbers"
        ),
        format!("INSERT INTO counters (scope, environment, status, count) VALUES {}", counts.join(", ")),
    ];
    for statement in statements {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&pool).await.unwrap();
    }
}

fn versions(list: &Value) -> Vec<i64> {
    let deployments = list["deployments"].as_array().unwrap();
    deployments.iter().map(|one| one["version"].as_str().unwrap().parse().unwrap()).collect()
}

on_both! {
    async fn a_page_holds_what_its_place_in_the_order_says_near_the_front_and_far_from_it(server: &Server) {
        let entity = server.entity("many").await;
        fill(server, &entity).await;
        let paths = [
            "/api/v1/deployments?".to_owned(),
            format!("/api/v1/entities/{entity}/deployments?environment=staging&"),
            format!("/api/v1/deployments?status=inactive&entity_id={entity}&"),
        ];
        for path in paths {
            // At both sides of where a page is far, of the middle, and of the end.
            for page in [1, 2, 59, 60, 61, 62, 101, 102, 103, 119, 120, 121, 5000] {
                let list = server.get(&format!("{path}page_size=100&page={page}")).await.expect(200);
                let first = MANY - (page - 1) * 100;
                let wanted: Vec<_> = (0..100).map(|number| first - number).filter(|number| *number > 0).collect();
                assert_eq!((versions(&list), &list["total"]), (wanted, &MANY.into()), "{path} {page}");
            }
        }
    }

    async fn the_deployments_of_an_entity_that_is_deleted_or_unknown_are_not_listed(server: &Server) {
        let entity = server.entity("gone").await;
        server.deploy(&entity, "staging").await;
        let path = format!("/api/v1/entities/{entity}/deployments");
        assert_eq!(server.get(&path).await.expect(200)["total"], 1);
        assert_eq!(server.get(&format!("{path}?page=2")).await.expect(200)["total"], 1);
        server.send(server.client().delete(server.url(&format!("/api/v1/entities/{entity}")))).await;
        server.get(&path).await.expect(404);
        server.get(&format!("{path}?page=2")).await.expect(404);
        server.get(&format!("/api/v1/entities/{}/deployments", nobody())).await.expect(404);
    }

    async fn each_of_many_that_ask_at_once_is_told_of_the_deployment_that_it_asked_for(server: &Server) {
        let mut ids = Vec::new();
        for number in 0..20 {
            let entity = server.entity(&format!("asked-{number}")).await;
            ids.push(id_of(&server.deploy(&entity, "staging").await, "deployment_id"));
        }
        let unknown = nobody();
        // Every id ten times, and one that nothing has.
        let asked: Vec<_> = ids.iter().chain([&unknown]).cycle().take(210).collect();
        let answers = join_all(asked.iter().map(|id| async move {
            let answer = server.get(&format!("/api/v1/deployments/{id}")).await;
            (answer.status, answer.json()["deployment_id"].as_str().unwrap_or_default().to_owned())
        }))
        .await;
        for (id, (status, told)) in asked.iter().zip(&answers) {
            let wanted = if **id == unknown { (404, "") } else { (200, id.as_str()) };
            assert_eq!((*status, told.as_str()), wanted);
        }
        assert_eq!(answers.iter().filter(|(status, _)| *status == 200).map(|(_, id)| id).collect::<BTreeSet<_>>().len(), 20);
    }
}
