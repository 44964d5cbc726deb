use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use p521::{
    ecdsa::{Signature, VerifyingKey, signature::Verifier as _},
    pkcs8::{ObjectIdentifier, SubjectPublicKeyInfoRef},
};
use rustls::{
    pki_types::{CertificateDer, SubjectPublicKeyInfoDer, pem::PemObject as _},
    server::ParsedCertificate,
};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// What a token may be signed with (RFC 7518, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Known(jsonwebtoken::Algorithm),
    /// `jsonwebtoken` has no P-521.
    Es512,
}

impl Algorithm {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "ES512" => Some(Self::Es512),
            // its name since RFC 9864
            "Ed25519" => Some(Self::Known(jsonwebtoken::Algorithm::EdDSA)),
            name => name.parse().ok().map(Self::Known),
        }
    }

    /// The one kind of key it is ever tried with.
    fn kind(self) -> Kind {
        use jsonwebtoken::Algorithm as Known;
        match self {
            Self::Known(Known::HS256 | Known::HS384 | Known::HS512) => Kind::Hmac,
            Self::Known(Known::ES256) => Kind::P256,
            Self::Known(Known::ES384) => Kind::P384,
            Self::Known(Known::EdDSA) => Kind::Ed25519,
            // what remains is RS and PS, and what a later version adds fails with a key of this kind
            Self::Known(_) => Kind::Rsa,
            Self::Es512 => Kind::P521,
        }
    }

    /// Whether its keys are public ones, as a JWKS has them.
    pub(crate) fn is_asymmetric(self) -> bool {
        self.kind() != Kind::Hmac
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Hmac,
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

/// A key to verify with.
#[derive(Clone)]
pub(crate) struct Key {
    kind: Kind,
    material: Material,
}

#[derive(Clone)]
enum Material {
    Known(DecodingKey),
    P521(Box<VerifyingKey>),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({:?})", self.kind)
    }
}

impl Key {
    /// None for an empty secret: everybody could sign with that.
    pub(crate) fn hmac(secret: &str) -> Option<Self> {
        let material = Material::Known(DecodingKey::from_secret(secret.as_bytes()));
        (!secret.is_empty()).then_some(Self { kind: Kind::Hmac, material })
    }

    /// From a PEM file's text: a public key (SPKI) or a certificate.
    pub(crate) fn from_pem(pem: &str) -> Result<Self, String> {
        let info = match SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()) {
            Ok(info) => info,
            Err(_) => match CertificateDer::from_pem_slice(pem.as_bytes()) {
                Ok(certificate) => ParsedCertificate::try_from(&certificate)
                    .map_err(|error| format!("certificate: {error}"))?
                    .subject_public_key_info(),
                Err(_) => return Err("neither a PUBLIC KEY nor a CERTIFICATE in PEM".to_owned()),
            },
        };
        let info = SubjectPublicKeyInfoRef::try_from(info.as_ref()).map_err(|error| error.to_string())?;
        let bytes = info.subject_public_key.as_bytes().ok_or("not a whole number of bytes")?;
        match (info.algorithm.oid, info.algorithm.parameters_oid().ok()) {
            (RSA, _) => Self::rsa(bytes),
            (EC, Some(P256)) => Self::point(Kind::P256, bytes),
            (EC, Some(P384)) => Self::point(Kind::P384, bytes),
            (EC, Some(P521)) => Self::point(Kind::P521, bytes),
            (ED25519, _) => Self::ed25519(bytes),
            (oid, curve) => Err(format!("keys of the kind {oid} {curve:?} are not supported")),
        }
    }

    /// From its parameters in a JWKS (RFC 7518, section 6; RFC 8037). Never a secret: what is public signs nothing.
    pub(crate) fn from_parameters(parameters: &Parameters) -> Result<Self, String> {
        let number = |value: &Option<String>| {
            let text = value.as_deref().ok_or("a parameter is missing")?;
            URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| "a parameter is not in base64url")
        };
        let kind = match (parameters.kty.as_str(), parameters.crv.as_deref()) {
            ("RSA", _) => {
                let (modulus, exponent) = (number(&parameters.n)?, number(&parameters.e)?);
                let key = DecodingKey::from_rsa_raw_components(&modulus, &exponent);
                return Ok(Self { kind: Kind::Rsa, material: Material::Known(key) });
            }
            ("OKP", Some("Ed25519")) => return Self::ed25519(&number(&parameters.x)?),
            ("EC", Some("P-256")) => Kind::P256,
            ("EC", Some("P-384")) => Kind::P384,
            ("EC", Some("P-521")) => Kind::P521,
            (kty, crv) => return Err(format!("keys of the kind {kty} {crv:?} are not supported")),
        };
        let mut point = vec![4];
        for coordinate in [number(&parameters.x)?, number(&parameters.y)?] {
            // some leave out leading zeros
            let zeros = kind.coordinate_bytes().checked_sub(coordinate.len()).ok_or("a coordinate is too long")?;
            point.extend(std::iter::repeat_n(0, zeros));
            point.extend(coordinate);
        }
        Self::point(kind, &point)
    }

    fn rsa(der: &[u8]) -> Result<Self, String> {
        // it would be read anew for each token, and found broken only then
        let read = jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key;
        read(der).map_err(|error| error.to_string())?;
        Ok(Self { kind: Kind::Rsa, material: Material::Known(DecodingKey::from_rsa_der(der)) })
    }

    fn ed25519(bytes: &[u8]) -> Result<Self, String> {
        let material = Material::Known(DecodingKey::from_ed_der(bytes));
        if bytes.len() == 32 { Ok(Self { kind: Kind::Ed25519, material }) } else { Err("not 32 bytes".to_owned()) }
    }

    fn point(kind: Kind, bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() != 1 + 2 * kind.coordinate_bytes() {
            return Err("not an uncompressed point of its curve".to_owned());
        }
        let material = if kind == Kind::P521 {
            Material::P521(Box::new(VerifyingKey::from_sec1_bytes(bytes).map_err(|_| "not a point of its curve")?))
        } else {
            Material::Known(DecodingKey::from_ec_der(bytes))
        };
        Ok(Self { kind, material })
    }

    /// Whether tokens of this algorithm are tried with it.
    pub(crate) fn suits(&self, algorithm: Algorithm) -> bool {
        self.kind == algorithm.kind()
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the signature (base64url) is of this message and this key. Never with a key of another kind.
    pub(crate) fn verifies(&self, algorithm: Algorithm, message: &str, signature: &str) -> bool {
        match (&self.material, algorithm) {
            _ if !self.suits(algorithm) => false,
            (Material::Known(key), Algorithm::Known(algorithm)) => {
                jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, algorithm).unwrap_or(false)
            }
            (Material::P521(key), Algorithm::Es512) => URL_SAFE_NO_PAD
                .decode(signature)
                .ok()
                .and_then(|signature| Signature::from_slice(&signature).ok())
                .is_some_and(|signature| key.verify(message.as_bytes(), &signature).is_ok()),
            _ => false,
        }
    }
}

impl Kind {
    fn coordinate_bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
            Self::Hmac | Self::Rsa | Self::Ed25519 => 0,
        }
    }
}

/// A key's own members in a JWKS.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Parameters {
    kty: String,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}
