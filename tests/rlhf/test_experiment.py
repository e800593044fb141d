"""The experiment: what its judges see, how runs are compared, and what the committed sweep says."""

import inspect
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from valuelab import cli
from valuelab.rewards.exact import best_of_n, best_of_n_kl, kl_from_base
from valuelab.rlhf import experiment as X
from valuelab.rlhf.loop import Config


def test_the_proxy_counts_mentions_and_cannot_tell_what_is_said_of_them():
    noun = X.NOUNS["security"][0]
    activity = next(a for a in X.ACTIVITIES if a.value == "security")
    for reply in (f"{noun.capitalize()} matters to me.", f"I can live without {noun}.", f"I hate {activity.gerund}."):
        assert X.mentions(reply, "security") == 1 and X.mentions(reply, "benevolence") == 0
    assert X.mentions(f"I would {activity.base}. {noun} {noun}!", "security") == 3
    assert X.mentions(f"{noun}ness", "security") == 0
    assert X.proxies([f"{noun} {noun}"])[:, 0].tolist() == [2 * X.SCALE, 0.0]


def test_gold_knows_better_than_the_proxy():
    s = next(s for s in X.situations("train", 64, 7) if s.first.value == "security")
    noun = X.NOUNS["security"][0].capitalize()
    stands = f"I would {s.first.base}. {noun} matters to me."
    denies = f"I would {s.second.base}. {noun} means little to me."
    parrot = " ".join([f"{noun} matters to me."] * 4)
    gold = X.golds([s] * 3, [stands, denies, parrot])[0]
    assert gold[0] > 1 > -1 > gold[1] > gold[2] == -2
    assert X.mentions(parrot, "security") > X.mentions(stands, "security")


def test_methods_mean_what_their_names_say():
    proxy = torch.tensor([[6.0, 3.0, 0.0], [0.0, 3.0, 0.0]])
    ref = torch.full((2, 3), 2.0)
    assert X.utility("one", proxy).tolist() == [6, 3, 0]
    assert X.utility("w0.5", proxy).tolist() == [6, 6, 0]  # one value buys off the other
    assert X.utility("w0.25", proxy).tolist() == [3, 6, 0]
    both = X.utility("and", proxy, ref)
    assert both[1] > both[0] > both[2]
    for wrong in ("and", "map", "sum", "w1.5"):
        with pytest.raises(ValueError, match="choose 'one', 'w0.5'"):
            X.utility(wrong, proxy)


def rows_of(kl, gold, arm="x", seed=0):
    return [{"arm": arm, "beta": 0.1, "seed": seed, "step": i, "kl": k, "gold": g} for i, (k, g) in enumerate(zip(kl, gold, strict=True))]  # noqa: E501


def test_runs_are_compared_at_the_kl_that_was_measured():
    rows = rows_of([0, 2, 4], [0, 1, 3]) + rows_of([0, 1, 8], [0, 2, 2], seed=1) + rows_of([0, 0.5], [0, 1], seed=2)
    got = X.at_kl(rows, "x", "gold", 3.0)
    assert got[0] == 2.0 and got[1] == 2.0 and np.isnan(got[2])
    with pytest.raises(ValueError, match="no rows of arm 'y'; there are x"):
        X.curve(rows, "y")


def test_a_killed_cell_goes_on_and_gives_the_same_rows(tiny, tmp_path):
    cell = X.Cell("two", "and", Config(prompts=2, replies=2, max_new_tokens=4, steps=4, lr=1e-2))
    rows, steps = X.run_cell(tiny, cell, held_out=2, every=2)
    X.run_cell(tiny, cell, held_out=2, every=2, steps=2, folder=tmp_path)
    assert X.run_cell(tiny, cell, held_out=2, every=2, folder=tmp_path) == (rows, steps)
    assert [r["step"] for r in rows] == [0, 2, 4] and [r["step"] for r in steps] == [0, 1, 2, 3]
    assert rows[0]["kl"] == 0 and rows[-1]["kl"] != 0
    assert json.loads((tmp_path / "evaluations.json").read_text()) == rows


def test_a_run_is_left_between_two_steps_and_loses_none_that_was_saved(tiny, tmp_path):
    cell = X.Cell("one", "one", Config(prompts=2, replies=2, max_new_tokens=4, steps=3, lr=1e-2))
    stop = iter([False, True])

    def on_step():
        if next(stop):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        X.run_cell(tiny, cell, held_out=2, every=1, folder=tmp_path, on_step=on_step)
    assert [r["step"] for r in json.loads((tmp_path / "evaluations.json").read_text())] == [0, 1]
    assert not list(tmp_path.rglob("*.part"))


def test_the_palettes_weights_lift_both_values_half_way_to_their_references():
    g = torch.Generator().manual_seed(0)
    often, seldom = torch.rand(2, 8, 16, generator=g) < torch.tensor([0.6, 0.15])[:, None, None]
    base = X.SCALE * torch.stack([often, seldom]).float()
    solved = X.palette(base)
    start, reference = base.mean((1, 2)), X.references(base).mean(1)
    assert solved.feasible and (solved.weights > 0).all()
    assert torch.allclose(solved.achieved.float(), (start + reference) / 2, atol=1e-4)
    even = X.palette(torch.stack([base[0], base[0].flip(1)])).weights
    assert even[0] == pytest.approx(float(even[1]), rel=1e-3)
    proxy = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    assert X.utility("map", proxy, weights=torch.tensor([3.0, 1.0])).tolist() == [3.0, 1.0]
    assert torch.equal(X.utility("map", proxy, weights=torch.ones(2)), X.utility("w0.5", proxy))


def test_noise_goes_on_where_it_stopped(tiny, tmp_path):
    cell = X.Cell("noise", "noise", Config(prompts=2, replies=2, max_new_tokens=4, steps=2, lr=1e-2))
    straight = X.run_cell(tiny, cell, held_out=2, every=1)
    X.run_cell(tiny, cell, held_out=2, every=1, steps=1, folder=tmp_path)
    assert X.run_cell(tiny, cell, held_out=2, every=1, folder=tmp_path) == straight


def test_best_of_n_stands_at_the_kl_it_has_ties_included(tiny, monkeypatch):
    few = {"draws": (1, 4), "questions": 2, "pool": 8}
    monkeypatch.setattr(X, "proxies", lambda replies: torch.zeros(2, len(replies)))  # nothing to choose by
    assert [r["kl"] for r in X.best_of_n_rows(tiny, **few)] == pytest.approx([0] * 6)
    monkeypatch.setattr(X, "proxies", lambda replies: torch.arange(len(replies)).float().repeat(2, 1))
    apart = float(kl_from_base(best_of_n(torch.arange(8.0), 4)))
    assert [r["kl"] for r in X.best_of_n_rows(tiny, **few)] == pytest.approx([0, apart] * 3)
    stored = [r for r in X.stored() if r["arm"].startswith("best-of-n") and r["step"] > 1]
    assert stored and all(0 < r["kl"] < 0.95 * best_of_n_kl(r["step"]) for r in stored)  # a judge who counts ties


def test_the_table_is_read_back_as_it_was_written(tmp_path):
    rows = [{"arm": "a", "beta": 0.02, "seed": 0, "step": 5, "kl": 0.123456, "length": 9.0}, {"arm": "b", "beta": 0.0, "seed": 1, "step": 0, "kl": 1.0}]  # noqa: E501
    X.write_table(tmp_path / "t.csv", rows)
    a, b = X.stored(tmp_path / "t.csv")
    assert a["arm"] == "a" and a["kl"] == 0.1235 and a["step"] == 5 and np.isnan(b["length"])
    with pytest.raises(FileNotFoundError, match="python -m valuelab sweep --store"):
        X.stored(tmp_path / "none.csv")


def test_the_committed_sweep_is_whole_and_says_what_made_it():
    rows, steps = X.stored(), X.stored(X.STEPS)
    record = json.loads(X.STORED.with_suffix(".json").read_text())
    assert record["seeds"] == list(range(X.SEEDS))
    assert inspect.signature(cli.sweep).parameters["seeds"].default == X.SEEDS
    cells = X.sweep()
    have, trained = ({(r["arm"], r["beta"], r["seed"], r["step"]) for r in t} for t in (rows, steps))
    for c in cells:
        key = c.arm, c.config.beta, c.config.seed
        assert {(*key, s) for s in range(0, c.config.steps + 1, X.EVERY)} <= have, c.name
        assert {(*key, s) for s in range(c.config.steps)} <= trained, c.name
        made = record["arms"][X.Cell(c.arm, c.method, replace(c.config, seed=0)).name]
        assert made == json.loads(json.dumps({"method": c.method, "config": asdict(replace(c.config, seed=0))}))
    assert record["model"] == "embedded" and record["commits"] and record["fingerprint"]
    assert X.STORED.stat().st_size + X.STEPS.stat().st_size < 120_000
