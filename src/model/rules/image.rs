//! Rules on images and Dockerfiles.

use super::{Example, Group, Rule, Silence, Weight};

/// Of what is built here, and of what others made.
const OURS_AND_THEIRS: Weight = Weight::Judged(
    "for a service with `build:` an error in staging and production and a warning elsewhere; for a pulled image a warning in staging and production",
);

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "image.user",
        group: Group::Image,
        title: "no service runs as root",
        looks_at: "`user:` of the service; else the last `USER` of the stage that is built (`target:`, else the last one) and of \
                   the stages it starts from, variables filled in; else the user of the base image; of a pulled image its own \
                   user. Images are asked about once they are on the host. A name to which a `RUN useradd -o -u 0` gives the \
                   id 0 is root, too (R003-52).",
        why: "Who breaks out of a process that is root in its container is a step nearer to being root on the host, and files \
              that it writes to a bind are root's.",
        mend: "Put the lines of the finding into the Dockerfile before `CMD`, or give the service `user: \"10001:10001\"` in the \
               compose file. Where the start script of a pulled image gives up root by itself, as those of databases do, silence \
               the rule with that reason.",
        weight: OURS_AND_THEIRS,
        breaks: Example::Dockerfile("FROM python:3.12-slim\nCOPY . /app\nCMD [\"python\", \"/app/main.py\"]"),
        keeps: Example::Dockerfile(
            "FROM python:3.12-slim\nRUN groupadd -r appgroup && useradd -r -g appgroup appuser\nCOPY --chown=appuser . /app\n\
             USER appuser\nHEALTHCHECK CMD [\"python\", \"/app/health.py\"]\nCMD [\"python\", \"/app/main.py\"]",
        ),
        silence: Silence::May,
    },
    Rule {
        id: "image.secrets",
        group: Group::Image,
        title: "no image holds a secret",
        looks_at: "`ENV` and `ARG` of all stages of a Dockerfile: names that look secret with a value of the file's own, and \
                   addresses with a password in them; the environment and the history of layers of images that are on the host. \
                   Values are never shown (R001-50).",
        why: "Who can pull an image can read its environment and its history, and the Dockerfile stays in git.",
        mend: "Replace the secret, then take its value out: at run time a service gets it from `secrets:` in deployments.yaml, a \
               build with `RUN --mount=type=secret`.",
        weight: OURS_AND_THEIRS,
        breaks: Example::Dockerfile(
            "FROM node:22-alpine\nARG NPM_TOKEN=npm_0a1b2c3d4e5f\nRUN npm ci\nUSER node\nHEALTHCHECK CMD [\"node\", \"health.js\"]",
        ),
        keeps: Example::Dockerfile(
            "FROM node:22-alpine\nRUN --mount=type=secret,id=npm_token NPM_TOKEN=$(cat /run/secrets/npm_token) npm ci\nUSER node\n\
             HEALTHCHECK CMD [\"node\", \"health.js\"]",
        ),
        silence: Silence::May,
    },
];
