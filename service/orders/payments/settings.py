"""The settings `PAYMENT_*` and the gateway that they name."""

from datetime import timedelta

from opentelemetry.trace import TracerProvider
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr, TypeAdapter, field_validator

from service.orders.payments.gateway import PaymentGateway
from service.orders.payments.simulated import SimulatedGateway

_HTTP_URL = TypeAdapter(HttpUrl)


class PaymentSettings(BaseModel):
    """The settings `PAYMENT_*`. Without `gateway_url` payments are simulated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gateway_url: SecretStr | None = None
    latency_seconds: float = Field(0.05, ge=0, le=60, allow_inf_nan=False)
    decline_rate: float = Field(0.0, ge=0, le=1, allow_inf_nan=False)
    error_rate: float = Field(0.0, ge=0, le=1, allow_inf_nan=False)
    timeout_seconds: float = Field(2.0, gt=0, le=60, allow_inf_nan=False)
    attempts: int = Field(3, ge=1, le=10)

    @field_validator("gateway_url")
    @classmethod
    def _is_a_url(cls, given: SecretStr | None) -> SecretStr | None:
        return given and SecretStr(str(_HTTP_URL.validate_python(given.get_secret_value())))


def gateway(settings: PaymentSettings, tracer_provider: TracerProvider) -> PaymentGateway:
    """Return the gateway that the settings name."""
    if settings.gateway_url is None:
        return SimulatedGateway(
            latency=timedelta(seconds=settings.latency_seconds),
            decline_rate=settings.decline_rate,
            error_rate=settings.error_rate,
            tracer_provider=tracer_provider,
        )
    from service.orders.payments.http import HttpGateway  # noqa: PLC0415 - an HTTP client is slow to import

    return HttpGateway(
        settings.gateway_url.get_secret_value(),
        timeout=timedelta(seconds=settings.timeout_seconds),
        attempts=settings.attempts,
        tracer_provider=tracer_provider,
    )
