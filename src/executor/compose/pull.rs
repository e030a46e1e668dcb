//! One `docker pull`: tried again where that may help, told as it goes on, and ended when nothing comes any more.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::ComposeExecutor;
use crate::event::EventKind;
use crate::executor::registry::{Fault, WAITS};
use crate::here;
use crate::host::change::{self, Change};
use crate::host::docker_config::DockerConfig;
use crate::host::process::{Finished, ProcessError};
use crate::model::Severity;

/// Longest wait for a registry's first answer: which layers the image has.
const FIRST_ANSWER: Duration = Duration::from_secs(60);
/// Longest wait for the next news of a layer. Docker tells none while one is on its way.
const NEXT_LAYER: Duration = Duration::from_secs(10 * 60);
/// How often it is told how far a pull has come.
const TELL: Duration = Duration::from_secs(15);

impl ComposeExecutor {
    /// Pulls an image, with the logins of `login` where there are any.
    ///
    /// # Errors
    /// What the last attempt said.
    pub(super) async fn docker_pull(
        &self,
        reference: &str,
        login: Option<&DockerConfig>,
    ) -> Result<Finished, ProcessError> {
        for wait in WAITS {
            match self.docker_pull_once(reference, login).await {
                Err(error) if Fault::of(&error).is_transient() => {
                    self.tell_another(reference, wait, &error);
                    tokio::time::sleep(wait).await;
                }
                ended => return ended,
            }
        }
        self.docker_pull_once(reference, login).await
    }

    async fn docker_pull_once(
        &self,
        reference: &str,
        login: Option<&DockerConfig>,
    ) -> Result<Finished, ProcessError> {
        let change = Change::Pull { reference, login };
        let layers = Mutex::new(Layers::new());
        let mut on_line = |line: &str| {
            let is_news = layers.lock().unwrap_or_else(PoisonError::into_inner).take(line);
            if !is_news {
                self.say_line(change.name(), line);
            }
        };
        let pulled = change::carry_out(&change, &self.compose, &mut on_line);
        tokio::select! {
            ended = pulled => ended,
            deadline = self.watch(reference, &layers) => Err(ProcessError::Deadline { shown: change.command(&self.compose).shown(), deadline }),
        }
    }

    /// Tells how far a pull has come, and ends when it does not go on.
    async fn watch(&self, reference: &str, layers: &Mutex<Layers>) -> Duration {
        let mut told = Instant::now();
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let (silence, patience, text) = {
                let layers = layers.lock().unwrap_or_else(PoisonError::into_inner);
                (layers.last_news.elapsed(), layers.patience(), layers.told(reference))
            };
            if silence > patience {
                return patience;
            }
            if told.elapsed() >= TELL {
                told = Instant::now();
                self.say_line("docker pull", &text);
            }
        }
    }

    fn tell_another(&self, reference: &str, wait: Duration, error: &ProcessError) {
        let said = super::images::last(error);
        let notice = format!("could not pull `{reference}`: {said}; trying again in {} s", wait.as_secs());
        let (code, severity) = ("image.retry".to_owned(), Severity::Warning);
        self.emitter.emit(here!(), EventKind::Noticed { code, notice, hint: None, severity });
    }
}

/// What `docker pull` has said of the layers of an image: `a3ed95caeb02: Pull complete`.
struct Layers {
    are_here: BTreeMap<String, bool>,
    last_news: Instant,
}

impl Layers {
    fn new() -> Self {
        Self { are_here: BTreeMap::new(), last_news: Instant::now() }
    }

    /// Takes a line in; returns whether it was about a layer.
    fn take(&mut self, line: &str) -> bool {
        self.last_news = Instant::now();
        let Some((layer, state)) = line.split_once(": ") else { return false };
        if layer.len() != 12 || !layer.bytes().all(|b| b.is_ascii_hexdigit()) {
            return false;
        }
        let is_here = matches!(state, "Pull complete" | "Already exists" | "Download complete");
        self.are_here.insert(layer.to_owned(), is_here);
        true
    }

    fn patience(&self) -> Duration {
        if self.are_here.is_empty() { FIRST_ANSWER } else { NEXT_LAYER }
    }

    fn told(&self, reference: &str) -> String {
        let here = self.are_here.values().filter(|is_here| **is_here).count();
        match self.are_here.len() {
            0 => format!("{reference}: waiting for the registry"),
            all => format!("{reference}: {here} of {all} layers are here"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_counted_and_a_registry_that_has_answered_gets_more_time() {
        let mut layers = Layers::new();
        assert_eq!(
            (layers.patience(), layers.told("a")),
            (FIRST_ANSWER, "a: waiting for the registry".into())
        );
        for line in [
            "a3ed95caeb02: Pulling fs layer",
            "b4ed95caeb02: Pulling fs layer",
            "a3ed95caeb02: Pull complete",
        ] {
            assert!(layers.take(line));
        }
        assert!(
            !layers.take("latest: Pulling from shop/web")
                && !layers.take("Status: Image is up to date for a")
        );
        assert_eq!((layers.patience(), layers.told("a")), (NEXT_LAYER, "a: 1 of 2 layers are here".into()));
    }
}
