"""Claims about steering an unmodified model, on every architecture the library promises."""

import contextlib

import pytest
import torch
import transformers
from tiny_models import ARCHITECTURES, D_MODEL, N_LAYERS, TEXTS, real_folder, tiny_lm
from torch import nn

from valuelab import kernels, models
from valuelab.activations import capture, residual, with_residual
from valuelab.measure.scoring import score_choices
from valuelab.models import log_probs
from valuelab.probes import Probe, random_direction
from valuelab.steering import (
    Gate,
    Plan,
    Shift,
    add,
    choose_layers,
    logit,
    minimal,
    minimal_shift,
    remove,
    steer,
)
from valuelab.steering.scope import Tracker

EVERY = pytest.mark.parametrize("architecture", ARCHITECTURES)
LAYERS = range(N_LAYERS)
NEW = 8


def probe_at(lm, layer, seed=0, value="v", target_share=0.3):
    """A random probe of sensible scale: unit spread on the model's own states, mostly low."""
    states = torch.cat(capture(lm, TEXTS, [layer], "every")[layer])
    w = torch.randn(D_MODEL, generator=torch.Generator().manual_seed(100 * layer + seed))
    z = states @ w
    w = w / z.std()
    return Probe(w, -float((z / z.std()).quantile(1 - target_share)), layer, value)


def probes_at(lm, layers=LAYERS, seed=0):
    return [probe_at(lm, k, seed) for k in layers]


def greedy(lm, texts, new=NEW, side="left", **options):
    """Token ids and scores of Hugging Face's own generate, (batch, new) and (batch, new, vocab)."""
    ids, mask = models.pad(lm, models.encode(lm, texts), side)
    out = lm.model.generate(
        input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=new,
        pad_token_id=0, output_logits=True, return_dict_in_generate=True,
        **{"min_new_tokens": new, **options},
    )  # fmt: skip
    return out.sequences[:, ids.shape[1] :], torch.stack(out.logits, 1)


def assert_same(a, b, tolerance=2e-4):
    assert torch.equal(a[0], b[0])
    torch.testing.assert_close(a[1], b[1], rtol=tolerance, atol=tolerance)


def prefill(lm, texts, side="right"):
    ids, mask = models.pad(lm, models.encode(lm, texts), side)
    with torch.no_grad():
        return lm.model(input_ids=ids, attention_mask=mask).logits, mask.bool()


# ------------------------------------------------------------------ the invariants


@EVERY
@pytest.mark.parametrize("mode", ["per_token", "frozen"])
@pytest.mark.parametrize("scope", ["all", "prompt", "last", "generated"])
def test_cached_equals_uncached(architecture, mode, scope):
    lm = tiny_lm(architecture)
    what = [minimal(probes_at(lm), 0.9), add({1: torch.ones(D_MODEL)}, 0.3)]
    gate = Gate(probe_at(lm, 0, seed=5), 0.3)
    with steer(lm, what, scope=scope, mode=mode, gate=gate):
        cached = greedy(lm, TEXTS)
        uncached = greedy(lm, TEXTS, use_cache=False)
    assert_same(cached, uncached)
    assert (cached[1] - greedy(lm, TEXTS)[1]).abs().max() > 1e-3  # something was steered


@EVERY
@pytest.mark.parametrize("mode", ["per_token", "frozen"])
def test_batched_equals_single_with_gates_and_targets_of_their_own(architecture, mode):
    lm = tiny_lm(architecture)
    probes, target = probes_at(lm), torch.tensor([0.6, 0.9, 0.99, 0.5, 0.8])
    gate = [True, True, False, True, False]

    def run(rows):
        what = minimal(probes, target[rows])
        with steer(lm, what, mode=mode, gate=[gate[r] for r in rows], scope={"last", "generated"}):
            return greedy(lm, [TEXTS[r] for r in rows])

    together = run([0, 1, 2, 3, 4])
    for row in range(5):
        alone = run([row])
        assert_same((together[0][[row]], together[1][[row]]), alone)


@EVERY
def test_a_closed_gate_is_bit_exact_and_an_open_one_is_not(architecture):
    lm = tiny_lm(architecture)
    # before transformers 5 an expert multiplies all rows sent to it at once: another row's route moves the last bit
    shared = architecture == "qwen3_moe" and transformers.__version__.startswith("4.")
    plan = minimal(probes_at(lm), 0.95) + add({0: torch.ones(D_MODEL)}) + remove(probe_at(lm, 1))
    for side in ("left", "right"):
        plain, real = prefill(lm, TEXTS, side)
        with steer(lm, plan, gate=[False, True, False, False, True]):
            steered, _ = prefill(lm, TEXTS, side)
        for row, is_open in enumerate([False, True, False, False, True]):
            change = (steered[row][real[row]] - plain[row][real[row]]).abs().max()
            assert change > 0.1 if is_open else change <= (1e-5 if shared else 0)
        with steer(lm, plan, gate=Gate(probe_at(lm, 0), 1.0, 1.0)):
            assert torch.equal(prefill(lm, TEXTS, side)[0], plain)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_probability_after_the_shift_is_at_least_the_target(architecture, dtype):
    lm = tiny_lm(architecture)
    probes = probes_at(lm)
    lm.model.to(dtype)
    with steer(lm, probes, target=0.6) as control:
        after = capture(lm, TEXTS, LAYERS, "every")
    # bfloat16 keeps 8 bits: a state of length |h| is known to |h| / 256, a logit to |w||h| / 256
    for probe in probes:
        score = probe(torch.cat(after[probe.layer]))
        slack = 1e-4
        if dtype == torch.bfloat16:
            length = torch.cat(after[probe.layer]).norm(dim=1).max()
            slack = float(probe.weight.norm() * length / 256)
        assert score.min() > logit(0.6) - slack
    layer = control.report()["layers"][0]
    assert layer["values"]["v"]["missed"] == 0 and 0.5 < layer["shifted"] < 1


@EVERY
def test_one_pass_gives_what_the_published_code_needs_a_pass_a_layer_for(architecture):
    lm = tiny_lm(architecture)
    probes = probes_at(lm)
    for text in TEXTS[:2]:
        steps = published_steps(lm, text, probes, 0.9)
        with constants(lm, steps):
            wanted = greedy(lm, [text])
        with steer(lm, probes, target=0.9, mode="frozen") as control:
            got = greedy(lm, [text])
        assert control.passes == NEW  # one prefill, then one pass for each further token
        assert_same(got, wanted)


def published_steps(lm, text, probes, target):
    """For each layer in turn a whole prefill, with the layers below steered already."""
    steps = {}
    for probe in probes:
        with constants(lm, steps):
            h = capture(lm, [text], [probe.layer])[probe.layer]
        steps[probe.layer] = minimal_shift(h, probe.weight, probe.bias, target)[0]
    return steps


@contextlib.contextmanager
def constants(lm, steps):
    """Add a fixed vector to every token at each layer."""
    handles = [
        lm.blocks[k].register_forward_hook(
            lambda m, a, out, step=step: with_residual(out, residual(out) + step)
        )
        for k, step in steps.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@EVERY
def test_scoring_a_reply_steers_it_as_writing_it_did(architecture):
    lm = tiny_lm(architecture)
    for scope in ("generated", {"last", "generated"}, "prompt"):
        with steer(lm, probes_at(lm), target=0.95, scope=scope, gate=Gate(probe_at(lm, 0), 0.1)):
            ids, logits = greedy(lm, TEXTS)
            written = logits.log_softmax(-1).gather(-1, ids[..., None]).sum((1, 2))
            replies = [" " + " ".join(lm.tokenizer.convert_ids_to_tokens(row)) for row in ids]
            scored = log_probs(lm, TEXTS, replies, batch_size=2)
        torch.testing.assert_close(scored, written, rtol=1e-4, atol=1e-3)


@EVERY
def test_beams_are_steered_alike_with_and_without_a_cache(architecture):
    lm = tiny_lm(architecture)
    target, gate = torch.tensor([0.7, 0.95, 0.8]), [True, False, True]

    def run(texts, rows, **options):
        what = minimal(probes_at(lm), target[rows])
        ids, mask = models.pad(lm, models.encode(lm, texts), "left")
        with steer(lm, what, gate=[gate[r] for r in rows], scope={"last", "generated"}):
            out = lm.model.generate(
                input_ids=ids, attention_mask=mask, num_beams=3, do_sample=False,
                max_new_tokens=6, min_new_tokens=6, pad_token_id=0, **options,
            )  # fmt: skip
        return out[:, ids.shape[1] :]

    together = run(TEXTS[:3], [0, 1, 2])
    assert torch.equal(together, run(TEXTS[:3], [0, 1, 2], use_cache=False))
    for row in range(3):
        assert torch.equal(run([TEXTS[row]], [row])[0], together[row])


@EVERY
def test_our_own_generation_is_steered_like_hugging_face_s(architecture):
    lm = tiny_lm(architecture)
    target = torch.tensor([0.6, 0.9, 0.99, 0.7, 0.8])
    with steer(lm, minimal(probes_at(lm), target), gate=[True, False, True, True, True]):
        theirs = greedy(lm, TEXTS, min_new_tokens=0)[0].tolist()
        for size in (5, 2):
            ours = models.generate_ids(
                lm, models.encode(lm, TEXTS), temperature=0, max_new_tokens=NEW, batch_size=size
            )
            stops = models.stop_tokens(lm)
            assert ours == [models.cut(row, stops) for row in theirs]


# --------------------------------------------------------------------------- scopes


def states_of(lm, text, layer=1):
    return capture(lm, [text], [layer], "every")[layer][0]


@pytest.mark.parametrize("padding", ["left", "right"])
def test_each_scope_moves_its_tokens_and_no_other(padding):
    lm = tiny_lm("llama")
    lengths = [len(r) for r in models.encode(lm, TEXTS)]
    mask = torch.zeros(5, 4, dtype=torch.bool)
    mask[0, 1] = mask[1, 3] = True
    moved = {
        "all": [set(range(n)) for n in lengths],
        "prompt": [set(range(n)) for n in lengths],
        "last": [{n - 1} for n in lengths],
        "generated": [set()] * 5,
        mask: [{1}, {3}, set(), set(), set()],
        (lambda t: t.index == 1): [{1}] * 5,
    }
    ids, real = models.pad(lm, models.encode(lm, TEXTS), padding)
    for scope, wanted in moved.items():
        seen = {}
        with steer(lm, add({1: torch.ones(D_MODEL)}), scope=scope), record(lm, 1, seen):
            lm.model(input_ids=ids, attention_mask=real)
        changed = (seen["after"] != seen["before"]).any(-1) & real.bool()
        for row in range(5):
            first = int(real[row].int().argmax())
            assert {int(k) - first for k in changed[row].nonzero()} == wanted[row]


@contextlib.contextmanager
def record(lm, layer, seen):
    """Output of a block before and after the hooks that are there already."""
    block = lm.blocks[layer]
    hooks = list(block._forward_hooks.items())
    block._forward_hooks.clear()
    first = block.register_forward_hook(lambda m, a, o: seen.update(before=residual(o).clone()))
    block._forward_hooks.update(hooks)
    last = block.register_forward_hook(lambda m, a, o: seen.update(after=residual(o).clone()))
    try:
        yield
    finally:
        first.remove()
        last.remove()


def test_the_first_generated_token_is_the_first_one_steered():
    lm = tiny_lm("qwen2")
    plain = greedy(lm, TEXTS)[1]
    with steer(lm, add({1: 3 * torch.ones(D_MODEL)}), scope="generated"):
        steered = greedy(lm, TEXTS)[1]
    torch.testing.assert_close(steered[:, 0], plain[:, 0], rtol=0, atol=0)  # read from the prompt
    assert (steered[:, 1] - plain[:, 1]).abs().amax(-1).min() > 1e-3


def test_a_new_prompt_after_a_finished_one_is_recognised():
    lm = tiny_lm("llama")
    with steer(lm, probes_at(lm), target=0.95, scope={"last", "generated"}, mode="frozen"):
        first, second = greedy(lm, TEXTS[:2]), greedy(lm, TEXTS[1:3])
        again = greedy(lm, TEXTS[:2], use_cache=False)
        longer = prefill(lm, [TEXTS[0] + " we"])[0]
    assert_same(first, again)
    with steer(lm, probes_at(lm), target=0.95, scope={"last", "generated"}, mode="frozen"):
        assert_same(second, greedy(lm, TEXTS[1:3]))
    with steer(lm, probes_at(lm), target=0.95, scope={"last", "generated"}, mode="frozen"):
        torch.testing.assert_close(longer, prefill(lm, [TEXTS[0] + " we"])[0])


def test_a_gate_opens_by_the_prompt_and_stays_so_while_generating():
    lm = tiny_lm("mistral")
    probe = probe_at(lm, 0)
    readings = probe.probability(capture(lm, TEXTS, [0])[0])
    middle = float(readings.median())
    gate, invert = Gate(probe, middle), Gate(probe, middle, invert=True)
    with steer(lm, probes_at(lm), target=0.99, gate=gate) as control:
        by_probe = greedy(lm, TEXTS)
    with steer(lm, probes_at(lm), target=0.99, gate=readings >= middle):
        assert_same(by_probe, greedy(lm, TEXTS))
    assert control.report()["gate_open"] == pytest.approx(0.6)
    with steer(lm, probes_at(lm), target=0.99, gate=invert) as control:
        greedy(lm, TEXTS)
    assert control.report()["gate_open"] == pytest.approx(0.4)


@pytest.mark.parametrize("at", ["max", "mean"])
def test_gates_may_read_the_highest_or_the_mean_token_and_have_a_ceiling(at):
    lm = tiny_lm("llama")
    every = capture(lm, TEXTS, [0], "every")[0]

    def readings(probe):
        return torch.stack([probe(h).max() if at == "max" else probe(h).mean() for h in every])

    # the start token is the same in every text: take a probe whose highest token is another one
    many = (probe_at(lm, 0, seed) for seed in range(50))
    probe = next(p for p in many if readings(p).sort().values.diff().min() > 0.01)
    low, high = readings(probe).sort().values[[1, 3]].sigmoid().tolist()
    for padding in ("left", "right"):
        with steer(lm, probe_at(lm, 2), gate=Gate(probe, low - 1e-4, high + 1e-4, at)) as control:
            prefill(lm, TEXTS, padding)
        assert control.report()["gate_open"] == pytest.approx(0.6)


def test_several_gates_must_all_open():
    lm = tiny_lm("llama")
    a, b = Gate(probe_at(lm, 0), 0.0), Gate(probe_at(lm, 1), 1.0)
    for gates, share in (([a, a], 1.0), ([a, b], 0.0), ([b, a], 0.0)):
        with steer(lm, probe_at(lm, 2), gate=gates) as control:
            prefill(lm, TEXTS)
        assert control.report()["gate_open"] == share


# ------------------------------------------------------------------ several values


@EVERY
def test_joint_targets_are_met_where_sequential_ones_are_missed(architecture):
    lm = tiny_lm(architecture)
    first = probe_at(lm, 1, value="a")
    lean = random_direction(first, 3)
    third = random_direction(first, 4).weight
    mix = [first, first.with_(weight=0.8 * first.weight + 0.4 * lean.weight, value="b"),
           first.with_(weight=0.8 * first.weight + 0.4 * third, value="c")]  # fmt: skip
    what = [Shift(mix[0], target=0.9), Shift(mix[1], target=0.8),
            Shift(mix[2], target=0.3, side="at most")]  # fmt: skip

    def worst(**options):
        with steer(lm, what, **options):
            h = torch.cat(capture(lm, TEXTS, [1], "every")[1])
        goals = torch.tensor([logit(s.target) for s in what])
        gap = goals - torch.stack([p(h) for p in mix], 1)
        return float((gap * torch.tensor([1.0, 1, -1])).clamp(min=0).max())

    assert worst(joint=True) < 2e-3
    assert worst(joint=False) > 0.1


def test_the_cap_bounds_the_step_as_a_share_of_the_state():
    lm = tiny_lm("llama")
    seen = {}
    with steer(lm, probe_at(lm, 1), target=0.999999, cap=0.1), record(lm, 1, seen):
        _, real = prefill(lm, TEXTS)
    ratio = (seen["after"] - seen["before"]).norm(dim=-1) / seen["before"].norm(dim=-1)
    assert 0.0999 < ratio[real].max() < 0.1001


def test_strength_multiplies_the_step():
    lm, steps = tiny_lm("llama"), {}
    for factor in (0.0, 0.5, 2.0):
        seen = {}
        with steer(lm, factor * minimal(probe_at(lm, 1), 0.99)), record(lm, 1, seen):
            prefill(lm, TEXTS)
        steps[factor] = seen["after"] - seen["before"]
    assert not steps[0.0].any() and steps[2.0].any()
    torch.testing.assert_close(4 * steps[0.5], steps[2.0], rtol=1e-3, atol=1e-4)


def test_removed_directions_are_gone_and_ceilings_hold():
    lm = tiny_lm("gpt2")
    probe = probe_at(lm, 1)
    with steer(lm, remove(probe)):
        h = torch.cat(capture(lm, TEXTS, [1], "every")[1])
    torch.testing.assert_close(h @ probe.direction, torch.zeros(len(h)), atol=1e-5, rtol=0)
    with steer(lm, probe, target=0.2, side="at most"):
        h = torch.cat(capture(lm, TEXTS, [1], "every")[1])
    assert probe.probability(h).max() < 0.2 + 1e-4


# ---------------------------------------------------------------- care with the model


@pytest.mark.parametrize("tuple_output", [True, False])
def test_blocks_may_return_a_tuple_or_a_tensor(tuple_output):
    lm = tiny_lm("llama")
    wanted_probe = probes_at(lm)
    with steer(lm, wanted_probe, target=0.95):
        wanted = prefill(lm, TEXTS)[0]

    class Wrapped(nn.Module):
        def __init__(self, block):
            super().__init__()
            self.block = block
            self.attention_type = getattr(block, "attention_type", None)

        def forward(self, *args, **kwargs):
            h = residual(self.block(*args, **kwargs))
            return (h, "kept") if tuple_output else h

    class Unwrap(nn.Module):
        def __init__(self, block):
            super().__init__()
            self.block, self.attention_type = block, getattr(block, "attention_type", None)

        def forward(self, *args, **kwargs):
            out = self.block(*args, **kwargs)
            assert not tuple_output or out[1] == "kept"
            return residual(out)

    inner = [Wrapped(b) for b in lm.blocks]
    lm.model.model.layers = nn.ModuleList(Unwrap(b) for b in inner)
    lm.blocks = inner
    with steer(lm, wanted_probe, target=0.95):
        torch.testing.assert_close(prefill(lm, TEXTS)[0], wanted)


def test_no_hook_stays_behind_after_success_error_or_a_failed_start():
    lm = tiny_lm("llama")
    before = prefill(lm, TEXTS)[0]

    def clean():
        parts = [lm.model, *lm.blocks]
        return not any(m._forward_hooks or m._forward_pre_hooks for m in parts)

    with steer(lm, probes_at(lm)):
        assert not clean()
    assert clean()
    with pytest.raises(KeyboardInterrupt), steer(lm, probes_at(lm)):
        raise KeyboardInterrupt
    assert clean()
    with (
        pytest.raises(ValueError, match="3 rows were given"),
        steer(lm, probes_at(lm), gate=[True, False, True]),
    ):
        prefill(lm, TEXTS)
    assert clean()
    control = steer(lm, probes_at(lm))
    lm.blocks = lm.blocks[:1]  # hooks of layers 1 and 2 cannot be set
    with pytest.raises(IndexError), control:
        pass
    lm = tiny_lm("llama")
    assert clean() and torch.equal(prefill(lm, TEXTS)[0], before)


def test_contexts_nest_and_a_control_cannot_be_entered_twice():
    lm = tiny_lm("llama")
    a, b = add({0: torch.ones(D_MODEL)}), add({1: -torch.ones(D_MODEL)})
    with steer(lm, a), steer(lm, b):
        nested = prefill(lm, TEXTS)[0]
    with steer(lm, a + b):
        torch.testing.assert_close(prefill(lm, TEXTS)[0], nested)
    control = steer(lm, a)
    with control, pytest.raises(RuntimeError, match="entered already"), control:
        pass


@pytest.mark.slow
def test_a_compiled_model_is_steered_and_is_itself_again_afterwards():
    lm = tiny_lm("llama")
    del lm.model.model.layers[1:]  # compiling one block shows what three would
    lm.blocks = lm.blocks[:1]
    probe, gate = probe_at(lm, 0), Gate(probe_at(lm, 0, seed=5), 0.3)
    options = {"target": 0.95, "gate": gate, "scope": {"last", "generated"}}
    before = prefill(lm, TEXTS)[0]
    with steer(lm, probe, **options):
        wanted = prefill(lm, TEXTS)[0]
    lm.model = torch.compile(lm.model, backend="eager", dynamic=True)
    torch.testing.assert_close(prefill(lm, TEXTS)[0], before, rtol=1e-4, atol=1e-4)
    with steer(lm, probe, **options) as control:
        torch.testing.assert_close(prefill(lm, TEXTS)[0], wanted, rtol=1e-4, atol=1e-4)
    assert control.report()["layers"][0]["shifted"] > 0
    torch.testing.assert_close(prefill(lm, TEXTS)[0], before, rtol=1e-4, atol=1e-4)
    torch._dynamo.reset()


def test_gradients_flow_through_a_steered_model():
    lm = tiny_lm("llama")
    ids, mask = models.pad(lm, models.encode(lm, TEXTS), "right")
    with steer(lm, probes_at(lm), target=0.9):
        lm.model(input_ids=ids, attention_mask=mask).logits.square().mean().backward()
    grads = [p.grad for p in lm.model.parameters()]
    assert all(g is not None and g.isfinite().all() for g in grads)


def test_the_kernel_gives_what_the_torch_path_gives(monkeypatch):
    lm = tiny_lm("llama")
    what = [minimal(probe_at(lm, 0), 0.9), 0.7 * minimal(probe_at(lm, 1), 0.2, "at most")]
    for scope, gate in (("all", None), ("last", [True, False, True, True, False])):
        with steer(lm, what, scope=scope, gate=gate) as control:
            wanted, told = prefill(lm, TEXTS)[0], control.report()
        monkeypatch.setattr(kernels, "choose", lambda x: "triton")
        with steer(lm, what, scope=scope, gate=gate) as control:
            assert all(s.settings is not None for s in control.layers.values())
            torch.testing.assert_close(prefill(lm, TEXTS)[0], wanted, rtol=1e-4, atol=1e-4)
            for layer, row in control.report()["layers"].items():
                for name in ("tokens", "allowed", "shifted", "size"):
                    assert row[name] == pytest.approx(told["layers"][layer][name], rel=1e-3)
        monkeypatch.undo()


# ---------------------------------------------------------------------- the account


def test_the_report_counts_what_was_done():
    lm = tiny_lm("llama")
    probe, seen = probe_at(lm, 1, value="security"), {}
    with steer(lm, probe, target=0.9, scope="last") as control, record(lm, 1, seen):
        ids, mask = models.pad(lm, models.encode(lm, TEXTS), "left")
        lm.model(input_ids=ids, attention_mask=mask)
    row = control.report()["layers"][1]
    before = probe.probability(seen["before"][:, -1])
    step = (seen["after"] - seen["before"])[:, -1].norm(dim=-1)
    assert (row["tokens"], row["allowed"]) == (int(mask.sum()), 5)
    assert row["shifted"] == pytest.approx(float((before < 0.9).float().mean()))
    assert row["size"] == pytest.approx(float(step[step > 0].detach().mean()), rel=1e-4)
    value = row["values"]["security"]
    assert value["before"] == pytest.approx(float(before.detach().mean()), rel=1e-4)
    after = probe.probability(seen["after"][:, -1]).mean()
    assert value["after"] == pytest.approx(float(after), rel=1e-4)


def test_long_generations_are_summed_as_they_go(monkeypatch):
    lm = tiny_lm("llama")
    reports = []
    for kept in (1000, 3):
        monkeypatch.setattr("valuelab.steering.controller.KEPT_PASSES", kept)
        with steer(lm, probes_at(lm), gate=Gate(probe_at(lm, 0), 0.2)) as control:
            greedy(lm, TEXTS, new=10)
            assert len(control.waiting) <= kept
        reports.append(control.report())
    # float64 sums in another order differ in their last digits
    assert numbers(reports[0]) == pytest.approx(numbers(reports[1]), rel=1e-12)
    assert reports[0]["layers"][0]["tokens"] == sum(map(len, models.encode(lm, TEXTS))) + 5 * 9


def numbers(report):
    """Every figure of a report, in order."""
    parts = (numbers(x) if isinstance(x, dict) else [x] for x in report.values())
    return [n for part in parts for n in part]


@pytest.mark.parametrize("mode", ["per_token", "frozen"])
@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_a_gate_on_which_all_rows_agree_needs_no_mask(monkeypatch, threshold, mode):
    lm = tiny_lm("llama")
    probes, gate = probes_at(lm), Gate(probe_at(lm, 0, seed=5), threshold)
    plan = minimal(probes, torch.tensor([0.6, 0.9, 0.99, 0.7, 0.8])) + add({2: torch.ones(D_MODEL)})

    def run(**options):
        with steer(lm, plan, mode=mode, **options) as control:
            return greedy(lm, TEXTS), control

    replies, control = run(gate=gate)
    assert control.verdict is (threshold == 0) and control.allowed is None
    with monkeypatch.context() as patch:
        patch.setattr("valuelab.steering.controller.unanimous", lambda rows: None)
        masked, other = run(gate=gate)
        assert other.verdict is None and other.allowed.any() == (threshold == 0)
    assert torch.equal(replies[1], masked[1])
    told, wanted = numbers(control.report()), numbers(other.report())
    assert told == pytest.approx(wanted, rel=1e-12, nan_ok=True)
    fixed = run(gate=[threshold == 0] * 5)[1]
    assert numbers(fixed.report()) == pytest.approx(told, rel=1e-12, nan_ok=True)


# ----------------------------------------------------------------------- bad requests


def wrong(lm, **changes):
    return probe_at(lm, 1).with_(**changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda lm: steer(lm, wrong(lm, layer=9)), "layer 9, but .* has blocks 0 to 2"),
        (lambda lm: steer(lm, wrong(lm, layer=None)), "the probe has no layer"),
        (lambda lm: steer(lm, wrong(lm, weight=torch.ones(5))), "width 5 but .* has 32"),
        (lambda lm: steer(lm, wrong(lm, weight=torch.zeros(32))), "all zeros"),
        (lambda lm: steer(lm, wrong(lm), target=1.0), "no finite logit"),
        (lambda lm: steer(lm, wrong(lm), side="up"), "choose one of at least"),
        (lambda lm: steer(lm, wrong(lm), mode="fast"), "per_token, frozen"),
        (lambda lm: steer(lm, wrong(lm), scope="first"), "all, prompt, last, generated"),
        (lambda lm: steer(lm, wrong(lm), scope=torch.ones(4)), r"give \(rows, tokens\)"),
        (lambda lm: steer(lm, torch.ones(32)), "cannot read Tensor as a plan"),
        (lambda lm: steer(lm, []), "cannot read list as a plan"),
        (lambda lm: steer(lm, wrong(lm), cap=0), "cap must be above 0"),
        (
            lambda lm: steer(lm, wrong(lm), gate=Gate(probe_at(lm, 2))),
            "reads layer 2, but layer 1 is steered before",
        ),
        (lambda lm: Gate(probe_at(lm, 0), 0.8, 0.2), "threshold not above the ceiling"),
        (lambda lm: Gate(probe_at(lm, 0), at="first"), "last, max, mean"),
        (lambda lm: Plan([Shift(wrong(lm)), Shift(wrong(lm, weight=torch.ones(3)))]), "widths"),
    ],
)
def test_bad_requests_are_explained_before_anything_runs(make, message):
    with pytest.raises(ValueError, match=message):
        make(tiny_lm("llama"))


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("kind", ["gate", "target", "scope"])
def test_what_is_given_for_each_prompt_must_be_as_many_as_the_prompts(kind, size):
    lm, texts, ends = tiny_lm("llama"), TEXTS[:3], [" man ."] * 3
    calls = [
        lambda: models.generate(lm, texts, max_new_tokens=2, batch_size=1),
        lambda: log_probs(lm, texts, ends, batch_size=1),
        lambda: score_choices(lm, texts, [[" man ."], [" we"], [" old man", " ?"]], batch_size=1),
        lambda: capture(lm, texts, [2], batch_size=1),
    ]
    given = {"gate": [True] * size, "target": torch.full((size,), 0.9), "scope": torch.ones(size, 40)}[kind]
    for call in calls:
        with steer(lm, probe_at(lm, 1), **{kind: given}):
            with pytest.raises(ValueError, match=rf"{size} rows were given .* for 3 prompts; give one"):
                call()


def test_after_a_reset_the_same_text_with_one_more_token_is_a_new_prompt():
    lm, texts = tiny_lm("llama"), ["keep all", "keep all money"]
    alone = []
    for text in texts:
        with steer(lm, probes_at(lm), target=0.95, scope="prompt"):
            alone.append(prefill(lm, [text])[0])
    with steer(lm, probes_at(lm), target=0.95, scope="prompt") as control:
        assert torch.equal(prefill(lm, texts[:1])[0], alone[0])
        assert (prefill(lm, texts[1:])[0] - alone[1]).abs().max() > 0.01  # taken for a generated token
        control.reset()
        assert torch.equal(prefill(lm, texts[1:])[0], alone[1])
        assert control.report()["passes"] == 3


def test_layers_are_chosen_by_validated_accuracy_and_the_last_are_dropped():
    accuracy = {0: 0.7, 1: 0.92, 2: 0.95, 3: 0.97, 4: 0.99}
    assert choose_layers(accuracy, 5) == [1, 2, 3, 4]
    assert choose_layers(accuracy, 5, drop_last=2) == [1, 2]
    with pytest.raises(ValueError, match="best is layer 4 with 0.990"):
        choose_layers(accuracy, 5, minimum=0.999)


def test_the_tracker_tells_prompt_from_reply_without_being_told():
    lm = tiny_lm("llama")
    tracker = Tracker(lm)
    ids = torch.tensor([[0, 1, 9], [1, 8, 10]])
    mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
    first = tracker.follow((), {"input_ids": ids, "attention_mask": mask})
    assert first.phase == "prompt" and first.prompt_lengths.tolist() == [2, 3]
    longer = torch.cat([ids, torch.tensor([[5], [6]])], 1)
    more = torch.cat([mask, torch.ones(2, 1, dtype=torch.long)], 1)
    second = tracker.follow((longer,), {"attention_mask": more})
    assert second.generated.tolist() == [[False, False, False, True]] * 2
    other = tracker.follow((longer + 1,), {"attention_mask": more})
    assert other.phase == "prompt" and other.prompt_lengths.tolist() == [3, 4]


def test_a_real_pretrained_model_is_steered_to_the_target():
    lm = models.load(real_folder())
    kind = [f"{name} was kind and shared the {thing} " for name in ("Lily", "Tom", "Sue", "Ben")
            for thing in ("toy", "cake", "ball")]  # fmt: skip
    mean = [t.replace("kind and shared", "mean and took") for t in kind]
    from valuelab.probes import stack_pairs, validated_probe

    states = {k: (capture(lm, kind, [k])[k], capture(lm, mean, [k])[k]) for k in (0, 1)}
    probes = [
        validated_probe(*stack_pairs(*states[k]), layer=k, value="benevolence", folds=4)[0]
        for k in (0, 1)
    ]
    with steer(lm, probes, target=0.95) as control:
        stories = models.generate(lm, ["Lily saw a boy. She ", "Once "], max_new_tokens=20)
    assert all(len(s.split()) > 3 for s in stories)
    row = control.report()["layers"][1]["values"]["benevolence"]
    assert row["before"] < 0.95 <= row["after"] + 1e-6 and row["missed"] == 0
