"""Which process this telemetry is of, also when that is known only once it serves."""

import os
from collections.abc import Mapping
from uuid import uuid4

from opentelemetry.sdk.resources import Resource
from opentelemetry.util.types import AttributeValue

WORKER = "worker"
ALONE = "main"
_INSTANCE = "service.instance.id"


class ProcessResource(Resource):
    """A resource that can be given the name of its process when that is known.

    Under a server that forks, an application is made before its processes are: they share all but what is set then.

    Args:
        attributes: of the service; a ``service.instance.id`` among them stays.
        worker: the name of this process; None until it is known.
    """

    def __init__(self, attributes: Mapping[str, AttributeValue], worker: str | None) -> None:
        made = Resource.create(dict(attributes))
        super().__init__(made.attributes, made.schema_url)
        self._chosen = _INSTANCE in attributes
        self._process = os.getpid()
        self._own: dict[str, AttributeValue] = {WORKER: worker or ALONE}

    @property
    def attributes(self) -> Mapping[str, AttributeValue]:
        """What describes the service and this process."""
        return {**super().attributes, **self._own}

    @property
    def worker(self) -> str:
        """The name of this process."""
        return str(self._own[WORKER])

    def name_process(self, worker: str) -> None:
        """Give this process its name."""
        own: dict[str, AttributeValue] = {WORKER: worker}
        if os.getpid() != self._process and not self._chosen:
            own[_INSTANCE] = str(uuid4())
        self._own = own
