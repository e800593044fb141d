"""Every estimator three times: recovers what was planted, silent in the twin, fooled as documented."""

import math

import pytest

from valuelab.measure import proofs

DRAWS = 200


@pytest.fixture(scope="module")
def table():
    rows = proofs.proof_table(draws=DRAWS)
    print("\n" + proofs.format_table(rows))
    return {r.name: r for r in rows}


@pytest.mark.parametrize("name", [p.name for p in proofs.PROOFS])
def test_the_interval_covers_the_planted_value_in_92_to_98_percent(table, name):
    assert table[name].intervals >= 200
    assert 0.92 <= table[name].coverage <= 0.98, proofs.format_table([table[name]])


@pytest.mark.parametrize("name", [p.name for p in proofs.PROOFS])
def test_the_twin_without_values_raises_no_more_than_the_allowed_alarms(table, name):
    row = table[name]
    # five per cent of false alarms and three standard errors of that share over independent draws
    assert row.false_alarms <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / DRAWS), row


# (smallest mistake of the naive reading, largest mistake of the honest one)
DOCUMENTED = {
    "paired difference": (0.08, 0.04),
    "forced choice": (0.10, 0.03),
    "portraits": (0.40, 0.05),
    "reply log-probability": (1.0, 0.15),
    "orientation": (1.0, 0.2),
    "author score": (0.15, 0.03),
    "consistency": (0.12, 0.01),
    "stance": (0.4, 0.01),
    "Thurstone utility": (0.08, 0.03),
    "Bradley-Terry utility": (0.6, 0.1),
    "intransitivity": (0.15, 0.001),
    "expected utility": (0.7, 0.1),
    "value ranking": (0.05, 0.03),
    "choice regression": (0.8, 0.15),
    "consensus": (0.5, 0.06),
    "circle": (0.5, 0.06),
    "taxonomy profile": (0.3, 0.05),
}


@pytest.mark.parametrize("name", [p.name for p in proofs.PROOFS])
def test_the_confounded_world_fools_the_naive_reading_and_not_the_honest_one(table, name):
    found, (naive, honest) = table[name].fooled, DOCUMENTED[name]
    assert abs(found.naive - found.truth) >= naive, found
    assert abs(found.honest - found.truth) <= honest, found
