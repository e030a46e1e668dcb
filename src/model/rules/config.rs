//! Rules on files, variables, and what the configuration says.

use super::{Example, Group, Rule, Silence, Weight};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "compose.file",
        group: Group::Config,
        title: "the compose files are there",
        looks_at: "The files under `compose_file:` of the app, else the one that the environment's name chooses.",
        why: "Without it there is nothing to deploy (R000-57, R003-27).",
        mend: "Create the file, or name the right one in `compose_file:` of deployments.yaml.",
        weight: Weight::Error,
        breaks: Example::Deployments(
            "deployments:\n  shop:\n    type: docker-compose\n    compose_file: docker-compose.prod.yml   # and only docker-compose.yml is there",
        ),
        keeps: Example::Deployments(
            "deployments:\n  shop:\n    type: docker-compose\n    compose_file: docker-compose.yml",
        ),
        silence: Silence::Never("nothing can be deployed without it"),
    },
    Rule {
        id: "compose.model",
        group: Group::Config,
        title: "Compose accepts the files, and some service is active",
        looks_at: "What `docker compose config` makes of the files with the release's variables and profiles.",
        why: "What Compose refuses here it would refuse in the middle of the deployment.",
        mend: "Correct the compose file until `docker compose config` accepts it; name the profiles of services that \
               should run under `profiles:` in deployments.yaml.",
        weight: Weight::Error,
        breaks: Example::Compose("services:\n  web:\n    ports: 8080\n"),
        keeps: Example::Compose(
            "services:\n  web:\n    image: nginx:1.27\n    restart: unless-stopped\n    ports: [\"8080:80\"]\n    healthcheck: { test: [CMD, curl, -f, http://localhost] }\n",
        ),
        silence: Silence::Never("nothing can be deployed without it"),
    },
    Rule {
        id: "files.required",
        group: Group::Config,
        title: "every file that the app needs is there",
        looks_at: "`required_files` of the app; the Dockerfile of each service that is built on the host; the file of each \
                   config and secret of the compose files; `config.yaml`, `config/config.yaml` and `Dockerfile` where git \
                   tracks them (R000-55, R000-56).",
        why: "A missing Dockerfile fails the build; a missing config file becomes a directory of root's in the container.",
        mend: "Create the file. On a root the release is what git tracks: add the file to git, or name it under `bundle:`.",
        weight: Weight::Error,
        breaks: Example::Compose(
            "services:\n  backend:\n    build: { context: ., dockerfile: Dockerfile.prod }   # which is not there\n",
        ),
        keeps: Example::Dockerfile(
            "FROM python:3.12-slim\nUSER 1000\nHEALTHCHECK CMD [\"python\", \"-m\", \"app.health\"]",
        ),
        silence: Silence::May,
    },
    Rule {
        id: "env.file",
        group: Group::Config,
        title: "every env file that the compose files name exists",
        looks_at: "`env_file:` of each service: a file of the project, one of `shared/` on the host, or one that is rendered \
                   of the release's variables (`.env`, `.env.<environment>`).",
        why: "Compose refuses to start a service whose env file is missing (C06).",
        mend: "Create it from its example (`cp .env.production.example .env.production`), or take it out of `env_file:`.",
        weight: Weight::Judged(
            "error in staging and production; a warning in dev and testing, where Compose can go on without it",
        ),
        breaks: Example::Compose(
            "services:\n  backend:\n    image: shop:1.0.0\n    env_file: settings.env   # which is not there\n",
        ),
        keeps: Example::Compose(
            "services:\n  backend:\n    image: shop:1.0.0\n    restart: unless-stopped\n    healthcheck: { test: [CMD, ./healthy] }\n    env_file: [{ path: settings.env, required: false }]\n",
        ),
        silence: Silence::May,
    },
    Rule {
        id: "env.host-file",
        group: Group::Config,
        title: "the host's own env file can be read",
        looks_at: "`shared/.env.<environment>` on the host.",
        why: "Its variables belong to the release; half of them is worse than none.",
        mend: "Correct the file on the host: one NAME=value a line, readable for the user who deploys.",
        weight: Weight::Error,
        breaks: Example::Console("$ cat shared/.env.production\nexport JWT_SECRET_KEY='never closed"),
        keeps: Example::Console("$ cat shared/.env.production\nJWT_SECRET_KEY=..."),
        silence: Silence::Never("the release would run without variables that somebody gave it"),
    },
    Rule {
        id: "env.required",
        group: Group::Config,
        title: "every required variable has a value",
        looks_at: "`required_vars` of the app, in every layer: env files, `env_vars`, secrets of the job, the host's own file.",
        why: "A service without its key starts, and fails when it needs it (R000-54, R003-45).",
        mend: "Create .env from .env.example, or name the variable under `secrets:` and set it in the environment of the job.",
        weight: Weight::Strict,
        breaks: Example::Deployments(
            "deployments:\n  shop:\n    type: docker-compose\n    required_vars: [JWT_SECRET_KEY]   # and no layer has it",
        ),
        keeps: Example::Deployments(
            "deployments:\n  shop:\n    type: docker-compose\n    required_vars: [LOG_LEVEL]\n    env_vars: { LOG_LEVEL: INFO }",
        ),
        silence: Silence::May,
    },
    Rule {
        id: "env.unset",
        group: Group::Config,
        title: "the compose files use no variable that nobody sets",
        looks_at: "`${NAME}` in the compose files for which no layer has a value, as Compose itself tells it.",
        why: "Compose puts an empty text in its place: an image without a tag, a password that is empty.",
        mend: "Set the variable, or give it a default: `${NAME:-default}`; a dollar sign that is meant is written `$$`.",
        weight: Weight::Strict,
        breaks: Example::Compose(
            "services:\n  backend:\n    image: shop:1.0.0\n    environment: { API_BASE: \"${API_BASE}\" }   # which nobody sets\n",
        ),
        keeps: Example::Compose(
            "services:\n  backend:\n    image: shop:1.0.0\n    restart: unless-stopped\n    healthcheck: { test: [CMD, ./healthy] }\n    environment: { API_BASE: \"${API_BASE:-http://backend:8000}\" }\n",
        ),
        silence: Silence::May,
    },
    Rule {
        id: "variables.dropped",
        group: Group::Config,
        title: "no variable of the app steers Docker or Compose",
        looks_at: "Names that begin with `COMPOSE_` or `DOCKER_` in the app's variables.",
        why: "They would change which files, project or daemon a deployment uses; they are left out.",
        mend: "Remove the variable; `compose_file`, `profiles` and `project` are keys of deployments.yaml.",
        weight: Weight::Warning,
        breaks: Example::Deployments(
            "deployments:\n  shop:\n    type: docker-compose\n    env_vars: { DOCKER_HOST: \"tcp://10.0.0.7:2375\" }",
        ),
        keeps: Example::Environments("environments:\n  production: { host: 10.0.0.7 }"),
        silence: Silence::May,
    },
    Rule {
        id: "health.checks",
        group: Group::Config,
        title: "every written health check can be asked",
        looks_at: "`health.checks`: that its variables have values, its address is one, and the port of a preset is published.",
        why: "A check that cannot be asked would fail a release that is well.",
        mend: "Correct the check in deployments.yaml, or publish its port in the compose file.",
        weight: Weight::Error,
        breaks: Example::Deployments(
            "deployments:\n  shop:\n    type: docker-compose\n    health:\n      checks: [{ name: api, http: \"http://localhost:${API_PORT}/health\" }]   # and API_PORT is not set",
        ),
        keeps: Example::Deployments(
            "deployments:\n  shop:\n    type: docker-compose\n    health:\n      checks: [{ name: api, http: \"http://localhost:${API_PORT:-8000}/health\" }]",
        ),
        silence: Silence::Never("no release could be verified"),
    },
    Rule {
        id: "hooks.service",
        group: Group::Config,
        title: "services that run hooks are in the release",
        looks_at: "Each `service:` under `hooks` against the services of the compose files' active profiles.",
        why: "The hook would fail when images are pulled and the backup is taken, or when the new release is live; a service \
              whose profile is not active has an image that the release does not hold.",
        mend: "Correct the service's name, add it to the compose file, or name its profile under `profiles:` in \
               deployments.yaml.",
        weight: Weight::Error,
        breaks: Example::Deployments(
            "deployments:\n  shop:\n    type: docker-compose\n    hooks:\n      pre_deploy: [{ service: bakcend, run: [./migrate] }]",
        ),
        keeps: Example::Deployments(
            "deployments:\n  shop:\n    type: docker-compose\n    hooks:\n      pre_deploy: [{ service: web, run: [./migrate] }]   # a service of the compose file",
        ),
        silence: Silence::May,
    },
    Rule {
        id: "hooks.program",
        group: Group::Config,
        title: "programs that hooks and tests run are there",
        looks_at: "The first word of each `run` of a hook on the host, in the files of the release and on the PATH there; of \
                   hooks on the runner and of `test`, in the app's directory and on the PATH here; whether it may be \
                   executed, and what its first line asks for (`#!`). Not what runs in a service's container.",
        why: "The hook would fail when images are pulled and the backup is taken, or when the new release is live.",
        mend: "Commit the program with its executable bit, name it in `bundle:`, install it on that machine, or correct the \
               path, which begins at the app's directory.",
        weight: Weight::Judged(
            "error in every profile; a warning for a path that a `pre_build` hook of the same machine may make",
        ),
        breaks: Example::Deployments(
            "deployments:\n  shop:\n    type: docker-compose\n    hooks:\n      post_deploy: [{ run: [./smok.sh] }]   # and the file is smoke.sh",
        ),
        keeps: Example::Deployments(
            "deployments:\n  shop:\n    type: docker-compose\n    hooks:\n      post_deploy: [{ shell: 'test -n \"$FFE_VERSION\"' }]",
        ),
        silence: Silence::May,
    },
    Rule {
        id: "bundle.no-git",
        group: Group::Config,
        title: "the release comes from a git checkout",
        looks_at: "Whether git is there and tracks files in the app's directory.",
        why: "Without git the release is whatever lies in the directory, and its version says nothing about its content.",
        mend: "Deploy from a git checkout (on GitHub: actions/checkout).",
        weight: Weight::Warning,
        breaks: Example::Console("$ git -C app ls-files | wc -l\n0"),
        keeps: Example::Console("$ git -C app ls-files | wc -l\n42"),
        silence: Silence::May,
    },
    Rule {
        id: "version.dirty",
        group: Group::Config,
        title: "what is deployed is committed",
        looks_at: "`git describe --always --dirty` of the app's directory.",
        why: "Nobody can find again what runs when it was never committed.",
        mend: "Commit the changes, so that the version says what runs.",
        weight: Weight::Warning,
        breaks: Example::Console("$ git describe --always --dirty\nv1.4.0-dirty"),
        keeps: Example::Console("$ git describe --always --dirty\nv1.4.0"),
        silence: Silence::May,
    },
    Rule {
        id: "local.workspace",
        group: Group::Config,
        title: "nothing is deployed in place in a job's workspace",
        looks_at: "Whether the app's directory lies below `GITHUB_WORKSPACE` and is deployed in place.",
        why: "The next checkout there (`git clean -ffdx`) deletes data, backups and history.",
        mend: "Set `root:` of the environment in environments.yaml, such as `root: /srv`, or `host:`.",
        weight: Weight::Warning,
        breaks: Example::Environments("environments:\n  production: { host: local }"),
        keeps: Example::Environments("environments:\n  production: { host: local, root: /srv }"),
        silence: Silence::May,
    },
];
