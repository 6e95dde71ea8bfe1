"""Triton with its Python backend, by pytriton: its dynamic batcher, decoding in two threads."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from pose import LARGEST_BATCH, Network, crop, joints
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

network = Network()
decoders = ThreadPoolExecutor(2)


@batch
def pose(photo: np.ndarray, box: np.ndarray) -> dict[str, np.ndarray]:
    cut = list(decoders.map(crop, photo[:, 0], box.tolist()))
    coordinates = network(np.stack([pixels for pixels, _ in cut]))
    found = [joints(each, square) for each, (_, square) in zip(coordinates, cut, strict=True)]
    return {"joints": np.array(found, np.float32)}


if __name__ == "__main__":
    config = TritonConfig(
        http_address="127.0.0.1", http_port=int(sys.argv[1]), allow_grpc=False, allow_metrics=False, log_verbose=0
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="pose",
            infer_func=pose,
            inputs=[Tensor(name="photo", dtype=bytes, shape=(1,)), Tensor(name="box", dtype=np.float32, shape=(4,))],
            outputs=[Tensor(name="joints", dtype=np.float32, shape=(-1, 2))],
            config=ModelConfig(max_batch_size=LARGEST_BATCH, batcher=DynamicBatcher()),
        )
        triton.serve()
