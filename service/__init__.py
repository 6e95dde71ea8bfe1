"""The HTTP service. Importing it loads neither torch nor onnx nor onnxruntime."""
