from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from export.hourglass import HourglassGraph, main


@pytest.mark.slow
def test_file_says_what_torch_says_with_float16_weights(tmp_path: Path) -> None:
    path = tmp_path / "new" / "hourglass.onnx"
    main(["--stacks", "1", "--out", str(path)])
    torch.manual_seed(0)
    graph = HourglassGraph(1).eval()
    images = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), dtype=np.uint8)
    with torch.inference_mode():
        wanted = [tensor.numpy() for tensor in graph(torch.from_numpy(images))]
    found = onnxruntime.InferenceSession(path).run(["coordinates", "heatmaps"], {"images": images})
    assert [tensor.shape for tensor in found] == [(2, 16, 2), (2, 16, 64, 64)]
    for ours, torchs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, torchs, atol=2e-3)
    parameters = sum(p.numel() for p in graph.parameters())
    assert 2 * parameters < path.stat().st_size < 2.1 * parameters
