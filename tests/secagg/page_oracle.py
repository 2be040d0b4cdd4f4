"""A second implementation of one round, written from ``docs/protocol.md`` alone.

Both sides, bytes in and bytes out, for the complete and the k-regular graph; nothing of
``secagg`` is imported, and no library that it uses for the same step.  Plain loops
over Python integers: slow, and meant to be read beside the page, whose words it keeps.
Peers are taken for honest: a round that does not add up fails an assertion, and what to
refuse from others is not tested here.
"""

import functools
import hashlib
import hmac
import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from Crypto.Cipher import AES, ChaCha20
from Crypto.PublicKey import ECC
from Crypto.Signature import eddsa

Draw = Callable[[int], bytes]
Words = list[int]

FIELD = 65537
SHARE_BYTES = 34


# Every byte: numbers, hashes, keys


def number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")


def value_of(data: bytes) -> int:
    return int.from_bytes(data, "little")


def encoding(tag: str, *parts: bytes) -> bytes:
    """Return the arguments of H, each behind its length."""
    named = (b"blindsum/secagg/2/" + tag.encode(), *parts)
    return b"".join(number(len(part), 8) + part for part in named)


def H(tag: str, *parts: bytes) -> bytes:  # noqa: N802 (the name on the page)
    return hashlib.sha256(encoding(tag, *parts)).digest()


def hkdf(key: bytes, tag: str, *parts: bytes) -> bytes:
    """RFC 5869: 32 bytes need one block, and no salt is a salt of zeros."""
    extracted = hmac.digest(bytes(32), key, "sha256")
    return hmac.digest(extracted, encoding(tag, *parts) + b"\x01", "sha256")


@functools.cache
def x25519(secret: bytes, point: bytes) -> bytes:
    """RFC 7748, section 5: the Montgomery ladder."""
    p = 2**255 - 19
    k = value_of(secret) & ~7 & ~(1 << 255) | 1 << 254
    u = value_of(point) & ((1 << 255) - 1)
    x2, z2, x3, z3 = 1, 0, u, 1
    for bit in reversed(range(255)):
        swap = k >> bit & 1
        if swap:
            x2, z2, x3, z3 = x3, z3, x2, z2
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb, aa, bb = d * a % p, c * b % p, a * a % p, b * b % p
        x3, z3 = (da + cb) ** 2 % p, u * (da - cb) ** 2 % p
        x2, z2 = aa * bb % p, (aa - bb) * (aa + 121665 * (aa - bb)) % p
        if swap:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return number(x2 * pow(z2, -1, p) % p, 32)


def public_key(secret: bytes) -> bytes:
    return x25519(secret, number(9, 32))


def packed(words: Iterable[int], bits: int) -> bytes:
    """Place word i at bits i*bits and up, the lowest bit of a byte first."""
    whole, count = 0, 0
    for word in words:
        whole |= word << (count * bits)
        count += 1
    return number(whole, (count * bits + 7) // 8)


def unpacked(data: bytes, bits: int, count: int) -> Words:
    whole, words = value_of(data), []
    for _ in range(count):
        words.append(whole & ((1 << bits) - 1))
        whole >>= bits
    assert whole == 0, "bits behind the last word"
    return words


# The plan and the graph


@dataclass(frozen=True)
class Plan:
    """What the bytes of a plan say."""

    suite: int
    clients: int
    corrupt: int
    drop: int
    degree: int
    threshold: int
    sigma: int
    eta: int
    grinding: int
    clip_norm: float
    value_bits: int
    weight_max: int
    flags: int
    raw: bytes

    @classmethod
    def read(cls, raw: bytes) -> "Plan":
        assert raw[0] == 2 and raw[1] in (1, 2, 3, 4)
        if raw[1] in (1, 3):
            n, a, d, *frame = struct.unpack("<HHHdBIB", raw[2:])
            graph = (n - 1, n - d - 1, 0, 0, 0)
        else:
            n, a, d, *rest = struct.unpack("<IIIHHBBBdBIB", raw[2:])
            graph, frame = tuple(rest[:5]), rest[5:]
        return cls(raw[1], n, a, d, *graph, *frame, raw)

    @property
    def prescale(self) -> bool:
        return bool(self.flags & 2)

    @property
    def noise_bits(self) -> int:
        return self.flags // 4

    @property
    def ring_bits(self) -> int:
        if self.noise_bits:
            most = 2 ** (self.value_bits - 1) + 2 ** (self.noise_bits - 1) - 2
            return (self.clients * most).bit_length() + 1
        if self.prescale:
            weights = (self.clients * self.weight_max).bit_length()
            return max(self.value_bits + (self.clients - 1).bit_length(), weights)
        return self.value_bits + (self.clients * self.weight_max - 1).bit_length()

    def mask(self, key: bytes, count: int) -> Words:
        return mask_stream(self.suite, key, count, self.ring_bits)

    @property
    def checksums(self) -> int:
        return -(-64 // self.ring_bits)

    def rotates(self, m: int) -> bool:
        return bool(self.flags & 1) and m >= 64

    def scale(self, m: int) -> float:
        reach = self.clip_norm * (1 + 2.0**-16)
        if self.rotates(m):
            reach *= min(1.0, spread(m) + 6 / 2**24)
        return (2 ** (self.value_bits - 1) - 1.5) / reach

    def rotation(self, context: bytes, m: int) -> "list[tuple[int, list[int]]]":
        """Return where each step begins, and its signs."""
        width = 2 ** (m.bit_length() - 1)
        seed = H("rotation", context, self.raw[-14:], number(m, 8))
        starts = [0] if width == m else [0, m - width]
        return [
            (start, signs(H("rotation-signs", seed, number(step, 1)), width))
            for step, start in enumerate(starts)
        ]


@functools.cache
def place(client: int, plan: Plan, round_id: bytes) -> int:
    """Find where a client stands in the ring: swap-or-not."""
    n, x = plan.clients, client
    cipher = AES.new(H("graph-order", round_id), AES.MODE_ECB)
    for i in range(permutation_rounds(plan)):
        offset = value_of(cipher.encrypt(number(i, 8) + number(2**64 - 1, 8)))
        y = (offset - x) % n
        m = max(x, y)
        bits = cipher.encrypt(number(i, 8) + number(m // 128, 8))
        if value_of(bits) >> (m % 128) & 1:
            x = y
    return x


def permutation_rounds(plan: Plan) -> int:
    n, k = plan.clients, plan.degree
    b = max(plan.sigma + plan.grinding, plan.eta) + 24 + 4 * n.bit_length()
    return -(-25 * b * n // (9 * (n - min(k, n - k))))


def neighbourhoods(plan: Plan, round_id: bytes) -> list[list[int]]:
    """Return each client's neighbours, itself excluded, in the order of the roster."""
    n = plan.clients
    if plan.suite in (1, 3):
        return [[v for v in range(n) if v != u] for u in range(n)]
    places = [place(client, plan, round_id) for client in range(n)]
    steps = [s for d in range(1, plan.degree // 2 + 1) for s in (d, -d)]
    return [sorted(places.index((at + s) % n) for s in steps) for at in places]


# Shares, boxes, masks


def coefficients(plan: Plan, draw: Draw) -> list[Words]:
    """Draw for each power 16 limbs of s_u, then 16 of b_u, uniform modulo p."""
    wanted = (plan.threshold - 1) * 32
    words = [value_of(draw(4)) for _ in range(wanted)]
    while again := [i for i, word in enumerate(words) if word == 2**32 - 1]:
        for i in again:
            words[i] = value_of(draw(4))
    words = [word % FIELD for word in words]
    return [words[i : i + 32] for i in range(0, wanted, 32)]


def shares_for(holder: int, secrets: bytes, powers: list[Words]) -> tuple[bytes, bytes]:
    """Return the shares of s_u and b_u: the values of the polynomials at holder + 1."""
    x = holder + 1
    limbs = [value_of(secrets[i : i + 2]) for i in range(0, 64, 2)]
    for exponent, row in enumerate(powers, start=1):
        limbs = [(a + b * x**exponent) % FIELD for a, b in zip(limbs, row, strict=True)]
    return packed(limbs[:16], 17), packed(limbs[16:], 17)


def secret_from(shares: Mapping[int, bytes]) -> bytes:
    """Interpolate at 0 (Lagrange)."""
    total = [0] * 16
    for holder, share in shares.items():
        weight = 1
        for other in shares:
            if other != holder:
                weight *= (other + 1) * pow(other - holder, -1, FIELD)
        limbs = unpacked(share, 17, 16)
        total = [(a + weight * b) % FIELD for a, b in zip(total, limbs, strict=True)]
    return b"".join(number(limb, 2) for limb in total)


def route(dealer: int, holder: int) -> bytes:
    return number(dealer, 2) + number(holder, 2)


def hashes_of(round_id: bytes, way: bytes, s_share: bytes, b_share: bytes) -> bytes:
    """Return the hash of the share of s_u, then of that of b_u."""
    return b"".join(
        H("share-commitment", round_id, way, number(kind, 1), share)[:16]
        for kind, share in ((1, s_share), (2, b_share))
    )


def box_cipher(secret: bytes, public: bytes, *bound: bytes):
    round_id, way, hashes = bound
    key = hkdf(x25519(secret, public), "share-box-key", round_id, way)
    cipher = AES.new(key, AES.MODE_GCM, nonce=bytes(12))
    cipher.update(encoding("share-box-data", round_id, way, hashes[:16], hashes[16:]))
    return cipher


def stream(key: bytes, count: int, bits: int) -> Words:
    """Return the first native words of a key's stream, modulo 2^bits."""
    cipher = AES.new(key, AES.MODE_CTR, nonce=b"", initial_value=bytes(16))
    return native(cipher.encrypt(bytes(native_size(bits) * count)), bits)


def mask_stream(suite: int, key: bytes, count: int, bits: int) -> Words:
    """Return the same of a mask's."""
    wanted = native_size(bits) * count
    if suite in (3, 4):
        return native(
            ChaCha20.new(key=key, nonce=bytes(12)).encrypt(bytes(wanted)), bits
        )
    data = b""
    for segment in range(-(-wanted // 2**18)):
        block = segment.to_bytes(12, "big") + (2).to_bytes(4, "big")
        cipher = AES.new(key, AES.MODE_CTR, nonce=b"", initial_value=block)
        data += cipher.encrypt(bytes(2**18))
    return native(data[:wanted], bits)


def native_size(bits: int) -> int:
    return next(size for size in (2, 4, 8) if 8 * size >= bits)


def native(data: bytes, bits: int) -> Words:
    size, low = native_size(bits), (1 << bits) - 1
    return [value_of(data[i : i + size]) & low for i in range(0, len(data), size)]


def pair_key(
    secret: bytes, public: bytes, pair: tuple[int, int], *bound: bytes
) -> bytes:
    round_id, keys_hash, context = bound
    shared = x25519(secret, public)
    way = route(min(pair), max(pair))
    return hkdf(shared, "pair-mask", round_id, keys_hash, way, context)


def self_key(b: bytes, client: int, *bound: bytes) -> bytes:
    round_id, keys_hash, context = bound
    return hkdf(b, "self-mask", round_id, keys_hash, number(client, 2), context)


def sign(u: int, v: int) -> int:
    """Tell whether u adds or subtracts what it shares with v."""
    return 1 if u > v else -1


def added(words: Words, more: Words, factor: int, bits: int) -> Words:
    return [(a + factor * b) % (1 << bits) for a, b in zip(words, more, strict=True)]


def spread(m: int) -> float:
    """Return t / sqrt(W): what rotated values exceed with probability 2^-20 only."""
    low, high = 0.0, 40.0
    for _ in range(60):
        t = (low + high) / 2
        chance = 2 * 3.179 * m * math.erfc(t / math.sqrt(2)) / 2
        low, high = (low, t) if chance <= 2.0**-20 else (t, high)
    return high / math.sqrt(2 ** (m.bit_length() - 1))


def signs(key: bytes, count: int) -> list[int]:
    octets = stream(key, count // 16, 16)
    return [-1 if octets[i // 16] >> i % 16 & 1 else 1 for i in range(count)]


def hadamard(values: list[float]) -> list[float]:
    """Return H x, with H = [[1, 1], [1, -1]] in each bit of the index."""
    half = len(values) // 2
    if not half:
        return values
    left, right = hadamard(values[:half]), hadamard(values[half:])
    both = list(zip(left, right, strict=True))
    return [a + b for a, b in both] + [a - b for a, b in both]


def rotated(values: Sequence[float], plan: Plan, context: bytes) -> list[float]:
    turned = list(values)
    for start, row in plan.rotation(context, len(turned)):
        part = [x * sign_ for x, sign_ in zip(turned[start:], row, strict=False)]
        part = [x / math.sqrt(len(row)) for x in hadamard(part)]
        turned[start : start + len(row)] = part
    return turned


def unrotated(values: Sequence[float], plan: Plan, context: bytes) -> list[float]:
    turned = list(values)
    for start, row in reversed(plan.rotation(context, len(turned))):
        part = hadamard(turned[start : start + len(row)])
        part = [x * s / math.sqrt(len(row)) for x, s in zip(part, row, strict=True)]
        turned[start : start + len(row)] = part
    return turned


def rounded(
    values: Sequence[float], plan: Plan, key: bytes, weight: int, context: bytes
) -> list[int]:
    """Round each value up or down, up with the probability of its fraction."""
    bits = 32 if plan.value_bits <= 20 else 52 - plan.value_bits
    scale, most = plan.scale(len(values)), 2 ** (plan.value_bits - 1) - 1.5
    if plan.prescale:
        scale *= weight / plan.weight_max
    if plan.rotates(len(values)):
        values = rotated(values, plan, context)
        values = [min(max(value, -most / scale), most / scale) for value in values]
    integers = []
    for value, word in zip(values, stream(key, len(values), 32), strict=True):
        fixed = round(value * scale * 2.0**bits)
        integers.append((fixed + (word >> (32 - bits))) // 2**bits)
    return integers if plan.prescale else [weight * one for one in integers]


def checksums(words: Words, plan: Plan, round_id: bytes, context: bytes) -> Words:
    """Return the integrity words of a vector and its weight."""
    bits, key = plan.ring_bits, H("integrity-coefficients", round_id + context)
    row = stream(key, len(words) + plan.checksums - 1, bits)
    return [
        sum(a * b for a, b in zip(words, row[j:], strict=False)) % (1 << bits)
        for j in range(plan.checksums)
    ]


# Messages

INVITE, ADVERTISE, KEY_LIST, SEALED, DELIVERY, MASKED, REQUEST, REVEALED = range(1, 9)
NEIGHBOUR_KEYS = 13


def message(tag: int, round_id: bytes, *fields: bytes) -> bytes:
    return number(2, 1) + number(tag, 1) + round_id + b"".join(fields)


class Reader:
    """Takes a message apart, field by field."""

    def __init__(self, data: bytes, *tags: int) -> None:
        self.data = data
        assert self.number(1) == 2
        self.tag = self.number(1)
        assert self.tag in tags
        self.round_id = self.take(32)

    def take(self, size: int) -> bytes:
        field, self.data = self.data[:size], self.data[size:]
        assert len(field) == size, "too short"
        return field

    def number(self, size: int) -> int:
        return value_of(self.take(size))

    def end(self) -> None:
        assert not self.data, "trailing bytes"


@dataclass(frozen=True)
class Keys:
    """What a client advertises."""

    index: int
    box: bytes
    mask: bytes
    signature: bytes = b""

    def encode(self) -> bytes:
        signed = number(len(self.signature) // 64, 1) + self.signature
        return number(self.index, 2) + self.box + self.mask + signed

    @classmethod
    def read(cls, body: Reader) -> "Keys":
        index, box, mask = body.number(2), body.take(32), body.take(32)
        return cls(index, box, mask, body.take(64 * body.number(1)))


@dataclass(frozen=True)
class Sealed:
    """What one dealer sends one holder: two hashes, and a box with two shares."""

    hashes: bytes
    box: bytes

    @classmethod
    def read(cls, body: Reader) -> "Sealed":
        return cls(body.take(32), body.take(84))


def key_list(round_id: bytes, keys: Mapping[int, Keys]) -> bytes:
    listed = [keys[index].encode() for index in sorted(keys)]
    return message(KEY_LIST, round_id, number(len(listed), 2), *listed)


def boxes(sealed: Mapping[int, Sealed]) -> bytes:
    fields = [number(i, 2) + sealed[i].hashes + sealed[i].box for i in sorted(sealed)]
    return number(len(fields), 2) + b"".join(fields)


def read_boxes(body: Reader) -> dict[int, Sealed]:
    return {body.number(2): Sealed.read(body) for _ in range(body.number(2))}


# Where randomness is fixed


def fixed_randomness(seed: int, session: bytes, name: str) -> Draw:
    """Return one client's source of a round with a seed: a stream that goes on."""
    names = ["secagg round", session.hex(), name]
    parts = [f"str:{part}".encode() for part in names]
    key = H("simulation", b"int" + number(seed, 32), *parts)
    cipher = AES.new(key, AES.MODE_CTR, nonce=b"", initial_value=bytes(16))
    return lambda count: cipher.encrypt(bytes(count))


# A client


class Client:
    """One client of one round; ``answer`` takes each request in turn.

    ``draw`` is the client's source of randomness, ``identity`` the seed of its Ed25519
    key.  Draws come in the order in which the page lists them.
    """

    def __init__(
        self,
        plan: bytes,
        name: str,
        values: Sequence[float],
        weight: int,
        *,
        context: bytes,
        draw: Draw,
        identity: bytes | None = None,
        noise: Sequence[int] | None = None,
    ) -> None:
        self.plan, self.name, self.context = Plan.read(plan), name, context
        self.draw, self.identity = draw, identity
        integers = rounded(values, self.plan, draw(32), weight, context)
        added_ = noise or [0] * len(integers)
        self.values = [a + b for a, b in zip(integers, added_, strict=True)] + [weight]

    def answer(self, request: bytes) -> bytes:
        steps = {
            INVITE: self.advertise,
            KEY_LIST: self.share_keys,
            NEIGHBOUR_KEYS: self.share_keys,
            DELIVERY: self.masked_input,
            REQUEST: self.unmask,
        }
        body = Reader(request, *steps)
        if body.tag != INVITE:
            assert body.round_id == self.round_id
        return steps[body.tag](body)

    def advertise(self, body: Reader) -> bytes:
        self.round_id = body.round_id
        assert self.round_id == H("round", body.data)
        body.take(body.number(2))
        assert body.take(len(self.plan.raw)) == self.plan.raw
        assert body.number(4) == len(self.values) - 1
        sizes = [body.number(1) for _ in range(body.number(2))]
        names = [body.take(size).decode() for size in sizes]
        body.end()
        self.me = names.index(self.name)
        self.neighbours = neighbourhoods(self.plan, self.round_id)[self.me]
        self.box_secret, self.mask_secret = self.draw(32), self.draw(32)
        self.b = self.draw(32)
        pair = public_key(self.box_secret), public_key(self.mask_secret)
        keys = Keys(self.me, *pair, self.signature(*pair))
        return message(ADVERTISE, self.round_id, keys.encode())

    def signature(self, box: bytes, mask: bytes) -> bytes:
        if self.identity is None:
            return b""
        name = self.name.encode()
        signed = encoding("advertise-signature", self.round_id, name, box, mask)
        key = ECC.construct(curve="Ed25519", seed=self.identity)
        return eddsa.new(key, "rfc8032").sign(signed)

    def share_keys(self, body: Reader) -> bytes:
        whole = message(body.tag, self.round_id, body.data)
        if body.tag == NEIGHBOUR_KEYS:
            assert body.number(2) == self.me
            self.keys_hash = body.take(32)
        else:
            self.keys_hash = H("key-list", whole)
        listed = [Keys.read(body) for _ in range(body.number(2))]
        body.end()
        self.keys = {keys.index: keys for keys in listed}
        powers = coefficients(self.plan, self.draw)
        sealed = {}
        for holder in self.neighbours:
            if holder in self.keys:
                sealed[holder] = self.seal(holder, powers)
        commitment = H("seed-commitment", self.round_id, number(self.me, 2), self.b)
        head = number(self.me, 2) + commitment
        return message(SEALED, self.round_id, head, boxes(sealed))

    def seal(self, holder: int, powers: list[Words]) -> Sealed:
        way = route(self.me, holder)
        pair = shares_for(holder, self.mask_secret + self.b, powers)
        hashes = hashes_of(self.round_id, way, *pair)
        cipher = box_cipher(
            self.box_secret, self.keys[holder].box, self.round_id, way, hashes
        )
        return Sealed(hashes, b"".join(cipher.encrypt_and_digest(b"".join(pair))))

    def masked_input(self, body: Reader) -> bytes:
        assert body.number(2) == self.me
        sealed = read_boxes(body)
        body.end()
        opened = {dealer: self.opened(dealer, box) for dealer, box in sealed.items()}
        self.held = {dealer: pair for dealer, pair in opened.items() if pair}
        bits, bound = self.plan.ring_bits, (self.round_id, self.keys_hash, self.context)
        words = [value % (1 << bits) for value in self.values]
        words += checksums(words, self.plan, self.round_id, self.context)
        own = self.plan.mask(self_key(self.b, self.me, *bound), len(words))
        words = added(words, own, 1, bits)
        for v in sealed:
            pair = (self.me, v)
            key = pair_key(self.mask_secret, self.keys[v].mask, pair, *bound)
            words = added(words, self.plan.mask(key, len(words)), sign(*pair), bits)
        head = number(self.me, 2) + self.context
        return message(MASKED, self.round_id, head, packed(words, bits))

    def opened(self, dealer: int, sealed: Sealed) -> tuple[bytes, ...]:
        """Return the shares of s_u and b_u, or nothing if they are damaged."""
        way, keys = route(dealer, self.me), self.keys[dealer]
        bound = self.round_id, way, sealed.hashes
        cipher = box_cipher(self.box_secret, keys.box, *bound)
        try:
            both = cipher.decrypt_and_verify(sealed.box[:-16], sealed.box[-16:])
        except ValueError:
            return ()
        pair = both[:SHARE_BYTES], both[SHARE_BYTES:]
        return pair if sealed.hashes == hashes_of(self.round_id, way, *pair) else ()

    def unmask(self, body: Reader) -> bytes:
        assert body.number(2) == self.me
        survivors = value_of(body.take(body.number(2)))
        body.end()
        assert survivors.bit_count() >= self.plan.clients - self.plan.drop
        fields = [number(self.me, 2), number(len(self.held), 2)]
        for owner in sorted(self.held):
            kind = 2 if survivors >> owner & 1 else 1
            share = self.held[owner][kind - 1]
            fields.append(number(owner, 2) + number(kind, 1) + share)
        return message(REVEALED, self.round_id, *fields)


# The server


class Server:
    """One server of one round: each step takes the answers to the one before.

    Requests and answers are by roster index; who is missing has dropped out.
    """

    def __init__(
        self, plan: bytes, names: Sequence[str], session: bytes, length: int
    ) -> None:
        self.plan = Plan.read(plan)
        body = number(len(session), 2) + session + plan + number(length, 4)
        body += number(len(names), 2)
        encoded = [name.encode() for name in names]
        body += b"".join([*(number(len(name), 1) for name in encoded), *encoded])
        self.round_id, self.length = H("round", body), length
        self.invitation = message(INVITE, self.round_id, body)
        self.neighbours = neighbourhoods(self.plan, self.round_id)

    def read(self, answers: Mapping[int, bytes], tag: int) -> dict[int, Reader]:
        assert len(answers) >= self.plan.clients - self.plan.drop, "too few are left"
        bodies = {index: Reader(answers[index], tag) for index in sorted(answers)}
        assert all(body.round_id == self.round_id for body in bodies.values())
        return bodies

    def invite(self) -> dict[int, bytes]:
        return dict.fromkeys(range(self.plan.clients), self.invitation)

    def share_keys(self, advertised: Mapping[int, bytes]) -> dict[int, bytes]:
        bodies = self.read(advertised, ADVERTISE)
        self.keys = {index: Keys.read(body) for index, body in bodies.items()}
        whole = key_list(self.round_id, self.keys)
        self.keys_hash = H("key-list", whole)
        if self.plan.suite in (1, 3):
            return dict.fromkeys(self.keys, whole)
        return {index: self.neighbour_keys(index) for index in self.keys}

    def neighbour_keys(self, receiver: int) -> bytes:
        who = sorted({receiver, *self.neighbours[receiver]} & self.keys.keys())
        head = number(receiver, 2) + self.keys_hash + number(len(who), 2)
        listed = [self.keys[index].encode() for index in who]
        return message(NEIGHBOUR_KEYS, self.round_id, head, *listed)

    def deliver(self, dealt: Mapping[int, bytes]) -> dict[int, bytes]:
        self.commitments, self.sealed = {}, {}
        for index, body in self.read(dealt, SEALED).items():
            assert body.number(2) == index
            self.commitments[index] = body.take(32)
            self.sealed[index] = read_boxes(body)
            body.end()
        return {
            holder: message(
                DELIVERY,
                self.round_id,
                number(holder, 2),
                boxes(
                    {u: box[holder] for u, box in self.sealed.items() if holder in box}
                ),
            )
            for holder in self.sealed
        }

    def ask_to_unmask(self, masked: Mapping[int, bytes]) -> dict[int, bytes]:
        self.contexts, self.uploads = {}, {}
        count = self.length + 1 + self.plan.checksums
        for index, body in self.read(masked, MASKED).items():
            assert body.number(2) == index
            self.contexts[index] = body.take(32)
            self.uploads[index] = unpacked(body.data, self.plan.ring_bits, count)
        bits = sum(1 << index for index in self.uploads)
        survivors = number(bits, (bits.bit_length() + 7) // 8)
        return {
            index: message(
                REQUEST,
                self.round_id,
                number(index, 2),
                number(len(survivors), 2),
                survivors,
            )
            for index in self.uploads
        }

    def total(self, revealed: Mapping[int, bytes]) -> tuple[Words, int]:
        """Return the sums of the weighted integers and of the weights."""
        shares: dict[int, dict[int, bytes]] = {owner: {} for owner in self.sealed}
        for holder, body in self.read(revealed, REVEALED).items():
            assert body.number(2) == holder
            for _ in range(body.number(2)):
                owner, kind, share = body.number(2), body.number(1), body.take(34)
                assert kind == (2 if owner in self.uploads else 1)
                shares[owner][holder] = share
            body.end()
        bits = self.plan.ring_bits
        words = [
            sum(column) % (1 << bits)
            for column in zip(*self.uploads.values(), strict=True)
        ]
        for owner, held in shares.items():
            enough = dict(list(held.items())[: self.plan.threshold])
            assert len(enough) == self.plan.threshold, "too few shares"
            for sign_, key in self.open_masks(owner, secret_from(enough)):
                words = added(words, self.plan.mask(key, len(words)), -sign_, bits)
        *vector, weight = words[: self.length + 1]
        context = next(iter(self.contexts.values()))
        whole = checksums([*vector, weight], self.plan, self.round_id, context)
        assert words[self.length + 1 :] == whole, "the sum was unmasked wrongly"
        half = 1 << (bits - 1)
        return [(value + half) % (1 << bits) - half for value in vector], weight

    def mean(self, revealed: Mapping[int, bytes]) -> list[float]:
        """Return the weighted mean in float32."""
        return self.mean_of(*self.total(revealed))

    def mean_of(self, vector: Words, weight: float) -> list[float]:
        if self.plan.prescale:
            weight /= self.plan.weight_max
        means = [value / (self.plan.scale(self.length) * weight) for value in vector]
        if self.plan.rotates(self.length):
            context = next(iter(self.contexts.values()))
            means = unrotated(means, self.plan, context)
        return list(
            struct.unpack(f"<{self.length}f", struct.pack(f"<{self.length}f", *means))
        )

    def open_masks(self, owner: int, secret: bytes) -> list[tuple[int, bytes]]:
        """Return sign and key of each mask that only this secret still opens."""
        if owner in self.uploads:
            expected = H("seed-commitment", self.round_id, number(owner, 2), secret)
            assert expected == self.commitments[owner]
            bound = self.round_id, self.keys_hash, self.contexts[owner]
            return [(1, self_key(secret, owner, *bound))]
        assert public_key(secret) == self.keys[owner].mask
        keys = []
        for u in self.neighbours[owner]:
            if u in self.uploads:
                bound = self.round_id, self.keys_hash, self.contexts[u]
                key = pair_key(secret, self.keys[u].mask, (owner, u), *bound)
                keys.append((sign(u, owner), key))
        return keys
