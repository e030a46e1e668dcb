//! A host over SSH: one connection of our own, and the agent at its other end.
//!
//! The good case costs one login and one channel: the command that looks for the agent becomes it.

mod host_key;
#[cfg(test)]
pub(crate) use host_key::read_any as read_any_host_key;
mod key;
mod master;
mod room;
mod route;
mod said;
mod ship;
#[cfg(test)]
mod sshd;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use openssh::{ChildStdout, Session, Stdio};
use tokio::io::{AsyncWriteExt, BufReader};

use self::key::PrivateAgent;
use self::master::Master;
use self::room::Room;
use self::route::Route;
use self::ship::{As, Mark};
use super::agent_binary::AgentBinary;
use super::channel::{Channel, Ending, Input, Process, RemoteProcess};
use super::{How, RemoteError, Settings};
use crate::config::SshTarget;
use crate::host::kept::Said;
use crate::host::process::{self, Command};
use crate::text::{self, Secret};

/// For a login shell's start-up files, and for `sudo`.
const SHELL_DEADLINE: Duration = Duration::from_secs(60);
/// For the agent's 3 MB.
const UPLOAD_DEADLINE: Duration = Duration::from_secs(300);
/// Attempts after the first.
const RETRIES: usize = 2;

/// A connection to a host. Its parts end in this order: the connection, the agent with the key, the directory.
pub struct SshSession {
    master: Master,
    private_agent: Option<PrivateAgent>,
    room: Room,
    route: Route,
    settings: Settings,
    secrets: Vec<Secret>,
    effective: Effective,
    who: As,
    starts: u32,
}

/// What the ssh configuration makes of the target.
struct Effective {
    user: String,
    shown: String,
}

/// A script that runs on the host.
struct Running {
    stdin: Input,
    stdout: BufReader<ChildStdout>,
    ending: Ending,
}

impl SshSession {
    pub(super) async fn connect(target: &SshTarget, settings: Settings) -> Result<Self, RemoteError> {
        let hops = Route::hops(target)?;
        if !process::is_installed("ssh") {
            return Err(RemoteError::NoSshClient { program: "ssh".to_owned() });
        }
        let room = Room::new()?;
        let private_agent = match &target.key {
            Some(key) => Some(PrivateAgent::load(&room, key, target.passphrase.as_ref()).await?),
            None => None,
        };
        let mut route = Route {
            hops,
            room: room.path().to_owned(),
            agent: private_agent.as_ref().map(|agent| (agent.socket.clone(), agent.public.clone())),
            ssh_config: settings.ssh_config.clone(),
            alive_interval: settings.alive_interval,
        };
        master::prepare(&mut route, &room).await?;
        let effective = Effective::of(&route).await?;
        let secrets = [&target.key, &target.passphrase].into_iter().flatten().cloned().collect::<Vec<_>>();
        let master = start(&route, &room, &secrets, &settings, 0).await?;
        let who = if target.become_root && effective.user != "root" { As::Root } else { As::User };
        Ok(Self { master, private_agent, room, route, settings, secrets, effective, who, starts: 1 })
    }

    /// Returns `user@host:port`.
    pub(super) fn describe(&self) -> &str {
        &self.effective.shown
    }

    pub(super) async fn attach(&mut self) -> Result<Channel, RemoteError> {
        if !self.master.is_up().await {
            self.master = start(&self.route, &self.room, &self.secrets, &self.settings, self.starts).await?;
            self.starts += 1;
        }
        for _ in 0..2 {
            let mut running = self.run(&ship::find(self.who, &self.settings.agents)).await?;
            match self.mark(&mut running, SHELL_DEADLINE).await {
                Ok(Mark::Ready) => {
                    let Running { stdin, stdout, ending } = running;
                    return Ok(Channel { stdin, stdout: Box::pin(stdout), ending });
                }
                Ok(Mark::Absent { machine, gzip }) => self.upload(&machine, gzip).await?,
                Ok(Mark::Machine(machine)) => {
                    self.settings.agents.for_arch(&machine, self.describe())?;
                    break;
                }
                Ok(_) => break,
                Err(greetings) => return Err(self.no_mark(running, greetings).await),
            }
        }
        Err(self.not_taken("it was taken in, but is not there afterwards"))
    }

    pub(super) async fn close(self) {
        self.master.end().await;
        if let Some(agent) = self.private_agent {
            agent.end().await;
        }
    }

    async fn run(&self, line: &str) -> Result<Running, RemoteError> {
        let mut command = Arc::clone(&self.master.session).arc_raw_command(line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let opened = tokio::time::timeout(SHELL_DEADLINE, command.spawn()).await;
        let opened = opened.map_err(|_| self.broken("the host opens no channel"))?;
        let mut child: openssh::Child<Arc<Session>> =
            opened.map_err(|error| self.broken(&error.to_string()))?;
        let streams = (child.stdin().take(), child.stdout().take(), child.stderr().take());
        let (Some(stdin), Some(stdout), Some(stderr)) = streams else {
            return Err(self.broken("the channel has no streams"));
        };
        let said = Said::default();
        let listener = tokio::spawn(said.clone().listen(stderr));
        let process = Process::Ssh(Box::new(RemoteProcess { child, connection: self.master.said() }));
        let ending = Ending { process, said, listener };
        Ok(Running { stdin: Box::pin(stdin), stdout: BufReader::new(stdout), ending })
    }

    /// Returns the script's mark, or the greetings when none came in time.
    async fn mark(&self, running: &mut Running, deadline: Duration) -> Result<Mark, Vec<String>> {
        let read = tokio::time::timeout(deadline, ship::read_mark(&mut running.stdout)).await;
        read.unwrap_or_else(|_| Err(vec![format!("nothing within {} s", deadline.as_secs())]))
    }

    async fn upload(&self, machine: &str, gzip: bool) -> Result<(), RemoteError> {
        let agent = self.settings.agents.for_arch(machine, self.describe())?.clone();
        let sha256 = agent.sha256().to_owned();
        let (bytes, size) = tokio::task::spawn_blocking(move || packed(&agent, gzip))
            .await
            .map_err(std::io::Error::other)
            .and_then(|packed| packed)
            .map_err(RemoteError::here("reading the agent"))?;
        let mut running = self.run(&ship::take(self.who, &sha256, size, gzip)).await?;
        let mut stdin = std::mem::replace(&mut running.stdin, Box::pin(tokio::io::sink()));
        let send = async move {
            // A host that stops reading says why on stdout.
            stdin.write_all(&bytes).await.ok();
            stdin.shutdown().await.ok();
        };
        let ((), mark) = tokio::join!(send, self.mark(&mut running, UPLOAD_DEADLINE));
        match mark {
            Ok(Mark::Placed) => Ok(()),
            Ok(Mark::Nowhere(tried)) => {
                Err(RemoteError::NoExecutableDirectory { host: self.describe().to_owned(), tried })
            }
            Ok(Mark::Failed(what)) => {
                let words = running.ending.ended().await.last_lines.join(" ");
                Err(self.not_taken(format!("{what} {words}").trim()))
            }
            Ok(_) => Err(self.not_taken("the host gave an answer that nobody asked for")),
            Err(greetings) => Err(self.no_mark(running, greetings).await),
        }
    }

    /// Tells why a script did not even begin.
    async fn no_mark(&self, running: Running, greetings: Vec<String>) -> RemoteError {
        let Running { stdin, stdout, ending } = running;
        drop((stdin, stdout));
        let ended = tokio::time::timeout(Duration::from_secs(5), ending.ended()).await;
        let (how, mut lines) = ended.map_or((None, Vec::new()), |ended| (Some(ended.how), ended.last_lines));
        if lines.is_empty() {
            lines = greetings;
        }
        let said = if lines.is_empty() { format!("{how:?}") } else { lines.join(" ") };
        let host = self.describe().to_owned();
        if how == Some(How::ConnectionLost) {
            return self.broken(&said);
        }
        let by_sudo = said.contains("sudo") || how == Some(How::Exited(127));
        if self.who == As::Root && by_sudo {
            return RemoteError::Sudo { host, user: self.effective.user.clone(), said };
        }
        RemoteError::Shell { host, said }
    }

    fn broken(&self, said: &str) -> RemoteError {
        RemoteError::Broken { host: self.describe().to_owned(), said: text::harmless(said) }
    }

    fn not_taken(&self, said: &str) -> RemoteError {
        RemoteError::AgentUpload { host: self.describe().to_owned(), said: text::harmless(said) }
    }
}

/// The bytes to send, and the size of the program.
fn packed(agent: &AgentBinary, gzip: bool) -> std::io::Result<(Vec<u8>, usize)> {
    let plain = agent.plain()?;
    let size = plain.len();
    Ok(if gzip { (agent.gz()?.into_owned(), size) } else { (plain, size) })
}

async fn start(
    route: &Route,
    room: &Room,
    secrets: &[Secret],
    settings: &Settings,
    number: u32,
) -> Result<Master, RemoteError> {
    let backoff = ExponentialBuilder::default().with_min_delay(settings.first_delay).with_max_times(RETRIES);
    let hidden = || secrets.iter().map(|secret| secret.reveal().trim()).collect();
    let once = || Master::start(route, room, hidden(), number);
    once.retry(backoff)
        .when(RemoteError::passes)
        .notify(|error, delay| {
            tracing::warn!(delay_ms = delay.as_millis(), "connecting again: {error}");
        })
        .await
}

impl Effective {
    /// Asks `ssh -G`, which also finds errors in the configuration.
    async fn of(route: &Route) -> Result<Self, RemoteError> {
        let command = Command::new("ssh").arg("-G").args(route.arguments(route.target()));
        let finished = process::run_unchecked(&command, |_, _| {}).await.map_err(RemoteError::client)?;
        if !finished.status.success() {
            return Err(RemoteError::Configuration { said: said::reason(&finished.last_lines).1 });
        }
        let value = |wanted: &str| {
            let words = finished.stdout.lines().filter_map(|line| line.split_once(' '));
            let value =
                words.into_iter().find(|(key, _)| *key == wanted).map(|(_, value)| text::harmless(value));
            value.unwrap_or_default()
        };
        let host = &route.hops[route.target()].host;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let user = value("user");
        Ok(Self { shown: format!("{user}@{host}:{}", value("port")), user })
    }
}
