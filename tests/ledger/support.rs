//! A running `ffe-ledger` on a database of its own, and requests to it. Everything is taken away on drop.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::any::{AnyPoolOptions, install_default_drivers};
use sqlx::{AnyPool, AssertSqlSafe};
use tempfile::TempDir;
use uuid::Uuid;

/// Longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes two tests of one: on SQLite, and on PostgreSQL where it is there.
macro_rules! on_both {
    ($(async fn $name:ident($server:ident: &Server) $body:block)+) => { $(
        mod $name {
            use super::*;

            async fn check($server: &Server) $body

            #[tokio::test(flavor = "multi_thread")]
            async fn sqlite() {
                check(&Server::on(Database::sqlite()).await).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() {
                let Some(database) = Database::postgres().await else { return };
                check(&Server::on(database).await).await;
            }
        }
    )+ };
}
pub(crate) use on_both;

/// A database that only one test uses.
#[derive(Clone)]
pub(crate) struct Database(Arc<Place>);

enum Place {
    File(TempDir),
    /// One that somebody else takes away.
    Given(String),
    /// Name, and the connection that made it.
    Postgres {
        name: String,
        server: String,
    },
}

impl Database {
    pub(crate) fn sqlite() -> Self {
        Self(Arc::new(Place::File(tempfile::tempdir().unwrap())))
    }

    /// Nothing where no PostgreSQL answers, unless it is required.
    pub(crate) async fn postgres() -> Option<Self> {
        let server = std::env::var("FFE_TEST_POSTGRES")
            .unwrap_or_else(|_| "postgres://postgres@127.0.0.1:15432".to_owned());
        install_default_drivers();
        let connected = connect(&format!("{server}/postgres"), 3).await;
        let Ok(pool) = connected else {
            skip("postgres", &format!("no PostgreSQL at {server}"));
            return None;
        };
        let name = format!("ffe_test_{}", Uuid::new_v4().simple());
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&pool).await.unwrap();
        pool.close().await;
        Some(Self(Arc::new(Place::Postgres { name, server })))
    }

    pub(crate) fn at(url: String) -> Self {
        Self(Arc::new(Place::Given(url)))
    }

    pub(crate) fn address(&self) -> String {
        match &*self.0 {
            Place::Given(url) => url.clone(),
            Place::File(directory) => directory.path().join("ledger.db").display().to_string(),
            Place::Postgres { name, server } => format!("{server}/{name}"),
        }
    }

    /// Connects to it beside the server.
    pub(crate) async fn open(&self) -> AnyPool {
        install_default_drivers();
        let address = self.address();
        let url = if address.contains("://") { address } else { format!("sqlite://{address}") };
        connect(&url, 30).await.unwrap()
    }
}

/// Says aloud that a test is skipped; fails where FFE_TEST_REQUIRE lists what it needs.
pub(crate) fn skip(tool: &str, why: &str) {
    let required = std::env::var("FFE_TEST_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|required| required == tool),
        "{why}, and FFE_TEST_REQUIRE lists {tool}: run scripts/services"
    );
    eprintln!("SKIPPED: {why}: run scripts/services");
}

async fn connect(url: &str, seconds: u64) -> sqlx::Result<AnyPool> {
    AnyPoolOptions::new().max_connections(1).acquire_timeout(Duration::from_secs(seconds)).connect(url).await
}

impl Drop for Place {
    fn drop(&mut self) {
        let Self::Postgres { name, server } = self else { return };
        let (url, text) =
            (format!("{server}/postgres"), format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        // A runtime of its own: this may run inside of one.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let pool = connect(&url, 10).await?;
                sqlx::query(AssertSqlSafe(text)).execute(&pool).await
            })
        });
        if !matches!(dropped.join(), Ok(Ok(_))) {
            eprintln!("could not drop {name}");
        }
    }
}

/// Lines that the server wrote, and a bell for each.
type Log = Arc<(Mutex<Vec<String>>, Condvar)>;

/// The built server, running.
pub(crate) struct Server {
    child: Mutex<Child>,
    log: Log,
    base: String,
    client: reqwest::Client,
    database: Database,
}

/// What it answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// The command that a test starts, without the variables of whoever runs it.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ffe-ledger"));
    command.stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FFE_LEDGER_")) {
        command.env_remove(name);
    }
    command
}

impl Server {
    pub(crate) async fn on(database: Database) -> Self {
        Self::with(database, &[]).await
    }

    pub(crate) async fn with(database: Database, arguments: &[&str]) -> Self {
        Self::started(database, arguments, &[]).await
    }

    /// With these variables, too.
    pub(crate) async fn started(database: Database, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::at(database, "127.0.0.1:0", arguments, variables).await
    }

    /// At an address that something else knows already.
    pub(crate) async fn at(
        database: Database,
        listen: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let mut command = command();
        command.envs(variables.iter().copied());
        command.args(["serve", "--listen", listen, "--database", &database.address()]).args(arguments);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log: Log = Log::default();
        let (lines, bell) = (child.stderr.take().unwrap(), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                bell.0.lock().unwrap().push(line);
                bell.1.notify_all();
            }
        });
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let mut server = Self { child: Mutex::new(child), log, base: String::new(), client, database };
        let line = server.wait_for_line("listening on http://");
        let address: Value = serde_json::from_str(&line).unwrap();
        server.base = format!("http://{}", address["address"].as_str().unwrap());
        server
    }

    /// Waits until a line of the log has this text, and returns it.
    pub(crate) fn wait_for_line(&self, text: &str) -> String {
        let lines = self.log.0.lock().unwrap();
        let find = |lines: &[String]| lines.iter().find(|line| line.contains(text)).cloned();
        let (lines, waited) =
            self.log.1.wait_timeout_while(lines, PATIENCE, |lines| find(lines).is_none()).unwrap();
        assert!(!waited.timed_out(), "no line with `{text}`: {lines:#?}");
        find(&lines).unwrap()
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.0.lock().unwrap().clone()
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.lock().unwrap().id()
    }

    /// Sends a signal by name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub(crate) fn wait(&self) -> std::process::ExitStatus {
        self.child.lock().unwrap().wait().unwrap()
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.client.get(self.url(path))).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send_json(reqwest::Method::POST, path, body).await
    }

    pub(crate) async fn send_json(&self, method: reqwest::Method, path: &str, body: &Value) -> Answer {
        let request = self.client.request(method, self.url(path));
        self.send(request.header("content-type", "application/json").body(body.to_string())).await
    }

    /// Registers an entity of this name, and returns its id.
    pub(crate) async fn entity(&self, name: &str) -> String {
        let body = json!({ "name": name, "type": "strategy", "version": "1.0.0" });
        id_of(&self.post("/api/v1/entities", &body).await.expect(201), "entity_id")
    }

    /// Deploys it, and returns the answer.
    pub(crate) async fn deploy(&self, entity: &str, environment: &str) -> Value {
        let body = json!({ "entity_id": entity, "environment": environment, "deployed_by": "test_user" });
        self.post("/api/v1/deployments", &body).await.expect(201)
    }

    pub(crate) async fn roll_back(&self, deployment: &str, body: &Value) -> Answer {
        self.post(&format!("/api/v1/deployments/{deployment}/rollback"), body).await
    }

    pub(crate) async fn status_of(&self, deployment: &str) -> String {
        let found = self.get(&format!("/api/v1/deployments/{deployment}")).await.expect(200);
        found["status"].as_str().unwrap().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        drop(child.kill());
        drop(child.wait());
    }
}

pub(crate) fn id_of(record: &Value, key: &str) -> String {
    record[key].as_str().unwrap_or_else(|| panic!("no {key} in {record}")).to_owned()
}

/// The id that nothing has.
pub(crate) fn nobody() -> String {
    Uuid::new_v4().to_string()
}
