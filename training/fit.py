"""Logistic heads: soft labels, ridge penalty, calibration out of fold, Laplace covariance. Deterministic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from sklearn.model_selection import KFold

SEED = 3


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(z, -60, 60)))


def logistic(x: np.ndarray, y: np.ndarray, penalty: float, prior: np.ndarray | None = None, weight: np.ndarray | None = None) -> np.ndarray:
    """Bias and weights that minimise log loss plus `penalty / 2 * |w - prior|^2`; the bias is free. Labels from 0 to 1."""
    design = np.hstack([np.ones((len(x), 1)), x])
    start = np.zeros(design.shape[1]) if prior is None else prior.copy()
    centre = start.copy()
    weight = np.ones(len(y)) if weight is None else weight

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        z = design @ w
        away = w - centre
        away[0] = 0.0
        value = weight @ (np.logaddexp(0, z) - y * z) + penalty / 2 * away @ away
        return value, design.T @ (weight * (sigmoid(z) - y)) + penalty * away

    return minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 100}).x


def apply(head: np.ndarray, x: np.ndarray) -> np.ndarray:
    return head[0] + x @ head[1:]


def folds(n: int, k: int = 5) -> KFold:
    return KFold(min(k, n), shuffle=True, random_state=SEED)


def out_of_fold(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """The sum before the sigmoid for each row, from a head that has not seen it."""
    z = np.zeros(len(y))
    for train, test in folds(len(y)).split(x):
        z[test] = apply(logistic(x[train], y[train], penalty), x[test])
    return z


def platt(z: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and intercept that calibrate `z`; the slope is held near 1 by a weak prior."""
    fitted = logistic(z[:, None], y, 1.0, prior=np.array([0.0, 1.0]))
    return float(fitted[1]), float(fitted[0])


def covariance(x: np.ndarray, head: np.ndarray, penalty: float) -> np.ndarray:
    """Laplace: the inverse of the Hessian at the head, bias first."""
    design = np.hstack([np.ones((len(x), 1)), x])
    p = sigmoid(design @ head)
    hessian = design.T @ (design * (p * (1 - p))[:, None]) + penalty * np.eye(design.shape[1])
    return np.linalg.inv(hessian)


@dataclass
class Scaling:
    """Mean and scale of features."""

    mean: np.ndarray
    scale: np.ndarray

    @staticmethod
    def of(x: np.ndarray) -> Scaling:
        scale = x.std(axis=0)
        return Scaling(x.mean(axis=0), np.where(scale < 1e-6, 1.0, scale))

    def apply(self, x: np.ndarray) -> np.ndarray:
        return (x - self.mean) / self.scale
