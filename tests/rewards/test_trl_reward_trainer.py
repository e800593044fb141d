"""TRL's RewardTrainer as a cross-check: the same weights and pairs give the same loss as ours."""

import pytest
import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from valuelab import models
from valuelab.models import LM
from valuelab.rewards.preferences import world_comparisons
from valuelab.rewards.reward_model import RewardModel, pair_loss
from valuelab.world.tokenizer import build_tokenizer

trl = pytest.importorskip("trl", reason="trl is not installed: pip install trl accelerate")


def test_loss_and_gradient_of_trl_are_ours_on_the_same_pairs(tmp_path):
    tokenizer = build_tokenizer()
    tokenizer.padding_side = "left"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=128,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id, num_labels=1,
    )  # fmt: skip
    lm = LM(LlamaForCausalLM(config).eval(), tokenizer)
    ours = RewardModel(lm, ["security"]).eval()
    theirs = LlamaForSequenceClassification(config)
    theirs.model.load_state_dict(ours.backbone.state_dict())
    theirs.score.load_state_dict(ours.head.state_dict())

    pairs = world_comparisons("security", 8, seed=0)
    # TRL adds the start token once more to texts that begin with it: leave that to TRL
    prompts = [models.chat(lm, c.prompt).removeprefix(tokenizer.bos_token) for c in pairs]
    dataset = Dataset.from_dict(
        {
            "chosen": [p + " " + c.chosen for p, c in zip(prompts, pairs, strict=True)],
            "rejected": [p + " " + c.rejected for p, c in zip(prompts, pairs, strict=True)],
            "margin": [0.3] * 8,
        }
    )
    args = trl.RewardConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=8, center_rewards_coefficient=0.01,
        use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[], max_length=128,
        disable_tqdm=True, disable_dropout=True,
    )  # fmt: skip
    trainer = trl.RewardTrainer(
        model=theirs, args=args, train_dataset=dataset, processing_class=tokenizer
    )
    # the trainer appends the end token itself: the same token ids must reach both models
    ids = [list(row) for row in trainer.train_dataset["chosen_ids"]]
    expected = ours.tokens([c.prompt for c in pairs], [c.chosen for c in pairs])
    assert ids == expected

    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(8)])
    loss = trainer.compute_loss(theirs, dict(batch))
    loss.backward()

    ours.zero_grad()
    won = ours(*models.pad(lm, expected, "right"))[:, 0]
    rejected = ours.tokens([c.prompt for c in pairs], [c.rejected for c in pairs])
    lost = ours(*models.pad(lm, rejected, "right"))[:, 0]
    mine = pair_loss(won, lost, margin=0.3, centre=0.01)
    mine.backward()
    torch.testing.assert_close(loss, mine, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(theirs.score.weight.grad, ours.head.weight.grad, atol=1e-5, rtol=1e-4)
    embedding = theirs.model.embed_tokens.weight.grad
    torch.testing.assert_close(
        embedding, ours.backbone.embed_tokens.weight.grad, atol=1e-5, rtol=1e-3
    )
