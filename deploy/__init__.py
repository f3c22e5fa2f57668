"""How flash-sale is deployed, beside the files that container tools read."""
