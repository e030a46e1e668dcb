//! Every change of containers and images, as data first: [`carry_out`] alone makes one.
//!
//! Changes go through the tools' own CLIs, reading through [`super::docker`] (DESIGN section 6).

use std::collections::BTreeMap;
use std::time::Duration;

use super::compose::{Call, Compose};
use super::docker_config::DockerConfig;
use super::process::{self, Command, Finished, ProcessError};

/// Longest `up`: `depends_on: service_healthy` waits inside it (DESIGN, the deadline of `deploying`).
const UP: Duration = Duration::from_secs(600);
/// Longest `down`, `start`, `stop` or `rm`.
const DOWN: Duration = Duration::from_secs(300);
/// Longest build of one image.
const BUILD: Duration = Duration::from_secs(30 * 60);
/// Longest pull of one image.
const PULL: Duration = Duration::from_secs(60 * 60);
/// Longest change of an image's tags.
const TAG: Duration = Duration::from_secs(120);

/// One change of containers or images.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// Starts what is missing, recreates what changed, removes what left.
    Up {
        /// Project and files.
        site: Call<'a>,
        /// Services that are recreated although nothing changed, and nothing else then; none: all as needed.
        force: &'a [String],
    },
    /// Stops and removes everything of a project; volumes stay, unless `more` says otherwise.
    Down {
        /// Project and files.
        site: Call<'a>,
        /// More arguments.
        more: &'a [&'a str],
    },
    /// Builds the image of a service.
    Build {
        /// Project and files.
        site: Call<'a>,
        /// Its name.
        service: &'a str,
        /// Whether to build without cache.
        no_cache: bool,
        /// Logins, where there are any.
        login: Option<&'a DockerConfig>,
    },
    /// Runs a command of a service in a container of its own, which goes with it.
    Run {
        /// Project and files.
        site: Call<'a>,
        /// The service.
        service: &'a str,
        /// Arguments in the place of the service's own command; none: that one.
        argv: &'a [String],
        /// More variables of the container; no secrets, for they are arguments.
        variables: &'a BTreeMap<String, String>,
        /// A label of the container, `name=value`.
        label: &'a str,
        /// Longest time.
        deadline: Duration,
    },
    /// Pulls an image.
    Pull {
        /// Its reference.
        reference: &'a str,
        /// Logins, where there are any.
        login: Option<&'a DockerConfig>,
    },
    /// Starts containers, by id.
    Start(&'a [String]),
    /// Stops containers, by id; they stay for inspection.
    Stop(&'a [String]),
    /// Removes containers, by id.
    Remove(&'a [String]),
    /// Gives an image one more name.
    Tag {
        /// Id of the image.
        image: &'a str,
        /// The name.
        tag: &'a str,
    },
    /// Takes a name away from an image, and the image if that was its last one.
    Untag(&'a str),
}

impl Change<'_> {
    /// Returns what carries it out, as people write it; what it says is told under this name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Up { .. } => "docker compose up",
            Self::Down { .. } => "docker compose down",
            Self::Build { .. } => "docker compose build",
            Self::Run { .. } => "docker compose run",
            Self::Pull { .. } => "docker pull",
            Self::Start(_) => "docker start",
            Self::Stop(_) => "docker stop",
            Self::Remove(_) => "docker rm",
            Self::Tag { .. } => "docker tag",
            Self::Untag(_) => "docker image rm",
        }
    }

    /// Returns the command that makes it.
    pub fn command(&self, compose: &Compose) -> Command {
        match self {
            Self::Up { site, force } => {
                let up = ["up", "-d", "--no-build", "--pull", "never", "--remove-orphans", "--quiet-pull"];
                let only: &[&str] = if force.is_empty() { &[] } else { &["--force-recreate", "--no-deps"] };
                compose.command(site).args(up).args(only.iter().copied()).args(*force).deadline(UP)
            }
            Self::Down { site, more } => {
                let down = compose.command(site).arg("down").args(more.iter().copied());
                down.arg("--remove-orphans").deadline(DOWN)
            }
            Self::Build { site, service, no_cache, login } => {
                let fresh: &[&str] = if *no_cache { &["--no-cache"] } else { &[] };
                let build = compose.command(site).arg("build").args(fresh.iter().copied()).arg(*service);
                logged_in(build.env("BUILDKIT_PROGRESS", "plain").deadline(BUILD), *login)
            }
            Self::Run { site, service, argv, variables, label, deadline } => {
                let run = compose.command(site).args(["run", "--rm", "--no-deps", "-T", "--label", *label]);
                let run = variables
                    .iter()
                    .fold(run, |run, (name, value)| run.arg("-e").arg(format!("{name}={value}")));
                run.arg(*service).args(*argv).forgetting().deadline(*deadline)
            }
            Self::Pull { reference, login } => logged_in(docker(&["pull", reference]).deadline(PULL), *login),
            Self::Start(ids) => docker(&["start"]).args(*ids).deadline(DOWN),
            Self::Stop(ids) => docker(&["stop"]).args(*ids).deadline(DOWN),
            Self::Remove(ids) => docker(&["rm", "--force"]).args(*ids).deadline(DOWN),
            Self::Tag { image, tag } => docker(&["tag", image, tag]).deadline(TAG),
            Self::Untag(tag) => docker(&["image", "rm", tag]).deadline(TAG),
        }
    }
}

fn docker(words: &[&str]) -> Command {
    Command::new("docker").args(words.iter().copied())
}

fn logged_in(command: Command, login: Option<&DockerConfig>) -> Command {
    match login {
        Some(login) => login.used_by(command),
        None => command,
    }
}

/// Makes a change, and waits for its end; `on_line` sees each line that the tool says.
///
/// # Errors
/// The tool is missing, fails, or does not end in time: a part of the change may have been made.
pub async fn carry_out(
    change: &Change<'_>,
    compose: &Compose,
    on_line: &mut (dyn FnMut(&str) + Send),
) -> Result<Finished, ProcessError> {
    #[cfg(test)]
    if let Some(world) = super::simulated::world() {
        return world.make(change);
    }
    process::run(&change.command(compose).changes(change.name()), |_, line| on_line(line)).await
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    #[test]
    fn changes_are_the_tools_own_commands() {
        let compose = Compose::supposed();
        let (files, profiles) = (["/r/app/compose.yml".into(), PathBuf::from("/r/override.yml")], []);
        let site = Call {
            project: "shop",
            project_directory: Path::new("/r/app"),
            files: &files,
            env_file: Some(Path::new("/r/env")),
            profiles: &profiles,
        };
        let call = "docker compose -p shop --project-directory /r/app -f /r/app/compose.yml -f /r/override.yml \
                    --env-file /r/env";
        let up = "up -d --no-build --pull never --remove-orphans --quiet-pull";
        let (ids, web) = (["1".to_owned(), "2".to_owned()], ["web".to_owned()]);
        let table = [
            (Change::Up { site, force: &[] }, format!("{call} {up}")),
            (Change::Up { site, force: &web }, format!("{call} {up} --force-recreate --no-deps web")),
            (Change::Down { site, more: &["--volumes"] }, format!("{call} down --volumes --remove-orphans")),
            (
                Change::Build { site, service: "web", no_cache: true, login: None },
                format!("{call} build --no-cache web"),
            ),
            (
                Change::Run {
                    site,
                    service: "web",
                    argv: &ids,
                    variables: &BTreeMap::from([("FFE_APP".to_owned(), "shop".to_owned())]),
                    label: "hook=1",
                    deadline: UP,
                },
                format!("{call} run --rm --no-deps -T --label hook=1 -e FFE_APP=shop web 1 2"),
            ),
            (Change::Pull { reference: "redis:7", login: None }, "docker pull redis:7".to_owned()),
            (Change::Start(&ids), "docker start 1 2".to_owned()),
            (Change::Stop(&ids), "docker stop 1 2".to_owned()),
            (Change::Remove(&ids), "docker rm --force 1 2".to_owned()),
            (Change::Tag { image: "sha256:1", tag: "a:1" }, "docker tag sha256:1 a:1".to_owned()),
            (Change::Untag("a:1"), "docker image rm a:1".to_owned()),
        ];
        for (change, expected) in table {
            let shown = change.command(&compose).shown();
            assert_eq!(shown, expected);
        }
    }
}
