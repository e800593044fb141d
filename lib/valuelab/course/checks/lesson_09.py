"""Checks of lesson 09: values in the weights.

Each check tries the shape, then the likely mistakes in order of likelihood, then values on two seeds
against a formula written another way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from valuelab.course.check import Refused, exercise
from valuelab.weights import arithmetic, stances, tuning

SEEDS = (0, 1)
SHAPES = {"embed": (5, 3), "norm": (3,), "scalar": ()}


def draw(seed: int) -> dict[str, Tensor]:
    """A small state dict in float64, with an integer entry."""
    g = torch.Generator().manual_seed(seed)
    out = {n: torch.randn(s, generator=g, dtype=torch.float64) for n, s in SHAPES.items()}
    return {**out, "mask": torch.arange(4)}


def vector(seed: int) -> dict[str, Tensor]:
    return {n: x for n, x in draw(seed).items() if n != "mask"}


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n: x.clone() for n, x in state.items()}


def flat(state: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([state[n].double().reshape(-1) for n in SHAPES])


def as_dict(got, wanted: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """The learner's answer as a dict with the names and shapes wanted, or a sentence that says what it is."""
    if got is None:
        raise Refused(f"nothing came back: end with `return`. Wanted {what}.")
    if not isinstance(got, Mapping):
        raise Refused(f"a {type(got).__name__} came back. Wanted a dict from names to tensors: {what}.")
    missing, extra = sorted(set(wanted) - set(got)), sorted(set(got) - set(wanted))
    if extra == ["mask"]:
        raise Refused(
            "the integer entry 'mask' is in the vector: masks and counters are no weights. Keep what "
            "`is_floating_point()`"
        )
    if missing == ["mask"]:
        raise Refused("the integer entry 'mask' got lost: what no vector names is carried through unchanged")
    if missing or extra:
        raise Refused(f"names {missing} are missing and {extra} are too many. Wanted {what}.")
    for name, x in got.items():
        if not isinstance(x, Tensor) or x.shape != wanted[name].shape:
            raise Refused(f"{name!r} is {x if not isinstance(x, Tensor) else tuple(x.shape)}, wanted a tensor of "
                          f"shape {tuple(wanted[name].shape)}: {what}.")  # fmt: skip
    return dict(got)


def as_tensor(got, wanted: Tensor, what: str) -> Tensor:
    if got is None:
        raise Refused(f"nothing came back: end with `return`. Wanted {what}.")
    if not isinstance(got, Tensor):
        raise Refused(f"a {type(got).__name__} came back. Wanted a tensor: {what}.")
    if got.shape != wanted.shape:
        raise Refused(f"shape {tuple(got.shape)} came back, {tuple(wanted.shape)} was wanted: {what}.")
    return got


def close(got: Tensor, wanted: Tensor, tolerance: float = 1e-6) -> bool:
    return got.shape == wanted.shape and torch.allclose(got.double(), wanted.double(), atol=tolerance, rtol=tolerance)


def diagnose(got: Tensor, wanted: Tensor, likely: Sequence[tuple[Tensor, str]], otherwise: str) -> None:
    """Pass, or name the mistake whose result looks like this one."""
    if close(got, wanted):
        return
    for wrong, message in likely:
        if close(got, wrong) and not close(wrong, wanted):
            raise Refused(message)
    if not torch.isfinite(got).all():
        raise Refused(f"{int((~torch.isfinite(got)).sum())} numbers are NaN or infinite. {otherwise}")
    worst = float((got.double() - wanted.double()).abs().max())
    raise Refused(f"values differ by up to {worst:.2g}. {otherwise}")


def refuse_if_changed(given: Mapping[str, Tensor], kept: Mapping[str, Tensor], what: str) -> None:
    if any(not torch.equal(given[n], kept[n]) for n in kept):
        raise Refused(f"your function changes {what} itself, in place: build new tensors (no +=, -= or sub_)")


@exercise("9.1", reference=arithmetic.task_vector)
def task_vector(f: Callable) -> None:
    for seed in SEEDS:
        base, tuned = draw(seed), draw(seed + 10)
        given = copied(tuned), copied(base)
        back = f(*given)
        refuse_if_changed(given[1], base, "the base")
        refuse_if_changed(given[0], tuned, "the tuned weights")
        got = flat(as_dict(back, vector(seed), "one difference for each floating entry"))
        a, b = flat(tuned), flat(base)
        diagnose(
            got,
            a - b,
            [
                (b - a, "sign flipped: the vector leads from the base to the tuned weights, tuned - base"),
                (a, "these are the tuned weights; subtract the base"),
                ((a - b).abs(), "the absolute value forgets the direction, and a vector is one"),
                ((a - b) / b, "divided by the base: a task vector is a difference, not a rate of change"),
                ((a - b) / (a - b).norm(), "scaled to length one: τ must lead back to the tuned weights at λ = 1"),
            ],
            "θ_tuned - θ_base, entry by entry.",
        )
    half = {"w": torch.tensor([1000.0, 1.0]).half()}
    small = {"w": torch.tensor([1000.5, 0.0003]).half()}
    got = f(small, half)["w"]
    if got.dtype not in (torch.float32, torch.float64):
        raise Refused(
            "half-precision weights give a half-precision vector: convert to float32 first, or its digits are "
            "lost when several vectors are added"
        )
    if not close(got, small["w"].double() - half["w"].double()):
        raise Refused("subtracted in half precision, and rounded there: make both float32 first, then subtract")


@exercise("9.2", reference=arithmetic.apply)
def apply(f: Callable) -> None:
    for seed in SEEDS:
        base, u, v = draw(seed), vector(seed + 20), vector(seed + 30)
        kept, (i, j) = copied(base), (0.7, -1.3)
        back = f(base, [u, v], [i, j])
        refuse_if_changed(base, kept, "the base")
        got = flat(as_dict(back, base, "a state dict like the base"))
        b, x, y = flat(base), flat(u), flat(v)
        diagnose(
            got,
            b + i * x + j * y,
            [
                (b + x + y, "the scales are ignored: each vector is multiplied by its own λ"),
                (b - i * x - j * y, "sign: vectors are added. To take a task away the caller passes a negative λ"),
                (b + (i * x + j * y) / 2, "this is the mean of the moves; task vectors are summed"),
                (b + j * y, "only the last vector arrived: each one starts again from the base instead of adding up"),
                (b + i * x, "only the first vector arrived"),
                (b + abs(i) * x + abs(j) * y, "negative scales count as positive ones, so nothing could be forgotten"),
                (i * x + j * y, "the base is missing: this is the move alone"),
            ],
            "θ_base + Σ λ_i τ_i, entry by entry.",
        )
    half = {"w": torch.full((3,), 1000.0).half(), "mask": torch.arange(4)}
    parts = [{"w": torch.full((3,), 0.2)}] * 4
    new = f(half, parts, [1.0] * 4)
    if new["w"].dtype != torch.float16:
        raise Refused(f"a half-precision base came back as {new['w'].dtype}: return each entry in the base's own type")
    if not torch.equal(new["w"].float(), torch.full((3,), 1001.0)):
        raise Refused(
            "four moves of 0.2 on a half-precision 1000 add up to "
            f"{float(new['w'][0]) - 1000:.1f}: sum in float32, round once at the end"
        )
    nothing = f(half, [{"w": torch.full((3,), math.nan)}], [0.0])
    if not torch.equal(nothing["w"], half["w"]):
        raise Refused(
            "with λ = 0 a broken vector (NaN) reaches the weights, for 0 · NaN is NaN: leave vectors with λ = 0 out, "
            "so that the base comes back bit for bit"
        )
    beside = f(half, [{"w": torch.full((3,), math.nan)}, {"w": torch.ones(3)}], [0.0, 1.0])
    if not torch.equal(beside["w"].float(), torch.full((3,), 1001.0)):
        raise Refused(
            "beside a vector that counts, a broken one with λ = 0 spoils the sum: leave out every vector whose λ is 0, "
            "not only where all are"
        )
    two = {"w": torch.ones(3), "v": torch.ones(2)}
    try:
        apart = f(two, [{"w": torch.ones(3)}, {"v": torch.ones(2)}], [1.0, 2.0])
    except KeyError as error:
        raise Refused(f"a vector need not name every entry (one lacks {error}): ask `name in v` first") from None
    if not (torch.equal(apart["w"], torch.full((3,), 2.0)) and torch.equal(apart["v"], torch.full((2,), 3.0))):
        raise Refused("each entry is moved by those vectors that name it, and by no other")


@exercise("9.3", reference=arithmetic.analogy)
def analogy(f: Callable) -> None:
    for seed in SEEDS:
        a, b, c = vector(seed), vector(seed + 40), vector(seed + 50)
        got = flat(as_dict(f(a, b, c), a, "a vector with the names of the three"))
        x, y, z = flat(a), flat(b), flat(c)
        diagnose(
            got,
            z + y - x,
            [
                (z + x - y, "the step runs the wrong way: from a to b it is b - a"),
                (y - x, "this is the step from a to b alone; take it from c"),
                (z + y, "a is missing: without - a the first voice stays in the result"),
                (x + y + z, "everything is added; a is what b and c have too much of, so it is subtracted"),
                ((x + y + z) / 3, "this is the mean of the three, which lies inside the triangle; d lies outside it"),
                (z * y / x, "that is a rule of three with products; vectors are combined by sums"),
                (y + x - z, "c and a have changed places: c is added, a subtracted"),
            ],
            "c + (b - a), entry by entry.",
        )


@exercise("9.4", reference=tuning.dpo_loss)
def dpo_loss(f: Callable) -> None:
    for seed in SEEDS:
        g = torch.Generator().manual_seed(seed)
        a, b, c, d = 3 * torch.randn(4, 7, generator=g, dtype=torch.float64)
        beta = 0.3
        m = (a - c) - (b - d)

        def loss(x):
            return (1 + (-x).exp()).log().mean()

        back = f(a, b, c, d, beta)
        if isinstance(back, Tensor) and back.shape == (7,):
            raise Refused("one loss for each comparison came back: take the mean, a scalar")
        diagnose(
            as_tensor(back, torch.tensor(0.0), "the mean loss, a scalar"),
            loss(beta * m),
            [
                (loss(-beta * m), "sign flipped: this loss falls when the *rejected* reply gains"),
                (-loss(beta * m), "the minus is missing: a log-sigmoid is negative, a loss is minus that"),
                (loss(beta * (a - b)), "the reference is missing: what counts is how far each reply has moved from it"),
                (loss(m), "β is missing: it multiplies the margin inside the sigmoid"),
                (beta * loss(m), "β stands outside the sigmoid; it multiplies the margin inside"),
                (loss(m / beta), "the margin is divided by β; it is multiplied"),
                (7 * loss(beta * m), "this is the sum over the comparisons; take the mean"),
                (loss(beta * (a - c)), "only the winner is in the margin; the loser's log-ratio is subtracted"),
                (loss(beta * (a + b - c - d)), "the two log-ratios are added; DPO looks at their difference"),
                (loss(beta * ((a - d) - (b - c))), "the references are crossed: winner with winner, loser with loser"),
                (torch.sigmoid(beta * m).mean(), "this is the probability of the preference; take minus its logarithm"),
                (-beta * m.mean(), "this is still linear in the margin: the log-sigmoid is missing"),
            ],
            "-log σ(β[(log π⁺ - log π_ref⁺) - (log π⁻ - log π_ref⁻)]), mean over comparisons.",
        )
    far = f(torch.tensor([-2000.0]), torch.tensor([0.0]), torch.tensor([0.0]), torch.tensor([0.0]), 1.0)
    if not torch.isfinite(far):
        raise Refused(
            "a margin of -2000 gives an infinite loss: before the logarithm a sigmoid underflows to 0, or exp "
            "overflows. F.logsigmoid does neither"
        )


@exercise("9.5", reference=arithmetic.preference_and_drift)
def preference_and_drift(f: Callable) -> None:
    for seed in SEEDS:
        plus, minus, base = vector(seed), vector(seed + 60), vector(seed + 70)
        back = f(plus, minus, base)
        if not isinstance(back, tuple | list) or len(back) != 2:
            raise Refused("return two vectors: the preference, then the shared drift")
        p, m, b = flat(plus), flat(minus), flat(base)
        phi, shared = (flat(as_dict(x, plus, "a vector")) for x in back)
        delta = (p + m) / 2 - b
        if close(phi, delta) and close(shared, p - m):
            raise Refused("the two came back in the wrong order: preference first, shared drift second")
        diagnose(
            phi,
            p - m,
            [
                (m - p, "the preference points the wrong way: true minus flipped"),
                (p - b, "this is the task vector of the true run alone, drift included; subtract the flipped run"),
                ((p - m) / 2, "half of the preference: φ is defined as the whole difference θ⁺ - θ⁻"),
                (p - m - b, "the base is subtracted from the preference; it is in both runs and cancels already"),
                (p + m, "the runs are added; the drift cancels in the difference"),
            ],
            "φ = θ⁺ - θ⁻.",
        )
        diagnose(
            shared,
            delta,
            [
                ((p + m) / 2, "the base is missing from the drift: this is the midpoint itself, not how far it moved"),
                (p + m - 2 * b, "twice the drift: the mean of the two runs is what they share"),
                (p + m - b, "the base goes out once but the runs come in twice: mean of both, minus base"),
                (-delta, "the drift points back to the base: it is the midpoint minus the base"),
                (m - b, "this is the flipped run's whole task vector; what both share is the mean of the two"),
                (p - b, "this is the whole task vector of the true run as drift; take the mean of the two runs"),
            ],
            "δ = (θ⁺ + θ⁻) / 2 - θ_base.",
        )


@exercise("9.6", reference=arithmetic.mixing_weights)
def mixing_weights(f: Callable) -> None:
    for seed in SEEDS:
        g = torch.Generator().manual_seed(seed)
        effects = torch.randn(3, 5, generator=g, dtype=torch.float64)
        wanted = torch.randn(5, generator=g, dtype=torch.float64)
        ridge = 0.4
        # the ridge as extra readouts, each wanted to be zero
        tall = torch.cat([effects.T, ridge**0.5 * torch.eye(3, dtype=torch.float64)])
        goal = torch.cat([wanted, torch.zeros(3, dtype=torch.float64)])
        right = torch.linalg.lstsq(tall, goal).solution
        back = f(effects, wanted, ridge)
        if isinstance(back, Tensor) and back.shape == (5,):
            raise Refused("one number for each readout came back; λ has one for each vector. E is (vectors, readouts)")
        gram = effects @ effects.T
        everywhere = torch.linalg.solve(gram + ridge, effects @ wanted)
        diagnose(
            as_tensor(back, right, "one weight for each vector"),
            right,
            [
                (torch.linalg.lstsq(effects.T, wanted).solution, "the ridge is ignored: add ridge · I to E Eᵀ"),
                (everywhere, "the ridge was added to every entry; it belongs on the diagonal, ridge · I"),
                (effects @ wanted, "E · wanted treats the vectors as perpendicular: solve with E Eᵀ"),
                (effects @ wanted / (gram.diagonal() + ridge), "each vector was fitted alone: off the diagonal of E Eᵀ "
                 "stands what they share, and it is counted twice"),
                (torch.linalg.solve(gram + ridge**2 * torch.eye(3, dtype=torch.float64), effects @ wanted),
                 "the ridge is squared; the formula has it once"),
                (-right, "sign flipped: these weights move every readout away from the wish"),
                (torch.linalg.solve(gram - ridge * torch.eye(3, dtype=torch.float64), effects @ wanted),
                 "the ridge is subtracted, which makes mixtures larger; add it"),
            ],
            "(E Eᵀ + ridge I)⁻¹ E wanted.",
        )  # fmt: skip


@exercise("9.7", reference=stances.drift_time)
def drift_time(f: Callable) -> None:
    at = np.array([10, 20, 40, 60, 110])
    rising = np.array([0.40, 0.55, 0.79, 0.795, 0.80])
    got = f(rising, at, 0.95)
    if got is None:
        raise Refused("nothing came back: end with `return`. Wanted one number from 0 to 1.")
    if not np.isscalar(got) and np.ndim(got) != 0:
        raise Refused(f"{np.shape(got)} numbers came back. Wanted one, a fraction of training.")
    known = {
        0.3: None,
        2.0: "this is the number of the checkpoint; the checkpoints are not evenly spaced, so look it up in `at`",
        40.0: "this is in steps; wanted the fraction of training, from 0 to 1",
        30.0: "this is in steps since the start; divide by the length of training",
        40 / 110: "training begins at at[0], not at zero: subtract it above and below",
        0.4: "divided by the number of checkpoints: they are not evenly spaced, use `at`",
        0.1: "this is the checkpoint before the stance has arrived",
        1.0: "this waits for the very end; share of the way is enough",
    }
    _named(float(got), known, "first checkpoint with share of the way covered, as a fraction of training")
    late = np.array([0.40, 0.55, 0.765, 0.795, 0.80])
    _named(
        float(f(late, at, 0.95)),
        {0.5: None, 0.3: "95 % of the final *value* is not 95 % of the *way*: subtract where the stance began"},
        "cover 95 % of the way from the first stance to the last",
    )
    _named(
        float(f(1 - rising, at, 0.95)),
        {0.3: None, 0.0: "a falling stance is at its goal at once, you say: divide by the signed way, so that covered "
         "rises from 0 to 1 in both directions"},
        "a falling stance covers its way like a rising one",
    )  # fmt: skip
    _named(
        float(f(rising, at, 0.3)),
        {0.1: None, 0.3: "`share` is ignored: 0.95 is only its default"},
        "share = 0.3 of the way is covered at the second checkpoint",
    )
    wobbling = np.array([0.40, 0.79, 0.60, 0.795, 0.80])
    _named(
        float(f(wobbling, at, 0.95)),
        {0.1: None, 0.5: "you take the last arrival; a stance that wobbles arrives when it is *first* there"},
        "the first checkpoint that has share of the way behind it",
    )
    dipping = np.array([0.40, 0.0, 0.60, 0.795, 0.80])
    _named(
        float(f(dipping, at, 0.95)),
        {0.5: None, 0.1: "the stance first went the other way, and that is no part of its way: no absolute values"},
        "the first checkpoint that has share of the way behind it, in the direction of the end",
    )
    if not math.isnan(f(np.full(5, 0.4), at, 0.95)):
        raise Refused("a stance that ends where it began has no way to cover: return NaN (math.nan), not a time")


def _named(got: float, known: dict[float, str | None], otherwise: str) -> None:
    """Pass where the key without a message was met; else say what the key's message says."""
    for value, message in known.items():
        if math.isclose(got, value, abs_tol=1e-9):
            if message is None:
                return
            raise Refused(message)
    raise Refused(f"{got:.3g} came back; {otherwise}")


@exercise("9.8", reference=stances.magnitude_interval)
def magnitude_interval(f: Callable) -> None:
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        start = rng.normal(0.5, 0.30, 60)
        end = start + 0.20 + rng.normal(0, 0.10, 60)
        back = f(start, end, 3000, seed)
        if back is None:
            raise Refused("nothing came back: end with `return`. Wanted (estimate, low, high).")
        if not isinstance(back, tuple | list | np.ndarray | Tensor) or len(back) != 3:
            raise Refused("return three numbers: estimate, low, high")
        if any(np.ndim(x) != 0 for x in back):
            raise Refused("each of the three is a single number: average over the prompts before the percentiles")
        estimate, low, high = (float(x) for x in back)
        moved = end - start
        se, half = moved.std() / 60**0.5, 1.96 * moved.std() / 60**0.5
        if abs(estimate + moved.mean()) < 1e-9 + 0.1 * se:
            raise Refused("sign flipped: the stance moved from start to end, end - start")
        if low > high:
            raise Refused("the bounds are in the wrong order: low before high")
        if abs(estimate - moved.mean()) > 0.1 * se:
            raise Refused(f"the estimate is {estimate:.3f}, the mean move {moved.mean():.3f}: mean of end - start")
        width = (high - low) / (2 * half)
        apart = math.hypot(start.std(), end.std()) / moved.std()
        if width < 1e-6:
            raise Refused(
                "the interval has no width: each draw holds every prompt once. Draw with replacement "
                "(rng.integers, or replace=True)"
            )
        if abs(width - 60**0.5) < 1:
            raise Refused("these are percentiles of single prompts, not of means: each draw averages over n prompts")
        if abs(width - apart) < 0.25 * apart:
            raise Refused(
                "start and end were drawn apart: a prompt that is high before is high after, so draw the same "
                "prompts for both"
            )
        if abs(width - 1 / 1.96) < 0.08:
            raise Refused("this is plus and minus one standard error; the level asks for percentiles, 2.5 and 97.5")
        if abs(width - 1.645 / 1.96) < 0.05:
            raise Refused("this leaves 5 % on each side, a 90 % interval: half of 1 - level goes on each side")
        if abs(width - 1) > 0.15:
            raise Refused(f"the interval is {width:.2f} times as wide as it should be; draw n prompts with "
                          "replacement, average, take percentiles")  # fmt: skip
        _, lower, upper = f(start, end, 3000, seed, 0.5)
        if abs((upper - lower) / (2 * 0.6745 * se) - 1) > 0.2:
            raise Refused("`level` is ignored: half of 1 - level goes on each side")
