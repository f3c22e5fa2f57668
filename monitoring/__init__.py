"""What watches the service: rules, dashboards, and the code that makes them; no part of the service itself."""
