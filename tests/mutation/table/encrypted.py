"""Mutants of the encrypted sum, as far as its protocol decides about privacy."""

from __future__ import annotations

from tests.mutation.mutant import Bug, mutant

_INPUTS, _PARTIES, _SUMMER = "he/inputs.py", "he/parties.py", "he/summer.py"
_CHANNEL, _SCALING, _COMPACT = "he/channel.py", "he/scaling.py", "he/compact.py"
_MODULI, _SEAL, _ENCRYPTORS = "moduli.py", "he/seal.py", "he/encryptors.py"

MUTANTS = (
    # ciphertext.py
    mutant(
        "coefficients-may-be-unreduced",
        Bug.CHECK,
        (
            "ciphertext.py",
            "if (residues >= np.array(self.moduli.primes, dtype=np.uint64)"
            "[:, None]).any():",
            "if False:",
        ),
        "he/ciphertext he/summer",
        "a ciphertext has many encodings, and sums of it overflow",
    ),
    mutant(
        "noise-margin-used-up",
        Bug.CHANCE,
        (
            _MODULI,
            "// ((4 << ring_bits) * self.fresh_noise)",
            "// ((1 << ring_bits) * self.fresh_noise)",
        ),
        "he/ciphertext",
        "sums that decrypt wrongly, which is what attacks start from",
    ),
    mutant(
        "more-clients-than-noise-allows",
        Bug.CHECK,
        (
            _MODULI,
            "fitting = (one for one in table if clients <= "
            "one.most_clients(ring_bits))",
            "fitting = iter(table)",
        ),
        "he/ciphertext",
        "sums that decrypt wrongly, which is what attacks start from",
    ),
    mutant(
        "ciphertexts-of-any-size",
        Bug.CHECK,
        (
            "ciphertext.py",
            "if len(self.packed) != size:",
            "if False:",
        ),
        "he/ciphertext he/summer",
        "coefficients of another frame are unpacked",
    ),
    mutant(
        "frame-without-scheme",
        Bug.BINDING,
        (
            "ciphertext.py",
            "self.clients, self.length, self.scheme\n",
            "self.clients, self.length, Scheme.PUBLIC\n",
        ),
        "he/ciphertext",
        "seeds are read as coefficients",
    ),
    # moduli.py
    mutant(
        "noise-of-a-secret-key-for-a-public-one",
        Bug.CHANCE,
        (
            _MODULI,
            "if self.scheme is Scheme.COMPACT or self.special is None:",
            "if True:",
        ),
        "he/ciphertext",
        "sums that decrypt wrongly, which is what attacks start from",
    ),
    mutant(
        "noise-without-rounding",
        Bug.CHANCE,
        (_MODULI, "return rounded + self.degree // 2 + 1", "return rounded + 1"),
        "he/ciphertext",
        "sums that decrypt wrongly, which is what attacks start from",
    ),
    mutant(
        "modulus-beyond-the-standard",
        Bug.CHECK,
        (
            _MODULI,
            "(2048, (0xFFFFFF7001,), 0x3001)",
            "(2048, (0xFFFFFF7001,), 0x1FFFFFFFCE001)",
        ),
        "he/ciphertext",
        "fewer than 128 bits",
    ),
    # he/scaling.py
    mutant(
        "message-rounded-down",
        Bug.BIAS,
        (
            _SCALING,
            "        small += np.uint64((1 << ring_bits) >> 1)\n",
            "",
        ),
        "he/parties",
        "more noise than the bound says",
    ),
    mutant(
        "message-of-the-first-prime-only",
        Bug.SIGN,
        (
            _SCALING,
            "carried = _times(words, step % prime, prime)",
            "carried = _times(words, step % moduli.primes[0], prime)",
        ),
        "he/parties",
        "the sum is not that of the messages",
    ),
    # he/channel.py
    mutant(
        "upload-tag-unchecked",
        Bug.CHECK,
        (
            _CHANNEL,
            "if not hmac.compare_digest(expected, data[-TAG_BYTES:]):",
            "if False:",
        ),
        "he/summer",
        "whoever carries an upload adds to it",
    ),
    mutant(
        "total-tag-unchecked",
        Bug.CHECK,
        (_CHANNEL, "if not found:", "if False:"),
        "he/summer he/encrypted_sum",
        "whoever carries a sum adds to it",
    ),
    mutant(
        "tag-of-nothing",
        Bug.BINDING,
        (
            _CHANNEL,
            "covered = usage.join(usage.TAG_ENCRYPTED, digest)",
            "covered = usage.join(usage.TAG_ENCRYPTED)",
        ),
        "he/summer",
        "one tag fits every message",
    ),
    mutant(
        "tag-without-the-ciphertexts",
        Bug.BINDING,
        (_CHANNEL, "    hashed.update(message.packed)\n", ""),
        "he/summer he/encrypted_sum",
        "one tag fits every sum",
    ),
    mutant(
        "channel-without-a-name",
        Bug.BINDING,
        (
            _CHANNEL,
            "usage.join(usage.TAG_CHANNEL, client.encode())",
            "usage.join(usage.TAG_CHANNEL)",
        ),
        "he/summer",
        "clients who were given one secret send for each other",
    ),
    mutant(
        "channel-prints",
        Bug.KEPT,
        (
            _CHANNEL,
            'return "<Channel of a secret key>"',
            'return f"<Channel {self._key.expose()!r}>"',
        ),
        "he/summer",
        "a channel's key in a log",
    ),
    # he/compact.py, he/seal.py
    mutant(
        "compact-total-of-the-first-upload",
        Bug.SIGN,
        (
            _COMPACT,
            "    for one in summands[1:]:\n        evaluator.add_inplace(total, one)\n",
            "",
        ),
        "he/compact",
        "the sum is not that of the uploads",
    ),
    mutant(
        "compact-platform-unchecked",
        Bug.CHECK,
        (_SEAL, "    if not reads_saved():\n", "    if False:\n"),
        "he/compact",
        "seeds are read from a format that nobody knows",
    ),
    mutant(
        "compact-server-takes-any-frame",
        Bug.CHECK,
        (_SUMMER, "if frame.scheme is not self.SCHEME:", "if False:"),
        "he/compact he/summer",
        "seeds are read as coefficients",
    ),
    mutant(
        "compact-server-forgets-seeds",
        Bug.SIGN,
        (
            _COMPACT,
            "self._seeds.append(message.seeds())",
            "self._seeds = [message.seeds()]",
        ),
        "he/compact",
        "the sum is not that of the uploads",
    ),
    mutant(
        "ciphertexts-of-any-count",
        Bug.CHECK,
        ("ciphertext.py", "if not 1 <= self.count <= most:", "if False:"),
        "he/ciphertext",
        "one upload passes for the sum of many",
    ),
    mutant(
        "ciphertexts-of-any-tag",
        Bug.SWAP,
        (
            "ciphertext.py",
            "if tag != cls.TAG:",
            "if tag not in (11, 12):",
        ),
        "he/ciphertext",
        "an upload passes for a sum",
    ),
    # he/summer.py
    mutant(
        "encrypted-round-without-session",
        Bug.BINDING,
        (
            _SUMMER,
            'b"encrypted", session, frame.encode())',
            'b"encrypted", frame.encode())',
        ),
        "he/summer",
        "uploads of an earlier round are added again",
    ),
    mutant(
        "encrypted-round-without-frame",
        Bug.BINDING,
        (
            (
                _SUMMER,
                'b"encrypted", session, frame.encode())',
                'b"encrypted", session)',
            ),
            (
                _SUMMER,
                "(message.round_id, message.frame) != (self._round_id, self._frame):",
                "(message.round_id,) != (self._round_id,):",
            ),
        ),
        "he/summer",
        "vectors of another encoder are added",
    ),
    mutant(
        "summer-takes-other-rounds",
        Bug.CHECK,
        (
            _SUMMER,
            "if (message.round_id, message.frame) != (self._round_id, self._frame):",
            "if message.frame != self._frame:",
        ),
        "he/summer",
        "uploads of an earlier round are added again",
    ),
    mutant(
        "summer-takes-other-contexts",
        Bug.CHECK,
        (_SUMMER, "if message.context != self._context:", "if False:"),
        "he/summer he/encrypted_sum",
        "updates of different models add up",
    ),
    mutant(
        "summer-takes-two-uploads",
        Bug.CHECK,
        (_SUMMER, "if peer in self._added:", "if False:"),
        "he/summer",
        "one client counts twice",
    ),
    mutant(
        "summer-takes-too-many",
        Bug.CHECK,
        (_SUMMER, "if len(self._added) == self._frame.clients:", "if False:"),
        "he/summer",
        "the sum overflows its ring",
    ),
    mutant(
        "summer-does-not-reduce",
        Bug.SIGN,
        (
            _SUMMER,
            "np.remainder(self._total, self._primes, out=self._total)",
            "pass",
        ),
        "he/summer",
        "the sum is no ciphertext any more",
    ),
    mutant(
        "summer-reduces-too-late",
        Bug.OFF_BY_ONE,
        (_SUMMER, "if self._unreduced == self._room:", "if False:"),
        "he/summer",
        "sums overflow their words",
    ),
    mutant(
        "summer-takes-strangers",
        Bug.CHECK,
        (
            _SUMMER,
            "self._channels[peer].check_upload(data)",
            "pass",
        ),
        "he/summer",
        "one client sends for another",
    ),
    mutant(
        "summer-names-nobody",
        Bug.BLAME,
        (
            _SUMMER,
            "error.peer, error.step = peer, Step.MASKED_INPUT",
            "error.step = Step.MASKED_INPUT",
        ),
        "he/summer",
        "the error does not say whose upload was refused",
    ),
    mutant(
        "summer-adds-before-it-checks",
        Bug.ORDER,
        (
            _SUMMER,
            "        message = EncryptedInput.decode(data)\n",
            "        message = EncryptedInput.decode(data)\n"
            "        self._total += np.uint64(1)\n",
        ),
        "he/summer",
        "a refused upload changes the sum",
    ),
    # he/parties.py
    mutant(
        "seeded-ciphertexts-share-randomness",
        Bug.REUSE,
        (
            _ENCRYPTORS,
            "self._seeds = [draw(rng, SEED_BYTES) for _ in range(frame.ciphertexts)]",
            "self._seeds = [draw(rng, SEED_BYTES)] * frame.ciphertexts",
        ),
        "he/parties",
        "the difference of two ciphertexts is that of the plaintexts in clear",
    ),
    mutant(
        "seeded-encryptor-serves-twice",
        Bug.REUSE,
        (
            _ENCRYPTORS,
            "self._seeds.pop(0)",
            "self._seeds[0]",
        ),
        "he/parties",
        "the difference of two uploads is that of the inputs in clear",
    ),
    mutant(
        "keys-from-one-stream",
        Bug.REUSE,
        (
            _PARTIES,
            "            second = seal.seeded_context(moduli, bits, draw(rng, "
            "SEED_BYTES))\n",
            "            second = first\n",
        ),
        "he/parties",
        "the public key is drawn from the stream of the secret key",
    ),
    mutant(
        "key-holder-prints",
        Bug.KEPT,
        (
            _PARTIES,
            'return "<KeyHolder of a secret key>"',
            'return f"<KeyHolder {self._secret!r}>"',
        ),
        "he/parties",
        "the one key of all clients in a log",
    ),
    mutant(
        "key-holder-pickles",
        Bug.KEPT,
        (
            _PARTIES,
            'raise LocalProtocolError("A KeyHolder cannot be pickled or copied.")',
            "return object.__reduce_ex__(self, 2)  # type: ignore[return-value]",
        ),
        "he/parties",
        "the one key of all clients on disk",
    ),
    mutant(
        "key-of-another-ring",
        Bug.CHECK,
        (
            _PARTIES,
            "if (frame.moduli, frame.where.ring.bits) != (self._moduli, self._bits):",
            "if False:",
        ),
        "he/parties",
        "words are read modulo another ring",
    ),
    # he/inputs.py
    mutant(
        "encrypted-checksums-unbound",
        Bug.BINDING,
        (
            (
                _INPUTS,
                "encode.seal(where, words, self.round_id, self.context)",
                "encode.seal(where, words, bytes(32), bytes(32))",
            ),
            (
                _INPUTS,
                "        message.round_id,\n        message.context,\n",
                "        bytes(32),\n        bytes(32),\n",
            ),
        ),
        "he/encrypted_sum",
        "ciphertexts of another round or context pass for a sum of this one",
    ),
    mutant(
        "encrypted-total-of-any-round",
        Bug.CHECK,
        (
            _INPUTS,
            'raise DecodeError("encrypted sum is of another round or context.")',
            "pass",
        ),
        "he/encrypted_sum",
        "the sum of an earlier round is taken for this one's",
    ),
    mutant(
        "encrypted-context-of-any-size",
        Bug.CHECK,
        (_INPUTS, "or len(self.context) != usage.DIGEST_BYTES", "or False"),
        "he/encrypted_sum",
        "a context that is no digest",
    ),
    mutant(
        "encrypted-session-may-be-empty",
        Bug.CHECK,
        (
            _INPUTS,
            "if not isinstance(self.session, bytes) or not self.session:",
            "if not isinstance(self.session, bytes):",
        ),
        "he/encrypted_sum",
        "rounds without a name are all the same round",
    ),
    mutant(
        "seeded-clients-share-randomness",
        Bug.REUSE,
        (
            _INPUTS,
            "self.context.hex(), name)",
            "self.context.hex())",
        ),
        "he/encrypted_sum",
        "the difference of two clients' uploads is that of their inputs in clear",
    ),
    mutant(
        "seeded-rounds-share-randomness",
        Bug.REUSE,
        (
            _INPUTS,
            'names = ("encrypted sum", self.round_id.hex(), ',
            'names = ("encrypted sum", ',
        ),
        "he/encrypted_sum",
        "the difference of two rounds' uploads is that of the inputs in clear",
    ),
    mutant(
        "encrypted-offer-unchecked",
        Bug.CHECK,
        (
            _INPUTS,
            "check_weight(frame.encoder, weight),",
            "weight,",
        ),
        "he/encrypted_sum",
        "a weight beyond the ring's bounds",
    ),
    # he/encrypted.py
    mutant(
        "keys-of-another-seed",
        Bug.REUSE,
        (
            "he/encrypted.py",
            "if self._latest is None or self._latest[0] != seed:",
            "if self._latest is None:",
        ),
        "he/encrypted_sum",
        "rounds of two seeds share their keys",
    ),
    mutant(
        "aggregator-pickles-its-keys",
        Bug.KEPT,
        (
            "he/encrypted.py",
            "return type(self), (self.encoder, self.clients)",
            "return object.__reduce_ex__(self, 2)  # type: ignore[return-value]",
        ),
        "he/encrypted_sum",
        "the one key of all clients on disk",
    ),
    mutant(
        "more-clients-than-agreed",
        Bug.CHECK,
        ("he/encrypted.py", "if len(vectors) > self.clients:", "if False:"),
        "he/encrypted_sum",
        "the sum overflows its ring",
    ),
)
