"""From measured costs to processes, nodes and money: `flash-sale plan`."""

from service.capacity.costs import Costs, measured_costs
from service.capacity.demand import Demand
from service.capacity.plan import Breaks, Plan, make_plan

__all__ = ["Breaks", "Costs", "Demand", "Plan", "make_plan", "measured_costs"]
