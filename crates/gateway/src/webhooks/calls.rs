//! A thread for the calls. Its priority is lower than that of the others: while the processors are
//! busy, messages come first.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::thread;

use chat_adapters::webhooks::{Answer, WebhookReceiver};
use chat_domain::{Timestamp, one_line};
#[cfg(target_os = "linux")]
use rustix::process::setpriority_process;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The thread's niceness: on busy processors, it gets about a tenth of what another one gets.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Makes calls on a thread of its own.
pub(crate) struct Calls {
    receiver: Arc<WebhookReceiver>,
    runtime: Handle,
    /// The thread ends when this is dropped.
    _owner: oneshot::Sender<Infallible>,
}

impl Calls {
    /// Starts the thread.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn start(receiver: WebhookReceiver) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (owner, ended) = oneshot::channel();
        thread::Builder::new()
            .name("webhooks".to_owned())
            .spawn(move || {
                // On Linux, this is the priority of the calling thread. Without it, calls are made
                // all the same.
                #[cfg(target_os = "linux")]
                setpriority_process(None, NICENESS).ok();
                runtime.block_on(ended).ok();
            })?;
        Ok(Self {
            receiver: Arc::new(receiver),
            runtime: handle,
            _owner: owner,
        })
    }

    /// Makes a call; see [`WebhookReceiver::call`].
    pub(super) async fn make(&self, id: String, at: Timestamp, body: String) -> Answer {
        let receiver = self.receiver.clone();
        let call = async move { receiver.call(&id, at, body).await };
        let answer = self.runtime.spawn(call).await;
        answer.unwrap_or_else(|error| Answer::Failed(one_line(&error)))
    }
}
