"""The settings `WEBHOOK_*`: whom to tell of order changes, and how to sign it. Off while there is no URL."""

from pydantic import BaseModel, ConfigDict, HttpUrl, SecretStr, TypeAdapter, field_validator, model_validator

from service.webhooks.signing import keys_of

_HTTP_URL = TypeAdapter(HttpUrl)


class WebhookSettings(BaseModel):
    """The settings `WEBHOOK_*`. The URL is a secret, too: it may have credentials in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: SecretStr | None = None
    secret: SecretStr | None = None

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, given: SecretStr | None) -> SecretStr | None:
        return given and SecretStr(str(_HTTP_URL.validate_python(given.get_secret_value())))

    @field_validator("secret")
    @classmethod
    def _has_keys(cls, given: SecretStr | None) -> SecretStr | None:
        if given is not None:
            keys_of(given.get_secret_value())
        return given

    @model_validator(mode="after")
    def _is_signed(self) -> "WebhookSettings":
        if self.url is not None and self.secret is None:
            raise ValueError("WEBHOOK_SECRET: must be set where WEBHOOK_URL is")
        if self.secret is not None and self.url is None:
            raise ValueError("WEBHOOK_URL: must be set where WEBHOOK_SECRET is")
        return self
