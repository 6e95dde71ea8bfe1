"""Train the pose network: `python -m models.training --data FOLDER --start WEIGHTS --out RUN`.

A run is a few phases of growing crops under one schedule of the learning rate. It checkpoints into `--out` and goes on
from there when the same command is repeated, to the same weights as without the stop. The folder says what the run
is: `run.json` its options and data, `log.csv` loss and development PCKh by crops seen, `averaged-CROPS.pt` the averaged
weights of the log's last lines and of its best.
"""

from models.data.pack import PackError
from models.networks.checkpoint import WeightsError
from models.training.config import TrainingConfig
from models.training.loop import train
from models.training.options import RunError


def main(arguments: list[str] | None = None) -> None:
    """The command line; what no run can begin with ends the process with status 2 and a sentence."""
    config = TrainingConfig.parse(arguments)
    try:
        train(config)
    except (RunError, PackError, WeightsError) as error:
        TrainingConfig.refuse(str(error))


if __name__ == "__main__":
    main()
