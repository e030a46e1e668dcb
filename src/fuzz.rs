//! Parsers of foreign bytes, fed with what tests and documents hold, mutated: none may panic, hang, or say what it cannot.
//!
//! Each target is a test. It runs for `FFE_FUZZ_SECONDS` (1 by default; 20 in CI, 600 in `scripts/test --full fuzz`), begins with
//! its seeds and keeps what it has seen nowhere else: a new outcome, or a longer way through it. proptest mutates and shrinks.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, RngSeed, TestError, TestRunner};

use crate::agent::protocol::{self, Reply};
use crate::config::{self, envfile};
use crate::event::{Event, examples};
use crate::model::Job;
use crate::model::compose::ComposeModel;
use crate::text::Redactor;

/// Pieces that mean something to one of the parsers.
const WORDS: [&str; 40] = [
    ": ",
    "- ",
    "\n",
    "\r\n",
    "\t",
    "  ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "#",
    " #",
    "&a ",
    "*a",
    "<<: *a",
    "!x ",
    "|\n",
    "${",
    "${A}",
    "${A:-b}",
    "$${",
    "$A",
    "=",
    "export ",
    "\\n",
    "\\\"",
    "\u{feff}",
    "\u{0}",
    "null",
    "~",
    "true",
    "1e999",
    "-1",
    "99999999999999999999",
    "ssh-ed25519 ",
    "@revoked ",
    "---\n",
    "\u{85}",
];

/// One change of a text.
#[derive(Clone, Debug)]
enum Change {
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Copy(usize, usize, usize),
    Flip(usize, u8),
    Repeat(usize, usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = 0usize..100_000;
    let piece = prop_oneof![
        prop::sample::select(&WORDS[..]).prop_map(|word| word.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 1..6),
    ];
    prop_oneof![
        4 => (at.clone(), piece).prop_map(|(at, piece)| Change::Insert(at, piece)),
        2 => (at.clone(), 1usize..40).prop_map(|(at, length)| Change::Remove(at, length)),
        2 => (at.clone(), 1usize..60, at.clone()).prop_map(|(from, length, to)| Change::Copy(from, length, to)),
        2 => (at.clone(), any::<u8>()).prop_map(|(at, bits)| Change::Flip(at, bits)),
        1 => (at, 1usize..8, 1usize..300).prop_map(|(at, length, times)| Change::Repeat(at, length, times)),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    let piece = |bytes: &[u8], at: usize, length: usize| {
        let at = at % (bytes.len() + 1);
        bytes[at..(at + length).min(bytes.len())].to_vec()
    };
    let insert = |bytes: &mut Vec<u8>, at: usize, piece: Vec<u8>| {
        let at = at % (bytes.len() + 1);
        bytes.splice(at..at, piece).for_each(drop);
    };
    match change {
        Change::Insert(at, piece) => insert(bytes, *at, piece.clone()),
        Change::Remove(at, length) => {
            let at = at % (bytes.len() + 1);
            bytes.drain(at..(at + length).min(bytes.len())).for_each(drop);
        }
        Change::Copy(from, length, to) => insert(bytes, *to, piece(bytes, *from, *length)),
        Change::Flip(at, bits) => {
            let at = at % (bytes.len() + 1);
            bytes[at..].iter_mut().take(1).for_each(|byte| *byte ^= bits);
        }
        Change::Repeat(at, length, times) => {
            insert(bytes, *at, piece(bytes, *at, *length).repeat(*times));
        }
    }
}

/// Feeds a parser with mutated seeds until the time is over; `parse` panics where something is wrong, and returns what
/// kind of answer it was.
fn fuzz(name: &str, mut corpus: Vec<Vec<u8>>, parse: impl Fn(&[u8]) -> String) {
    let seconds = std::env::var("FFE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut outcomes: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
    corpus.iter().for_each(|seed| *outcomes.entry(parse(seed)).or_default() += 1);
    let (mut inputs, mut slowest) = (corpus.len() as u64, Duration::ZERO);
    let mut round = 0;
    while Instant::now() < end {
        round += 1;
        let config = Config {
            cases: 256,
            // What fails is told in full by its shrunk form.
            failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
            rng_seed: RngSeed::Fixed(round),
            ..Config::default()
        };
        let found = std::cell::RefCell::new((Vec::new(), 0u64, Duration::ZERO));
        let seeds = prop::sample::select(corpus.clone());
        let mutated = (seeds, prop::collection::vec(change(), 1..8));
        let ended = TestRunner::new(config).run(&mutated, |(mut bytes, changes)| {
            changes.iter().for_each(|change| apply(&mut bytes, change));
            let begun = busy();
            let outcome = parse(&bytes);
            let took = busy().saturating_sub(begun);
            let mut found = found.borrow_mut();
            found.1 += 1;
            found.2 = found.2.max(took);
            found.0.push((outcome, bytes));
            Ok(())
        });
        if let Err(TestError::Fail(why, (seed, changes))) = ended {
            let mut bytes = seed;
            changes.iter().for_each(|change| apply(&mut bytes, change));
            panic!("{name}: {why}\n{:?}", String::from_utf8_lossy(&bytes));
        }
        let (seen, tried, longest) = found.into_inner();
        (inputs, slowest) = (inputs + tried, slowest.max(longest));
        for (outcome, bytes) in seen {
            let known = outcomes.entry(outcome).or_default();
            *known += 1;
            if *known <= 3 && bytes.len() < 20_000 && corpus.len() < 5000 {
                corpus.push(bytes);
            }
        }
    }
    let figures = serde_json::json!({
        "target": name, "seconds": seconds, "inputs": inputs, "outcomes": outcomes.len(), "corpus": corpus.len(),
        "slowest_ms": slowest.as_millis() as u64,
    });
    println!("{figures}");
    if let Some(directory) = std::env::var_os("FFE_FUZZ_FIGURES") {
        let path = std::path::Path::new(&directory).join(format!("{name}.json"));
        std::fs::write(path, format!("{figures}\n")).unwrap();
    }
    // Far beyond what any of them takes: what is longer is an attack that works.
    assert!(slowest < Duration::from_secs(30), "{name}: one input took {slowest:?}");
}

/// How long this thread has worked: a machine that has much else to do changes nothing about it.
fn busy() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

fn files(directory: &str, endings: &[&str]) -> Vec<Vec<u8>> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if endings.iter().any(|ending| path.to_string_lossy().ends_with(ending)) {
            found.push(std::fs::read(&path).unwrap());
        }
    }
    found
}

/// What is different about an error, without what it quotes.
fn kind(text: &str) -> String {
    let mut quoted = false;
    let words = text.chars().filter(|c| {
        if *c == '`' {
            quoted = !quoted;
        }
        !quoted && !c.is_ascii_digit()
    });
    words.take(300).collect()
}

#[test]
fn configuration() {
    let mut seeds = files("examples", &[".yaml", ".yml"]);
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md")).unwrap();
    seeds.extend(
        page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap().as_bytes().to_vec()),
    );
    fuzz("configuration", seeds, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        config::read_anything(&text).iter().map(|problem| kind(&problem.message)).collect()
    });
}

#[test]
fn env_files() {
    let seeds = [
        "A=1\nexport B='x y'\nC=\"a\\n$A ${B:-c} ${D:?no}\" # x\n\nE: f\n",
        "",
        "\u{feff}A=${B:+${C:-x}}\r\n",
    ];
    fuzz("env-files", seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect(), |bytes| {
        let text = String::from_utf8_lossy(bytes);
        match envfile::parse(&text, &std::collections::BTreeMap::new()) {
            Ok(lines) => {
                let values: std::collections::BTreeMap<String, String> =
                    lines.into_iter().map(|line| (line.name, line.value)).collect();
                let again = envfile::parse(&envfile::render(&values), &std::collections::BTreeMap::new());
                let again: std::collections::BTreeMap<String, String> =
                    again.unwrap().into_iter().map(|line| (line.name, line.value)).collect();
                assert_eq!(again, values, "what is rendered is read back");
                format!("{} lines", values.len().min(5))
            }
            Err(error) => kind(&error.to_string()),
        }
    });
}

#[test]
fn known_hosts() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
    let seeds = [
        format!("shop {key}\n# comment\n[shop]:22,10.0.0.1 {key} me\n@revoked * {key}\n|1|abc=|def= {key}\n"),
        key.to_owned(),
        "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU".to_owned(),
    ];
    fuzz("known-hosts", seeds.into_iter().map(String::into_bytes).collect(), |bytes| {
        kind(&crate::remote::read_any_host_key(&String::from_utf8_lossy(bytes)))
    });
}

#[test]
fn event_lines() {
    let mut seeds: Vec<Vec<u8>> =
        examples::all().iter().map(|event| event.to_line().unwrap().into_bytes()).collect();
    seeds.push(br#"{"reply":"line","text":"x"}"#.to_vec());
    let redactor = Redactor::new(["hunter22"]);
    fuzz("event-lines", seeds, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let reply = serde_json::from_str::<Reply>(&text).is_ok();
        match Event::from_foreign_line(&text, &redactor) {
            Ok(event) => {
                let line = event.to_line().unwrap();
                assert!(
                    !line.contains('\n') && !line.contains("##[") && !line.contains("hunter22"),
                    "{line}"
                );
                format!("{:?}", std::mem::discriminant(&event.kind))
            }
            Err(error) => format!("{reply} {}", kind(&error.to_string())),
        }
    });
}

#[test]
fn frames() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let job = serde_json::to_vec(&crate::model::example_job()).unwrap();
    let of = |kind: u8, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[..], &[kind], payload].concat()
    };
    let seeds = vec![
        of(2, &job),
        of(1, b"{\"protocol\":1}"),
        of(5, b""),
        [of(6, b""), of(7, b"abc"), of(3, b"xyz")].concat(),
    ];
    fuzz("frames", seeds, |bytes| {
        let mut stream = bytes;
        let mut outcome = String::new();
        loop {
            match runtime.block_on(protocol::receive(&mut stream)) {
                Ok(Some(protocol::Frame::Job(payload))) => {
                    let read = serde_json::from_slice::<Job>(&payload);
                    outcome += &read.map_or_else(|error| kind(&error.to_string()), |_| "job".to_owned());
                }
                Ok(Some(_)) => outcome.push('f'),
                Ok(None) => break,
                Err(error) => {
                    outcome += &kind(&error.to_string());
                    break;
                }
            }
        }
        outcome.chars().take(200).collect()
    });
}

#[test]
fn compose_models() {
    let model = serde_json::json!({
        "name": "shop", "services": { "web": {
            "image": "x", "build": { "context": "/a", "dockerfile": "D", "args": { "A": "1" } },
            "ports": [{ "target": 80, "published": "8080", "protocol": "tcp", "host_ip": "127.0.0.1" }],
            "volumes": [{ "type": "bind", "source": "/x", "target": "/y", "bind": { "create_host_path": true } }, { "type": "volume", "source": "v", "target": "/z" }],
            "depends_on": { "db": { "condition": "service_completed_successfully" } }, "restart": "on-failure:3",
            "deploy": { "replicas": 2, "restart_policy": { "condition": "none" } }, "healthcheck": { "test": ["CMD", "x"], "interval": "5s" },
            "environment": { "A": "1", "B": null }, "profiles": ["p"], "container_name": "c",
        }, "db": { "image": "y" } },
        "volumes": { "v": { "name": "shop_v", "external": true } }, "networks": { "default": { "name": "n" } }, "secrets": { "s": { "file": "/f" } },
    });
    let yaml = files("examples", &["docker-compose.yml"]);
    let seeds = [vec![model.to_string().into_bytes()], yaml].concat();
    fuzz("compose-models", seeds, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let files = config::read_any_compose(&text);
        match ComposeModel::from_json(&text) {
            Ok(model) => {
                for (name, service) in &model.services {
                    let _asked = (service.replicas(), service.restart_policy(), model.is_one_shot(name, &[]));
                }
                format!("model {} {files}", model.services.len())
            }
            Err(error) => format!("{files} {}", kind(&error.to_string())),
        }
    });
}
