//! Rules on what runs already, and what comes after it.

use super::{Example, Group, Rule, Silence, Weight};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "project.other-root",
        group: Group::Release,
        title: "the Compose project is this deployment's own",
        looks_at: "The labels of containers that run under the project's name: app, environment and root.",
        why: "Deploying over another app's project would remove its containers as orphans.",
        mend: "Give this one a project of its own (`project:` under `overrides.<app>` in environments.yaml), or end the other.",
        weight: Weight::Error,
        breaks: Example::Words(
            "Project `shop` runs from root /srv/shop/production, and this deployment's root is another.",
        ),
        keeps: Example::Environments(
            "environments:\n  staging: { overrides: { shop: { project: shop-staging } } }",
        ),
        silence: Silence::Never("it protects what another deployment runs"),
    },
    Rule {
        id: "project.neighbour",
        group: Group::Release,
        title: "containers that ffe-deploy did not make are nobody's surprise",
        looks_at: "Containers without our labels, under the project's name or with all of its services under another name.",
        why: "They are this app as it ran before, or a stranger's; only the user can say.",
        mend: "It is this app: `--adopt`. It is not: a `project:` of its own in environments.yaml.",
        weight: Weight::Error,
        breaks: Example::Console(
            "$ docker compose -p shop up -d   # by hand, and then\n$ ffe-deploy deploy production",
        ),
        keeps: Example::Console("$ ffe-deploy deploy production --adopt"),
        silence: Silence::Never("it protects containers that somebody else started"),
    },
    Rule {
        id: "host.drift",
        group: Group::Release,
        title: "what runs is what was deployed",
        looks_at: "Containers of the project against the release that is current: images, configuration, who is missing.",
        why: "Somebody changed something by hand, and the deployment replaces it.",
        mend: "Look at what was changed; carry it over into the project, then deploy with `--accept-drift`.",
        weight: Weight::Judged("error in production without `--accept-drift`, else a warning"),
        breaks: Example::Console("$ docker rm -f shop-web-1   # by hand, behind the release"),
        keeps: Example::Console("$ ffe-deploy deploy production --accept-drift"),
        silence: Silence::Never("`--accept-drift` says for one deployment that changes made by hand may go"),
    },
    Rule {
        id: "files.written",
        group: Group::Release,
        title: "no container wrote to the release's files",
        looks_at: "The bytes of files that containers mount against those that the release brought.",
        why: "What was written would not survive the next release.",
        mend: "Name the path under `shared:` in deployments.yaml to keep it; else mount it read-only and put back what the \
               release brought (the finding has the line).",
        weight: Weight::Error,
        breaks: Example::Words(
            "A service edits its own configuration file, which git tracks and the release brought.",
        ),
        keeps: Example::Deployments(
            "deployments:\n  shop:\n    type: docker-compose\n    shared: [config/runtime.json]",
        ),
        silence: Silence::Never("what a container wrote would be lost"),
    },
    Rule {
        id: "release.images",
        group: Group::Release,
        title: "images of kept releases are there",
        looks_at: "The image ids of each release that is kept, against what the daemon has.",
        why: "A rollback needs them, and not every image can be pulled again.",
        mend: "Do not run `docker image prune -a` or `docker rmi` on images of ffe-deploy; `ffe-deploy prune` knows which \
               are needed.",
        weight: Weight::Warning,
        breaks: Example::Console("$ docker image prune -a -f"),
        keeps: Example::Console("$ ffe-deploy prune production --yes"),
        silence: Silence::May,
    },
    Rule {
        id: "health.before",
        group: Group::Release,
        title: "what runs is healthy before it is replaced",
        looks_at: "The health checks of the release that runs, each asked once, where `health.before` is `warn` or `require` \
                   (R002-09). The default, `skip`, asks nothing: a deployment is what mends an app that is not well.",
        why: "A rollback goes back to what ran before; when that was not well, there is nothing good to go back to.",
        mend: "Mend what runs first (`ffe-deploy health` asks again, `ffe-deploy restart` starts it anew), or set \
               `health.before: warn` when this deployment is what mends it.",
        weight: Weight::Judged("error with `health.before: require`, a warning with `warn`"),
        breaks: Example::Words(
            "`health: { before: require }`, and a service of the release that runs is stopped.",
        ),
        keeps: Example::Words("Every check of what runs passes; or `before: skip`, which asks nothing."),
        silence: Silence::Never("`health.before: skip` is how it is not asked"),
    },
    Rule {
        id: "order.older",
        group: Group::Release,
        title: "the commit comes after the one that runs",
        looks_at: "Git's history of the checkout, else GitHub's compare API.",
        why: "Two runs that overtake each other would put the older commit live.",
        mend: "Deploy a commit that has the one that runs in its history; to go back on purpose: `ffe-deploy rollback`, or \
               `--allow-older`.",
        weight: Weight::Judged("error, with `--allow-older` (and for `up`) a warning"),
        breaks: Example::Console(
            "$ git checkout v1.3.0 && ffe-deploy deploy production --yes   # and v1.4.0 runs",
        ),
        keeps: Example::Console("$ ffe-deploy rollback production --yes"),
        silence: Silence::Never("`--allow-older` says for one deployment that it is meant"),
    },
    Rule {
        id: "order.diverged",
        group: Group::Release,
        title: "the commit contains the one that runs",
        looks_at: "Git's history of the checkout, else GitHub's compare API.",
        why: "What only the running branch has goes.",
        mend: "Merge the branch that runs if you want to keep what it has.",
        weight: Weight::Warning,
        breaks: Example::Words("A hotfix branch runs, and main does not have it."),
        keeps: Example::Words("The hotfix is merged into main before main is deployed."),
        silence: Silence::May,
    },
    Rule {
        id: "order.unknown",
        group: Group::Release,
        title: "whether the commit comes after the one that runs is known",
        looks_at: "Whether the checkout's history, or GitHub's compare API, has both commits.",
        why: "Without it an older commit cannot be told from a newer one.",
        mend: "Let the checkout have the whole history (`fetch-depth: 0`), or give the job GITHUB_TOKEN with `contents: read`.",
        weight: Weight::Warning,
        breaks: Example::Words("actions/checkout with its default `fetch-depth: 1`, and no GITHUB_TOKEN."),
        keeps: Example::Words("actions/checkout with `fetch-depth: 0`."),
        silence: Silence::May,
    },
];
