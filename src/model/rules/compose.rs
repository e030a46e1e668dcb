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
            "services:\n  web: { build: { context: ., privileged: true } }   # and `build: runner`\n",
        ),
        keeps: Example::Compose("services:\n  web: { build: { context: ., target: production } }\n"),
        silence: Silence::May,
    },
];
