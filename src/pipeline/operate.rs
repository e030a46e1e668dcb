//! The operator's verbs (DESIGN section 5): rollback, up, down, restart, clean, build. They take the same lease, journal
//! and verified path as a deploy.

use std::collections::BTreeMap;
use std::path::Path;

use super::journal::Phase;
use super::run::{Done, Ending, Run};
use super::settle::ROUNDS;
use super::stop::Stop;
use super::switch::Manner;
use crate::executor::compose::{Site, changes, drift};
use crate::history;
use crate::host::atomic;
use crate::host::docker_config::DockerConfig;
use crate::model::{ErrorKind, FailureReport, Outcome, Release, ReleaseId, Stage, StageOutcome};

impl Run {
    /// Puts an earlier release back, through the same verified path as a deploy.
    pub async fn rollback(&self, to: Option<&ReleaseId>) -> Ending {
        match self.try_rollback(to).await {
            Ok(ending) => ending,
            Err(stop) => self.refused(&stop),
        }
    }

    async fn try_rollback(&self, to: Option<&ReleaseId>) -> Result<Ending, Stop> {
        let current = self.current()?;
        let target = self.rollback_target(to, current.as_ref())?;
        self.begin_journal(current.as_ref(), Some(&target.id), &target.project).await?;
        let ready = self.ready(target).await?;
        self.bring_images_back(&ready.release).await?;
        let mut backup = None;
        if self.job.environment.backup {
            let format = crate::model::ArchiveFormat::Zstd;
            let taken = self.stage(Stage::BackingUp, async {
                let path = self.take_backup(&ready.model, &ready.site, format).await?;
                Ok(match path {
                    Some(path) => Done::Did(Some(path)),
                    None => Done::Skipped(None, "there is nothing to save".into()),
                })
            });
            match taken.await {
                Ok(path) => backup = path,
                Err(stop) => return Ok(self.aborted(&stop)),
            }
        }
        self.backed_up(backup.as_deref())?;
        let mut ending = self.switch_to(&ready, current.as_ref(), Manner::default()).await;
        if ending.outcome == Some(Outcome::Succeeded) {
            self.tell_untouched(&ready.release, current.as_ref());
        }
        ending.backup = backup;
        Ok(ending)
    }

    /// Returns the release to go back to: the named one, else the last successful one before the current.
    fn rollback_target(&self, to: Option<&ReleaseId>, current: Option<&Release>) -> Result<Release, Stop> {
        let refuse = |message: String, hint: &str| {
            Stop::from(FailureReport::new(ErrorKind::ValidationError, "rollback.target", message).hint(hint))
        };
        let current_id = current.map(|release| &release.id);
        if let Some(to) = to {
            if Some(to) == current_id {
                let message = format!("release `{to}` is the one that runs; nothing was changed");
                return Err(refuse(message, "name another with `--to`; `ffe-deploy history` lists them"));
            }
            return self.executor.load(to).map_err(|_| {
                let message = format!("there is no release `{to}` on this host; nothing was changed");
                refuse(message, "`ffe-deploy history` lists the releases; name one with `--to`")
            });
        }
        let entries =
            history::read_all(&self.layout.history(), &self.job.app.name, &self.job.environment.name);
        let candidate =
            history::rollback_candidate(&entries, current_id).or_else(|| self.adopted_before(current_id));
        let id = candidate.ok_or_else(|| {
            let message =
                "there is no earlier successful release to roll back to; nothing was changed".to_owned();
            refuse(message, "deploy a good release instead; `ffe-deploy history` tells what there was")
        })?;
        Ok(self.executor.load(&id)?)
    }

    /// Brings images of a release back that somebody took away, before anything stops.
    async fn bring_images_back(&self, release: &Release) -> Result<(), Stop> {
        let logins = &self.job.registries;
        let make = || DockerConfig::make(&self.layout.docker_config(), logins);
        let login = if logins.is_empty() { None } else { Some(make()?) };
        Ok(self.executor.bring_back(release, logins, login.as_ref()).await?)
    }

    /// Starts the current release, verified. `down_first` is `restart`.
    pub async fn start_current(&self, down_first: bool) -> Ending {
        let started = async {
            let current = self.current()?.ok_or_else(|| {
                let message = "nothing is deployed here yet; nothing was changed";
                let hint = "run `ffe-deploy deploy` first";
                FailureReport::new(ErrorKind::ValidationError, "release.none", message).hint(hint)
            })?;
            self.begin_journal(Some(&current), Some(&current.id), &current.project).await?;
            let ready = self.ready(current.clone()).await?;
            self.bring_images_back(&current).await?;
            let manner = Manner { down_first, repair: false };
            Ok::<Ending, Stop>(self.switch_to(&ready, Some(&current), manner).await)
        };
        match started.await {
            Ok(ending) => ending,
            Err(stop) => self.refused(&stop),
        }
    }

    /// Stops everything of the project; `more` says what else goes.
    pub async fn take_down(&self, site: &Site, more: &[&str]) -> Ending {
        if !self.cancel.close() {
            return self.aborted(&Stop::Cancelled);
        }
        let before = self.current().ok().flatten();
        let mut services = BTreeMap::new();
        let stopped = self
            .stage_to_its_end(Stage::Deploying, async {
                let current = before.as_ref();
                let old = self.containers(&site.project).await?;
                if self.book.entry().is_none() {
                    let release = current.map(|release| &release.id);
                    self.begin_journal(current, release, &site.project).await?;
                }
                self.reached(Phase::TakingDown)?;
                drift::forget(&self.layout);
                atomic::write(&self.layout.stopped(), b"stopped on purpose\n", 0o600)?;
                self.down_to_its_end(site, more).await?;
                services = changes(&old, &self.containers(&site.project).await?);
                Ok(Done::Did(()))
            })
            .await;
        self.tell_services(&services);
        let mut ending = Ending::of(Outcome::Succeeded);
        self.emitter.enter(if stopped.is_ok() { Stage::Complete } else { Stage::Failed });
        if let Err(stop) = stopped {
            let unended = stop.is_no_daemon();
            ending = Ending { errors: vec![stop.failure()], unended, ..Ending::of(Outcome::Failed) };
            ending.next_step = Some("look at what still runs with `docker ps`, then try again".into());
        }
        ending.changed = !services.is_empty();
        ending.services = services;
        ending.version = before.as_ref().map(|release| release.version.clone());
        ending.release = before.clone();
        ending.before = before;
        ending
    }

    /// Goes on while the daemon goes away and comes back, and while it is still at what somebody ordered who is dead.
    async fn down_to_its_end(&self, site: &Site, more: &[&str]) -> Result<(), Stop> {
        for _ in 1..ROUNDS {
            if self.executor.down(site, more).await.is_ok() {
                return Ok(());
            }
            self.calm(&site.project).await?;
        }
        Ok(self.executor.down(site, more).await?)
    }

    /// Builds the images and starts nothing.
    pub async fn build_only(&self, staged: &Path, project: &str) -> Ending {
        let built = async {
            let current = self.current_to_replace();
            let after = ReleaseId::from(&self.job.deployment_id);
            self.begin_journal(current.as_ref(), Some(&after), project).await?;
            let ready = self.prepare(staged, project, current.as_ref()).await?;
            self.discard(&ready.release.id);
            Ok::<Option<Release>, Stop>(current)
        };
        match built.await {
            Ok(current) => {
                self.emitter.enter(Stage::Complete);
                Ending { release: current.clone(), before: current, ..Ending::of(Outcome::Succeeded) }
            }
            Err(stop) => {
                self.discard(&ReleaseId::from(&self.job.deployment_id));
                self.aborted(&stop)
            }
        }
    }

    /// A verb that cannot begin: nothing was touched.
    fn refused(&self, stop: &Stop) -> Ending {
        let began = std::time::Instant::now();
        self.emitter.enter(Stage::Validating);
        let told =
            super::run::stage_finished(Stage::Validating, StageOutcome::Failed, Some(stop.reason()), began);
        self.emitter.emit(crate::here!(), told);
        self.emitter.enter(Stage::Failed);
        let release = self.current().ok().flatten();
        Ending {
            errors: vec![stop.failure()],
            before: release.clone(),
            release,
            ..Ending::of(Outcome::Refused)
        }
    }
}
