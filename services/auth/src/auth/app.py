"""`auth`, wired."""

from litestar import Litestar
from litestar.di import Provide

from auth.keys import SigningKeys
from auth.origin import provide_origin
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
        dependencies={"accounts": Provide(provide_accounts), "origin": Provide(provide_origin)},
    )
    keys = SigningKeys(app.state.database, settings.key_encryption_secret)
    app.state.signing_keys = keys
    app.state.accounts = Accounts(settings, app.state.database, keys)
    own = settings.auth_url, settings.token_issuer
    app.state.verifier = TokenVerifier(*own, settings.token_audience, keys=keys)
    app.state.admin_verifier = TokenVerifier(*own, settings.token_admin_audience, keys=keys)
    return app
