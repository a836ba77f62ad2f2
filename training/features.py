"""The features of a request, as `README.md` defines them: the reference that serving is compared with."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

# ONNX Runtime reports to its maker otherwise, from the moment it is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

WHOLE, END, BETWEEN_BYTES, BETWEEN = 4096, 1536, 256, 4
WINDOW_IDS, CLS, SEP = 126, 101, 102
FIRST, MIDDLE, LAST = 4, 8, 12
TURN_WEIGHT, CONTEXT_TOKENS_MAX = 0.75, 512
WHITE = " \t\n\r\x0b\x0c"
PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
ASKING = set("who what when where which why how is are do does did can could should would will".split())
HAND = [
    "log_chars", "log_words", "word_length", "digit_share", "upper_share", "wide_share", "code_share", "math_share",
    "quote_share", "log_lines", "log_questions", "log_sentences", "log_numbers", "has_options", "asks", "has_fence",
]
OPTION = re.compile(r"\(?[A-Ea-e][.):]")
ENDS = re.compile(r"[.!?](?=[ \t\n\r\x0b\x0c]|\Z)")

Message = tuple[str, str]


def hand(text: str) -> np.ndarray:
    """The hand features of a text."""
    chars = max(1, len(text))
    count = lambda letters: sum(map(text.count, letters))
    words = [word for word in re.split("[ \t\n\r\x0b\x0c]+", text) if word]
    solid = len(text) - count(WHITE)
    lines = [line.lstrip(WHITE) for line in text.split("\n")]
    first = words[0].strip(PUNCTUATION) if words else ""
    first = "".join(c.lower() if c.isascii() else c for c in first)
    return np.array([
        math.log1p(len(text)), math.log1p(len(words)), min(20.0, solid / max(1, len(words))),
        len(re.findall("[0-9]", text)) / chars, len(re.findall("[A-Z]", text)) / chars,
        sum(ord(c) > 127 for c in text) / chars, count("{}[]();=<>_") / chars, count("+-*/^%$\\") / chars,
        count("\"`") / chars, math.log1p(text.count("\n")), math.log1p(text.count("?")),
        math.log1p(len(ENDS.findall(text))), math.log1p(len(re.findall("[0-9]+", text))),
        float(sum(bool(OPTION.match(line)) for line in lines) >= 2), float(first in ASKING), float("```" in text),
    ], np.float64)


def pieces(text: str) -> list[str]:
    """The pieces of a text that are seen."""
    raw = text.encode()
    if len(raw) <= WHOLE:
        return [text]

    def floor(at: int) -> int:
        while at < len(raw) and raw[at] & 0xC0 == 0x80:
            at -= 1
        return at

    gap = len(raw) - 2 * END
    starts = [END + gap * (2 * k + 1) // (2 * BETWEEN) - BETWEEN_BYTES // 2 for k in range(BETWEEN)]
    ranges = [(0, END), *((start, start + BETWEEN_BYTES) for start in starts), (len(raw) - END, len(raw))]
    return [raw[floor(start):floor(end)].decode() for start, end in ranges]


def context_messages(count: int) -> list[int]:
    """The numbers of the context's messages that are looked at."""
    if count <= FIRST + MIDDLE + LAST:
        return list(range(count))
    middle = count - FIRST - LAST
    between = [FIRST + middle * (2 * k + 1) // (2 * MIDDLE) for k in range(MIDDLE)]
    return [*range(FIRST), *between, *range(count - LAST, count)]


class Encoder:
    """Tokenizer and model of a classifier's folder."""

    def __init__(self, folder: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(folder / "encoder.onnx"), options, providers=["CPUExecutionProvider"])
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        outputs = {output.name: output.shape for output in self.session.get_outputs()}
        self.dimensions = outputs["embedding"][1]
        self.profile = "layers2" if "tokens" in outputs else "static"

    def windows(self, text: str) -> list[list[int]]:
        """The ids of a text's windows, without their frames."""
        ids = [self.tokenizer.encode(piece, add_special_tokens=False).ids for piece in pieces(text)]
        return [piece[at:at + WINDOW_IDS] for piece in ids for at in range(0, len(piece), WINDOW_IDS)]

    def text(self, text: str) -> tuple[np.ndarray, int]:
        """The vector of a text, and how many tokens were seen."""
        windows = self.windows(text)
        tokens = sum(map(len, windows))
        if not tokens:
            return np.zeros(self.dimensions), 0
        width = max(map(len, windows)) + 2
        ids, mask = np.zeros((len(windows), width), np.int64), np.zeros((len(windows), width), np.int64)
        for row, window in enumerate(windows):
            framed = [CLS, *window, SEP]
            ids[row, :len(framed)], mask[row, :len(framed)] = framed, 1
        embedded = self.session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})[0].astype(np.float64)
        return np.average(embedded, axis=0, weights=[len(window) for window in windows]), tokens

    def request(self, messages: list[Message]) -> tuple[np.ndarray, np.ndarray]:
        """Vector and hand features of a request, neither scaled."""
        users = [n for n, (role, _) in enumerate(messages) if role == "user"]
        turn = users[-1] if users else len(messages) - 1
        vector, _ = self.text(messages[turn][1])
        context = [content for n, (_, content) in enumerate(messages) if n != turn]
        seen = [self.text(context[n]) for n in context_messages(len(context))]
        total = sum(min(tokens, CONTEXT_TOKENS_MAX) for _, tokens in seen)
        if total:
            mean = sum(part * min(tokens, CONTEXT_TOKENS_MAX) for part, tokens in seen) / total
            vector = TURN_WEIGHT * vector + (1 - TURN_WEIGHT) * mean
        return vector, hand(messages[turn][1])

    def prompts(self, prompts: list[str]) -> np.ndarray:
        """Features of single user messages, `[prompts, 400]`, not scaled."""
        return np.array([np.concatenate(self.request([("user", prompt)])) for prompt in prompts])
