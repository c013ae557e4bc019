//! Signatures of requests to the product's backend, as the Standard Webhooks specification
//! defines them (<https://www.standardwebhooks.com>), so that its libraries verify them.
//!
//! A request carries `webhook-id`, `webhook-timestamp` (seconds since 1970) and
//! `webhook-signature`: the HMAC-SHA256 of `id.timestamp.body`, in base64, after `v1,`. During
//! a rotation there are two signatures, separated by a space.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chat_domain::{BoxError, Timestamp};
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::CONTENT_TYPE;

const PREFIX: &str = "whsec_";

/// A secret that signs requests: `whsec_` and 24 to 64 bytes in base64. Its `Debug` hides it.
#[derive(Clone)]
pub struct SigningSecret(hmac::Key);

/// Why a text is not a valid [`SigningSecret`]. Never repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSigningSecret {
    /// It does not have the form of one.
    #[error("must be whsec_ followed by base64")]
    Malformed,
    /// It is too short or too long.
    #[error("must have 24 to 64 bytes after base64 is decoded, not {0}")]
    Length(usize),
}

impl FromStr for SigningSecret {
    type Err = InvalidSigningSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSigningSecret> {
        let encoded = text.strip_prefix(PREFIX);
        let encoded = encoded.ok_or(InvalidSigningSecret::Malformed)?;
        let bytes = STANDARD.decode(encoded);
        let bytes = bytes.map_err(|_| InvalidSigningSecret::Malformed)?;
        match bytes.len() {
            24..=64 => Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes))),
            length => Err(InvalidSigningSecret::Length(length)),
        }
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

/// Signs requests, during a rotation with the previous secret as well.
#[derive(Debug, Clone)]
pub struct Signer {
    /// The secret that receivers verify with.
    pub current: SigningSecret,
    /// The secret of receivers that do not have the current one yet.
    pub previous: Option<SigningSecret>,
}

impl Signer {
    /// Returns a request with this `webhook-id`, signed at this time. The caller sets its
    /// target.
    pub(crate) fn request(
        &self,
        id: &str,
        at: Timestamp,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, BoxError> {
        let timestamp = at.unix_millis().div_euclid(1000);
        let signature = self.sign(id, timestamp, &body);
        Ok(Request::post("/")
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(Full::new(body))?)
    }

    /// Returns the value of `webhook-signature` for a request with this `webhook-id`, this
    /// `webhook-timestamp` in seconds since 1970, and this body.
    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let signatures = std::iter::once(&self.current).chain(&self.previous);
        let signatures = signatures.map(|SigningSecret(key)| {
            let mut context = hmac::Context::with_key(key);
            context.update(format!("{id}.{timestamp}.").as_bytes());
            context.update(body);
            format!("v1,{}", STANDARD.encode(context.sign()))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Result<SigningSecret, InvalidSigningSecret> {
        text.parse()
    }

    /// The example of the specification's own libraries.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let signer = |previous| Signer {
            current: secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap(),
            previous,
        };
        let sign = |signer: Signer| {
            let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
            signer.sign(id, 1_614_265_330, br#"{"test": 2432232314}"#)
        };
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(sign(signer(None)), expected);
        let previous = secret("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
        let both = sign(signer(Some(previous)));
        let (current, previous) = both.split_once(' ').unwrap();
        assert_eq!(current, expected);
        assert!(
            previous.starts_with("v1,") && previous != expected,
            "{both}"
        );
    }

    #[test]
    fn a_secret_has_its_prefix_and_a_length() {
        let of_bytes =
            |count: usize| secret(&format!("{PREFIX}{}", STANDARD.encode(vec![7; count])));
        for count in [24, 32, 64] {
            assert!(of_bytes(count).is_ok(), "{count}");
        }
        for count in [0, 23, 65] {
            assert_eq!(
                of_bytes(count).err(),
                Some(InvalidSigningSecret::Length(count))
            );
        }
        for text in [
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS",
            "whsec_hunter2!",
            "",
        ] {
            let invalid = secret(text).err();
            assert_eq!(invalid, Some(InvalidSigningSecret::Malformed), "{text}");
        }
        let debug = format!("{:?}", of_bytes(24).unwrap());
        assert_eq!(debug, "SigningSecret(…)");
    }
}
