"""`notifier config`: every mistake at once, what looks like one as a warning, and a numbered version in force."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from notifier.testing import POLICY, templates_folder
from tests.cli.conftest import Cli

SECRET = "whsec_" + "QUJD" * 10
ONE = '[tenants.acme]\nname = "Acme"\ndefault = [{ to = "role:owner" }]\n'


def test_a_good_file_has_no_mistake_and_is_not_applied(bare: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERP_SECRET", SECRET)
    bare.restart()
    path = bare.write("n.toml", POLICY)
    ran = bare("config", "check", path)
    assert ran.out.endswith("n.toml: 2 tenants, 3 rules, no mistake, 0 warnings\n")
    assert ran.err == ""
    assert bare.system.policies.current().version == 0


def test_every_mistake_is_printed_with_file_and_line(bare: Cli) -> None:
    path = bare.write("n.toml", '[tenants.acme]\nsms = 1\ntimezone = "Mars"\n')
    err = bare("config", "check", path, code=1).err
    assert "error: n.toml:2: sms must be true or false" in err
    assert "error: n.toml:3: no IANA time zone is named 'Mars'" in err
    told = bare("config", "check", path, "--json", code=1).json()
    assert [mistake["where"] for mistake in told["mistakes"]] == ["n.toml:2", "n.toml:3"]


def test_a_line_number_is_no_picture(bare: Cli) -> None:
    """ ":100:" is the name of an emoji for some terminals' libraries."""
    path = bare.write("n.toml", "[tenants.acme]\n" + "\n" * 98 + "sms = 1\n")
    assert "n.toml:100: sms must be true or false" in bare("config", "check", path, code=1).err


def test_apply_numbers_versions_and_repeating_it_makes_none(bare: Cli) -> None:
    path = bare.write("n.toml", ONE)
    assert bare("config", "apply", path).out == "configuration 1 is in force (1 tenants)\n"
    assert bare("config", "apply", path).out == "configuration 1 is already in force (1 tenants)\n"
    bare.write("n.toml", ONE + "# a remark\n")
    assert bare("config", "apply", path).out == "configuration 2 is in force (1 tenants)\n"
    bare.system.policies.refresh()
    assert bare.system.policies.current().version == 2
    assert bare("config", "show").out == f"# version 2\n{path.read_text()}"


def test_apply_refuses_what_has_a_mistake_and_the_old_stays_in_force(bare: Cli) -> None:
    path = bare.write("n.toml", ONE)
    bare("config", "apply", path)
    bare.write("n.toml", ONE + "sms = 1\n")
    assert "n.toml:4: sms must be true or false" in bare("config", "apply", path, code=1).err
    assert bare("config", "show").out.startswith("# version 1\n")


def test_show_before_anything_was_applied_says_what_to_do(bare: Cli) -> None:
    assert "run `notifier config apply`" in bare("config", "show", code=1).err


def test_the_file_is_found_by_its_setting(bare: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFIER_CONFIG", str(bare.write("ours.toml", ONE)))
    bare.restart()
    assert "ours.toml: 1 tenants" in bare("config", "check").out


UNREADABLE = [(b"\xff\xfe", "not UTF-8"), (None, "No such file")]


@pytest.mark.parametrize(("content", "said"), UNREADABLE)
def test_a_file_that_cannot_be_read_says_why(bare: Cli, content: bytes | None, said: str) -> None:
    path = bare.folder / "n.toml" if content is None else bare.write("n.toml", content)
    assert said in bare("config", "check", path, code=1).err


def test_a_byte_order_mark_is_no_mistake(bare: Cli) -> None:
    bare("config", "check", bare.write("n.toml", b"\xef\xbb\xbf" + ONE.encode()))


def test_every_template_is_rendered_with_every_sample(
    bare: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "templates"
    shutil.copytree(templates_folder(), folder)
    (folder / "email" / "alert_closed.txt").write_text("{{ alert.surprise }}")
    monkeypatch.setenv("NOTIFIER_TEMPLATES_DIR", str(folder))
    bare.restart()
    err = bare("config", "check", bare.write("n.toml", ONE), code=1).err
    assert "error: templates: templates/email/alert_closed.txt" in err and "surprise" in err


def test_a_folder_without_templates_is_a_mistake(bare: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFIER_TEMPLATES_DIR", str(tmp_path))
    bare.restart()
    assert "no templates in" in bare("config", "check", bare.write("n.toml", ONE), code=1).err


# -- what only this deployment knows --------------------------------------------------------------------------------


def doubts(cli: Cli, text: str) -> list[str]:
    found = cli("config", "check", cli.write("n.toml", text), "--json").json()["warnings"]
    return [f"{item['where']}: {item['message']}" for item in found]


def endpoint(url: str, secret: str) -> str:
    return (
        '[tenants.acme]\ndefault = [{ to = "endpoint:erp" }]\n[[tenants.acme.endpoints]]\nname = "erp"\n'
        f'url = "{url}"\nsecrets = ["{secret}"]\n'
    )


def test_secrets_that_cannot_be_resolved_are_named_and_never_shown_p10(
    bare: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHORT_SECRET", "whsec_c2hvcnQ=")
    monkeypatch.setenv("GOOD_SECRET", SECRET)
    bare.restart()
    url = "https://erp.acme.example/"
    assert doubts(bare, endpoint(url, "env:ERP_SECRET")) == [
        "n.toml:6: endpoint erp: environment variable ERP_SECRET is not set here; callbacks to it would fail"
    ]
    (found,) = doubts(bare, endpoint(url, "env:SHORT_SECRET"))
    assert "env:SHORT_SECRET holds no secret" in found and "c2hvcnQ" not in found
    assert "file /absent cannot be read" in doubts(bare, endpoint(url, "file:/absent"))[0]
    assert doubts(bare, endpoint(url, "env:GOOD_SECRET")) == []


PRIVATE = [
    ("https://10.1.2.3/x", True),
    ("https://169.254.169.254/latest", True),
    ("https://[::ffff:127.0.0.1]/", True),
    ("http://localhost:9/x", True),
    # listed by NOTIFIER_CALLBACK_ALLOW
    ("http://127.0.0.1:8901/x", False),
    # public, and a name: looked up when a callback is sent
    ("https://93.184.216.34/", False),
    ("https://erp.acme.example/", False),
]


@pytest.mark.parametrize(("url", "warned"), PRIVATE)
def test_addresses_that_the_guard_will_refuse_are_pointed_out(
    bare: Cli, monkeypatch: pytest.MonkeyPatch, url: str, warned: bool
) -> None:
    monkeypatch.setenv("ERP_SECRET", SECRET)
    monkeypatch.setenv("NOTIFIER_CALLBACK_ALLOW", "127.0.0.1:8901")
    bare.restart()
    expected = ["n.toml:5: endpoint erp: not a public address; refused unless NOTIFIER_CALLBACK_ALLOW lists it"]
    assert doubts(bare, endpoint(url, "env:ERP_SECRET")) == (expected if warned else [])


def test_roles_that_nobody_has_are_pointed_out_once_there_is_a_directory(bare: Cli, cli: Cli) -> None:
    wanted = '[tenants.acme]\ndefault = [{ to = "role:drivers" }]\n'
    (found,) = doubts(cli, wanted)
    assert found == (
        "n.toml:2: nobody in the directory has the role drivers; there are owner, regional_manager, sales_rep"
    )
    assert doubts(cli, wanted.replace("acme", "new")) == []


def test_alert_types_and_categories_that_nobody_knows_are_pointed_out(bare: Cli) -> None:
    rule = '[[tenants.acme.rules]]\nname = "r"\nsend = [{ to = "carried" }]\n'
    when = 'when = { alert_type = ["OutOfStok", "Out*", "out of stock"], category = ["merchandise"] }\n'
    found = doubts(bare, ONE + rule + when)
    assert found[0] == "n.toml:7: no alert type of the catalogue is named 'OutOfStok'"
    assert found[1].startswith("n.toml:7: no alert has the category 'merchandise'; there are ")
    assert len(found) == 2


def test_a_setting_with_a_slip_of_the_pen_is_pointed_out(bare: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFIER_STMP_URL", "smtp://user:password@mail.example")
    monkeypatch.setenv("NOTIFIER_DEMO_ERP_SECRET", SECRET)
    assert doubts(bare, ONE) == ["NOTIFIER_STMP_URL: no such setting; did you mean NOTIFIER_SMTP_URL?"]


def test_a_file_can_be_checked_where_no_database_is(bare: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in (f"sqlite:///{tmp_path}/absent/store.db", "postgresql://nobody@127.0.0.1:9/none"):
        monkeypatch.setenv("NOTIFIER_DATABASE_URL", url)
        bare.restart()
        assert doubts(bare, ONE) == []
    assert not (tmp_path / "absent").exists()


def test_apply_prints_the_warnings_too(cli: Cli) -> None:
    path = cli.write("n.toml", ONE.replace("owner", "drivers"))
    assert "warning: n.toml:3: nobody in the directory has the role drivers" in cli("config", "apply", path).err
