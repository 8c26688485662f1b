"""The outbox: three loopback servers (SMTP, Twilio-shaped HTTP, callback receiver) that catch what the channels send.

They are independent witnesses: each keeps a log of what it really received. They share no code with the channels.
The page /dev/outbox shows the logs with live links, so all of it listens on 127.0.0.1 and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping


def main(environ: Mapping[str, str]) -> None:
    """Run the three servers until SIGTERM or SIGINT. Raises ConfigError on unsafe settings and on a taken port."""
    import asyncio
    import logging

    from notifier.logs import set_up
    from notifier.outbox.server import serve
    from notifier.outbox.settings import load_outbox

    settings = load_outbox(environ)
    set_up(environ.get("NOTIFIER_LOG_FORMAT") or "text", "INFO")
    logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd would write down every command and address
    asyncio.run(serve(settings))
