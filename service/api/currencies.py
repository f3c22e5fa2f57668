"""The currencies that an amount may be in: the codes of ISO 4217, list one (amounts are in minor units of them).

A code that is none would be shown by a guess: how many decimals it has nobody knows. Those that were withdrawn in
the last years may still stand in somebody's books.
"""

from typing import Annotated, Final

from pydantic import AfterValidator, Field

_CURRENT: Final = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CLF
CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF
IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT
MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD
SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD USN UYI UYU UYW UZS
VED VES VND VUV WST XAD XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
"""
_WITHDRAWN: Final = "ANG BGN CUC HRK SLL ZWL"
CODES: Final = frozenset((_CURRENT + _WITHDRAWN).split())


def _known(code: str) -> str:
    if code not in CODES:
        raise ValueError("not a currency of ISO 4217")
    return code


Currency = Annotated[
    str,
    Field(pattern="^[A-Z]{3}$", description="ISO 4217", examples=["USD"], json_schema_extra={"enum": sorted(CODES)}),
    AfterValidator(_known),
]
