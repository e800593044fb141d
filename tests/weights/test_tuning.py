"""Short runs: the loss is DPO's, only replies count, runs repeat, and flipping turns the vector round."""

import pytest
import torch
from tiny_models import TEMPLATE, tiny_lm

from valuelab import models
from valuelab import weights as A
from valuelab.rewards.preferences import Comparison

GOOD, BAD = ". help the old man .", ". keep all money for myself ."
COMPARISONS = [Comparison(p, GOOD, BAD) for p in ("we", "i help", "you never", "take risk and")]
SHORT = A.TuneConfig(steps=6, batch_size=2, lr=3e-3)


def margins(lm):
    asked = [models.chat(lm, c.prompt) for c in COMPARISONS]
    won, lost = (models.log_probs(lm, asked, [f" {text}</s>"] * len(asked)) for text in (GOOD, BAD))
    return won - lost


def test_the_loss_is_log_two_at_the_reference_and_the_textbook_formula_elsewhere():
    g = torch.Generator().manual_seed(0)
    a, b, c, d = torch.randn(4, 9, generator=g, dtype=torch.float64)
    assert A.dpo_loss(a, b, a, b).item() == pytest.approx(torch.tensor(2.0).log().item())
    wanted = -torch.log(1 / (1 + torch.exp(-0.3 * (a - b - c + d)))).mean()
    torch.testing.assert_close(A.dpo_loss(a, b, c, d, 0.3), wanted)


def test_the_gradient_raises_the_winner_and_lowers_the_loser_by_the_same():
    won, lost = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    A.dpo_loss(won, lost, torch.zeros(3), torch.zeros(3), 0.2).backward()
    torch.testing.assert_close(won.grad, torch.full((3,), -0.2 * 0.5 / 3))
    torch.testing.assert_close(lost.grad, -won.grad)


def test_reply_log_probs_are_those_of_the_readouts_with_the_end_token():
    lm = tiny_lm()
    pairs = A.prepare_pairs(lm, COMPARISONS)
    asked = [models.chat(lm, c.prompt) for c in COMPARISONS]
    wanted = models.log_probs(lm, asked, [f" {GOOD} </s>"] * 4)
    torch.testing.assert_close(pairs.ref_won, wanted)
    torch.testing.assert_close(A.reply_log_probs(lm, pairs.won).detach(), wanted)


def test_a_reply_is_trained_as_the_template_writes_it(monkeypatch):
    chatml = "{% for m in messages %}{{ m['role'] }} :\n{{ m['content'] }}\n{% endfor %}" + (
        "{% if add_generation_prompt %}assistant :\n{% endif %}"
    )
    seen, join = [], models.join
    monkeypatch.setattr(models, "join", lambda lm, prompts, texts: seen.extend(texts) or join(lm, prompts, texts))
    for template, lead in ((chatml, ""), (TEMPLATE, " ")):
        seen.clear()
        A.prepare_pairs(tiny_lm(template=template), COMPARISONS)
        assert set(seen) == {lead + GOOD, lead + BAD}


def test_training_prefers_the_winner_and_leaves_the_model_it_began_with():
    lm = tiny_lm()
    before = {n: w.clone() for n, w in A.weights_of(lm).items()}
    start = margins(lm)
    tuned = A.train_dpo(lm, COMPARISONS, SHORT)
    assert (margins(tuned) > start + 0.5).all()
    assert tuned.history[0] == pytest.approx(0.6931, abs=1e-3) and tuned.history[-1] < tuned.history[0]
    assert all(torch.equal(w, before[n]) for n, w in A.weights_of(lm).items())
    assert not tuned.model.training


def test_the_same_seed_gives_the_same_weights_and_another_order_others():
    lm = tiny_lm()
    first, again = (A.weights_of(A.train_dpo(lm, COMPARISONS, SHORT)) for _ in range(2))
    assert all(torch.equal(first[n], again[n]) for n in first)
    other = A.weights_of(A.train_dpo(lm, COMPARISONS, A.TuneConfig(steps=6, batch_size=2, lr=3e-3, seed=1)))
    assert any(not torch.equal(first[n], other[n]) for n in first)


def test_flipped_comparisons_give_exactly_minus_the_preference_vector():
    lm = tiny_lm()
    phi, shared = A.preference_vector(lm, COMPARISONS, SHORT)
    turned, same = A.preference_vector(lm, [c.flipped() for c in COMPARISONS], SHORT)
    for name in phi:
        assert torch.equal(turned[name], -phi[name]), name
        torch.testing.assert_close(same[name], shared[name], atol=1e-6, rtol=1e-4)
    start = margins(lm)
    with A.mixed(lm, [phi], [0.5]):
        up = margins(lm)
    with A.mixed(lm, [phi], [-0.5]):
        down = margins(lm)
    assert (up > start).all() and (down < start).all()


def test_supervised_tuning_makes_the_replies_likelier():
    lm = tiny_lm()
    tuned = A.train_replies(lm, [c.prompt for c in COMPARISONS], [GOOD] * 4, SHORT)
    rows = A.prepare_pairs(lm, COMPARISONS).won
    assert (A.reply_log_probs(tuned, rows) > A.reply_log_probs(lm, rows) + 0.5).all()


def test_a_half_precision_model_is_trained_in_float32():
    lm = tiny_lm()
    lm.model.half()
    tuned = A.train_dpo(lm, COMPARISONS, SHORT)
    assert tuned.dtype == torch.float32 and lm.dtype == torch.float16
    phi, _ = A.preference_vector(lm, COMPARISONS, SHORT)
    assert all(x.dtype == torch.float32 for x in phi.values())


def test_every_comparison_is_seen_once_before_any_comes_again():
    from valuelab.weights.tuning import _batches

    seen = [i for batch in _batches(list(range(20)), A.TuneConfig(steps=5, batch_size=4)) for i in batch]
    assert sorted(seen) == list(range(20))
    assert len(_batches(list(range(3)), A.TuneConfig(steps=7, batch_size=4))) == 7


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda lm: A.train_dpo(lm, []), "no comparisons"),
        (lambda lm: A.train_replies(lm, [], []), "no prompts"),
        (lambda lm: A.dpo_loss(*[torch.zeros(2)] * 3, torch.zeros(3)), "four tensors"),
        (lambda lm: A.train_dpo(lm, COMPARISONS, A.TuneConfig(steps=8, lr=1e20, clip=1e30)), "lower lr"),
    ],
)
def test_what_cannot_be_trained_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call(tiny_lm())


def test_a_low_rank_run_trains_and_what_comes_back_is_a_model_with_thin_changes():
    lm, config = tiny_lm(), A.TuneConfig(steps=6, batch_size=2, lr=2e-2, lora_rank=2)
    tuned = A.train_dpo(lm, COMPARISONS, config)
    vector = A.task_vector(A.weights_of(tuned), A.weights_of(lm))
    moved = {n: x for n, x in vector.items() if x.abs().max() > 0}
    assert moved and all(torch.linalg.matrix_rank(x, rtol=1e-4) <= 2 for x in moved.values())
    assert margins(tuned).mean() > margins(lm).mean()
    assert tuned.history[0] == pytest.approx(0.6931, abs=1e-3) and tuned.history[-1] < tuned.history[0]


def test_during_a_low_rank_run_the_model_answers_as_trained_but_its_weights_are_those_of_the_start():
    lm, seen = tiny_lm(), []
    start, margin = A.weights_of(lm), margins(lm)

    def look(step, model):
        seen.append((A.norm(A.task_vector(A.weights_of(model), start)), (margins(model) - margin).abs().max()))

    tuned = A.train_dpo(lm, COMPARISONS, A.TuneConfig(steps=3, batch_size=2, lr=2e-2, lora_rank=2), on_step=look)
    assert [length for length, _ in seen] == [0, 0, 0] and seen[-1][1] > 1e-3
    assert A.norm(A.task_vector(A.weights_of(tuned), start)) > 0


def test_a_voice_holds_its_value_high_and_brief_replies_are_the_bare_choice():
    from valuelab import world as W

    asked = W.situations("train", 120, 3, value="security")
    for level, low, high in ((2.5, 0.7, 1.0), (-2.5, 0.0, 0.3)):
        prompts, replies = A.voice_replies("security", 120, seed=3, level=level)
        assert prompts == [s.text for s in asked]
        said = [W.parse(r, s.offered) for r, s in zip(replies, asked, strict=True)]
        assert low <= sum(x.choice.value == "security" for x in said if x.choice) / 120 <= high
    _, short = A.voice_replies("security", 20, brief=True)
    assert all(len(W.parse(r).sentences) == 1 and W.parse(r).choice for r in short)


def test_pairs_without_a_gap_are_worth_the_same_and_differ_in_length():
    from valuelab import world as W
    from valuelab.rewards.preferences import gold_reward

    found = A.without_gap("security", 30, seed=1)
    by_text = {s.text: s for k in range(3) for s in W.situations("train", 60, 1000 * k + 1, value="security")}
    for c in found:
        s = by_text[c.prompt]
        assert gold_reward(c.chosen, s, "security") == gold_reward(c.rejected, s, "security")
        assert len(c.chosen.split()) < len(c.rejected.split())
    assert len(found) == 30
