"""A request, from the ASGI scope to its span and its measurement."""
