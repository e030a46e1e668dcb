//! A room of Slack behind an incoming webhook: it records messages, and takes only those that Slack would take.
use serde_json::Value;

use super::block_kit::{is_taken, seen};
use super::host::unique_word;
use super::web::{Reply, Web};

/// The room; it is gone on drop.
pub(crate) struct Slack {
    web: Web,
    path: String,
}

impl Slack {
    /// A room that takes every message.
    pub(crate) fn open() -> Self {
        Self::answering(vec![Reply::ok("ok")])
    }

    /// A room that answers so, one after the other, and then always as the last.
    pub(crate) fn answering(replies: Vec<Reply>) -> Self {
        let token = format!("{0}{0}{0}", unique_word());
        let (web, path) = (Web::start(), format!("/services/T00000001/B00000001/{token}"));
        web.on_with(&path, replies);
        Self { web, path }
    }

    /// The address, which is a secret.
    pub(crate) fn address(&self) -> String {
        self.web.url(&self.path)
    }

    /// The part of the address that nobody could guess.
    pub(crate) fn token(&self) -> &str {
        self.path.rsplit('/').next().expect("a path has a last part")
    }

    /// How often somebody posted.
    pub(crate) fn posts(&self) -> usize {
        self.web.requests().len()
    }

    /// The messages so far.
    ///
    /// # Panics
    /// When Slack would refuse one.
    #[track_caller]
    pub(crate) fn messages(&self) -> Vec<Value> {
        let read = |request: super::Request| {
            assert_eq!((request.method.as_str(), &request.path), ("POST", &self.path));
            assert_eq!(request.headers["content-type"], "application/json");
            let message: Value = serde_json::from_str(&request.body).expect("a message is JSON");
            is_taken(&message);
            message
        };
        self.web.requests().into_iter().map(read).collect()
    }

    /// The only message, as its reader sees it.
    #[track_caller]
    pub(crate) fn only(&self) -> String {
        let messages = self.messages();
        assert_eq!(messages.len(), 1, "{messages:#?}");
        seen(&messages[0])
    }
}
