"""Builds `encoder.onnx` and `tokenizer.json` from all-MiniLM-L6-v2: `encoder.py PACKAGE OUT`.

The static profile: word, position and type embeddings, layer norm, masked mean. The table of words is int8 with one scale
for each word, so that a window costs a gather of a few kilobytes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

OPSET = 17
POSITIONS = 128
EPSILON = 1e-12


def weights(package: Path) -> dict[str, np.ndarray]:
    """The embedding layer's tensors."""
    tensors = load_file(package / "model.safetensors")
    prefix = next(name[: -len("word_embeddings.weight")] for name in tensors if name.endswith("word_embeddings.weight"))
    return {name[len(prefix):]: tensor.astype(np.float32) for name, tensor in tensors.items() if name.startswith(prefix)}


def quantised(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A table as int8 with a scale for each row."""
    scale = np.abs(table).max(axis=1) / 127.0
    scale[scale == 0] = 1.0
    return np.round(table / scale[:, None]).astype(np.int8), scale.astype(np.float32)


def model(tensors: dict[str, np.ndarray]) -> onnx.ModelProto:
    """The graph: `input_ids`, `attention_mask` to `embedding`."""
    words, scale = quantised(tensors["word_embeddings.weight"])
    positions = tensors["position_embeddings.weight"][:POSITIONS] + tensors["token_type_embeddings.weight"][0]
    constants = {
        "words": words, "scale": scale, "positions": positions,
        "gamma": tensors["LayerNorm.weight"], "beta": tensors["LayerNorm.bias"],
        "zero": np.array([0], np.int64), "one": np.array([1], np.int64), "last": np.array([2], np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Gather", ["words", "input_ids"], ["bytes"]),
        node("Cast", ["bytes"], ["numbers"], to=TensorProto.FLOAT),
        node("Gather", ["scale", "input_ids"], ["scales"]),
        node("Unsqueeze", ["scales", "last"], ["scales3"]),
        node("Mul", ["numbers", "scales3"], ["word"]),
        # Not Shape -> Gather -> Range, which ONNX Runtime 1.32's optimiser breaks.
        node("Shape", ["input_ids"], ["length"], start=1, end=2),
        node("Slice", ["positions", "zero", "length", "zero"], ["position"]),
        node("Add", ["word", "position"], ["summed"]),
        node("LayerNormalization", ["summed", "gamma", "beta"], ["normed"], axis=-1, epsilon=EPSILON),
        node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["mask", "last"], ["mask3"]),
        node("Mul", ["normed", "mask3"], ["kept"]),
        node("ReduceSum", ["kept", "one"], ["sum"], keepdims=0),
        node("ReduceSum", ["mask", "one"], ["count"], keepdims=1),
        node("Div", ["sum", "count"], ["embedding"]),
    ]
    ids = [helper.make_tensor_value_info(name, TensorProto.INT64, ["windows", "tokens"]) for name in ("input_ids", "attention_mask")]
    output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["windows", words.shape[1]])
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "static_encoder", ids, [output], initializers)
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="tidegate")
    built.ir_version = 8
    onnx.checker.check_model(built)
    return built


def tokenizer(package: Path) -> dict:
    """The tokenizer without truncation and padding: windows are cut by whoever uses it."""
    read = json.loads((package / "tokenizer.json").read_text())
    return read | {"truncation": None, "padding": None}


if __name__ == "__main__":
    package, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    onnx.save(model(weights(package)), out / "encoder.onnx")
    (out / "tokenizer.json").write_text(json.dumps(tokenizer(package), ensure_ascii=False))
