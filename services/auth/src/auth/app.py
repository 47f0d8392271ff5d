"""`auth`, wired."""

from litestar import Litestar
from litestar.di import Provide

from auth.keys import SigningKeys
from auth.routes import HANDLERS, provide_accounts
from auth.service import Accounts
from auth.settings import AuthSettings
from common.app import service_app
from common.security import TokenVerifier


def create_app(settings: AuthSettings) -> Litestar:
    """Wire the service. It verifies tokens as every service does, with its own keys in place of a call to itself."""
    app = service_app(
        "auth",
        settings,
        title="Paddock accounts",
        route_handlers=HANDLERS,
        dependencies={"accounts": Provide(provide_accounts)},
    )
    keys = SigningKeys(app.state.database, settings.key_encryption_secret)
    app.state.signing_keys = keys
    app.state.accounts = Accounts(settings, app.state.database, keys)
    app.state.verifier = TokenVerifier(settings.auth_url, settings.token_issuer, settings.token_audience, keys=keys)
    return app
