"""Writes the prompts that a local model is measured with: `dataset.py DATA OUT`.

Public sets (ulab_llmrouter train, BIG-Bench Hard) in part, short prompts only, and everyday prompts. One JSON object a
line, as `tidegate eval-target` reads it."""

from __future__ import annotations

import ast
import gzip
import json
import random
import re
import sys
from pathlib import Path

import everyday

CHARS_MAX = 800
ULAB = {  # task: (rows, metric, max_tokens)
    "commonsense_qa": (60, "choice", 16), "openbook_qa": (60, "choice", 16), "arc_challenge": (60, "choice", 16),
    "mmlu": (50, "choice", 16), "trivia_qa": (60, "contains", 32), "natural_qa": (50, "f1", 32), "math": (40, "number", 192),
    "agentverse-logicgrid": (0, "choice", 16),
}
BBH_ROWS = 9


def options(row: dict) -> tuple[list[str], list[str]]:
    """Labels and texts of a multiple choice."""
    choices = row["choices"]
    if isinstance(choices, str):
        choices = ast.literal_eval(choices)
    if isinstance(choices, dict):
        return choices.get("label") or choices["labels"], choices["text"]
    return [chr(65 + n) for n in range(len(choices))], choices


def ulab(folder: Path, rng: random.Random) -> list[dict]:
    """Rows of ulab_llmrouter's training part, with the options written out."""
    by_task: dict[str, list[dict]] = {}
    with gzip.open(folder / "ulab_llmrouter/default_query_train.jsonl.gz", "rt") as lines:
        for n, line in enumerate(lines):
            row = json.loads(line) | {"n": n}
            if len(row["query"]) <= CHARS_MAX:
                by_task.setdefault(row["task_name"], []).append(row)
    out = []
    for task, (count, metric, max_tokens) in ULAB.items():
        for row in rng.sample(by_task.get(task, []), min(count, len(by_task.get(task, [])))):
            prompt, gold = row["query"], row["ground_truth"]
            if metric == "choice":
                labels, texts = options(row)
                prompt += "\n" + "\n".join(f"{label}. {text}" for label, text in zip(labels, texts, strict=False))
                prompt += "\nAnswer with the letter of the option."
            if metric == "number":
                boxed = re.findall(r"\\boxed\{(-?\d+)\}", gold)
                if not boxed:
                    continue
                gold = boxed[-1]
            out.append({"id": f"ulab-{row['n']}", "prompt": prompt, "gold": gold, "metric": metric, "task": task, "max_tokens": max_tokens})
    return out


def bbh(folder: Path, rng: random.Random) -> list[dict]:
    """A few rows of each task of BIG-Bench Hard."""
    by_task: dict[str, list[dict]] = {}
    with gzip.open(folder / "bbh/bbh.jsonl.gz", "rt") as lines:
        for n, line in enumerate(lines):
            row = json.loads(line) | {"n": n}
            if len(row["prompt"]) <= CHARS_MAX:
                by_task.setdefault(row["task"], []).append(row)
    out = []
    for task, rows in sorted(by_task.items()):
        for row in rng.sample(rows, min(BBH_ROWS, len(rows))):
            gold, metric, max_tokens = row["target"], "contains", 24
            if re.fullmatch(r"\([A-Z]\)", gold):
                gold, metric, max_tokens = gold[1], "choice", 16
            elif re.fullmatch(r"-?\d+", gold):
                metric, max_tokens = "number", 48
            out.append({"id": f"bbh-{row['n']}", "prompt": row["prompt"], "gold": gold, "metric": metric, "task": f"bbh_{task}", "max_tokens": max_tokens})
    return out


def rows(folder: Path) -> list[dict]:
    """The whole dataset, in a fixed order."""
    rng = random.Random(11)
    out = everyday.rows() + ulab(folder, rng) + bbh(folder, rng)
    rng.shuffle(out)
    for row in out:
        if "|" in row["gold"]:
            row["gold"] = row["gold"].split("|")
    return out


if __name__ == "__main__":
    data, target = Path(sys.argv[1]), Path(sys.argv[2])
    target.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(data)))
