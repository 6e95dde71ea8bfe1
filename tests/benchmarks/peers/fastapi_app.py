"""What one writes in ten minutes: a plain function behind FastAPI, run in its pool of threads. No batches."""

import sys
from typing import Annotated

import numpy as np
import uvicorn
from fastapi import Body, FastAPI, Query
from pose import Network, crop, joints

app = FastAPI()
network = Network()


@app.post("/pose")
def pose(
    photo: Annotated[bytes, Body(media_type="application/octet-stream")], box: Annotated[list[float], Query()]
) -> dict[str, list[list[float]]]:
    pixels, square = crop(photo, box)
    return {"joints": joints(network(np.stack([pixels]))[0], square)}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), access_log=False)
