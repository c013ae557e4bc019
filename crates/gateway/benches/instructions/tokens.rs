//! The verification of a token, once per connection.

use std::hint::black_box;
use std::time::Duration;

use chat_adapters::SystemClock;
use chat_adapters::jwt::{JwtAuthenticator, JwtOptions, KeySource, MintedClaims, Secret};
use chat_domain::ports::{Authenticator as _, Clock as _};
use futures_util::FutureExt as _;

use crate::piece::{Entry, Piece};
use crate::samples::user;

const OPERATIONS: usize = 100;

pub(crate) const PIECES: &[Entry] = &[Entry("token_to_identity", verify)];

fn verify() -> Piece {
    let authenticator = authenticator();
    let token = token();
    Piece::repeat(OPERATIONS, move || {
        let verified = authenticator.authenticate(black_box(&token)).now_or_never();
        assert!(matches!(verified, Some(Ok(_))));
    })
}

/// Returns an authenticator that accepts [`token`].
pub(crate) fn authenticator() -> JwtAuthenticator {
    JwtAuthenticator::new(&JwtOptions {
        keys: KeySource::Secrets {
            current: secret(),
            previous: None,
        },
        issuer: None,
        audience: None,
        leeway: Duration::from_secs(5),
    })
    .expect("no key is fetched")
}

/// Mints a token that is valid for an hour.
pub(crate) fn token() -> String {
    let claims = MintedClaims {
        ttl: Duration::from_secs(3600),
        issuer: None,
        audience: None,
    };
    let token = secret().mint(&user(), claims, SystemClock.now());
    token.expect("a token is signed")
}

fn secret() -> Secret {
    Secret::new(*b"thirty-two bytes of a weak secret").expect("a secret of 32 bytes")
}
