"""A decoder of Llama's shape with random weights and a static cache: something to steer and time.

Not a language model: only its shapes, its traffic and its launches are real. Written out here so
that a benchmark depends on no version of any other library, and a step can be captured in a graph.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-5  # of every RMSNorm


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder."""

    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    vocabulary: int = 128_256


SHAPES = {
    "1B": Shape(16, 2048, 8192, 32, 8),
    "8B": Shape(32, 4096, 14_336, 32, 8),
    "tiny": Shape(2, 64, 128, 4, 2, 100),
}


class Block(nn.Module):
    """Attention with a static cache, and a gated MLP, each behind an RMSNorm."""

    def __init__(self, shape: Shape, batch: int, length: int):
        super().__init__()
        self.shape, d = shape, shape.width // shape.heads
        self.head_width = d
        self.norm_in = nn.RMSNorm(shape.width, EPS)
        self.norm_mid = nn.RMSNorm(shape.width, EPS)
        self.qkv = nn.Linear(shape.width, (shape.heads + 2 * shape.kv_heads) * d, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)
        self.up = nn.Linear(shape.width, 2 * shape.inner, bias=False)
        self.down = nn.Linear(shape.inner, shape.width, bias=False)
        cache = torch.zeros(2, batch, shape.kv_heads, length, d)
        self.register_buffer("cache", cache, persistent=False)

    def attend(self, normed: Tensor, where: Tensor, mask: Tensor, rope: Tensor) -> Tensor:
        """normed: (b, t, width); where: (t,) positions; mask: (t, length); rope: (2, t, head width)."""
        b, t, _ = normed.shape
        parts = [self.shape.heads, self.shape.kv_heads, self.shape.kv_heads]
        qkv = self.qkv(normed).view(b, t, sum(parts), self.head_width).transpose(1, 2)
        q, k, v = qkv.split(parts, dim=1)
        q, k = _turn(q, rope), _turn(k, rope)
        self.cache[0].index_copy_(2, where, k)
        self.cache[1].index_copy_(2, where, v)
        seen = F.scaled_dot_product_attention(q, self.cache[0], self.cache[1], attn_mask=mask, enable_gqa=True)
        return self.out(seen.transpose(1, 2).reshape(b, t, -1))

    def expand(self, normed: Tensor) -> Tensor:
        """The gated MLP."""
        gate, up = self.up(normed).chunk(2, -1)
        return self.down(F.silu(gate) * up)

    def forward(self, h: Tensor, where: Tensor, mask: Tensor, rope: Tensor) -> Tensor:
        """h: (b, t, width) -> the same, after attention and MLP."""
        h = h + self.attend(self.norm_in(h), where, mask, rope)
        return h + self.expand(self.norm_mid(h))


class Decoder(nn.Module):
    """Embedding, blocks, head."""

    def __init__(self, shape: Shape, batch: int, length: int):
        super().__init__()
        self.shape, self.length = shape, length
        self.embed = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape, batch, length) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, EPS)
        self.head = nn.Linear(shape.width, shape.vocabulary, bias=False)
        angle = torch.outer(
            torch.arange(length), 5e5 ** (-torch.arange(0, 1, 2 / (shape.width // shape.heads)))
        ).repeat(1, 2)
        self.register_buffer("rope", torch.stack([angle.cos(), angle.sin()]), persistent=False)

    def forward(self, tokens: Tensor, where: Tensor, join: Callable | None = None) -> Tensor:
        """tokens: (b, t), where: (t,) -> logits of the last token, (b, vocabulary).

        `join(x, residual, gain)` -> (normed, sum) replaces what stands between two blocks: the add
        at the end of one and the RMSNorm at the start of the next.
        """
        mask = torch.arange(self.length, device=tokens.device) <= where[:, None]
        rope, h = self.rope[:, where], self.embed(tokens)
        if join is None:
            for block in self.blocks:
                h = block(h, where, mask, rope)
            return self.head(self.norm(h[:, -1]))
        normed = self.blocks[0].norm_in(h)
        for block, norm in zip(self.blocks, [b.norm_in for b in self.blocks[1:]] + [self.norm], strict=True):
            h = h + block.attend(normed, where, mask, rope)
            normed, h = join(block.expand(block.norm_mid(h)), h, norm.weight)
        return self.head(normed[:, -1])


def _turn(x: Tensor, rope: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return (x * rope[0] + torch.cat([-b, a], -1) * rope[1]).to(x.dtype)


def build(shape: Shape, batch: int, length: int, device="cuda", dtype=torch.bfloat16) -> Decoder:
    """Random weights made on the device itself, small enough that activations stay finite."""
    with torch.device("meta"):
        model = Decoder(shape, batch, length)
    rope = None
    with torch.device("cpu"):
        rope = Decoder(Shape(0, shape.width, 1, shape.heads, 1, 1), 1, length).rope
    model = model.to(dtype).to_empty(device=device)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.fill_(1.0) if "norm" in name else p.normal_(0, 0.02)
        for block in model.blocks:
            block.cache.zero_()
    model.rope = rope.to(device=device, dtype=dtype)
    return model.eval()
