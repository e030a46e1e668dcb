//! The health of what runs, asked before a deployment.

use super::stand::Stand;
use crate::support::needs;

#[test]
fn what_is_not_healthy_is_refused_warned_of_or_not_asked_as_the_configuration_says() {
    needs!("docker", "git");
    let stand = Stand::new(&[]);
    let configure =
        |before: &str| stand.configure(&format!("    health: {{timeout: 20s, before: {before}}}\n"), &[]);
    let found = |ended: &crate::support::Ended| {
        let finding =
            ended.events_named("finding_reported").into_iter().find(|event| event["rule"] == "health.before");
        finding.map(|event| event["severity"].as_str().unwrap_or("?").to_owned())
    };
    configure("require");
    assert_eq!(found(&stand.deploy("1.0.0").exits(0)).as_deref(), Some("passed"), "nothing runs yet");
    assert_eq!(found(&stand.deploy("1.1.0").exits(0)).as_deref(), Some("passed"));
    stand.host.docker(&["stop", &stand.containers()[0]]);
    let ended = stand.deploy("1.2.0").exits(3);
    assert_eq!(found(&ended).as_deref(), Some("error"));
    assert_eq!(ended.result()["errors"][0]["code"], "health.before");
    ended.says(&["1.1.0, which runs now, is not healthy: `backend"]);
    let validated = stand.run(&["validate", "staging"]).exits(3);
    assert_eq!(found(&validated).as_deref(), Some("error"));
    configure("skip");
    assert_eq!(found(&stand.run(&["validate", "staging"]).exits(0)), None);
    configure("warn");
    assert_eq!(found(&stand.deploy("1.2.0").exits(0)).as_deref(), Some("warning"));
    assert_eq!(stand.answers().as_deref(), Some("1.2.0"));
}
