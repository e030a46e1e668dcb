//! The points of a deployment, as its trace names them.

use std::collections::BTreeMap;

/// Returns the points of a role, each by its name and which one of that name it is: `write state/journal.json#2`.
pub(super) fn of(trace: &str, role: &str) -> Vec<String> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let names = trace.lines().filter_map(|line| {
        let (found, rest) = line.split_once(' ')?;
        let (_, name) = rest.split_once(' ')?;
        (found == role).then_some(name)
    });
    let mut points = Vec::new();
    for name in names {
        let occurrence = seen.entry(name).or_default();
        *occurrence += 1;
        points.push(format!("{name}#{occurrence}"));
    }
    points
}

#[test]
fn points_are_named_by_what_they_change_and_counted() {
    let trace = "attach 1 make stage/*\nworker 1 write state/journal.json\nworker 2 docker stop\n\
                 worker 3 write state/journal.json\nrecovery 1 docker stop\n";
    let expected = ["write state/journal.json#1", "docker stop#1", "write state/journal.json#2"];
    assert_eq!(of(trace, "worker"), expected);
}
