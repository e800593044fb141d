"""Steer an unmodified model: hooks that work inside the one pass that is being steered.

with steer(lm, probes, target=0.9, gate=Gate(topic_probe)) as control:
    replies = generate(lm, prompts)
print(control.report())
"""

from __future__ import annotations

import contextlib
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from valuelab import kernels
from valuelab.activations import residual, with_residual
from valuelab.models import LM, plain
from valuelab.steering.gate import at_last, check_gates
from valuelab.steering.plan import Plan, Shift, as_plan
from valuelab.steering.scope import Tokens, Tracker, check_scope, in_scope
from valuelab.steering.shift import logit, one_sided, ridged_solution

MODES = ("per_token", "frozen")
KEPT_PASSES = 128  # passes whose records wait before they are summed


def steer(
    lm: LM,
    what: Any,
    *,
    target: float | Tensor = 0.9,
    side: str = "at least",
    scope: Any = "all",
    mode: str = "per_token",
    gate: Any = None,
    joint: bool = True,
    ridge: float = 1e-3,
    cap: float | None = None,
) -> Control:
    """Context manager in which every forward pass of the model is steered.

    Args:
        what: a Plan, a Shift, probes, or several of these. Bare probes become minimal shifts to
            `target` on `side`. Layers come from the probes.
        target: probability for bare probes, or (rows,) one for each prompt of the call.
        scope: "all" tokens, "prompt", "last" prompt token, "generated" ones, several of these, a
            mask (rows, tokens) that counts each row's real tokens from 0, or a function
            (Tokens) -> booleans.
        mode: "per_token" measures and moves each token by itself. "frozen" measures the last prompt
            token and adds its step to every token, as the published code does.
        gate: Gates (all must open), or one boolean for each prompt; None steers every row.
            What is given for each prompt (target, mask, gate) must be as many as the prompts of the
            call. A call of `lm.model` itself does not say how many: n for k · n rows are taken for k
            beams of each.
        joint: solve several values at a layer together; False applies them one after another.
        ridge: of the joint solution, see `shift.joint_shift`.
        cap: longest minimal step, as a share of the state's own length; None for no limit.

    Returns:
        Control; its `report()` says what was done. Call its `reset()` between two texts that
        `lm.model` itself reads: a text that is the last one and one more token would be taken for
        its continuation.

    Raises:
        ValueError: wrong width, a layer the model lacks, vectors made for another model, a gate
            above the first steered layer, unknown names.
    """
    return Control(lm, as_plan(what, target, side), scope, mode, gate, joint, ridge, cap)


class Control:
    """Hooks while entered; see `steer`. Entering twice at a time is an error."""

    def __init__(self, lm, plan, scope="all", mode="per_token", gate=None, joint=True,
                 ridge=1e-3, cap=None):  # fmt: skip
        if mode not in MODES:
            raise ValueError(f"steer: mode={mode!r}; choose one of {', '.join(MODES)}.")
        if cap is not None and not cap > 0 or not ridge >= 0:
            raise ValueError(
                f"steer: cap={cap}, ridge={ridge}; cap must be above 0, ridge not below."
            )
        check_plan(plan, lm)
        self.lm, self.plan = lm, plan
        self.scope = check_scope(scope)
        first = min(plan.layers, default=lm.n_layers)
        self.gates, self.fixed_gate = check_gates(gate, first, lm.d_model)
        self.fixed_verdict = None if self.fixed_gate is None else unanimous(self.fixed_gate)
        options = {"frozen": mode == "frozen", "joint": joint, "ridge": ridge, "cap": cap}
        self.layers = {
            k: LayerShift(plan.at(k), lm.device, lm.dtype, **options) for k in plan.layers
        }
        self.tracker = Tracker(lm)
        self.stack: contextlib.ExitStack | None = None
        self.clear()

    def clear(self) -> None:
        """Forget the prompt and what was reported."""
        self.tracker.reset()
        self.tokens: Tokens | None = None
        self.reach: Tensor | bool = False  # tokens in scope, before the gate
        self.row_gate: Tensor | None = None  # (batch,) or None for all open
        self.verdict: bool | None = None  # of the gate on every row; None: they differ, or not known
        self.allowed: Tensor | None = None  # tokens to shift, (batch, length); None for every one
        self.opened: dict[int, Tensor] = {}  # gate number -> (batch,)
        self.passes = 0
        self.waiting: list[tuple] = []
        self.sums: dict[int, Tensor] = {}
        self.gate_sums = torch.zeros(2)  # rows opened, rows seen
        for shift in self.layers.values():
            shift.record = shift.frozen_step = None

    def reset(self) -> None:
        """Forget the prompt, not the report: the next pass of `lm.model` itself reads a new one."""
        self.tracker.reset()

    def __enter__(self) -> Control:
        if self.stack is not None:
            raise RuntimeError("steer: this control is entered already; make a second one.")
        self.clear()
        forget_compiled_hooks()
        with contextlib.ExitStack() as stack:
            model = plain(self.lm.model)
            hooked = set(self.layers) | {g.probe.layer for g in self.gates}
            handles = [model.register_forward_pre_hook(self.before_pass, with_kwargs=True)]
            stack.callback(handles[0].remove)
            for layer in sorted(hooked):
                handle = self.lm.blocks[layer].register_forward_hook(self.hook(layer))
                stack.callback(handle.remove)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_: Any) -> None:
        stack, self.stack = self.stack, None
        stack.close()
        forget_compiled_hooks()
        self.collect()

    # ------------------------------------------------------------------ inside a pass

    @torch.compiler.disable
    def before_pass(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        """Find out which tokens this pass holds, before its first block runs."""
        self.collect()
        self.tokens = tokens = self.tracker.follow(args, kwargs)
        self.reach = in_scope(self.scope, tokens)
        if self.fixed_gate is not None:
            self.row_gate = tokens.of_rows(self.fixed_gate)
            self.verdict = self.fixed_verdict
        elif tokens.phase != "generated":
            self.row_gate, self.verdict, self.opened = None, None, {}
        elif self.opened:  # the prompt has been read
            self.verdict, self.opened = unanimous(self.row_gate), {}
        self.allow()
        self.passes += 1

    def hook(self, layer: int):
        """Forward hook of one block: read the gates that sit here, then shift."""
        gates = [(k, g) for k, g in enumerate(self.gates) if g.probe.layer == layer]
        shift = self.layers.get(layer)

        def after(module, args, output):
            h = residual(output)
            if gates and self.tokens.phase != "generated":
                self.read_gates(gates, h)
            if shift is None:
                return None
            if self.reach is False:
                shift.freeze(h, self.tokens)  # measured, though nothing here is moved
                return None
            if self.verdict is False:
                shift.record = ()  # seen, neither measured nor moved
                return None
            return with_residual(output, shift(h, self.allowed, self.tokens))

        return after

    def read_gates(self, gates: list, h: Tensor) -> None:
        for k, gate in gates:
            self.opened[k] = gate.open(gate.reading(h, self.tokens))
        self.row_gate = torch.stack(list(self.opened.values())).all(0)
        self.allow()

    def allow(self) -> None:
        """Work out which tokens may be shifted, once for all layers."""
        allowed = None if isinstance(self.reach, bool) else self.reach
        if self.row_gate is not None and self.verdict is None:
            gate = self.row_gate[:, None]
            allowed = gate.expand_as(self.tokens.real) if allowed is None else allowed & gate
        self.allowed = allowed

    # ---------------------------------------------------------------------- the account

    def collect(self) -> None:
        """Set the records of the pass that has ended aside; sum them up now and then."""
        tokens, self.tokens = self.tokens, None
        if tokens is None:
            return
        records = {k: s.record for k, s in self.layers.items() if s.record is not None}
        for shift in self.layers.values():
            shift.record = None
        prompt = tokens.phase != "generated"
        self.waiting.append((records, tokens.real, self.reach, self.row_gate, prompt))
        if len(self.waiting) >= KEPT_PASSES:
            self.add_up()

    def add_up(self) -> None:
        """Sum up what waits, all passes of a layer at once."""
        found: dict[int, list[tuple]] = {layer: [] for layer in self.layers}
        for records, real, reach, row_gate, prompt in self.waiting:
            if prompt:
                opened = torch.ones(len(real)) if row_gate is None else row_gate
                self.gate_sums += torch.tensor([float(opened.sum()), len(opened)])
            counted = real if reach is True else reach & real
            if row_gate is not None:
                counted = counted & row_gate[:, None]
            for layer, record in records.items():
                found[layer].append((record, real, counted))
        for layer, of_passes in found.items():
            if of_passes:
                new = self.layers[layer].account(*zip(*of_passes, strict=True))
                self.sums[layer] = self.sums[layer] + new if layer in self.sums else new
        self.waiting = []

    def report(self) -> dict[str, Any]:
        """What was done since the context was entered.

        Returns:
            passes: forward passes; gate_open: share of prompts whose gate was open;
            layers: {layer: {tokens: real tokens seen, allowed: of these in scope with an open gate,
            shifted: share of the allowed that moved, size: mean length of their step in the units
            of h (not a share of |h|), values: {value: {before, after: mean probability of allowed tokens, missed: share
            of them that ended short of the target by more than 0.01 logits}}}}.
            Readings after the shift are computed in float32 before rounding to the model's dtype.
        """
        self.collect()
        self.add_up()
        seen = float(self.gate_sums[1])
        return {
            "passes": self.passes,
            "gate_open": float(self.gate_sums[0]) / seen if seen else math.nan,
            "layers": {k: self.layers[k].summary(s.tolist()) for k, s in sorted(self.sums.items())},
        }


def check_plan(plan: Plan, lm: LM) -> None:
    """Refuse plans of another model, width or layer."""
    made_for = plan.card.get("fingerprint")
    if made_for and made_for != lm.fingerprint:
        raise ValueError(
            f"steer: the vectors were made for {plan.card.get('model')} ({made_for}), this is "
            f"{lm.name} ({lm.fingerprint}); train them on this model, or transfer them to it."
        )
    for shift in plan.shifts:
        if shift.probe.d_model != lm.d_model:
            raise ValueError(
                f"steer: a weight has width {shift.probe.d_model} but {lm.name} has "
                f"{lm.d_model}; it was made for another model."
            )
        if not 0 <= shift.probe.layer < lm.n_layers:
            raise ValueError(
                f"steer: layer {shift.probe.layer}, but {lm.name} has blocks 0 to "
                f"{lm.n_layers - 1}."
            )


def forget_compiled_hooks() -> None:
    """Make torch.compile look at the hooks again; compiled code does not watch them by itself."""
    import sys

    if "torch._dynamo" in sys.modules and torch._dynamo.utils.counters["frames"]:
        torch._dynamo.reset()


class LayerShift:
    """All that happens to the output of one block, with everything prepared once."""

    def __init__(self, shifts, device, dtype, frozen=False, joint=True, ridge=1e-3, cap=None):
        self.frozen, self.joint, self.ridge, self.cap = frozen, joint, ridge, cap
        width = torch.promote_types(dtype, torch.float32)

        def weights(kind: str) -> list[tuple[Shift, Tensor]]:
            return [(s, s.probe.weight.to(device, width)) for s in shifts if s.kind == kind]

        added = [s.strength * w for s, w in weights("add")]
        self.width = width
        self.added = torch.stack(added).sum(0) if added else None
        self.removed = [(w / w.norm(), s.strength) for s, w in weights("remove")]
        self.goals = [s for s in shifts if s.kind == "minimal"]
        self.record: tuple | None = None  # of the last pass; () where nothing was measured
        self.frozen_step: Tensor | None = None
        if not self.goals:
            return
        self.W = torch.stack([w for _, w in weights("minimal")])  # (k, d)
        self.bias = torch.tensor([s.probe.bias for s in self.goals], device=device, dtype=width)
        self.sides = [s.side for s in self.goals]
        self.strength = torch.tensor([s.strength for s in self.goals], device=device, dtype=width)
        self.targets = [target_logits(s.target, device, width) for s in self.goals]
        self.per_row = any(t.ndim for t in self.targets)
        self.norms = self.W.norm(dim=1)
        self.pull = self.strength[0] * self.W[0] / self.norms[0] ** 2  # (d,)
        self.against = -self.W  # so that one product gives what is missing, `need` − w·h
        self.need = self.targets[0][..., None] - self.bias  # (1,) or (rows, 1)
        self.value, self.sign = one_sided(self.sides, self.W)
        self.signed = self.sign[:, None] * self.W[self.value]
        self.gram = (self.signed @ self.signed.T).double()
        self.settings = None
        self.alone = len(self.goals) == 1 and not (frozen or cap)
        plain_one = self.alone and not self.per_row
        if plain_one and kernels.choose(torch.empty(0, device=device, dtype=dtype)) != "torch":
            self.settings = kernels.settings(
                self.goals[0].probe.bias, float(self.targets[0]), self.sides[0], device
            )

    def __call__(self, h: Tensor, allowed: Tensor | None, tokens: Tokens) -> Tensor:
        """Steered states like `h`, (batch, length, d_model); not allowed ones bit for bit."""
        out = h
        if self.added is not None or self.removed:
            out = keep_closed(h, self.constant(h), allowed)
        if self.goals:
            return self.minimal(out, allowed, tokens)
        self.record = ()
        return out

    def constant(self, h: Tensor) -> Tensor:
        """Added vectors and removed directions."""
        x = cast(h, self.width)
        if self.added is not None:
            x = x + self.added
        for u, strength in self.removed:
            x = x - strength * (x @ u)[..., None] * u
        return cast(x, h.dtype)

    def minimal(self, h: Tensor, allowed: Tensor | None, tokens: Tokens) -> Tensor:
        if self.settings is not None:
            return self.on_kernel(h, allowed)
        if self.frozen:
            return self.with_frozen(h, allowed, tokens)
        if not self.alone:
            goals = self.goal_logits(tokens)
            step, score = self.several(h, goals)
            self.note(score, step, goals)
            return keep_closed(h, (h + step).to(h.dtype), allowed)
        x = cast(h, self.width)
        if self.per_row:
            need = tokens.of_rows(self.need)[:, None]
            missing = need + linear(x, self.against)
            self.record = (missing, (need + self.bias).expand_as(missing))
        else:
            missing = linear(x, self.against, self.need)  # (b, t, 1), in logits
            self.record = (missing,)
        moved = torch.addcmul(x, clamp_side(missing, self.sides[0]), self.pull)
        return keep_closed(h, cast(moved, h.dtype), allowed)

    def note(self, score: Tensor, step: Tensor, goals: Tensor) -> None:
        """Keep what the account needs: readings, their change, sizes and targets."""
        goals = goals[:, None] if goals.ndim > 1 else goals  # (batch, 1, k) or (k,)
        self.record = (score, step @ self.W.T, step.norm(dim=-1), goals.expand_as(score))

    def on_kernel(self, h: Tensor, allowed: Tensor | None) -> Tensor:
        """The same on the fused kernel: one read and one write of the states."""
        strength = self.goals[0].strength
        gate = allowed
        if strength != 1:
            gate = strength * (torch.ones_like(h[..., 0]) if allowed is None else allowed)
            gate = gate.to(torch.float32)
        moved, score, _ = kernels.steer(h, self.W[0], self.settings, gate=gate, report=True)
        self.record = ((self.targets[0] - score)[..., None],)
        return moved

    def with_frozen(self, h: Tensor, allowed: Tensor | None, tokens: Tokens) -> Tensor:
        """The step of the last prompt token, for every token."""
        self.freeze(h, tokens)
        if self.frozen_step is None:
            raise RuntimeError("steer: generated tokens arrived before a prompt; run it first.")
        x = h.to(self.W.dtype)
        step = self.frozen_step[:, None].expand_as(x)
        self.note(x @ self.W.T + self.bias, step, self.goal_logits(tokens))
        return keep_closed(h, (x + step).to(h.dtype), allowed)

    def freeze(self, h: Tensor, tokens: Tokens) -> None:
        """Measure the step at the last prompt token, where the pass holds the prompt."""
        if self.frozen and self.goals and tokens.phase != "generated":
            self.frozen_step, _ = self.several(at_last(h, tokens), self.goal_logits(tokens))

    def goal_logits(self, tokens: Tokens) -> Tensor:
        """Targets in logits, (batch, k) or (k,)."""
        if not self.per_row:
            return torch.stack(self.targets)
        batch = len(tokens.real)
        rows = [tokens.of_rows(t) if t.ndim else t.expand(batch) for t in self.targets]
        return torch.stack(rows, 1)

    def several(self, h: Tensor, goals: Tensor) -> tuple[Tensor, Tensor]:
        """Step (..., d) and scores (..., k) for several values, or for one with a cap."""
        x = h.to(self.W.dtype)
        score = x @ self.W.T + self.bias
        if goals.ndim > 1 and h.ndim > 2:
            goals = goals[:, None]  # (batch, 1, k)
        solve = self.solve_jointly if self.joint or len(self.goals) == 1 else self.solve_in_turn
        step = solve(x, goals)
        if self.cap:
            longest = self.cap * x.norm(dim=-1, keepdim=True)
            step = step * (longest / step.norm(dim=-1, keepdim=True).clamp(min=1e-30)).clamp(max=1)
        return step, score

    def solve_jointly(self, x: Tensor, goals: Tensor) -> Tensor:
        lack = goals - (x @ self.W.T + self.bias)
        need = (self.sign * lack[..., self.value]).double()
        lam = ridged_solution(self.gram, need, self.ridge).to(x)
        return (lam * self.strength[self.value]) @ self.signed

    def solve_in_turn(self, x: Tensor, goals: Tensor) -> Tensor:
        start = x
        for k, side in enumerate(self.sides):
            gap = clamp_side(goals[..., k] - (x @ self.W[k] + self.bias[k]), side)
            x = x + (gap * self.strength[k] / self.norms[k] ** 2)[..., None] * self.W[k]
        return x - start

    def account(self, records: list[tuple], real: list[Tensor], counted: list[Tensor]) -> Tensor:
        """Sums over the tokens of several passes: seen, allowed, shifted, size, then per value
        before, after and missed. real and counted (allowed and real): (b, t) for each pass."""
        seen = torch.stack([x.sum() for x in real]).sum()
        measured = [(r, c) for r, c in zip(records, counted, strict=True) if r]
        if not measured:
            allowed = torch.stack([x.sum() for x in counted]).sum()
            head = torch.stack([seen, allowed, allowed]).double()
            return torch.cat([head, head.new_zeros(1 + 3 * len(self.goals))]) if self.goals else head
        records, counted = zip(*measured, strict=True)
        columns = [torch.cat([x.flatten(0, 1) for x in c]) for c in zip(*records, strict=True)]
        counted = torch.cat([x.flatten() for x in counted])  # (n,)
        score, change, size, goals = self.alone_record(*columns) if self.alone else columns
        after = score + change
        short = self.short(goals - after)
        before, after = score.double().sigmoid(), after.double().sigmoid()
        parts = torch.stack([before, after, short.double()], -1)  # (n, k, 3)
        moved = counted & (size > 0)
        head = [seen, counted.sum(), moved.sum(), (size.double() * moved).sum()]
        sums = (parts * counted[:, None, None]).sum(0)
        return torch.cat([torch.stack([x.double() for x in head]), sums.flatten()])

    def alone_record(self, missing: Tensor, goals: Tensor | None = None) -> tuple[Tensor, ...]:
        """What `note` keeps, from the logits that one value by itself was missing, (n, 1)."""
        goals = self.targets[0] if goals is None else goals
        change = self.strength * clamp_side(missing, self.sides[0])
        return goals - missing, change, (change.abs() / self.norms)[:, 0], goals

    def short(self, gap: Tensor) -> Tensor:
        """Which targets are missed by more than 0.01 logits on the side that was asked for."""
        left = [clamp_side(g, side) for g, side in zip(gap.unbind(-1), self.sides, strict=True)]
        return torch.stack(left, -1).abs() > 0.01

    def summary(self, sums: list[float]) -> dict[str, Any]:
        seen, allowed, moved, *rest = sums
        found: dict[str, Any] = {
            "tokens": int(seen),
            "allowed": int(allowed),
            "shifted": moved / allowed if allowed else 0.0,
        }
        if not rest:
            return found
        found["size"] = rest[0] / moved if moved else 0.0
        found["values"] = {}
        for k, goal in enumerate(self.goals):
            before, after, missed = (x / allowed if allowed else math.nan for x in
                                     rest[1 + 3 * k : 4 + 3 * k])  # fmt: skip
            name = goal.probe.value or f"shift {k}"
            name = name if name not in found["values"] else f"{name} ({k})"
            found["values"][name] = {"before": before, "after": after, "missed": missed}
        return found


def target_logits(target: float | Tensor, device: Any, dtype: torch.dtype) -> Tensor:
    """Target probabilities in logits: () or (rows,)."""
    if torch.is_tensor(target):
        return torch.logit(target.double()).to(device, dtype)
    return torch.tensor(logit(target), device=device, dtype=dtype)


def clamp_side(gap: Tensor, side: str) -> Tensor:
    """Only the part of a gap that `side` asks to close."""
    if side == "at least":
        return gap.relu()
    return gap.clamp(max=0) if side == "at most" else gap


def unanimous(gate: Tensor) -> bool | None:
    """True or False where every row is open or shut; None where they differ, or on a device that
    would have to be waited for."""
    if gate.device.type != "cpu":
        return None
    opened = int(gate.sum())
    return opened > 0 if opened in (0, len(gate)) else None


def cast(h: Tensor, dtype: torch.dtype) -> Tensor:
    """`h` in a dtype; a hook at every token notices even a call of `to` that does nothing."""
    return h if h.dtype == dtype else h.to(dtype)


def keep_closed(h: Tensor, moved: Tensor, allowed: Tensor | None) -> Tensor:
    """`moved` where allowed, `h` itself, bit for bit, elsewhere."""
    return moved if allowed is None else torch.where(allowed[..., None], moved, h)
