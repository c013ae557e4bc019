//! The access hook: asks the product's backend over HTTP whether a user without membership may
//! join a room.
//!
//! Answers are kept for as long as the product permits. A question that is asked while the same
//! one is on its way waits for its answer. A call is made by a task of its own, so that it goes on
//! when the connection that asked first is gone, and never delays anything but the joins that
//! wait for it. After several failures in a row, a circuit breaker refuses further
//! calls for some seconds.

mod answer;
mod breaker;
mod cache;
mod call;
#[doc(hidden)]
pub mod fuzz;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chat_domain::ports::{AccessHook, NoAnswer};
use chat_domain::{BoxError, Role, RoomId, UserId, one_line};
use hyper::body::Bytes;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use self::breaker::{Breaker, Failed, Permitted};
use self::cache::{Cache, Key};
use self::call::{Caller, Failure, FailureKind};
use crate::hook_url::HookUrl;
use crate::standard_webhooks::Signer;

/// How many answers are kept, of about 150 bytes each.
const MAX_ANSWERS: usize = 100_000;
/// How many calls are made at the same time.
const MAX_CALLS: usize = 64;
/// How many different questions may be on their way, most of which wait for others. Further ones
/// have no answer.
const MAX_QUESTIONS: usize = 1024;
/// How long a question waits until fewer than [`MAX_CALLS`] are made.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// Where the product is asked, and how calls are signed.
#[derive(Debug, Clone)]
pub struct AccessHookOptions {
    /// The address of the hook.
    pub url: HookUrl,
    /// Signs the calls.
    pub signer: Signer,
}

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// The user may join.
    Allowed,
    /// The user may not join.
    Denied,
    /// The call took too long.
    Timeout,
    /// The connection failed or was closed before a response arrived.
    Connection,
    /// The response's status is not a success.
    Status,
    /// The response's body is too large, broke off, or is not a valid answer.
    Body,
}

/// What a join's answer came from, or why it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnsweredBy {
    /// An answer that was kept.
    Cache,
    /// A call that was on its way for another join.
    SharedCall,
    /// A call of its own.
    Call,
    /// None: the circuit breaker is open.
    Breaker,
    /// None: too many questions are on their way.
    Overload,
}

/// Observes the hook.
pub trait AccessHookObserver: Send + Sync {
    /// A call has ended.
    fn called(&self, outcome: CallOutcome);
    /// A join has asked.
    fn asked(&self, answered_by: AnsweredBy);
    /// The circuit breaker has opened, or has closed.
    fn breaker(&self, is_open: bool);
}

/// The access hook of a product.
pub struct HttpAccessHook {
    shared: Arc<Shared>,
    /// The calls. They end with the hook.
    calls: Mutex<JoinSet<()>>,
}

struct Shared {
    caller: Caller,
    observer: Arc<dyn AccessHookObserver>,
    slots: Semaphore,
    state: Mutex<State>,
}

struct State {
    cache: Cache,
    breaker: Breaker,
    /// The questions on their way.
    questions: HashMap<Key, watch::Receiver<Option<Outcome>>>,
}

/// What a question on its way comes to, for all that wait for it.
type Outcome = Result<Option<Role>, Refused>;

/// Why a question has no answer.
#[derive(Debug, Clone, thiserror::Error)]
enum Refused {
    #[error("the call failed: {0}")]
    Failed(Arc<str>),
    #[error("the last calls have failed: the next one is made within seconds")]
    Open,
    #[error("too many calls are waiting")]
    Overload,
    #[error("the call was not finished")]
    Unfinished,
}

impl HttpAccessHook {
    /// Prepares calls. Nothing is called before the first question.
    ///
    /// # Errors
    /// The system's trusted certificates cannot be read, or the host is not a valid name.
    pub fn new(
        options: AccessHookOptions,
        observer: Arc<dyn AccessHookObserver>,
    ) -> Result<Self, BoxError> {
        let shared = Shared {
            caller: Caller::new(options)?,
            observer,
            slots: Semaphore::new(MAX_CALLS),
            state: Mutex::new(State {
                cache: Cache::new(MAX_ANSWERS),
                breaker: Breaker::default(),
                questions: HashMap::new(),
            }),
        };
        Ok(Self {
            shared: Arc::new(shared),
            calls: Mutex::default(),
        })
    }

    /// Returns the answer that is kept, or where it will arrive.
    fn begin(&self, user_id: &UserId, room_id: RoomId, claims: &str) -> Result<Begun, NoAnswer> {
        let key = Key::of(user_id, room_id, claims);
        let now = Instant::now();
        let refuse = |refused: Refused, answered_by| {
            self.shared.observer.asked(answered_by);
            Err(NoAnswer(refused.into()))
        };
        let mut state = self.shared.lock();
        if let Some(role) = state.cache.get(&key, now) {
            self.shared.observer.asked(AnsweredBy::Cache);
            return Ok(Begun::Answered(role));
        }
        if let Some(question) = state.questions.get(&key) {
            self.shared.observer.asked(AnsweredBy::SharedCall);
            return Ok(Begun::OnItsWay(question.clone()));
        }
        if state.questions.len() >= MAX_QUESTIONS {
            return refuse(Refused::Overload, AnsweredBy::Overload);
        }
        let body = call::question(user_id, room_id, claims).map_err(NoAnswer)?;
        let Some(permitted) = state.breaker.permit(now) else {
            return refuse(Refused::Open, AnsweredBy::Breaker);
        };
        let (answers, question) = watch::channel(None);
        state.questions.insert(key, question.clone());
        drop(state);
        self.shared.observer.asked(AnsweredBy::Call);
        let asking = Asking {
            shared: self.shared.clone(),
            key,
            permitted,
            answers,
            has_ended: false,
        };
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        while calls.try_join_next().is_some() {}
        calls.spawn(asking.run(body));
        Ok(Begun::OnItsWay(question))
    }
}

enum Begun {
    Answered(Option<Role>),
    OnItsWay(watch::Receiver<Option<Outcome>>),
}

#[async_trait]
impl AccessHook for HttpAccessHook {
    async fn ask(
        &self,
        user_id: &UserId,
        room_id: RoomId,
        claims: &str,
    ) -> Result<Option<Role>, NoAnswer> {
        let mut question = match self.begin(user_id, room_id, claims)? {
            Begun::Answered(role) => return Ok(role),
            Begun::OnItsWay(question) => question,
        };
        // It has deadlines of its own, and ends with an outcome even if it panics.
        let outcome = match question.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        };
        let outcome = outcome.unwrap_or(Err(Refused::Unfinished));
        outcome.map_err(|refused| NoAnswer(refused.into()))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports a call that has failed.
    fn report(&self, failed: Failed, error: &str) {
        let url = self.caller.url();
        match failed {
            Failed::First => tracing::warn!(%url, error, "the access hook has not answered"),
            Failed::Opened => {
                self.observer.breaker(true);
                tracing::warn!(
                    %url,
                    error,
                    "the access hook does not answer: joins that need it are refused at once"
                );
            }
            Failed::Again => tracing::debug!(%url, error, "the access hook has not answered"),
        }
    }
}

/// A question on its way.
struct Asking {
    shared: Arc<Shared>,
    key: Key,
    permitted: Permitted,
    answers: watch::Sender<Option<Outcome>>,
    has_ended: bool,
}

impl Asking {
    async fn run(mut self, body: Bytes) {
        let shared = self.shared.clone();
        let slot = timeout(MAX_WAIT, shared.slots.acquire()).await;
        let Ok(Ok(_slot)) = slot else {
            return self.end(Err(Refused::Overload));
        };
        // Those before it may have failed meanwhile.
        if !shared.lock().breaker.still_permits(self.permitted) {
            return self.end(Err(Refused::Open));
        }
        let called = shared.caller.call(body).await;
        let now = Instant::now();
        let outcome = match called {
            Ok(answer) => {
                shared.observer.called(match answer.role {
                    Some(_) => CallOutcome::Allowed,
                    None => CallOutcome::Denied,
                });
                let has_closed = {
                    let mut state = shared.lock();
                    state.cache.insert(self.key, answer, now);
                    state.breaker.succeeded()
                };
                if has_closed {
                    shared.observer.breaker(false);
                    tracing::info!(url = %shared.caller.url(), "the access hook answers again");
                }
                Ok(answer.role)
            }
            Err(Failure { kind, error }) => {
                shared.observer.called(match kind {
                    FailureKind::Timeout => CallOutcome::Timeout,
                    FailureKind::Connection => CallOutcome::Connection,
                    FailureKind::Status => CallOutcome::Status,
                    FailureKind::Body => CallOutcome::Body,
                });
                let error = one_line(&*error);
                let failed = shared.lock().breaker.failed(self.permitted, now);
                shared.report(failed, &error);
                Err(Refused::Failed(error.into()))
            }
        };
        self.has_ended = true;
        self.end(outcome);
    }

    fn end(&self, outcome: Outcome) {
        self.shared.lock().questions.remove(&self.key);
        self.answers.send_replace(Some(outcome));
    }
}

impl Drop for Asking {
    /// Whatever ended it, the question can be asked again, and a probe does not remain open.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if self.answers.borrow().is_none() {
            state.questions.remove(&self.key);
        }
        if !self.has_ended && self.permitted == Permitted::Probe {
            state.breaker.failed(self.permitted, Instant::now());
        }
    }
}
