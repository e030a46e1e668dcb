//! Rules on hooks: what they name must be there, or they would fail when half of the deployment is done.

use std::path::Path;

use super::{Subject, listed};
use crate::host::program::{self, NotRunnable};
use crate::model::{Finding, Hook, HookKind, HookPlace};

/// Id of the rule on programs; the runner asks it of what it runs itself.
const PROGRAM: &str = "hooks.program";

/// Something that is run by its first word.
pub struct Wanted<'a> {
    /// What it is, in words.
    pub what: String,
    /// Its first word.
    pub program: &'a str,
    /// Whether something that runs before could still make the program.
    pub may_be_made: bool,
}

/// Makes every check on what the host runs; nothing where there are no hooks of its own.
pub(super) fn check(subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = services(subject).into_iter().collect();
    findings.extend(programs(&wanted(&subject.app.hooks, &HookPlace::Host), "host", subject.project_dir));
    findings
}

/// `hooks.service`: a container is made of the release's own model.
fn services(subject: &Subject<'_>) -> Option<Finding> {
    let model = subject.known_model()?;
    let mut named: Vec<&str> = subject
        .app
        .hooks
        .iter()
        .filter_map(|hook| match &hook.place {
            HookPlace::Service(name) => Some(name.as_str()),
            HookPlace::Host | HookPlace::Runner => None,
        })
        .collect();
    named.sort_unstable();
    named.dedup();
    if named.is_empty() {
        return None;
    }
    let missing: Vec<&str> = named.into_iter().filter(|name| !model.services.contains_key(*name)).collect();
    if missing.is_empty() {
        return Some(Finding::passed("hooks.service", "the services that run hooks are in the release"));
    }
    let message = format!(
        "hooks are to run in services that the release does not have: {} (it has {})",
        listed(missing),
        listed(model.services.keys())
    );
    let hint = "correct `service:` of the hook, or add the service to the compose file; one that stands under `profiles:` \
                there is part of a release when deployments.yaml names its profile under `profiles:`, too";
    Some(Finding::error("hooks.service", message, hint))
}

/// Returns what hooks run by themselves at a place.
pub fn wanted<'a>(hooks: &'a [Hook], place: &HookPlace) -> Vec<Wanted<'a>> {
    let here = || hooks.iter().filter(|hook| hook.place == *place);
    // They come in the order in which they run; what builds may make what others need.
    let builds = |at: usize| here().take(at).any(|hook| hook.kind == HookKind::PreBuild);
    let of = |(at, hook): (usize, &'a Hook)| {
        let what = format!("the {} hook `{}`", hook.kind, hook.name);
        hook.argv.first().map(|program| Wanted { what, program, may_be_made: builds(at) })
    };
    here().enumerate().filter_map(of).collect()
}

/// `hooks.program`: what could not be started, or that all is there; nothing when nothing is run. `machine` is the word for
/// where it is run.
pub fn programs(wanted: &[Wanted<'_>], machine: &str, directory: &Path) -> Vec<Finding> {
    let findings: Vec<Finding> = wanted
        .iter()
        .filter_map(|wanted| {
            let why = program::find(wanted.program, directory).err()?;
            let message = format!("{} cannot run on the {machine}: {why}", wanted.what);
            let hint = remedy(&why, machine, directory);
            Some(if wanted.may_be_made && wanted.program.contains('/') {
                let hint = format!("see that a pre_build hook makes it; else {hint}");
                Finding::warning(PROGRAM, message, hint)
            } else {
                Finding::error(PROGRAM, message, hint)
            })
        })
        .collect();
    if findings.is_empty() && !wanted.is_empty() {
        let message = format!("the {machine} has what it is to run");
        return vec![Finding::passed(PROGRAM, message)];
    }
    findings
}

fn remedy(why: &NotRunnable, machine: &str, directory: &Path) -> String {
    match why {
        NotRunnable::Missing(program) if program.starts_with('/') => {
            format!("put `{program}` on the {machine}, or correct the path")
        }
        NotRunnable::Missing(_) => {
            "add the file to git or name it under `bundle:`, or correct the path, which begins at the app's directory"
                .to_owned()
        }
        NotRunnable::NotOnPath { program, .. } if directory.join(program).is_file() => {
            format!("write `./{program}` for the file of the app's directory: a bare name is looked for on PATH alone")
        }
        NotRunnable::NotOnPath { program, .. } => {
            format!("install `{program}` on the {machine} for the user who deploys, or write its whole path")
        }
        NotRunnable::NotExecutable(program) => {
            format!("`chmod +x {program}` and commit it (`git update-index --chmod=+x {program}`)")
        }
        NotRunnable::Interpreter { wanted, .. } if wanted.ends_with("\\r") => {
            "save the file with the line ends of Unix (LF); `*.sh text eol=lf` in .gitattributes keeps them".to_owned()
        }
        NotRunnable::Interpreter { wanted, .. } => {
            format!("install `{wanted}` on the {machine}, or correct the first line of the file")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::super::testing::Bench;
    use super::*;
    use crate::model::Severity;

    fn hook(kind: HookKind, place: HookPlace, program: &str) -> Hook {
        let (argv, timeout) = (vec![program.to_owned()], Duration::from_secs(1));
        Hook { kind, name: "a".into(), place, argv, timeout, on_error: Default::default() }
    }

    #[test]
    fn services_and_programs_that_are_not_there_are_errors_before_anything_is_touched() {
        let mut bench = Bench::new();
        bench.model(r#"{"services": {"web": {"image": "x"}}}"#);
        assert!(check(&bench.subject()).is_empty(), "there are no hooks");
        bench.write("there.sh", "#!/bin/sh\n");
        let path = bench.directory.path().join("there.sh");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let service = |name: &str| HookPlace::Service(name.to_owned());
        bench.app.hooks = vec![
            hook(HookKind::PreDeploy, service("web"), "./in-the-image"),
            hook(HookKind::PreDeploy, HookPlace::Host, "./there.sh"),
            hook(HookKind::Finally, HookPlace::Runner, "./on-the-runner.sh"),
            hook(HookKind::Finally, HookPlace::Host, "sh"),
        ];
        let found = check(&bench.subject());
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|finding| finding.severity == Severity::Passed), "{found:?}");
        bench.app.hooks.push(hook(HookKind::PostDeploy, service("worker"), "x"));
        bench.app.hooks.push(hook(HookKind::PostDeploy, HookPlace::Host, "./gone.sh"));
        let found = check(&bench.subject());
        assert!(found[0].message.ends_with("does not have: `worker` (it has `web`)"), "{found:?}");
        let expected = "the post_deploy hook `a` cannot run on the host: there is no file `./gone.sh`";
        assert_eq!((found[1].message.as_str(), found[1].severity), (expected, Severity::Error));
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn what_a_hook_before_the_build_may_make_is_a_warning_and_a_name_on_path_is_none() {
        let mut bench = Bench::new();
        let made = |program: &str| hook(HookKind::PostDeploy, HookPlace::Host, program);
        bench.app.hooks =
            vec![hook(HookKind::PreBuild, HookPlace::Host, "sh"), made("./made"), made("no-such-name")];
        let found = check(&bench.subject());
        assert_eq!(
            found.iter().map(|finding| finding.severity).collect::<Vec<_>>(),
            [Severity::Warning, Severity::Error]
        );
        bench.app.hooks[0].place = HookPlace::Runner;
        assert_eq!(check(&bench.subject())[0].severity, Severity::Error, "it makes nothing on the host");
    }

    #[test]
    fn remedies_are_about_what_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("x.sh"), "#!/bin/sh\n").unwrap();
        let hint = |program: &str| {
            let wanted = [Wanted { what: "the test".into(), program, may_be_made: false }];
            programs(&wanted, "runner", directory.path()).remove(0).hint.unwrap()
        };
        assert!(hint("x.sh").starts_with("write `./x.sh`"));
        assert!(hint("./x.sh").starts_with("`chmod +x ./x.sh`"));
        assert!(hint("./y.sh").starts_with("add the file to git"));
        assert!(hint("/nowhere/y").starts_with("put `/nowhere/y` on the runner"));
        assert!(hint("no-such-name").starts_with("install `no-such-name` on the runner"));
    }
}
