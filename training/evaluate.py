"""The evaluation table: `evaluate.py DATA FOLDER OUT [ENCODER]`. Prints it and writes it to OUT; encoder and tokenizer are in ENCODER, else in FOLDER.

In domain: heads trained on labels of the user's own pair of models, beside random order, length, hand features, subject
means and the oracle. Zero-shot: the shipped heads. Nothing is tuned on what is reported: penalties are fixed beforehand."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

import data
import fit
import metrics
from features import HAND, Encoder

SEEDS = 10
FEW = 300  # rows under which calibration alone is worth learning
PENALTY, PENALTY_HAND = 1000.0, 3.0


class Table:
    """Rows of Markdown."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, *cells: object) -> None:
        self.lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")

    def head(self, title: str, *cells: str) -> None:
        self.lines += ["", f"## {title}", ""]
        self.add(*cells)
        self.lines.append("|" + "---|" * len(cells))


def pair(rows: list[data.Row]) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.array([row.scores[side] for row in rows]) for side in ("weak", "strong"))


def difference(x: np.ndarray, weak: np.ndarray, strong: np.ndarray, train: np.ndarray, test: np.ndarray, penalty: float) -> np.ndarray:
    """P(strong) - P(weak) on `test`, from heads fitted to `train`."""
    probability = lambda y: fit.sigmoid(fit.apply(fit.logistic(x[train], y[train], penalty), x[test]))
    return probability(strong) - probability(weak)


def report(table: Table, name: str, orders: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    """One line: mean and spread of APGR, means of CPT, over repetitions of (order, weak, strong)."""
    a = np.array([metrics.apgr(*order) for order in orders])
    c50, c80 = (np.mean([metrics.cpt(*order, share) for order in orders]) for share in (0.5, 0.8))
    table.add(name, f"{a.mean():.3f}", f"{a.std():.3f}", f"{100 * c50:.1f} %", f"{100 * c80:.1f} %")


def in_domain(table: Table, title: str, rows: list[data.Row], x: np.ndarray, counts: list[int], shipped: np.ndarray) -> None:
    weak, strong = pair(rows)
    rng = np.random.default_rng(17)
    table.head(f"{title}: {len(rows)} prompts, weak {weak.mean():.3f}, strong {strong.mean():.3f}", "order", "APGR", "spread", "CPT(50)", "CPT(80)")
    everything = np.arange(len(rows))
    report(table, "random", [(rng.random(len(rows)), weak, strong) for _ in range(200)])
    report(table, "oracle", [(strong - weak, weak, strong)])
    report(table, "length", [(x[:, -len(HAND)], weak, strong)])
    report(table, "shipped heads, zero-shot: 1 - P(medium)", [(-shipped, weak, strong)])
    groups = np.array([row.group for row in rows])
    for count in counts:
        lines: dict[str, list] = {"subject means": [], "hand features": [], "ours": []}
        splits = [(p[:count], p[count:]) for p in (rng.permutation(everything) for _ in range(SEEDS))]
        if count > 0.8 * len(rows):
            k = max(5, round(len(rows) / (len(rows) - count)))
            splits = list(fit.folds(len(rows), k).split(everything))
        parts: dict[str, np.ndarray] = {name: np.zeros(len(rows)) for name in lines}
        for train, test in splits:
            scaled = fit.Scaling.of(x[train]).apply(x)
            order = {
                "hand features": difference(scaled[:, -len(HAND):], weak, strong, train, test, PENALTY_HAND),
                "ours": difference(scaled, weak, strong, train, test, PENALTY),
            }
            gain = strong[train] - weak[train]
            means = {g: (gain[groups[train] == g].sum() + 5 * gain.mean()) / (np.sum(groups[train] == g) + 5) for g in set(groups)}
            order["subject means"] = np.array([means[g] for g in groups[test]])
            for name, values in order.items():
                lines[name].append((values, weak[test], strong[test]))
                parts[name][test] = values
        if count > 0.8 * len(rows):  # cross-validation: one order over all rows
            lines = {name: [(values, weak, strong)] for name, values in parts.items()}
        for name, orders in lines.items():
            report(table, f"{name}, {count} labels", orders)


def calibrated(table: Table, title: str, y: np.ndarray, shipped: np.ndarray) -> None:
    """ECE of the shipped head on another model before and after 100 labels; and after 100 labels where there is nothing to be wrong about but
    the draw of labels, as they are drawn from a head of the very form that is fitted."""
    logit = np.log(shipped / (1 - shipped))
    rng = np.random.default_rng(23)
    fitted = lambda rows, labels: fit.logistic(logit[rows, None], labels[rows], 1.0, prior=np.array([0.0, 1.0]))
    truth = fit.sigmoid(fit.apply(fitted(np.arange(len(y)), y), logit[:, None]))

    def once(labels: np.ndarray) -> float:
        order = rng.permutation(len(y))
        return metrics.ece(fit.sigmoid(fit.apply(fitted(order[:100], labels), logit[order[100:], None])), labels[order[100:]])

    after = [once(y) for _ in range(50)]
    ideal = [once((rng.random(len(y)) < truth).astype(float)) for _ in range(50)]
    table.add(title, f"{metrics.ece(shipped, y):.3f}", f"{np.mean(after):.3f}", f"{np.std(after):.3f}", f"{np.mean(ideal):.3f}")


def shipped_quality(heads: dict, x: np.ndarray, head: dict) -> np.ndarray:
    scaled = (x - np.array(heads["features"]["mean"])) / np.array(heads["features"]["scale"])
    z = head["bias"] + scaled @ np.array(heads["quality"]["projection"]).T @ np.array(head["vector"])
    if head["weights"] is not None:
        z = z + scaled @ np.array(head["weights"])
    return fit.sigmoid(head["calibration"]["slope"] * z + head["calibration"]["intercept"])


def ulab_test(table: Table, heads: dict, rows: list[data.Row], x: np.ndarray) -> None:
    table.head(f"ulab_llmrouter test: {len(rows)} prompts, shipped heads", "model", "mean score", "AUC", "95 % interval", "length AUC", "ECE")
    rng, mean = np.random.default_rng(29), []
    for model, head in heads["quality"]["targets"].items():
        if model not in data.MODELS:
            continue
        y, p = np.array([row.scores[model] for row in rows]), shipped_quality(heads, x, head)
        draws = [rng.integers(0, len(y), len(y)) for _ in range(300)]
        low, high = metrics.interval(np.array([metrics.auc(p[d], y[d]) for d in draws]))
        mean.append(metrics.auc(p, y))
        length = metrics.auc(-x[:, -len(HAND)], y)
        table.add(model, f"{y.mean():.3f}", f"{mean[-1]:.3f}", f"{low:.3f}-{high:.3f}", f"{max(length, 1 - length):.3f}", f"{metrics.ece(p, y):.3f}")
    table.add("mean", "", f"{np.mean(mean):.3f}", "", "", "")
    everything = [(shipped_quality(heads, x, heads["quality"]["targets"][model]), np.array([row.scores[model] for row in rows])) for model in data.MODELS]
    p, y = (np.concatenate(part) for part in zip(*everything, strict=True))
    table.add("all pairs of prompt and model", f"{y.mean():.3f}", f"{metrics.auc(p, y):.3f}", "", "", f"{metrics.ece(p, y):.3f}")


def main(folder: Path, model: Path, out: Path, of: Path) -> None:
    encoder, heads, table = Encoder(of), json.loads((model / "heads.json").read_text()), Table()
    features = lambda rows: encoder.prompts([row.prompt for row in rows])
    medium = heads["quality"]["size_classes"]["medium"]
    table.lines += ["# What the classifier predicts", "", "`make eval`. Definitions: training/metrics.py. Spread: standard deviation over random orders or splits."]
    mmlu, gsm8k = data.routellm(folder, "mmlu"), data.routellm(folder, "gsm8k")
    sets = [("MMLU half", mmlu, features(mmlu), [100, 300, 600, 1500]), ("GSM8K half", gsm8k, features(gsm8k), [100, 300, 590])]
    for title, rows, x, counts in sets:
        in_domain(table, title, rows, x, counts, shipped_quality(heads, x, medium))
    test = data.ulab(folder, "test")
    ulab_test(table, heads, test, features(test))
    table.head("Calibration of the shipped `medium` head on models it has not seen", "labels of", "ECE before", "ECE after 100 labels", "spread", "the same of labels drawn from a calibrated head")
    for title, rows, x, _ in sets:
        for side, label in (("weak", "Mixtral-8x7B"), ("strong", "GPT-4-1106")):
            y = np.array([row.scores[side] for row in rows])
            calibrated(table, f"{title}, {label}", y, shipped_quality(heads, x, medium))
    text = "\n".join(table.lines) + "\n"
    print(text)
    out.write_text(text)


if __name__ == "__main__":
    arguments = [Path(argument) for argument in sys.argv[1:]]
    main(*arguments[:3], arguments[3] if len(arguments) > 3 else arguments[1])
