"""Mutants of the ring, the keystreams and the masks."""

from __future__ import annotations

from tests.mutation.mutant import Bug, mutant

MUTANTS = (
    # ring.py
    mutant(
        "ring-of-one-bit-less",
        Bug.OFF_BY_ONE,
        (
            "ring.py",
            'return words.astype("<u8") & np.uint64((1 << self.bits) - 1)',
            'return words.astype("<u8") & np.uint64((1 << self.bits - 1) - 1)',
        ),
        "ring",
        "the highest bit of every sum is lost",
    ),
    mutant(
        "ring-not-reduced",
        Bug.SIGN,
        (
            "ring.py",
            'return words.astype("<u8") & np.uint64((1 << self.bits) - 1)',
            'return words.astype("<u8")',
        ),
        "ring",
        "bits of one value run into the next",
    ),
    mutant(
        "ring-centre-off-by-one-bit",
        Bug.OFF_BY_ONE,
        (
            "ring.py",
            "shift = np.uint64(64 - self.bits)",
            "shift = np.uint64(max(63 - self.bits, 0))",
        ),
        "ring",
        "negative sums decode as large positive ones",
    ),
    mutant(
        "ring-word-too-narrow",
        Bug.OFF_BY_ONE,
        (
            "ring.py",
            "if width >= self.bits)",
            "if width >= self.bits - 1)",
        ),
        "ring",
        "sums wrap in a word that is narrower than the ring",
    ),
    mutant(
        "ring-of-more-than-64-bits",
        Bug.CHECK,
        ("ring.py", "if not 1 <= self.bits <= 64:", "if not 1 <= self.bits <= 65:"),
        "ring",
        "a ring that no word holds",
    ),
    mutant(
        "packed-length-unchecked",
        Bug.CHECK,
        ("ring.py", "if len(data) != need:", "if len(data) < need:"),
        "ring",
        "a vector has many encodings, which carry hidden bytes",
    ),
    mutant(
        "packing-padding-unchecked",
        Bug.CHECK,
        ("ring.py", "if spare and data[-1] >> (8 - spare):", "if False:"),
        "ring",
        "a vector has many encodings, which carry hidden bits",
    ),
    mutant(
        "packing-padding-half-checked",
        Bug.OFF_BY_ONE,
        (
            "ring.py",
            "if spare and data[-1] >> (8 - spare):",
            "if spare and data[-1] >> (9 - spare):",
        ),
        "ring",
        "one padding bit is free",
    ),
    mutant(
        "packing-drops-carried-bits",
        Bug.SIGN,
        (
            "packing.py",
            "np.right_shift(row, 64 - offset, out=target[word + 1])",
            "target[word + 1] = 0",
        ),
        "ring",
        "values that cross a word are wrong",
    ),
    mutant(
        "unpacking-keeps-foreign-bits",
        Bug.SIGN,
        ("ring.py", "rows &= mask\n            np.copyto(", "np.copyto("),
        "ring",
        "bits of one value run into another",
    ),
    # prg.py
    mutant(
        "rng-may-return-anything",
        Bug.CHECK,
        (
            "prg.py",
            "if not isinstance(drawn, bytes) or len(drawn) != count:",
            "if not isinstance(drawn, bytes):",
        ),
        "primitives",
        "a source of randomness that is short gives short keys",
    ),
    mutant(
        "simulation-without-names",
        Bug.REUSE,
        (
            "prg.py",
            "usage.digest(usage.TAG_SIMULATION, seed_part, *parts)",
            "usage.digest(usage.TAG_SIMULATION, seed_part)",
        ),
        "primitives",
        "all clients of a simulation draw the same keys",
    ),
    mutant(
        "simulation-seeds-alike",
        Bug.REUSE,
        ("prg.py", 'seed_part = b"raw" + seed', "seed_part = seed"),
        "primitives",
        "an integer and a string of bytes give one stream",
    ),
    mutant(
        "simulation-names-alike",
        Bug.REUSE,
        ("prg.py", 'b"int:%d" % name if', 'b"str:%d" % name if'),
        "primitives",
        "the names 1 and '1' give one stream",
    ),
    mutant(
        "simulation-starts-over",
        Bug.REUSE,
        (
            "prg.py",
            "        return encryptor.update(bytes(count))\n\n    return rng",
            "        return _encryptor(usage.digest(usage.TAG_SIMULATION, seed_part, "
            "*parts)).update(bytes(count))\n\n    return rng",
        ),
        "primitives",
        "every secret of a simulated client is the same",
    ),
    mutant(
        "stream-key-of-any-size",
        Bug.CHECK,
        ("prg.py", "if len(key) != KEY_BYTES:", "if False:"),
        "primitives",
        "a short key gives another cipher",
    ),
    # ciphers.py and streams.py
    mutant(
        "segments-all-alike",
        Bug.REUSE,
        ("ciphers.py", 'segment.to_bytes(12, "big"), zeros', "bytes(12), zeros"),
        "streams",
        "a mask repeats itself every 256 KiB",
    ),
    mutant(
        "chacha20-starts-over-in-each-thread",
        Bug.REUSE,
        ("ciphers.py", 'block.to_bytes(4, "little")', "bytes(4)"),
        "streams",
        "two halves of a vector get one mask",
    ),
    mutant(
        "stream-sign-lost",
        Bug.SIGN,
        ("streams.py", "np.add if up == 1 else np.subtract", "np.add"),
        "streams masks",
        "pairwise masks do not cancel",
    ),
    mutant(
        "mask-key-of-any-size",
        Bug.CHECK,
        ("streams.py", "if len(key) != KEY_BYTES:", "if False:"),
        "streams",
        "a short key gives another cipher",
    ),
    mutant(
        "stream-beyond-its-counter",
        Bug.CHECK,
        ("streams.py", "if total.nbytes > MAX_BYTES[", "if 0 > MAX_BYTES["),
        "streams",
        "a ChaCha20 stream begins anew after 256 GiB",
    ),
    mutant(
        "a-thread-takes-no-part",
        Bug.CHECK,
        ("threads.py", "blocks = _Blocks(count)", "blocks = _Blocks(count - 1)"),
        "streams",
        "the end of every vector is sent without a mask",
    ),
    # masks.py
    mutant(
        "prepared-masks-serve-again",
        Bug.REUSE,
        (
            "masks.py",
            "np.add(total, self._masks, out=total)\n        self.wipe()",
            "np.add(total, self._masks, out=total)",
        ),
        "prepare",
        "two vectors under one mask give away their difference",
    ),
    mutant(
        "prepared-under-another-context",
        Bug.BINDING,
        (
            "client.py",
            "prepared_context not in (None, context)",
            "prepared_context == b''",
        ),
        "prepare",
        "an upload says one context and is masked under another",
    ),
    mutant(
        "only-the-first-masks-come-off",
        Bug.CHECK,
        ("masks.py", "while batch :=", "if batch :="),
        "masks",
        "sums over many clients cannot be opened",
    ),
    mutant(
        "pair-mask-sign-lost",
        Bug.SIGN,
        ("masks.py", "return 1 if u > v else -1", "return 1"),
        "masks",
        "pairwise masks do not cancel",
    ),
    mutant(
        "pair-mask-sign-of-neighbours",
        Bug.SIGN,
        (
            "masks.py",
            "return 1 if u > v else -1",
            "return 1 if (u - v) % 3 == 1 else -1",
        ),
        "masks",
        "some pairwise masks do not cancel",
    ),
    mutant(
        "pair-key-without-round",
        Bug.BINDING,
        (
            "masks.py",
            "        usage.TAG_PAIR_MASK,\n        binding.round_id,\n",
            "        usage.TAG_PAIR_MASK,\n",
        ),
        "masks",
        "two rounds of the same keys use one mask twice",
    ),
    mutant(
        "pair-key-without-key-list",
        Bug.BINDING,
        (
            "masks.py",
            "        binding.key_list,\n        low.to_bytes",
            "        low.to_bytes",
        ),
        "masks",
        "clients that were told of different keys add up",
    ),
    mutant(
        "pair-key-without-pair",
        Bug.BINDING,
        (
            "masks.py",
            'low.to_bytes(2, "little") + high.to_bytes(2, "little"),',
            "",
        ),
        "masks",
        "a key pair under two names gives one mask twice",
    ),
    mutant(
        "pair-key-without-the-other",
        Bug.BINDING,
        (
            "masks.py",
            'low.to_bytes(2, "little") + high.to_bytes(2, "little"),',
            'low.to_bytes(2, "little"),',
        ),
        "masks",
        "a key pair under two names gives one mask twice",
    ),
    mutant(
        "pair-key-without-context",
        Bug.BINDING,
        (
            "masks.py",
            'high.to_bytes(2, "little"),\n        context,\n',
            'high.to_bytes(2, "little"),\n',
        ),
        "masks",
        "updates of different models add up, so a server reads the difference",
    ),
    mutant(
        "pair-key-tag-of-the-own-mask",
        Bug.REUSE,
        (
            "masks.py",
            "        usage.TAG_PAIR_MASK,\n",
            "        usage.TAG_SELF_MASK,\n",
        ),
        "masks round_vectors",
        "one tag serves two purposes",
    ),
    mutant(
        "self-key-without-round",
        Bug.BINDING,
        (
            "masks.py",
            "        usage.TAG_SELF_MASK,\n        binding.round_id,\n",
            "        usage.TAG_SELF_MASK,\n",
        ),
        "masks",
        "two rounds of one seed use one mask twice",
    ),
    mutant(
        "self-key-without-key-list",
        Bug.BINDING,
        (
            "masks.py",
            "        binding.key_list,\n        owner.to_bytes",
            "        owner.to_bytes",
        ),
        "masks",
        "a seed gives one mask for two key lists",
    ),
    mutant(
        "self-key-without-owner",
        Bug.BINDING,
        ("masks.py", '        owner.to_bytes(2, "little"),\n', ""),
        "masks",
        "a copied seed gives a copied mask",
    ),
    mutant(
        "self-key-without-context",
        Bug.BINDING,
        (
            "masks.py",
            '        owner.to_bytes(2, "little"),\n        context,\n',
            '        owner.to_bytes(2, "little"),\n',
        ),
        "masks",
        "a seed gives one mask for two updates",
    ),
)
