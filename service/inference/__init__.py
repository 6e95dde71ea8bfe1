"""Crops -> arrays: the network on onnxruntime, and the threads that feed it; knows no joints."""
