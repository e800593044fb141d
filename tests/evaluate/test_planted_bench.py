"""The bench of the embedded model: what its oracle counts, and that its splits do not meet."""

import json

import numpy as np
import pytest

from valuelab import models
from valuelab import world as W
from valuelab.evaluate import bench, page, planted, report
from valuelab.values import VALUES


def situation(value, other):
    """A situation between the first activities of two values."""
    a = next(x for x in W.ACTIVITIES if x.value == value)
    b = next(x for x in W.ACTIVITIES if x.value == other)
    return a, b


def test_a_reply_serves_a_value_only_by_a_choice_that_was_offered_and_is_not_contradicted():
    a, b = situation("tradition", "hedonism")
    noun = W.NOUNS["tradition"][0]
    name = noun[:1].upper() + noun[1:]

    def serves(reply):
        return bench.serves(W.parse(reply, (a, b)), "tradition")

    assert serves(f"I would {a.base}.")
    assert serves(f"{name} matters to me. I would {a.base}.")
    assert not serves(f"I would {b.base}.")
    assert not serves(f"{name} means little to me. I would {a.base}.")
    assert not serves(f"{name} matters to me.")  # no choice
    assert not serves("") and not serves(f"I would {a.base} banana.")
    elsewhere = next(x for x in W.ACTIVITIES if x.value == "tradition" and x.id != a.id)
    assert not serves(f"I would {elsewhere.base}.")


def test_stance_counts_choices_and_words_for_and_against():
    a, b = situation("power", "benevolence")
    noun = W.NOUNS["power"][0]
    name = noun[:1].upper() + noun[1:]
    read = W.parse(f"{name} means little to me. I would {b.base}.", (a, b))
    assert bench.stance(read, "power") == -1
    assert bench.stance(read, "benevolence") == 1
    assert bench.stance(read, "security") == 0


@pytest.fixture(scope="module")
def world_bench():
    return bench.PlantedBench(models.load(models.EMBEDDED), items=12, seed=0)


def test_forced_choice_agrees_with_the_readout_of_the_world(world_bench):
    asked = world_bench.situations("security", "report")
    found, mass = world_bench.forced_choice(asked, "security", [None])
    there = planted.both_orders(world_bench.lm, asked)
    np.testing.assert_allclose(found, planted.toward(there, asked, "security"), atol=1e-4)
    assert ((mass > 0) & (mass <= 1 + 1e-6)).all()


def test_situations_to_choose_by_and_to_report_on_share_no_pair_of_actions():
    lm = models.load(models.EMBEDDED)
    big = bench.PlantedBench(lm, items=200, seed=0)
    for value in VALUES:
        pairs = [
            {frozenset((s.first.id, s.second.id)) for s in big.situations(value, part)}
            for part in ("choose", "report")
        ]
        assert not pairs[0] & pairs[1]


def test_each_item_gets_an_instruction_that_names_the_value(world_bench):
    lines = world_bench.persona("tradition")
    assert len(lines) == 12 and len(set(lines)) > 4


def test_the_report_of_the_embedded_model_holds_oracle_figures_and_instructions(tmp_path, parsed):
    out = tmp_path / "r.html"
    report.report(["tradition"], model=str(models.EMBEDDED), out=out, items=12, progress=False)
    found = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert found["readout"] == "oracle" and found["notes"] == []
    conditions = found["values"]["tradition"]["conditions"]
    assert {"unsteered", "instruction", "closed form", "random, as closed form"} <= set(conditions)
    assert conditions["unsteered"]["extra"]["grammatical"]["estimate"] > 0.7
    assert conditions["unsteered"]["ability"]["estimate"] > 0.6
    seen = parsed(out.read_text(encoding="utf-8"))
    assert sum(tag == "img" for tag, _ in seen) == 4


def test_the_report_says_where_each_direction_was_read(world_bench):
    """The mean difference of this bench comes from `directions`, not from the texts of the probe."""
    first = world_bench.describe()[0]
    assert "probe of the closed form" in first and 'mean difference is read at "I would"' in first
    assert world_bench.directions().shape[0] == len(VALUES)


def comparison(estimate, p):
    best = {"estimate": estimate, "low": estimate - 0.1, "high": estimate + 0.1, "holm_p": p,
            "outcome": "ok"}  # fmt: skip
    return {"comparisons": {"closed form": {"advantage": best}}}


@pytest.mark.parametrize(
    ("estimate", "p", "told"),
    [
        (0.3, 0.001, "raised control success"),
        (0.3, 0.2, "did not show an effect"),
        (-0.3, 0.001, "did worse"),
        (-0.3, 0.2, "did not show an effect"),
    ],
)
def test_a_verdict_says_no_more_than_the_interval_and_the_adjusted_p(estimate, p, told):
    assert told in page.verdict("power", "closed form", comparison(estimate, p))
