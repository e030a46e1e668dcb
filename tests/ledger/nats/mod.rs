//! Events in NATS JetStream: each once, in order, whatever is killed (R004-40, R004-41, R004-49).

mod delivery;
mod settings;

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use async_nats::ServerAddr;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt;
use futures_util::stream::iter;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::{Database, Server, id_of, skip};

/// Longest wait for an event.
const PATIENCE: Duration = Duration::from_secs(60);
const STREAM: &str = "FFE_LEDGER";

/// A nats-server of one test's own, which may be stopped and killed; its messages stay.
pub(crate) struct Nats {
    program: PathBuf,
    directory: TempDir,
    port: u16,
    arguments: Vec<String>,
    child: Mutex<Option<Child>>,
}

impl Nats {
    /// Nothing where there is no nats-server, unless it is required.
    async fn start() -> Option<Self> {
        Self::with(&["-js"]).await
    }

    async fn with(arguments: &[&str]) -> Option<Self> {
        let nats = Self::prepared(arguments)?;
        nats.run().await;
        Some(nats)
    }

    /// One that does not run yet.
    fn prepared(arguments: &[&str]) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
        let Some(program) =
            places.find_map(|place| Some(place.join("nats-server")).filter(|file| file.is_file()))
        else {
            skip("nats", "no nats-server here");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let arguments = arguments.iter().map(ToString::to_string).collect();
        Some(Self {
            program,
            directory: tempfile::tempdir().unwrap(),
            port,
            arguments,
            child: Mutex::new(None),
        })
    }

    async fn run(&self) {
        let mut command = Command::new(&self.program);
        command.args(["-a", "127.0.0.1", "-p", &self.port.to_string(), "-sd"]).arg(self.directory.path());
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        *self.child.lock().unwrap() = Some(command.spawn().unwrap());
    }

    fn kill(&self) {
        let mut child = self.child.lock().unwrap().take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// A connection of the test's own, which waits until the server answers.
    async fn client(&self) -> async_nats::Client {
        let server: ServerAddr = self.url().parse().unwrap();
        let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
        let options = options.reconnect_delay_callback(|_| Duration::from_millis(20));
        let client = options.connect(server).await.unwrap();
        tokio::time::timeout(PATIENCE, client.flush()).await.unwrap().unwrap();
        client
    }

    async fn context(&self) -> Context {
        jetstream::new(self.client().await)
    }

    /// A ledger that publishes to it, by now.
    async fn ledger(&self, database: Database) -> Server {
        let server = self.hasty_ledger(database).await;
        server.wait_for_line("events are published to NATS");
        server
    }

    /// A ledger that does not know it yet.
    async fn hasty_ledger(&self, database: Database) -> Server {
        Server::with(database, &["--nats", &self.url()]).await
    }

    /// Waits until the stream has so many messages, and returns all that it has.
    async fn messages(&self, count: usize) -> Vec<Received> {
        let stream = self.context().await.get_stream(STREAM).await.unwrap();
        // Thousands may come, and nobody acknowledges them.
        let config = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
        let consumer = stream.create_consumer(config).await.unwrap();
        let fetched = consumer.batch().max_messages(count).expires(PATIENCE).messages().await.unwrap();
        let received: Vec<Received> =
            fetched.map(|message| Received::of(message.unwrap().message)).collect().await;
        let kept = stream.get_info().await.unwrap().state.messages;
        assert_eq!((received.len(), kept), (count, count as u64));
        received
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        if let Some(mut child) =
            self.child.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).take()
        {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// One message as a consumer sees it.
#[derive(Clone, Debug, PartialEq)]
struct Received {
    subject: String,
    id: String,
    content_type: String,
    body: String,
}

impl Received {
    fn of(message: async_nats::Message) -> Self {
        let headers = message.headers.unwrap();
        let header = |name: &str| headers.get(name).unwrap().to_string();
        Self {
            subject: message.subject.to_string(),
            id: header("Nats-Msg-Id"),
            content_type: header("content-type"),
            body: String::from_utf8(message.payload.to_vec()).unwrap(),
        }
    }
}

/// The outbox, as it must arrive.
async fn outbox(database: &Database) -> Vec<Received> {
    let pool = database.open().await;
    let query = "SELECT subject, event_id, body FROM outbox ORDER BY sequence";
    let rows: Vec<(String, String, String)> = sqlx::query_as(query).fetch_all(&pool).await.unwrap();
    rows.into_iter()
        .map(|(subject, id, body)| Received {
            subject: format!("ffe.ledger.{subject}"),
            id,
            content_type: "application/cloudevents+json".to_owned(),
            body,
        })
        .collect()
}

/// Every event of the outbox is in the stream, once, in order.
async fn assert_published(database: &Database, nats: &Nats) {
    let pool = database.open().await;
    let written: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM outbox").fetch_one(&pool).await.unwrap();
    let received = nats.messages(usize::try_from(written).unwrap()).await;
    let wanted = outbox(database).await;
    let (there, here): (Vec<&str>, Vec<&str>) = (
        received.iter().map(|one| one.id.as_str()).collect(),
        wanted.iter().map(|one| one.id.as_str()).collect(),
    );
    assert_eq!(there, here);
    assert_eq!(received, wanted);
}

/// Creates and rollbacks, many at once; none may fail but for what the rules say.
async fn change(server: &Server, entities: &[String], times: usize) {
    let one = |number: usize| async move {
        let entity = &entities[number % entities.len()];
        let made = server.deploy(entity, "staging").await;
        if number % 3 == 2 {
            let body = json!({"reason": "r", "rolled_back_by": "x"});
            let answer = server.roll_back(&id_of(&made, "deployment_id"), &body).await;
            // Another one may be active by now, or there is none to go back to.
            assert!([200, 400, 409].contains(&answer.status), "{}", answer.text);
        }
    };
    iter(0..times).map(one).buffer_unordered(16).collect::<Vec<()>>().await;
}

async fn entities(server: &Server) -> Vec<String> {
    let mut entities = Vec::new();
    for name in ["a", "b", "c"] {
        entities.push(server.entity(name).await);
    }
    entities
}

async fn nats_check(server: &Server) -> (String, Value) {
    let answer = server.get("/health/detailed").await.expect(200);
    (answer["status"].as_str().unwrap().to_owned(), answer["checks"]["nats"].clone())
}

fn lines(server: &Server, text: &str) -> usize {
    server.log().iter().filter(|line| line.contains(text)).count()
}
