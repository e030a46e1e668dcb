//! What helps against the failure of a tool, by what it said.

/// What helps against a service that does not get well (R001-61, R001-62, R003-56).
pub const SERVICE_UNWELL: &str = "look at the service's last log lines and at its configuration: a key that is missing in \
    the env file, a data file that it may not write; `--no-cache` builds anew; then deploy again";

/// The documents' remedies, by what a tool said (R001-61, R003-55, R003-58).
pub(super) fn of(said: &str) -> &'static str {
    let is_said = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if is_said(&["port is already allocated", "address already in use"]) {
        "stop what holds the port, or change the port in the compose file or by its variable in the env file"
    } else if is_said(&[
        "iptables",
        "failed to create network",
        "failed to set up container networking",
        "veth",
    ]) {
        "restart the Docker daemon, which sets up its networks anew (`sudo systemctl restart docker`), then deploy again"
    } else if is_said(&["is unhealthy", "dependency failed to start", "exited ("]) {
        SERVICE_UNWELL
    } else {
        "look at what the tool said in the log of the run"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_networks_and_unwell_services_have_the_documents_remedies_and_the_rest_is_for_the_reader() {
        let port = "Bind for 0.0.0.0:80 failed: port is already allocated";
        let chain = "iptables: No chain/target/match by that name";
        assert!(of(port).contains("stop what holds the port"));
        assert!(of(chain).contains("restart the Docker daemon"));
        assert_eq!(of("dependency failed to start: container shop-backend-1 is unhealthy"), SERVICE_UNWELL);
        assert!(of("no such image").contains("look at what the tool said"));
    }
}
