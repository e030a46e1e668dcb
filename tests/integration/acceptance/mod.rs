//! The black-box checks of the requirements, each named after its id: what a stranger asks of the finished binary, on
//! this machine, in place.

mod deploying;
mod environments;
mod log_files;
mod looking;
mod operating;
mod recording;
mod refusing;

use crate::support::{Ended, Host, Project, Shim, Web, base_image, free_port};

/// Interval of healthchecks, so that no test waits for one.
const HEALTHCHECK: &str =
    "{test: [CMD, shop, get, '127.0.0.1:8000/health'], interval: 500ms, timeout: 2s, retries: 4}";

/// A project of a backend and a frontend on a host of its own, with a docker on PATH that records its calls.
struct Stage {
    host: Host,
    shim: Shim,
    project: Project,
    /// Where the backend answers.
    port: u16,
}

impl Stage {
    /// A backend that is built, and nothing else but its `.env.<environment>`.
    fn with_backend(environment: &str) -> Self {
        let stage = Self::empty();
        stage.project.file("Dockerfile", format!("FROM {}\nCOPY content /content\n", base_image()));
        stage.project.file("content", "1\n");
        stage.project.file("docker-compose.yml", backend("build: ."));
        stage.env(environment, &[]);
        stage.project.commit("first");
        stage
    }

    /// A backend of an image that is here, and nothing else but its `.env.<environment>`.
    fn with_image(environment: &str) -> Self {
        let stage = Self::empty();
        stage.project.file("docker-compose.yml", backend(&format!("image: '{}'", base_image())));
        stage.env(environment, &[]);
        stage.project.commit("first");
        stage
    }

    fn empty() -> Self {
        let shim = Shim::docker();
        let host = Host::local().with_path_first(shim.path()).with_env("FFE_DEPLOY_LOG_FORMAT", "human");
        let project = Project::new(host.app());
        Self { host, shim, project, port: free_port() }
    }

    /// Writes `.env.<environment>` with the backend's port and these variables.
    fn env(&self, environment: &str, more: &[(&str, &str)]) -> &Self {
        let port = self.port.to_string();
        let mut variables = vec![("BACKEND_PORT", port.as_str())];
        variables.extend(more);
        self.project.env_file(environment, &variables);
        self
    }

    /// Writes `deployments.yaml`: the app, with these keys in its entry.
    fn configure(&self, keys: &str) -> &Self {
        let app = self.host.app();
        let text = format!("deployments:\n  {app}:\n    type: docker-compose\n    {keys}\n");
        self.project.file("deploy/deployments.yaml", text);
        self
    }

    /// Configures one check, `backend`, which asks `web` for /health, and the longest wait for it.
    fn asks(&self, web: &Web, seconds: u32) -> &Self {
        let url = web.url("/health");
        self.configure(&format!(
            "health: {{timeout: {seconds}s, checks: [{{name: backend, http: '{url}'}}]}}"
        ))
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> crate::support::Run {
        self.host.run(&self.project, arguments)
    }

    /// Calls of docker that have all these words.
    fn calls(&self, words: &[&str]) -> usize {
        self.shim.count(words)
    }
}

/// A compose file of one service `backend`, with `image` as its image or build.
fn backend(image: &str) -> String {
    format!(
        "services:\n  backend:\n    {image}\n    environment: {{MODE: '${{MODE:-ok}}', VERSION: '${{VERSION:-0}}'}}\n    \
         ports: ['127.0.0.1:${{BACKEND_PORT}}:8000']\n    stop_grace_period: 0s\n    healthcheck: {HEALTHCHECK}\n"
    )
}

/// Names of the stages that the event log has, in order.
fn stages(run: &Ended) -> Vec<&str> {
    run.events_named("stage_started").iter().filter_map(|event| event["stage"].as_str()).collect()
}
