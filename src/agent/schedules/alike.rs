//! The made-up engine and the real one are given the same orders, and must end with the same containers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, BufReader};

use super::host::RELEASE;
use crate::health::fixtures::Engine;
use crate::host::change::{Change, carry_out};
use crate::host::compose::{Call, Compose};
use crate::host::docker::Docker;
use crate::host::simulated::{Act, Killed, World};
use crate::model::{ContainerFacts, ContainerState, labels};

/// It does not end when it is told to, so that there is time to kill whoever told it.
const STUBBORN: &str = "trap '' TERM; while :; do sleep 1; done";
const WILLING: &str = "trap 'exit 0' TERM; while :; do sleep 1; done";
const SOON: Duration = Duration::from_secs(60);

/// One order.
#[derive(Clone, Copy, Debug)]
enum Deed {
    /// `up` of a release.
    Up(u32),
    /// `up` of a release that recreates `web`, whether it changed or not.
    Force(u32),
    /// `up` of a release whose client is killed as soon as the daemon has begun to stop the old `web`.
    Killed(u32),
    /// The daemon ends what it has begun.
    Rest,
    Stop(&'static str),
    Remove(&'static str),
    /// Starts what there is of a service, by id.
    Start(&'static str),
    /// Orders about a container that is not there.
    Missing,
}

/// What is tried, each from nothing. The same release again over two containers of a service is not among them: whether
/// Compose first creates one more, whose name is taken, or first removes that one, is a race there, and chance here.
const STORIES: [&[Deed]; 6] = [
    &[Deed::Up(1), Deed::Up(1), Deed::Up(2), Deed::Up(1)],
    &[Deed::Up(1), Deed::Stop("web"), Deed::Up(1), Deed::Remove("db"), Deed::Up(2)],
    &[Deed::Up(1), Deed::Force(1), Deed::Up(3), Deed::Up(1)],
    // The one before again: Compose recreates the new one and takes away the old one.
    &[Deed::Up(1), Deed::Killed(2), Deed::Rest, Deed::Up(1)],
    &[Deed::Up(1), Deed::Killed(2), Deed::Stop("web"), Deed::Start("web"), Deed::Remove("web"), Deed::Up(1)],
    &[Deed::Missing, Deed::Up(1), Deed::Missing],
];

/// Writes the compose file of a release: `web` differs in each, the third has no `db`.
fn write_file(directory: &Path, image: &str, release: u32) -> PathBuf {
    let service = |of: u32, script: &str| {
        serde_json::json!({
            "image": image, "command": ["/bin/sh", "-c", script], "stop_grace_period": "2s",
            "restart": "unless-stopped", "labels": { RELEASE: of.to_string() },
        })
    };
    let mut services = serde_json::json!({ "web": service(release, STUBBORN) });
    if release != 3 {
        services["db"] = service(1, WILLING);
    }
    let path = directory.join(format!("{release}.json"));
    fs::write(&path, serde_json::json!({ "services": services }).to_string().replace('$', "$$")).unwrap();
    path
}

/// One of the two engines, and a project on it.
struct Side {
    docker: Docker,
    project: String,
    directory: tempfile::TempDir,
    world: Option<World>,
}

impl Side {
    async fn change(&self, change: &Change<'_>) -> String {
        match carry_out(change, &Compose::supposed(), &mut |_| {}).await {
            Ok(_) => "done".to_owned(),
            Err(_) => "failed".to_owned(),
        }
    }

    async fn tell(&self, story: &[Deed], image: &str) -> Vec<String> {
        let mut told = Vec::new();
        for deed in story {
            let ended = self.act(*deed, image).await;
            told.push(format!("{deed:?} {ended}: {}", shown(&self.containers().await, &self.project)));
        }
        told
    }

    async fn containers(&self) -> Vec<ContainerFacts> {
        self.docker.containers(&self.project).await.unwrap()
    }

    async fn ids(&self, service: &str) -> Vec<String> {
        let found = self.containers().await.into_iter();
        found.filter(|container| container.service == service).map(|container| container.id).collect()
    }

    async fn act(&self, deed: Deed, image: &str) -> String {
        let release = match deed {
            Deed::Up(release) | Deed::Force(release) | Deed::Killed(release) => release,
            _ => 1,
        };
        let files = [write_file(self.directory.path(), image, release)];
        let site = Call {
            project: &self.project,
            project_directory: self.directory.path(),
            files: &files,
            env_file: None,
            profiles: &[],
        };
        let up = Change::Up { site, force: &[] };
        match deed {
            Deed::Up(_) => self.change(&up).await,
            Deed::Force(_) => self.change(&Change::Up { site, force: &["web".to_owned()] }).await,
            Deed::Killed(_) if self.world.is_some() => self.kill_in_world(&up),
            Deed::Killed(_) => self.kill(&up).await,
            Deed::Rest => self.rest().await,
            Deed::Stop(service) => self.change(&Change::Stop(&self.ids(service).await)).await,
            Deed::Start(service) => self.change(&Change::Start(&self.ids(service).await)).await,
            Deed::Remove(service) => self.change(&Change::Remove(&self.ids(service).await)).await,
            Deed::Missing => {
                let nobody = ["0123456789ab".to_owned()];
                let mut told = Vec::new();
                for change in [Change::Stop(&nobody), Change::Start(&nobody), Change::Remove(&nobody)] {
                    told.push(format!("{} {}", change.name(), self.change(&change).await));
                }
                told.join(", ")
            }
        }
    }

    fn kill_in_world(&self, up: &Change<'_>) -> String {
        let (id, mut points) = ("killed".parse().unwrap(), 0);
        let script = Box::new(move |_: &str| {
            points += 1;
            // Begun, created, told to stop: then.
            if points == 4 { Act::Die } else { Act::GoOn }
        });
        let world = self.world.clone().unwrap();
        let stay = world.enter(2, &id, script);
        let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.make(up)));
        assert!(killed.is_err_and(|cause| cause.is::<Killed>()));
        world.end_programs(&id);
        drop(stay);
        std::mem::forget(world.enter(1, &"living".parse().unwrap(), Box::new(|_| Act::GoOn)));
        "killed".to_owned()
    }

    async fn kill(&self, up: &Change<'_>) -> String {
        let label = format!("label={}={}", labels::COMPOSE_PROJECT, self.project);
        let mut events = tokio::process::Command::new("docker")
            .args(["events", "--since", "0m", "--filter", "type=container", "--filter", "event=kill"])
            .args(["--filter", &label])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut client = up.command(&Compose::supposed()).prepared().spawn().unwrap();
        let mut line = String::new();
        BufReader::new(events.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        client.kill().await.unwrap();
        "killed".to_owned()
    }

    /// Waits until the daemon has stopped the old `web`.
    async fn rest(&self) -> String {
        if let Some(world) = &self.world {
            world.go_on(100);
        }
        let until = Instant::now() + SOON;
        let runs = |c: &ContainerFacts| c.service == "web" && c.state == ContainerState::Running;
        while self.containers().await.iter().any(runs) {
            assert!(Instant::now() < until, "the daemon does not end its stop");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        "done".to_owned()
    }
}

/// Containers as people see them; the prefix that Compose gives to a name is an id.
fn shown(found: &[ContainerFacts], project: &str) -> String {
    let mut words: Vec<String> = found
        .iter()
        .map(|c| {
            let name = c.name.replace(project, "P");
            let name = name.split_once('_').map_or(name.clone(), |(_, rest)| format!("*_{rest}"));
            format!("{name} of {} {:?}", c.labels.get(RELEASE).unwrap(), c.state)
        })
        .collect();
    words.sort();
    words.join(", ")
}

async fn in_world(story: &[Deed]) -> Vec<String> {
    let world = World::new();
    world.lingers(50);
    let _stay = world.enter(1, &"living".parse().unwrap(), Box::new(|_| Act::GoOn));
    let directory = tempfile::tempdir().unwrap();
    let docker = Docker::connect().await.unwrap();
    world.make(&Change::Pull { reference: "image:1", login: None }).unwrap();
    let side = Side { docker, project: "alike".to_owned(), directory, world: Some(world) };
    side.tell(story, "image:1").await
}

#[tokio::test]
async fn the_made_up_engine_does_what_the_real_one_does() {
    for story in STORIES {
        let Some(engine) = Engine::connect().await else { return };
        let directory = tempfile::tempdir().unwrap();
        let (docker, project) = (engine.docker.clone(), engine.project.clone());
        let side = Side { docker, project, directory, world: None };
        let real = side.tell(story, &engine.project).await;
        drop(engine);
        assert_eq!(in_world(story).await, real, "{story:?}");
    }
}
