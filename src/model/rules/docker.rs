//! Rules on Docker and Compose.

use super::{Example, Group, Rule, Silence, Weight};

const NEEDED: Silence = Silence::Never("nothing can be deployed without it");

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "docker.installed",
        group: Group::Docker,
        title: "the Docker CLI is installed",
        looks_at: "Whether a program `docker` is on the PATH of the user who deploys.",
        why: "Everything that changes containers goes through the CLI, with its plugins and its credentials.",
        mend: "Install Docker Engine; the finding has the line for the distribution of the host.",
        weight: Weight::Error,
        breaks: Example::Console("$ command -v docker || echo none\nnone"),
        keeps: Example::Console("$ command -v docker\n/usr/bin/docker"),
        silence: NEEDED,
    },
    Rule {
        id: "docker.running",
        group: Group::Docker,
        title: "the Docker daemon answers",
        looks_at: "A ping, and the version, over the socket of the CLI's context (`DOCKER_HOST`, else the current context).",
        why: "Without the daemon nothing can be looked at and nothing can be started.",
        mend: "Start it (`sudo systemctl start docker`), and look why it stopped: `journalctl -u docker`.",
        weight: Weight::Error,
        breaks: Example::Console(
            "$ docker info\nCannot connect to the Docker daemon at unix:///var/run/docker.sock.",
        ),
        keeps: Example::Console("$ docker version --format '{{.Server.Version}}'\n28.5.2"),
        silence: NEEDED,
    },
    Rule {
        id: "docker.permission",
        group: Group::Docker,
        title: "the user may use Docker's socket",
        looks_at: "Whether the socket of the CLI's context lets this user in.",
        why: "A user who is not in the group `docker` gets no answer from a daemon that runs well.",
        mend: "Add the user to the group (`sudo usermod -aG docker USER`) and log in again; or `become: sudo` in \
               environments.yaml.",
        weight: Weight::Error,
        breaks: Example::Console(
            "$ docker ps\npermission denied while trying to connect to the Docker daemon socket",
        ),
        keeps: Example::Console("$ id -nG\ndeploy docker"),
        silence: NEEDED,
    },
    Rule {
        id: "docker.version",
        group: Group::Docker,
        title: "Docker Engine is 20.10 or newer",
        looks_at: "The version that the daemon tells. A build that calls itself otherwise (`dev`, Podman) passes.",
        why: "Older engines lack `host-gateway`, BuildKit as the default, and fixes that recovery relies on (R001-07).",
        mend: "Update Docker Engine: https://docs.docker.com/engine/install/",
        weight: Weight::Error,
        breaks: Example::Console("$ docker version --format '{{.Server.Version}}'\n19.03.8"),
        keeps: Example::Console("$ docker version --format '{{.Server.Version}}'\n20.10.24"),
        silence: NEEDED,
    },
    Rule {
        id: "docker.api",
        group: Group::Docker,
        title: "Docker answers what it is asked",
        looks_at: "Every question to the daemon that belongs to a check.",
        why: "A daemon that answers the ping and fails at the next question is not well; deploying would find out later.",
        mend: "Look at the daemon's log: `journalctl -u docker`.",
        weight: Weight::Error,
        breaks: Example::Console("$ docker ps\nError response from daemon: layer does not exist"),
        keeps: Example::Console(
            "$ docker ps\nCONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES",
        ),
        silence: NEEDED,
    },
    Rule {
        id: "local.same-host",
        group: Group::Docker,
        title: "the daemon is this machine's own",
        looks_at: "Where `DOCKER_HOST` or the CLI's context leads to.",
        why: "State, env files and mounts lie on the machine that deploys. A daemon elsewhere would not find them, and \
              would be left half deployed.",
        mend: "Deploy to the machine whose daemon it is (`--host`, or `host:` in environments.yaml), or unset DOCKER_HOST.",
        weight: Weight::Error,
        breaks: Example::Console("DOCKER_HOST=tcp://10.0.0.7:2375 ffe-deploy validate dev --host local"),
        keeps: Example::Console("ffe-deploy validate dev --host 10.0.0.7"),
        silence: Silence::Never("it would deploy to a machine that nobody named"),
    },
    Rule {
        id: "compose.installed",
        group: Group::Docker,
        title: "Docker Compose v2 is installed",
        looks_at: "`docker compose version`, then `docker-compose version`.",
        why: "Compose v1 is not maintained and reads files differently; version 2.0 is the oldest that serves (R001-07, \
              R000-51).",
        mend: "Install the plugin; the finding has the line for the distribution of the host.",
        weight: Weight::Error,
        breaks: Example::Console("$ docker-compose version --short\n1.29.2"),
        keeps: Example::Console("$ docker compose version --short\n2.40.3"),
        silence: NEEDED,
    },
];
