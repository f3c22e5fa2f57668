"""Which algorithms of JSON Web Tokens go with a public key: those of its family, and of its curve."""

from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

SYMMETRIC: Final = ("HS256", "HS384", "HS512")
MIN_RSA_BITS: Final = 2048
_OF_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_OF_CURVE: Final = {"secp256r1": ("ES256",), "secp384r1": ("ES384",), "secp521r1": ("ES512",)}


def algorithms_of(pem: str) -> tuple[str, ...]:
    """Return the algorithms for a public key; the first is the usual one.

    Raises:
        ValueError: It is not a public key in PEM, or one for which there is none.
    """
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("not a public key in PEM") from None
    if isinstance(key, RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise ValueError(f"an RSA key needs {MIN_RSA_BITS} bits (RFC 7518, section 3.3)")
        return _OF_RSA
    found = _OF_CURVE.get(key.curve.name, ()) if isinstance(key, EllipticCurvePublicKey) else ()
    if isinstance(key, Ed25519PublicKey):
        found = ("EdDSA",)
    if not found:
        raise ValueError("the key is neither of RSA, nor of P-256, P-384 or P-521, nor of Ed25519")
    return found
