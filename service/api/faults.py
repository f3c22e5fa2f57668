"""The admin routes that switch faults; mounted only where FAULTS_ENABLED is set."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends
from pydantic import BaseModel

from service.api.auth import Admin
from service.api.context import Context
from service.api.errors import describe
from service.faults.state import MEANINGS, Fault, FaultRule, Faults
from service.problems import Problem

REFUSALS = ("unauthorized", "admin_disabled", "store_unavailable")

router = APIRouter(prefix="/monitoring/faults", tags=["monitoring"], dependencies=[Admin])


async def _faults_of(context: Context) -> Faults:
    if context.faults is None:
        raise Problem("not_found")
    return context.faults


Switches = Annotated[Faults, Depends(_faults_of)]


class FaultView(BaseModel):
    """One fault; `strike` is null while it is off."""

    fault: Fault
    meaning: str
    strike: FaultRule | None


class FaultList(BaseModel):
    """Every fault that there is."""

    faults: list[FaultView]


def _list(on: dict[Fault, FaultRule]) -> FaultList:
    views = [FaultView(fault=fault, meaning=meaning, strike=on.get(fault)) for fault, meaning in MEANINGS.items()]
    return FaultList(faults=views)


@router.get("", responses=describe(*REFUSALS))
async def list_faults(faults: Switches) -> FaultList:
    """Tell which faults are on."""
    return _list(await faults.read())


@router.put("/{fault}", responses=describe("invalid", *REFUSALS))
async def switch_fault_on(
    fault: Fault, faults: Switches, strike: Annotated[FaultRule | None, Body()] = None
) -> FaultList:
    """Switch a fault on, in every process within a second."""
    await faults.switch_on(fault, strike or FaultRule())
    return _list(await faults.read())


@router.delete("/{fault}", responses=describe("invalid", *REFUSALS))
async def switch_fault_off(fault: Fault, faults: Switches) -> FaultList:
    """Switch a fault off."""
    await faults.switch_off(fault)
    return _list(await faults.read())


@router.delete("", responses=describe(*REFUSALS))
async def switch_all_faults_off(faults: Switches) -> FaultList:
    """Switch all faults off."""
    await faults.switch_off(*Fault)
    return _list(await faults.read())
