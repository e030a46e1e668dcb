//! A connection and its end.

use std::time::Duration;

use crate::remote::Remote;
use crate::remote::session::Session;

/// How long an agent and its connection get to end; what is left then ends with this process.
const CLOSE: Duration = Duration::from_secs(5);

/// A connection, and the agent that speaks on it.
pub(super) struct Line {
    /// The way to the host.
    pub(super) remote: Remote,
    /// What is spoken on it.
    pub(super) session: Session,
}

impl Line {
    /// Ends both, so that nothing of them is left on this machine when we end.
    pub(super) async fn close(mut self) {
        let closed = async {
            self.session.ended().await;
            self.remote.close().await;
        };
        tokio::time::timeout(CLOSE, closed).await.ok();
    }
}
