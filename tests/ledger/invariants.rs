//! Any sequence of creates, rollbacks and reports keeps the rules: against a model one after the other, and from several
//! clients at once by what must hold of the record. What fails is made as short as it can be.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};
use sqlx::AnyPool;

use super::disturbed::assert_sound;
use super::support::{Database, Server, id_of, nobody, on_both};

const ENVIRONMENTS: [&str; 2] = ["staging", "production"];
/// Two entities in two environments each.
const PLACES: usize = 4;
/// Deployments that jobs report.
const REPORTS: usize = 6;

/// What one client asks for.
#[derive(Clone, Debug)]
enum Order {
    Create {
        place: usize,
    },
    /// One that was made, and perhaps another one, to go back to.
    RollBack {
        which: Index,
        target: Option<Index>,
    },
    /// The job's next report, or one that came before.
    Report {
        number: usize,
        newer: u32,
        status: &'static str,
        takes_back: bool,
        is_late: bool,
    },
}

fn order() -> impl Strategy<Value = Order> {
    let report = (
        0..REPORTS,
        0..3u32,
        select(vec!["deploying", "active", "failed", "rolled_back"]),
        any::<bool>(),
        any::<bool>(),
    );
    prop_oneof![
        3 => (0..PLACES).prop_map(|place| Order::Create { place }),
        3 => (any::<Index>(), any::<Option<Index>>()).prop_map(|(which, target)| Order::RollBack { which, target }),
        4 => report.prop_map(|(number, newer, status, takes_back, is_late)| Order::Report { number, newer, status, takes_back, is_late }),
    ]
}

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() }
}

/// Runs a case to its end within the test's runtime.
fn waited<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

/// A step of a deployment's history.
type Step = (Option<String>, String);

#[derive(Debug)]
struct Known {
    id: String,
    place: usize,
    status: &'static str,
    /// When it came to run, by the model's clock.
    since: u64,
    history: Vec<Step>,
}

/// What the ledger promises, in its simplest form.
#[derive(Debug, Default)]
struct Model {
    made: Vec<Known>,
    /// By number: which one it is, and its latest sequence.
    reports: BTreeMap<usize, (usize, u32)>,
    events: Vec<(&'static str, usize)>,
    clock: u64,
}

impl Model {
    fn begin(&mut self, id: String, place: usize) -> usize {
        self.made.push(Known {
            id,
            place,
            status: "pending",
            since: 0,
            history: vec![(None, "pending".to_owned())],
        });
        let new = self.made.len() - 1;
        self.step(new, "deploying");
        new
    }

    fn step(&mut self, which: usize, to: &'static str) {
        let known = &mut self.made[which];
        known.history.push((Some(known.status.to_owned()), to.to_owned()));
        known.status = to;
    }

    fn active(&self, place: usize) -> Option<usize> {
        self.made.iter().position(|known| known.place == place && known.status == "active")
    }

    fn create(&mut self, id: String, place: usize) {
        if let Some(old) = self.active(place) {
            self.step(old, "inactive");
        }
        let new = self.begin(id, place);
        self.step(new, "active");
        self.made[new].since = self.clock;
        self.events.push(("deployment.completed", new));
    }

    /// Returns the status of the answer.
    fn roll_back(&mut self, which: usize, target: Option<usize>) -> u16 {
        let (place, since) = (self.made[which].place, self.made[which].since);
        if self.made[which].status != "active" {
            return 409;
        }
        let earlier = self.made.iter().enumerate().filter(|(number, known)| {
            known.place == place && known.status == "inactive" && (known.since, *number) < (since, which)
        });
        let previous = earlier.max_by_key(|(number, known)| (known.since, *number)).map(|(number, _)| number);
        let Some(target) = target.or(previous) else { return 400 };
        if self.made[target].place != place || self.made[target].status != "inactive" {
            return 400;
        }
        self.step(which, "rolled_back");
        self.step(target, "active");
        self.events.push(("deployment.rolled_back", which));
        200
    }

    fn report(
        &mut self,
        number: usize,
        id: &str,
        (sequence, status): (u32, &'static str),
        takes_back: bool,
        is_late: bool,
    ) {
        let which = match self.reports.get(&number) {
            Some((_, known)) if sequence <= *known => return,
            Some((which, _)) => *which,
            None => {
                let which = self.begin(id.to_owned(), number % PLACES);
                self.events.push(("deployment.started", which));
                which
            }
        };
        self.reports.insert(number, (which, sequence));
        if self.made[which].status != "deploying" {
            return;
        }
        match status {
            "active" => self.activate(which, takes_back, is_late),
            "failed" => {
                self.step(which, "failed");
                self.events.push(("deployment.failed", which));
            }
            "rolled_back" => {
                self.step(which, "rolled_back");
                self.events.push(("deployment.rolled_back", which));
            }
            _ => {}
        }
    }

    fn activate(&mut self, which: usize, takes_back: bool, is_late: bool) {
        let running = self.active(self.made[which].place);
        self.made[which].since = if is_late { 0 } else { self.clock };
        self.step(which, "active");
        if running.is_some_and(|old| self.made[old].since > self.made[which].since) {
            return self.step(which, "inactive");
        }
        match running {
            Some(old) if takes_back => {
                self.step(old, "rolled_back");
                self.events.push(("deployment.rolled_back", old));
            }
            Some(old) => self.step(old, "inactive"),
            None => {}
        }
        self.events.push(("deployment.completed", which));
    }
}

/// One case: entities and reports of its own in a ledger that others use as well.
struct Case<'a> {
    server: &'a Server,
    names: [String; 2],
    entities: [String; 2],
    reports: [String; REPORTS],
}

impl<'a> Case<'a> {
    async fn new(server: &'a Server) -> Self {
        let names = [(); 2].map(|()| format!("app-{}", &nobody()[..13]));
        let entities = [server.entity(&names[0]).await, server.entity(&names[1]).await];
        Self { server, names, entities, reports: [(); REPORTS].map(|()| nobody()) }
    }

    async fn create(&self, place: usize) -> String {
        let made = self.server.deploy(&self.entities[place / 2], ENVIRONMENTS[place % 2]).await;
        id_of(&made, "deployment_id")
    }

    async fn roll_back(&self, which: &str, target: Option<&str>) -> u16 {
        let mut body = json!({"reason": "r", "rolled_back_by": "x"});
        if let Some(target) = target {
            body["target_deployment_id"] = json!(target);
        }
        self.server.roll_back(which, &body).await.status
    }

    async fn report(
        &self,
        number: usize,
        (sequence, status): (u32, &str),
        takes_back: bool,
        is_late: bool,
    ) -> Value {
        let place = number % PLACES;
        let early = "2020-01-01T00:00:00Z";
        let body = json!({
            "schema": 1, "sequence": sequence, "app": self.names[place / 2], "environment": ENVIRONMENTS[place % 2],
            "version": "2.0.0", "deployment_id": "deploy-20200101000000-0123abcd", "deployed_by": "ada", "status": status,
            "action": if takes_back { "rollback" } else { "deploy" }, "rollback": takes_back.then(|| json!({"reason": "r"})),
            "started_at": early, "finished_at": (is_late && status != "deploying").then_some(early),
        });
        let path = format!("/api/v1/reports/{}", self.reports[number]);
        let answer = self.server.send_json(reqwest::Method::PUT, &path, &body).await;
        assert!([200, 201].contains(&answer.status), "{}", answer.text);
        answer.json()
    }

    /// What the API says of the case's deployments.
    async fn statuses(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for entity in &self.entities {
            let list = self
                .server
                .get(&format!("/api/v1/entities/{entity}/deployments?page_size=100"))
                .await
                .expect(200);
            let deployments = list["deployments"].as_array().unwrap();
            assert_eq!(list["total"], deployments.len());
            found.extend(deployments.iter().map(|one| (id_of(one, "deployment_id"), id_of(one, "status"))));
        }
        found
    }

    /// The history of each deployment, and whether ever two were active in one place.
    async fn history(&self, pool: &AnyPool) -> Result<BTreeMap<String, Vec<Step>>, TestCaseError> {
        let (mut found, mut active) =
            (BTreeMap::<String, Vec<Step>>::new(), BTreeMap::<(String, String), i64>::new());
        let query = "SELECT deployment_id, from_status, to_status, entity_id, environment, at FROM deployment_events \
            WHERE entity_id IN ($1, $2) ORDER BY id";
        let [one, other] = &self.entities;
        let rows: Vec<(String, Option<String>, String, String, String, i64)> =
            sqlx::query_as(query).bind(one.clone()).bind(other.clone()).fetch_all(pool).await.unwrap();
        let mut before = 0;
        for (deployment, from, to, entity, environment, at) in rows {
            if at != before {
                // A transaction ended: each has its own time.
                prop_assert!(active.values().all(|count| *count <= 1), "two were active: {active:?}");
                before = at;
            }
            let count = active.entry((entity, environment)).or_default();
            *count += i64::from(to == "active") - i64::from(from.as_deref() == Some("active"));
            found.entry(deployment).or_default().push((from, to));
        }
        prop_assert!(active.values().all(|count| (0..=1).contains(count)), "{active:?}");
        Ok(found)
    }

    /// Subjects and deployments of what was told to others, in order.
    async fn events(&self, pool: &AnyPool) -> Vec<(String, String)> {
        let query = "SELECT subject, deployment_id FROM outbox WHERE entity_id IN ($1, $2) ORDER BY id";
        let [one, other] = &self.entities;
        sqlx::query_as(query).bind(one.clone()).bind(other.clone()).fetch_all(pool).await.unwrap()
    }
}

/// Asks one after the other, and compares with the model.
async fn follow(server: &Server, pool: &AnyPool, orders: &[Order]) -> Result<(), TestCaseError> {
    let (case, mut model) = (Case::new(server).await, Model::default());
    for order in orders {
        model.clock += 1;
        match order {
            Order::Create { place } => {
                let id = case.create(*place).await;
                model.create(id, *place);
            }
            Order::RollBack { .. } if model.made.is_empty() => {}
            Order::RollBack { which, target } => {
                let which = which.index(model.made.len());
                let target = target.map(|target| target.index(model.made.len()));
                let id = |which: usize| model.made[which].id.clone();
                let (current, goal) = (id(which), target.map(id));
                let answered = case.roll_back(&current, goal.as_deref()).await;
                prop_assert_eq!(answered, model.roll_back(which, target));
            }
            Order::Report { number, newer, status, takes_back, is_late } => {
                let known = model.reports.get(number).map(|(_, sequence)| *sequence);
                let sequence = known.unwrap_or(1) + newer;
                let answer = case.report(*number, (sequence, status), *takes_back, *is_late).await;
                prop_assert_eq!(&answer["applied"], &json!(known.is_none_or(|known| sequence > known)));
                model.report(*number, &case.reports[*number], (sequence, *status), *takes_back, *is_late);
            }
        }
    }
    let wanted: BTreeMap<String, String> =
        model.made.iter().map(|known| (known.id.clone(), known.status.to_owned())).collect();
    prop_assert_eq!(case.statuses().await, wanted);
    let wanted: BTreeMap<String, Vec<Step>> =
        model.made.iter().map(|known| (known.id.clone(), known.history.clone())).collect();
    prop_assert_eq!(case.history(pool).await?, wanted);
    let wanted: Vec<(String, String)> = model
        .events
        .iter()
        .map(|(subject, which)| ((*subject).to_owned(), model.made[*which].id.clone()))
        .collect();
    prop_assert_eq!(case.events(pool).await, wanted);
    Ok(())
}

/// What one of several clients did: creates and rollbacks that were acknowledged.
async fn ask(case: &Case<'_>, orders: &[Order]) -> (Vec<String>, Vec<String>) {
    let (mut made, mut taken_back) = (Vec::new(), Vec::new());
    for order in orders {
        match order {
            Order::Create { place } => made.push(case.create(place % 2).await),
            Order::RollBack { .. } if made.is_empty() => {}
            Order::RollBack { which, target } => {
                let which = &made[which.index(made.len())];
                let target = target.as_ref().map(|target| made[target.index(made.len())].as_str());
                match case.roll_back(which, target).await {
                    200 => taken_back.push(which.clone()),
                    status => assert!([400, 409].contains(&status), "{status}"),
                }
            }
            Order::Report { number, newer, status, takes_back, is_late } => {
                // Several clients know of the same reports; any may come first.
                drop(case.report(number % 2, (newer + 1, status), *takes_back, *is_late).await);
            }
        }
    }
    (made, taken_back)
}

/// Asks from several clients at once, and looks whether the record can be true.
async fn contend(server: &Server, pool: &AnyPool, clients: &[Vec<Order>]) -> Result<(), TestCaseError> {
    let case = Case::new(server).await;
    let done = join_all(clients.iter().map(|orders| ask(&case, orders))).await;
    let (statuses, history) = (case.statuses().await, case.history(pool).await?);
    for (id, status) in &statuses {
        let steps = &history[id];
        prop_assert_eq!(&steps[0], &(None, "pending".to_owned()));
        prop_assert!(steps.windows(2).all(|pair| pair[1].0.as_ref() == Some(&pair[0].1)), "{:?}", steps);
        prop_assert_eq!(&steps[steps.len() - 1].1, status);
    }
    prop_assert_eq!(history.len(), statuses.len());
    let went = |id: &String, to: &str| {
        history.get(id).is_some_and(|steps| steps.iter().any(|(_, status)| status == to))
    };
    for (made, taken_back) in &done {
        prop_assert!(made.iter().all(|id| went(id, "active")), "an acknowledged create is not there");
        prop_assert!(
            taken_back.iter().all(|id| went(id, "rolled_back")),
            "an acknowledged rollback is not there"
        );
    }
    let events = case.events(pool).await;
    let told = |subject: &str| events.iter().filter(|(told, _)| told == subject).count();
    let rolled_back = history.values().flatten().filter(|(_, to)| to == "rolled_back").count();
    prop_assert_eq!(told("deployment.rolled_back"), rolled_back);
    prop_assert_eq!(
        told("deployment.failed"),
        statuses.values().filter(|status| *status == "failed").count()
    );
    Ok(())
}

on_both! {
    async fn any_sequence_of_creates_rollbacks_and_reports_does_what_a_simple_model_does(server: &Server) {
        let pool = server.database().open().await;
        let outcome = TestRunner::new(config(32))
            .run(&prop::collection::vec(order(), 1..40), |orders| waited(follow(server, &pool, &orders)));
        outcome.unwrap_or_else(|error| panic!("{error}"));
        assert_sound(server).await;
    }

    async fn several_clients_at_once_keep_the_rules_whatever_they_ask(server: &Server) {
        let pool = server.database().open().await;
        let clients = prop::collection::vec(prop::collection::vec(order(), 1..15), 2..6);
        let outcome = TestRunner::new(config(24)).run(&clients, |clients| waited(contend(server, &pool, &clients)));
        outcome.unwrap_or_else(|error| panic!("{error}"));
        assert_sound(server).await;
    }
}
