"""Encoding with an exported model: numpy, tokenizers and onnxruntime, never torch."""
