"""Every generated file of the repository, and whether the committed one is what the code says."""

import json
from importlib import import_module
from pathlib import Path

import yaml

from common.migrate import SERVICES
from common.settings import Settings
from paddock import environment, events, releases, streams, subscriber_app

APPS = SERVICES
EXAMPLE, EXAMPLE_SUBJECTS = "examples/faststream-subscriber", ("race.>", "results.>")


def generate() -> dict[str, str]:
    """Return the text of every generated file, by its path below the repository's root."""
    files = {f"docs/{path}": text for path, text in events.documents().items()}
    for service in APPS:
        files[f"docs/openapi/{service}.json"] = openapi(service)
    files[".env.example"] = environment.example()
    files[streams.RENDERED] = streams.rendered()
    app = subscriber_app.application(yaml.safe_load(files["docs/asyncapi.yaml"]), EXAMPLE_SUBJECTS)
    return files | {f"{EXAMPLE}/{name}": text for name, text in app.items()}


def openapi(service: str) -> str:
    """Render a service's OpenAPI document; nothing connects."""
    app = import_module(f"{service}.app").create_app(settings_class(service)())
    document = app.openapi_schema.to_schema()
    document["paths"] = dict(sorted(document["paths"].items()))  # a route with two paths comes in any order
    return json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n"


def settings_class(deployable: str) -> type[Settings]:
    """Return the settings struct that a deployable declares in its `settings.py`."""
    module = import_module(f"{deployable}.settings")
    own = [
        item
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, Settings) and item.__module__ == module.__name__
    ]
    return own[0]


def write(root: Path) -> list[str]:
    """Write what differs and remove generated files that are no more; return the paths."""
    changed = stale(root)
    wanted = generate()
    for path in changed:
        file = root / path
        if path in wanted:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(wanted[path], encoding="utf-8")
        else:
            file.unlink()
    return changed


def stale(root: Path) -> list[str]:
    """Name the files that differ from what the code says, and those that nothing generates any more."""
    wanted = generate()
    different = [path for path, text in wanted.items() if _read(root / path) != text]
    present = [*root.glob("docs/events/**/*.json"), *root.glob("docs/openapi/*.json")]
    present = [file for file in present if not file.is_relative_to(root / releases.RELEASES)]
    orphans = [name for file in present if (name := file.relative_to(root).as_posix()) not in wanted]
    return sorted(different + orphans)


def _read(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.exists() else None
