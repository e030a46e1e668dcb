//! Rules on where secrets lie, and who can read them.

use super::{Example, Group, Rule, Silence, Weight};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "secrets.missing",
        group: Group::Secrets,
        title: "every secret that the app names has a value",
        looks_at: "The names under `secrets:` of the app, and the environment of the job. A value that the host's own env file \
               may have is not missed.",
        why: "A service that starts without its key fails at the first request that needs it, which is later than the health \
          checks look.",
        mend: "Set the variable in the job (`env:` of the step, from a secret of the repository or of its environment), or take \
           the name out of `secrets:`.",
        weight: Weight::Judged(
            "error in staging and production (as a configuration error), warning in dev and testing",
        ),
        breaks: Example::Deployments(
            "deployments:\n  shop:\n    type: docker-compose\n    secrets: [STRIPE_KEY]   # and the job has no STRIPE_KEY",
        ),
        keeps: Example::Console("STRIPE_KEY=... ffe-deploy validate dev"),
        silence: Silence::May,
    },
    Rule {
        id: "secrets.literal",
        group: Group::Secrets,
        title: "no compose file holds the value of a secret",
        looks_at: "`environment:` and `build.args:` of each service: names that look secret with a literal value, addresses with a \
                   password in them, and tokens of GitHub, GitLab, Slack and Stripe under any name; options of `command:` and \
                   `entrypoint:` such as `--requirepass`. In deployments.yaml and environments.yaml such values are errors of the configuration \
                   (R003-44).",
        why: "What is in git is read by everybody who has a copy of it, for as long as there are copies.",
        mend: "Write `NAME: ${NAME}`, name it under `secrets:` in deployments.yaml, set it in the environment of the job, and replace \
               the secret: it is in git's history.",
        weight: Weight::Strict,
        breaks: Example::Compose(
            "services:\n  db:\n    image: postgres:16.4\n    environment: { POSTGRES_PASSWORD: correct-horse-battery }\n",
        ),
        keeps: Example::Compose(
            "services:\n  db:\n    image: postgres:16.4\n    restart: unless-stopped\n    healthcheck: { test: [CMD, pg_isready] }\n    environment: { POSTGRES_PASSWORD: \"${POSTGRES_PASSWORD:-}\" }\n",
        ),
        silence: Silence::May,
    },
    Rule {
        id: "secrets.tracked",
        group: Group::Secrets,
        title: "git tracks no env file and no private key",
        looks_at: "`.env` and `.env.*` below the app's directory, files of `env_file:`, and private keys in `*.key`, `*.pem` and `id_*`. \
                   Examples to be copied are fine (`.env.example`, `.env.production.example`) (R001-23, R001-53).",
        why: "What was committed once stays in git's history, and in every copy of it.",
        mend: "`git rm --cached FILE`, add it to .gitignore, commit, and replace every secret that was in it.",
        weight: Weight::Judged(
            "an env file with secrets and a private key: error in staging and production, warning elsewhere; an env file without secrets: warning",
        ),
        breaks: Example::Console("$ git ls-files '.env*'\n.env.production"),
        keeps: Example::Console("$ git ls-files '.env*'\n.env.production.example"),
        silence: Silence::May,
    },
    Rule {
        id: "secrets.ignored",
        group: Group::Secrets,
        title: "git ignores env files",
        looks_at: "Whether git would pass over `.env` and `.env.<environment>`, in projects with any env file or example of one.",
        why: "The next `git add .` would commit the secrets of whoever works there (R001-53).",
        mend: "Add the lines `.env`, `.env.*` and `!.env*.example` to .gitignore.",
        weight: Weight::Warning,
        breaks: Example::Console("$ cat .gitignore\nnode_modules/"),
        keeps: Example::Console("$ cat .gitignore\nnode_modules/\n.env\n.env.*\n!.env*.example"),
        silence: Silence::May,
    },
    Rule {
        id: "secrets.mode",
        group: Group::Secrets,
        title: "env files and keys are closed to others on the host",
        looks_at: "Modes of `.env`, `.env.*` (600), `certs/*.key` (600) and `certs/*.crt` (644): in the project in place, in `shared/` \
                   on a root (R001-54).",
        why: "Every user and every service of the host could read them, or put another certificate in place.",
        mend: "`chmod 600 .env.production certs/*.key`, `chmod 644 certs/*.crt`.",
        weight: Weight::Judged(
            "private keys: error in staging and production, warning elsewhere; env files and certificates: warning",
        ),
        breaks: Example::Console("$ stat -c '%a %n' .env.production\n644 .env.production"),
        keeps: Example::Console("$ stat -c '%a %n' .env.production\n600 .env.production"),
        silence: Silence::May,
    },
    Rule {
        id: "secrets.weak",
        group: Group::Secrets,
        title: "secrets of production are long and nobody's default",
        looks_at: "Variables of the release and of services whose names look secret: at least 20 characters (R001-53), and none of the \
                   words that everybody tries; Grafana without a password of its own (C31). Values are never shown.",
        why: "A short or well-known password is found by trying.",
        mend: "Make new ones (`openssl rand -base64 24`), and change them where they are used, too.",
        weight: Weight::Judged("warning in production, not looked for elsewhere"),
        breaks: Example::Console("$ cat .env.production\nGRAFANA_ADMIN_PASSWORD=admin"),
        keeps: Example::Console("$ cat .env.production\nGRAFANA_ADMIN_PASSWORD=Zm9vYmFyYmF6cXV4cXV1eGNvcmdl"),
        silence: Silence::May,
    },
];
