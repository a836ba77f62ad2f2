//! The encoder of the profile `layers2`, made on this machine: the graph, which comes with this version, and the published weights of
//! all-MiniLM-L6-v2 (`model.safetensors`), of which the embeddings and two layers are taken and rounded to bytes.
//!
//! What comes out is byte for byte what `training/encoder.py` writes, so that one checksum says whether both computed the same.
//! Fetches nothing, keeps nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;

/// Transformer layers that are taken.
const LAYERS: usize = 2;
/// Positions of a window.
const POSITIONS: usize = 128;
/// Largest absolute value of a rounded word vector.
const WORD_MAX: f32 = 127.0;
/// Largest absolute value of a rounded weight: processors without VNNI add two products of a byte and an int8 in 16 bits.
const WEIGHT_MAX: f32 = 63.0;
/// Longest header of a file of weights, in bytes.
const HEADER_BYTES_MAX: u64 = 1 << 20;
/// Largest tensor, in bytes.
const TENSOR_BYTES_MAX: u64 = 128 << 20;

/// Why there is no encoder.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be read.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// It is not what is expected.
    #[error("{0}")]
    Unexpected(String),
}

/// The encoder's ONNX model: `graph`, and the weights in the file at `weights` appended to it. Takes a fraction of a second.
///
/// # Errors
/// [`WeightsError`] for a file that cannot be read, is no safetensors file, or lacks a tensor.
pub fn encoder_model(graph: &[u8], weights: &Path) -> Result<Vec<u8>, WeightsError> {
    let mut source = Source::open(weights)?;
    let mut tensors = BTreeMap::new();
    embeddings(&mut source, &mut tensors)?;
    (0..LAYERS).try_for_each(|layer| transformer(&mut source, layer, &mut tensors))?;
    let mut model = graph.to_vec();
    for (name, tensor) in &tensors {
        append(&mut model, name, tensor);
    }
    Ok(model)
}

/// A tensor of the model.
struct Tensor {
    shape: Vec<usize>,
    is_float: bool,
    bytes: Vec<u8>,
}

impl Tensor {
    fn floats(shape: Vec<usize>, values: &[f32]) -> Self {
        Self { shape, is_float: true, bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect() }
    }

    fn vector(values: &[f32]) -> Self {
        Self::floats(vec![values.len()], values)
    }

    fn bytes(shape: Vec<usize>, values: &[i8]) -> Self {
        Self { shape, is_float: false, bytes: values.iter().map(|value| value.cast_unsigned()).collect() }
    }
}

type Tensors = BTreeMap<String, Tensor>;

fn embeddings(source: &mut Source, tensors: &mut Tensors) -> Result<(), WeightsError> {
    let of = |name: &str| format!("embeddings.{name}");
    let (words, [count, columns]) = source.matrix(&of("word_embeddings.weight"))?;
    let (rounded, scale) = rounded(&words, columns, WORD_MAX);
    tensors.insert("words".to_owned(), Tensor::bytes(vec![count, columns], &rounded));
    tensors.insert("scale".to_owned(), Tensor::vector(&scale));
    let (mut positions, [available, _]) = source.matrix(&of("position_embeddings.weight"))?;
    let (kinds, _) = source.matrix(&of("token_type_embeddings.weight"))?;
    if available < POSITIONS || kinds.len() < columns || positions.len() != available * columns {
        return Err(WeightsError::Unexpected("positions or kinds have another shape".to_owned()));
    }
    positions.truncate(POSITIONS * columns);
    for row in positions.chunks_mut(columns) {
        row.iter_mut().zip(&kinds).for_each(|(value, kind)| *value += kind);
    }
    tensors.insert("positions".to_owned(), Tensor::floats(vec![POSITIONS, columns], &positions));
    tensors.insert("gamma".to_owned(), Tensor::vector(&source.vector(&of("LayerNorm.weight"))?));
    tensors.insert("beta".to_owned(), Tensor::vector(&source.vector(&of("LayerNorm.bias"))?));
    Ok(())
}

fn transformer(source: &mut Source, layer: usize, tensors: &mut Tensors) -> Result<(), WeightsError> {
    const DENSE: [(&str, &[&str]); 4] = [
        ("qkv", &["attention.self.query", "attention.self.key", "attention.self.value"]),
        ("joined", &["attention.output.dense"]),
        ("wide", &["intermediate.dense"]),
        ("narrow", &["output.dense"]),
    ];
    const NORMS: [(&str, &str); 2] = [("norm_a", "attention.output.LayerNorm"), ("norm_b", "output.LayerNorm")];
    let of = |member: &str, kind: &str| format!("encoder.layer.{layer}.{member}.{kind}");
    for (name, members) in DENSE {
        let (mut matrix, mut bias, mut columns) = (Vec::new(), Vec::new(), 0);
        for member in members {
            let (weights, [_, inputs]) = source.matrix(&of(member, "weight"))?;
            columns = inputs;
            matrix.extend(weights);
            bias.extend(source.vector(&of(member, "bias"))?);
        }
        let (rounded, scale) = rounded(&matrix, columns, WEIGHT_MAX);
        let name = format!("{name}{layer}");
        let turned = transposed(&rounded, columns);
        tensors.insert(format!("{name}.bias"), Tensor::vector(&bias));
        tensors.insert(format!("{name}.scale"), Tensor::vector(&scale));
        tensors.insert(name, Tensor::bytes(vec![columns, scale.len()], &turned));
    }
    for (name, member) in NORMS {
        tensors.insert(format!("{name}{layer}.gamma"), Tensor::vector(&source.vector(&of(member, "weight"))?));
        tensors.insert(format!("{name}{layer}.beta"), Tensor::vector(&source.vector(&of(member, "bias"))?));
    }
    Ok(())
}

/// A matrix as int8 with a scale for each row.
fn rounded(matrix: &[f32], columns: usize, largest: f32) -> (Vec<i8>, Vec<f32>) {
    let (mut values, mut scales) = (Vec::with_capacity(matrix.len()), Vec::new());
    for row in matrix.chunks_exact(columns) {
        let most = row.iter().fold(0.0_f32, |most, value| most.max(value.abs())) / largest;
        let scale = if most == 0.0 { 1.0 } else { most };
        values.extend(row.iter().map(|value| (value / scale).round_ties_even() as i8));
        scales.push(scale);
    }
    (values, scales)
}

fn transposed(matrix: &[i8], columns: usize) -> Vec<i8> {
    (0..columns).flat_map(|column| matrix.iter().skip(column).step_by(columns).copied()).collect()
}

/// Appends an initializer to a serialised model. Protocol buffers that stand one after the other are merged: `ModelProto.graph`
/// is field 7, `GraphProto.initializer` field 5; of `TensorProto`, 1 is a dimension, 2 the type, 8 the name, 9 the bytes.
fn append(model: &mut Vec<u8>, name: &str, tensor: &Tensor) {
    const FLOAT: u64 = 1;
    const INT8: u64 = 3;
    let mut head = Vec::new();
    for dimension in &tensor.shape {
        head.push(1 << 3);
        varint(&mut head, *dimension as u64);
    }
    head.push(2 << 3);
    varint(&mut head, if tensor.is_float { FLOAT } else { INT8 });
    head.push(8 << 3 | 2);
    varint(&mut head, name.len() as u64);
    head.extend(name.as_bytes());
    head.push(9 << 3 | 2);
    varint(&mut head, tensor.bytes.len() as u64);
    let length = (head.len() + tensor.bytes.len()) as u64;
    let mut inner = vec![5 << 3 | 2];
    varint(&mut inner, length);
    model.push(7 << 3 | 2);
    varint(model, inner.len() as u64 + length);
    model.extend(inner);
    model.extend(head);
    model.extend(&tensor.bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A safetensors file.
struct Source {
    file: File,
    tensors: BTreeMap<String, Entry>,
    data_at: u64,
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

impl Source {
    fn open(path: &Path) -> Result<Self, WeightsError> {
        let mut file = File::open(path)?;
        let mut length = [0; 8];
        file.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        if length > HEADER_BYTES_MAX {
            return Err(WeightsError::Unexpected(format!("its header is longer than {HEADER_BYTES_MAX} bytes")));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header)?;
        let unreadable = |error: serde_json::Error| WeightsError::Unexpected(format!("its header: {error}"));
        let mut values: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&header).map_err(unreadable)?;
        values.remove("__metadata__");
        let tensors = values.into_iter().map(|(name, value)| Ok((name, serde_json::from_value(value)?)));
        let tensors = tensors.collect::<Result<_, _>>().map_err(unreadable)?;
        Ok(Self { file, tensors, data_at: 8 + length })
    }

    /// The values of a tensor of 32-bit numbers, with its shape.
    fn tensor(&mut self, name: &str) -> Result<(Vec<f32>, Vec<usize>), WeightsError> {
        let unexpected = |what: &str| WeightsError::Unexpected(format!("tensor {name} {what}"));
        let entry = self.tensors.get(name).ok_or_else(|| unexpected("is missing"))?;
        let (begin, end) = entry.data_offsets;
        let length = end.checked_sub(begin).filter(|length| *length <= TENSOR_BYTES_MAX);
        let length = length.ok_or_else(|| unexpected("has no length or too long a one"))?;
        let count = entry.shape.iter().try_fold(4_u64, |bytes, side| bytes.checked_mul(*side as u64));
        if entry.dtype != "F32" || count != Some(length) {
            return Err(unexpected("is not of 32-bit numbers or of another length"));
        }
        let at = self.data_at.checked_add(begin).ok_or_else(|| unexpected("stands nowhere"))?;
        self.file.seek(SeekFrom::Start(at))?;
        let mut bytes = vec![0; length as usize];
        self.file.read_exact(&mut bytes)?;
        let (numbers, _) = bytes.as_chunks::<4>();
        Ok((numbers.iter().map(|number| f32::from_le_bytes(*number)).collect(), entry.shape.clone()))
    }

    fn matrix(&mut self, name: &str) -> Result<(Vec<f32>, [usize; 2]), WeightsError> {
        let (values, shape) = self.tensor(name)?;
        match <[usize; 2]>::try_from(shape) {
            Ok(shape) if shape[1] > 0 => Ok((values, shape)),
            _ => Err(WeightsError::Unexpected(format!("tensor {name} is no matrix"))),
        }
    }

    fn vector(&mut self, name: &str) -> Result<Vec<f32>, WeightsError> {
        Ok(self.tensor(name)?.0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn source(header: &str, data: &[u8]) -> Result<Source, WeightsError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
        file.write_all(header.as_bytes()).unwrap();
        file.write_all(data).unwrap();
        Source::open(file.path())
    }

    #[test]
    fn rows_are_rounded_with_a_scale_each_and_ties_go_to_even() {
        let (values, scales) = rounded(&[63.0, -2.5, 0.5, 0.0, 0.0, 0.0], 3, WEIGHT_MAX);
        assert_eq!((values, scales), (vec![63, -2, 0, 0, 0, 0], vec![1.0, 1.0]));
        assert_eq!(transposed(&[1, 2, 3, 4, 5, 6], 3), [1, 4, 2, 5, 3, 6]);
    }

    #[test]
    fn what_is_no_file_of_weights_is_refused_and_says_why() {
        let error = |header: &str, data: &[u8]| match source(header, data) {
            Ok(mut source) => source.matrix("a").unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(error("{", &[]).contains("its header"));
        assert!(error("{}", &[]).contains("tensor a is missing"));
        let entry = |dtype: &str, shape: &str, end: u64| {
            format!(
                r#"{{"__metadata__":{{"format":"pt"}},"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]}}}}"#
            )
        };
        assert!(error(&entry("F16", "[1,2]", 8), &[0; 8]).contains("not of 32-bit numbers"));
        assert!(error(&entry("F32", "[1,3]", 8), &[0; 8]).contains("of another length"));
        assert!(error(&entry("F32", "[2]", 8), &[0; 8]).contains("is no matrix"));
        assert!(error(&entry("F32", "[4294967296,4294967296]", 8), &[0; 8]).contains("of another length"));
        assert!(!error(&entry("F32", "[1,2]", 8), &[0; 4]).is_empty(), "cut");
        let mut good = source(&entry("F32", "[1,2]", 8), &[0, 0, 128, 63, 0, 0, 0, 64]).unwrap();
        assert_eq!(good.matrix("a").unwrap(), (vec![1.0, 2.0], [1, 2]));
    }

    #[test]
    fn a_missing_file_is_an_error() {
        assert!(matches!(encoder_model(&[], Path::new("/nowhere")), Err(WeightsError::Read(_))));
    }
}
