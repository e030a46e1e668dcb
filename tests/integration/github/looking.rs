//! Verbs that look, in a job: masks on stderr, and nothing in a document or in lines of containers.

use super::Job;
use crate::support::needs;

#[test]
fn answers_and_log_lines_are_alone_on_stdout_and_the_secrets_are_masked_beside_them() {
    needs!("docker", "git");
    let job = Job::new();
    job.write("1.0.0", "ok");
    let json = job.run(&["deploy", "staging", "--yes", "--version", "1.0.0", "--output", "json"], 0);
    assert_eq!(json.ended.json()["outcome"], "succeeded");
    assert!(
        json.ended.stderr.starts_with("::add-mask::") && json.ended.stderr.contains("::group::▸ deploying")
    );
    for verb in [&["status", "staging", "--output", "json"][..], &["health", "staging", "--output", "json"]] {
        let step = job.run(verb, 0);
        assert!(step.ended.json().is_object());
        assert!(step.ended.stderr.starts_with("::add-mask::"), "{}", step.ended.told());
        assert_eq!(step.outputs["status"], "success");
        assert_eq!(step.summary, "");
    }
    let step = job.run(&["logs", "staging", "backend"], 0);
    assert!(step.ended.stdout.starts_with("shop 1.0.0 starting"), "{}", step.ended.told());
    assert!(step.ended.stderr.contains("::add-mask::"));
    let step = job.run(&["status", "staging"], 0);
    assert!(!step.ended.stdout.contains("::"), "{}", step.ended.stdout);
    let step = job.run(&["logs", "nowhere"], 2);
    assert!(
        step.ended.stdout.is_empty() && step.ended.stderr.contains("::error title=logs"),
        "{}",
        step.ended.told()
    );
    assert_eq!((step.outputs["status"].as_str(), step.outputs["outcome"].as_str()), ("failure", "invalid"));
}
