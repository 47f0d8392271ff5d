"""Avatars over HTTP."""

import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, delete, get, put
from litestar.datastructures import State
from litestar.exceptions import ClientException, SerializationException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from msgspec import Meta, Struct
from multipart import MultipartError, MultipartSegment, PushMultipartParser

from auth import people
from auth.avatars import Avatars
from auth.images import MEDIA_TYPE, SIDE, UnsupportedImageError
from auth.origin import Origin
from auth.settings import AVATAR_BYTES, AuthSettings
from common.errors import FieldError, InvalidError
from common.http import BEARER, problems
from common.security import Principal

PATH = "/api/v1/users/me/avatar"
FORM = "multipart/form-data"
FIELD = "avatar"
ACCEPTED = ("image/jpeg", "image/png", "image/webp")
FRESH_SECONDS = 300
"""How long a picture may be shown without asking again; a profile made private is private after that."""
POLICY = "default-src 'none'; sandbox"
"""The gateway sets its own, which says the same."""
ABOUT = (
    f"A JPEG, PNG or WebP, with its form of at most {AVATAR_BYTES // 1024**2} MiB; its name and type do not count. "
    f"Kept is its middle, {SIDE} pixels square, made anew without metadata; of an animation the first picture. "
    "415: another kind of file. 422: `image_too_large`, `image_too_complex`, `image_unreadable`. 503: also `busy` and "
    "`pictures_unavailable`."
)


class AvatarView(Struct, frozen=True, kw_only=True):
    """A picture that was taken."""

    url: Annotated[str, Meta(description="Path of the picture at the gateway")]
    width: int
    height: int
    size: Annotated[int, Meta(description="Bytes")]
    created_at: datetime


@dataclass
class PictureOperation(Operation):
    """Documents that the body is a picture, by itself or in a form."""

    def __post_init__(self) -> None:
        """Describe the body, which Litestar does not read and so does not know of."""
        picture = Schema(type=OpenAPIType.STRING, content_media_type="application/octet-stream")
        form = Schema(type=OpenAPIType.OBJECT, properties={FIELD: picture}, required=[FIELD])
        content = {kind: OpenAPIMediaType(schema=Schema(content_media_type=kind)) for kind in ACCEPTED}
        self.request_body = RequestBody(content={**content, FORM: OpenAPIMediaType(schema=form)}, required=True)


async def provide_avatars(state: State) -> Avatars:
    """Litestar dependency ``avatars``."""
    found: Avatars = state.avatars
    return found


@put(
    PATH,
    tags=["profile"],
    security=BEARER,
    responses=problems(400, 413, 415, 422, 429),
    operation_class=PictureOperation,
    request_max_body_size=AVATAR_BYTES,
    summary="Set your picture",
    description=ABOUT,
)
async def put_avatar(
    request: Request[Any, Any, State], principal: Principal, origin: Origin, avatars: Avatars
) -> Response[AvatarView]:
    """Set the caller's picture. A place is taken before the body is read, so that bodies never fill the memory."""
    settings: AuthSettings = request.app.state.settings
    await avatars.admit(principal.user_id)
    with avatars.pictures:
        data = await _received(request, settings.avatar_bytes)
        try:
            row = await avatars.put(principal.user_id, data, origin=origin)
        except UnsupportedImageError as error:
            raise ClientException(status_code=415, detail="Send a JPEG, PNG or WebP.") from error
    url = people.avatar_path(principal.user_id)
    view = AvatarView(url=url, width=SIDE, height=SIDE, size=row.size, created_at=row.created_at)
    return Response(view, headers={"Cache-Control": "no-store"})


@delete(PATH, tags=["profile"], security=BEARER, summary="Remove your picture")
async def remove_avatar(principal: Principal, origin: Origin, avatars: Avatars) -> None:
    """Remove the caller's picture."""
    await avatars.remove(principal.user_id, origin=origin)


@get(
    "/api/v1/users/{user_id:uuid}/avatar",
    tags=["profile"],
    responses=problems(401, 403),
    summary="Show somebody's picture",
    description="404 for no user, for no picture, and for a profile that is not visible to the caller.",
    media_type=MEDIA_TYPE,
)
async def show_avatar(
    user_id: UUID, request: Request[Any, Any, State], visitor: Principal | None, avatars: Avatars
) -> Response[bytes]:
    """Show a picture, with headers that leave a browser nothing to do but to draw it."""
    avatar, public = await avatars.find(user_id, visitor.user_id if visitor else None)
    tag = f'"{avatar.digest.hex()}"'
    headers = {
        "ETag": tag,
        "Cache-Control": f"{'public' if public else 'private'}, max-age={FRESH_SECONDS}",
        "Content-Security-Policy": POLICY,
        "Content-Disposition": f'inline; filename="{avatar.digest.hex()[:16]}.webp"',
    }
    known = {given.strip().removeprefix("W/") for given in request.headers.get("if-none-match", "").split(",")}
    if known & {tag, "*"}:
        return Response(b"", status_code=304, headers=headers)
    return Response(await avatars.content(avatar), media_type=MEDIA_TYPE, headers=headers)


async def _received(request: Request[Any, Any, State], limit: int) -> bytes:
    """Return the picture out of the body, which is given up as soon as it is longer than it may be."""
    kind, options = request.content_type
    if (request.content_length or 0) > limit:
        raise RequestEntityTooLarge
    pieces = _limited(request.stream(), limit)
    if kind == FORM:
        return await _field(pieces, options.get("boundary", ""))
    if not kind.startswith("image/"):
        raise ClientException(status_code=415, detail=f"Send image/* or {FORM}.")
    whole = io.BytesIO()  # which gives its buffer away, where a join would need as much again
    async for piece in pieces:
        whole.write(piece)
    return whole.getvalue()


async def _limited(pieces: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    read = 0
    async for piece in pieces:
        read += len(piece)
        if read > limit:
            raise RequestEntityTooLarge
        yield piece


async def _field(pieces: AsyncIterator[bytes], boundary: str) -> bytes:
    """Return the form's one field. Litestar's own parser keeps every form it has read in memory, this one does not."""
    names: list[str] = []
    content = io.BytesIO()
    try:
        with PushMultipartParser(boundary, max_segment_count=1, strict=True) as parser:
            async for piece in pieces:
                for event in parser.parse(piece) if piece else ():
                    if isinstance(event, MultipartSegment):
                        names.append(event.name)
                    elif event:
                        content.write(event)
    except MultipartError as error:
        raise SerializationException("the form cannot be read") from error
    if names != [FIELD]:
        fault = FieldError(field=FIELD, message="must be the one field of the form")
        raise InvalidError("invalid_request", "One or more fields are not acceptable.", errors=[fault])
    return content.getvalue()


HANDLERS = [put_avatar, remove_avatar, show_avatar]
