//! The files, commented: what was found is written, what is a choice stands there as a comment.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::found::{Found, Service, is_secret};
use crate::config::schema;

/// Returns `deployments.yaml`.
pub(super) fn deployments(found: &Found) -> String {
    let mut text = format!(
        "{}\n# What is deployed. Every key is in docs/configuration.md of ffe-deploy; `ffe-deploy validate` checks this file.\n\
         deployments:\n",
        schema::first_line("deployments")
    );
    let mut line = |line: String| writeln!(text, "{line}").unwrap_or_default();
    line(format!("  {}:", quoted(&found.app)));
    line("    type: docker-compose".to_owned());
    compose_files(found, &mut line);
    let lasting: Vec<&Service> = found.lasting().collect();
    if !lasting.is_empty() {
        line(format!(
            "    required_services: [{}]",
            list(lasting.iter().map(|service| service.name.as_str()))
        ));
    }
    let once: Vec<&Service> = found.services.iter().filter(|service| service.is_one_shot).collect();
    if !once.is_empty() {
        line(format!(
            "    # Run once and end.\n    one_shot: [{}]",
            list(once.iter().map(|s| s.name.as_str()))
        ));
    }
    let maybe = lasting.iter().filter(|service| service.is_never_restarted && service.port.is_none());
    let maybe: Vec<&str> = maybe.map(|service| service.name.as_str()).collect();
    if !maybe.is_empty() {
        line("    # Not started again when they end: name those here that end by themselves.".to_owned());
        line(format!("    # one_shot: [{}]", list(maybe.into_iter())));
    }
    variables(found, &mut line);
    if found.services.iter().any(|service| service.is_built) {
        line(
            "    # `runner` builds in the job and pushes to a registry; `host` builds on the host."
                .to_owned(),
        );
        line("    build: host".to_owned());
    }
    let mut binds: Vec<&str> =
        found.services.iter().flat_map(|service| &service.binds).map(String::as_str).collect();
    binds.sort_unstable();
    binds.dedup();
    if !binds.is_empty() {
        line("    # Mounted and written to: these survive releases, in shared/ on the host.".to_owned());
        line(format!("    shared: [{}]", list(binds.iter().copied())));
    }
    if !found.volumes.is_empty() {
        line("    # Saved before each switch in production, and by `ffe-deploy backup`.".to_owned());
        line("    backup:".to_owned());
        line(format!("      volumes: [{}]", list(found.volumes.iter().map(String::as_str))));
    }
    line("    health:".to_owned());
    line("      # For all checks together.".to_owned());
    line("      timeout: 120s".to_owned());
    checks(&lasting, &mut line);
    line("    # Errors where the host has less; without this line 20 GB and 4 GB are warnings.".to_owned());
    line("    # requirements: { disk_gb: 20, memory_gb: 4 }".to_owned());
    text
}

fn compose_files(found: &Found, line: &mut impl FnMut(String)) {
    let Some(base) = &found.compose else {
        let files: BTreeSet<&str> =
            found.by_itself.values().flat_map(|these| &these.files).map(String::as_str).collect();
        line(format!(
            "    # Each environment has a file of its own: {}.",
            files.into_iter().collect::<Vec<_>>().join(", ")
        ));
        return;
    };
    line(format!("    # {base} is found by itself, and docker-compose.<environment>.yml before it."));
    if let Some([_, over]) =
        found.by_itself.get("dev").filter(|dev| !dev.is_overlay).map(|dev| dev.files.as_slice())
    {
        line(format!("    # In dev {over} lies over it, nowhere else."));
    }
    if !found.passed_over.is_empty() {
        line(format!("    # There, too, and not read: {}.", found.passed_over.join(", ")));
    }
    line(format!("    # compose_file: [{}]", quoted(base)));
}

fn variables(found: &Found, line: &mut impl FnMut(String)) {
    let (secrets, plain): (Vec<&str>, Vec<&str>) =
        found.wanted.iter().map(String::as_str).partition(|name| is_secret(name));
    if !plain.is_empty() {
        line("    # The compose file wants these; `required_vars` refuses a deploy without them.".to_owned());
        line(format!("    # required_vars: [{}]", list(plain.into_iter())));
    }
    if !secrets.is_empty() {
        line(
            "    # These look like secrets: named here they come from the job's environment, never from git."
                .to_owned(),
        );
        line(format!("    # secrets: [{}]", list(secrets.into_iter())));
    }
}

fn checks(lasting: &[&Service], line: &mut impl FnMut(String)) {
    let (own, others): (Vec<&Service>, Vec<&Service>) =
        lasting.iter().partition(|service| service.has_healthcheck);
    if !own.is_empty() {
        let names = list(own.iter().map(|service| service.name.as_str()));
        line(format!("      # Healthchecks of the compose file are asked by themselves: {names}."));
    }
    let open: Vec<(&str, &str)> =
        others.iter().filter_map(|service| Some((service.name.as_str(), service.port.as_deref()?))).collect();
    if !open.is_empty() {
        line("      checks:".to_owned());
        for (name, port) in open {
            line(format!(
                "        # Better: {{ name: {0}, http: \"http://localhost:{port}/health\" }}",
                quoted(name)
            ));
            line(format!("        - {{ name: {}, tcp: \"localhost:{port}\" }}", quoted(name)));
        }
    }
    let silent: Vec<&str> =
        others.iter().filter(|service| service.port.is_none()).map(|service| service.name.as_str()).collect();
    if !silent.is_empty() {
        line(format!(
            "      # Without a healthcheck and a port these are only seen to run: {}. Give them a `healthcheck:`.",
            list(silent.into_iter())
        ));
    }
}

/// Returns `environments.yaml`.
pub(super) fn environments(found: &Found) -> String {
    let (app, schema) = (&found.app, schema::first_line("environments"));
    let overlay = |environment: &str| overlay(found, environment);
    format!(
        "{schema}\n# Where it goes. `${{NAME}}` comes from the job's environment, and only for the environment that is chosen.\n\
         environments:\n\
         \x20 # This machine, where the project lies: `ffe-deploy deploy dev`.\n\
         \x20 dev:\n\
         \x20   profile: dev\n\
         \x20   host: local\n{dev}\n\
         \x20 # A host over SSH. Read besides: STAGING_SSH_KEY, STAGING_HOST_KEY, STAGING_ENV_FILE.\n\
         \x20 staging:\n\
         \x20   profile: staging\n\
         \x20   host: ${{STAGING_HOST}}\n\
         \x20   # root: /srv                    # → /srv/{app}/staging; default: /var/lib/ffe-deploy\n{staging}\n\
         \x20 # Wants `--yes`, and takes a backup before each switch. Read besides: PROD_SSH_KEY, PROD_HOST_KEY, PROD_ENV_FILE.\n\
         \x20 production:\n\
         \x20   profile: production\n\
         \x20   host: ${{PROD_HOST}}\n\
         \x20   # become: sudo                  # where the user who logs in may not use Docker\n{production}",
        dev = overlay("dev"),
        staging = overlay("staging"),
        production = overlay("production"),
    )
}

/// The lines of an environment whose compose file lies over the base file.
fn overlay(found: &Found, environment: &str) -> String {
    let files = found.by_itself.get(environment).filter(|these| these.is_overlay);
    let Some([base, over]) = files.map(|these| these.files.as_slice()) else { return String::new() };
    format!(
        "    # {over} lies over {base}.\n    overrides: {{ {}: {{ compose_file: [{}] }} }}\n",
        quoted(&found.app),
        list([base.as_str(), over.as_str()].into_iter())
    )
}

/// Returns the workflow.
pub(super) fn workflow(found: &Found) -> String {
    let app = &found.app;
    let root =
        found.within.as_ref().map(|within| format!("\x20         project-root: {}\n", quoted(&within.path)));
    let (root, group) = match root {
        Some(root) => (root, format!("deploy-{app}")),
        None => (String::new(), "deploy".to_owned()),
    };
    format!(
        "# Deploys {app}. Secrets of the repository's environments (Settings → Environments), for each of `staging` and\n\
         # `production`: HOST (user@host), SSH_KEY, HOST_KEY (`ssh-keyscan -t ed25519 HOST`) and ENV_FILE (the app's env file, whole).\n\
         name: deploy\n\
         on:\n\
         \x20 # push: {{ branches: [main] }}        # staging by itself with each push\n\
         \x20 workflow_dispatch:\n\
         \x20   inputs:\n\
         \x20     environment: {{ type: choice, options: [staging, production], default: staging, description: Where to }}\n\
         \x20     plan: {{ type: boolean, default: false, description: Only say what would change }}\n\
         permissions: {{ contents: read }}\n\
         concurrency: {{ group: \"{group}-${{{{ inputs.environment || 'staging' }}}}\", cancel-in-progress: true }}\n\
         jobs:\n\
         \x20 deploy:\n\
         \x20   name: Deploy\n\
         \x20   runs-on: ubuntu-latest\n\
         \x20   environment: ${{{{ inputs.environment || 'staging' }}}}\n\
         \x20   steps:\n\
         \x20     - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1\n\
         \x20       with: {{ fetch-depth: 0, persist-credentials: false }}      # the order of commits is known\n\
         \x20     - uses: Three-Rivers-Tech/ffe-deploy@v1\n\
         \x20       with:\n\
         \x20         environment: ${{{{ inputs.environment || 'staging' }}}}\n\
         {root}\x20         yes: true\n\
         \x20         plan: ${{{{ inputs.plan || false }}}}\n\
         \x20         host: ${{{{ secrets.HOST }}}}\n\
         \x20         ssh-key: ${{{{ secrets.SSH_KEY }}}}\n\
         \x20         host-key: ${{{{ secrets.HOST_KEY }}}}\n\
         \x20         env-file: ${{{{ secrets.ENV_FILE }}}}\n"
    )
}

/// Returns what to do next, in order.
pub(super) fn next(found: &Found) -> Vec<String> {
    let mut next = Vec::new();
    for (template, of) in &found.templates {
        next.push(format!("fill a copy of {template} as {of}; git must not track it"));
    }
    next.push("read deploy/deployments.yaml and deploy/environments.yaml: what is a choice stands there as a comment".into());
    next.push("check it on this machine: `ffe-deploy validate dev`".into());
    next.push("`ffe-deploy guide` goes on from here".into());
    next
}

/// A list in YAML's flow style.
fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(quoted).collect::<Vec<_>>().join(", ")
}

/// A word, in quotes where YAML might take it for something else; JSON is YAML.
fn quoted(word: &str) -> String {
    let is_plain = word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'));
    let means_more = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    if is_plain && !means_more.contains(&word.to_ascii_lowercase().as_str()) {
        word.to_owned()
    } else {
        serde_json::to_string(word).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_yaml_takes_for_something_else_stand_in_quotes() {
        for (word, expected) in [("web", "web"), ("no", "\"no\""), ("1st", "\"1st\""), ("a: b", "\"a: b\"")] {
            assert_eq!(quoted(word), expected);
        }
    }
}
