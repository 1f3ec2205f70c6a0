"""The secrets of webhooks, encrypted before they come to the store and decrypted to sign with."""

from __future__ import annotations

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from prefect_ml.errors import InvalidInputError, PrefectMLError

_MAX_SECRET = 1000
_MAKE_ONE = 'python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'


class UnreadableSecretError(PrefectMLError):
    """A secret was encrypted with a key that the server does not have now."""


class WebhookSecrets:
    """Encrypts and decrypts secrets.

    Args:
        key: one Fernet key, or several with commas between them: the first encrypts, all decrypt.

    Raises:
        InvalidInputError: it is no such key.
    """

    def __init__(self, key: SecretStr | None) -> None:
        self._fernet = None if key is None else _fernet(key.get_secret_value())

    def seal(self, secret: str) -> SecretStr:
        """A secret, encrypted.

        Raises:
            InvalidInputError: there is no key, or the secret is too long.
        """
        if self._fernet is None:
            raise InvalidInputError(
                "This server keeps no secrets of webhooks, since it has no key to encrypt them with. Register the "
                "webhook without a secret, or have the operator set PREFECT_ML_WEBHOOK_KEY."
            )
        if len(secret) > _MAX_SECRET:
            raise InvalidInputError(f"The secret of a webhook has at most {_MAX_SECRET} characters; shorten it.")
        return SecretStr(self._fernet.encrypt(secret.encode()).decode())

    def open(self, sealed: SecretStr) -> bytes:
        """The secret in clear text.

        Raises:
            UnreadableSecretError: it was encrypted with another key, or there is none.
        """
        if self._fernet is not None:
            try:
                return self._fernet.decrypt(sealed.get_secret_value().encode())
            except InvalidToken:
                pass
        raise UnreadableSecretError(
            "The webhook's secret was encrypted with another key; set PREFECT_ML_WEBHOOK_KEY to that key again, or "
            "give the webhook a new secret."
        )


def _fernet(keys: str) -> MultiFernet:
    try:
        return MultiFernet([Fernet(key.strip()) for key in keys.split(",")])
    except ValueError:
        # The cause would show the key.
        raise InvalidInputError(f"PREFECT_ML_WEBHOOK_KEY is no Fernet key; make one with: {_MAKE_ONE}") from None
