//! Addresses of services that people can open (R000-05, R001-17).

use std::collections::BTreeMap;

use crate::model::compose::ComposeModel;

/// Returns an address for each service that publishes a TCP port, and `app` for the configured one.
pub fn of(model: &ComposeModel, url: Option<&str>) -> BTreeMap<String, String> {
    let mut urls = BTreeMap::new();
    for (name, service) in &model.services {
        let port = service.ports.iter().filter(|port| port.is_tcp()).find_map(|port| {
            let range = port.published?;
            let host = match port.host_ip.as_deref() {
                None | Some("" | "0.0.0.0" | "::") => "localhost",
                Some(address) => address,
            };
            Some(format!("http://{host}:{}", range.first))
        });
        urls.extend(port.map(|address| (name.clone(), address)));
    }
    urls.extend(url.map(|url| ("app".to_owned(), url.to_owned())));
    urls
}
