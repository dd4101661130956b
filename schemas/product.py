from typing import Literal

from pydantic import JsonValue

from schemas.base import Frozen, Stamp


class ProductEvent(Frozen):
    """Something that happened in your own application, as a client of the Segment Tracking API told it: the payload of
    every entry of the stream `product.events`.

    `id` is `product:<message id>`: a call that is sent again is the same event.
    """

    id: str
    message_id: str
    """`messageId` of the client; without one a hash of the content, if that has a time, else a random id."""
    type: Literal["track", "identify", "page", "screen", "group", "alias"]
    name: str | None
    """The event name of a `track` call, the name of a page or screen; None where none was given."""
    user_id: str | None
    """Who it was, by the application's own id. This or `anonymous_id` is there."""
    anonymous_id: str | None
    """A browser or device of which nobody knew whose it was."""
    previous_id: str | None
    """Of an `alias` call: the id that turned out to be `user_id`."""
    group_id: str | None
    """Of a `group` call: the company, team or the like that the user belongs to."""
    time: Stamp
    """When it happened, in milliseconds and by headrace's clock: `original_time` less what the client's clock was
    ahead; `received_at` where the client told no time that can be."""
    received_at: Stamp
    sent_at: Stamp | None
    """When it was sent, by the client's clock."""
    original_time: Stamp | None
    """When it happened, by the client's clock."""
    properties: dict[str, JsonValue]
    """Of the event; `category` of a page or screen among them."""
    traits: dict[str, JsonValue]
    """Of the user; of a `group` call those of the group."""
    context: dict[str, JsonValue]
    """What the client told around it: page, campaign, library, device."""
