//! What takes too long: the host stops it by itself, and says what it waited for.

use super::{Kind, Shop};
use crate::support::{Act, needs};

#[test]
fn a_switch_that_waits_for_a_service_for_too_long_goes_back_and_names_what_it_waited_for() {
    needs!("docker");
    let shop = Shop::new();
    shop.deploy(Kind::good("1.0.0")).exits(0);
    // Compose itself would wait for the database for an hour.
    let image = crate::support::base_image();
    let more: &'static str = Box::leak(
        format!(
            "    depends_on: {{db: {{condition: service_healthy}}}}\n  db:\n    image: {image}\n    stop_grace_period: 0s\n    \
             healthcheck: {{test: [CMD, 'false'], interval: 1s, retries: 3600}}\n"
        )
        .into_boxed_str(),
    );
    shop.write(Kind { more, ..Kind::good("1.1.0") });
    let words = ["deploy", "staging", "--version", "1.1.0", "--timeout", "20s", "--log-format", "human"];
    let ended = shop.run(&words).exits(4);
    let error = &ended.result()["errors"][0];
    assert_eq!(error["code"], "deadline.deployment");
    let message = error["message"].as_str().expect("a message");
    for word in ["within 20 s (`timeout`)", "`deploying`", "docker compose up -d", "`db` is"] {
        assert!(message.contains(word), "{word}: {message}");
    }
    assert_eq!(shop.answers().as_deref(), Some("1.0.0"));
    shop.is_settled();
}

#[test]
fn a_pull_that_hangs_stops_before_the_switch_and_the_image_is_named() {
    needs!("docker");
    let shop = Shop::with("health: {timeout: 60s}", ", timeout: 15s");
    shop.write(Kind::good("1.0.0"));
    // The flag wins: the first deployment must not fail on a slow machine.
    shop.run(&["deploy", "staging", "--version", "1.0.0", "--timeout", "10m"]).exits(0);
    let containers = shop.host.containers(&shop.name(), "backend");
    shop.write(Kind::good("1.1.0"));
    let text = shop.compose_file().replace(&crate::support::base_image(), "127.0.0.1:1/shop:2");
    shop.project.file("docker-compose.yml", text).commit("1.1.0");
    shop.shim.on(&["pull"], &Act::Hold);
    let ended = shop.run(&["deploy", "staging", "--version", "1.1.0", "--log-format", "human"]).exits(9);
    let error = &ended.result()["errors"][0];
    assert_eq!(error["code"], "deadline.deployment");
    ended.says(&["it was in `pulling` and waited for `docker pull 127.0.0.1:1/shop:2`", "1.0.0 still runs"]);
    assert_eq!(shop.host.containers(&shop.name(), "backend"), containers);
    shop.shim.release();
}
