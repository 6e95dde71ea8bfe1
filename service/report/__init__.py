"""The paper's Table 4 with a row of this deployment."""
