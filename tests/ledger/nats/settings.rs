//! Streams as they are found, and servers that want a login, a certificate or nothing.

use std::process::Command;
use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

use super::super::support::{Database, Server, command, skip};
use super::{Nats, STREAM, assert_published, lines, nats_check, outbox};

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
