"""The containers for real: an engine, the unmodified Dockerfile and docker-compose.yml, a sale, an upgrade, a stop.

`python -m deploy.ship` uses the Docker engine of the machine and published images where there is one. Elsewhere, as
root on Debian, it unpacks Debian's engine into a cache, runs it in namespaces of its own and makes stand-ins of the
published images; the table at the end says what stood in. Nothing is installed, and everything is ended.
"""
