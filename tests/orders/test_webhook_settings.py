"""What `WEBHOOK_URL` and `WEBHOOK_SECRET` may be."""

import pytest

from service.settings import Settings, SettingsError
from tests.support.webhooks import SECRET


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"WEBHOOK_URL": "https://shop.example/hook"}, "WEBHOOK_SECRET: must be set where WEBHOOK_URL is"),
        ({"WEBHOOK_URL": "shop.example", "WEBHOOK_SECRET": SECRET}, "WEBHOOK_URL: "),
        ({"WEBHOOK_SECRET": SECRET}, "WEBHOOK_URL: must be set where WEBHOOK_SECRET is"),
        ({"WEBHOOK_SECRET": "whsec_c2hvcnQ="}, "WEBHOOK_SECRET: must be whsec_ and 24 to 64 bytes in base64"),
        ({"WEBHOOK_SECRET": "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, "WEBHOOK_SECRET: must be whsec_"),
    ],
)
def test_settings_that_cannot_be_used(given: dict[str, str], said: str) -> None:
    """One line that begins with the variable and does not tell the secret."""
    with pytest.raises(SettingsError) as error:
        Settings.from_env(given)
    assert str(error.value).startswith(said)
    assert given.get("WEBHOOK_SECRET", "?") not in str(error.value)
