"""Faults that are switched on at run time, to see that the alerts see them.

Nothing of this exists in a process unless FAULTS_ENABLED is set: no route, no wrapper, no reading. Where it is set, an
admin switches a fault on with a time to live; it is kept in the store, and every process of the fleet, workers too,
reads it twice a second. A process that cannot read the store has no fault. The store's own data is never touched: a
fault of the books only changes what a snapshot says.
"""

from service.faults.injectors import faulty_gateway, faulty_shards
from service.faults.state import Fault, FaultRule, Faults, watched

__all__ = ["Fault", "FaultRule", "Faults", "faulty_gateway", "faulty_shards", "watched"]
