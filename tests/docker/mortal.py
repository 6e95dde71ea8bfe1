"""The service with an engine that dies when told to, for test_deployment.py: `touch /tmp/die` in its container."""

import logging
from collections.abc import Collection
from pathlib import Path

import numpy as np
import uvicorn
from numpy.typing import NDArray

from models.spec.contract import ModelSpec
from service.api.app import create_app
from service.inference.engine import Networks, Outputs
from service.inference.onnx_engine import OnnxEngine


class Mortal(OnnxEngine[ModelSpec]):
    def run(self, images: NDArray[np.uint8], wanted: Collection[str], shared: bool = False) -> Outputs:
        if Path("/tmp/die").exists():
            raise SystemExit("told to die")
        return super().run(images, wanted, shared)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    uvicorn.run(
        create_app(open_networks=lambda settings: Networks(Mortal(settings, ModelSpec))),
        host="0.0.0.0",
        port=8000,
        log_config=None,
        access_log=False,
    )
