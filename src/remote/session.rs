//! One conversation with the agent: frames go out, events and replies come in, the bundle travels.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

use super::channel::{Channel, Ended, Ending, How, Input, Output};
use super::packing::{Pieces, files_of, pack, small};
use crate::agent::protocol::{self, Frame, FrameError, Greeting, HostFacts, LONGEST_EVENT, PROTOCOL, Reply};
use crate::event::Event;
use crate::model::{ErrorKind, FailureReport, Job, Manifest, wall};
use crate::text::{Redactor, harmless};

/// Longest line of a reply: answers are larger than events.
const LONGEST_REPLY: usize = 64 * LONGEST_EVENT;
/// How often the agent hears that its runner is there (DESIGN section 3).
const PING: Duration = Duration::from_secs(5);
/// How long an agent may take to greet back.
const GREETING: Duration = Duration::from_secs(60);
/// How long a lost agent may take to tell how it ended.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What the agent says.
#[derive(Debug)]
pub enum Message {
    /// Something happened on the host.
    Event(Box<Event>),
    /// It answers.
    Reply(Box<Reply>),
    /// A line that is neither, harmless: it is told, and nothing more.
    Noise(String),
    /// The stream has ended.
    End,
}

/// Why a conversation cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The connection is gone.
    #[error("the connection to the agent was lost")]
    Lost(#[from] FrameError),
    /// The agent ended without a word.
    #[error("the agent on the host ended before it was done{}", last_words(.0))]
    Ended(Vec<String>),
    /// The connection broke, and with it the agent's channel.
    #[error("the connection to the host was lost{}", last_words(.0))]
    Cut(Vec<String>),
    /// It does not greet back.
    #[error("the agent on the host said nothing for {} s", .0.as_secs())]
    Silent(Duration),
    /// It said something that was not expected.
    #[error("the agent on the host answered something unexpected ({0})")]
    Unexpected(&'static str),
    /// A file of the bundle cannot be read.
    #[error("could not read {} for the bundle", path.display())]
    Bundle {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file changed while it was sent.
    #[error("{} changed while the deployment was prepared", .0.display())]
    Changed(PathBuf),
    /// The job cannot be said.
    #[error("the job cannot be written as JSON")]
    Job(#[source] serde_json::Error),
}

fn last_words(lines: &[String]) -> String {
    if lines.is_empty() { String::new() } else { format!(": {}", lines.join(" | ")) }
}

impl SessionError {
    /// Returns the failure with its next step.
    pub fn report(&self) -> FailureReport {
        let (code, hint) = match self {
            Self::Lost(_) | Self::Ended(_) | Self::Cut(_) | Self::Silent(_) => {
                ("agent.lost", "run it again; `ffe-deploy status` shows what the host does")
            }
            Self::Unexpected(_) | Self::Job(_) => {
                ("agent.protocol", "use one version of ffe-deploy for runner and host")
            }
            Self::Bundle { .. } => {
                ("bundle.read", "make the file readable, or take it out with `bundle_exclude:`")
            }
            Self::Changed(_) => {
                ("bundle.changed", "let nothing write to the project while it is deployed; run it again")
            }
        };
        let mut message = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        FailureReport::new(ErrorKind::DeploymentError, code, message).hint(hint)
    }
}

/// A conversation with one agent.
pub struct Session {
    stdin: Arc<Mutex<Option<Input>>>,
    pinging: JoinHandle<()>,
    messages: mpsc::Receiver<Message>,
    ending: Option<Ending>,
    greeting: Greeted,
    /// What the host said of itself; nothing before it has answered something else.
    pub facts: HostFacts,
}

/// Whether the agent has greeted back.
enum Greeted {
    /// Not yet; it may take so long.
    Awaited(Duration),
    Yes,
    /// And it will not.
    Never(SessionError),
}

impl Session {
    /// Greets the agent, and does not wait for its answer: that comes before all else that it says ([`Session::next`]),
    /// and who waited for it would wait for a whole round trip.
    ///
    /// # Errors
    /// It has ended already.
    pub async fn open(channel: Channel, redactor: Redactor) -> Result<Self, SessionError> {
        Self::open_within(GREETING, channel, redactor).await
    }

    async fn open_within(
        limit: Duration,
        channel: Channel,
        redactor: Redactor,
    ) -> Result<Self, SessionError> {
        let Channel { stdin, stdout, ending } = channel;
        let (sender, messages) = mpsc::channel(256);
        tokio::spawn(read(stdout, redactor, sender));
        let stdin = Arc::new(Mutex::new(Some(stdin)));
        let mut session = Self {
            pinging: tokio::spawn(ping(Arc::clone(&stdin))),
            stdin,
            messages,
            ending: Some(ending),
            greeting: Greeted::Awaited(limit),
            facts: HostFacts::default(),
        };
        let version = env!("CARGO_PKG_VERSION").into();
        let greeting = Greeting { protocol: PROTOCOL, version, now: Some(wall()) };
        let greeting = Frame::Hello(serde_json::to_vec(&greeting).map_err(SessionError::Job)?);
        match session.send_frame(&greeting).await {
            Ok(()) => Ok(session),
            Err(_) => Err(session.lost().await),
        }
    }

    /// Returns what the agent says next; its greeting first, which is kept.
    pub async fn next(&mut self) -> Message {
        loop {
            let Greeted::Awaited(limit) = self.greeting else {
                return self.messages.recv().await.unwrap_or(Message::End);
            };
            let message = match tokio::time::timeout(limit, self.messages.recv()).await {
                Ok(message) => message.unwrap_or(Message::End),
                Err(_) => return self.no_greeting(SessionError::Silent(limit)),
            };
            match message {
                Message::Reply(reply) => match *reply {
                    Reply::Hello { protocol: PROTOCOL, facts, .. } => {
                        self.facts = facts;
                        self.greeting = Greeted::Yes;
                    }
                    _ => return self.no_greeting(SessionError::Unexpected("another greeting")),
                },
                Message::End => return Message::End,
                Message::Event(_) | Message::Noise(_) => {}
            }
        }
    }

    /// There is nobody to speak with; [`Session::lost`] says why.
    fn no_greeting(&mut self, why: SessionError) -> Message {
        self.greeting = Greeted::Never(why);
        Message::End
    }

    /// Hands the job over.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send_job(&mut self, job: &Job) -> Result<(), SessionError> {
        // Its length is known first, so that the text does not move while it is written, and nothing of it is left.
        let mut length = Length(0);
        serde_json::to_writer(&mut length, job).map_err(SessionError::Job)?;
        let mut text = Vec::with_capacity(length.0);
        serde_json::to_writer(&mut text, job).map_err(SessionError::Job)?;
        let mut frame = Frame::Job(text);
        let sent = self.send_frame(&frame).await;
        frame.wipe();
        sent
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send(&mut self, frame: Frame) -> Result<(), SessionError> {
        self.send_frame(&frame).await
    }

    async fn send_frame(&mut self, frame: &Frame) -> Result<(), SessionError> {
        let mut stdin = self.stdin.lock().await;
        let Some(stdin) = stdin.as_mut() else {
            return Err(FrameError::Broken(io::ErrorKind::BrokenPipe.into()).into());
        };
        let sent = protocol::send(stdin, frame).await;
        if matches!((&sent, &self.greeting), (Err(FrameError::Broken(_)), Greeted::Awaited(_))) {
            // An agent that could not even begin says why, and nothing that was said to it was heard.
            return Ok(());
        }
        Ok(sent?)
    }

    /// Sends the files of the bundle that the host lacks most often and that cost next to nothing: the small ones. It goes
    /// before the job, so that the host need not ask for them. When one cannot be read or has changed, nothing goes ahead:
    /// the host asks for what it lacks, and may lack nothing.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send_ahead(&mut self, app_dir: &Path, bundle: &Manifest) -> Result<(), SessionError> {
        let small = small(bundle);
        let files = files_of(app_dir, bundle, &small);
        let mut packed = Vec::new();
        if files.is_empty() || pack(&files, &mut packed).is_err() {
            return Ok(());
        }
        self.send(Frame::Ahead(packed)).await
    }

    /// Sends what the host lacks of the bundle.
    ///
    /// # Errors
    /// A file cannot be read or has changed, or the connection is gone.
    pub async fn send_bundle(
        &mut self,
        app_dir: &Path,
        bundle: &Manifest,
        lacks: &[String],
    ) -> Result<(), SessionError> {
        if lacks.is_empty() {
            return Ok(());
        }
        let files = files_of(app_dir, bundle, lacks);
        let (sender, mut pieces) = mpsc::channel(4);
        let packing = tokio::task::spawn_blocking(move || pack(&files, Pieces::into(sender)));
        while let Some(piece) = pieces.recv().await {
            self.send(Frame::Bundle(piece)).await?;
        }
        packing.await.map_err(|_| SessionError::Unexpected("packing the bundle ended early"))??;
        self.send(Frame::Bundle(Vec::new())).await
    }

    /// Returns why there is nobody to speak with, where that is so; told once.
    pub fn not_greeted(&mut self) -> Option<SessionError> {
        if !matches!(self.greeting, Greeted::Never(_)) {
            return None;
        }
        match std::mem::replace(&mut self.greeting, Greeted::Yes) {
            Greeted::Never(why) => Some(why),
            Greeted::Awaited(_) | Greeted::Yes => None,
        }
    }

    /// Returns why nothing comes any more.
    pub async fn lost(&mut self) -> SessionError {
        if let Some(why) = self.not_greeted() {
            return why;
        }
        match self.ended().await {
            Some(Ended { how: How::ConnectionLost, last_lines }) => SessionError::Cut(last_lines),
            ended => SessionError::Ended(ended.map(|ended| ended.last_lines).unwrap_or_default()),
        }
    }

    /// Ends the conversation from our side, and returns how the agent ended, if it did so in time; asked once.
    pub async fn ended(&mut self) -> Option<Ended> {
        self.pinging.abort();
        let ended = async {
            drop(self.stdin.lock().await.take());
            Some(self.ending.take()?.ended().await)
        };
        tokio::time::timeout(LAST_WORDS, ended).await.ok().flatten()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.pinging.abort();
    }
}

/// Tells the agent again and again that its runner is there, whatever else this process does.
async fn ping(stdin: Arc<Mutex<Option<Input>>>) {
    loop {
        tokio::time::sleep(PING).await;
        let mut stdin = stdin.lock().await;
        let Some(stdin) = stdin.as_mut() else { return };
        if protocol::send(stdin, &Frame::Ping).await.is_err() {
            return;
        }
    }
}

/// Reads lines, and sorts them. What the host says is data: it is checked, and nothing in it is obeyed.
async fn read(stdout: Output, redactor: Redactor, sender: mpsc::Sender<Message>) {
    let mut lines = BufReader::new(stdout);
    let mut line = Vec::new();
    loop {
        line.clear();
        match lines.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => break,
            Ok(_) if line.len() > LONGEST_REPLY => continue,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        if sender.send(sorted(text.trim_end(), &redactor)).await.is_err() {
            return;
        }
    }
    sender.send(Message::End).await.ok();
}

fn sorted(text: &str, redactor: &Redactor) -> Message {
    if let Ok(mut reply) = serde_json::from_str::<Reply>(text) {
        reply.clean(redactor);
        return Message::Reply(Box::new(reply));
    }
    match Event::from_foreign_line(text, redactor) {
        Ok(event) => Message::Event(Box::new(event)),
        Err(_) => Message::Noise(
            redactor.redact(&harmless(&text.chars().take(1000).collect::<String>())).into_owned(),
        ),
    }
}

/// Counts what is written.
struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;
    use crate::host::kept::Said;
    use crate::remote::channel::Process;

    #[tokio::test]
    async fn an_agent_that_says_nothing_is_not_waited_for_for_ever() {
        let mut silent = tokio::process::Command::new("sleep");
        let mut child = silent.arg("600").stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (process, said) = (Process::Local(child), Said::default());
        let ending = Ending { process, said, listener: tokio::spawn(async {}) };
        let channel = Channel { stdin: Box::pin(tokio::io::sink()), stdout: Box::pin(stdout), ending };
        let mut opened =
            Session::open_within(Duration::from_millis(50), channel, Redactor::default()).await.unwrap();
        assert!(matches!(opened.next().await, Message::End));
        assert!(matches!(opened.lost().await, SessionError::Silent(_)));
    }
}
