"""Fits the heads: `train.py DATA LABELS FOLDER [ENCODER]`. Reads encoder and tokenizer in ENCODER (FOLDER when not given), writes
`heads.json`, `parity.json` and `SHA256SUMS` to FOLDER. The profile is `layers2` where the encoder gives vectors of tokens."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np

import data
import fit
import parity
from features import HAND, Encoder

RANK = 8
# Of the heads whose common directions are looked for, and of the heads in those directions.
PENALTY_ALONE, PENALTY_PROJECTED = 300.0, 3.0
COMPONENTS = 48
KEPT = 0.99
# What the smallest model answered right, larger ones are assumed to answer right as well, with this weight: nobody measured
# them on everyday prompts, and a head that was fitted to examinations alone says nonsense about a greeting.
ASSUMED = 0.5
# Among the training prompts the 99th percentile of the distance falls with the tokens n about as 600 + 7000 / n; of `layers2`, see `per_token`.
PER_TOKEN = 7000.0
WIDE_SHARE_MAX = 0.3
NEAR = 0.95
STARTED = time.monotonic()
LABELS = ["chat", "extraction", "classification", "summarisation", "rewriting", "translation", "code", "sql", "maths", "reasoning", "factual", "creative"]


def unlike(rows: list[data.Row], x: np.ndarray, held_out: np.ndarray) -> tuple[list[data.Row], np.ndarray]:
    """Rows whose vector is not almost that of an evaluation prompt (cosine under 0.95)."""
    unit = lambda v: v[:, :-len(HAND)] / np.maximum(1e-9, np.linalg.norm(v[:, :-len(HAND)], axis=1, keepdims=True))
    nearest = np.zeros(len(x))
    for part in np.array_split(unit(held_out), max(1, len(held_out) // 500)):
        nearest = np.maximum(nearest, (unit(x) @ part.T).max(axis=1))
    keep = nearest < NEAR
    return [row for row, is_kept in zip(rows, keep, strict=True) if is_kept], x[keep]


def calibration(z: np.ndarray, y: np.ndarray) -> dict:
    slope, intercept = fit.platt(z, y)
    return {"slope": slope, "intercept": intercept}


def quality(rows: list[data.Row], x: np.ndarray, local: list[data.Row], x_local: np.ndarray) -> dict:
    """A head for each model; their common directions; of each head the part in those, which size classes share, and the rest,
    which is the model's own."""
    y_local = np.array([row.scores[data.LOCAL] for row in local])
    easy = x_local[y_local == 1.0]
    sets = {
        model: (np.vstack([x, easy]), np.concatenate([[row.scores[model] for row in rows], np.ones(len(easy))]),
                np.concatenate([np.ones(len(rows)), np.full(len(easy), ASSUMED)]))
        for model in data.MODELS
    }
    if local:
        sets[data.LOCAL] = (x_local, y_local, np.ones(len(local)))
    alone = {model: fit.logistic(features, y, PENALTY_ALONE, weight=weight) for model, (features, y, weight) in sets.items()}
    _, _, directions = np.linalg.svd(np.array([head[1:] for head in alone.values()]), full_matrices=False)
    projection = directions[:RANK]
    projection /= (x @ projection.T).std(axis=0)[:, None]
    heads = {}
    for model, (features, y, weight) in sets.items():
        projected = features @ projection.T
        common = fit.logistic(projected, y, PENALTY_PROJECTED, weight=weight)
        heads[model] = {
            "size_class": data.MODELS.get(model, "tiny"), "rows": len(y), "vector": common[1:], "bias": alone[model][0],
            "weights": alone[model][1:] - common[1:] @ projection,
            "calibration": calibration(fit.out_of_fold(features, y, PENALTY_ALONE), y),
            "covariance": fit.covariance(projected, common, PENALTY_PROJECTED), "common_bias": common[0],
        }
    classes = size_classes(heads)
    for head in heads.values():
        del head["common_bias"]
    return {"projection": projection, "targets": heads, "size_classes": classes}


def size_classes(heads: dict[str, dict]) -> dict[str, dict]:
    """Heads for models that were not measured: the mean of a class, its uncertainty the spread within it. `tiny` is the one
    that was measured, `small` lies half way to `medium`, `frontier` is `large` moved by what lies between `medium` and `large`."""
    def mean(members: list[dict]) -> dict:
        stacked = np.array([np.concatenate([[m["common_bias"]], m["vector"]]) for m in members])
        within = np.mean([m["covariance"] for m in members], axis=0)
        between = np.cov(stacked.T) if len(members) > 1 else np.diag(np.full(stacked.shape[1], 0.25))
        centre = stacked.mean(axis=0)
        return {"rows": sum(m["rows"] for m in members), "bias": centre[0], "vector": centre[1:], "weights": None,
                "calibration": {"slope": 1.0, "intercept": 0.0}, "covariance": within + between}

    def between(a: dict, b: dict, share: float) -> dict:
        mix = lambda key: a[key] + share * (b[key] - a[key])
        covariance = (a["covariance"] + b["covariance"]) / 2 + np.diag(np.full(len(a["covariance"]), 0.25))
        return {"rows": 0, "bias": mix("bias"), "vector": mix("vector"), "weights": None, "calibration": b["calibration"], "covariance": covariance}

    members = lambda name: [head for head in heads.values() if head["size_class"] == name]
    classes = {"medium": mean(members("medium")), "large": mean(members("large"))}
    classes["tiny"] = mean(members("tiny")) if members("tiny") else between(classes["large"], classes["medium"], 2.0)
    classes["small"] = between(classes["tiny"], classes["medium"], 0.5)
    step = classes["large"]["bias"] - classes["medium"]["bias"]
    classes["frontier"] = between(classes["large"], classes["large"], 0.0) | {"bias": classes["large"]["bias"] + abs(step)}
    return {name: {"size_class": name} | head for name, head in classes.items()}


def task(rows: list[data.Row], x: np.ndarray) -> tuple[dict, float]:
    """One-against-rest heads with equal weight for each kind; the accuracy is on templates and sources held out."""
    names = np.array([row.task for row in rows])
    groups = sorted({row.group for row in rows})
    held = set(groups[::5])
    test = np.array([row.group in held for row in rows])
    weight = np.array([1 / max(1, np.sum(names == name)) for name in names])
    weight *= len(names) / weight.sum()

    def heads(part: np.ndarray) -> np.ndarray:
        return np.array([fit.logistic(x[part], (names[part] == label).astype(float), 100.0, weight=weight[part]) for label in LABELS])

    trial = heads(~test)
    scores = np.array([fit.apply(head, x[test]) for head in trial]).T
    accuracy = float(np.mean(np.array(LABELS)[scores.argmax(axis=1)] == names[test]))
    temperatures = np.linspace(0.3, 3.0, 28)
    loss = []
    for t in temperatures:
        logits = scores / t
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        loss.append(-np.mean([row[LABELS.index(name)] for row, name in zip(logits, names[test], strict=True)]))
    final = heads(np.ones(len(rows), bool))
    return {"labels": LABELS, "weights": final[:, 1:], "bias": final[:, 0], "temperature": float(temperatures[int(np.argmin(loss))])}, accuracy


def injection(good: np.ndarray, bad: np.ndarray) -> dict:
    x, y = np.vstack([good, bad]), np.concatenate([np.zeros(len(good)), np.ones(len(bad))])
    penalty = 100.0
    head, z = fit.logistic(x, y, penalty), fit.out_of_fold(x, y, penalty)
    curve = calibration(z, y)
    p = fit.sigmoid(curve["slope"] * z + curve["intercept"])
    return {"weights": head[1:], "bias": head[0], "calibration": curve, "threshold": float(np.quantile(p[y == 0], 0.995))}


def per_token(distance: np.ndarray, tokens: np.ndarray) -> float:
    """By how much the 99th percentile of the distance of short prompts exceeds that of long ones, times their tokens."""
    short, long = tokens <= 10, tokens >= 64
    excess = np.quantile(distance[short], KEPT) - np.quantile(distance[long], KEPT)
    return float(max(0.0, excess) * np.median(tokens[short]))


def distribution(vectors: np.ndarray, tokens: np.ndarray, profile: str) -> dict:
    """Probabilistic PCA of the vectors that the quality heads were fitted to."""
    mean = vectors.mean(axis=0)
    values, directions = np.linalg.eigh(np.cov((vectors - mean).T))
    order = np.argsort(values)[::-1]
    components, variance = directions[:, order[:COMPONENTS]].T, values[order[:COMPONENTS]]
    residual = float(values[order[COMPONENTS:]].mean())
    centred = vectors - mean
    along = centred @ components.T
    distance = (along**2 / variance).sum(axis=1) + ((centred**2).sum(axis=1) - (along**2).sum(axis=1)) / residual
    slack = PER_TOKEN if profile == "static" else per_token(distance, tokens)
    return {"mean": mean, "components": components, "variance": variance, "residual_variance": residual,
            "threshold": float(np.quantile(distance - slack / np.maximum(1, tokens), KEPT)), "per_token": slack,
            "wide_share_max": WIDE_SHARE_MAX, "languages": ["en"]}


def rounded(value: object) -> object:
    """Numbers with at most 7 significant digits."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return rounded(value.tolist())
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.7g}") if isinstance(value, (float, np.floating)) else value


def say(what: str) -> None:
    print(f"{time.monotonic() - STARTED:5.0f} s  {what}", flush=True)


def main(folder: Path, labels: Path, out: Path, of: Path) -> None:
    encoder = Encoder(of)
    profile = encoder.profile
    held_out = data.routellm(folder, "mmlu") + data.routellm(folder, "gsm8k") + data.ulab(folder, "test")
    x_held = encoder.prompts([row.prompt for row in held_out])
    prompts = lambda rows: encoder.prompts([row.prompt for row in rows])

    rows = data.without(data.ulab(folder, "train"), held_out)
    rows, x = unlike(rows, prompts(rows), x_held)
    local = data.without(data.labelled(folder, labels), held_out) if labels.exists() else []
    x_local = prompts(local) if local else np.zeros((0, x.shape[1]))
    scaling = fit.Scaling.of(np.vstack([x, x_local]))
    task_rows = data.without(data.tasks(folder), held_out)
    good, bad = data.without(data.ordinary(folder), held_out), data.attacks(folder)
    x_task, x_good, x_bad = prompts(task_rows), prompts(good), prompts(bad)
    say("features made")
    task_head, accuracy = task(task_rows, scaling.apply(x_task))
    say("task head fitted")
    everywhere = np.vstack([x, x_local, x_good, x_task])[:, :-len(HAND)]
    tokens = np.array([sum(map(len, encoder.windows(row.prompt))) for row in [*rows, *local, *good, *task_rows]])
    heads = {
        "format": 1, "name": "router-v1" if profile == "static" else f"router-v1-{profile}", "encoder": profile,
        "features": {"hand": HAND, "mean": scaling.mean, "scale": scaling.scale},
        "quality": quality(rows, scaling.apply(x), local, scaling.apply(x_local)),
        "task": task_head, "injection": injection(scaling.apply(x_good), scaling.apply(x_bad)),
        "out_of_distribution": distribution(everywhere, tokens, profile),
    }
    heads = rounded(heads)
    (out / "heads.json").write_text(json.dumps(heads, separators=(",", ":")))
    parity.write(encoder, heads, out / "parity.json")
    print(f"{len(rows)} rows of ulab_llmrouter, {len(local)} of the local model, {len(task_rows)} of tasks, {len(good)} ordinary, {len(bad)} attacks")
    print(f"task accuracy on sources and templates held out: {accuracy:.3f}")


def checksums(out: Path, of: Path) -> None:
    """Writes `SHA256SUMS` of all other files of a classifier, some of which may be in the encoder's folder only."""
    files = {path.name: path for folder in (of, out) for path in folder.iterdir() if path.is_file() and path.name != "SHA256SUMS"}
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n" for name, path in sorted(files.items())]
    (out / "SHA256SUMS").write_text("".join(lines))


if __name__ == "__main__":
    arguments = [Path(argument) for argument in sys.argv[1:]]
    encoder_folder = arguments[3] if len(arguments) > 3 else arguments[2]
    main(*arguments[:3], encoder_folder)
    checksums(arguments[2], encoder_folder)
