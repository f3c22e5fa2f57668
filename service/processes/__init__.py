"""The processes: what an API process and an order worker are, and who starts, watches and ends them."""
