"""HTTP and WebSocket: the routes, the layers around them, the pages, and the parts they share."""
