"""Mutants of what is remembered beyond a round: store, monitor, and who asks them."""

from __future__ import annotations

from tests.mutation.mutant import Bug, mutant

MUTANTS = (
    # monitor.py, rowspace.py
    mutant(
        "releases-under-any-context-compared",
        Bug.SWAP,
        (
            "monitor.py",
            "{past.cohort for past in earlier if past.context == new.context}",
            "{past.cohort for past in earlier if past.context != new.context}",
        ),
        "monitor",
        "sums of the same vectors are not compared, and others are",
    ),
    mutant(
        "differences-of-one-side-only",
        Bug.CHECK,
        (
            "monitor.py",
            "for side in (new.cohort - cohort, cohort - new.cohort):",
            "for side in (new.cohort - cohort,):",
        ),
        "monitor",
        "leaving one client out of a second sum gives its input",
    ),
    mutant(
        "differences-off-by-one",
        Bug.OFF_BY_ONE,
        (
            "monitor.py",
            "if 0 < len(side) < minimum:",
            "if 0 < len(side) < minimum - 1:",
        ),
        "monitor",
        "two sums differ by one client fewer than colluders and honest inputs need",
    ),
    mutant(
        "combinations-unchecked",
        Bug.CHECK,
        ("monitor.py", "    if rests_on is not None:\n", "    if False:\n"),
        "monitor",
        "three sums, each two far apart, give a single input",
    ),
    mutant(
        "giving-up-lets-pass",
        Bug.CHECK,
        (
            "monitor.py",
            "    except GaveUp:\n        raise AbortError(",
            "    except GaveUp:\n        return\n        raise AbortError(",
        ),
        "monitor",
        "sums too tangled to check are released",
    ),
    mutant(
        "release-of-nobody",
        Bug.CHECK,
        ("monitor.py", "        if not self.cohort:\n", "        if False:\n"),
        "monitor",
        "a cohort of nobody equals no other",
    ),
    mutant(
        "lightest-combination-off-by-one",
        Bug.OFF_BY_ONE,
        (
            "rowspace.py",
            "return least if least < limit else None",
            "return least if least < limit - 1 else None",
        ),
        "monitor",
        "a combination that rests on one client too few passes",
    ),
    mutant(
        "search-never-gives-up",
        Bug.CHECK,
        (
            "rowspace.py",
            "if atoms.size * len(atoms) > MAX_SEARCH:\n        raise GaveUp",
            "if atoms.size * len(atoms) > MAX_SEARCH:\n        return None",
        ),
        "monitor",
        "sums too tangled to check are released",
    ),
    # store.py
    mutant(
        "steps-may-repeat",
        Bug.OFF_BY_ONE,
        (
            "store.py",
            "if _ORDER.index(step) <= _ORDER.index(last):",
            "if _ORDER.index(step) < _ORDER.index(last):",
        ),
        "store",
        "a client that crashed sends a step again, with other secrets",
    ),
    mutant(
        "steps-may-go-back",
        Bug.CHECK,
        (
            "store.py",
            "if _ORDER.index(step) <= _ORDER.index(last):",
            "if step == last:",
        ),
        "store",
        "a client that crashed enters the same session again",
    ),
    mutant(
        "sessions-of-all-owners-are-one",
        Bug.SWAP,
        (
            "store.py",
            "    key = (owner, session)\n",
            '    key = ("", session)\n',
        ),
        "store",
        "one client's steps forbid another's",
    ),
    mutant(
        "releases-of-all-owners-are-one",
        Bug.SWAP,
        (
            "store.py",
            'under_context = "WHERE context = ? AND owner = ?"',
            'under_context = "WHERE context = ? AND owner != ?"',
        ),
        "store",
        "a client does not know the sums that it took part in",
    ),
    mutant(
        "release-recorded-unchecked",
        Bug.CHECK,
        (
            "store.py",
            "            check_release(release, [past.release for past in found], "
            "minimum)\n",
            "",
        ),
        "store",
        "a second sum without one client gives its input",
    ),
    mutant(
        "release-checked-and-forgotten",
        Bug.KEPT,
        (
            "store.py",
            '                "INSERT INTO releases VALUES (?, ?, ?, ?)",\n',
            '                "SELECT ?, ?, ?, ?",\n',
        ),
        "store",
        "the next sum is compared with nothing",
    ),
    mutant(
        "store-readable-by-all",
        Bug.KEPT,
        ("store_file.py", "os.O_EXCL, 0o600", "os.O_EXCL, 0o644"),
        "store",
        "anybody on the machine reads who took part in what",
    ),
    mutant(
        "store-copies",
        Bug.REUSE,
        (
            "store.py",
            'raise LocalProtocolError("A Store cannot be pickled or copied.")',
            "return Store, ()  # type: ignore[return-value]",
        ),
        "store",
        "a copy in memory forgets what the other one is told",
    ),
    mutant(
        "store-not-synchronised",
        Bug.CHECK,
        ("store_file.py", '"synchronous=EXTRA"', '"synchronous=OFF"'),
        "store",
        "a step is forgotten when the power fails after its bytes left",
    ),
    mutant(
        "another-vector-under-one-context",
        Bug.CHECK,
        ("store.py", "if not hmac.compare_digest(first, mark):", "if False:"),
        "store",
        "two sums of the same clients give away by how much one changed its vector",
    ),
    mutant(
        "fingerprint-without-the-weight",
        Bug.SWAP,
        (
            "offered.py",
            '    digest.update(weight.to_bytes(8, "little"))\n',
            "",
        ),
        "store",
        "under weight 3 and then 4 two sums of the same clients give away a vector",
    ),
    mutant(
        "marks-without-a-key",
        Bug.REUSE,
        ("store.py", 'hmac.digest(secret, fingerprint, "sha256")', "fingerprint"),
        "store",
        "a mark in one file can be looked up in another",
    ),
    mutant(
        "store-of-another-program",
        Bug.CHECK,
        ("store_file.py", "    elif found != ours:\n", "    elif False:\n"),
        "store",
        "a file that is no store is taken for an empty one",
    ),
    mutant(
        "store-of-another-process",
        Bug.CHECK,
        (
            "store.py",
            "if database is None or os.getpid() != self._pid:",
            "if database is None:",
        ),
        "store",
        "a forked process writes through its parent's connection",
    ),
    # client.py, server.py, policy.py
    mutant(
        "client-does-not-record-its-keys",
        Bug.CHECK,
        (
            "client.py",
            "            self._record(message.session, Step.ADVERTISE_KEYS)\n",
            "",
        ),
        "store",
        "a client that crashed enters the same session again",
    ),
    mutant(
        "client-does-not-record-its-shares",
        Bug.CHECK,
        (
            "client.py",
            "                self._record(member.invite.session, Step.SHARE_KEYS)\n",
            "",
        ),
        "store",
        "what a client dealt is not on record",
    ),
    mutant(
        "client-does-not-record-its-upload",
        Bug.CHECK,
        (
            "client.py",
            "        self._journal.upload(self._me, session, self._context, mark)\n",
            "",
        ),
        "store",
        "what a client uploaded is not on record",
    ),
    mutant(
        "client-does-not-record-a-release",
        Bug.CHECK,
        (
            "client.py",
            "                self._record_release(member.invite, message.survivors)\n",
            "",
        ),
        "store",
        "a second sum without one client gives its input",
    ),
    mutant(
        "client-releases-without-colluders",
        Bug.CHANCE,
        (
            "policy.py",
            "return plan.corrupt + self.min_honest",
            "return self.min_honest",
        ),
        "store monitor params",
        "colluders subtract their inputs, and a single one is left",
    ),
    mutant(
        "client-goes-on-without-its-store",
        Bug.CHECK,
        (
            "client.py",
            "        except StoreError as error:\n"
            "            self._fault = _reason(error)\n            raise",
            "        except StoreError as error:\n"
            "            self._state = before\n            return ()",
        ),
        "store",
        "a client goes on whose steps cannot be recorded",
    ),
    mutant(
        "server-does-not-record-its-steps",
        Bug.CHECK,
        (
            "server.py",
            "            self._journal.record(SERVER, session, step)\n",
            "            pass\n",
        ),
        "store",
        "a session is started twice",
    ),
    mutant(
        "server-does-not-record-a-release",
        Bug.CHECK,
        (
            "server.py",
            "            self._journal.release(SERVER, session, release, least)\n",
            "            pass\n",
        ),
        "store",
        "a sum is asked for that clients must refuse",
    ),
    mutant(
        "server-releases-without-colluders",
        Bug.CHANCE,
        (
            "server.py",
            "least = self._plan.corrupt + MIN_HONEST",
            "least = MIN_HONEST",
        ),
        "store",
        "colluders subtract their inputs, and a single one is left",
    ),
)
