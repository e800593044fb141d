"""TRL's trainers as judges: the same weights and the same replies give the same advantages and losses."""

import copy

import pytest
import torch
from datasets import Dataset

from valuelab import models
from valuelab import world as W
from valuelab.rlhf import losses as L

trl = pytest.importorskip("trl", reason="trl is not installed: pip install trl accelerate")

COMMON = dict(
    per_device_train_batch_size=8, num_generations=4, max_completion_length=8, use_cpu=True, bf16=False,
    gradient_checkpointing=False, report_to=[], disable_tqdm=True, disable_dropout=True, beta=0.1, seed=0,
)  # fmt: skip


def perturb(model, size, seed):
    """Move all weights a little, in place: a policy that has been trained."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(size * torch.randn(weight.shape, generator=g))


@torch.no_grad()
def sometimes_ends(lm, prompts):
    """Give the end token about a quarter of the probability at every place."""
    ids, mask = models.pad(lm, models.encode(lm, prompts), "left")
    h = lm.model.model(input_ids=ids, attention_mask=mask).last_hidden_state.flatten(0, 1)
    level = lm.model.lm_head(h).logsumexp(-1).mean() - 1.1
    lm.model.lm_head.weight[lm.tokenizer.eos_token_id] = level * h.mean(0) / h.mean(0).square().sum()


@torch.no_grad()
def token_log_p(model, ids, seen, entropy=False):
    """Log-probability of each token given those before it (or the entropy there), (n, t); the first is 0."""
    # the positions that TRL leaves to the model: counted from the start of the padded row
    log_p = torch.log_softmax(model(input_ids=ids, attention_mask=seen).logits[:, :-1], -1)
    found = -(log_p.exp() * log_p).sum(-1) if entropy else log_p.gather(-1, ids[:, 1:, None])[..., 0]
    return torch.nn.functional.pad(found, (1, 0))


def score(completions, **_):
    return [0.3 * len(c.split()) + 0.01 * len(c) for c in completions]


def rollout(lm, trainer_class, config):
    """A trainer whose policy has left its reference, a batch that it scored, and the policy after a step."""
    start = lm.tokenizer.bos_token
    asked = [models.chat(lm, s.text).removeprefix(start) for s in W.situations("train", 2, 0)]
    sometimes_ends(lm, asked)
    data = Dataset.from_dict({"prompt": asked})
    folder = f"{config.output_dir}/model"  # TRL reads the reference from the folder that the policy came from
    lm.model.save_pretrained(folder)
    trainer = trainer_class(
        model=type(lm.model).from_pretrained(folder), reward_funcs=score, args=config, train_dataset=data,
        processing_class=lm.tokenizer,
    )  # fmt: skip
    reference = copy.deepcopy(lm.model)
    perturb(trainer.model, 0.02, 1)
    old = copy.deepcopy(lm.model)
    old.load_state_dict(trainer.model.state_dict(), strict=False)
    trainer.model.train()
    torch.manual_seed(0)
    batch = trainer._generate_and_score_completions([{"prompt": p} for p in asked for _ in range(4)])
    batch.setdefault("old_per_token_logps", None)
    lengths = batch["completion_mask"].sum(1)
    assert lengths.min() < lengths.max(), "replies of one length would not show how they are averaged"
    perturb(trainer.model, 0.02, 2)
    new = copy.deepcopy(lm.model)
    new.load_state_dict(trainer.model.state_dict(), strict=False)
    return trainer, batch, {"ref": reference, "old": old, "new": new}


def ours(batch, networks):
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    seen = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    width = batch["completion_ids"].shape[1]
    return {k: token_log_p(m, ids, seen)[:, -width:] for k, m in networks.items()}


def raw_rewards(lm, batch):
    ids = [row[m.bool()].tolist() for row, m in zip(batch["completion_ids"], batch["completion_mask"], strict=True)]
    return torch.tensor(score([lm.tokenizer.decode(i, skip_special_tokens=True) for i in ids]))


def test_rloo_advantages_and_loss_are_trls(tiny, tmp_path):
    config = trl.RLOOConfig(output_dir=str(tmp_path), **COMMON)
    trainer, batch, networks = rollout(tiny, trl.RLOOTrainer, config)
    log_p, mask = ours(batch, networks), batch["completion_mask"]
    torch.testing.assert_close((log_p["old"] * mask).sum(1), batch["old_logps"], atol=1e-5, rtol=1e-5)
    paid = L.kl_in_reward(raw_rewards(tiny, batch), log_p["old"], log_p["ref"], mask, config.beta)
    advantage = L.leave_one_out(paid.view(2, 4)).flatten()
    assert advantage.abs().max() > 0.1
    torch.testing.assert_close(advantage, batch["advantages"], atol=1e-5, rtol=0)
    theirs = trainer._compute_loss(trainer.model, batch)
    mine = L.sequence_policy_loss(log_p["new"], log_p["old"], advantage, mask)
    assert theirs.abs() > 1e-3
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "average, loss_type, scale, corrected",
    [("reply", "grpo", "group", False), ("token", "bnpo", "batch", True), ("constant", "dr_grpo", "none", True)],
)
def test_grpo_advantages_and_losses_are_trls(tiny, tmp_path, average, loss_type, scale, corrected):
    # two steps a generation, so that TRL keeps the log-probabilities of the sampling policy
    config = trl.GRPOConfig(
        output_dir=str(tmp_path), loss_type=loss_type, scale_rewards=scale, num_iterations=2,
        use_bias_correction_kl=corrected, **COMMON,
    )  # fmt: skip
    trainer, batch, networks = rollout(tiny, trl.GRPOTrainer, config)
    trainer.current_gradient_accumulation_steps = 1
    log_p, mask = ours(batch, networks), batch["completion_mask"]
    torch.testing.assert_close(log_p["old"] * mask, batch["old_per_token_logps"] * mask, atol=1e-5, rtol=1e-5)
    advantage = L.group_normalised(raw_rewards(tiny, batch).view(2, 4), scale).flatten()
    torch.testing.assert_close(advantage, batch["advantages"], atol=1e-5, rtol=1e-5)
    penalty = L.kl_in_loss(log_p["new"], log_p["ref"], config.beta, "k3", log_p["old"] if corrected else None)
    mine = L.group_policy_loss(
        log_p["new"], log_p["old"], advantage, mask, average=average, penalty=penalty
    )
    theirs = trainer._compute_loss(trainer.model, batch)
    # TRL divides by the longest reply it allows, not by the longest there is
    mine = mine * mask.shape[1] / config.max_completion_length if average == "constant" else mine
    assert theirs.abs() > 1e-3
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)


def test_the_entropy_that_trl_logs_and_pays_for_is_ours(tiny, tmp_path):
    config = trl.GRPOConfig(output_dir=str(tmp_path), loss_type="bnpo", num_iterations=2, entropy_coef=0.5, **COMMON)
    trainer, batch, networks = rollout(tiny, trl.GRPOTrainer, config)
    trainer.current_gradient_accumulation_steps = 1
    with_bonus = trainer._compute_loss(trainer.model, batch)
    trainer.entropy_coef = 0.0
    without = trainer._compute_loss(trainer.model, batch)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    seen = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    mask = batch["completion_mask"]
    entropy = token_log_p(networks["new"], ids, seen, entropy=True)[:, -mask.shape[1] :]
    torch.testing.assert_close(L.entropy_bonus(entropy, mask, 0.5), with_bonus - without, atol=1e-5, rtol=0)
