"""Claims about saving, loading and composing plans, and about GGUF."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import D_MODEL, TEXTS, tiny_lm

from valuelab.models import encode, pad
from valuelab.probes import Probe
from valuelab.steering import (
    Shift,
    VectorFileError,
    add,
    export_gguf,
    import_gguf,
    load,
    minimal,
    remove,
    save,
    steer,
)


def example():
    draw = torch.Generator().manual_seed(0)
    probe = Probe(torch.randn(D_MODEL, generator=draw), -0.25, 1, "security", "lda", {"a": 0.5})
    return (
        minimal(probe, torch.tensor([0.7, 0.8]), "at most")
        + add({0: torch.randn(D_MODEL, generator=draw)}, 2.0)
        + remove(probe.with_(layer=2))
    )


def logits(lm, plan, rows=2):
    ids, mask = pad(lm, encode(lm, TEXTS[:rows]), "right")
    with steer(lm, plan), torch.no_grad():
        return lm.model(input_ids=ids, attention_mask=mask).logits


def test_a_saved_plan_comes_back_the_same_and_steers_the_same(tmp_path):
    lm, plan = tiny_lm("llama"), example()
    path = save(tmp_path / "deep" / "plan", plan, lm)
    assert path.suffix == ".safetensors"
    back = load(path, lm)
    for a, b in zip(plan.shifts, back.shifts, strict=True):
        assert (a.kind, a.side, a.strength) == (b.kind, b.side, b.strength)
        assert torch.equal(torch.as_tensor(a.target), torch.as_tensor(b.target))
        assert torch.equal(a.probe.weight, b.probe.weight) and a.probe.meta == b.probe.meta
        assert (a.probe.bias, a.probe.layer, a.probe.value) == (
            b.probe.bias,
            b.probe.layer,
            b.probe.value,
        )
    assert torch.equal(logits(lm, plan), logits(lm, back))


def test_numpys_and_torchs_numbers_are_written_as_plain_ones(tmp_path):
    meta = {"accuracy": np.float32(0.5), "C": [np.int64(3)], "ece": torch.tensor(0.25), "folds": np.arange(2)}
    probe = Probe(torch.ones(D_MODEL), layer=np.int64(1), meta=meta)
    [shift] = load(save(tmp_path / "p", probe)).shifts
    assert shift.probe.layer == 1 and type(shift.probe.layer) is int
    assert dict(shift.probe.meta) == {"accuracy": 0.5, "C": [3], "ece": 0.25, "folds": [0, 1]}
    with pytest.raises(TypeError, match="cannot be written as JSON"):
        save(tmp_path / "p", probe.with_(meta={"lm": object()}))


def test_plans_compose_with_plus_and_times():
    lm, plan = tiny_lm("llama"), add({0: torch.ones(D_MODEL), 1: torch.ones(D_MODEL)})
    both = plan + 0.5 * add({1: torch.full((D_MODEL,), 2.0)})
    torch.testing.assert_close(
        logits(lm, both), logits(lm, add({0: torch.ones(D_MODEL), 1: torch.full((D_MODEL,), 2.0)}))
    )
    assert both.layers == [0, 1] and len(both) == 3 and len(both + Shift(example().shifts[0].probe))
    torch.testing.assert_close(logits(lm, plan + -1 * plan), logits(lm, 0 * plan))


def test_another_model_width_or_layer_is_refused(tmp_path):
    lm, plan = tiny_lm("llama"), example()
    path = save(tmp_path / "p", plan, lm)
    other = tiny_lm("llama", seed=1)
    for refuse in (lambda: load(path, other), lambda: steer(other, load(path))):
        with pytest.raises(ValueError, match="made for tiny-llama-0 .*train them on this model"):
            refuse()
    unnamed = load(save(tmp_path / "q", add({7: torch.ones(D_MODEL)})))
    with pytest.raises(ValueError, match="layer 7, but"):
        steer(lm, unnamed)
    with pytest.raises(ValueError, match="width 5"):
        load(save(tmp_path / "r", add({0: torch.ones(5)})), lm)
    with pytest.raises(ValueError, match="different models"):
        load(path) + load(save(tmp_path / "s", plan, other))


def test_loading_executes_nothing_and_damaged_files_are_explained(tmp_path):
    path = save(tmp_path / "p", example())
    data = path.read_bytes()
    import pickle

    class Evil:
        def __reduce__(self):
            return (Path(tmp_path / "ran").touch, ())

    size = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8 : 8 + size])

    def with_head(**changes):
        inner = {**json.loads(head["__metadata__"]["valuelab"]), **changes}
        new = json.dumps({**head, "__metadata__": {"valuelab": json.dumps(inner)}}).encode()
        return struct.pack("<Q", len(new)) + new + data[8 + size :]

    cases = {
        "pickled": pickle.dumps(Evil()),
        "empty": b"",
        "cut": data[: len(data) // 2],
        "foreign": __import__("safetensors.torch").torch.save({"w": torch.ones(3)}),
        "without": with_head(shifts=[{"kind": "add"}]),
        "wrong tensor": with_head(
            shifts=[dict(json.loads(head["__metadata__"]["valuelab"])["shifts"][0])] * 9
        ),
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(VectorFileError, match=f"{name}: damaged, or no plan"):
            load(tmp_path / name)
    assert not (tmp_path / "ran").exists()
    (tmp_path / "newer").write_bytes(with_head(format="valuelab.plan/9"))
    with pytest.raises(VectorFileError, match="reads valuelab.plan/1. Update"):
        load(tmp_path / "newer")
    with pytest.raises(VectorFileError, match="no such file"):
        load(tmp_path / "nowhere.safetensors")


def test_an_interrupted_save_keeps_the_earlier_file(tmp_path, monkeypatch):
    path = save(tmp_path / "p", example())
    before = path.read_bytes()

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("valuelab.steering.vectors.os.replace", stop)
    with pytest.raises(KeyboardInterrupt):
        save(path, add({0: torch.ones(D_MODEL)}))
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [path.name]


# ---------------------------------------------------------------------------- GGUF


def test_control_vectors_survive_the_round_trip_with_strengths_summed(tmp_path):
    plan = add({1: torch.arange(5.0), 2: torch.ones(5)}, 2.0) + add({2: torch.ones(5)}, -0.5)
    back = import_gguf(export_gguf(tmp_path / "v.gguf", plan, "llama"))
    vectors = {s.probe.layer: s.strength * s.probe.weight for s in back.shifts}
    torch.testing.assert_close(vectors, {1: 2 * torch.arange(5.0), 2: torch.full((5,), 1.5)})
    assert back.card == {"model": "llama"}


# bytes that the `gguf` package 0.19.0 wrote for a llama control vector: direction.1 = [1, -2, 3] in
# float32 and direction.3 = [0.5, 0.25, 0] in
# float16
OFFICIAL = bytes.fromhex(
    "474755460300000002000000000000000300000000000000140000000000000067656e6572616c2e61726368"
    "6974656374757265080000000d00000000000000636f6e74726f6c766563746f721800000000000000636f6e"
    "74726f6c766563746f722e6d6f64656c5f68696e740800000005000000000000006c6c616d61190000000000"
    "0000636f6e74726f6c766563746f722e6c617965725f636f756e7404000000020000000b0000000000000064"
    "6972656374696f6e2e310100000003000000000000000000000000000000000000000b000000000000006469"
    "72656374696f6e2e330100000003000000000000000100000020000000000000000000000000803f000000c0"
    "0000404000000000000000000000000000000000000000000038003400000000000000000000000000000000"
    "000000000000000000000000"
)


def test_files_of_the_official_writer_are_read_and_ours_have_the_same_layout(tmp_path):
    (tmp_path / "o.gguf").write_bytes(OFFICIAL)
    found = {
        s.probe.layer: s.probe.weight.tolist() for s in import_gguf(tmp_path / "o.gguf").shifts
    }
    assert found == {1: [1.0, -2.0, 3.0], 3: [0.5, 0.25, 0.0]}


@pytest.mark.parametrize("cut", [3, 20, 60, 150, 250, -33])
def test_a_damaged_gguf_file_is_explained(tmp_path, cut):
    path = tmp_path / "v.gguf"
    path.write_bytes(OFFICIAL[:cut])
    with pytest.raises(VectorFileError, match="no readable GGUF control vector"):
        import_gguf(path)


def test_what_gguf_cannot_say_is_refused(tmp_path):
    path = tmp_path / "v.gguf"
    with pytest.raises(ValueError, match="only added vectors"):
        export_gguf(path, example(), "llama")
    with pytest.raises(ValueError, match="no layer 0"):
        export_gguf(path, add({0: torch.ones(3)}), "llama")
    with pytest.raises(VectorFileError, match="no such file"):
        import_gguf(path)
