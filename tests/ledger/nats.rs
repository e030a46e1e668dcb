//! Events in NATS JetStream: each once, in order, whatever is killed (R004-40, R004-41, R004-49).

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_nats::ServerAddr;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use async_nats::jetstream::{self, Context};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::StreamExt;
use futures_util::stream::iter;
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::disturbed::assert_sound;
use super::support::{Database, Server, command, id_of, on_both, skip};

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

/// How long NATS is down at least; the length does not change what happens, but for the waits between attempts.
fn outage() -> Duration {
    let seconds = std::env::var("FFE_TEST_NATS_OUTAGE_S").ok();
    Duration::from_secs(seconds.map_or(0, |seconds| seconds.parse().unwrap()))
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

on_both! {
    async fn every_event_arrives_once_and_in_order(server: &Server) {
        let Some(nats) = Nats::start().await else { return };
        let database = server.database().clone();
        let server = nats.ledger(database.clone()).await;
        let entities = entities(&server).await;
        change(&server, &entities, 150).await;
        assert_published(&database, &nats).await;
        let metrics = server.get("/metrics").await.text;
        let published = outbox(&database).await.len();
        assert!(metrics.contains(&format!("\nffe_ledger_events_published_total {published}\n")), "{metrics}");
        assert!(metrics.contains("\nffe_ledger_nats_up 1\n"), "{metrics}");
    }

    async fn what_is_written_while_nats_is_down_arrives_once_it_is_up(server: &Server) {
        let Some(nats) = Nats::start().await else { return };
        let database = server.database().clone();
        let server = nats.ledger(database.clone()).await;
        let entities = entities(&server).await;
        change(&server, &entities, 5).await;
        assert_published(&database, &nats).await;
        nats.kill();
        let (down, mut written) = (Instant::now(), 0);
        // 200 writes; a whole minute of them in `scripts/test --full nats`.
        while written < 200 || down.elapsed() < outage() {
            change(&server, &entities, 50).await;
            written += 50;
        }
        server.wait_for_line("Failed to publish deployment event: could not connect to NATS at 127.0.0.1");
        let (status, check) = nats_check(&server).await;
        assert_eq!((status.as_str(), &check["status"]), ("degraded", &json!("unhealthy")));
        assert!(check["latency_ms"].is_number() && check["error"].as_str().unwrap().starts_with("could not connect"), "{check}");
        server.get("/health/ready").await.expect(200);
        let metrics = server.get("/metrics").await.text;
        let waiting = metrics.lines().find_map(|line| line.strip_prefix("ffe_ledger_events_unpublished ")).unwrap();
        assert!(waiting.parse::<u32>().unwrap() >= 200, "{waiting}");
        assert!(metrics.contains("\nffe_ledger_nats_up 0\n"), "{metrics}");
        nats.run().await;
        assert_published(&database, &nats).await;
        server.wait_for_line("NATS answers again");
        let (status, check) = nats_check(&server).await;
        assert_eq!((status.as_str(), &check["status"]), ("healthy", &json!("healthy")));
        // Once for the outage, and not for each of its events.
        assert_eq!(lines(&server, "Failed to publish"), 1, "{:#?}", server.log());
    }

    async fn kill_9_at_any_moment_loses_no_event_and_doubles_none(server: &Server) {
        let Some(nats) = Nats::start().await else { return };
        let database = server.database().clone();
        let entities = entities(server).await;
        for (round, killed_after) in [1, 23, 60, 7, 41].into_iter().enumerate() {
            let server = nats.hasty_ledger(database.clone()).await;
            let done = Mutex::new(0);
            let write = |number: usize| {
                let body = json!({"entity_id": entities[number % 3], "environment": "staging", "deployed_by": "x"});
                let request = server.client().post(server.url("/api/v1/deployments")).body(body.to_string());
                let (done, server, nats) = (&done, &server, &nats);
                async move {
                    // Cut off by the kill.
                    let Ok(response) = request.send().await else { return };
                    assert_eq!(response.status().as_u16(), 201);
                    let mut done = done.lock().unwrap();
                    *done += 1;
                    if *done == killed_after {
                        server.signal("KILL");
                        if round == 2 {
                            nats.kill();
                        }
                    }
                }
            };
            iter(0..100).map(write).buffer_unordered(8).collect::<Vec<()>>().await;
            server.wait();
            if round == 2 {
                nats.run().await;
            }
        }
        let server = nats.ledger(database.clone()).await;
        server.deploy(&entities[0], "staging").await;
        assert_published(&database, &nats).await;
        assert_sound(&server).await;
    }

    async fn a_service_that_ends_publishes_what_its_last_requests_left(server: &Server) {
        let Some(nats) = Nats::start().await else { return };
        let database = server.database().clone();
        let server = nats.ledger(database.clone()).await;
        let entities = entities(&server).await;
        change(&server, &entities, 20).await;
        server.signal("TERM");
        assert!(server.wait().success());
        assert_published(&database, &nats).await;
        let pool = database.open().await;
        let (cursor, last): (i64, i64) =
            sqlx::query_as("SELECT sequence, (SELECT MAX(sequence) FROM outbox) FROM cursors WHERE name = 'nats'").fetch_one(&pool).await.unwrap();
        assert_eq!(cursor, last);
    }

    async fn a_start_goes_on_where_the_stream_ends_whatever_the_cursor_and_the_window_say(server: &Server) {
        let Some(nats) = Nats::start().await else { return };
        let database = server.database().clone();
        let first = nats.ledger(database.clone()).await;
        let entities = entities(&first).await;
        change(&first, &entities, 10).await;
        assert_published(&database, &nats).await;
        first.signal("KILL");
        first.wait();
        // The cursor was not moved, and the stream has forgotten the ids: as after more than a day.
        let pool = database.open().await;
        sqlx::query("DELETE FROM cursors").execute(&pool).await.unwrap();
        let context = nats.context().await;
        let stream = context.get_stream(STREAM).await.unwrap();
        let mut config = stream.cached_info().config.clone();
        assert_eq!(config.duplicate_window, Duration::from_secs(24 * 60 * 60));
        config.duplicate_window = Duration::from_millis(100);
        context.update_stream(&config).await.unwrap();
        nats.kill();
        nats.run().await;
        let second = nats.ledger(database.clone()).await;
        second.deploy(&entities[0], "staging").await;
        assert_published(&database, &nats).await;
        // NATS lost what it had acknowledged, as by a power cut of its own.
        second.signal("TERM");
        second.wait();
        let stream = nats.context().await.get_stream(STREAM).await.unwrap();
        let last = stream.cached_info().state.last_sequence;
        for sequence in last - 2..=last {
            stream.delete_message(sequence).await.unwrap();
        }
        nats.kill();
        nats.run().await;
        let third = nats.ledger(database.clone()).await;
        third.wait_for_line("the stream lacks its last 3 events");
        assert_published(&database, &nats).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_ledgers_on_one_database_publish_each_event_once_and_in_order() {
    let Some(nats) = Nats::start().await else { return };
    let Some(database) = Database::postgres().await else { return };
    let (one, other) = (nats.ledger(database.clone()).await, nats.ledger(database.clone()).await);
    let entities = entities(&one).await;
    let third = async {
        nats.kill();
        nats.run().await;
    };
    tokio::join!(change(&one, &entities, 150), change(&other, &entities, 150), third);
    assert_published(&database, &nats).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_cannot_be_published_is_logged_with_the_documents_words() {
    let Some(nats) = Nats::start().await else { return };
    let server = nats.ledger(Database::sqlite()).await;
    let entity = server.entity("e").await;
    server.deploy(&entity, "staging").await;
    let made = server.deploy(&entity, "staging").await;
    nats.messages(2).await;
    nats.kill();
    let body = json!({"reason": "r", "rolled_back_by": "x"});
    server.roll_back(&id_of(&made, "deployment_id"), &body).await.expect(200);
    let line = server.wait_for_line("Failed to publish rollback event");
    assert!(line.contains("1 events wait in the outbox"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_permissions_of_the_manual_are_enough_and_missing_ones_are_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let allowed = r#"["ffe.ledger.>", "$JS.API.STREAM.*.FFE_LEDGER", "$JS.API.STREAM.MSG.GET.FFE_LEDGER"]"#;
    let config = format!(
        r#"authorization {{ users = [
            {{ user: enough, password: p, permissions: {{ publish: {allowed}, subscribe: ["_INBOX.>"] }} }}
            {{ user: less, password: p, permissions: {{ publish: ["ffe.ledger.>"], subscribe: ["_INBOX.>"] }} }}
        ] }}"#
    );
    std::fs::write(file.path(), config).unwrap();
    let Some(nats) = Nats::with(&["-js", "-c", file.path().to_str().unwrap()]).await else { return };
    let as_user = |user: &str| format!("nats://{user}:p@127.0.0.1:{}", nats.port);
    let server = Server::started(Database::sqlite(), &[], &[("FFE_LEDGER_NATS", &as_user("enough"))]).await;
    let entity = server.entity("e").await;
    server.deploy(&entity, "staging").await;
    server.wait_for_line("events are published to NATS");
    server.signal("TERM");
    server.wait();
    let pool = server.database().open().await;
    let cursor: i64 = sqlx::query_scalar("SELECT sequence FROM cursors WHERE name = 'nats'")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(cursor, 1);
    // A start on a stream that is there reads its last message.
    let again =
        Server::started(server.database().clone(), &[], &[("FFE_LEDGER_NATS", &as_user("enough"))]).await;
    again.wait_for_line("events are published to NATS");
    let less = Server::started(Database::sqlite(), &[], &[("FFE_LEDGER_NATS", &as_user("less"))]).await;
    let line = less.wait_for_line("NATS did not answer when it was asked to look at the stream");
    assert!(line.contains("`$JS.API.>`"), "{line}");
}

/// A JWT as NATS has it, signed by one key about another (NATS' JWT, version 2).
fn jwt(signer: &KeyPair, subject: &KeyPair, about: &Value) -> String {
    let claims = json!({"jti": "test", "iat": 1, "iss": signer.public_key(), "sub": subject.public_key(), "name": "test", "nats": about});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({"typ": "JWT", "alg": "ed25519-nkey"})), part(&claims));
    let signature = URL_SAFE_NO_PAD.encode(signer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_credentials_is_read_at_each_connection() {
    let (operator, system, account, user) =
        (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account(), KeyPair::new_user());
    let all = json!({"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1});
    let of_account = json!({"type": "account", "version": 2, "limits": all});
    let of_system = json!({"type": "account", "version": 2, "limits": {"subs": -1, "data": -1, "payload": -1, "conn": -1, "wildcards": true}});
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("nats.conf");
    let text = format!(
        "operator: \"{}\"\nsystem_account: {system_key}\nresolver: MEMORY\nresolver_preload {{ {}: \"{}\", {system_key}: \"{}\" }}\n",
        jwt(&operator, &operator, &json!({"type": "operator", "version": 2})),
        account.public_key(),
        jwt(&operator, &account, &of_account),
        jwt(&operator, &system, &of_system),
        system_key = system.public_key(),
    );
    std::fs::write(&config, text).unwrap();
    let Some(nats) = Nats::with(&["-js", "-c", config.to_str().unwrap()]).await else { return };
    let credentials = directory.path().join("ledger.creds");
    let server = Server::with(
        Database::sqlite(),
        &["--nats", &nats.url(), "--nats-credentials", credentials.to_str().unwrap()],
    )
    .await;
    let entity = server.entity("e").await;
    server.deploy(&entity, "staging").await;
    server.wait_for_line("could not read the credentials in ");
    let of_user =
        json!({"type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1});
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        jwt(&account, &user, &of_user),
        user.seed().unwrap(),
    );
    // Whole at once: the service may read it at any moment.
    let whole = directory.path().join("whole");
    std::fs::write(&whole, text).unwrap();
    std::fs::rename(whole, credentials).unwrap();
    server.wait_for_line("events are published to NATS");
    assert_eq!(lines(&server, &user.seed().unwrap()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_certificate_counts() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let (certificate, key) = (file("cert.pem"), file("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "1",
        ])
        .args([
            "-subj",
            "/CN=nats",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .args(["-out", &certificate, "-keyout", &key])
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        return skip("nats", "no openssl to make a certificate with");
    }
    let Some(nats) = Nats::with(&["-js", "--tls", "--tlscert", &certificate, "--tlskey", &key]).await else {
        return;
    };
    let address = format!("tls://127.0.0.1:{}", nats.port);
    let arguments = ["--nats", &address];
    let server = Server::started(Database::sqlite(), &arguments, &[("SSL_CERT_FILE", &certificate)]).await;
    server.wait_for_line("events are published to NATS");
    let stranger = Server::with(Database::sqlite(), &arguments).await;
    let entity = stranger.entity("e").await;
    stranger.deploy(&entity, "staging").await;
    let line = stranger.wait_for_line("Failed to publish deployment event: could not connect to NATS");
    assert!(line.contains("certificate"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_nats_it_is_named_and_nothing_is_degraded() {
    let server = Server::started(Database::sqlite(), &[], &[("FFE_LEDGER_NATS", "")]).await;
    let (status, check) = nats_check(&server).await;
    assert_eq!((status.as_str(), &check["status"]), ("healthy", &json!("not_configured")));
    assert!(!server.get("/metrics").await.text.contains("nats"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_other_settings_is_widened_and_keeps_the_rest() {
    let Some(nats) = Nats::start().await else { return };
    let config = Config {
        name: STREAM.to_owned(),
        subjects: vec!["other.>".to_owned(), "ffe.ledger.deployment.failed".to_owned()],
        max_messages: 5,
        duplicate_window: Duration::from_secs(1),
        description: Some("somebody's".to_owned()),
        ..Config::default()
    };
    nats.context().await.create_stream(config.clone()).await.unwrap();
    let server = nats.ledger(Database::sqlite()).await;
    server.wait_for_line("changed the stream FFE_LEDGER");
    let entity = server.entity("e").await;
    server.deploy(&entity, "staging").await;
    nats.messages(1).await;
    let found = nats.context().await.get_stream(STREAM).await.unwrap().cached_info().config.clone();
    assert_eq!(found.subjects, ["other.>", "ffe.ledger.>"]);
    assert_eq!(found.duplicate_window, Duration::from_secs(24 * 60 * 60));
    assert_eq!((found.max_messages, found.description), (5, config.description));
    // Somebody else writes into it: order is kept one by one.
    let context = nats.context().await;
    for number in 0..3 {
        context.publish("other.x", format!("{number}").into()).await.unwrap().await.unwrap();
        server.deploy(&entity, "staging").await;
    }
    server.deploy(&entity, "staging").await;
    server.signal("TERM");
    server.wait();
    let last = outbox(server.database()).await.pop().unwrap();
    let stream = context.get_stream(STREAM).await.unwrap();
    let message = stream.get_last_raw_message_by_subject("ffe.ledger.>").await.unwrap();
    assert_eq!(message.payload, last.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_full_or_gone_stops_no_request_and_is_said_and_tried_again() {
    let Some(nats) = Nats::start().await else { return };
    let mut config = Config {
        name: STREAM.to_owned(),
        subjects: vec!["ffe.ledger.>".to_owned()],
        max_messages: 2,
        discard: DiscardPolicy::New,
        ..Config::default()
    };
    nats.context().await.create_stream(config.clone()).await.unwrap();
    let database = Database::sqlite();
    let server = nats.ledger(database.clone()).await;
    let entity = server.entity("e").await;
    for _ in 0..4 {
        server.deploy(&entity, "staging").await;
    }
    server.wait_for_line(
        "Failed to publish deployment event: NATS refused to publish an event: maximum messages exceeded",
    );
    assert_eq!(nats_check(&server).await.1["status"], "unhealthy");
    config.max_messages = -1;
    nats.context().await.update_stream(&config).await.unwrap();
    assert_published(&database, &nats).await;
    server.wait_for_line("NATS answers again");
    nats.context().await.delete_stream(STREAM).await.unwrap();
    server.deploy(&entity, "staging").await;
    server.wait_for_line("made the stream FFE_LEDGER");
    let last = outbox(&database).await.pop().unwrap();
    assert_eq!(nats.messages(1).await, [last]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nats_without_jetstream_is_said_with_what_to_do() {
    let Some(nats) = Nats::with(&[]).await else { return };
    let server = nats.hasty_ledger(Database::sqlite()).await;
    let entity = server.entity("e").await;
    server.deploy(&entity, "staging").await;
    let line = server.wait_for_line("Failed to publish deployment event");
    assert!(line.contains("NATS has no JetStream here: start nats-server with `-js`"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_taken_from_the_variable_and_refused_as_an_argument() {
    let Some(nats) = Nats::with(&["-js", "--user", "ledger", "--pass", "s3cr3t word"]).await else { return };
    let address = format!("nats://ledger:s3cr3t%20word@127.0.0.1:{}", nats.port);
    let server = Server::started(Database::sqlite(), &[], &[("FFE_LEDGER_NATS", &address)]).await;
    server.wait_for_line("events are published to NATS");
    assert!(lines(&server, "s3cr3t") == 0 && nats_check(&server).await.1["status"] == "healthy");
    let wrong = nats.hasty_ledger(Database::sqlite()).await;
    wrong.wait_for_line("refused the credentials: check FFE_LEDGER_NATS");
    let directory = tempfile::tempdir().unwrap();
    let ended = command()
        .args(["serve", "--listen", "127.0.0.1:0", "--nats", &address, "--database"])
        .arg(directory.path().join("l.db"))
        .output()
        .unwrap();
    let told = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(told.contains("put the address into FFE_LEDGER_NATS") && !told.contains("s3cr3t"), "{told}");
    assert!(!directory.path().join("l.db").exists());
}
