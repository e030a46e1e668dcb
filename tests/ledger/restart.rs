//! PostgreSQL that is restarted under load: errors while it is away, none after, nothing torn.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

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

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_restarted_under_load_loses_nothing_and_is_found_again() {
    let Some(programs) = programs() else {
        return skip("postgres", "no programs of PostgreSQL's here");
    };
    let cluster = Arc::new(Cluster::start(programs));
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", cluster.port);
    let server = Server::on(Database::at(url)).await;
    let entity = server.entity("e").await;
    let body = json!({"entity_id": entity, "environment": "staging", "deployed_by": "x"});
    let (mut acknowledged, mut failed): (Vec<String>, usize) = (Vec::new(), 0);
    let restarted = Arc::clone(&cluster);
    let restart = tokio::task::spawn_blocking(move || restarted.control("restart"));
    // Until it is back, and for a while after.
    let mut after = 0;
    while after < 50 {
        after += usize::from(restart.is_finished());
        let answer = server.post("/api/v1/deployments", &body).await;
        match answer.status {
            201 => acknowledged.push(id_of(&answer.json(), "deployment_id")),
            503 if after == 0 => failed += 1,
            status => panic!("{status} after {after} answers: {}", answer.text),
        }
    }
    restart.await.unwrap();
    eprintln!("{} created, {failed} told that the database is away", acknowledged.len());
    let found = all(&server).await;
    let lost: Vec<&String> = acknowledged.iter().filter(|id| !found.contains_key(*id)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    let ready: Value = server.get("/health/ready").await.expect(200);
    assert_eq!(ready["checks"]["database"]["status"], "healthy");
    assert_sound(&server).await;
}
