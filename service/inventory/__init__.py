"""The catalogue: products, their stock, their sale windows."""
