//! Rules on where secrets lie, and who can read them.

use super::{Example, Group, Rule, Silence, Weight};

pub(super) const RULES: &[Rule] = &[Rule {
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
}];
