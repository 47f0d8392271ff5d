"""`auth`, wired."""

from litestar import Litestar
from litestar.di import Provide

from auth.access_token_routes import provide_programs
from auth.access_tokens import AccessTokens
from auth.admin_user_routes import provide_by
from auth.avatar_routes import provide_avatars
from auth.avatars import Avatars
from auth.consumers import consumers_of
from auth.email_routes import provide_emails
from auth.emails import Emails
from auth.favourites import Favourites
from auth.issuing import Issuer
from auth.keys import SigningKeys
from auth.logins import Logins
from auth.objects import Objects
from auth.origin import provide_origin
from auth.own_account import OwnAccount
from auth.own_account_routes import provide_own_account
from auth.passwords import PasswordHasher
from auth.postman import Postman
from auth.preference_routes import provide_favourites
from auth.profile_routes import provide_visitor
from auth.purge import Purge, keep_purging
from auth.recovery import Recovery
from auth.recovery_routes import provide_recovery
from auth.refreshing import Refreshes
from auth.registration import Registrations
from auth.registration_keys import RegistrationKeys
from auth.registration_routes import provide_registrations
from auth.rotation import rotate_by_age
from auth.routes import HANDLERS
from auth.session_routes import provide_logins, provide_refreshes
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
        consumers=consumers_of(Postman(settings)),
        background=[rotate_by_age, keep_purging],
        dependencies={
            "logins": Provide(provide_logins),
            "refreshes": Provide(provide_refreshes),
            "registrations": Provide(provide_registrations),
            "origin": Provide(provide_origin),
            "programs": Provide(provide_programs),
            "avatars": Provide(provide_avatars),
            "emails": Provide(provide_emails),
            "recovery": Provide(provide_recovery),
            "own_account": Provide(provide_own_account),
            "favourites": Provide(provide_favourites),
            "visitor": Provide(provide_visitor),
            "by": Provide(provide_by),
        },
    )
    keys = SigningKeys(app.state.database, settings)
    app.state.signing_keys = keys
    app.state.favourites = Favourites(settings.ingest_url)
    app.state.access_tokens = AccessTokens(settings, app.state.database, keys)
    app.state.objects = Objects(settings)
    app.state.avatars = Avatars(settings, app.state.database, app.state.objects)
    app.state.purge = Purge(settings, app.state.database, app.state.objects)
    app.state.emails = Emails(settings, app.state.database)
    app.state.hasher = PasswordHasher(settings)
    app.state.recovery = Recovery(settings, app.state.database, app.state.hasher)
    app.state.registration_keys = RegistrationKeys(settings, app.state.database, app.state.hasher)
    app.state.registrations = Registrations(settings, app.state.database, app.state.hasher)
    app.state.issuer = Issuer(settings, keys)
    app.state.logins = Logins(settings, app.state.database, app.state.hasher, app.state.issuer)
    app.state.own_account = OwnAccount(settings, app.state.database, app.state.logins, app.state.hasher)
    app.state.refreshes = Refreshes(settings, app.state.database, app.state.issuer)
    issuer, denials = settings.token_issuer, app.state.denials
    app.state.verifier = TokenVerifier(issuer, settings.token_audience, keys, denials)
    app.state.admin_verifier = TokenVerifier(issuer, settings.token_admin_audience, keys, denials)
    return app
