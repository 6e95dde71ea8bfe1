"""From trained weights to the one ONNX file that the service runs."""
