"""Answers one question about what Cordon sealed, signed or derived, by PyPI `cryptography`.

The question is a JSON object on standard input, bytes are hex. The answer is a hex string, or
null for a refusal. Nothing here comes from Cordon but the formats that its documentation states.
"""

import base64
import hashlib
import json
import sys

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, hmac, hpke
from cryptography.hazmat.primitives.asymmetric import ed25519, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def framed(question):
    """Label, zero byte, and each part after its length in 8 bytes."""
    out = question["label"].encode() + b"\0"
    for part in map(bytes.fromhex, question["parts"]):
        out += len(part).to_bytes(8, "big") + part
    return out


def private_key(seed):
    """X-Wing: SHAKE-256 of the seed gives the ML-KEM-768 seed and the X25519 key."""
    expanded = hashlib.shake_256(seed).digest(96)
    return hpke.MLKEM768X25519PrivateKey(
        mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64]),
        x25519.X25519PrivateKey.from_private_bytes(expanded[64:]),
    )


def answer(question):
    def given(name):
        return bytes.fromhex(question[name])

    match question["ask"]:
        case "open box":
            info = hashlib.sha256(framed(question)).digest()
            return SUITE.decrypt(given("sealed"), private_key(given("seed")), info=info)
        case "seal box":
            info = hashlib.sha256(framed(question)).digest()
            public = private_key(given("seed")).public_key()
            return SUITE.encrypt(given("plaintext"), public, info=info)
        case "open message":
            sealed = given("sealed")
            return AESGCM(given("key")).decrypt(sealed[:12], sealed[12:], framed(question))
        case "seal message":
            sealed = AESGCM(given("key")).encrypt(given("nonce"), given("plaintext"), framed(question))
            return given("nonce") + sealed
        case "derive":
            return HKDF(hashes.SHA256(), 32, salt=None, info=framed(question)).derive(given("key"))
        case "mac":
            mac = hmac.HMAC(given("key"), hashes.SHA256())
            mac.update(framed(question))
            return mac.finalize()
        case "open envelope":
            envelope = json.loads(given("envelope"))
            body = base64.b64decode(envelope["payload"], validate=True)
            kind = envelope["payloadType"].encode()
            message = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body)
            key = ed25519.Ed25519PublicKey.from_public_bytes(given("key"))
            [signature] = envelope["signatures"]
            key.verify(base64.b64decode(signature["sig"], validate=True), message)
            return body
        case "open stream":
            return open_stream(given("key"), given("parts_joined"), given("sealed"))


def open_stream(key, context, sealed):
    """Header of 16 bytes, then chunks of 64 KiB with their tags."""
    header, rest = sealed[:16], sealed[16:]
    aad = hashlib.sha256(header + context).digest()
    size = 65536 + 16
    chunks = [rest[i : i + size] for i in range(0, len(rest), size)]
    out = b""
    for number, chunk in enumerate(chunks):
        last = number == len(chunks) - 1
        nonce = header[8:15] + number.to_bytes(4, "big") + bytes([last])
        out += AESGCM(key).decrypt(nonce, chunk, aad)
    return out


def main():
    question = json.load(sys.stdin)
    try:
        result = answer(question).hex()
    except (InvalidTag, InvalidSignature):
        result = None
    json.dump(result, sys.stdout)


main()
