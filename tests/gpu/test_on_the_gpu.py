"""What only a GPU can show: CUDA graphs, large offsets, compiled rounding, memory."""

import pytest
import torch
from kernel_buffers import close, draw

from valuelab import kernels


def test_a_cuda_graph_replays_the_step_with_settings_that_changed(device):
    h, w = draw(64, 512, device=device), draw(512, seed=1, device=device)
    packed = kernels.settings(0.0, 3.0, device=device)
    ready = kernels.prepare(draw(3, 512, seed=2, device=device))
    many = kernels.settings(0.0, [1.0, 2.0, -3.0], ["at least", "at least", "at most"], device)

    def run():
        return kernels.steer(h, w, packed), kernels.steer_joint(h, ready, many)

    run()  # compiles; a launch inside the capture must not
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = run()
    for target in (3.0, 6.0):
        packed[1], many[1] = target, torch.tensor([target, 1.0, -1.0], device=device)
        graph.replay()
        assert all(torch.equal(a, b) for a, b in zip(captured, run(), strict=True))


def test_offsets_beyond_two_to_the_31_reach_the_last_row(device):
    free = torch.cuda.mem_get_info()[0]
    n, d = 524_288 + 64, 4096
    if free < 3 * n * d * 2:
        pytest.skip(f"needs {3 * n * d * 2 / 2**30:.0f} GiB free, has {free / 2**30:.0f}")
    h = torch.zeros(n, d, dtype=torch.bfloat16, device=device)
    w = draw(d, device=device) / d**0.5
    kernels.steer(h, w, kernels.settings(0.0, 2.0, device=device), inplace=True)
    want = 2.0 * w / (w @ w)
    for row in (0, n // 2, n - 1):
        close(h[row], want, torch.bfloat16, slack=1e-6)


def test_rows_are_independent_of_how_many_a_program_walks(device):
    h = draw(20_001, 256, dtype=torch.bfloat16, device=device)
    w, packed = draw(256, seed=1, device=device), kernels.settings(0.0, 2.0, device=device)
    assert torch.equal(kernels.steer(h, w, packed)[:99], kernels.steer(h[:99], w, packed))


def test_the_library_path_is_as_accurate_as_the_fused_one_in_bfloat16(device):
    h = draw(5000, 1024, dtype=torch.bfloat16, device=device)
    w = draw(8, 1024, seed=1, device=device) / 32
    packed = kernels.settings(draw(8, seed=2), draw(8, seed=3), ["at least", "at most"] * 4, device)
    ready = kernels.prepare(w, h.dtype)
    exact = h.double() @ w.double().T + packed[0].double()
    scale = h.double().abs() @ w.double().abs().T
    for path in ("fused", "library"):
        score = kernels.steer_joint(h, ready, packed, report=True, path=path)[1]
        assert ((score - exact).abs() <= 2e-6 * scale + 1e-6).all(), path


def test_token_log_prob_needs_no_second_matrix_of_logits(device):
    logits = draw(512, 32_000, dtype=torch.bfloat16, device=device)
    targets = torch.arange(512, device=device)
    kernels.token_log_prob(logits, targets)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    kernels.token_log_prob(logits, targets)
    assert torch.cuda.max_memory_allocated() - before < logits.numel() * 2 / 50


def test_steering_a_transformer_in_a_graph_equals_steering_it_eagerly(device):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=256, hidden_size=256, intermediate_size=512, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    model = LlamaForCausalLM(config).to(device, torch.bfloat16).eval()
    w, packed = draw(256, device=device), kernels.settings(0.0, 4.0, device=device)

    def hook(module, inputs, out):
        h = out[0] if isinstance(out, tuple) else out
        kernels.steer(h, w, packed, inplace=True)

    for layer in model.model.layers:
        layer.register_forward_hook(hook)
    tokens = torch.arange(12, device=device)[None]
    with torch.no_grad():
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                eager = model(tokens, use_cache=False).logits
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = model(tokens, use_cache=False).logits
        graph.replay()
    torch.testing.assert_close(captured, eager)
