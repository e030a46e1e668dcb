//! PostgreSQL that is restarted or away under load: errors while it is away, none after, nothing torn.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::disturbed::{all, assert_sound};
use super::support::{Database, Server, id_of, skip};

/// A server of PostgreSQL's of its own, which may be restarted.
struct Cluster {
    programs: PathBuf,
    directory: TempDir,
    port: u16,
}

/// Where Debian keeps the programs of its newest PostgreSQL.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    found.retain(|bin| bin.join("initdb").is_file());
    found.sort();
    found.pop()
}

impl Cluster {
    fn start(programs: PathBuf) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        if is_root() {
            let owned = Command::new("chown").arg("postgres").arg(directory.path()).status().unwrap();
            assert!(owned.success());
        }
        let cluster = Self { programs, directory, port };
        let data = cluster.data();
        cluster
            .run("initdb", &["-D", &data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]);
        cluster.control("start");
        cluster
    }

    fn data(&self) -> String {
        self.directory.path().join("data").display().to_string()
    }

    fn control(&self, verb: &str) {
        let (data, home) = (self.data(), self.directory.path().display().to_string());
        let options = format!("-h 127.0.0.1 -p {} -k {home}", self.port);
        let log = format!("{home}/log");
        self.run("pg_ctl", &[verb, "-w", "-m", "immediate", "-D", &data, "-l", &log, "-o", &options]);
    }

    /// PostgreSQL refuses to run as root.
    fn run(&self, program: &str, arguments: &[&str]) {
        let program = self.programs.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.args(arguments).current_dir(Path::new("/")).stdin(Stdio::null()).stdout(Stdio::null());
        assert!(command.status().unwrap().success(), "{command:?}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.control("stop");
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A cluster, and a ledger on it; nothing where there is no PostgreSQL.
async fn ledger_on_its_own() -> Option<(Arc<Cluster>, Server)> {
    let Some(programs) = programs() else {
        skip("postgres", "no programs of PostgreSQL's here");
        return None;
    };
    let cluster = Arc::new(Cluster::start(programs));
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", cluster.port);
    let server = Server::on(Database::at(url)).await;
    Some((cluster, server))
}

/// What clients that create without end were answered.
#[derive(Default)]
struct Answers {
    acknowledged: Vec<String>,
    /// Told that the database is away.
    refused: usize,
    /// Created by requests that began after it was back.
    after: usize,
}

/// Creates until `until` says that it is enough; nothing but 201 and a clear 503 is ever answered, and after `back` is
/// set nothing but 201.
async fn create(
    server: &Server,
    body: &Value,
    answers: &Mutex<Answers>,
    back: &AtomicBool,
    until: impl Fn(&Answers) -> bool,
) {
    loop {
        let began_after = back.load(Ordering::SeqCst);
        let answer = server.post("/api/v1/deployments", body).await;
        let mut answers = answers.lock().unwrap();
        match answer.status {
            201 => {
                answers.acknowledged.push(id_of(&answer.json(), "deployment_id"));
                answers.after += usize::from(began_after);
            }
            503 if !began_after => {
                answers.refused += 1;
                assert!(answer.text.contains("The database does not answer; try again"), "{}", answer.text);
                assert_eq!(answer.header("retry-after"), "1");
            }
            status => panic!(
                "{status}, begun when it was {}: {}",
                if began_after { "back" } else { "away" },
                answer.text
            ),
        }
        if until(&answers) {
            return;
        }
    }
}

/// Every acknowledged write is there, and of the others all or nothing.
async fn assert_kept(server: &Server, answers: &Answers) {
    let found = all(server).await;
    let lost: Vec<&String> = answers.acknowledged.iter().filter(|id| !found.contains_key(*id)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    // A commit whose answer was cut off may have happened.
    let more = found.len() - answers.acknowledged.len();
    assert!(more <= answers.refused, "{more} more than acknowledged, {} refused", answers.refused);
    let ready: Value = server.get("/health/ready").await.expect(200);
    assert_eq!(ready["checks"]["database"]["status"], "healthy");
    let feed = server.get("/api/v1/events?limit=1000").await.expect(200);
    let sequences: Vec<i64> =
        feed["events"].as_array().unwrap().iter().map(|event| event["sequence"].as_i64().unwrap()).collect();
    assert_eq!(sequences, (1..=i64::try_from(sequences.len()).unwrap()).collect::<Vec<_>>());
    assert_sound(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_restarted_under_load_loses_nothing_and_is_found_again() {
    let Some((cluster, server)) = ledger_on_its_own().await else { return };
    let entity = server.entity("e").await;
    let body = json!({"entity_id": entity, "environment": "staging", "deployed_by": "x"});
    let (answers, back) = (Mutex::default(), AtomicBool::new(false));
    let restart = async {
        let restarted = Arc::clone(&cluster);
        tokio::task::spawn_blocking(move || restarted.control("restart")).await.unwrap();
        back.store(true, Ordering::SeqCst);
    };
    let enough = |answers: &Answers| answers.after >= 50;
    let clients = join_all((0..4).map(|_| create(&server, &body, &answers, &back, enough)));
    tokio::join!(restart, clients);
    assert_kept(&server, &answers.into_inner().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_requests_are_refused_with_words_and_none_is_afterwards() {
    let Some((cluster, server)) = ledger_on_its_own().await else { return };
    let entity = server.entity("e").await;
    let body = json!({"entity_id": entity, "environment": "staging", "deployed_by": "x"});
    let (answers, back) = (Mutex::default(), AtomicBool::new(false));
    let is_refused = |answers: &Answers| answers.refused >= 24;
    let outage = async {
        let stopped = Arc::clone(&cluster);
        tokio::task::spawn_blocking(move || stopped.control("stop")).await.unwrap();
        // Whoever only looks is told the same, and the service says that it lives.
        let read = server.get(&format!("/api/v1/entities/{entity}")).await;
        assert_eq!((read.status, read.header("retry-after")), (503, "1"), "{}", read.text);
        let ready = server.get("/health/ready").await.expect(503);
        assert_eq!(
            (&ready["status"], &ready["checks"]["database"]["status"]),
            (&json!("unhealthy"), &json!("unhealthy"))
        );
        server.get("/health").await.expect(200);
    };
    // A client that is refused goes on asking until two dozen requests were.
    let clients = join_all((0..8).map(|_| create(&server, &body, &answers, &back, is_refused)));
    tokio::join!(outage, clients);
    let started = Arc::clone(&cluster);
    tokio::task::spawn_blocking(move || started.control("start")).await.unwrap();
    back.store(true, Ordering::SeqCst);
    let enough = |answers: &Answers| answers.after >= 50;
    join_all((0..8).map(|_| create(&server, &body, &answers, &back, enough))).await;
    assert_kept(&server, &answers.into_inner().unwrap()).await;
}
