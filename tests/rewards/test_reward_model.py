"""Reward models: losses by hand, gradients by autograd, training on noise that is known."""

import math
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import TEMPLATE, real_folder, tiny_lm, tiny_model, word_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from valuelab import data, models
from valuelab.models import LM
from valuelab.rewards.calibration import accuracy
from valuelab.rewards.preferences import (
    Comparison,
    bayes_rate,
    course_comparisons,
    dialogue,
    from_records,
    gold_reward,
    shuffled,
    world_comparisons,
)
from valuelab.rewards.reward_model import (
    RewardConfig,
    RewardModel,
    fit_context,
    fit_linear_reward,
    margin_scaled_loss,
    pair_features,
    pair_loss,
    pair_loss_gradient,
    reply_features,
    train_reward_model,
)
from valuelab.world import situations
from valuelab.world.tokenizer import build_tokenizer

numbers = st.lists(st.floats(-20, 20), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def lm():
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=128,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )  # fmt: skip
    return LM(LlamaForCausalLM(config).eval(), tokenizer)


@given(numbers, st.floats(-5, 5))
def test_a_function_of_the_prompt_leaves_the_pair_loss_unchanged_and_centring_finds_it(gaps, f):
    won = torch.tensor(gaps, dtype=torch.float64)
    lost = torch.zeros_like(won)
    torch.testing.assert_close(pair_loss(won + f, lost + f), pair_loss(won, lost))
    if abs(f) > 0.1:
        assert pair_loss(won / 2 + f, -won / 2 + f, centre=0.01) > pair_loss(
            won / 2, -won / 2, centre=0.01
        )


def test_centring_takes_the_sum_and_spares_the_difference():
    won = torch.tensor([5.0], requires_grad=True)
    lost = torch.tensor([-5.0], requires_grad=True)
    torch.testing.assert_close(pair_loss(won, lost, centre=1.0), pair_loss(won, lost))


@given(numbers)
def test_the_gradient_by_hand_is_that_of_autograd(gaps):
    won = torch.tensor(gaps, dtype=torch.float64, requires_grad=True)
    lost = torch.linspace(-1, 1, len(gaps), dtype=torch.float64).requires_grad_()
    wanted = torch.autograd.grad(pair_loss(won, lost), (won, lost))
    for got, want in zip(pair_loss_gradient(won.detach(), lost.detach()), wanted, strict=True):
        torch.testing.assert_close(got, want)


def test_a_margin_raises_the_loss_and_scaling_listens_more_to_clear_pairs():
    won, lost = torch.tensor([1.0]), torch.tensor([0.0])
    assert pair_loss(won, lost, margin=1.0).item() == pytest.approx(math.log(2))
    plain = margin_scaled_loss(won, lost, torch.tensor([0.0]))
    torch.testing.assert_close(plain, pair_loss(won, lost))
    wrong = margin_scaled_loss(lost, won, torch.tensor([50.0]))
    assert wrong.item() == pytest.approx(math.log(1 + math.exp(1.5)))
    with pytest.raises(ValueError, match="one of each"):
        pair_loss(torch.zeros(2), torch.zeros(3))


def test_world_comparisons_are_noisy_at_the_planted_rate_and_repeatable():
    pairs = world_comparisons("security", 600, seed=3)
    assert pairs == world_comparisons("security", 600, seed=3)
    rate = bayes_rate(pairs)
    right = sum((c.p > 0.5) + 0.5 * (c.p == 0.5) for c in pairs) / 600
    assert 0.7 < rate < 0.95
    assert right == pytest.approx(rate, abs=0.06)
    assert bayes_rate(world_comparisons("security", 300, seed=3, sharpness=0.0)) == 0.5


def test_gold_reward_counts_the_choice_and_the_stance_and_punishes_nonsense():
    (s,) = situations("train", 1, 0, value="security")
    serving = s.first if s.first.value == "security" else s.second
    other = s.second if serving is s.first else s.first
    for_it = gold_reward(f"I will {serving.base}.", s, "security")
    against = gold_reward(f"I will {other.base}.", s, "security")
    assert for_it > 0 > against
    stated = gold_reward(f"I will {serving.base}. Safety matters to me.", s, "security")
    assert stated == pytest.approx(for_it + 1)
    assert gold_reward("gate gate gate", s, "security") == -2


def test_shuffled_preferences_keep_the_pairs_and_lose_the_judge():
    pairs = world_comparisons("security", 400, seed=0)
    mixed = shuffled(pairs, seed=1)
    same = sum(a == b for a, b in zip(pairs, mixed, strict=True))
    assert 150 < same < 250
    assert sum(c.p for c in mixed) / 400 == pytest.approx(0.5, abs=0.06)


def test_training_learns_a_plain_preference_and_never_touches_the_language_model(lm):
    before = {k: v.clone() for k, v in lm.model.state_dict().items()}
    good, bad = "Safety matters to me.", "Safety means little to me."
    places = ["at home", "at work", "at school", "by the sea"]
    pairs = [Comparison(f"Tell me about {p}.", good, bad, "security") for p in places] * 8
    pairs += [Comparison(f"Tell me about {p}.", bad, good, "stimulation") for p in places] * 8
    model = train_reward_model(lm, pairs, RewardConfig(epochs=6, batch_size=8, lr=2e-3))
    assert model.names == ("security", "stimulation")
    assert model.history[-1] < 0.5 * model.history[0]
    assert (model.gaps(pairs) > 0).all()
    assert abs(float(model.score([c.prompt for c in pairs], [c.chosen for c in pairs]).mean())) < 1
    assert all(torch.equal(v, before[k]) for k, v in lm.model.state_dict().items())


def test_scores_do_not_depend_on_the_batch_and_survive_saving(lm, tmp_path):
    model = RewardModel(lm, ["a", "b"], seed=1).eval()
    prompts = ["Tell me.", "Should I lock the gate or ride a motorbike?", "What is it?"]
    replies = ["I will lock the gate.", "Fun.", "Safety matters to me. Fun comes last for me."]
    together = model.score(prompts, replies)
    alone = torch.cat([model.score([p], [r]) for p, r in zip(prompts, replies, strict=True)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    model.save(tmp_path / "rm")
    again = RewardModel.load(tmp_path / "rm", lm)
    torch.testing.assert_close(again.score(prompts, replies), together)
    torch.testing.assert_close(model.scorer("b")(prompts, replies), together[:, 1])


def test_the_reward_is_read_at_the_end_token(lm):
    model = RewardModel(lm, ["a"])
    (row,) = model.tokens(["Tell me."], ["I will lock the gate."])
    assert row[-1] == lm.tokenizer.eos_token_id and row[-2] != lm.tokenizer.eos_token_id


def test_two_seeds_start_from_different_heads(lm):
    a, b = RewardModel(lm, ["a"], seed=0), RewardModel(lm, ["a"], seed=1)
    assert not torch.equal(a.head.weight, b.head.weight)


def test_bad_settings_and_unknown_heads_are_refused(lm):
    pair = Comparison("q", "a", "b", "x")
    with pytest.raises(ValueError, match="choose pair"):
        train_reward_model(lm, [pair], RewardConfig(loss="hinge"))
    with pytest.raises(ValueError, match="no comparisons"):
        train_reward_model(lm, [])
    with pytest.raises(ValueError, match="distinct"):
        RewardModel(lm, ["a", "a"])
    with pytest.raises(KeyError, match="no head"):
        RewardModel(lm, ["a"]).gaps([pair])
    with pytest.raises(ValueError, match="planted probability"):
        bayes_rate([pair])


def test_a_linear_head_recovers_a_planted_direction_and_agrees_with_scikit_learn(lm):
    from sklearn.linear_model import LogisticRegression

    torch.manual_seed(0)
    w = torch.randn(6, dtype=torch.float64)
    z = torch.randn(4000, 6, dtype=torch.float64)
    z = torch.where((torch.rand(4000) < torch.sigmoid(z @ w))[:, None], z, -z)
    found = fit_linear_reward(z, ridge=1e-6).weight
    assert torch.cosine_similarity(found, w, dim=0) > 0.99
    both = torch.cat([z, -z]).numpy()
    label = [1] * 4000 + [0] * 4000
    judge = LogisticRegression(C=1e9, fit_intercept=False, tol=1e-8).fit(both, label)
    torch.testing.assert_close(found, torch.from_numpy(judge.coef_[0]), atol=1e-3, rtol=1e-3)


def test_pair_features_have_one_row_per_comparison_and_differ(lm):
    pairs = world_comparisons("security", 6, seed=0)
    won, lost = pair_features(lm, pairs)
    assert won.shape == lost.shape == (6, 2 * 32)
    assert not torch.allclose(won, lost)


def test_a_reply_is_read_as_the_chat_template_writes_it(monkeypatch):
    chatml = "{% for m in messages %}{{ m['role'] }} :\n{{ m['content'] }}\n{% endfor %}" + (
        "{% if add_generation_prompt %}assistant :\n{% endif %}"
    )
    seen, encode = [], models.encode

    def remember(lm, texts):
        seen.extend(texts)
        return encode(lm, texts)

    monkeypatch.setattr(models, "encode", remember)
    for template, end in ((chatml, "assistant :\nkeep money ."), (TEMPLATE, "assistant : keep money .")):
        small = tiny_lm(template=template)
        for read in (RewardModel(small, ["a"]).tokens, lambda *x, lm=small: reply_features(lm, *x)):
            seen.clear()
            read(["we"], ["keep money ."])
            assert any(text.endswith(end) for text in seen), seen


def test_a_word_head_that_reads_less_than_a_block_writes_gets_a_reward_head_of_its_width():
    model = RewardModel(LM(tiny_model("opt", word_embed_proj_dim=16), word_tokenizer()), ["a"])
    assert model.score(["we", "you"], ["help .", "keep money ."]).shape == (2, 1)
    assert model.embed(["we"], ["help ."]).shape == (1, 16)


def test_a_transcript_becomes_turns_and_any_other_prompt_one_message():
    talk = "\n\nHuman: Beans?\n\nAssistant: Cook them.\n\nHuman: How?\n\nHuman: Quick.\n\nAssistant:"
    user, before = dialogue(talk)
    assert user == "How?\n\nQuick."
    assert [m["role"] for m in before] == ["user", "assistant"] and before[1]["content"] == "Cook them."
    for plain in ("Beans?", "", "\n\nHuman: Beans?", "\n\nAssistant: I\n\nAssistant:"):
        assert dialogue(plain) == (plain, [])


def test_pairs_longer_than_the_context_are_left_out_aloud(lm, capsys):
    short = Comparison("Tell me.", "Fun.", "Safety matters to me.", "a")
    long = Comparison("Tell me.", "Fun. " * 200, "Fun.", "a")
    assert fit_context(lm, [short, long]) == [short]
    assert "1 of 2 comparisons left out" in capsys.readouterr().out
    with pytest.raises(ValueError, match="tokens"):
        train_reward_model(lm, [long])


def preferences_of(name, folder):
    """Real comparisons that differ in more than a letter; those of the course without a folder."""
    if name == "course_preferences":
        return course_comparisons("train")
    judged = (r for r in data.read(name, folder / name) if len(r.choices) == 2 and r.response in r.choices)
    found = from_records(islice(judged, 200), head=name)
    return [c for c in found if min(len(c.chosen), len(c.rejected)) > 10]


@pytest.mark.filterwarnings("ignore:.*has no chat template")
@pytest.mark.parametrize(
    "name",
    ["hh_rlhf", "progressgym", "constitutional_harmlessness", "ethics", "course_preferences"],
)
def test_a_reward_is_learnt_from_each_preference_dataset_by_a_real_model(name, real_data):
    model = models.load(real_folder())
    pairs = preferences_of(name, real_data)
    pairs = sorted(pairs, key=lambda c: len(c.prompt + c.chosen + c.rejected))[:16]
    reward = train_reward_model(model, pairs, RewardConfig(epochs=6, batch_size=8, lr=2e-3))
    assert set(reward.names) == {c.head for c in pairs}
    _, low, _ = accuracy(reward.gaps(pairs))
    assert low > 0.5, "16 pairs seen six times are ordered no better than by a coin"


def test_records_become_comparisons_and_others_are_left_out():
    from valuelab.data.record import Record

    records = [
        Record("a:1", "a", prompt="q", choices=("x", "y"), response="y", value="power"),
        Record("a:2", "a", prompt="q", choices=("x", "y", "z"), response="y"),
        Record("a:3", "a", prompt="q", choices=("x", "y"), response="neither"),
    ]
    (one,) = from_records(records)
    assert (one.chosen, one.rejected, one.head) == ("y", "x", "power")
