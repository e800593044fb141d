"""Reward functions inside TRL's trainers (two real steps on the processor), OpenRLHF and verl."""

import json
import math
import os
import subprocess
import sys
import textwrap

import pytest
import torch

from valuelab.rewards.plugins import openrlhf_reward, trl_reward, trl_rewards, verl_score


def letters(letter):
    return lambda prompts, replies: torch.tensor([float(r.count(letter)) for r in replies])


def test_trl_reward_is_the_transform_of_the_score_against_its_own_column():
    f = trl_reward(letters("a"), name="a", r_ref="r_ref_a")
    logged = {}
    got = f(
        prompts=["p", "p"], completions=["aaa", "b"], completion_ids=[[1], [2]],
        r_ref_a=[1.0, 2.0], trainer_state=None, log_extra=None, log_metric=logged.__setitem__,
    )
    assert got == pytest.approx([-math.log1p(math.exp(-2)), -math.log1p(math.exp(2))])
    assert f.__name__ == "a" and not isinstance(f, torch.nn.Module)
    assert logged["a/p_good"] == pytest.approx((torch.sigmoid(torch.tensor([2.0, -2.0]))).mean())


def test_the_end_token_comes_back_only_where_the_reply_ended_by_itself():
    seen = []

    def score(prompts, replies):
        seen.extend(replies)
        return torch.zeros(len(replies))

    f = trl_reward(score, name="x", eos_token="<end>", eos_token_id=9)
    f(prompts=["p"] * 2, completions=["done", "cut"], completion_ids=[[1, 9], [1, 2]])
    assert seen == ["done<end>", "cut"]


def test_missing_reference_nan_and_wrong_length_are_refused():
    f = trl_reward(letters("a"), name="a", r_ref="r_ref_a")
    with pytest.raises(KeyError, match="add_column"):
        f(prompts=["p"], completions=["a"])
    with pytest.raises(ValueError, match="missing or NaN"):
        f(prompts=["p"], completions=["a"], r_ref_a=[None])
    bad = trl_reward(lambda p, r: torch.full((len(r),), math.nan), name="bad")
    with pytest.raises(ValueError, match="0 means perfect"):
        bad(prompts=["p"], completions=["a"])
    short = trl_reward(lambda p, r: torch.zeros(1), name="short")
    with pytest.raises(ValueError, match="one reward for each"):
        short(prompts=["p"] * 2, completions=["a", "b"])
    with pytest.raises(KeyError, match="no r_ref for b"):
        trl_rewards({"a": letters("a"), "b": letters("b")}, {"a": 0.0})


def test_openrlhf_and_verl_get_the_same_and():
    scorers = {"a": letters("a"), "b": letters("b")}
    reference = {"a": 1.0, "b": 0.0}
    out = openrlhf_reward(scorers)(["p: aab"], ["p: "], [json.dumps(reference)])
    assert set(out) == {"rewards", "scores", "extra_logs"}
    assert 0 <= out["scores"].item() <= 1
    info = {"prompt": "p: ", "r_ref": reference}
    single = verl_score(scorers)("world", "aab", None, info)
    assert single["score"] == pytest.approx(out["rewards"].item())
    assert single["a"] == 2
    with pytest.raises(ValueError, match="begin with its prompt"):
        openrlhf_reward(scorers)(["q"], ["p: "], [json.dumps(reference)])
    with pytest.raises(KeyError, match="extra_info"):
        verl_score(scorers)("world", "aab", None, {"prompt": "p"})


PROGRAM = textwrap.dedent(
    """
    import json, os, sys
    from pathlib import Path
    import torch
    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer
    from valuelab.rewards.plugins import trl_rewards
    from valuelab.world.tokenizer import build_tokenizer

    out, names = Path(sys.argv[1]), sys.argv[2:]
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id))
    calls = []

    def words(prompts, replies):
        return torch.tensor([len(set(x.split())) / 4 for x in replies])

    def short(prompts, replies):
        return torch.tensor([-len(x) / 20 for x in replies])

    functions, weights = trl_rewards(
        {"words": words, "short": short}, {"words": "r_ref_words", "short": -1.0},
        monitor={"gold": words}, eos_token=tokenizer.eos_token,
        eos_token_id=tokenizer.eos_token_id)

    def recorded(f):
        def g(**kw):
            got = f(**kw)
            ended = [int(i[-1]) == tokenizer.eos_token_id for i in kw["completion_ids"]]
            rows = zip(kw["completions"], ended, kw["r_ref_words"], got)
            calls.append([f.__name__, list(rows)])
            return got
        g.__name__ = f.__name__
        return g

    dataset = Dataset.from_dict({"prompt": ["I", "You", "At home", "At work"] * 2,
                                 "r_ref_words": [0.5, 1.0, 1.5, 2.0] * 2})
    kinds = {"grpo": (GRPOConfig, GRPOTrainer, {"scale_rewards": "none"}),
             "rloo": (RLOOConfig, RLOOTrainer, {})}
    result = {}
    for name in names:
        Config, Trainer, extra = kinds[name]
        # with beta > 0 TRL loads the reference model by name: it must lie in a folder.
        # Every rank its own, so that no rank reads what another is still writing
        folder = out / f"model-{name}-{os.getpid()}"
        model.save_pretrained(folder)
        args = Config(
            output_dir=str(out), max_steps=2, per_device_train_batch_size=4, num_generations=4,
            max_completion_length=6, use_cpu=True, bf16=False, gradient_checkpointing=False,
            learning_rate=1e-3, report_to=[], reward_weights=weights, logging_steps=1, beta=0.05,
            save_strategy="no", disable_tqdm=True, seed=3, **extra)
        trainer = Trainer(model=str(folder), reward_funcs=[recorded(f) for f in functions],
                          args=args, train_dataset=dataset, processing_class=tokenizer)
        trainer.train()
        after = trainer.accelerator.unwrap_model(trainer.model).state_dict()
        moved = any(not torch.equal(v, after[k].float()) for k, v in model.state_dict().items())
        logs = [x for x in trainer.state.log_history if "reward" in x]
        result[name] = {"moved": moved, "calls": calls[:], "logs": logs,
                        "processes": trainer.accelerator.num_processes}
        calls.clear()
    rank = trainer.accelerator.process_index
    (out / f"{rank}.json").write_text(json.dumps(result))
    """
)


def run(tmp_path, trainers, processes=1):
    (tmp_path / "program.py").write_text(PROGRAM)
    launch = [sys.executable]
    if processes > 1:  # accelerate's own launcher wants mpirun on CPU; torchrun does without
        launch += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        launch += ["--local-addr=localhost"]  # this machine's own name need not resolve
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
                   "ACCELERATE_USE_CPU": "true",
                   "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [*launch, str(tmp_path / "program.py"), str(tmp_path), *trainers], env=environment,
        capture_output=True, text=True, timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(processes)]


def check(record, processes=1):
    """Every reward TRL received, recomputed here from the completion, and what TRL made of it."""
    assert record["moved"] and record["processes"] == processes
    assert {name for name, _ in record["calls"]} == {"words", "short", "gold"}
    for name, rows in record["calls"]:
        for completion, ended, r_ref, reward in rows:
            text = completion + ("<|end|>" if ended else "")
            words, length = len(set(text.split())) / 4, -len(text) / 20
            wanted = {"gold": words, "words": -math.log1p(math.exp(r_ref - words)),
                      "short": -math.log1p(math.exp(-1.0 - length))}
            assert reward == pytest.approx(wanted[name], abs=1e-6)
    for log in record["logs"]:
        assert "rewards/gold/mean" in log and "words/p_good" in log


def test_two_steps_of_grpo_and_rloo_train_on_our_rewards(tmp_path):
    (record,) = run(tmp_path, ["grpo", "rloo"])
    for trainer in ("grpo", "rloo"):
        check(record[trainer])
    for log in record["grpo"]["logs"]:  # the weight 0 of gold keeps it out of the sum
        total = log["rewards/words/mean"] + log["rewards/short/mean"]
        assert log["reward"] == pytest.approx(total, abs=1e-4)


def test_two_processes_under_accelerate_get_the_same_rewards(tmp_path):
    for record in run(tmp_path, ["rloo"], processes=2):
        check(record["rloo"], processes=2)
