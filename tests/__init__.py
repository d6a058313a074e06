"""The tests; `models` makes small ONNX models for them."""
