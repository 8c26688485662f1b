"""Mail servers that are not ours: a private Postfix (delivers, refuses, speaks STARTTLS) and smtp-sink (misbehaves)."""

from __future__ import annotations

import email
import email.policy
import os
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import pytest
import trustme

from tests.peers.policy import require_peer
from tests.peers.process import NOBODY, Argument, answers, find_free_port, running, wait_until

NOBODY_ID = 65534

#: Takes mail for every domain into one maildir; three local parts are refused, whatever their domain.
MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
mail_owner = postfix
setgid_group = postdrop
maillog_file = {dir}/maillog
maillog_file_prefixes = {dir}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.example.test
mydestination =
mynetworks = 127.0.0.1/32
smtpd_peername_lookup = no
virtual_mailbox_domains = static:all
virtual_mailbox_maps = static:mbox/
virtual_mailbox_base = {dir}/mail
virtual_minimum_uid = 1
virtual_uid_maps = static:{nobody}
virtual_gid_maps = static:{nobody}
alias_maps =
alias_database =
smtp_dns_support_level = disabled
smtpd_tls_cert_file = {dir}/cert.pem
smtpd_tls_key_file = {dir}/key.pem
smtpd_tls_security_level = may
smtpd_recipient_restrictions = check_recipient_access inline:{{{{full@ = 452 4.2.2 mailbox full}}, \
{{gone@ = 550 5.1.1 no such user}}, {{later@ = 450 4.2.0 greylisted}}}}, permit_mynetworks, reject
notify_classes =
"""

MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True)
class Postfix:
    """A private Postfix. `full@` answers 452, `gone@` 550, `later@` 450 at RCPT; everybody else gets the mail."""

    port: int
    folder: Path
    trust: ssl.SSLContext  #: trusts this server's certificate, as a client must for STARTTLS
    ca_file: Path
    host: str = "127.0.0.1"

    def inbox(self, recipient: str) -> list[EmailMessage]:
        """The mails delivered for one envelope recipient, oldest first."""
        files = sorted((self.folder / "mail" / "mbox" / "new").glob("*"), key=lambda path: path.stat().st_mtime_ns)
        mails = [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in files]
        return [mail for mail in mails if mail["Delivered-To"] == recipient]

    def wait_for(self, recipient: str, count: int = 1) -> list[EmailMessage]:
        """The recipient's mails once there are at least `count`."""
        wait_until(lambda: len(self.inbox(recipient)) >= count, f"{count} mails for {recipient}")
        return self.inbox(recipient)

    @property
    def log(self) -> str:
        """What Postfix itself wrote down: the witness to compare with."""
        return (self.folder / "maillog").read_text()


@pytest.fixture(scope="session")
def postfix() -> Iterator[Postfix]:
    """One Postfix for the session, on a free port; use recipients of your own test."""
    program = shutil.which("postfix", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    require_peer("postfix", "install the postfix package", found=program)
    require_peer("postfix", "a private instance needs root", found=os.geteuid() == 0)
    with tempfile.TemporaryDirectory(prefix="pfx", dir="/tmp") as name:
        folder = Path(name)
        port = find_free_port()
        _write_configuration(folder, port)
        authority = _write_certificate(folder)
        trust = ssl.create_default_context()
        authority.configure_trust(trust)
        # `postfix start-fg` would leave a shell between us and the master, and the shell alone would be stopped.
        subprocess.run([str(program), "-c", folder / "etc", "check"], check=True, capture_output=True, timeout=30)
        # The master changes its user id on start, which drops the death signal: timeout keeps it and passes it on.
        master: list[Argument] = [
            "timeout",
            "1h",
            _daemons(Path(str(program)), folder) / "master",
            "-s",
            "-c",
            folder / "etc",
        ]
        with running(master, lambda: answers(port), log=folder / "start.log"):
            yield Postfix(port, folder, trust, folder / "ca.pem")


def _daemons(program: Path, folder: Path) -> Path:
    command: list[Argument] = [program.with_name("postconf"), "-c", folder / "etc", "-h", "daemon_directory"]
    return Path(subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip())


def _write_configuration(folder: Path, port: int) -> None:
    folder.chmod(0o755)
    for part in ("etc", "queue", "data", "mail"):
        (folder / part).mkdir()
    shutil.chown(folder / "data", "postfix")
    os.chown(folder / "mail", NOBODY_ID, NOBODY_ID)
    (folder / "etc" / "main.cf").write_text(MAIN_CF.format(dir=folder, nobody=NOBODY_ID))
    (folder / "etc" / "master.cf").write_text(MASTER_CF.format(port=port))


def _write_certificate(folder: Path) -> trustme.CA:
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost", "127.0.0.1", "mail.example.test")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    leaf.private_key_pem.write_to_path(str(folder / "key.pem"))
    for blob in leaf.cert_chain_pems:
        blob.write_to_path(str(folder / "cert.pem"), append=True)
    return authority


@dataclass(frozen=True)
class Sink:
    """An smtp-sink that treats its clients as its flags say."""

    port: int
    dump: Path
    host: str = "127.0.0.1"

    def messages(self) -> list[bytes]:
        """Everything it took, as received (with its own X- lines on top), in no order."""
        return [path.read_bytes() for path in self.dump.iterdir()]


@pytest.fixture
def smtp_sink() -> Iterator[Callable[..., Sink]]:
    """Start sinks: `smtp_sink("-f", "rcpt", "-B", "550 5.1.1 unknown")`. Flags as in smtp-sink(1)."""
    program = shutil.which("smtp-sink", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    require_peer("smtp-sink", "install the postfix package", found=program)
    with ExitStack() as stack:
        yield lambda *flags: _start_sink(str(program), flags, stack)


def _start_sink(program: str, flags: tuple[str, ...], stack: ExitStack) -> Sink:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sink", dir="/tmp")))
    folder.chmod(0o755)
    dump = folder / "mails"
    dump.mkdir()
    user = NOBODY if os.geteuid() == 0 else None  # smtp-sink refuses to run as root
    if user:
        shutil.chown(dump, user)
    port = find_free_port()
    command = [program, "-d", f"{dump}/%M.", *flags, f"127.0.0.1:{port}", "100"]
    stack.enter_context(running(command, lambda: answers(port), log=folder / "log", user=user))
    return Sink(port, dump)
