"""The loop on a tiny random model: what is sampled, what is learnt, and that a killed run goes on bit for bit."""

import copy
import math

import pytest
import torch
from safetensors import safe_open
from tiny_models import tiny_model, word_tokenizer

from valuelab import models
from valuelab import world as W
from valuelab.models import LM
from valuelab.rlhf import loop
from valuelab.rlhf.loop import Config, Trainer, read_metrics, reread, sample_groups, train

SITUATIONS = W.situations("train", 6, 0)
QUESTIONS = [s.text for s in SITUATIONS]
SMALL = dict(prompts=3, replies=4, max_new_tokens=6, lr=3e-3, warmup=1)


def many_words(questions, replies):
    """Pays for words from the first half of the alphabet."""
    return torch.tensor([sum(w[:1].lower() < "m" for w in r.split()) / 6 for r in replies])


def settings(**changes) -> Config:
    return Config(**{**SMALL, **changes})


def weights(lm):
    return {k: v.detach().clone() for k, v in lm.model.named_parameters()}


def same(a, b) -> bool:
    return all(torch.equal(a[k], b[k]) for k in a)


def test_sampled_log_probabilities_are_those_of_reading_again_and_of_the_library(tiny):
    prompts = [models.chat(tiny, q) for q in QUESTIONS[:3]]
    g = torch.Generator().manual_seed(0)
    batch = sample_groups(tiny, prompts, 4, max_new_tokens=6, temperature=0.7, generator=g)
    log_p, entropy, states = reread(tiny, batch, 0.7, states=True)
    torch.testing.assert_close(log_p * batch.mask, batch.log_old, atol=2e-5, rtol=1e-4)
    assert batch.group == 4 and states.shape == (*batch.tokens.shape, tiny.d_model)
    assert (entropy[batch.mask] > 0).all() and (entropy[~batch.mask] == 0).all()
    plain = reread(tiny, batch)[0]
    for i, row in enumerate(batch.tokens):  # each reply alone, unpadded, without a cache
        ids = models.encode(tiny, prompts)[i // 4] + row.tolist()
        alone = models.token_log_probs(tiny, torch.tensor([ids]), torch.ones(1, len(ids)).long())[0, -len(row) :]
        torch.testing.assert_close(plain[i] * batch.mask[i], alone * batch.mask[i], atol=2e-5, rtol=1e-4)


def test_the_gradient_through_the_shared_prompt_is_that_of_reading_it_anew_for_each_reply(tiny):
    prompts = [models.chat(tiny, q) for q in QUESTIONS[:2]]
    batch = sample_groups(tiny, prompts, 3, max_new_tokens=5, generator=torch.Generator().manual_seed(1))
    weight = tiny.model.model.embed_tokens.weight
    mine = torch.autograd.grad((reread(tiny, batch)[0] * batch.mask).sum(), weight)[0]
    ids = torch.cat([batch.prompt.repeat_interleave(3, 0), batch.tokens], 1)
    seen = torch.cat([batch.prompt_mask.repeat_interleave(3, 0), torch.ones_like(batch.tokens)], 1)
    place = (seen.cumsum(1) - 1).clamp(min=0)
    logits = tiny.model(input_ids=ids, attention_mask=seen, position_ids=place).logits
    log_p = logits[:, -batch.tokens.shape[1] - 1 : -1].log_softmax(-1).gather(-1, batch.tokens[..., None])[..., 0]
    plain = torch.autograd.grad((log_p * batch.mask).sum(), weight)[0]
    torch.testing.assert_close(mine, plain, atol=1e-4, rtol=1e-4)


def test_replies_that_end_leave_the_batch_and_like_lengths_are_read_together(tiny, monkeypatch):
    stops = list(range(0, len(tiny.tokenizer), 4))  # about a quarter of all draws ends a reply
    monkeypatch.setattr(models, "stop_tokens", lambda lm: stops)
    sizes, step = [], models.Stepper.__call__
    monkeypatch.setattr(models.Stepper, "__call__", lambda self, ids: sizes.append(len(ids)) or step(self, ids))
    prompts = [models.chat(tiny, q) for q in QUESTIONS[:3]]
    batch = sample_groups(tiny, prompts, 8, max_new_tokens=12, generator=torch.Generator().manual_seed(2))
    lengths = batch.mask.sum(1).tolist()
    assert len(set(lengths)) > 3 and sizes[0] == 3 and sizes[1] > sizes[-1], (lengths, sizes)
    for row, length in zip(batch.tokens.tolist(), lengths, strict=True):  # cut at the first end, not elsewhere
        assert not set(row[: length - 1]) & set(stops) and (row[length - 1] in stops or length == 12)
    whole = reread(tiny, batch, states=True)
    torch.testing.assert_close(whole[0], batch.log_old, atol=2e-5, rtol=1e-4)
    monkeypatch.setattr(loop, "TOGETHER", 5)
    for one, other in zip(whole, reread(tiny, batch, states=True), strict=True):
        torch.testing.assert_close(one[batch.mask], other[batch.mask], atol=2e-5, rtol=1e-4)


def test_the_reward_rises_and_the_reference_stays_as_it_was(tiny):
    before = weights(tiny)
    result = train(tiny, QUESTIONS, many_words, settings(steps=15, replies=8, lr=1e-2, beta=0.01))
    assert same(before, weights(tiny))
    first, last = (sum(r["reward"] for r in rows) / 5 for rows in (result.rows[:5], result.rows[-5:]))
    assert last > first + 0.07, (first, last)
    assert result.rows[-1]["kl"] > 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_small_steps_reach_the_policy_of_a_model_in_half_precision(tiny, dtype):
    tiny.model.to(dtype)
    trainer = Trainer(tiny, QUESTIONS, many_words, settings(lr=1e-6, algorithm="reinforce"))
    before = weights(trainer.policy)
    rows = [trainer.step() for _ in range(2)]
    moved = torch.cat([(w != before[k]).flatten() for k, w in trainer.policy.model.named_parameters()])
    assert moved.float().mean() > 0.5 and all(math.isfinite(x) for row in rows for x in row.values())
    assert (tiny.dtype, trainer.policy.dtype) == (dtype, torch.float32)


def test_ppo_runs_where_the_word_head_reads_less_than_a_block_writes():
    lm = LM(tiny_model("opt", word_embed_proj_dim=16), word_tokenizer())
    row = Trainer(lm, ["we help", "you never", "keep all"], many_words, settings(algorithm="ppo")).step()
    assert math.isfinite(row["reward"])


@pytest.mark.parametrize(
    "changes",
    [{}, {"algorithm": "grpo"}, {"algorithm": "reinforce"}, {"algorithm": "ppo", "critic_first": 0},
     {"control": "kl_cov", "updates": 2}, {"control": "clip_cov", "updates": 2}],
    ids=lambda c: "-".join(map(str, c.values())) or "rloo",
)  # fmt: skip
def test_a_step_of_every_algorithm_makes_what_had_an_advantage_likelier(tiny, changes, monkeypatch):
    trainer = Trainer(tiny, QUESTIONS, many_words, settings(lr=1e-3, **changes))
    seen = []

    def remember(batch, *args, original=trainer._advantages):
        seen.append((batch, original(batch, *args)))
        return seen[0][1]

    monkeypatch.setattr(trainer, "_advantages", remember)
    row = trainer.step()
    batch, (advantage, _) = seen[0]
    moved = (reread(trainer.policy, batch)[0].detach() - batch.log_old) * batch.mask
    assert float((moved * advantage).sum()) > 0
    assert (row["selected"] > 0) == ("control" in changes) and row["selected"] <= 0.02 * row["tokens"] + 1


def test_the_critic_learns_before_the_policy_moves(tiny):
    c = settings(algorithm="ppo", critic_first=6, updates=4, beta=0.0, value_lr=1e-2)
    trainer = Trainer(tiny, QUESTIONS, many_words, c)
    before, critic = weights(trainer.policy), copy.deepcopy(trainer.critic.state_dict())
    rows = [trainer.step() for _ in range(6)]
    assert same(before, weights(trainer.policy))
    assert max((v - critic[k]).abs().max() for k, v in trainer.critic.state_dict().items()) > 1e-2
    assert rows[-1]["critic_loss"] < rows[0]["critic_loss"] - 0.3
    trainer.step()
    assert not same(before, weights(trainer.policy))


def killed_after(steps):
    class Killed(Exception):
        pass

    def stop(trainer, row):
        if row["step"] + 1 == steps:
            raise Killed

    return Killed, stop


@pytest.mark.parametrize(
    "changes", [{}, {"algorithm": "ppo", "critic_first": 1}, {"control": "clip_cov", "updates": 2}]
)
def test_a_killed_run_goes_on_bit_for_bit(tiny, tmp_path, changes):
    c = settings(steps=4, checkpoint_every=2, **changes)
    whole = train(tiny, QUESTIONS, many_words, c, folder=tmp_path / "whole")
    for k in (1, 3):  # before the first checkpoint, and between two
        killed, stop = killed_after(k)
        folder = tmp_path / f"killed-{k}"
        with pytest.raises(killed):
            train(tiny, QUESTIONS, many_words, c, folder=folder, on_step=stop)
        torch.rand(3)  # another process would be in another random state
        again = train(tiny, QUESTIONS, many_words, c, folder=folder)
        assert same(weights(whole.policy), weights(again.policy))
        for a, b in zip(read_metrics(tmp_path / "whole"), read_metrics(folder), strict=True):
            assert {k: v for k, v in a.items() if k != "seconds"} == {k: v for k, v in b.items() if k != "seconds"}


def test_a_run_can_be_made_longer_but_not_other(tiny, tmp_path):
    train(tiny, QUESTIONS, many_words, settings(steps=2), folder=tmp_path)
    longer = train(tiny, QUESTIONS, many_words, settings(steps=4), folder=tmp_path)
    straight = train(tiny, QUESTIONS, many_words, settings(steps=4))
    assert same(weights(longer.policy), weights(straight.policy)) and len(read_metrics(tmp_path)) == 4
    with pytest.raises(ValueError, match=r"another config \(beta=0.05, here 0.2\)"):
        train(tiny, QUESTIONS, many_words, settings(steps=5, beta=0.2), folder=tmp_path)
    with pytest.raises(ValueError, match="another prompts"):
        train(tiny, QUESTIONS[::-1], many_words, settings(steps=5), folder=tmp_path)


def test_a_checkpoint_half_written_is_not_taken(tiny, tmp_path):
    train(tiny, QUESTIONS, many_words, settings(steps=2), folder=tmp_path)
    (tmp_path / "checkpoint-000003.part").mkdir()
    trainer = Trainer(tiny, QUESTIONS, many_words, settings(steps=2))
    assert trainer.resume(tmp_path) == 2
    with safe_open(tmp_path / "checkpoint-000002" / "state.safetensors", "pt") as file:
        assert {"generator", "torch"} <= set(file.keys())
    assert {p.suffix for p in (tmp_path / "checkpoint-000002").iterdir()} == {".safetensors", ".json"}


def test_equal_rewards_teach_nothing_and_are_counted(tiny):
    trainer = Trainer(tiny, QUESTIONS, lambda q, r: torch.ones(len(r)), settings(beta=0.0))
    before = weights(trainer.policy)
    row = trainer.step()
    assert row["flat"] == 1.0 and row["advantage"] == 0.0 and row["grad_norm"] == 0.0
    assert same(before, weights(trainer.policy))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_reward_that_is_not_finite_is_refused_with_its_reply_and_changes_nothing(tiny, bad):
    def reward(questions, replies):
        return torch.tensor([0.0] * (len(replies) - 1) + [bad])

    trainer = Trainer(tiny, QUESTIONS, reward, settings())
    before = weights(trainer.policy)
    with pytest.raises(ValueError, match=f"reward {bad} at step 0 for the reply"):
        trainer.step()
    assert same(before, weights(trainer.policy)) and trainer.rows == []


def test_what_cannot_be_run_is_refused_before_it_starts(tiny):
    for changes, says in (
        ({"replies": 1}, "use 2 or more, or algorithm='reinforce'"),
        ({"replies": 1, "algorithm": "grpo"}, "compares the replies"),
        ({"algorithm": "dpo"}, "choose rloo, grpo, ppo, reinforce"),
        ({"control": "clip"}, "choose none, clip_cov, kl_cov"),
        ({"beta": -1.0}, "must be 0 or more"),
        ({"steps": 0}, "must be positive"),
    ):
        with pytest.raises(ValueError, match=says):
            settings(**changes)
    with pytest.raises(ValueError, match="6 questions, but a step takes 9"):
        Trainer(tiny, QUESTIONS, many_words, settings(prompts=9))
    with pytest.raises(ValueError, match="return one each"):
        Trainer(tiny, QUESTIONS, lambda q, r: torch.zeros(3, 1), settings()).step()


def test_one_reply_a_prompt_will_do_with_the_rest_of_the_batch_as_baseline(tiny):
    row = Trainer(tiny, QUESTIONS, many_words, settings(algorithm="reinforce", replies=1, prompts=6)).step()
    assert row["advantage"] > 0 and row["grad_norm"] > 0


def test_the_kl_penalty_alone_calls_back_replies_that_the_reference_would_not_give(tiny, monkeypatch):
    trainer = Trainer(tiny, QUESTIONS, lambda q, r: torch.zeros(len(r)), settings(prompts=6, replies=16, beta=1.0))
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in trainer.policy.model.parameters():
            weight.add_(0.04 * torch.randn(weight.shape, generator=g))
    seen = []

    def remember(batch, score, log_ref, original=trainer._advantages):
        seen.append((batch, log_ref))
        return original(batch, score, log_ref)

    monkeypatch.setattr(trainer, "_advantages", remember)
    assert trainer.step()["kl"] > 0.5
    batch, log_ref = seen[0]
    strayed = ((batch.log_old - log_ref) * batch.mask).sum(1)
    moved = ((reread(trainer.policy, batch)[0].detach() - batch.log_old) * batch.mask).sum(1)
    assert float(torch.stack([strayed, moved]).corrcoef()[0, 1]) < -0.2
