"""Other evaluation programs must agree with the native runner, steered or not. Needs the optional extra."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
import torch
from tiny_models import real_folder

from valuelab import models, world
from valuelab.evaluate import outside
from valuelab.measure import harness, readout
from valuelab.measure.forced import summarise_orders
from valuelab.probes import Probe
from valuelab.steering import add, minimal, steer

HERE = importlib.util.find_spec("lm_eval") is not None
needs_harness = pytest.mark.skipif(
    not HERE, reason="lm-eval is not installed (pip install .[eval])"
)
needs_inspect = pytest.mark.skipif(
    importlib.util.find_spec("inspect_ai") is None, reason="inspect-ai is not installed (pip install .[eval])"
)
FRAMES = (" I would {b}.", " I will {b}.")


def asked(lm):
    return [
        readout.planted_choice(lm, s, opening="", frames=FRAMES)
        for s in world.situations("held_out", 6)
    ]


@pytest.fixture
def items(toy):
    return asked(toy)


def test_the_task_is_written_with_two_rows_for_each_item(items, tmp_path):
    folder = harness.write_task(items, tmp_path / "tasks")
    assert sum(1 for _ in (folder / f"{harness.TASK}.jsonl").open()) == 12
    code = (folder / f"{harness.TASK}_metrics.py").read_text()
    scope = {}
    exec(code, scope)  # our own file
    row = scope["process_results"]({"n_a": 1}, [(np.log(0.3), True), (np.log(0.1), False)])
    assert row == pytest.approx({"valid": 0.4, "share_a": 0.75})


def test_the_adapter_scores_like_the_native_runner(toy):
    prompts, ends = ["I would", "My choice is"], [" walk.", " to rest at home."]
    ours = models.log_probs(toy, prompts, ends).tolist()
    found = harness._score_pairs(toy, prompts, ends, 2)
    assert [lp for lp, _ in found] == pytest.approx(ours, abs=1e-4)
    assert harness._generate(toy, "I would", {"until": ["."], "max_gen_toks": 4}) is not None


def wordy(monkeypatch):
    """No stop tokens, so that a reply ends at its length; returns the list of replies drawn."""
    real, drawn = models.generate_ids, []

    def kept(lm, ids, **options):
        drawn.append((ids[0], *real(lm, ids, **options)))
        return [drawn[-1][1]]

    monkeypatch.setattr(models, "stop_tokens", lambda lm: [])
    monkeypatch.setattr(models, "generate_ids", kept)
    return drawn


@pytest.mark.parametrize(
    ("settings", "length"),
    [({"max_gen_toks": 7, "max_new_tokens": 5}, 7), ({"max_new_tokens": 100}, 100), ({"max_tokens": 9}, 9), ({}, 128)],
)
def test_replies_have_the_length_that_the_task_names_and_long_prompts_lose_their_beginning(
    toy, settings, length, monkeypatch
):
    drawn = wordy(monkeypatch)
    prompt = "I would walk. " * 100
    harness._generate(toy, prompt, settings)
    [(ids, reply)] = drawn
    assert len(reply) == length  # of a context of 256
    assert ids == models.encode(toy, [prompt])[0][-(256 - length) :]


def test_greedy_tasks_stay_greedy_whatever_their_temperature_and_impossible_lengths_are_explained(toy):
    said = {harness._generate(toy, "I would", {"do_sample": False, "temperature": t}) for t in (0.0, 5.0)}
    assert len(said) == 1 != len(said | {harness._generate(toy, "I would", {"temperature": 5.0})})
    with pytest.raises(ValueError, match="asks for 256 new tokens, but .* reads 256 with the prompt"):
        harness._generate(toy, "I would", {"max_gen_toks": 256})


@needs_harness
def test_replies_are_as_long_as_the_harness_s_own(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    lm = models.load(real_folder())
    theirs = HFLM(pretrained=lm.model, tokenizer=lm.tokenizer, backend="causal", batch_size=1)
    for settings in ({"max_new_tokens": 80}, {"max_gen_toks": 20}, {}):
        asked = [Instance("generate_until", {}, ("Once upon a time", {"until": ["<|end_story|>"], **settings}), 0)]
        assert outside.lm_eval_model(lm).generate_until(asked)[0] == theirs.generate_until(asked)[0].strip()


@needs_harness
@pytest.mark.parametrize("which", ["toy", "embedded"])
def test_the_harness_agrees_to_a_ten_thousandth_in_log_probability(
    which, toy, tmp_path, monkeypatch
):
    lm = toy if which == "toy" else models.load()
    items = asked(lm)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = harness.write_task(items, tmp_path / "tasks")
    result = harness.run_task(lm, folder)
    mass = harness.mass_of(result["samples"][harness.TASK])
    native = readout.forced_choice(lm, items)
    assert np.abs(np.log(mass) - np.log(native.mass)).max() < 1e-4
    ours = summarise_orders(native.mass, [i.context_id for i in items])
    theirs = summarise_orders(mass, [i.context_id for i in items])
    assert theirs.debiased.estimate == pytest.approx(ours.debiased.estimate, abs=1e-4)
    printed = result["results"][harness.TASK]["valid,none"]
    assert printed == pytest.approx(native.mass.sum(2).mean(), rel=1e-3)


def test_without_the_extra_the_error_names_it():
    code = (
        "import sys; sys.modules['lm_eval'] = None\n"
        "from valuelab.measure import harness\n"
        "try: harness._needs_harness()\n"
        "except ImportError as e: print(e)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'valuelab[eval]'" in out.stdout


# ------------------------------------------------------------------------------ steered models


@pytest.fixture(scope="module")
def plan(toy):
    """A step added after the first block, and a shortest shift after the second."""
    drawn = torch.Generator().manual_seed(3)
    step, weight = torch.randn(2, toy.d_model, generator=drawn)
    return add({0: 2 * step}) + minimal(Probe(weight, 0.1, layer=1), 0.95)


@needs_harness
@pytest.mark.parametrize("scope", ["all", "prompt", "generated"])
def test_a_steered_model_has_its_native_log_probabilities_in_lm_eval(toy, plan, items, scope):
    from lm_eval.api.instance import Instance

    pairs = [(i.prompts[o], end) for i in items for o in (0, 1) for end in (*i.a[o], *i.b[o])]
    prompts, ends = map(list, zip(*pairs, strict=True))
    plain = models.log_probs(toy, prompts, ends)
    with steer(toy, plan, scope=scope):
        native = models.log_probs(toy, prompts, ends)
    requests = [Instance("loglikelihood", {}, pair, 0) for pair in pairs]
    theirs = outside.lm_eval_model(toy, plan, scope=scope).loglikelihood(requests)
    assert np.abs(np.array([lp for lp, _ in theirs]) - native.numpy()).max() < 1e-4
    assert (native - plain).abs().max() > 0.01  # the control: unsteered numbers would not pass
    assert torch.equal(models.log_probs(toy, prompts, ends), plain)  # and no hook is left behind


@needs_harness
@pytest.mark.parametrize("kind", ["ours", "HFLM"])
def test_a_steered_model_runs_a_task_of_lm_eval_like_any_other(toy, plan, items, kind, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = harness.write_task(items, tmp_path / "tasks")
    if kind == "ours":
        result = harness.run_task(toy, folder, model=outside.lm_eval_model(toy, plan))
    else:  # the harness's own code for Hugging Face models, on the model whose blocks are hooked
        from lm_eval.models.huggingface import HFLM

        with steer(toy, plan):
            theirs = HFLM(pretrained=toy.model, tokenizer=toy.tokenizer, backend="causal", batch_size=8)
            result = harness.run_task(toy, folder, model=theirs)
    mass = harness.mass_of(result["samples"][harness.TASK])
    with steer(toy, plan):
        native = readout.forced_choice(toy, items)
    assert np.abs(np.log(mass) - np.log(native.mass)).max() < 1e-4
    plain = readout.forced_choice(toy, items)
    assert np.abs(np.log(mass) - np.log(plain.mass)).max() > 0.01


@needs_inspect
def test_a_steered_model_runs_a_task_of_inspect_like_any_other(toy, plan, tmp_path, monkeypatch):
    from inspect_ai import Task, eval
    from inspect_ai.dataset import Sample
    from inspect_ai.model import GenerateConfig
    from inspect_ai.scorer import exact
    from inspect_ai.solver import generate

    asked = [s.text for s in world.situations("held_out", 4)]
    prompts = [models.chat(toy, text) for text in asked]
    options = {"max_new_tokens": 8, "temperature": 0.0}
    plain = models.generate(toy, prompts, **options)
    with steer(toy, plan):
        native = models.generate(toy, prompts, **options)
    assert all(native) and native != plain
    task = Task(
        [Sample(input=text, target=reply) for text, reply in zip(asked, native, strict=True)],
        solver=generate(), scorer=exact(), config=GenerateConfig(max_tokens=8),
    )  # fmt: skip
    real, sizes = models.sample, []
    monkeypatch.setattr(models, "sample", lambda lm, ids, *rest: sizes.append(len(ids)) or real(lm, ids, *rest))
    found = {}
    for name, what in {"steered": plan, "unsteered": None}.items():
        (log,) = eval(task, model=outside.inspect_model(toy, what), log_dir=str(tmp_path), display="none")
        assert log.status == "success", log.error
        said = [s.output.completion for s in sorted(log.samples, key=lambda s: s.id)]
        found[name] = said, log.results.scores[0].metrics["mean"].value == 1
    assert found == {"steered": (native, True), "unsteered": (plain, False)}
    assert sum(sizes) == 8 and max(sizes) > 1  # Inspect lets samples wait together, and they are answered together
    assert models.generate(toy, prompts, **options) == plain


@needs_inspect
def test_inspect_gets_the_log_probabilities_of_choices_and_of_replies(toy, plan, items):
    import asyncio

    from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, GenerateConfig

    text, ends = world.situations("held_out", 1)[0].text, [" I would walk.", " I will rest at home."]
    model = outside.inspect_model(toy, plan, scope="prompt")
    head = models.chat(toy, text)

    async def ask(end, **config):
        said = [ChatMessageUser(content=text)] + ([ChatMessageAssistant(content=end)] if end else [])
        return (await model.generate(said, config=GenerateConfig(**config))).choices

    with steer(toy, plan, scope="prompt"):
        native = models.log_probs(toy, [head] * 2, ends).tolist()
        tokens = [len(w) - s for w, s in zip(*models.join(toy, [head] * 2, ends), strict=True)]
        greedy = models.generate_ids(toy, models.encode(toy, [head]), max_new_tokens=5, temperature=0.0)[0]
    for end, wanted, n in zip(ends, native, tokens, strict=True):
        (choice,) = asyncio.run(ask(end, prompt_logprobs=1, max_tokens=1))
        assert sum(t.logprob for t in choice.prompt_logprobs.content[-n:]) == pytest.approx(wanted, abs=1e-4)
    (choice,) = asyncio.run(ask("", logprobs=True, top_logprobs=2, max_tokens=5))
    assert [t.token for t in choice.logprobs.content] == [toy.tokenizer.decode([t]) for t in greedy]
    assert all(t.logprob == pytest.approx(t.top_logprobs[0].logprob) for t in choice.logprobs.content)
    drawn = [asyncio.run(ask("", temperature=1.0, num_choices=2, max_tokens=5)) for _ in range(2)]
    assert len({c.message.content for choices in drawn for c in choices}) > 1  # asked again, drawn again


@needs_inspect
def test_requests_of_inspect_that_wait_together_are_one_batch_with_the_replies_of_each_alone(toy, plan, monkeypatch):
    import asyncio

    from inspect_ai.model import GenerateConfig

    asked = [s.text for s in world.situations("held_out", 5)]
    real, sizes = models.sample, []

    def counted(lm, ids, *rest):
        sizes.append(len(ids))
        return real(lm, ids, *rest)

    monkeypatch.setattr(models, "sample", counted)

    def config(k):  # two temperatures and two lengths; one request wants two choices
        return GenerateConfig(max_tokens=6 if k < 4 else 3, temperature=float(k > 0), seed=k, num_choices=1 + (k == 1))

    async def together(model):
        return await asyncio.gather(*(model.generate(text, config=config(k)) for k, text in enumerate(asked)))

    found = asyncio.run(together(outside.inspect_model(toy, plan)))
    assert sizes == [1, 4, 1]  # greedy, the three that sample to length 6 with four choices, the short one
    for k, text in enumerate(asked):
        alone = asyncio.run(outside.inspect_model(toy, plan).generate(text, config=config(k)))
        assert [c.message.text for c in alone.choices] == [c.message.text for c in found[k].choices]
        with steer(toy, plan):
            native = models.generate(toy, [models.chat(toy, text)] * (1 + (k == 1)), seed=k, temperature=float(k > 0),
                                     max_new_tokens=6 if k < 4 else 3)  # fmt: skip
        assert native == [c.message.text for c in found[k].choices]


@needs_inspect
def test_a_request_that_fails_fails_alone(toy):
    import asyncio

    from inspect_ai.model import GenerateConfig

    model = outside.inspect_model(toy, max_tokens=4)

    async def together():
        asked = [("Would you rest?", GenerateConfig()), ("Would you rest?", GenerateConfig(max_tokens=10_000))]
        return await asyncio.gather(*(model.generate(t, config=c) for t, c in asked), return_exceptions=True)

    good, bad = asyncio.run(together())
    assert good.choices and isinstance(bad, ValueError)


def test_without_inspect_the_error_names_the_extra(toy, monkeypatch):
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    monkeypatch.setitem(sys.modules, "inspect_ai.model", None)
    with pytest.raises(ImportError, match=r"pip install 'valuelab\[eval\]'"):
        outside.inspect_model(toy)
