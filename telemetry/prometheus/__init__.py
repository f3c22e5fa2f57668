"""`/metrics`, from data points to the text of all processes."""
