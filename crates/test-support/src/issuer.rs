//! The keys of an issuer of JSON Web Tokens, which sign anything, and tokens that no library
//! would write.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair, RsaPublicKeyComponents,
};
use aws_lc_rs::{hmac, rsa};
use serde_json::{Value, json};

/// A key that signs tokens.
pub struct SigningKey(Kind);

enum Kind {
    Secret(Vec<u8>),
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// An HS256 secret.
    pub fn secret(secret: &[u8]) -> Self {
        Self(Kind::Secret(secret.to_vec()))
    }

    /// Generates an RSA key of 2048 bits.
    ///
    /// # Panics
    /// The library fails, as do all functions here.
    pub fn rsa() -> Self {
        let key = RsaKeyPair::generate(rsa::KeySize::Rsa2048);
        Self(Kind::Rsa(Box::new(key.expect("an RSA key is generated"))))
    }

    /// Generates a P-256 key.
    pub fn p256() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        Self(Kind::P256(key.expect("a P-256 key is generated")))
    }

    /// Generates an Ed25519 key.
    pub fn ed25519() -> Self {
        let key = Ed25519KeyPair::generate();
        Self(Kind::Ed25519(key.expect("an Ed25519 key is generated")))
    }

    /// Returns the `alg` of its tokens.
    pub fn algorithm(&self) -> &'static str {
        match &self.0 {
            Kind::Secret(_) => "HS256",
            Kind::Rsa(_) => "RS256",
            Kind::P256(_) => "ES256",
            Kind::Ed25519(_) => "EdDSA",
        }
    }

    /// Returns the public key as a JWK with its type and value alone.
    pub fn jwk(&self) -> Value {
        match &self.0 {
            Kind::Secret(secret) => json!({"kty": "oct", "k": base64url(secret)}),
            Kind::Rsa(key) => {
                let RsaPublicKeyComponents { n, e } = key.public_key().into();
                let (n, e): (Vec<u8>, Vec<u8>) = (n, e);
                json!({"kty": "RSA", "n": base64url(&n), "e": base64url(&e)})
            }
            Kind::P256(key) => {
                let point = key.public_key().as_ref();
                let (x, y) = (base64url(&point[1..33]), base64url(&point[33..]));
                json!({"kty": "EC", "crv": "P-256", "x": x, "y": y})
            }
            Kind::Ed25519(key) => {
                let x = base64url(key.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "x": x})
            }
        }
    }

    /// Returns the public key as a PEM block `PUBLIC KEY`.
    pub fn public_pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = match &self.0 {
            Kind::Secret(_) => panic!("a secret has no public key"),
            Kind::Rsa(key) => key.public_key().as_der(),
            Kind::P256(key) => key.public_key().as_der(),
            Kind::Ed25519(key) => key.public_key().as_der(),
        }
        .expect("a public key is encoded");
        public_key_pem(der.as_ref())
    }

    /// Signs a token with this header and these claims, in the usual form.
    pub fn sign(&self, kid: Option<&str>, claims: &Value) -> String {
        let mut header = json!({"alg": self.algorithm(), "typ": "JWT"});
        if let Some(kid) = kid {
            header["kid"] = json!(kid);
        }
        self.sign_raw(&header.to_string(), &claims.to_string())
    }

    /// Signs a token with this header and these claims, whatever they are.
    pub fn sign_raw(&self, header: &str, claims: &str) -> String {
        let parts = [header, claims].map(|part| base64url(part.as_bytes()));
        let signed = parts.join(".");
        let signature = base64url(&self.signature(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.0 {
            Kind::Secret(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, message).as_ref().to_vec()
            }
            Kind::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .expect("an RSA key signs");
                signature
            }
            Kind::P256(key) => {
                let signature = key.sign(&random, message);
                signature.expect("a P-256 key signs").as_ref().to_vec()
            }
            Kind::Ed25519(key) => key.sign(message).as_ref().to_vec(),
        }
    }
}

/// Returns a PEM block `PUBLIC KEY`.
pub fn public_key_pem(der: &[u8]) -> String {
    let base64 = base64url(der).replace('-', "+").replace('_', "/");
    let padding = "=".repeat((4 - base64.len() % 4) % 4);
    format!("-----BEGIN PUBLIC KEY-----\n{base64}{padding}\n-----END PUBLIC KEY-----\n")
}

/// Encodes an RSA public key, however weak, as X.509 `SubjectPublicKeyInfo`.
pub fn rsa_public_key_der(n: &[u8], e: &[u8]) -> Vec<u8> {
    let number = |bytes: &[u8]| {
        // A leading zero keeps the number positive.
        let zero: &[u8] = if bytes[0] >= 0x80 { &[0] } else { &[] };
        der(0x02, &[zero, bytes])
    };
    let key = der(0x30, &[&number(n), &number(e)]);
    // The object identifier 1.2.840.113549.1.1.1 and NULL.
    let algorithm = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    der(0x30, &[algorithm, &der(0x03, &[&[0], &key])])
}

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len().to_be_bytes();
    // DER demands the shortest form of a length.
    let head = match content.len() {
        ..0x80 => vec![tag, length[7]],
        0x80..0x100 => vec![tag, 0x81, length[7]],
        _ => vec![tag, 0x82, length[6], length[7]],
    };
    [head, content].concat()
}

/// Encodes in base64url without padding.
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut bits = [0; 4];
        bits[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(bits);
        for digit in 0..=chunk.len() {
            let index = (bits >> (18 - 6 * digit)) & 63;
            text.push(char::from(DIGITS[index as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64url;

    #[test]
    fn bytes_are_encoded_without_padding() {
        // RFC 4648, section 10, and the two digits in which base64url differs.
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg"),
            (b"fo", "Zm8"),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg"),
            (&[0xfb, 0xff], "-_8"),
        ] {
            assert_eq!(base64url(bytes), text);
        }
    }
}
