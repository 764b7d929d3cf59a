"""Running an exported model with numpy, tokenizers and onnxruntime; torch is never imported."""
