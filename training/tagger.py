"""Fits the tagger of the profile `layers2` and measures it: `tagger.py DATA ENCODER OUT REPORT`.

It looks for persons, addresses, organisations and identifiers in context, word by word: a small network over the vector that the
encoder gives a word and the shapes of it and its neighbours. It is trained on filled templates (`tagger_templates.py`) and measured on texts of the public
presidio set whose templates were held out. What is computed is said in `README.md`."""

from __future__ import annotations

import json
import random
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from sklearn.neural_network import MLPClassifier

import data
from features import CLS, SEP, WINDOW_IDS, Encoder
from tagger_templates import LABELS, texts

GROUP, AROUND, SHAPES = 8, 2, 9
HIDDEN, SEED = 64, 5
# Fixed before measuring.
THRESHOLD = 0.6
JOINTS, JOINTS_OF_ADDRESSES = set(" \t.-'’&"), set(" \t\n\r,.-'’&/#>?")
# A capitalised word counts as a common one where ordinary prompts write it small so often.
COMMON = 3
ORDINARY = 1500
PUBLIC = {"PERSON": "person", "STREET_ADDRESS": "address", "ORGANIZATION": "organisation"}

Span = tuple[int, int, str]


def words(encoder: Encoder, text: str) -> list[tuple[int, int, list[int]]]:
    """Words with their ids: begin and end in characters."""
    encoding = encoder.tokenizer.encode(text, add_special_tokens=False)
    out: list[tuple[int, int, list[int]]] = []
    before = None
    for identifier, word, (begin, end) in zip(encoding.ids, encoding.word_ids, encoding.offsets, strict=True):
        if word == before and out:
            out[-1] = (out[-1][0], max(out[-1][1], end), [*out[-1][2], identifier])
        else:
            out.append((begin, end, [identifier]))
        before = word
    return out


def windows(found: list[tuple[int, int, list[int]]]) -> list[range]:
    """Ranges of words that fill a window, no word in two."""
    out, begin, ids = [], 0, 0
    for number, (_, _, of) in enumerate(found):
        if ids + len(of) > WINDOW_IDS and number > begin:
            out.append(range(begin, number))
            begin, ids = number, 0
        ids += len(of)
    return [*out, range(begin, len(found))] if found else out


def shape(text: str, found: list, number: int) -> list[float]:
    """Of a word as it is written: nine zeros and ones."""
    begin, end, _ = found[number]
    word = text[begin:end]
    letters = [c for c in word if c.isupper() or c.islower()]
    before = text[found[number - 1][1]:begin] if number else "\n"
    after = text[end:found[number + 1][0]] if number + 1 < len(found) else "\n"
    last = text[found[number - 1][0]:found[number - 1][1]] if number else "."
    return [float(flag) for flag in (
        word[:1].isupper(), len(letters) > 1 and all(c.isupper() for c in letters), word[:1].islower(),
        any("0" <= c <= "9" for c in word), bool(word) and all("0" <= c <= "9" for c in word),
        all(ord(c) < 128 and not c.isalnum() for c in word), len(word) == 1, "\n" in before or last in (".", "!", "?", ":"), "\n" in after,
    )]


def features(encoder: Encoder, text: str) -> tuple[list, np.ndarray]:
    """The words of a text and what is known of each, `[words, 384 + 5 * 9]`."""
    found = words(encoder, text)
    vectors = np.zeros((len(found), encoder.dimensions))
    cut = windows(found)
    for at in range(0, len(cut), GROUP):
        group = cut[at:at + GROUP]
        rows = [[CLS, *(i for number in window for i in found[number][2]), SEP][:WINDOW_IDS + 2] for window in group]
        ids, mask = np.zeros((len(rows), max(map(len, rows))), np.int64), np.zeros((len(rows), max(map(len, rows))), np.int64)
        for row, of in enumerate(rows):
            ids[row, :len(of)], mask[row, :len(of)] = of, 1
        tokens = encoder.session.run(["tokens"], {"input_ids": ids, "attention_mask": mask})[0]
        for row, window in enumerate(group):
            column = 1
            for number in window:
                count = len(found[number][2])
                vectors[number] = tokens[row, column:column + count].mean(axis=0)
                column += count
    shapes = np.array([shape(text, found, number) for number in range(len(found))]).reshape(len(found), SHAPES)
    padded = np.vstack([np.zeros((AROUND, SHAPES)), shapes, np.zeros((AROUND, SHAPES))])
    around = [padded[k:k + len(found)] for k in range(2 * AROUND + 1)]
    return found, np.hstack([vectors, *around])


def probabilities(head: dict, x: np.ndarray) -> np.ndarray:
    hidden = np.maximum(0.0, x @ np.array(head["hidden"]["weights"]).T + np.array(head["hidden"]["bias"]))
    z = hidden @ np.array(head["output"]["weights"]).T + np.array(head["output"]["bias"])
    z = np.exp(z - z.max(axis=1, keepdims=True))
    return z / z.sum(axis=1, keepdims=True)


def findings(text: str, found: list, p: np.ndarray, threshold: float) -> list[tuple[int, int, str, float]]:
    """Runs of words of one kind with nothing but joints between; the confidence is the mean of their probabilities. A run begins and
    ends with a word that is more than a sign."""
    out: list[list] = []  # begin, end, end with signs, kind, probabilities
    for (begin, end, _), k, row in zip(found, p.argmax(axis=1), p, strict=True):
        if not k:
            continue
        between, kind = text[out[-1][2]:begin] if out else "", LABELS[k]
        is_sign = all(ord(c) < 128 and not c.isalnum() for c in text[begin:end])
        if out and out[-1][3] == kind and set(between) <= (JOINTS_OF_ADDRESSES if kind == "address" else JOINTS) and between.count("\n") <= 2:
            out[-1][4].append(row[k])
            out[-1][2] = end
            out[-1][1] = out[-1][1] if is_sign else end
        elif not is_sign:
            out.append([begin, end, end, kind, [row[k]]])
    return [(begin, end, kind, float(np.mean(ps))) for begin, end, _, kind, ps in out if np.mean(ps) >= threshold]


def labels_of(found: list, spans: list[Span]) -> np.ndarray:
    return np.array([next((LABELS.index(kind) for s, e, kind in spans if begin < e and end > s), 0) for begin, end, _ in found])


def score(gold: list[list[Span]], said: list[list], kind: str) -> tuple[int, int, int, int, int]:
    """Entities, those found (half of their characters covered), findings, those that are right (half of their characters are of an
    entity of the kind), and entities found to the letter."""
    cover = lambda a, b: max(0, min(a[1], b[1]) - max(a[0], b[0]))
    entities = found = findings_of = right = exact = 0
    for of, by in zip(gold, said, strict=True):
        of, by = [s for s in of if s[2] == kind], [s for s in by if s[2] == kind]
        entities, findings_of = entities + len(of), findings_of + len(by)
        found += sum(2 * sum(cover(e, f) for f in by) >= e[1] - e[0] for e in of)
        right += sum(2 * sum(cover(e, f) for e in of) >= f[1] - f[0] for f in by)
        exact += sum(any(e[:2] == f[:2] for f in by) for e in of)
    return entities, found, findings_of, right, exact


def nothing_in(text: str, found: list, small: Counter) -> np.ndarray:
    """Labels of an ordinary prompt, in which nobody marked names: words that are written small, or elsewhere are, and numbers are of no kind; of
    the others nothing is known (-1)."""
    word = lambda begin, end: text[begin:end]
    known = [not word(b, e)[:1].isupper() or small[word(b, e).lower()] >= COMMON for b, e, _ in found]
    return np.where(known, 0, -1)


def fit(encoder: Encoder, folder: Path) -> dict:
    rows, rng = texts(folder), random.Random(SEED)
    prompts = [row.prompt for row in data.ordinary(folder) if row.group != "everyday"]
    small = Counter(word for prompt in prompts for word in re.findall(r"\b[a-z]+\b", prompt))
    made = [(features(encoder, text), spans) for text, spans, _ in rows]
    plain = [(prompt[:600], features(encoder, prompt[:600])) for prompt in rng.sample(prompts, ORDINARY)]
    x = np.vstack([x for (_, x), _ in made] + [x for _, (_, x) in plain]).astype(np.float32)
    y = np.concatenate([labels_of(found, spans) for (found, _), spans in made] + [nothing_in(text, found, small) for text, (found, _) in plain])
    x, y = x[y >= 0], y[y >= 0]
    mean, scale = x.mean(axis=0), np.maximum(1e-3, x.std(axis=0))
    network = MLPClassifier((HIDDEN,), alpha=0.01, batch_size=256, learning_rate_init=1e-3, max_iter=8, random_state=SEED, early_stopping=False)
    network.fit((x - mean) / scale, y)
    first, second = network.coefs_[0].T / scale, network.coefs_[1].T
    print(f"{len(rows)} texts, {len(y)} words, loss {network.loss_:.4f}")
    rounded = lambda values: [[float(f"{v:.5g}") for v in row] for row in np.atleast_2d(values)]
    return {
        "format": 1, "labels": LABELS, "threshold": THRESHOLD,
        "hidden": {"weights": rounded(first), "bias": rounded(network.intercepts_[0] - first @ mean)[0]},
        "output": {"weights": rounded(second), "bias": rounded(network.intercepts_[1])[0]},
    }


def report(encoder: Encoder, head: dict, folder: Path) -> str:
    lines = ["| kind | templates | entities | found | recall | findings | right | precision | to the letter |", "|---|---|---|---|---|---|---|---|---|"]
    for part in (1, 0):
        rows = [row for row in data.read(folder / "presidio_research/synth_dataset_v2.json.gz") if row["template_id"] % 2 == part]
        gold, said = [], []
        for row in rows:
            found, x = features(encoder, row["full_text"])
            gold.append([(s["start_position"], s["end_position"], PUBLIC[s["entity_type"]]) for s in row["spans"] if s["entity_type"] in PUBLIC])
            said.append(findings(row["full_text"], found, probabilities(head, x), head["threshold"]))
        for kind in PUBLIC.values():
            n, found_of, made, right, exact = score(gold, said, kind)
            lines.append(f"| {kind} | {'odd (held out)' if part else 'even (trained on)'} | {n} | {found_of} | {found_of / n:.3f} | {made} | {right} | {right / max(1, made):.3f} | {exact / n:.3f} |")
    return "\n".join(lines) + "\n"


def examples(encoder: Encoder, head: dict) -> list[dict]:
    """Texts with what is found in them, for the test that serving finds the same."""
    rows = [
        "", "hello", "My name is Anna Keller and I live at 12 High Street, Springfield.", "i am john smith, call me", "Ask Müller GmbH or José-Luis O'Brien.",
        "Deploy it to EKS, store the logs in S3.", "Alice, Bob and Carol met Dr. Ivanova at Acme Corp.", "Customer no. 4471-2290 is Peter Lind\nat Lind & Sons,\n8001 Zürich",
        "東京の人口は何人ですか？", "emoji 🦀 by Zoë", "DEAR MRS. KAPOOR", "a\n\n\nb", "x" * 300, "Employee ID: AB123456\nName: Sara Nilsson", "Мария живёт в Москве.",
    ]
    rows += [f"Note {n}: Maria Rossi and Tom Baker saw the report of Northwind Ltd. " * n for n in (2, 9, 40)]
    out = []
    for text in rows:
        found, x = features(encoder, text)
        p = probabilities(head, x)
        spans = [[len(text[:b].encode()), len(text[:e].encode()), kind, float(f"{c:.7g}")] for b, e, kind, c in findings(text, found, p, head["threshold"])]
        out.append({"text": text, "words": len(found), "first": [float(f"{v:.7g}") for v in p[0]] if len(p) else [], "last": [float(f"{v:.7g}") for v in p[-1]] if len(p) else [], "findings": spans})
    return out


def ordinary(encoder: Encoder, head: dict, folder: Path) -> str:
    """The share of ordinary prompts with a finding."""
    lines = ["| prompts | number | with a person | with an address | with an organisation | with an identifier |", "|---|---|---|---|---|---|"]
    for name, rows in (("bbh", data.read(folder / "bbh/bbh.jsonl.gz")[::20]), ("arena_hard v2.0", data.read(folder / "arena_hard/question_v2.0.jsonl.gz")[::3]),
                       ("ulab_llmrouter test", [{"prompt": row.prompt} for row in data.ulab(folder, "test")])):
        counts = dict.fromkeys(LABELS[1:], 0)
        for row in rows:
            found, x = features(encoder, row["prompt"])
            for kind in {f[2] for f in findings(row["prompt"], found, probabilities(head, x), head["threshold"])}:
                counts[kind] += 1
        lines.append(f"| {name} | {len(rows)} | " + " | ".join(f"{100 * counts[kind] / len(rows):.1f} %" for kind in LABELS[1:]) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    folder, encoder, out = Path(sys.argv[1]), Encoder(Path(sys.argv[2])), Path(sys.argv[3])
    head = fit(encoder, folder)
    out.mkdir(parents=True, exist_ok=True)
    (out / "tagger.json").write_text(json.dumps(head, separators=(",", ":")))
    (out / "tagger-parity.json").write_text(json.dumps(examples(encoder, head), ensure_ascii=False, separators=(",", ":")))
    text = report(encoder, head, folder) + "\n" + ordinary(encoder, head, folder)
    print(text)
    if len(sys.argv) > 4:
        Path(sys.argv[4]).write_text(text)
