"""The pages that links in letters lead to, for whoever runs no front end of their own.

Nothing happens when a page is opened: programs that look at every link in a letter use none up. The token stands behind
``#``, which the browser keeps to itself; the page's script sends it once somebody presses the button.
"""

import base64
import hashlib
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from litestar import Response, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from auth.links import PAGES, Purpose
from auth.settings import AuthSettings

HTML = "text/html"


class Page(Struct, frozen=True, kw_only=True):
    """What a page says and where it sends the token."""

    operation: str
    """Relative to the page, as the gateway may be below a path."""
    title: str
    text: str
    action: str
    done: str
    password: bool = False


TEXTS = {
    Purpose.VERIFY_EMAIL: Page(
        operation="api/v1/auth/verify",
        title="Confirm your e-mail address",
        text="Is this your address? One click, and we know.",
        action="Confirm my address",
        done="Thank you, your address is confirmed.",
    ),
    Purpose.RESET_PASSWORD: Page(
        operation="api/v1/auth/reset-password",
        title="Choose a new password",
        text="Everybody who is logged in to your account will be logged out.",
        action="Set this password",
        done="Your new password is set. Log in with it.",
        password=True,
    ),
    Purpose.CHANGE_EMAIL: Page(
        operation="api/v1/auth/confirm-email",
        title="Confirm your new e-mail address",
        text="From then on we write to this address, and you can log in with it.",
        action="Use this address",
        done="Your new address is in use. Log in again.",
    ),
}


def _handler(purpose: Purpose) -> HTTPRouteHandler:
    @get(
        f"/{PAGES[purpose]}",
        name=f"page_{purpose}",
        operation_id=f"Page{PAGES[purpose].title().replace('-', '')}",
        media_type=HTML,
        tags=["pages"],
        summary=f"Page: {TEXTS[purpose].title.lower()}",
        description="A page for people; the link in a letter leads here unless `AUTH_LINK_URL` names a front end.",
    )
    async def page(state: State) -> Response[str]:
        settings: AuthSettings = state.settings
        body, policy = _rendered(purpose, settings.product_name)
        headers = {
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "Content-Security-Policy": policy,
        }
        return Response(body, media_type=HTML, headers=headers)

    return page


@cache
def _rendered(purpose: Purpose, product: str) -> tuple[str, str]:
    """Return a page, and the policy that lets its own script and style run and no other."""
    templates = Environment(
        loader=PackageLoader("auth"), autoescape=select_autoescape(("html",)), undefined=StrictUndefined
    )
    script, style = (templates.get_template(name).render() for name in ("page.js", "page.css"))
    body = templates.get_template("page.html").render(page=TEXTS[purpose], product=product, script=script, style=style)
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; connect-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )
    return body, policy


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


HANDLERS = [_handler(purpose) for purpose in Purpose]
