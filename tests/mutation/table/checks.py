"""Mutants of the checkers in ``secagg.testing``: they must not look away."""

from __future__ import annotations

from tests.mutation.mutant import Bug, mutant

_INV, _VERDICT, _NET = (
    "testing/invariants.py",
    "testing/verdict.py",
    "testing/network.py",
)

# Those tests of the file that show broken parties to the checkers: the others play
# hundreds of rounds of sound ones.
_FOUND = " ".join(
    f"mishaps::test_{name}"
    for name in (
        "a_broken_server_is_found_in_a_round_without_mishaps",
        "a_server_that_opens_the_own_mask_of_a_client_that_dropped_is_found",
        "a_client_that_answers_twice_is_found",
        "a_party_that_raises_is_found",
        "a_round_that_never_ends_is_stopped_and_found",
        "a_client_that_was_deceived_on_the_way_counts_as_a_colluder",
    )
)

MUTANTS = (
    # testing/invariants.py
    mutant(
        "leaks-never-found",
        Bug.BLIND,
        (_INV, "        if found:\n", "        if False:\n"),
        _FOUND,
        "no leak of a round is reported",
    ),
    mutant(
        "leaks-of-two-answers-missed",
        Bug.BLIND,
        (
            _INV,
            "twice = _answered_twice(sent) or _both_kinds(view)",
            "twice = _both_kinds(view)",
        ),
        _FOUND,
        "a client that answers twice is not found",
    ),
    mutant(
        "leaks-of-both-kinds-missed",
        Bug.BLIND,
        (
            _INV,
            "twice = _answered_twice(sent) or _both_kinds(view)",
            "twice = _answered_twice(sent)",
        ),
        _FOUND,
        "a client that gives both shares of one other is not found",
        equivalent="An answer names an owner once, so both kinds of share take two "
        "answers, which _answered_twice() finds first.",
    ),
    mutant(
        "leaks-of-both-secrets-missed",
        Bug.BLIND,
        (_INV, "for v in sorted(own & keys):", "for v in ():"),
        _FOUND,
        "a client whose secrets are both open is not found",
    ),
    mutant(
        "leaks-of-a-survivors-key-missed",
        Bug.BLIND,
        (_INV, "for v in sorted(keys & view.survivors):", "for v in ():"),
        _FOUND,
        "a survivor whose masks are open is not found",
    ),
    mutant(
        "leaks-of-a-dropped-clients-mask-missed",
        Bug.BLIND,
        (_INV, "for v in sorted(own - view.survivors):", "for v in ():"),
        _FOUND,
        "a dropped client whose own mask is open is not found",
    ),
    mutant(
        "leaks-of-small-sums-missed",
        Bug.BLIND,
        (
            _INV,
            "if group <= own and group <= view.partners.keys() and group != due:",
            "if False:",
        ),
        _FOUND,
        "a sum over a part of the cohort is not found",
    ),
    mutant(
        "leaks-counted-one-share-short",
        Bug.OFF_BY_ONE,
        (_INV, ">= played.plan.t", "> played.plan.t"),
        "invariants",
        "exactly as many shares as it takes are not found to be enough",
    ),
    mutant(
        "leaks-without-colluders-shares",
        Bug.BLIND,
        (
            _INV,
            "(view.revealed.get((kind, v), Members()) | colluders) & view.near[v]",
            "view.revealed.get((kind, v), Members()) & view.near[v]",
        ),
        "invariants",
        "the shares that colluders hold are not counted",
    ),
    mutant(
        "leaks-counted-with-strangers-shares",
        Bug.BLIND,
        (
            _INV,
            "(view.revealed.get((kind, v), Members()) | colluders) & view.near[v]",
            "view.revealed.get((kind, v), Members()) | colluders",
        ),
        "invariants",
        "colluders count as holders of shares that they never got",
    ),
    mutant(
        "survivors-are-whoever-was-asked",
        Bug.SWAP,
        (
            _INV,
            "survivors=survivors_asked_for(played) & partners.keys(),",
            "survivors=survivors_asked_for(played),",
        ),
        "invariants",
        "a client that never uploaded passes for a survivor",
    ),
    mutant(
        "opened-keys-hide-nothing",
        Bug.BLIND,
        (
            _INV,
            "view.partners.get(v, Members()) & honest - keys",
            "view.partners.get(v, Members()) & honest",
        ),
        "invariants",
        "sums that opened mask keys set apart are not found",
    ),
    mutant(
        "deceived-clients-may-be-honest",
        Bug.SWAP,
        (_INV, "if deceived <= set(colluders):", "if True:"),
        _FOUND,
        "the transport's lies are taken for the server's",
    ),
    mutant(
        "nobody-else-is-looked-at",
        Bug.BLIND,
        (
            _INV,
            "if deceived <= set(colluders):",
            "if deceived < set(colluders):",
        ),
        "invariants",
        "a plan without colluders, or with all of them deceived, is not looked at",
    ),
    mutant(
        "too-many-colluder-sets-are-skipped",
        Bug.BLIND,
        (
            _INV,
            "if comb(plan.clients, plan.corrupt) > MAX_COLLUDER_SETS:",
            "if False:",
        ),
        "mishaps::test_a_cohort_too_large_for_all_sets_of_colluders_is_refused",
        "a check that takes days, or is cut short",
    ),
    # testing/verdict.py
    mutant(
        "verdict-ignores-the-survivors",
        Bug.BLIND,
        (
            _VERDICT,
            "if out.survivors != {roster[i] for i in u3}:",
            "if False:",
        ),
        _FOUND,
        "a sum that names the wrong survivors passes",
    ),
    mutant(
        "verdict-ignores-the-threshold",
        Bug.BLIND,
        (_VERDICT, "if len(u3) < played.plan.threshold:", "if False:"),
        "invariants",
        "a sum over too few clients passes",
    ),
    mutant(
        "verdict-ignores-the-weight",
        Bug.BLIND,
        (_VERDICT, "if out.weight != weight:", "if False:"),
        _FOUND,
        "a mean divided by the wrong weight passes",
    ),
    mutant(
        "verdict-ignores-the-values",
        Bug.BLIND,
        (_VERDICT, "if gap > Fraction(out.max_error):", "if False:"),
        _FOUND,
        "any mean passes",
    ),
    mutant(
        "verdict-ignores-leaks",
        Bug.BLIND,
        (_VERDICT, "    if leak:\n", "    if False:\n"),
        _FOUND,
        "a round that leaks passes",
    ),
    mutant(
        "verdict-takes-a-crash-for-a-sum",
        Bug.BLIND,
        (
            _VERDICT,
            'return Verdict(End.CRASH, f"{type',
            'return Verdict(End.SUM, f"{type',
        ),
        _FOUND,
        "a server that raises anything passes",
    ),
    mutant(
        "verdict-takes-any-abort",
        Bug.BLIND,
        (
            _VERDICT,
            "if error.step in set(Step) and (short or (flipped and need is None)):",
            "if True:",
        ),
        _FOUND,
        "an abort that says neither where nor why passes",
    ),
    mutant(
        "verdict-takes-a-hang",
        Bug.BLIND,
        (_VERDICT, "    if not played.ended:\n", "    if False:\n"),
        _FOUND,
        "a round that never ends passes",
    ),
    # testing/network.py
    mutant(
        "nothing-is-ever-late",
        Bug.BLIND,
        (_NET, "self._late.append(letter)", "self._queue.append(letter)"),
        "mishaps::test_a_late_upload_comes_too_late",
        "no test hears of a late message",
    ),
    mutant(
        "nothing-is-ever-repeated",
        Bug.BLIND,
        (_NET, "self._queue.extend((letter, letter))", "self._queue.append(letter)"),
        "mishaps::test_a_repeated_request_is_received_twice",
        "no test hears of a repeated message",
    ),
    mutant(
        "nothing-is-ever-flipped",
        Bug.BLIND,
        (_NET, "changed[bit // 8] ^= 1 << bit % 8", "pass"),
        "mishaps::test_damaged_requests_differ_as_their_kind_says",
        "no test hears of a changed message",
    ),
    mutant(
        "nothing-is-ever-replayed",
        Bug.BLIND,
        (
            _NET,
            "                self._queue.append((*ends, self._old[*spot, way]))\n",
            "",
        ),
        "mishaps::test_a_replayed_request_is_that_of_another_round",
        "no test hears of a message of an earlier round",
    ),
    mutant(
        "whoever-is-gone-comes-back",
        Bug.BLIND,
        (
            _NET,
            "            case Kind.BEFORE:\n                self._gone.add(client)",
            "            case Kind.BEFORE:\n                pass",
        ),
        "mishaps::test_whoever_drops_out_does_not_hear_that_the_round_was_aborted",
        "a client that drops out loses one message only",
    ),
    mutant(
        "rounds-are-never-stopped",
        Bug.BLIND,
        (
            _NET,
            "while self.events < EVENTS_PER_CLIENT * len(self._clients):",
            "while self.events < 1000 * EVENTS_PER_CLIENT * len(self._clients):",
        ),
        "mishaps::test_a_round_that_never_ends_is_stopped_and_found",
        "a hang of a party is a hang of the tests",
    ),
    # testing/schedule.py, testing/campaign.py
    mutant(
        "every-dropout-is-no-dropout",
        Bug.BLIND,
        (
            "testing/schedule.py",
            "for seed, chosen in enumerate(product(points, repeat=clients)):",
            "for seed, chosen in enumerate(product(points[:1], repeat=clients)):",
        ),
        "dropouts transport_contract",
        "the exhaustive test of dropouts plays one round without any",
    ),
    mutant(
        "campaign-reports-no-failure",
        Bug.BLIND,
        (
            "testing/campaign.py",
            "if verdict.end in FAILURES:",
            "if False:",
        ),
        "transport_contract",
        "a thousand rounds pass, whatever they did",
    ),
    mutant(
        "leaks-are-no-failure",
        Bug.BLIND,
        (
            _VERDICT,
            "FAILURES = (End.WRONG_SUM, End.LEAK, End.CRASH, End.HANG)",
            "FAILURES = (End.WRONG_SUM, End.CRASH, End.HANG)",
        ),
        "mishaps::test_the_four_failures_are_all_that_must_never_happen",
        "a campaign that finds a leak passes",
    ),
    # testing/contract.py
    mutant(
        "transport-may-change-messages",
        Bug.BLIND,
        (
            "testing/contract.py",
            "arrived = sorted(transport.receive(receiver))",
            "arrived = sorted(expected[:len(transport.receive(receiver))])",
        ),
        "transport_contract",
        "a transport that cuts messages or lies about senders passes",
    ),
    mutant(
        "transport-may-repeat-later",
        Bug.BLIND,
        (
            "testing/contract.py",
            "        if transport.receive(receiver):\n",
            "        if False:\n",
        ),
        "transport_contract",
        "a transport that delivers again passes",
    ),
    mutant(
        "transport-need-not-carry-a-round",
        Bug.BLIND,
        ("testing/contract.py", "if not smooth.ends[End.SUM]:", "if False:"),
        "transport_contract",
        "a transport over which no round gives a sum passes",
    ),
    mutant(
        "transport-rounds-may-fail",
        Bug.BLIND,
        ("testing/contract.py", "    if report.failures:\n", "    if False:\n"),
        "transport_contract",
        "a transport under which rounds leak or crash passes",
    ),
)
