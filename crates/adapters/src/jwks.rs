//! Keys that an issuer publishes at a URL, kept current.
//!
//! One task fetches the keys: when it starts, every few minutes, and when a token names a
//! key that is not known. Tokens never wait for a fetch otherwise. While the issuer cannot
//! be reached, the keys that were fetched last stay in use.

mod fetch;
mod url;

use std::sync::Arc;
use std::time::Duration;

use chat_domain::{BoxError, one_line, ports::AuthenticationError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use self::fetch::Fetcher;
use crate::jwt::{KeyAlgorithm, KeyDocument, KeySet, UnusedKey};

pub use self::url::{InvalidJwksUrl, JwksUrl};

/// How long a token may wait for a fetch: a little longer than that takes at most.
const WAIT_DEADLINE: Duration = Duration::from_secs(5);

/// Where keys are fetched, which of them are used, and how often.
#[derive(Debug, Clone)]
pub struct JwksOptions {
    /// The address of the JWK set.
    pub url: JwksUrl,
    /// The algorithms that are accepted; keys for others are skipped.
    pub algorithms: Vec<KeyAlgorithm>,
    /// How often keys are fetched.
    pub pace: Pace,
}

/// How often keys are fetched.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How long the keys are used before they are fetched again, so that a key which the
    /// issuer has withdrawn is not used for longer.
    pub refresh: Duration,
    /// The least time between two fetches, whatever tokens name and whatever fails.
    pub least: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(300),
            least: Duration::from_secs(10),
        }
    }
}

/// The keys of an issuer.
pub(crate) struct Jwks {
    fetcher: Fetcher,
    algorithms: Vec<KeyAlgorithm>,
    pace: Pace,
    state: watch::Sender<State>,
    /// The number of the fetch that a token waits for.
    wanted: watch::Sender<u64>,
}

#[derive(Clone, Default)]
struct State {
    /// The keys that were fetched last.
    keys: Option<Arc<KeySet>>,
    /// When the last fetch began.
    begun: Option<Instant>,
    is_running: bool,
    has_failed: bool,
    /// How many fetches have ended.
    ended: u64,
}

/// The keys that are not used, as far as they are logged.
#[derive(Default)]
struct Skipped {
    unused: Vec<UnusedKey>,
    left_out: usize,
}

impl State {
    fn keys_for(&self, kid: Option<&str>) -> Option<Arc<KeySet>> {
        let keys = self.keys.as_ref()?;
        keys.candidates(kid).next().map(|_| keys.clone())
    }

    /// Returns whether it is worth waiting for a fetch, which runs or may begin.
    fn may_change(&self, pace: Pace) -> bool {
        let is_rested = |begun: Instant| begun.elapsed() >= pace.least;
        self.is_running || self.begun.is_none_or(is_rested)
    }
}

impl Jwks {
    pub(crate) fn new(options: &JwksOptions) -> Result<Self, BoxError> {
        Ok(Self {
            fetcher: Fetcher::new(options.url.clone())?,
            algorithms: options.algorithms.clone(),
            pace: options.pace,
            state: watch::Sender::default(),
            wanted: watch::Sender::default(),
        })
    }

    /// Returns keys with at least one candidate for this `kid`. Waits only if there is none,
    /// and then for one fetch, which all tokens share.
    pub(crate) async fn keys_for(
        &self,
        kid: Option<&str>,
    ) -> Result<Arc<KeySet>, AuthenticationError> {
        let mut state = self.state.borrow().clone();
        if let Some(keys) = state.keys_for(kid) {
            return Ok(keys);
        }
        if state.may_change(self.pace) {
            let ended = state.ended;
            self.wanted
                .send_if_modified(|wanted| std::mem::replace(wanted, ended + 1) <= ended);
            let mut changes = self.state.subscribe();
            let fetch = changes.wait_for(|state| state.ended > ended);
            state = match timeout(WAIT_DEADLINE, fetch).await {
                Ok(Ok(state)) => state.clone(),
                _ => {
                    return Err(AuthenticationError::Unavailable(
                        "no key was fetched".into(),
                    ));
                }
            };
        }
        match state.keys_for(kid) {
            Some(keys) => Ok(keys),
            // The issuer may have published the key meanwhile.
            None if state.has_failed || state.keys.is_none() => Err(
                AuthenticationError::Unavailable("the JWKS cannot be fetched".into()),
            ),
            None => Err(AuthenticationError::Invalid(
                "the JWKS has no key with the token's kid".into(),
            )),
        }
    }

    /// Fetches the keys again and again. Runs until it is dropped.
    pub(crate) async fn keep_current(&self) {
        let mut skipped = Skipped::default();
        loop {
            self.state.send_modify(|state| {
                state.begun = Some(Instant::now());
                state.is_running = true;
            });
            let fetched = self.fetch().await;
            self.report(&fetched, &mut skipped);
            self.state.send_modify(|state| {
                state.is_running = false;
                state.ended += 1;
                state.has_failed = fetched.is_err();
                if let Ok(document) = fetched {
                    state.keys = Some(Arc::new(document.keys));
                }
            });
            sleep(self.pace.least).await;
            let (has_failed, ended) = {
                let state = self.state.borrow();
                (state.has_failed, state.ended)
            };
            if !has_failed {
                let rest = self.pace.refresh.saturating_sub(self.pace.least);
                let mut wanted = self.wanted.subscribe();
                timeout(rest, wanted.wait_for(|wanted| *wanted > ended))
                    .await
                    .ok();
            }
        }
    }

    /// Fetches the keys once.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn check(&self) -> Result<(), BoxError> {
        self.fetch().await.map(drop)
    }

    async fn fetch(&self) -> Result<KeyDocument, BoxError> {
        let json = self.fetcher.fetch().await?;
        Ok(KeyDocument::parse(&json, &self.algorithms)?)
    }

    /// Logs what has changed since the last fetch.
    fn report(&self, fetched: &Result<KeyDocument, BoxError>, last: &mut Skipped) {
        let state = self.state.borrow();
        let url = self.fetcher.url();
        match fetched {
            Err(error) if !state.has_failed => {
                let error = one_line(&**error);
                tracing::warn!(%url, error, "the JWKS cannot be fetched");
            }
            Err(_) => {}
            Ok(document) => {
                if state.keys.is_none() || state.has_failed {
                    tracing::info!(%url, keys = document.keys.len(), "the JWKS is fetched");
                }
                for key in &document.unused {
                    let UnusedKey { kid, why } = key;
                    if last.unused.contains(key) {
                        continue;
                    }
                    match key.is_expected() {
                        true => tracing::info!(kid, %why, "a key of the JWKS is skipped"),
                        false => tracing::warn!(kid, %why, "a key of the JWKS is skipped"),
                    }
                }
                let left_out = document.left_out;
                if left_out > 0 && left_out != last.left_out {
                    tracing::warn!(%url, left_out, "the JWKS has more keys than are used");
                }
                last.unused.clone_from(&document.unused);
                last.left_out = left_out;
            }
        }
    }
}
