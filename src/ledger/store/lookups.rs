//! One deployment by its id, which is what is asked most. Questions that come while others are under way are asked
//! together when one of those has its answer, so that many clients cost little more than one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::reader::{Reader, Value};
use super::rows::{DEPLOYMENT, deployment};
use super::{Deployment, StoreError};

/// Statements under way at once; those who come then wait for one of them.
const UNDER_WAY: usize = 2;
/// Most ids that one statement asks for.
const TOGETHER: usize = 32;

/// Who asks for which deployment.
#[derive(Clone, Debug)]
pub(super) struct Lookups {
    reader: Reader,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    under_way: usize,
    waiting: Vec<(Uuid, oneshot::Sender<Option<Deployment>>)>,
}

/// One of those under way; when it goes, however it ends, those who wait are next.
struct Slot(Lookups);

impl Drop for Slot {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        // Without a runtime the service has ended, and so have those who wait.
        match Handle::try_current() {
            Ok(runtime) if !queue.waiting.is_empty() => {
                drop(runtime.spawn(self.0.clone().ask_those_who_wait()))
            }
            _ => queue.under_way -= 1,
        }
    }
}

impl Lookups {
    pub(super) fn new(reader: Reader) -> Self {
        Self { reader, queue: Arc::default() }
    }

    /// Returns a deployment as it is at some time after this was called, if there is one.
    pub(super) async fn find(&self, id: Uuid) -> Result<Option<Deployment>, StoreError> {
        let told = {
            let mut queue = self.lock();
            if queue.under_way < UNDER_WAY {
                queue.under_way += 1;
                None
            } else {
                let (tell, told) = oneshot::channel();
                queue.waiting.push((id, tell));
                Some(told)
            }
        };
        match told {
            None => {
                let _slot = Slot(self.clone());
                self.ask(&[id]).await.map(|found| found.into_iter().next())
            }
            Some(told) => match told.await {
                Ok(found) => Ok(found),
                // The statement failed for all who asked: it is this one's turn to say why.
                Err(_) => self.ask(&[id]).await.map(|found| found.into_iter().next()),
            },
        }
    }

    async fn ask_those_who_wait(self) {
        let slot = Slot(self);
        let asked = {
            let mut queue = slot.0.lock();
            let most = queue.waiting.len().min(TOGETHER);
            queue.waiting.drain(..most).collect::<Vec<_>>()
        };
        let mut ids: Vec<_> = asked.iter().map(|(id, _)| *id).collect();
        // Few different lengths, so that the statements stay prepared.
        ids.resize(ids.len().next_power_of_two(), ids.last().copied().unwrap_or_default());
        // Who asked hears of a failure by losing the sender.
        let Ok(found) = slot.0.ask(&ids).await else { return };
        drop(slot);
        for (id, tell) in asked {
            let id = id.to_string();
            let one = found.iter().find(|one| one.deployment_id == id).cloned();
            // Who does not wait any more needs no answer.
            drop(tell.send(one));
        }
    }

    async fn ask(&self, ids: &[Uuid]) -> Result<Vec<Deployment>, StoreError> {
        let places: Vec<_> = (1..=ids.len()).map(|number| format!("${number}")).collect();
        let text = format!(
            "SELECT {DEPLOYMENT} FROM deployments d WHERE d.deployment_id IN ({})",
            places.join(", ")
        );
        let ids: Vec<Value<'_>> = ids.iter().map(|id| id.to_string().into()).collect();
        self.reader.rows(text, &ids, deployment).await
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
