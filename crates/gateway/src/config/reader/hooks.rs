//! The settings of calls to the product's backend: the access hook and webhooks.

use std::time::Duration;

use chat_adapters::access_hook::AccessHookOptions;
use chat_adapters::standard_webhooks::{Signer, SigningSecret};
use chat_adapters::{HookUrl, InvalidHookUrl};
use chat_domain::ports::{OutboxKind, OutboxKinds};

use super::Reader;
use crate::config::{Source, WebhookConfig};

const SECRET: &str = "WEBHOOK_SECRET";
const PREVIOUS: &str = "WEBHOOK_SECRET_PREVIOUS";
const EVENTS: &str = "WEBHOOK_EVENTS";
const NOTIFY_AFTER: &str = "NOTIFY_AFTER";
const GENERATE: &str = "generate one with echo whsec_$(openssl rand -base64 32)";

const MAX_NOTIFY_AFTER_SECONDS: u64 = 86_400;

impl Reader<'_> {
    /// Returns `Some(None)` if nothing signs calls.
    pub(in crate::config) fn signer(&mut self) -> Option<Option<Signer>> {
        let has_previous = self.settings.get(PREVIOUS).is_some();
        if self.settings.get(SECRET).is_none() {
            if has_previous && !self.is_unreadable(SECRET) {
                let text = "has no effect, because WEBHOOK_SECRET is not set: unset it";
                return self.problem(PREVIOUS, text);
            }
            return Some(None);
        }
        let current = self.signing_secret(SECRET);
        let previous = has_previous.then(|| self.signing_secret(PREVIOUS));
        Some(Some(Signer {
            current: current?,
            previous: match previous {
                Some(previous) => Some(previous?),
                None => None,
            },
        }))
    }

    fn signing_secret(&mut self, name: &'static str) -> Option<SigningSecret> {
        match self.settings.get(name)?.parse() {
            Ok(secret) => Some(secret),
            Err(invalid) => self.problem(name, format!("{invalid}: {GENERATE}")),
        }
    }

    /// Returns `Some(None)` if there is no access hook. `signer` is what signs its calls, unless
    /// that has a problem.
    pub(in crate::config) fn access_hook(
        &mut self,
        signer: Option<Option<Signer>>,
    ) -> Option<Option<AccessHookOptions>> {
        const NAME: &str = "ACCESS_URL";
        if self.settings.get(NAME).is_none() {
            return Some(None);
        }
        let (url, signer) = (self.hook_url(NAME), self.required_signer(NAME, signer));
        Some(Some(AccessHookOptions {
            url: url?,
            signer: signer?,
        }))
    }

    /// Returns `Some(None)` if there are no webhooks. `signer` is what signs them, unless that
    /// has a problem.
    pub(in crate::config) fn webhooks(
        &mut self,
        signer: Option<Option<Signer>>,
    ) -> Option<Option<WebhookConfig>> {
        const NAME: &str = "WEBHOOK_URL";
        if self.settings.get(NAME).is_none() {
            let mut others = [EVENTS, NOTIFY_AFTER].into_iter();
            return match others.find(|name| self.settings.source(name) != Source::Default) {
                Some(name) => {
                    let text = "has no effect, because WEBHOOK_URL is not set: unset it, or set \
                         WEBHOOK_URL";
                    self.problem(name, text)
                }
                None => Some(None),
            };
        }
        let (url, signer) = (self.hook_url(NAME), self.required_signer(NAME, signer));
        let kinds = self.webhook_kinds();
        let notify_after = self.notify_after();
        Some(Some(WebhookConfig {
            url: url?,
            signer: signer?,
            kinds: kinds?,
            notify_after: notify_after?,
        }))
    }

    fn notify_after(&mut self) -> Option<Duration> {
        const EXPECTED: &str = "a whole number of seconds from 1 to 86400";
        let seconds = self.parse(NOTIFY_AFTER, EXPECTED)?;
        match seconds {
            1..=MAX_NOTIFY_AFTER_SECONDS => Some(Duration::from_secs(seconds)),
            _ => self.problem(
                NOTIFY_AFTER,
                format!("must be {EXPECTED}, not \"{seconds}\""),
            ),
        }
    }

    fn hook_url(&mut self, name: &'static str) -> Option<HookUrl> {
        match self.settings.get(name)?.parse() {
            Ok(url) => Some(url),
            Err(error) => {
                let error: InvalidHookUrl = error;
                self.problem(name, error.to_string())
            }
        }
    }

    /// Returns what signs the calls of this setting.
    fn required_signer(
        &mut self,
        name: &'static str,
        signer: Option<Option<Signer>>,
    ) -> Option<Signer> {
        match signer {
            Some(None) if self.is_unreadable(SECRET) => None,
            Some(None) => {
                let text = format!("is not set, but signs the calls of {name}: {GENERATE}");
                self.problem(SECRET, text)
            }
            signer => signer.flatten(),
        }
    }

    fn webhook_kinds(&mut self) -> Option<OutboxKinds> {
        let Some(text) = self.settings.get(EVENTS) else {
            return Some(OutboxKinds::from_iter(OutboxKind::REPORTED));
        };
        let reported = |name: &str| {
            let mut kinds = OutboxKind::REPORTED.into_iter();
            kinds.find(|kind| kind.as_str() == name)
        };
        let kinds: Option<OutboxKinds> = text.split(',').map(str::trim).map(reported).collect();
        kinds.or_else(|| {
            let names = OutboxKind::REPORTED.map(OutboxKind::as_str).join(", ");
            let text = format!("must be a list of {names}, not \"{text}\"");
            self.problem(EVENTS, text)
        })
    }
}
