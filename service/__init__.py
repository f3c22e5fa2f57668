"""The flash-sale order service: a limited stock, sold to far more buyers than there are units."""
