"""A float16 file beside the float file, for GPUs: `python -m export.float16 FLOAT.onnx --data FOLDER`.

The convolutions compute in float16; normalisation, softmax and expectation stay in float32.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import onnx
from onnx import TensorProto, helper, numpy_helper

from export.onnx_files import convolutions, folded, read_contract
from export.variants import add_options, write_variant

PRECISION: Final = "float16; head in float32"


def to_half(path: Path) -> onnx.ModelProto:
    """The network of a float file with its convolutions, and what lies between them, in float16."""
    model = folded(path)
    layers = convolutions(model)
    weights = {name for layer in layers for name in layer.input[1:]}
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float16"), tensor.name))
    begin, end = layers[0].input[0], layers[-1].output[0]
    layers[0].input[0], layers[-1].output[0] = f"{begin}.half", f"{end}.half"
    nodes = list(model.graph.node)
    nodes.insert(nodes.index(layers[-1]) + 1, helper.make_node("Cast", [f"{end}.half"], [end], to=TensorProto.FLOAT))
    nodes.insert(nodes.index(layers[0]), helper.make_node("Cast", [begin], [f"{begin}.half"], to=TensorProto.FLOAT16))
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    helper.set_model_props(model, replace(read_contract(model), precision=PRECISION).to_metadata())
    return onnx.shape_inference.infer_shapes(model, strict_mode=True, check_type=True)


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit status is 1 where the file is refused."""
    parser = argparse.ArgumentParser(prog="python -m export.float16", description=__doc__.partition("\n")[0])
    add_options(parser)
    options = parser.parse_args(arguments)
    return write_variant("fp16", lambda: to_half(options.model), options)


if __name__ == "__main__":
    sys.exit(main())
