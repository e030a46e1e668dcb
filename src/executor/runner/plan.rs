//! How an image is built: the command as data, and what its files and words say afterwards. Values of build arguments and
//! secrets stand in the environment of the command, never in its arguments.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::judge::place;
use super::{Workshop, WorkshopError};
use crate::host::process::{self, Command, ProcessError};
use crate::model::{BuildOrder, BuildSecret};

/// Beginnings of variables of the job that builders look at, and the one by which GitHub finds what to end with a job.
const SURROUNDINGS: [&str; 4] = ["BUILDX_", "BUILDKIT_", "ACTIONS_", "RUNNER_TRACKING_ID"];
/// Beginnings of names that would steer the builder itself if they stood in its environment.
const RESERVED: [&str; 13] = [
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "TMPDIR",
    "XDG_",
    "SSH_AUTH_SOCK",
    "SSL_CERT_",
    "DOCKER_",
    "BUILDX_",
    "BUILDKIT_",
    "FFE_",
    "LD_",
];

/// Length from which a secret inside of a word is no coincidence, in bytes.
const LEAST_IN_A_WORD: usize = 8;

/// What builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Builder {
    /// `docker build`, of an engine without buildx.
    Plain,
    /// buildx with the engine's own builder: the image lies in the engine afterwards.
    Buildx,
    /// buildx with a builder of its own, which pushes.
    BuildxPushes,
}

impl Builder {
    /// Asks which one there is.
    pub(super) async fn find(with_login: impl Fn(Command) -> Command) -> Self {
        let command = surrounded(Command::new("docker").args(["buildx", "inspect"]));
        match process::output(&with_login(command)).await {
            Err(_) => Self::Plain,
            Ok(said) if driver_in(&said) == Some("docker") => Self::Buildx,
            Ok(_) => Self::BuildxPushes,
        }
    }
}

fn driver_in(said: &str) -> Option<&str> {
    said.lines().find_map(|line| line.strip_prefix("Driver:")).map(str::trim)
}

/// Lets a command see what the job says to builders.
pub(super) fn surrounded(command: Command) -> Command {
    let wanted = |name: &str| SURROUNDINGS.iter().any(|start| name.starts_with(start));
    let variables = std::env::vars().filter(|(name, _)| wanted(name));
    variables.fold(command, |command, (name, value)| command.env(&name, value))
}

/// Files in which a builder says what it made.
pub(super) struct Files {
    image_id: PathBuf,
    metadata: PathBuf,
}

impl Files {
    pub(super) fn in_room(room: &Path) -> Self {
        Self { image_id: room.join("image-id"), metadata: room.join("metadata.json") }
    }

    /// Forgets what the build before said.
    pub(super) fn forget(&self) {
        for file in [&self.image_id, &self.metadata] {
            std::fs::remove_file(file).ok();
        }
    }

    pub(super) fn image_id(&self) -> Option<String> {
        std::fs::read_to_string(&self.image_id).ok().map(|id| id.trim().to_owned())
    }

    /// Returns the digest of what a builder has pushed itself.
    pub(super) fn pushed_digest(&self) -> Option<String> {
        let metadata: Value = serde_json::from_slice(&std::fs::read(&self.metadata).ok()?).ok()?;
        metadata["containerimage.digest"].as_str().map(str::to_owned)
    }
}

/// Returns the command that builds an image, for an order that was judged.
pub(super) fn plan_build(
    workshop: &Workshop<'_>,
    order: &BuildOrder,
    builder: Builder,
    files: &Files,
) -> Result<Command, WorkshopError> {
    let mut command = surrounded(Command::new("docker"));
    command = match builder {
        Builder::Plain => command.arg("build"),
        Builder::Buildx => command.args(["buildx", "build"]),
        Builder::BuildxPushes => {
            let metadata = files.metadata.display().to_string();
            command.args(["buildx", "build", "--push", "--metadata-file"]).arg(metadata)
        }
    };
    command = command.args(["--tag", order.image.as_str(), "--iidfile"]);
    command = command.arg(files.image_id.as_os_str()).directory(workshop.app_dir);
    command = command.env("BUILDKIT_PROGRESS", "plain").env("BUILDX_NO_DEFAULT_ATTESTATIONS", "1");
    let platforms = platforms(workshop, order, builder);
    if !platforms.is_empty() {
        command = command.arg("--platform").arg(platforms.join(","));
    }
    command = with_switches(command, workshop, order);
    command = with_values(command, workshop, order);
    let lost = || WorkshopError::Foreign {
        image: order.image.clone(),
        what: format!("`{}`, which is not there any more", order.context),
    };
    let context = place(workshop.app_dir, &order.context).ok_or_else(lost)?;
    for (name, further) in &order.additional_contexts {
        let further = place(workshop.app_dir, further).ok_or_else(lost)?;
        command = command.arg("--build-context").arg(format!("{name}={}", further.as_argument()));
    }
    command = match (&order.dockerfile_inline, &order.dockerfile) {
        (Some(text), _) => command.args(["--file", "-"]).stdin(text.as_bytes()),
        // In a repository the path is the repository's.
        (None, Some(path)) => match &context {
            super::judge::Place::Here(context) => {
                command.arg("--file").arg(context.join(path).into_os_string())
            }
            super::judge::Place::Elsewhere(_) => command.args(["--file", path]),
        },
        (None, None) => command,
    };
    Ok(command.arg(context.as_argument()))
}

/// The host's platform, unless the compose file names some. A plain builder is only told where it must build for another
/// machine, because that needs a newer engine.
fn platforms(workshop: &Workshop<'_>, order: &BuildOrder, builder: Builder) -> Vec<String> {
    let host = workshop.platform.clone();
    match builder {
        Builder::BuildxPushes if !order.platforms.is_empty() => order.platforms.clone(),
        // The engine's own builder makes one image: that of the host, if it is among them.
        _ if order.platforms.len() == 1 => order.platforms.clone(),
        Builder::Plain if host == platform_of(std::env::consts::ARCH) => Vec::new(),
        _ => host.into_iter().collect(),
    }
}

fn with_switches(mut command: Command, workshop: &Workshop<'_>, order: &BuildOrder) -> Command {
    if order.no_cache || workshop.no_cache {
        command = command.arg("--no-cache");
    }
    if order.pull {
        command = command.arg("--pull");
    }
    let one = [("--target", &order.target), ("--network", &order.network), ("--shm-size", &order.shm_size)];
    for (flag, value) in one {
        if let Some(value) = value {
            command = command.args([flag, value]);
        }
    }
    let many = [
        ("--add-host", &order.extra_hosts),
        ("--cache-from", &order.cache_from),
        ("--cache-to", &order.cache_to),
        ("--ssh", &order.ssh),
    ];
    for (flag, values) in many {
        command = values.iter().fold(command, |command, value| command.args([flag, value]));
    }
    let labels = order.labels.iter();
    labels.fold(command, |command, (name, value)| command.arg("--label").arg(format!("{name}={value}")))
}

fn with_values(mut command: Command, workshop: &Workshop<'_>, order: &BuildOrder) -> Command {
    for (name, value) in &order.args {
        command = match is_reserved(name) {
            true => command.arg("--build-arg").arg(format!("{name}={value}")),
            false => command.arg("--build-arg").arg(name).env(name, value.as_str()),
        };
    }
    for (number, (id, secret)) in order.secrets.iter().enumerate() {
        let variable = format!("FFE_BUILD_SECRET_{number}");
        command = match secret {
            BuildSecret::Value(value) => {
                command.arg("--secret").arg(format!("id={id},env={variable}")).env(&variable, value.as_str())
            }
            BuildSecret::File(path) => {
                let path = workshop.app_dir.join(path);
                command.arg("--secret").arg(format!("id={id},src={}", path.display()))
            }
        };
    }
    command
}

fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|start| name.starts_with(start))
}

/// Returns whether a secret would stand in an argument: as the value of an argument whose name the builder itself looks
/// at, or in another word of `build:`. A short one may be a word like any other.
pub(super) fn exposes(workshop: &Workshop<'_>, order: &BuildOrder) -> bool {
    let mut reserved = order.args.iter().filter(|(name, _)| is_reserved(name)).map(|(_, value)| value);
    let lists = [&order.cache_from, &order.cache_to, &order.ssh, &order.extra_hosts];
    let mut words = lists.into_iter().flatten().chain(order.labels.values());
    let has = |word: &String| {
        workshop.secrets.iter().any(|secret| secret.len() >= LEAST_IN_A_WORD && word.contains(secret))
    };
    reserved.any(|value| workshop.secrets.contains(&value.as_str())) || words.any(has)
}

/// Returns Docker's name of a machine that calls itself so.
pub fn platform_of(architecture: &str) -> Option<String> {
    let name = match architecture {
        "" => return None,
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "armv7l" => "arm/v7",
        "armv6l" => "arm/v6",
        "i686" | "i386" | "x86" => "386",
        other => other,
    };
    Some(format!("linux/{name}"))
}

/// Returns the digest in the words of `docker push`: `1.2: digest: sha256:… size: 528`.
pub(super) fn digest_in(said: &str) -> Option<String> {
    let digest = said.rsplit_once("digest: ")?.1.split_whitespace().next()?;
    let hex = digest.strip_prefix("sha256:")?;
    (hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit())).then(|| digest.to_owned())
}

/// Whether a line of `docker push` is about one layer: `5f70bf18a086: Pushed`.
pub(super) fn is_of_a_layer(line: &str) -> bool {
    let layer = line.split_once(": ").map_or("", |(layer, _)| layer);
    layer.len() == 12 && layer.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether a builder that pushes has built, and then could not push.
pub(super) fn failed_to_push(error: &ProcessError) -> bool {
    let ProcessError::Failed { finished, .. } = error else { return false };
    finished.last_lines.iter().any(|line| line.contains("failed to push"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::event::{Context, Emitter, Event, Origin, Sink};
    use crate::model::{RegistryLogin, Stage};
    use crate::text::Redactor;

    struct Nobody;

    impl Sink for Nobody {
        fn take(&mut self, _: &Event) {}
    }

    /// A workshop in a project, with a login for one registry, for a host of another kind.
    pub(in crate::executor::runner) fn workshop(app_dir: &Path) -> Workshop<'_> {
        let context = Context {
            origin: Origin::Runner,
            deployment_id: "deploy-1".parse().unwrap(),
            correlation_id: "c".parse().unwrap(),
            app: None,
            environment: None,
            host: "runner".into(),
        };
        let emitter = Emitter::new(context, 0, Stage::Validating, Box::new(Nobody));
        let login = RegistryLogin {
            server: "registry.example.com".into(),
            username: "ci".into(),
            password: "hunter22".into(),
        };
        Workshop {
            app_dir,
            compose_files: Box::leak(Box::new(["compose.yaml".to_owned()])),
            values: Vec::new(),
            logins: Box::leak(Box::new([login])),
            platform: Some("linux/riscv64".into()),
            no_cache: false,
            emitter: Box::leak(Box::new(emitter)),
            secrets: vec!["npm-1234"],
            redactor: Redactor::new(["npm-1234"]),
        }
    }

    #[test]
    fn values_of_arguments_and_secrets_are_in_no_argument() {
        let project = tempfile::tempdir().unwrap();
        std::fs::create_dir(project.path().join("web")).unwrap();
        let workshop = workshop(project.path());
        let order = BuildOrder {
            image: "ghcr.io/o/web:1".into(),
            context: "web".into(),
            dockerfile: Some("Dockerfile.prod".into()),
            target: Some("run".into()),
            args: [("NPM_TOKEN".into(), "npm-1234".into()), ("BUILDKIT_INLINE_CACHE".into(), "1".into())]
                .into(),
            secrets: [("npm".into(), BuildSecret::Value("npm-1234".into()))].into(),
            no_cache: true,
            ..BuildOrder::default()
        };
        let files = Files::in_room(Path::new("/room"));
        let shown = |builder| plan_build(&workshop, &order, builder, &files).unwrap().shown();
        let web = project.path().canonicalize().unwrap().join("web").display().to_string();
        assert_eq!(
            shown(Builder::Buildx),
            format!(
                "docker buildx build --tag ghcr.io/o/web:1 --iidfile /room/image-id --platform linux/riscv64 --no-cache \
                 --target run --build-arg BUILDKIT_INLINE_CACHE=1 --build-arg NPM_TOKEN --secret id=npm,env=FFE_BUILD_SECRET_0 \
                 --file {web}/Dockerfile.prod {web}"
            )
        );
        assert!(
            shown(Builder::BuildxPushes)
                .starts_with("docker buildx build --push --metadata-file /room/metadata.json")
        );
        assert!(shown(Builder::Plain).starts_with("docker build --tag"));
        assert!(!shown(Builder::Plain).contains("npm-1234") && !exposes(&workshop, &order));
        // Where it could only be an argument, nothing is built.
        let args = [("DOCKER_TOKEN".into(), "npm-1234".into())].into();
        assert!(exposes(&workshop, &BuildOrder { args, ..order.clone() }));
        let cache_to = vec!["type=s3,secret_access_key=npm-1234".to_owned()];
        assert!(exposes(&workshop, &BuildOrder { cache_to, ..order.clone() }));
    }

    #[test]
    fn a_builder_of_another_kind_than_the_engines_own_pushes_for_several_platforms() {
        let project = tempfile::tempdir().unwrap();
        let workshop = workshop(project.path());
        let both = vec!["linux/amd64".to_owned(), "linux/arm64".to_owned()];
        let order = BuildOrder { platforms: both.clone(), ..BuildOrder::default() };
        assert_eq!(platforms(&workshop, &order, Builder::BuildxPushes), both);
        assert_eq!(platforms(&workshop, &order, Builder::Buildx), ["linux/riscv64"]);
        let one = BuildOrder { platforms: both[..1].to_vec(), ..BuildOrder::default() };
        assert_eq!(platforms(&workshop, &one, Builder::Plain), ["linux/amd64"]);
        let here = Workshop { platform: platform_of(std::env::consts::ARCH), ..workshop };
        assert!(platforms(&here, &BuildOrder::default(), Builder::Plain).is_empty());
    }

    #[test]
    fn what_docker_says_is_read() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        assert_eq!(
            digest_in(&format!("The push refers to [r/a]\n1: digest: {digest} size: 528\n")),
            Some(digest)
        );
        assert_eq!(digest_in("digest: sha256:12 size: 1"), None);
        assert_eq!(driver_in("Name:   default\nDriver: docker\n"), Some("docker"));
        assert!(is_of_a_layer("5f70bf18a086: Pushed") && !is_of_a_layer("The push refers to"));
        assert_eq!(platform_of("aarch64").as_deref(), Some("linux/arm64"));
    }
}
