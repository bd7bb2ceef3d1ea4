//! The bridge's way to the store: a thread that looks up and writes, one request after the other.

use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::Failure;
use crate::daemon::Fault;
use crate::daemon::control::{Found, OpenMode, RecordError, Records, Writer};
use crate::limits;

type Job = Box<dyn FnOnce(&mut Records) + Send>;

/// Where requests are handed in. The thread ends with it.
pub(super) struct Desk {
    jobs: mpsc::Sender<Job>,
}

impl Desk {
    /// Opens the store in `data_dir` and starts the thread.
    pub(super) fn start(data_dir: &Path) -> Result<(Self, JoinHandle<()>), Fault> {
        let mut records =
            Records::open(data_dir, OpenMode::Existing).map_err(|fault| Fault::new(fault.to_string()))?;
        let (jobs, mut waiting) = mpsc::channel::<Job>(limits::BRIDGE_STORE_QUEUE_MAX);
        let thread = std::thread::Builder::new()
            .name("nexus-bridge-db".to_owned())
            .spawn(move || {
                while let Some(job) = waiting.blocking_recv() {
                    job(&mut records);
                }
            })
            .map_err(|e| Fault::new(format!("cannot start a thread: {e}")))?;
        Ok((Self { jobs }, thread))
    }

    /// Looks something up; what would have to be written first is written, in a transaction of its own. `ask` is told
    /// whether it may write.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        ask: impl Fn(&Writer<'_>, bool) -> Result<Found<T>, RecordError> + Send + 'static,
    ) -> Result<T, Failure> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |records| {
            // Nobody waits for it any more.
            if answer.is_closed() {
                return;
            }
            let found = records
                .read(|reader| ask(reader, false))
                .and_then(|found| match found {
                    Found::Unwritten => records.write(|writer| ask(writer, true)),
                    found => Ok(found),
                });
            let _ = answer.send(found);
        });
        self.jobs.try_send(job).map_err(|_| Failure::TooMany)?;
        let patience = Duration::from_millis(limits::BRIDGE_ANSWER_MS_MAX);
        match timeout(patience, answered).await {
            Ok(Ok(Ok(Found::It(found)))) => Ok(found),
            Ok(Ok(Ok(Found::Denied | Found::Unwritten))) => Err(Failure::NotEntitled),
            Ok(Ok(Err(RecordError::Refused { why, remedy }))) => {
                tracing::debug!("the bridge was asked for what is not there: {why}; {remedy}");
                Err(Failure::NotEntitled)
            }
            Ok(Ok(Err(RecordError::Fault(fault)))) => {
                tracing::error!(%fault, "the bridge cannot use the store");
                Err(Failure::Undecided)
            }
            Ok(Err(_)) | Err(_) => Err(Failure::Undecided),
        }
    }
}
