"""The guarded HTTP transport of callbacks, Twilio and picture fetches: an own small HTTP/1.1 client.

Read `guarded` first (one call, and what its failures mean), then `pool` (the guard, where a connection is made),
`connection` (one request and its answer), `request` (addresses and what is written), `guard` (which addresses),
`names` (where they come from). It knows nothing of channels, signatures or retries.

Own, because a general client costs several times what a call costs: on a delivery worker's loop the call is what is
paid for most often.
"""

from notifier.transport.connection import Answer
from notifier.transport.guard import AllowedNetworks, public
from notifier.transport.guarded import TOTAL, GuardedTransport

__all__ = ["TOTAL", "AllowedNetworks", "Answer", "GuardedTransport", "public"]
