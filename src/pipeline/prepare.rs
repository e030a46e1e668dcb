//! Makes a release ready without touching what runs: setup, pulling, building.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::journal::Phase;
use super::run::{Done, Run};
use super::stop::Stop;
use crate::executor::compose::mounts::{self, Mounts};
use crate::executor::compose::place::{self, Override, ServiceEnvFiles};
use crate::executor::compose::{ExecutorError, ImageWork, Site, digest};
use crate::executor::variables::Resolved;
use crate::host::atomic;
use crate::host::clock::wall;
use crate::host::docker_config::DockerConfig;
use crate::model::compose::ComposeModel;
use crate::model::{HookKind, PinnedImage, Release, ReleaseId, ReleaseSource, Stage};
use crate::preflight;

/// A release that could be switched to.
pub struct Ready {
    /// Its record.
    pub release: Release,
    /// Where its compose call finds its files.
    pub site: Site,
    /// Its model.
    pub model: ComposeModel,
    /// Its variables.
    pub variables: Resolved,
}

/// Images by service, and the digests of what went into those that were built.
type Images = (BTreeMap<String, PinnedImage>, BTreeMap<String, String>);

/// A release in the making.
pub(super) struct Candidate {
    id: ReleaseId,
    home: PathBuf,
    site: Site,
    model: ComposeModel,
    variables: Resolved,
    mounts: Mounts,
    in_place: BTreeMap<String, String>,
    env_files: BTreeMap<String, Vec<String>>,
    /// Directories of `shared/` that were made for it.
    made: Vec<String>,
}

impl Run {
    /// Runs `setup`, `pulling` and `building`, and returns the release they make.
    ///
    /// # Errors
    /// One of them failed or was cancelled; what runs was not touched.
    pub async fn prepare(
        &self,
        staged: &Path,
        project: &str,
        current: Option<&Release>,
    ) -> Result<Ready, Stop> {
        let candidate = self.stage(Stage::Setup, self.set_up(staged, project)).await?;
        self.reached(Phase::Placed)?;
        let (images, inputs) = self.have_images(&candidate, current).await?;
        let ready = self.seal(candidate, images, inputs, current)?;
        self.reached(Phase::Ready)?;
        Ok(ready)
    }

    /// Runs `pulling` and `building`, the only stages in which the host knows a password of a registry.
    async fn have_images(&self, candidate: &Candidate, current: Option<&Release>) -> Result<Images, Stop> {
        let logins = &self.job.registries;
        let make = || DockerConfig::make(&self.layout.docker_config(), logins);
        let login = if logins.is_empty() { None } else { Some(make()?) };
        let work = self.work(candidate, current, login.as_ref());
        self.stage(Stage::Pulling, self.pull(&work)).await?;
        self.pre_build(candidate, &work).await?;
        self.stage(Stage::Building, self.build(&work)).await
    }

    /// Runs `pre_build`, when something is going to be built: what already runs is deployed without any hook.
    async fn pre_build(&self, candidate: &Candidate, work: &ImageWork<'_>) -> Result<(), Stop> {
        if !self.has_host_hooks(HookKind::PreBuild) {
            return Ok(());
        }
        let inputs = self.executor.build_inputs(work).await?;
        // In place all is built each time, by the builder's cache.
        let is_same = work.in_place && work.current.is_some_and(|current| self.seems_same(current));
        if is_same || !self.executor.must_build(work, &inputs).await? {
            return Ok(());
        }
        let footing = self.footing(&candidate.site, &candidate.variables, work.current);
        self.before_the_switch(HookKind::PreBuild, &footing).await
    }

    pub(super) fn work<'a>(
        &'a self,
        candidate: &'a Candidate,
        current: Option<&'a Release>,
        login: Option<&'a DockerConfig>,
    ) -> ImageWork<'a> {
        ImageWork {
            built: &self.job.built,
            logins: &self.job.registries,
            login,
            model: &candidate.model,
            site: &candidate.site,
            current,
            bundle: &self.job.bundle.entries,
            build: self.job.app.build,
            no_cache: self.job.options.no_cache,
            in_place: self.layout.in_place().is_some(),
        }
    }

    pub(super) async fn set_up(&self, staged: &Path, project: &str) -> Result<Done<Candidate>, Stop> {
        let id = ReleaseId::from(&self.job.deployment_id);
        let host_file = self.layout.host_env_file(&self.job.environment.name);
        let host_file = self.layout.in_place().is_none().then_some(host_file.as_path());
        let variables = Resolved::of(&self.job.variables, host_file).map_err(|error| error.report())?;
        let home = self.executor.place_bundle(&id, staged)?;
        atomic::write(&home.join("env"), variables.env_file().as_bytes(), 0o600)?;
        let project_dir = self.layout.in_place().map_or_else(|| home.join("app"), Path::to_owned);
        let files = place::service_env_files(&self.job, &project_dir, &self.layout, &variables)?;
        if let Some(path) = files.missing.first() {
            return Err(ExecutorError::NoEnvFile { path: self.layout.shared().join(path) }.into());
        }
        place::write_env_files(&files.kept, &project_dir, &home.join("env.d"))?;
        let site = Site {
            project: project.to_owned(),
            files: self.job.app.compose_files.iter().map(|file| project_dir.join(file)).collect(),
            project_dir,
            env_file: home.join("env"),
            profiles: self.job.app.profiles.clone(),
        };
        let model = self.executor.model(&site).await?;
        let mut candidate = Candidate {
            id,
            home,
            site,
            model,
            variables,
            mounts: Mounts::default(),
            in_place: BTreeMap::new(),
            env_files: BTreeMap::new(),
            made: Vec::new(),
        };
        self.place_files(&mut candidate, &files)?;
        candidate.made = self.make_setup(&candidate)?;
        Ok(Done::Did(candidate))
    }

    fn place_files(&self, candidate: &mut Candidate, env_files: &ServiceEnvFiles) -> Result<(), Stop> {
        let entries = &self.job.bundle.entries;
        if self.layout.in_place().is_some() {
            self.executor.keep_compose_files(
                &candidate.site,
                &self.job.app.compose_files,
                &candidate.home,
            )?;
            candidate.in_place =
                mounts::digests_in_place(&candidate.model, &candidate.site.project_dir, entries);
            let kept = candidate.home.join("env.d");
            let path = |file: &Result<usize, String>| match file {
                Ok(number) => mounts::escaped(&kept.join(number.to_string())),
                Err(written) => written.clone(),
            };
            let services = env_files.order.iter();
            candidate.env_files =
                services.map(|(name, files)| (name.clone(), files.iter().map(path).collect())).collect();
            return Ok(());
        }
        candidate.mounts =
            mounts::plan(&candidate.model, &candidate.site.project_dir, &self.job.app, entries);
        Ok(())
    }

    /// Makes the directories and databases that the app wants (R000-37, R001-09, R001-11), and in place those that it
    /// mounts: Docker would make them root's. Returns what was made, by path in the project.
    fn make_setup(&self, candidate: &Candidate) -> Result<Vec<String>, Stop> {
        let base = self.layout.shared();
        let mut made = Vec::new();
        for directory in &self.job.app.setup.directories {
            if !base.join(&directory.path).exists() {
                made.extend(self.make_shared(&directory.path, directory.mode.unwrap_or(0o755))?);
            }
        }
        for path in self.missing_binds(candidate) {
            made.extend(self.make_shared(&path, 0o755)?);
        }
        for database in &self.job.app.setup.databases {
            let path = base.join(database);
            if !path.exists() {
                let parent = Path::new(database).parent().and_then(Path::to_str).unwrap_or_default();
                made.extend(self.make_shared(parent, 0o755)?);
                // An empty file is an empty SQLite database (SQLite file format, section 1.2).
                atomic::write(&path, b"", 0o600)?;
                made.push(database.clone());
            }
        }
        Ok(made)
    }

    /// Makes a directory that survives releases. In place the project is its author's: symlinks there are meant.
    fn make_shared(&self, path: &str, mode: u32) -> Result<Vec<String>, Stop> {
        let base = self.layout.shared();
        if self.layout.in_place().is_none() {
            return Ok(place::make_shared(&base, path, mode)?);
        }
        if base.join(path).exists() {
            return Ok(Vec::new());
        }
        atomic::make_directory(&base.join(path), mode)?;
        Ok(vec![path.to_owned()])
    }

    /// Returns directories that services of a project in place mount and that are not there. On a root they are made
    /// with the other mounts.
    fn missing_binds(&self, candidate: &Candidate) -> Vec<String> {
        let Some(project_dir) = self.layout.in_place() else { return Vec::new() };
        let subject = preflight::Subject {
            app: &self.job.app,
            environment: &self.job.environment,
            project: &candidate.site.project,
            root: self.layout.root(),
            project_dir,
            shared: project_dir,
            variables: &candidate.variables.values,
            missing_env_files: &[],
            passes_over_env_files: false,
            compose: Ok(&self.executor.compose),
            model: Ok(&candidate.model),
            deployed: false,
            adopt: self.job.options.adopt,
        };
        let missing = preflight::directories_to_make(&subject).into_iter();
        missing.filter_map(|path| mounts::relative(path.to_str()?, project_dir)).collect()
    }

    /// Gives what was made to the users as which its services run. What belongs to an image that is not built yet is left
    /// to the deploy that builds it: only then its user is known.
    ///
    /// # Errors
    /// The engine does not answer.
    pub(super) async fn give_what_was_made(&self, candidate: &Candidate) -> Result<(), Stop> {
        let (model, project) = (&candidate.model, candidate.site.project_dir.as_path());
        let mut users = BTreeMap::new();
        for (name, service) in model.services.iter().filter(|(_, service)| service.build.is_none()) {
            let Some(image) = &service.image else { continue };
            let facts = self.executor.docker.image(image).await.map_err(ExecutorError::from)?;
            users.extend(facts.map(|facts| (name.clone(), facts.user)));
        }
        self.executor.give_made(&candidate.made, model, project, &users);
        let is_unknown = |service: &str| {
            !users.contains_key(service)
                && model.services.get(service).is_some_and(|service| service.user.is_none())
        };
        for path in candidate.made.iter().rev() {
            if mounts::service_of(path, model, project).is_some_and(is_unknown) {
                let made = self.layout.shared().join(path);
                atomic::remove_tree(&made).map_err(atomic::WriteError::at(&made))?;
            }
        }
        Ok(())
    }

    pub(super) async fn pull(&self, work: &ImageWork<'_>) -> Result<Done<()>, Stop> {
        let asked = self.executor.pull(work).await?;
        Ok(if asked == 0 { Done::Skipped((), "every image is on the host".into()) } else { Done::Did(()) })
    }

    async fn build(&self, work: &ImageWork<'_>) -> Result<Done<Images>, Stop> {
        let inputs = self.executor.build_inputs(work).await?;
        let built = self.executor.build(work, &inputs).await?;
        let images = self.executor.pin(work, &inputs, &built).await?;
        let made = (images, inputs);
        Ok(match (work.has_builds(), built.is_empty()) {
            (false, _) if !work.built.is_empty() => {
                Done::Skipped(made, "the runner has built the images".into())
            }
            (false, _) => Done::Skipped(made, "no service is built here".into()),
            (true, true) => Done::Skipped(made, "nothing that is built has changed".into()),
            (true, false) => Done::Did(made),
        })
    }

    fn seal(
        &self,
        candidate: Candidate,
        images: BTreeMap<String, PinnedImage>,
        build_inputs: BTreeMap<String, String>,
        current: Option<&Release>,
    ) -> Result<Ready, Stop> {
        let Candidate { id, home, site, model, variables, mounts, in_place, env_files, made } = candidate;
        let project = site.project_dir.as_path();
        let inputs_digest = digest::of_inputs(&model, project, &mounts, &in_place, &build_inputs);
        let added = Override {
            model: &model,
            project,
            mounts: &mounts,
            images: &images,
            in_place: &in_place,
            env_files: &env_files,
            layout: &self.layout,
            job: &self.job,
        };
        let override_file = added.render();
        let release = Release {
            schema: 1,
            id,
            version: self.job.version.label.clone(),
            commit: self.job.bundle.commit.clone(),
            digest: digest::of_release(&inputs_digest, &images),
            inputs_digest,
            created_at: wall(),
            source: ReleaseSource::Deployed,
            app: self.job.app.clone(),
            project: site.project.clone(),
            images,
            services: model.services.keys().cloned().collect(),
            files: place::recorded(&self.job.bundle.entries),
            blobs: mounts.blobs().map(|blob| (blob.source.clone(), blob.digest.clone())).collect(),
            build_inputs,
            variables: variables.values.keys().cloned().collect(),
            secrets: variables
                .secrets
                .iter()
                .filter(|name| variables.values.contains_key(*name))
                .cloned()
                .collect(),
            adopted: None,
        };
        self.executor.seal(&home, &release, &override_file)?;
        let mut site = site;
        site.files.push(home.join("override.yml"));
        let users =
            release.images.iter().map(|(service, image)| (service.clone(), image.user.clone())).collect();
        // Last, because only now the images' users are known.
        self.executor.give_made(&made, &model, &site.project_dir, &users);
        self.executor.place_mounts(&mounts, &model, &home.join("app"), &users, current)?;
        Ok(Ready { release, site, model, variables })
    }

    /// Reads a release of before, ready to be switched to.
    ///
    /// # Errors
    /// It is not whole any more.
    pub async fn ready(&self, release: Release) -> Result<Ready, Stop> {
        let site = Site::of_release(&self.layout, &release);
        self.executor.put_blobs_back(&release)?;
        let variables = self.executor.variables(&release)?;
        let model = self.executor.model(&site).await?;
        Ok(Ready { release, site, model, variables })
    }

    /// Takes away what an attempt left that never went live.
    pub fn discard(&self, id: &ReleaseId) {
        // What cannot be removed now is removed by the next attempt of the same id; nothing refers to it.
        atomic::remove_tree(&self.layout.release(id)).ok();
    }
}
