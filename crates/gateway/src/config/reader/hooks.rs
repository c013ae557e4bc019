//! The settings of what the gateway asks the product's backend.

use chat_adapters::HookUrl;
use chat_adapters::access_hook::AccessHookOptions;
use chat_adapters::standard_webhooks::{Signer, SigningSecret};

use super::Reader;

const SECRET: &str = "WEBHOOK_SECRET";
const PREVIOUS: &str = "WEBHOOK_SECRET_PREVIOUS";
const GENERATE: &str = "generate one with echo whsec_$(openssl rand -base64 32)";

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
        let Some(text) = self.settings.get(NAME) else {
            return Some(None);
        };
        let url = match text.parse::<HookUrl>() {
            Ok(url) => Some(url),
            Err(error) => self.problem(NAME, error.to_string()),
        };
        let signer = match signer {
            Some(None) if self.is_unreadable(SECRET) => None,
            Some(None) => {
                let text = format!("is not set, but signs the calls of {NAME}: {GENERATE}");
                self.problem(SECRET, text)
            }
            signer => signer.flatten(),
        };
        Some(Some(AccessHookOptions {
            url: url?,
            signer: signer?,
        }))
    }
}
