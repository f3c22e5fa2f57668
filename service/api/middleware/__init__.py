"""ASGI layers around the routes; `service.api.app` has them in one list, in order."""
