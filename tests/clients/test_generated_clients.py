"""Clients that others' generators make of `/openapi.json`: made, compiled and run against the service.

One partial `PATCH` says most: it changes what it names and nothing else, so the document promises no value that a
client would send by itself.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.stack.tools import folder, sources
from tests.support import executable
from tests.support.processes import run
from tests.support.service import ADMIN_TOKEN, Fleet

HERE = Path(__file__).resolve().parent
TSCONFIG = {
    "compilerOptions": {
        **dict.fromkeys(("strict", "exactOptionalPropertyTypes", "noUncheckedIndexedAccess", "noUnusedLocals"), True),
        "target": "es2022",
        "module": "nodenext",
        "lib": ["es2022", "dom", "dom.iterable"],
        "types": [],
    },
    "files": ["merchant.ts"],
}


def environment(fleet: Fleet, **more: str) -> dict[str, str]:
    """Return what the programs of a merchant know."""
    return {"URL": fleet.url, "ADMIN_TOKEN": ADMIN_TOKEN, **more}


def check(answers: dict[str, Any]) -> None:
    """Hold what a client was answered against what it asked for."""
    put, now = answers["put"], answers["settled"]
    assert (put["name"], put["price"], put["stock"], put["per_user_limit"]) == ("Vase", 1500, 9, 4)
    assert answers["renamed"] == put | {"name": "Tall vase"}
    assert answers["limited"] == put | {"name": "Tall vase", "per_user_limit": 3}
    assert answers["replayed"] == [200, "true", True]
    assert (now["status"], now["reference"], now["quantity"]) == ("confirmed", "basket-1", 2)
    assert answers["refunded"]["refunded_quantity"] == 1
    assert answers["listed"] == [now["order_id"]]
    assert answers["events"] == [f"flashsale.order.{status}" for status in ("pending", "confirmed", "refunded")]
    assert answers["refused"] == "unknown_product"


def test_a_typescript_client(fleet: Fleet, documents: Path, tmp_path: Path) -> None:
    """`openapi-typescript` and `openapi-fetch`; what the document does not have does not compile."""
    generator, compiler = executable("openapi-typescript"), executable("tsc")
    (tmp_path / "node_modules").symlink_to(_modules())
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "tsconfig.json").write_text(json.dumps(TSCONFIG))
    (tmp_path / "merchant.ts").write_text((HERE / "merchant.ts").read_text())
    run([generator, documents / "openapi.json", "-o", "schema.d.ts"], cwd=tmp_path, check=True)
    compiled = run([compiler, "--project", "."], cwd=tmp_path)
    assert compiled.returncode == 0, compiled.stdout
    done = run([executable("node"), "merchant.js"], cwd=tmp_path, env=environment(fleet))
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    check(answers)
    assert answers["exported"]


def test_a_python_client(fleet: Fleet, documents: Path, tmp_path: Path) -> None:
    """`openapi-python-client`, which warns of what it leaves out; the client's types are those that mypy allows."""
    generator = executable("openapi-python-client")
    (tmp_path / "config.json").write_text('{"post_hooks": []}')
    options = ["--meta", "none", "--fail-on-warning", "--config", "config.json", "--output-path", "flash_sale_client"]
    made = run([generator, "generate", "--path", documents / "openapi.json", *options], cwd=tmp_path)
    assert made.returncode == 0, made.stdout + made.stderr
    python = Path(generator).resolve().with_name("python")
    mypy, cache = Path(sys.executable).with_name("mypy"), tmp_path / "cache"
    typed = run(
        [mypy, "--strict", "--config-file=", "--cache-dir", cache, "--python-executable", python, HERE / "merchant.py"],
        env={"MYPYPATH": str(tmp_path)},
    )
    assert typed.returncode == 0, typed.stdout
    done = run([python, HERE / "merchant.py"], cwd=tmp_path, env=environment(fleet, PYTHONPATH=str(tmp_path)))
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout))


def test_methods_are_named_as_one_would(documents: Path) -> None:
    """A verb and what it is about; each name once."""
    paths = json.loads((documents / "openapi.json").read_text())["paths"]
    found = [operation["operationId"] for operations in paths.values() for operation in operations.values()]
    assert len(found) == len(set(found)) > 25
    assert not [name for name in found if not re.fullmatch("[a-z]+(_[a-z]+)+", name)]
    assert {"place_order", "list_orders", "cancel_order", "patch_product", "list_events", "refund_order"} < set(found)


def test_no_body_has_a_value_that_a_client_would_send_by_itself(documents: Path) -> None:
    """Where a field that is left out means "as it is", a default in the document is false."""
    document = json.loads((documents / "openapi.json").read_text())
    schemas = document["components"]["schemas"]
    patches = [operations["patch"] for operations in document["paths"].values() if "patch" in operations]
    assert patches
    for operation in patches:
        name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        assert "required" not in schemas[name]
        assert not [field for field, schema in schemas[name]["properties"].items() if "default" in schema]


@pytest.mark.parametrize("document", ["openapi.json", "asyncapi.json"])
def test_spectral_finds_no_error(documents: Path, tmp_path: Path, document: str) -> None:
    """Nor a warning, but that nobody is named whom to ask."""
    rules = {
        "extends": ["spectral:oas", "spectral:asyncapi"],
        "rules": {"info-contact": "off", "asyncapi-info-contact": "off"},
    }
    ruleset = tmp_path / ".spectral.json"
    ruleset.write_text(json.dumps(rules))
    spectral = executable("spectral")
    done = run([spectral, "lint", "--ruleset", ruleset, "--fail-severity", "warn", documents / document], cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def _modules() -> Path:
    (source,) = [source for source in sources() if source.npm is not None]
    return folder(source) / "node_modules"
