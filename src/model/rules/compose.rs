//! Rules on what the compose files say.

use super::{Example, Group, Rule, Silence, Weight};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "compose.services",
        group: Group::Compose,
        title: "the services that must be there are there",
        looks_at: "`required_services` of the app among the active services; without it, whether just one of `backend` and \
                   `frontend` is there (R003-43).",
        why: "A service behind a profile that nobody named is silently not deployed.",
        mend: "Add the service to the compose file, or name its profile under `profiles:` in deployments.yaml.",
        weight: Weight::Judged(
            "error for a service of `required_services`, warning for a `backend` without `frontend` or the other way round (C20)",
        ),
        breaks: Example::Compose("services:\n  backend:\n    image: shop:1.0.0\n"),
        keeps: Example::Compose(
            "services:\n  backend: &service\n    image: shop:1.0.0\n    restart: unless-stopped\n    healthcheck: { test: [CMD, ./healthy] }\n  frontend: *service\n",
        ),
        silence: Silence::May,
    },
    Rule {
        id: "compose.healthcheck",
        group: Group::Compose,
        title: "every service has a healthcheck",
        looks_at: "`healthcheck:` of each service that does not just run once; else HEALTHCHECK of its Dockerfile or image, \
                   or a written check of its name under `health.checks`.",
        why: "Without one a container that started and does not work counts as healthy, and the rollback never comes (C20).",
        mend: "Add `healthcheck:` to the service (the finding has the lines), or a check of that name in deployments.yaml.",
        weight: Weight::Judged(
            "for a service with `build:` an error in staging and production and a warning elsewhere; for a pulled image a warning in staging and production",
        ),
        breaks: Example::Compose("services:\n  cache:\n    image: redis:7.4\n    restart: unless-stopped\n"),
        keeps: Example::Compose(
            "services:\n  cache:\n    image: redis:7.4\n    restart: unless-stopped\n    healthcheck: { test: [CMD, redis-cli, ping], interval: 10s, retries: 3 }\n",
        ),
        silence: Silence::May,
    },
    Rule {
        id: "compose.bind-source",
        group: Group::Compose,
        title: "what services bind from the host is there",
        looks_at: "The source of each bind of the compose model that neither the release brings nor `setup` makes.",
        why: "Docker makes a directory of root's in its place, also where a file is meant; the service fails, and the \
              directory stays.",
        mend: "Create the file on the host or let git track it; list directories under `setup.directories` or `shared`.",
        weight: Weight::Judged(
            "error where a file is meant or the path lies outside the project, warning for a directory of the project's own",
        ),
        breaks: Example::Compose(
            "services:\n  proxy:\n    image: caddy:2.8\n    volumes: [\"./Caddyfile:/etc/caddy/Caddyfile:ro\"]   # which is not there\n",
        ),
        keeps: Example::Compose(
            "services:\n  proxy:\n    image: caddy:2.8\n    restart: unless-stopped\n    healthcheck: { test: [CMD, caddy, version] }\n    volumes: [\"caddy:/data\"]\nvolumes: { caddy: {} }\n",
        ),
        silence: Silence::May,
    },
    Rule {
        id: "compose.external",
        group: Group::Compose,
        title: "external networks, volumes, configs and secrets exist",
        looks_at: "Everything that the compose model calls `external`, against what the daemon has.",
        why: "Compose finds out in the middle of the switch, when the old containers are gone.",
        mend: "Create it on the host (`docker network create NAME`, `docker volume create NAME`); give a config or secret a \
               `file:` or `environment:`, for external ones are for swarms.",
        weight: Weight::Error,
        breaks: Example::Compose(
            "services:\n  web: { image: \"shop:1.0.0\", networks: [edge] }\nnetworks:\n  edge: { external: true, name: ffe-example-that-is-not-there }\n",
        ),
        keeps: Example::Compose(
            "services:\n  web:\n    image: shop:1.0.0\n    restart: unless-stopped\n    healthcheck: { test: [CMD, ./healthy] }\n    networks: [edge]\nnetworks: { edge: {} }\n",
        ),
        silence: Silence::Never("Compose could not start the services"),
    },
    Rule {
        id: "compose.latest",
        group: Group::Compose,
        title: "pulled images have a tag that stays",
        looks_at: "The tag of each image that is pulled, after variables are filled in.",
        why: "`latest` is another image after the next push: two hosts, or a rollback by hand, run different things.",
        mend: "Name a version, or write `${VERSION}` and deploy with `--version`. What was deployed is pinned by its id in any case.",
        weight: Weight::Judged("warning in production, not looked for elsewhere"),
        breaks: Example::Compose(
            "services:\n  cache:\n    image: redis:latest\n    restart: unless-stopped\n    healthcheck: { test: [CMD, redis-cli, ping] }\n",
        ),
        keeps: Example::Compose(
            "services:\n  cache:\n    image: redis:7.4\n    restart: unless-stopped\n    healthcheck: { test: [CMD, redis-cli, ping] }\n",
        ),
        silence: Silence::May,
    },
    Rule {
        id: "compose.restart",
        group: Group::Compose,
        title: "every service says what happens when it ends",
        looks_at: "`restart:`, or `deploy.restart_policy`, of each service that nobody declares to run once.",
        why: "Without it a service stays down after a crash or a restart of the host.",
        mend: "Add `restart: unless-stopped`; if it is to run once, `restart: \"no\"`, or name it under `one_shot`.",
        weight: Weight::Mild,
        breaks: Example::Compose(
            "services:\n  web:\n    image: shop:1.0.0\n    healthcheck: { test: [CMD, ./healthy] }\n",
        ),
        keeps: Example::Compose(
            "services:\n  web:\n    image: shop:1.0.0\n    restart: unless-stopped\n    healthcheck: { test: [CMD, ./healthy] }\n",
        ),
        silence: Silence::May,
    },
    Rule {
        id: "compose.limits",
        group: Group::Compose,
        title: "every service has a memory limit",
        looks_at: "`deploy.resources.limits.memory`, or `mem_limit`, of each service that does not run once.",
        why: "One service that leaks takes the memory of all, and the kernel chooses whom it kills (R003-12, R001-64).",
        mend: "Add `deploy: { resources: { limits: { memory: 512M } } }` to the services that the finding names.",
        weight: Weight::Judged("warning in production, not looked for elsewhere"),
        breaks: Example::Compose(
            "services:\n  web:\n    image: shop:1.0.0\n    restart: unless-stopped\n    healthcheck: { test: [CMD, ./healthy] }\n",
        ),
        keeps: Example::Compose(
            "services:\n  web:\n    image: shop:1.0.0\n    restart: unless-stopped\n    healthcheck: { test: [CMD, ./healthy] }\n    deploy: { resources: { limits: { memory: 512M } } }\n",
        ),
        silence: Silence::May,
    },
    Rule {
        id: "compose.container-name",
        group: Group::Compose,
        title: "no fixed container name stands in the way",
        looks_at: "`container_name:` of services with several containers, and containers of that name that belong to others.",
        why: "A name is for one container on the whole host: Docker refuses the second one in the middle of the switch.",
        mend: "Remove `container_name:`; Compose names its containers itself, and `ffe-deploy status` shows them.",
        weight: Weight::Error,
        breaks: Example::Words(
            "A service says `container_name: web`, and a container `web` of another project is on the host.",
        ),
        keeps: Example::Compose(
            "services:\n  web:\n    image: shop:1.0.0\n    restart: unless-stopped\n    healthcheck: { test: [CMD, ./healthy] }\n    deploy: { replicas: 2 }\n",
        ),
        silence: Silence::May,
    },
    Rule {
        id: "compose.fixed-port",
        group: Group::Compose,
        title: "several containers have several ports",
        looks_at: "Host ports of services with more containers than one.",
        why: "One port of the host is for one container: the second one fails to start.",
        mend: "Publish a range (`8080-8081:80`), or put a proxy in front and publish only its port.",
        weight: Weight::Error,
        breaks: Example::Compose(
            "services:\n  web:\n    image: shop:1.0.0\n    ports: [\"18081:80\"]\n    deploy: { replicas: 2 }\n",
        ),
        keeps: Example::Compose(
            "services:\n  web:\n    image: shop:1.0.0\n    restart: unless-stopped\n    healthcheck: { test: [CMD, ./healthy] }\n    ports: [\"18081-18082:80\"]\n    deploy: { replicas: 2 }\n",
        ),
        silence: Silence::May,
    },
    Rule {
        id: "compose.env-exposed",
        group: Group::Compose,
        title: "no mount shows an env file to a container",
        looks_at: "Binds of directories in which a `.env` or `.env.*` lies (examples and templates do not count).",
        why: "A web server that serves `./` serves the secrets in it, and every service can read those of all others.",
        mend: "Mount only what the service needs, such as `./src:/app/src:ro`, or keep the env file elsewhere.",
        weight: Weight::Mild,
        breaks: Example::Compose(
            "services:\n  web:\n    image: shop:1.0.0\n    volumes: [\"./:/usr/share/nginx/html:ro\"]   # and .env.production lies there\n",
        ),
        keeps: Example::Compose(
            "services:\n  web:\n    image: shop:1.0.0\n    restart: unless-stopped\n    healthcheck: { test: [CMD, ./healthy] }\n    volumes: [\"./site:/usr/share/nginx/html:ro\"]\n",
        ),
        silence: Silence::May,
    },
    Rule {
        id: "compose.outside",
        group: Group::Compose,
        title: "the compose files take nothing from outside the project",
        looks_at: "`extends`, `include` and `env_file` of the compose files, with their variables filled in.",
        why: "What lies outside does not travel with a release, and a rollback does not bring it back.",
        mend: "Move the file into the app's directory, or set `path:` of the app to a directory that holds both.",
        weight: Weight::Judged(
            "error for a relative path that leaves the app's directory on a root; warning in place, for absolute paths, and for what is fetched",
        ),
        breaks: Example::Compose(
            "services:\n  web:\n    extends: { file: ../common/base.yml, service: web }\n",
        ),
        keeps: Example::Compose(
            "services:\n  base: { image: \"shop:1.0.0\", restart: unless-stopped, healthcheck: { test: [CMD, ./healthy] } }\n  web: { extends: { service: base } }\n",
        ),
        silence: Silence::May,
    },
    Rule {
        id: "build.image",
        group: Group::Compose,
        title: "what the runner builds has a name in a registry",
        looks_at: "`image:` of each service with `build:`, where the app says `build: runner`.",
        why: "The runner pushes the image, and the host pulls it by that name.",
        mend: "Give the service an `image:` with your registry, such as `ghcr.io/OWNER/web:${VERSION:-latest}`.",
        weight: Weight::Error,
        breaks: Example::Compose("services:\n  web: { build: . }   # and `build: runner`\n"),
        keeps: Example::Compose(
            "services:\n  web: { build: ., image: \"ghcr.io/example/web:${VERSION:-latest}\" }\n",
        ),
        silence: Silence::Never("there would be nothing to deploy"),
    },
    Rule {
        id: "build.keys",
        group: Group::Compose,
        title: "the runner builds what the compose file says",
        looks_at: "Keys of `build:` that a build on the runner leaves out, where the app says `build: runner`.",
        why: "The image would be another one than `docker compose build` makes.",
        mend: "Build with `build: host`, or write it into the Dockerfile.",
        weight: Weight::Warning,
        breaks: Example::Compose(
            "services:\n  web: { build: { context: ., privileged: true }, image: ghcr.io/example/web }   # and `build: runner`\n",
        ),
        keeps: Example::Compose(
            "services:\n  web: { build: { context: ., target: production }, image: ghcr.io/example/web }\n",
        ),
        silence: Silence::May,
    },
];
