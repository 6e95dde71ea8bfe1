"""The command line: `dsnt-pose serve`, `dsnt-pose predict` and `dsnt-pose report`."""
