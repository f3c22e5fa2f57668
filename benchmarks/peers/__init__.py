"""What our service is measured against; each is a program of its own that `uvicorn` serves."""
