//! The hosts to go through, and what `ssh` is told of them: a configuration file and arguments. Plain data.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use super::host_key::HostKey;
use crate::config::SshTarget;
use crate::remote::RemoteError;

/// The name of the configuration file in the private directory.
pub(super) const CONFIG: &str = "config";

/// One host on the way; the last one is the target.
#[derive(Clone, Debug)]
pub(super) struct Hop {
    pub(super) host: String,
    pub(super) user: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) host_key: HostKey,
    /// Its private known_hosts file, where its key is given.
    pub(super) known_hosts: Option<PathBuf>,
}

impl Hop {
    /// Returns `user@host:port`, as far as it is given.
    pub(super) fn shown(&self) -> String {
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{user}{host}{port}")
    }
}

/// All that `ssh` must know.
#[derive(Clone, Debug)]
pub(super) struct Route {
    /// At least one; the last one is the target.
    pub(super) hops: Vec<Hop>,
    /// The private directory.
    pub(super) room: PathBuf,
    /// The private agent's socket and the public half of its key.
    pub(super) agent: Option<(PathBuf, PathBuf)>,
    /// See `Settings`.
    pub(super) ssh_config: Option<PathBuf>,
    /// See `Settings`.
    pub(super) alive_interval: Duration,
}

impl Route {
    /// Reads and checks the hosts of a target.
    pub(super) fn hops(target: &SshTarget) -> Result<Vec<Hop>, RemoteError> {
        let jumps = target.jump.iter().map(|jump| (&jump.host, &jump.user, jump.port, &jump.host_key));
        let all = jumps.chain([(&target.host, &target.user, target.port, &target.host_key)]);
        all.map(|(host_of, user, port, key)| {
            let host = host_of.trim_start_matches('[').trim_end_matches(']');
            checked(host)?;
            // A shell sees the users of jump hosts; the target's is an argument, and may be `DOMAIN\user`.
            let is_target = std::ptr::eq(host_of, &target.host);
            let user_name = user
                .as_deref()
                .map(|user| if is_target { user.replace(['\\', '$'], "_") } else { user.to_owned() });
            user_name.as_deref().map_or(Ok(()), checked)?;
            let host_key = HostKey::read(key.as_deref(), host)?;
            Ok(Hop { host: host.to_owned(), user: user.clone(), port, host_key, known_hosts: None })
        })
        .collect()
    }

    /// Returns the number of the target among the hops.
    pub(super) fn target(&self) -> usize {
        self.hops.len() - 1
    }

    /// Returns the configuration file: what must hold for the jump hosts, too, which see no command line.
    /// The first value that `ssh` finds is the one it takes, so the user's own files come last.
    pub(super) fn config(&self) -> String {
        let mut text = String::from("# Made by ffe-deploy for one connection.\n");
        for jump in &self.hops[..self.target()] {
            let files = self.hops[..self.target()].iter().filter(|other| other.host == jump.host);
            let files = files.filter_map(|other| other.known_hosts.as_ref());
            let files = files.map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ");
            if jump.known_hosts.is_some() {
                let host = &jump.host;
                writeln!(text, "Host {host}\nUserKnownHostsFile {files}\nGlobalKnownHostsFile /dev/null")
                    .ok();
            }
        }
        text.push_str("Host *\n");
        for (key, value) in self.common() {
            writeln!(text, "{key} {value}").ok();
        }
        if let Some((socket, _)) = &self.agent {
            writeln!(text, "IdentityAgent {}", socket.display()).ok();
        }
        text.push_str("Match all\n");
        match &self.ssh_config {
            Some(only) => writeln!(text, "Include \"{}\"", only.display()).ok(),
            None => writeln!(text, "Include ~/.ssh/config\nInclude /etc/ssh/ssh_config").ok(),
        };
        text
    }

    /// Strict, quiet, and nothing that a user's configuration could add to a connection that only carries our agent.
    fn common(&self) -> Vec<(&'static str, String)> {
        let fixed = [
            ("BatchMode", "yes"),
            ("StrictHostKeyChecking", "yes"),
            ("UpdateHostKeys", "no"),
            ("CheckHostIP", "no"),
            ("HashKnownHosts", "no"),
            ("ConnectTimeout", "10"),
            ("ServerAliveCountMax", "2"),
            ("LogLevel", "INFO"),
            ("ControlMaster", "no"),
            ("ControlPath", "none"),
            ("ControlPersist", "no"),
            ("ClearAllForwardings", "yes"),
            ("ForwardAgent", "no"),
            ("ForwardX11", "no"),
            ("PermitLocalCommand", "no"),
            ("RemoteCommand", "none"),
            ("RequestTTY", "no"),
        ];
        let mut all = fixed.map(|(key, value)| (key, value.to_owned())).to_vec();
        all.push(("ServerAliveInterval", self.alive_interval.as_secs().max(1).to_string()));
        all
    }

    /// Returns the arguments for one hop, up to and with its name.
    pub(super) fn arguments(&self, hop: usize) -> Vec<OsString> {
        let at = &self.hops[hop];
        let mut words: Vec<OsString> = vec!["-F".into(), self.room.join(CONFIG).into()];
        if let Some(user) = &at.user {
            words.extend(["-l".into(), user.into()]);
        }
        if let Some(port) = at.port {
            words.extend(["-p".into(), port.to_string().into()]);
        }
        let mut options = Vec::new();
        if hop > 0 {
            let jumps = self.hops[..hop].iter().map(Hop::shown).collect::<Vec<_>>().join(",");
            options.push(format!("ProxyJump={jumps}"));
        }
        if let Some(path) = &at.known_hosts {
            options.push(format!("UserKnownHostsFile={}", path.display()));
            options.push("GlobalKnownHostsFile=/dev/null".to_owned());
        }
        if let (Some((_, public)), true) = (&self.agent, hop == self.target()) {
            options.push("IdentitiesOnly=yes".to_owned());
            options.push(format!("IdentityFile={}", public.display()));
        }
        for option in options {
            words.extend(["-o".into(), option.into()]);
        }
        words.extend(["--".into(), (&at.host).into()]);
        words
    }
}

/// A name that is one word for `ssh`, for its configuration and for the shell that it runs to reach a jump host.
fn checked(name: &str) -> Result<(), RemoteError> {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-:%@+".contains(c));
    if name.is_empty() || name.starts_with('-') || !plain {
        return Err(RemoteError::Name { value: crate::text::harmless(name) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Jump;

    fn route(target: &SshTarget) -> Route {
        Route {
            hops: Route::hops(target).unwrap(),
            room: "/tmp/room".into(),
            agent: Some(("/tmp/room/agent".into(), "/tmp/room/key.pub".into())),
            ssh_config: None,
            alive_interval: Duration::from_secs(5),
        }
    }

    fn target() -> SshTarget {
        let jump = Jump { host: "bastion".into(), user: Some("ci".into()), port: Some(2200), host_key: None };
        let far = Jump { host: "::1".into(), ..Jump::default() };
        SshTarget { host: "shop".into(), port: Some(22), jump: vec![jump, far], ..SshTarget::default() }
    }

    #[test]
    fn the_target_gets_its_options_as_arguments_and_only_our_key() {
        let words = route(&target()).arguments(2);
        let words = words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ");
        let expected = "-F /tmp/room/config -p 22 -o ProxyJump=ci@bastion:2200,[::1] -o IdentitiesOnly=yes \
                        -o IdentityFile=/tmp/room/key.pub -- shop";
        assert_eq!(words, expected);
    }

    #[test]
    fn jump_hosts_get_theirs_from_the_configuration_and_the_users_file_comes_last() {
        let mut route = route(&target());
        route.hops[0].known_hosts = Some("/tmp/room/known_hosts.0".into());
        let config = route.config();
        let jump = "Host bastion\nUserKnownHostsFile /tmp/room/known_hosts.0\nGlobalKnownHostsFile /dev/null\nHost *\n";
        assert!(config.contains(jump), "{config}");
        assert!(config.contains("StrictHostKeyChecking yes\n") && config.contains("ServerAliveInterval 5\n"));
        assert!(config.ends_with("Match all\nInclude ~/.ssh/config\nInclude /etc/ssh/ssh_config\n"));
    }

    #[test]
    fn a_name_that_ssh_or_a_shell_could_misread_is_refused() {
        for host in ["", "-oProxyCommand=x", "a b", "a;b", "$(x)", "a\nHost *"] {
            let target = SshTarget { host: host.into(), ..SshTarget::default() };
            assert!(matches!(Route::hops(&target), Err(RemoteError::Name { .. })), "{host:?}");
        }
    }
}
