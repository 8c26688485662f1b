"""API key → Credential. One answer for a missing, malformed, unknown and disabled key."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import HTTPException, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from notifier.batching import Batcher
from notifier.core.keys import hash_of, well_formed
from notifier.core.model import Credential
from notifier.ports import Store
from notifier.unit import Reader

_BEARER = HTTPBearer(auto_error=False, scheme_name="bearer", description="An API key: nk_...")
_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, scheme_name="header", description="The same, by header")
REFUSED = "Send a valid API key: Authorization: Bearer nk_... or X-API-Key"


def credential_dependency(store: Store) -> Callable[..., Any]:
    """Return the FastAPI dependency that authenticates a request."""

    async def look_up(given: Sequence[str]) -> Sequence[Credential | None]:
        return await run_in_threadpool(_look_up, store, given)

    keys: Batcher[str, Credential | None] = Batcher(look_up)

    async def credential(
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
        header: Annotated[str | None, Security(_HEADER)],
    ) -> Credential:
        given = header or (bearer.credentials if bearer else "")
        found = await keys.add(given) if well_formed(given) else None
        if found is None:
            raise HTTPException(401, REFUSED, {"WWW-Authenticate": "Bearer"})
        return found

    return credential


def _look_up(store: Store, given: Sequence[str]) -> list[Credential | None]:
    """Whose keys these are, asked together: requests that come at the same time wait for one thread."""
    with store.read() as tx:
        known = {plaintext: _credential(tx, plaintext) for plaintext in set(given)}
    return [known[plaintext] for plaintext in given]


def _credential(tx: Reader, given: str) -> Credential | None:
    wanted = hash_of(given)
    key = tx.api_key(wanted)
    if key is None or key.disabled_at is not None or not hmac.compare_digest(key.secret_hash, wanted):
        return None
    return Credential(key.id, key.tenant, key.sources, key.types, key.may_address, key.may_read)
