//! Follows a deployment that runs on this host, for its runner or for somebody who looks: relays its events, and has it
//! ended when nobody works on it any more.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::attach::{Served, context_of, redactor_of};
use super::known::{self, Known};
use super::link::{Link, line_of, reply, say};
use super::protocol::{Frame, Reply};
use super::way::{not_ended, start_recovery};
use super::{log, query};
use crate::event::{Emitter, Event, EventKind, Sink};
use crate::here;
use crate::host::atomic;
use crate::host::layout::Layout;
use crate::host::lease;
use crate::model::{Action, DeploymentId, FollowAnswer, Job, Stage};
use crate::text::Redactor;

/// How often the log is looked at for new lines.
const LOOK: Duration = Duration::from_millis(25);
/// How often it is looked whether anybody still works on the deployment.
const LIFE: Duration = Duration::from_millis(500);
/// How long a lease may be free before its guard and worker count as dead, and how often one attach has them replaced.
const DEAD: Duration = Duration::from_secs(3);
const RECOVERIES: u32 = 3;

/// A job that was here before: it is followed, or its result is told again.
pub(super) async fn again(link: &mut Link, job: &Job, layout: &Layout, known: Known) -> Served {
    match known {
        Known::Log(id) => {
            reply(&Reply::Started { following: true, deployment_id: id.clone() });
            follow(link, layout, job, &id, 0).await
        }
        Known::Result(result) => {
            reply(&Reply::Started { following: true, deployment_id: job.deployment_id.clone() });
            let sink = Said(redactor_of(job));
            let emitter = Emitter::new(context_of(job), 0, Stage::Complete, Box::new(sink));
            emitter.emit(here!(), EventKind::DeploymentFinished { is_final: true, result });
            Ok(())
        }
    }
}

/// Events that are told and not kept.
struct Said(Redactor);

impl Sink for Said {
    fn take(&mut self, event: &Event) {
        say(&line_of(event, &self.0));
    }
}

/// Follows the deployment that runs now, or was left unfinished; answers how the last one ended when there is none.
pub(super) async fn whatever_runs(link: &mut Link, job: &Job, layout: &Layout) -> Served {
    // Somebody who comes back over another connection goes on with the one that was followed.
    let before = Some(&job.deployment_id).filter(|id| layout.events(id).exists()).cloned();
    let Some(id) = before.map_or_else(|| known::under_way(layout), |id| Ok(Some(id)))? else {
        let answer = FollowAnswer { last_deployment: query::newest(job, layout) };
        let answer = serde_json::to_value(answer).unwrap_or_default();
        reply(&Reply::Answer { answer });
        return Ok(());
    };
    if lease::is_free(&layout.lease()) && !log::has_ended(&layout.events(&id)) {
        start_recovery(layout, job, &id)?;
    }
    reply(&Reply::Started { following: true, deployment_id: id.clone() });
    follow(link, layout, job, &id, 0).await
}

/// Relays the events of a deployment from number `seen + 1` on, until its last word or until the runner is gone.
pub(super) async fn follow(
    link: &mut Link,
    layout: &Layout,
    job: &Job,
    id: &DeploymentId,
    seen: u64,
) -> Served {
    let mut reader = Follower::new(layout.events(id), seen);
    let mut watch = Watch::new();
    let mut heard = 0;
    loop {
        // Somebody who only looks is not the runner that the deployment may depend on.
        if job.action != Action::Follow && std::mem::replace(&mut heard, link.heard()) != link.heard() {
            touch(&layout.seen(id));
        }
        if reader.relay() {
            return Ok(());
        }
        if watch.finds_nobody(layout) {
            if watch.recoveries == RECOVERIES {
                return Err(not_ended(layout, id));
            }
            watch.recoveries += 1;
            start_recovery(layout, job, id)?;
        }
        tokio::select! {
            frame = link.next() => match frame {
                // Somebody who only looks has nothing to say.
                Ok(Frame::Cancel) if job.action != Action::Follow => {
                    // The worker looks for this file; that it cannot be written shows as a missing acknowledgement.
                    atomic::write(&layout.cancel(id), b"", 0o600).ok();
                }
                Ok(_) => {}
                // Gone, which is not a wish to stop.
                Err(_) => return Ok(()),
            },
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Says that the runner was heard; that it cannot be said means the same as that it was not.
fn touch(seen: &Path) {
    let how = OpenOptions::new().create(true).append(true).mode(0o600).to_owned();
    atomic::open(seen, &how).and_then(|file| file.set_modified(SystemTime::now())).ok();
}

/// Looks whether somebody works on a deployment that has not had its last word: guard and worker are both dead when its
/// lease stays free.
struct Watch {
    looked: Instant,
    free_since: Option<Instant>,
    recoveries: u32,
}

impl Watch {
    fn new() -> Self {
        Self { looked: Instant::now(), free_since: None, recoveries: 0 }
    }

    /// Returns whether the lease has been free for longer than a guard needs to start the next worker.
    fn finds_nobody(&mut self, layout: &Layout) -> bool {
        if self.looked.elapsed() < LIFE {
            return false;
        }
        self.looked = Instant::now();
        if !lease::is_free(&layout.lease()) {
            self.free_since = None;
            return false;
        }
        let dead = self.free_since.get_or_insert_with(Instant::now).elapsed() >= DEAD;
        if dead {
            self.free_since = None;
        }
        dead
    }
}

/// Reads what is added to a log, from where it stopped.
struct Follower {
    path: PathBuf,
    at: u64,
    torn: Vec<u8>,
    seen: u64,
}

impl Follower {
    fn new(path: PathBuf, seen: u64) -> Self {
        Self { path, at: 0, torn: Vec::new(), seen }
    }

    /// Says new whole lines; returns whether the last one was the last word.
    fn relay(&mut self) -> bool {
        let Ok(added) = self.added() else { return false };
        self.torn.extend_from_slice(&added);
        let Some(end) = self.torn.iter().rposition(|byte| *byte == b'\n') else { return false };
        let whole: Vec<u8> = self.torn.drain(..=end).collect();
        let mut ended = false;
        for line in String::from_utf8_lossy(&whole).lines() {
            if log::seq_of(line).is_some_and(|seq| seq > self.seen) {
                say(line);
            }
            ended = log::is_end(line);
        }
        ended
    }

    fn added(&mut self) -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(&self.path)?;
        if file.metadata()?.len() < self.at {
            // Recovery has cut a torn line off: what was torn is dropped here, too.
            self.at -= std::mem::take(&mut self.torn).len() as u64;
        }
        file.seek(SeekFrom::Start(self.at))?;
        let mut added = Vec::new();
        self.at += file.read_to_end(&mut added)? as u64;
        Ok(added)
    }
}
