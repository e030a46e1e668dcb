//! Are the ports free that the model publishes (R000-60, R003-55, C24).
//!
//! A port that a container of this project holds is free: it is ours already. Another container is known by name;
//! any other program by a bind test, and by name where `/proc` lets us read it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;

use super::Subject;
use super::containers::{Containers, Held, Seen};
use crate::model::Finding;
use crate::model::compose::PortRange;
use crate::text::harmless;

const RULE: &str = "host.ports";

/// One port, or a range of which one will do, that a service publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted<'a> {
    service: &'a str,
    address: IpAddr,
    ports: PortRange,
    /// Else UDP.
    is_tcp: bool,
}

pub(super) fn check(subject: &Subject<'_>, containers: Option<&Containers>) -> Vec<Finding> {
    let wanted = wanted(subject);
    if wanted.is_empty() {
        return Vec::new();
    }
    let mut findings = twice(&wanted);
    findings.extend(wanted.iter().filter_map(|one| held(subject, one, containers)));
    if findings.is_empty() {
        let ports: Vec<_> = wanted.iter().map(|one| shown(one.ports)).collect();
        findings.push(Finding::passed(RULE, format!("ports are free: {}", ports.join(", "))));
    }
    findings
}

fn wanted<'a>(subject: &Subject<'a>) -> Vec<Wanted<'a>> {
    let services = subject.known_model().into_iter().flat_map(|model| &model.services);
    let ports = services.flat_map(|(name, service)| service.ports.iter().map(move |port| (name, port)));
    ports
        .filter(|(_, port)| port.is_tcp() || port.is_udp())
        .filter_map(|(service, port)| {
            let address = port.host_ip.as_deref().and_then(|ip| ip.trim_matches(['[', ']']).parse().ok());
            let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            Some(Wanted { service, address, ports: port.published?, is_tcp: port.is_tcp() })
        })
        .collect()
}

/// Two services, or one twice, on one port: Docker would start the first and fail the second.
fn twice(wanted: &[Wanted<'_>]) -> Vec<Finding> {
    let mut by_port: BTreeMap<(u16, bool), Vec<&Wanted<'_>>> = BTreeMap::new();
    for one in wanted.iter().filter(|one| one.ports.first == one.ports.last) {
        by_port.entry((one.ports.first, one.is_tcp)).or_default().push(one);
    }
    let pairs = by_port.into_iter().filter_map(|((port, _), all)| {
        let (first, rest) = all.split_first()?;
        let second = rest.iter().find(|other| overlap(first.address, other.address))?;
        Some((port, first.service, second.service))
    });
    pairs
        .map(|(port, one, other)| {
            Finding::error(
                RULE,
                format!("port {port} is published twice: by services `{one}` and `{other}`"),
                "give one of them another port, in the compose file or by its variable in the env file",
            )
            .detail("port", port.to_string())
            .detail("service", other)
        })
        .collect()
}

fn overlap(one: IpAddr, other: IpAddr) -> bool {
    one == other || one.is_unspecified() || other.is_unspecified()
}

/// Who holds it, when nobody of ours does; of a range, one free port is enough.
fn held(subject: &Subject<'_>, wanted: &Wanted<'_>, containers: Option<&Containers>) -> Option<Finding> {
    let mut holder = None;
    for port in wanted.ports.first..=wanted.ports.last {
        holder = Some(holder_of(subject, wanted, port, containers)?);
    }
    let (service, ports) = (wanted.service, shown(wanted.ports));
    let finding = match holder? {
        Holder::NotHere => Finding::error(
            RULE,
            format!(
                "{} is not an address of this machine, and service `{service}` publishes on it",
                wanted.address
            ),
            "correct the address before the port in the compose file",
        ),
        Holder::Other(who) => Finding::error(
            RULE,
            format!("port {ports} of service `{service}` is already in use by {who}"),
            "stop what holds it, or change the port in the compose file or by its variable in the env file",
        ),
    };
    Some(finding.detail("port", ports).detail("service", service))
}

enum Holder {
    /// The address cannot be bound at all.
    NotHere,
    /// In words.
    Other(String),
}

/// Nothing when the port is free, or held by this project.
fn holder_of(
    subject: &Subject<'_>,
    wanted: &Wanted<'_>,
    port: u16,
    containers: Option<&Containers>,
) -> Option<Holder> {
    let publishers = containers.iter().flat_map(|all| &all.0).filter(|seen| publishes(seen, wanted, port));
    let mut others = None;
    for seen in publishers {
        if seen.project() == Some(subject.project) {
            return None;
        }
        others = Some(seen.shown());
    }
    if let Some(container) = others {
        return Some(Holder::Other(harmless(&container)));
    }
    let at = (wanted.address, port);
    let tried = if wanted.is_tcp { TcpListener::bind(at).map(drop) } else { UdpSocket::bind(at).map(drop) };
    match tried {
        Ok(()) => None,
        Err(cause) if cause.kind() == ErrorKind::AddrNotAvailable => Some(Holder::NotHere),
        // Ports below 1024 are not ours to try: the kernel's table says who listens.
        Err(cause) if cause.kind() == ErrorKind::PermissionDenied => {
            listener(port, wanted.is_tcp).map(|inode| Holder::Other(program_of(inode)))
        }
        Err(_) => {
            let inode = listener(port, wanted.is_tcp);
            Some(Holder::Other(inode.map_or_else(|| "another program".to_owned(), program_of)))
        }
    }
}

fn publishes(seen: &Seen, wanted: &Wanted<'_>, port: u16) -> bool {
    let is_there =
        |held: &Held| held.address.parse().map_or(true, |held: IpAddr| overlap(held, wanted.address));
    seen.ports.iter().any(|held| held.port == port && held.is_tcp == wanted.is_tcp && is_there(held))
}

fn shown(ports: PortRange) -> String {
    if ports.first == ports.last {
        ports.first.to_string()
    } else {
        format!("{}-{}", ports.first, ports.last)
    }
}

/// Inode of the socket that listens on a port, whatever its address. Source: proc(5), `/proc/net/tcp`; a UDP socket is
/// closed (07) as long as it waits for everybody.
fn listener(port: u16, is_tcp: bool) -> Option<u64> {
    let (kind, listening) = if is_tcp { ("tcp", "0A") } else { ("udp", "07") };
    let tables = ["", "6"]
        .map(|version| std::fs::read_to_string(format!("/proc/net/{kind}{version}")).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines().skip(1)).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = fields.get(1)?.rsplit_once(':')?.1;
        let matches = u16::from_str_radix(local, 16) == Ok(port) && fields.get(3) == Some(&listening);
        matches.then(|| fields.get(9)?.parse().ok()).flatten()
    })
}

/// Name and pid of the program that has a socket open, as far as this user may see it.
fn program_of(inode: u64) -> String {
    let wanted = format!("socket:[{inode}]");
    let holds = |process: &Path| {
        let open = std::fs::read_dir(process.join("fd")).ok()?;
        open.flatten()
            .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str()))
            .then_some(())
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let found = processes.map(|entry| entry.path()).find_map(|process| {
        let pid: u32 = process.file_name()?.to_str()?.parse().ok()?;
        holds(&process)?;
        let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
        Some(format!("`{}` (pid {pid})", harmless(name.trim())))
    });
    found.unwrap_or_else(|| "a program of another user".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, container};
    use super::*;
    use crate::model::{Severity, labels};

    fn free_port() -> (TcpListener, u16) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    fn publishing(published: &str) -> Bench {
        let mut bench = Bench::new();
        bench.model(&format!(
            r#"{{"services": {{"backend": {{"ports": [{{"target": 80, "published": "{published}", "protocol": "tcp"}}]}}}}}}"#
        ));
        bench
    }

    #[test]
    fn a_port_of_another_program_is_named_with_it() {
        let (listener, port) = free_port();
        let bench = publishing(&port.to_string());
        let found = check(&bench.subject(), None).remove(0);
        assert_eq!(found.severity, Severity::Error);
        assert!(
            found.message.starts_with(&format!("port {port} of service `backend` is already in use by `"))
        );
        assert!(found.message.contains(&format!("pid {}", std::process::id())), "{}", found.message);
        drop(listener);
        assert_eq!(check(&bench.subject(), None)[0].severity, Severity::Passed);
    }

    #[test]
    fn a_port_of_our_own_container_is_free_and_a_neighbours_is_not() {
        let (_listener, port) = free_port();
        let bench = publishing(&port.to_string());
        let mut seen = container("web-1", &[(labels::COMPOSE_PROJECT, "shop")]);
        seen.ports = vec![Held { address: "0.0.0.0".to_owned(), port, is_tcp: true }];
        let ours = check(&bench.subject(), Some(&Containers(vec![seen.clone()])));
        assert_eq!(ours[0].severity, Severity::Passed, "{ours:?}");
        seen.labels.insert(labels::COMPOSE_PROJECT.to_owned(), "other".to_owned());
        let theirs = check(&bench.subject(), Some(&Containers(vec![seen]))).remove(0);
        assert!(
            theirs.message.ends_with("in use by container `web-1` of project `other`"),
            "{}",
            theirs.message
        );
    }

    #[test]
    fn a_udp_port_is_held_by_udp_alone() {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let mut bench = Bench::new();
        let publish = |protocol: &str| {
            format!(
                r#"{{"services": {{"dns": {{"ports": [{{"target": 53, "published": "{port}", "protocol": "{protocol}"}}]}}}}}}"#
            )
        };
        bench.model(&publish("udp"));
        let found = check(&bench.subject(), None).remove(0);
        assert_eq!(found.severity, Severity::Error);
        assert!(found.message.contains(&format!("pid {}", std::process::id())), "{}", found.message);
        bench.model(&publish("tcp"));
        assert_eq!(check(&bench.subject(), None)[0].severity, Severity::Passed);
        drop(socket);
        bench.model(&publish("udp"));
        assert_eq!(check(&bench.subject(), None)[0].severity, Severity::Passed);
    }

    #[test]
    fn of_a_range_one_free_port_is_enough() {
        let (_listener, port) = free_port();
        let range = format!("{}-{}", port, port.saturating_add(20));
        assert_eq!(check(&publishing(&range).subject(), None)[0].severity, Severity::Passed);
    }

    #[test]
    fn two_services_on_one_port_are_an_error_unless_their_addresses_differ() {
        let mut bench = Bench::new();
        let both = |one: &str, other: &str| {
            format!(
                r#"{{"services": {{"a": {{"ports": [{{"target": 1, "published": "18473", "host_ip": "{one}"}}]}},
                "b": {{"ports": [{{"target": 1, "published": "18473", "host_ip": "{other}"}}]}}}}}}"#
            )
        };
        bench.model(&both("0.0.0.0", "127.0.0.1"));
        let found = check(&bench.subject(), None).remove(0);
        assert_eq!(found.message, "port 18473 is published twice: by services `a` and `b`");
        bench.model(&both("127.0.0.1", "127.0.0.2"));
        assert_eq!(check(&bench.subject(), None)[0].severity, Severity::Passed);
    }

    #[test]
    fn an_address_of_another_machine_is_told() {
        let mut bench = Bench::new();
        bench.model(r#"{"services": {"a": {"ports": [{"target": 1, "published": "18474", "host_ip": "192.0.2.1"}]}}}"#);
        let found = check(&bench.subject(), None).remove(0);
        assert!(
            found.message.starts_with("192.0.2.1 is not an address of this machine"),
            "{}",
            found.message
        );
    }
}
