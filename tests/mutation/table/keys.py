"""Mutants of tags, keys, secrets and errors."""

from __future__ import annotations

from tests.mutation.mutant import Bug, mutant

MUTANTS = (
    # usage.py
    mutant(
        "join-without-lengths",
        Bug.BINDING,
        (
            "usage.py",
            'framed.append(_LENGTHS[size] if short else size.to_bytes(8, "little"))',
            "pass",
        ),
        "params",
        "two lists of parts that read alike end to end give one hash and one key",
    ),
    mutant(
        "join-with-wrapped-lengths",
        Bug.BINDING,
        (
            "usage.py",
            "_LENGTHS[size] if short else",
            "_LENGTHS[size % 256] if True else",
        ),
        "primitives params",
        "parts of 1 and of 257 bytes read alike",
    ),
    mutant(
        "digest-without-tag",
        Bug.BINDING,
        (
            "usage.py",
            "hashlib.sha256(join(tag, *parts))",
            'hashlib.sha256(join(b"", *parts))',
        ),
        "primitives",
        "a hash made for one purpose passes for one made for another",
    ),
    mutant(
        "tags-alike",
        Bug.BINDING,
        (
            "usage.py",
            '_PREFIX + b"share-box-data"',
            '_PREFIX + b"share-box-key"',
        ),
        "primitives",
        "one tag serves two purposes",
    ),
    mutant(
        "tags-without-version",
        Bug.BINDING,
        ("usage.py", 'b"blindsum/secagg/%d/" % VERSION', 'b"blindsum/secagg/"'),
        "primitives",
        "keys of two versions of the protocol are the same keys",
    ),
    mutant(
        "context-of-nothing",
        Bug.CHECK,
        ("usage.py", "if not parts:", "if False:"),
        "params",
        "a context that binds no model is given out as one that does",
    ),
    mutant(
        "context-drops-its-last-part",
        Bug.BINDING,
        (
            "usage.py",
            "return digest(TAG_CONTEXT, *parts)",
            "return digest(TAG_CONTEXT, *parts[:1])",
        ),
        "params",
        "updates of different configurations add up",
    ),
    mutant(
        "context-takes-text",
        Bug.CHECK,
        ("usage.py", "if not isinstance(part, bytes):", "if False:"),
        "params",
        "a caller's mistake is no typed error",
    ),
    # errors.py
    mutant(
        "kept-errors-keep-frames",
        Bug.KEPT,
        (
            "errors.py",
            "link.__traceback__ = link.__context__ = None",
            "link.__context__ = None",
        ),
        "fail_closed",
        "keys and shares stay alive in the frames of a stored error",
    ),
    mutant(
        "causes-keep-frames",
        Bug.KEPT,
        ("errors.py", "link = link.__cause__", "link = None"),
        "fail_closed",
        "keys stay alive in the frames of the cause of a stored error",
    ),
    # keys.py
    mutant(
        "secret-prints",
        Bug.KEPT,
        (
            "keys.py",
            'return f"<{len(self._value)} secret bytes>"',
            "return bytes(self._value).hex()",
        ),
        "primitives",
        "a secret in a log",
    ),
    mutant(
        "secret-formats",
        Bug.KEPT,
        (
            "keys.py",
            "return repr(self)",
            "return bytes(self._value).hex()",
        ),
        "primitives",
        "a secret in a message that is put together with an f-string",
    ),
    mutant(
        "secret-pickles",
        Bug.KEPT,
        (
            "keys.py",
            'raise LocalProtocolError("A Secret cannot be pickled or copied.")',
            "return Secret, (bytes(self._value),)  # type: ignore[return-value]",
        ),
        "primitives",
        "a secret on disk, or in a copy that is never wiped",
    ),
    mutant(
        "secret-hashes",
        Bug.KEPT,
        (
            "keys.py",
            "__hash__ = None  # type: ignore[assignment]",
            "__hash__ = object.__hash__",
        ),
        "primitives",
        "secrets become keys of dictionaries, and live as long",
    ),
    mutant(
        "secrets-compare-in-variable-time",
        Bug.KEPT,
        (
            "keys.py",
            "hmac.compare_digest(self._value, other._value)",
            "self._value == other._value",
        ),
        "primitives",
        "the time of a comparison tells how many bytes were right",
    ),
    mutant(
        "secrets-all-equal",
        Bug.CHECK,
        ("keys.py", "hmac.compare_digest(self._value, other._value)", "True"),
        "primitives",
        "a wrong secret passes for the right one",
    ),
    mutant(
        "secret-of-a-count",
        Bug.CHECK,
        ("keys.py", "if not isinstance(value, bytes) or not value:", "if not value:"),
        "fail_closed",
        "Secret(32) is 32 zero bytes, a key that everybody knows",
    ),
    mutant(
        "empty-secret",
        Bug.CHECK,
        (
            "keys.py",
            "if not isinstance(value, bytes) or not value:",
            "if not isinstance(value, bytes):",
        ),
        "fail_closed",
        "a key of no bytes",
    ),
    mutant(
        "wiped-secret-exposed",
        Bug.CHECK,
        (
            "keys.py",
            "if not self._value:\n            raise",
            "if False:\n            raise",
        ),
        "fail_closed",
        "a key of no bytes is used where a wiped one should have stopped the step",
    ),
    mutant(
        "wipe-does-not-overwrite",
        Bug.KEPT,
        ("keys.py", "self._value[:] = bytes(len(self._value))\n", "pass\n"),
        "primitives",
        "the bytes of a secret stay in memory that somebody still refers to",
    ),
    mutant(
        "wipe-leaves-zeros",
        Bug.KEPT,
        ("keys.py", "self._value.clear()", "pass"),
        "primitives fail_closed",
        "a wiped secret can be used again, as a key of zeros",
    ),
    mutant(
        "agreement-key-not-wiped",
        Bug.KEPT,
        ("keys.py", "        self._private = None\n", "        pass\n"),
        "fail_closed",
        "private keys live until the end of the round",
    ),
    mutant(
        "agreement-key-of-any-size",
        Bug.CHECK,
        (
            "keys.py",
            "if len(secret) != SECRET_BYTES:\n            raise ParameterError(\n"
            '                f"an X25519',
            'if False:\n            raise ParameterError(\n                f"an X25519',
        ),
        "primitives",
        "a short private key is no typed error",
    ),
    mutant(
        "agreement-key-ignores-rng",
        Bug.REUSE,
        (
            "keys.py",
            '"""Draw a fresh key pair from 32 bytes of ``rng``."""\n'
            "        return cls(Secret(draw(rng, SECRET_BYTES)))",
            '"""Draw a fresh key pair from 32 bytes of ``rng``."""\n'
            '        return cls(Secret(b"k" * SECRET_BYTES))',
        ),
        "client_server round",
        "every client of every round has one key pair",
    ),
    mutant(
        "low-order-points-accepted",
        Bug.CHECK,
        (
            "keys.py",
            'raise AuthenticationError(\n                "A public key is malformed or '
            'of low order."\n            ) from error',
            "return Secret(bytes(32))",
        ),
        "known_answers",
        "a server hands out keys under which every mask is known to it",
    ),
    mutant(
        "signature-not-checked",
        Bug.CHECK,
        (
            "keys.py",
            'raise AuthenticationError("A signature does not verify.") from error',
            "return",
        ),
        "known_answers",
        "anybody's keys pass for a client's",
    ),
    mutant(
        "peer-key-not-tried",
        Bug.CHECK,
        (
            "keys.py",
            "if number % FIELD_PRIME not in _LOW_ORDER:",
            "if True:",
        ),
        "client_server",
        "a client with a low-order key ends the round for everybody else",
    ),
    mutant(
        "low-order-sought-among-unreduced",
        Bug.CHECK,
        ("keys.py", "if number % FIELD_PRIME not in", "if number not in"),
        "known_answers::test_x25519_refuses_low_order_and_malformed_points",
        "a second encoding of a low-order key passes",
    ),
    mutant(
        "point-may-be-unreduced",
        Bug.CHECK,
        (
            "keys.py",
            'if int.from_bytes(public, "little") >= FIELD_PRIME:',
            "if False:",
        ),
        "fail_closed",
        "one key has several encodings, so a copied key passes for another",
    ),
    mutant(
        "point-may-equal-the-prime",
        Bug.OFF_BY_ONE,
        (
            "keys.py",
            'if int.from_bytes(public, "little") >= FIELD_PRIME:',
            'if int.from_bytes(public, "little") > FIELD_PRIME:',
        ),
        "fail_closed",
        "zero has a second encoding",
    ),
    mutant(
        "point-of-any-size",
        Bug.CHECK,
        ("keys.py", "if len(public) != PUBLIC_BYTES:", "if False:"),
        "messages fail_closed",
        "a key of the wrong size is packed into a message",
    ),
    mutant(
        "hkdf-without-info",
        Bug.BINDING,
        ("keys.py", "salt=None, info=info", 'salt=None, info=b""'),
        "primitives",
        "all keys derived from one secret are one key",
    ),
    mutant(
        "box-without-associated-data",
        Bug.BINDING,
        (
            (
                "keys.py",
                ".encrypt(_NONCE, plaintext, associated)",
                ".encrypt(_NONCE, plaintext, None)",
            ),
            (
                "keys.py",
                ".decrypt(_NONCE, ciphertext, associated)",
                ".decrypt(_NONCE, ciphertext, None)",
            ),
        ),
        "primitives",
        "the hashes beside a box can be exchanged",
    ),
    mutant(
        "gcm-tag-not-checked",
        Bug.CHECK,
        (
            "keys.py",
            'raise AuthenticationError("A sealed message does not open.") from error',
            "return ciphertext[:-TAG_BYTES]",
        ),
        "primitives",
        "a changed box opens",
    ),
    mutant(
        "identity-prints-its-key",
        Bug.KEPT,
        (
            "keys.py",
            'return f"IdentityKey(public={self.public.hex()})"',
            'return f"IdentityKey({self._private.private_bytes_raw().hex()})"',
        ),
        "primitives",
        "a long-lived signing key in a log",
    ),
    mutant(
        "identity-of-any-size",
        Bug.CHECK,
        (
            "keys.py",
            "if len(secret) != SECRET_BYTES:\n            raise ParameterError(\n"
            '                f"an Ed25519',
            "if False:\n            raise ParameterError(\n"
            '                f"an Ed25519',
        ),
        "primitives",
        "a short seed is no typed error",
    ),
    # policy.py
    mutant(
        "policy-without-floor-for-clients",
        Bug.CHECK,
        (
            "policy.py",
            '            ("clients", plan.clients, "min_clients", self.min_clients),\n',
            "",
        ),
        "params",
        "a server invites a cohort of three",
    ),
    mutant(
        "policy-without-floor-for-threshold",
        Bug.CHECK,
        (
            "policy.py",
            '            ("threshold", plan.threshold, "min_threshold", '
            "self.min_threshold),\n",
            "",
        ),
        "params",
        "a server lowers the threshold and asks for a sum over few",
    ),
    mutant(
        "policy-without-floor-for-honest-inputs",
        Bug.CHECK,
        (
            "policy.py",
            '            ("honest_min", plan.honest_min, "min_honest", '
            "self.min_honest),\n",
            "",
        ),
        "params",
        "a sum hides one honest input among colluders'",
    ),
    mutant(
        "policy-without-floor-for-sigma",
        Bug.CHECK,
        ("policy.py", "if plan.sigma is not None:", "if False:"),
        "params",
        "a server proposes a graph that often fails",
    ),
    mutant(
        "policy-floor-off-by-one",
        Bug.OFF_BY_ONE,
        ("policy.py", "if value < floor:", "if value < floor - 1:"),
        "params",
        "one below the floor passes",
    ),
    mutant(
        "policy-without-limit-for-the-norm",
        Bug.CHECK,
        (
            "policy.py",
            "if encoder.clip_norm_l2 > self.max_clip_norm_l2:",
            "if False:",
        ),
        "params",
        "a server lets one client drown the others",
    ),
    mutant(
        "policy-without-limit-for-weights",
        Bug.CHECK,
        ("policy.py", "if encoder.weight_max > self.max_weight:", "if False:"),
        "params",
        "a server lets one client outweigh the others",
    ),
    mutant(
        "policy-floor-of-one",
        Bug.OFF_BY_ONE,
        (
            "policy.py",
            "if type(floor) is not int or floor < MIN_HONEST:",
            "if type(floor) is not int or floor < MIN_HONEST - 1:",
        ),
        "params",
        "a sum over one client is its input",
    ),
    mutant(
        "policy-floor-of-nan",
        Bug.CHECK,
        (
            "policy.py",
            "if type(floor) is not int or floor < MIN_HONEST:",
            "if floor < MIN_HONEST:",
        ),
        "fail_closed",
        "a NaN floor lets every plan pass",
    ),
    mutant(
        "policy-sigma-of-anything",
        Bug.CHECK,
        (
            "policy.py",
            'check_range("min_sigma", self.min_sigma, 1, MAX_EXPONENT)',
            "pass",
        ),
        "params",
        "a floor of zero bits",
    ),
    mutant(
        "policy-norm-of-nan",
        Bug.CHECK,
        (
            "policy.py",
            "if not self.max_clip_norm_l2 > 0:",
            "if self.max_clip_norm_l2 <= 0:",
        ),
        "fail_closed",
        "a NaN limit limits nothing",
    ),
    mutant(
        "policy-weight-of-nan",
        Bug.CHECK,
        (
            "policy.py",
            "if type(self.max_weight) is not int or self.max_weight < 1:",
            "if self.max_weight < 1:",
        ),
        "fail_closed",
        "a NaN limit limits nothing",
    ),
    mutant(
        "policy-keeps-the-callers-roster",
        Bug.CHECK,
        ("policy.py", "return MappingProxyType(dict(identities))", "return identities"),
        "params fail_closed",
        "whoever holds the dictionary changes whom a client trusts",
    ),
    mutant(
        "roster-key-of-any-size",
        Bug.CHECK,
        (
            "policy.py",
            "if not isinstance(public, bytes) or len(public) != PUBLIC_BYTES:",
            "if not isinstance(public, bytes):",
        ),
        "fail_closed",
        "a malformed roster is found out in the middle of a round",
    ),
    mutant(
        "one-identity-under-two-names",
        Bug.CHECK,
        (
            "policy.py",
            "if len(set(identities.values())) != len(identities):",
            "if False:",
        ),
        "fail_closed",
        "one party counts as two clients",
    ),
)
