"""How routers are measured: APGR and CPT after RouteLLM (arXiv 2406.18665), AUC, ECE, bootstrap intervals."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score


def gap_recovered(strong_first: np.ndarray, weak: np.ndarray, strong: np.ndarray) -> np.ndarray:
    """PGR after sending 0, 1, ... n prompts to the strong model, in descending order of `strong_first`."""
    order = np.argsort(-strong_first, kind="stable")
    gained = np.concatenate([[0.0], np.cumsum((strong - weak)[order])])
    return gained / gained[-1]


def apgr(strong_first: np.ndarray, weak: np.ndarray, strong: np.ndarray) -> float:
    """Mean of PGR over the share of calls to the strong model."""
    return float(np.trapezoid(gap_recovered(strong_first, weak, strong), dx=1 / len(weak)))


def cpt(strong_first: np.ndarray, weak: np.ndarray, strong: np.ndarray, share: float) -> float:
    """The smallest share of calls to the strong model that recovers `share` of the gap."""
    return float(np.argmax(gap_recovered(strong_first, weak, strong) >= share - 1e-12) / len(weak))


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve; labels from 0 to 1 are cut at one half."""
    return float(roc_auc_score(labels >= 0.5, scores))


def ece(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error over bins of equal size."""
    order = np.argsort(probabilities, kind="stable")
    parts = zip(np.array_split(probabilities[order], bins), np.array_split(labels[order], bins), strict=True)
    return float(sum(abs(p.mean() - y.mean()) * len(p) for p, y in parts) / len(labels))


def interval(values: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of resampled values."""
    return float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))
