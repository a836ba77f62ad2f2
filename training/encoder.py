"""Builds `encoder.onnx` and `tokenizer.json` from all-MiniLM-L6-v2: `encoder.py PACKAGE OUT [PROFILE]`.

The static profile (the default): word, position and type embeddings, layer norm, masked mean. The table of words is int8 with one scale
for each word, so that a window costs a gather of a few kilobytes.

The profile `layers2`: the same, then two transformer layers, then the mean. What is checked in of it is `graph.onnx`, the graph without its
weights: `signals` makes the same `encoder.onnx` of it and `model.safetensors`, as `weights.rs` and `layers2` here say."""

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
LAYERS, HEADS, HEAD_DIMENSIONS = 2, 12, 32
# Not 127: processors without VNNI add two products of a byte and an int8 in 16 bits, which 127 would overflow, and results would differ.
WEIGHT_MAX = 63.0

node = helper.make_node


def tensors_of(package: Path) -> dict[str, np.ndarray]:
    return {name: tensor.astype(np.float32) for name, tensor in load_file(package / "model.safetensors").items()}


def quantised(table: np.ndarray, largest: float = 127.0) -> tuple[np.ndarray, np.ndarray]:
    """A table as int8 with a scale for each row."""
    scale = np.abs(table).max(axis=1) / np.float32(largest)
    scale[scale == 0] = 1.0
    return np.round(table / scale[:, None]).astype(np.int8), scale.astype(np.float32)


def embedded(tensors: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[onnx.NodeProto]]:
    """Constants and nodes from `input_ids` to `normed`, the vectors of the tokens."""
    of = lambda name: tensors[f"embeddings.{name}"]
    words, scale = quantised(of("word_embeddings.weight"))
    positions = of("position_embeddings.weight")[:POSITIONS] + of("token_type_embeddings.weight")[0]
    constants = {
        "words": words, "scale": scale, "positions": positions,
        "gamma": of("LayerNorm.weight"), "beta": of("LayerNorm.bias"),
        "zero": np.array([0], np.int64), "one": np.array([1], np.int64), "last": np.array([2], np.int64),
    }
    return constants, [
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
    ]


def averaged(tokens: str) -> list[onnx.NodeProto]:
    """Nodes from the vectors of tokens to their mean, `embedding`."""
    return [
        node("Mul", [tokens, "mask3"], ["kept"]),
        node("ReduceSum", ["kept", "one"], ["sum"], keepdims=0),
        node("ReduceSum", ["mask", "one"], ["count"], keepdims=1),
        node("Div", ["sum", "count"], ["embedding"]),
    ]


def weights_of(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights of the transformer layers as they are computed with, by name: int8 matrices of `[in, out]`, a scale for each column."""
    out = {}
    for layer in range(LAYERS):
        of = lambda name, kind: tensors[f"encoder.layer.{layer}.{name}.{kind}"]
        parts = {
            "qkv": [f"attention.self.{part}" for part in ("query", "key", "value")], "joined": ["attention.output.dense"],
            "wide": ["intermediate.dense"], "narrow": ["output.dense"],
        }
        for name, members in parts.items():
            matrix, scale = quantised(np.concatenate([of(member, "weight") for member in members]), WEIGHT_MAX)
            out |= {f"{name}{layer}": np.ascontiguousarray(matrix.T), f"{name}{layer}.scale": scale}
            out[f"{name}{layer}.bias"] = np.concatenate([of(member, "bias") for member in members])
        for name, member in (("norm_a", "attention.output.LayerNorm"), ("norm_b", "output.LayerNorm")):
            out |= {f"{name}{layer}.gamma": of(member, "weight"), f"{name}{layer}.beta": of(member, "bias")}
    return out


def dense(source: str, name: str, target: str) -> list[onnx.NodeProto]:
    """`source` times the int8 matrix `name`, its bias added: the source is made bytes for that."""
    at = lambda part: f"{name}.{part}"
    return [
        node("DynamicQuantizeLinear", [source], [at("bytes"), at("byte_scale"), at("zero")]),
        node("MatMulInteger", [at("bytes"), name, at("zero")], [at("sums")]),
        node("Cast", [at("sums")], [at("numbers")], to=TensorProto.FLOAT),
        node("Mul", [at("byte_scale"), at("scale")], [at("scales")]),
        node("Mul", [at("numbers"), at("scales")], [at("product")]),
        node("Add", [at("product"), at("bias")], [target]),
    ]


def layer(number: int, source: str, target: str) -> list[onnx.NodeProto]:
    """One transformer layer of BERT."""
    at = lambda part: f"{part}{number}"
    parts = ("query", "key", "value")
    nodes = dense(source, at("qkv"), at("three"))
    nodes += [
        node("Reshape", [at("three"), "split_shape"], [at("split")]),
        node("Transpose", [at("split")], [at("heads")], perm=[2, 0, 3, 1, 4]),
        node("Split", [at("heads"), "ones3"], [at(f"{part}1_") for part in parts], axis=0),
        *(node("Squeeze", [at(f"{part}1_"), "zero"], [at(part)]) for part in parts),
        node("Transpose", [at("key")], [at("turned")], perm=[0, 1, 3, 2]),
        node("MatMul", [at("query"), at("turned")], [at("raw")]),
        node("Mul", [at("raw"), "attention_scale"], [at("scaled")]),
        node("Add", [at("scaled"), "mask_added"], [at("masked")]),
        node("Softmax", [at("masked")], [at("attention")], axis=-1),
        node("MatMul", [at("attention"), at("value")], [at("seen")]),
        node("Transpose", [at("seen")], [at("back")], perm=[0, 2, 1, 3]),
        node("Reshape", [at("back"), "joined_shape"], [at("together")]),
        *dense(at("together"), at("joined"), at("attended")),
        node("Add", [at("attended"), source], [at("residual_a")]),
        node("LayerNormalization", [at("residual_a"), f"norm_a{number}.gamma", f"norm_a{number}.beta"], [at("middle")], axis=-1, epsilon=EPSILON),
        *dense(at("middle"), at("wide"), at("widened")),
        node("Mul", [at("widened"), "root_half"], [at("halved")]),
        node("Erf", [at("halved")], [at("erf")]),
        node("Add", [at("erf"), "unit"], [at("raised")]),
        node("Mul", [at("widened"), at("raised")], [at("doubled")]),
        node("Mul", [at("doubled"), "half"], [at("gelu")]),
        *dense(at("gelu"), at("narrow"), at("narrowed")),
        node("Add", [at("narrowed"), at("middle")], [at("residual_b")]),
        node("LayerNormalization", [at("residual_b"), f"norm_b{number}.gamma", f"norm_b{number}.beta"], [target], axis=-1, epsilon=EPSILON),
    ]
    return nodes


def built(name: str, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], outputs: dict[str, list], opset: int = OPSET) -> onnx.ModelProto:
    ids = [helper.make_tensor_value_info(name, TensorProto.INT64, ["windows", "tokens"]) for name in ("input_ids", "attention_mask")]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, name, ids, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="tidegate")
    model.ir_version = 8
    return model


def static(tensors: dict[str, np.ndarray]) -> onnx.ModelProto:
    """The graph: `input_ids`, `attention_mask` to `embedding`."""
    constants, nodes = embedded(tensors)
    # In the order of the file that is checked in: the mean's first node stands between the mask's.
    model = built("static_encoder", nodes + averaged("normed"), constants, {"embedding": ["windows", constants["words"].shape[1]]})
    onnx.checker.check_model(model)
    return model


def layers2(tensors: dict[str, np.ndarray]) -> tuple[onnx.ModelProto, list[TensorProto]]:
    """The graph without its weights, and the weights in the order in which `signals` appends them to it."""
    constants, nodes = embedded(tensors)
    dimensions = constants["words"].shape[1]
    small = {name: constants.pop(name) for name in ("zero", "one", "last")} | {
        "split_shape": np.array([0, 0, 3, HEADS, HEAD_DIMENSIONS], np.int64), "joined_shape": np.array([0, 0, dimensions], np.int64),
        "ones3": np.array([1, 1, 1], np.int64), "attention_scale": np.float32(HEAD_DIMENSIONS**-0.5), "unit": np.float32(1.0),
        "half": np.float32(0.5), "root_half": np.float32(0.5**0.5), "hidden": np.float32(-10000.0), "middle_axes": np.array([1, 2], np.int64),
    }
    nodes += [
        node("Sub", ["unit", "mask"], ["absent"]),
        node("Mul", ["absent", "hidden"], ["absent_added"]),
        node("Unsqueeze", ["absent_added", "middle_axes"], ["mask_added"]),
    ]
    for number in range(LAYERS):
        nodes += layer(number, "normed" if number == 0 else f"layer{number}", "tokens" if number == LAYERS - 1 else f"layer{number + 1}")
    outputs = {"embedding": ["windows", dimensions], "tokens": ["windows", "tokens", dimensions]}
    graph = built("layers2_encoder", nodes + averaged("tokens"), small, outputs)
    return graph, [numpy_helper.from_array(value, name) for name, value in sorted((constants | weights_of(tensors)).items())]


def tokenizer(package: Path) -> dict:
    """The tokenizer without truncation and padding: windows are cut by whoever uses it."""
    read = json.loads((package / "tokenizer.json").read_text())
    return read | {"truncation": None, "padding": None}


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def with_weights(graph: bytes, weights: list[TensorProto]) -> bytes:
    """A model and more initializers. Protocol buffers that stand one after the other are merged: `ModelProto.graph` is field 7,
    `GraphProto.initializer` field 5."""
    out = [graph]
    for tensor in weights:
        raw = tensor.SerializeToString(deterministic=True)
        initializer = b"\x2a" + varint(len(raw)) + raw
        out.append(b"\x3a" + varint(len(initializer)) + initializer)
    return b"".join(out)


def main(package: Path, out: Path, profile: str = "static") -> None:
    out.mkdir(parents=True, exist_ok=True)
    tensors = tensors_of(package)
    if profile == "static":
        onnx.save(static(tensors), out / "encoder.onnx")
    else:
        graph, weights = layers2(tensors)
        raw = graph.SerializeToString(deterministic=True)
        (out / "graph.onnx").write_bytes(raw)
        (out / "encoder.onnx").write_bytes(with_weights(raw, weights))
        onnx.checker.check_model(str(out / "encoder.onnx"))
    (out / "tokenizer.json").write_text(json.dumps(tokenizer(package), ensure_ascii=False))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]), *sys.argv[3:])
