"""Mutants of shares and boxes, of the messages that carry them, and of recovery."""

from __future__ import annotations

from tests.mutation.mutant import Bug, mutant

_OWN = 'raise DecodeError("nobody holds a share of its own secrets.")'

MUTANTS = (
    # shamir.py
    mutant(
        "polynomial-of-lower-degree",
        Bug.OFF_BY_ONE,
        (
            "shamir.py",
            "    return _shares(points, polynomials, len(secrets))",
            "    return _shares(points, polynomials[:-1], len(secrets))",
        ),
        "shamir",
        "one share fewer opens a secret",
    ),
    mutant(
        "polynomial-coefficients-alike",
        Bug.REUSE,
        (
            "shamir.py",
            "    return _shares(points, polynomials, len(secrets))",
            "    polynomials[1:] = polynomials[1:2]\n"
            "    return _shares(points, polynomials, len(secrets))",
        ),
        "shamir",
        "two shares give away any secret",
    ),
    mutant(
        "limbs-share-their-polynomial",
        Bug.REUSE,
        (
            "shamir.py",
            "    return _shares(points, polynomials, len(secrets))",
            "    polynomials[1:] = polynomials[1:, :1]\n"
            "    return _shares(points, polynomials, len(secrets))",
        ),
        "shamir",
        "one share gives the differences of the limbs of a secret",
    ),
    mutant(
        "share-of-the-secret-itself",
        Bug.OFF_BY_ONE,
        (
            "shamir.py",
            "1 <= x <= MAX_HOLDERS for x in points",
            "0 <= x <= MAX_HOLDERS for x in points",
        ),
        "shamir",
        "the share at zero is the secret",
    ),
    mutant(
        "holders-may-repeat",
        Bug.CHECK,
        (
            "shamir.py",
            "if len(set(points)) != len(points) or not all(",
            "if not all(",
        ),
        "shamir",
        "two clients hold one share, and fewer than t differ",
    ),
    mutant(
        "threshold-of-zero-shares",
        Bug.CHECK,
        (
            "shamir.py",
            "if not 1 <= threshold <= len(points):",
            "if not 1 <= threshold:",
        ),
        "shamir",
        "a secret that nobody can put together",
    ),
    mutant(
        "secrets-of-any-size",
        Bug.CHECK,
        ("shamir.py", "if len(secret) != SECRET_BYTES:", "if False:"),
        "shamir",
        "a short secret is shared as another",
    ),
    mutant(
        "shares-may-be-unreduced",
        Bug.CHECK,
        ("shamir.py", "if number & (tops - (tops >> 16)):", "if False:"),
        "shamir boxes",
        "one share has several encodings",
    ),
    mutant(
        "shares-of-any-size",
        Bug.CHECK,
        ("shamir.py", "if len(self.value) != SHARE_BYTES:", "if False:"),
        "shamir",
        "a share of the wrong size shifts the limbs of all that follow",
    ),
    mutant(
        "shares-at-any-x",
        Bug.CHECK,
        (
            "shamir.py",
            "if not 1 <= self.x <= MAX_HOLDERS:",
            "if not 0 <= self.x <= MAX_HOLDERS:",
        ),
        "shamir",
        "a share at zero is taken for one of a holder",
    ),
    mutant(
        "interpolation-with-one-share-twice",
        Bug.CHECK,
        (
            "shamir.py",
            "or len(set(xs)) != len(xs):",
            "or False:",
        ),
        "shamir",
        "a share that counts twice gives a wrong secret",
    ),
    mutant(
        "limbs-beyond-sixteen-bits",
        Bug.CHECK,
        ("shamir.py", "if bool((limbs >> 16).any()):", "if False:"),
        "shamir",
        "what is no secret is truncated to one",
    ),
    mutant(
        "lagrange-sign",
        Bug.SIGN,
        (
            "shamir.py",
            "below * np.where(itself, 1, other - xs) % PRIME",
            "below * np.where(itself, 1, xs - other) % PRIME",
        ),
        "shamir",
        "an even number of shares gives the negative of a secret",
    ),
    mutant(
        "coefficients-with-a-modulo-bias",
        Bug.BIAS,
        (
            "shamir.py",
            'words = np.frombuffer(draw(rng, 4 * count), dtype="<u4")',
            'words = np.frombuffer(draw(rng, 4 * count), dtype="<u4") & 0xFFFF',
        ),
        "shamir",
        "coefficients that are never 2^16 rule out secrets",
    ),
    mutant(
        "coefficients-not-drawn-again",
        Bug.BIAS,
        (
            "shamir.py",
            "again = np.flatnonzero(words == top)",
            "again = np.flatnonzero(words > top)",
        ),
        "shamir",
        "zero is a little more frequent than other coefficients",
    ),
    mutant(
        "shares-print",
        Bug.KEPT,
        (
            "shamir.py",
            "    x: int\n    value: bytes = field(repr=False)",
            "    x: int\n    value: bytes",
        ),
        "shamir",
        "a share in a log",
    ),
    # boxes.py
    mutant(
        "route-without-round",
        Bug.BINDING,
        (
            "boxes.py",
            "return self.round_id, ends",
            "return bytes(32), ends",
        ),
        "boxes",
        "a box of one round opens in another",
    ),
    mutant(
        "route-without-ends",
        Bug.BINDING,
        (
            "boxes.py",
            "return self.round_id, ends",
            "return self.round_id, bytes(4)",
        ),
        "boxes",
        "a box of one pair opens for another",
    ),
    mutant(
        "route-without-direction",
        Bug.REUSE,
        (
            "boxes.py",
            'ends = self.dealer.to_bytes(2, "little") + '
            'self.holder.to_bytes(2, "little")',
            "ends = bytes(sorted((self.dealer, self.holder)))",
        ),
        "boxes",
        "both directions of a pair seal with one key and one nonce",
    ),
    mutant(
        "box-key-tag-of-the-data",
        Bug.REUSE,
        (
            "boxes.py",
            "usage.join(usage.TAG_SHARE_BOX_KEY, *route.parts)",
            "usage.join(usage.TAG_SHARE_BOX_DATA, *route.parts)",
        ),
        "boxes round_vectors",
        "one tag serves two purposes",
    ),
    mutant(
        "box-key-without-route",
        Bug.REUSE,
        (
            "boxes.py",
            "usage.join(usage.TAG_SHARE_BOX_KEY, *route.parts)",
            "usage.TAG_SHARE_BOX_KEY",
        ),
        "boxes",
        "both directions of a pair seal with one key and one nonce",
    ),
    mutant(
        "box-without-hashes",
        Bug.BINDING,
        (
            "boxes.py",
            "usage.TAG_SHARE_BOX_DATA, *route.parts, mask_key, self_mask)",
            "usage.TAG_SHARE_BOX_DATA, *route.parts)",
        ),
        "boxes",
        "the hashes beside a box can be exchanged without its holder noticing",
        equivalent="open_box() checks both shares against those hashes next, so that "
        "exchanged ones are refused all the same.",
    ),
    mutant(
        "holder-does-not-check-its-shares",
        Bug.CHECK,
        (
            "boxes.py",
            "        check_share(route, kind, shares.of(kind), box.commitment(kind))",
            "        pass",
        ),
        "boxes",
        "a dealer's lie is blamed on whoever reveals the share",
    ),
    mutant(
        "share-commitments-unchecked",
        Bug.CHECK,
        (
            "boxes.py",
            "if not hmac.compare_digest(share_commitment(route, kind, share), "
            "commitment):",
            "if False:",
        ),
        "boxes client_server",
        "whoever reveals a wrong share ends the round unnamed",
    ),
    mutant(
        "share-commitment-without-kind",
        Bug.BINDING,
        (
            "boxes.py",
            "*route.parts, bytes([kind]), share.value",
            "*route.parts, share.value",
        ),
        "boxes",
        "a share of one secret passes for one of the other",
    ),
    mutant(
        "share-commitment-without-route",
        Bug.BINDING,
        (
            "boxes.py",
            "*route.parts, bytes([kind]), share.value",
            "bytes([kind]), share.value",
        ),
        "boxes",
        "a share of one pair passes for one of another",
    ),
    mutant(
        "share-commitment-without-share",
        Bug.BINDING,
        (
            "boxes.py",
            "*route.parts, bytes([kind]), share.value",
            "*route.parts, bytes([kind])",
        ),
        "boxes client_server",
        "any share is the one committed to",
    ),
    mutant(
        "seed-commitment-without-seed",
        Bug.BINDING,
        (
            "boxes.py",
            'owner.to_bytes(2, "little"), seed.expose()\n',
            'owner.to_bytes(2, "little")\n',
        ),
        "client_server boxes",
        "a wrong seed spoils the sum and names nobody",
    ),
    mutant(
        "seed-commitment-without-round",
        Bug.BINDING,
        (
            "boxes.py",
            "usage.TAG_SEED_COMMITMENT, round_id, owner",
            "usage.TAG_SEED_COMMITMENT, owner",
        ),
        "boxes",
        "a seed of one round passes for one of another",
    ),
    mutant(
        "seed-commitment-without-owner",
        Bug.BINDING,
        (
            "boxes.py",
            'round_id, owner.to_bytes(2, "little"), seed.expose()',
            "round_id, seed.expose()",
        ),
        "boxes",
        "a copied commitment passes for one's own",
    ),
    mutant(
        "share-kinds-swapped-at-the-holder",
        Bug.SWAP,
        (
            "boxes.py",
            "return self.mask_key if kind is ShareKind.MASK_KEY else self.self_mask"
            "\n\n\n@dataclass(frozen=True, slots=True)\nclass Route:",
            "return self.self_mask if kind is ShareKind.MASK_KEY else self.mask_key"
            "\n\n\n@dataclass(frozen=True, slots=True)\nclass Route:",
        ),
        "boxes client_server",
        "holders reveal the mask keys of survivors",
    ),
    mutant(
        "boxes-with-swapped-shares",
        Bug.SWAP,
        (
            (
                "boxes.py",
                "plaintext = shares.mask_key.value + shares.self_mask.value",
                "plaintext = shares.self_mask.value + shares.mask_key.value",
            ),
        ),
        "boxes",
        "every box is refused by its holder",
    ),
    mutant(
        "boxes-print",
        Bug.KEPT,
        (
            "boxes.py",
            "    sealed: bytes = field(repr=False)",
            "    sealed: bytes",
        ),
        "messages",
        "sealed shares in a log",
    ),
    # dealing.py, reveal.py, keylist.py
    mutant(
        "dealer-may-hold-its-own-share",
        Bug.CHECK,
        ("dealing.py", _OWN, "pass"),
        "messages",
        "a client holds a share of its own secrets",
    ),
    mutant(
        "boxes-in-any-order",
        Bug.CHECK,
        ("dealing.py", "    check_sorted([peer for peer, _ in boxes])\n", ""),
        "messages",
        "one holder is dealt two shares",
    ),
    mutant(
        "revealer-may-give-its-own-share",
        Bug.CHECK,
        ("reveal.py", _OWN, "pass"),
        "messages",
        "a client gives a share of its own secrets",
    ),
    mutant(
        "two-shares-of-one-client",
        Bug.CHECK,
        (
            "reveal.py",
            "        check_sorted([share.owner for share in self.shares])\n",
            "",
        ),
        "messages",
        "one answer gives both shares of one client",
    ),
    mutant(
        "share-kinds-of-any-number",
        Bug.CHECK,
        (
            "reveal.py",
            'raise DecodeError(f"share kind {value} is unknown.") from error',
            "return ShareKind.SELF_MASK",
        ),
        "messages",
        "one share has many encodings",
    ),
    mutant(
        "survivors-beyond-the-roster",
        Bug.CHECK,
        (
            "reveal.py",
            "if survivors and survivors[-1] >= limits.clients:",
            "if False:",
        ),
        "messages",
        "clients that do not exist count as survivors",
    ),
    mutant(
        "unmask-request-for-anybody",
        Bug.BINDING,
        (
            (
                "reveal.py",
                "                _INDEX.pack(self.receiver),\n",
                "                _INDEX.pack(0),\n",
            ),
            (
                "reveal.py",
                "return cls(round_id, receiver, frozenset(survivors))",
                "return cls(round_id, 0, frozenset(survivors))",
            ),
        ),
        "messages",
        "a request that strays makes another client reveal what it should not",
    ),
    mutant(
        "revealed-shares-print",
        Bug.KEPT,
        (
            "reveal.py",
            "    value: bytes = field(repr=False)",
            "    value: bytes",
        ),
        "messages",
        "a share in a log",
    ),
    mutant(
        "advertised-name-unsigned",
        Bug.BINDING,
        ("keylist.py", "            name.encode(),\n", ""),
        "messages",
        "one identity's keys pass for another name's",
    ),
    mutant(
        "advertised-round-unsigned",
        Bug.BINDING,
        (
            "keylist.py",
            "            round_id,\n            name.encode(),",
            "            name.encode(),",
        ),
        "messages",
        "signed keys of an earlier round, perhaps known by now, are played again",
    ),
    mutant(
        "advertised-mask-key-unsigned",
        Bug.BINDING,
        (
            "keylist.py",
            "self.box_public,\n            self.mask_public,\n        )\n\n",
            "self.box_public,\n        )\n\n",
        ),
        "messages",
        "a server puts its own mask key in the place of a client's",
    ),
    mutant(
        "advertised-box-key-unsigned",
        Bug.BINDING,
        (
            "keylist.py",
            "self.box_public,\n            self.mask_public,\n        )\n\n",
            "self.mask_public,\n        )\n\n",
        ),
        "messages",
        "a server puts its own box key in the place of a client's and reads shares",
    ),
    mutant(
        "advertised-keys-swapped",
        Bug.BINDING,
        (
            "keylist.py",
            "        check_canonical(self.box_public)\n",
            "",
        ),
        "fail_closed",
        "a box key has several encodings",
    ),
    mutant(
        "advertised-mask-key-not-canonical",
        Bug.CHECK,
        ("keylist.py", "        check_canonical(self.mask_public)\n", ""),
        "fail_closed",
        "a mask key has several encodings",
    ),
    mutant(
        "signatures-of-any-size",
        Bug.CHECK,
        (
            "keylist.py",
            'check_size("signature", self.signature, SIGNATURE_BYTES)',
            "pass",
        ),
        "messages",
        "a signature shifts what follows",
    ),
    mutant(
        "one-key-twice-in-a-list",
        Bug.CHECK,
        ("keylist.py", "if len(publics) != 2 * len(keys):", "if False:"),
        "messages",
        "two clients with one key share one mask, which cancels",
    ),
    mutant(
        "key-list-in-any-order",
        Bug.CHECK,
        ("keylist.py", "    check_sorted([one.index for one in keys])\n", ""),
        "messages",
        "one client is listed twice",
    ),
    mutant(
        "key-list-digest-of-the-round-only",
        Bug.BINDING,
        (
            "keylist.py",
            "usage.digest(usage.TAG_KEY_LIST, self.encode())",
            "usage.digest(usage.TAG_KEY_LIST, self.round_id)",
        ),
        "messages",
        "clients that were told of different keys add up",
    ),
    # recovery.py
    mutant(
        "seed-not-checked-against-its-hash",
        Bug.CHECK,
        (
            "recovery.py",
            "if commitment != published.seed_commitments[owner]:",
            "if False:",
        ),
        "client_server",
        "wrong shares spoil the sum and name nobody",
    ),
    mutant(
        "mask-key-not-checked-against-its-public-key",
        Bug.CHECK,
        (
            "recovery.py",
            "if pair.public != published.mask_publics[owner]:",
            "if False:",
        ),
        "client_server",
        "wrong shares spoil the sum and name nobody",
    ),
    mutant(
        "recovery-with-one-share-fewer",
        Bug.OFF_BY_ONE,
        (
            "recovery.py",
            "need = published.share_threshold",
            "need = published.share_threshold - 1",
        ),
        "client_server round",
        "wrong secrets are put together from too few shares",
    ),
    mutant(
        "recovery-swaps-survivors-and-dropped",
        Bug.SWAP,
        ("recovery.py", "if owner in u3:", "if owner not in u3:"),
        "round",
        "seeds are taken for mask keys",
    ),
    mutant(
        "recovery-for-everybody",
        Bug.SWAP,
        (
            "recovery.py",
            "for survivor in sorted(u3 & published.graph.neighbours(owner)):",
            "for survivor in sorted(u3):",
        ),
        "graph round",
        "masks are removed that nobody added",
    ),
    mutant(
        "recovery-without-context",
        Bug.BINDING,
        (
            "recovery.py",
            "seed, owner=owner, binding=published.binding, context=published.context",
            "seed, owner=owner, binding=published.binding, context=bytes(32)",
        ),
        "round",
        "own masks that are not those of the upload are removed",
    ),
    mutant(
        "recovery-blames-nobody",
        Bug.BLAME,
        (
            "recovery.py",
            'f"the shares that {name!r} dealt do not give back its secret; ',
            'f"some shares do not give back a secret; ',
        ),
        "client_server",
        "a dealer that spoils every round is never found",
    ),
)
