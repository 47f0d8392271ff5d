# noqa: INP001 - scripts of their own
"""`make k8s-check`: render the manifests, hold each against the API's schemas, and all of them against our policy.

Rendering needs no kubectl; where there is one, both must say the same.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import policy
import yaml

FOLDER = Path(__file__).parent
VERSIONS = ("1.32", "1.35")
"""The oldest and the newest Kubernetes that the manifests are held against."""
UNDERSTOOD = {"apiVersion", "kind", "namespace", "labels", "resources", "images"}
CLUSTER_WIDE = {"Namespace"}
KUBECTL_SECONDS = 60

Document = dict[str, Any]


class RenderError(Exception):
    """The kustomization uses something that this renderer does not know."""


def render(folder: Path) -> list[Document]:
    """Do what `kubectl kustomize` does with the fields that we use; raise `RenderError` for any other."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    if unknown := set(kustomization) - UNDERSTOOD:
        raise RenderError(f"{folder.name}: {', '.join(sorted(unknown))} is not understood")
    documents = [document for name in kustomization.get("resources", []) for document in _load(folder / name)]
    for document in documents:
        _place(document, kustomization)
        for pairs in kustomization.get("labels", []):
            _label(document, pairs)
        for image in kustomization.get("images", []):
            _set_image(document, image)
    return documents


def _load(path: Path) -> list[Document]:
    if path.is_dir():
        return render(path)
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def _place(document: Document, kustomization: Document) -> None:
    if "namespace" in kustomization and document["kind"] not in CLUSTER_WIDE:
        document["metadata"]["namespace"] = kustomization["namespace"]


def _label(document: Document, labels: Document) -> None:
    if labels.get("includeSelectors"):
        raise RenderError("labels.includeSelectors is not understood")
    document["metadata"].setdefault("labels", {}).update(labels["pairs"])
    template = document.get("spec", {}).get("template")
    if template and labels.get("includeTemplates"):
        template.setdefault("metadata", {}).setdefault("labels", {}).update(labels["pairs"])


def _set_image(document: Document, image: Document) -> None:
    pod = document.get("spec", {}).get("template", {}).get("spec", {})
    for container in [*pod.get("initContainers", []), *pod.get("containers", [])]:
        if container["image"].partition(":")[0] == image["name"]:
            name = str(image.get("newName", image["name"]))
            tag = f":{image['newTag']}" if "newTag" in image else container["image"].removeprefix(image["name"])
            container["image"] = f"{name}@{image['digest']}" if "digest" in image else name + tag


def by_kubectl(folder: Path) -> list[Document] | None:
    """Render with kubectl, or give nothing where there is none."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        return None
    text = subprocess.run(  # noqa: S603 - renders files; asks no cluster
        [kubectl, "kustomize", str(folder)],
        capture_output=True,
        text=True,
        check=True,
        timeout=KUBECTL_SECONDS,
        env={"KUBECONFIG": "/dev/null"},
    ).stdout
    return [document for document in yaml.safe_load_all(text) if document]


def invalid(documents: list[Document]) -> Iterator[str]:
    """Yield what the API server would refuse, unknown fields included."""
    for version in VERSIONS:
        for document in documents:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                where = ".".join(str(step) for step in error.path)
                yield f"{policy.title(document)} in Kubernetes {version}: {where}: {error.message[:200]}"


def different(documents: list[Document], others: list[Document]) -> Iterator[str]:
    """Yield the documents that two renderers see differently."""
    ours = {policy.title(document): document for document in documents}
    theirs = {policy.title(document): document for document in others}
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            yield f"{name} is not what kubectl renders"


def report(folder: Path) -> list[tuple[str, list[str] | None]]:
    """Run every check on a kustomization: its name and what is wrong, or nothing where it could not run."""
    documents = render(folder)
    others = by_kubectl(folder)
    lines: list[tuple[str, list[str] | None]] = [
        (f"schemas of {' and '.join(VERSIONS)}, {len(documents)} documents", list(invalid(documents))),
        ("the same as kubectl", None if others is None else list(different(documents, others))),
    ]
    return lines + [(rule.__name__.replace("_", " "), list(rule(documents))) for rule in policy.RULES]


def main() -> None:
    """Check the folders that are named, or the base, and print a table."""
    wrong = 0
    for folder in [Path(name) for name in sys.argv[1:]] or [FOLDER / "base"]:
        sys.stdout.write(f"{folder.name}\n")
        for name, problems in report(folder):
            mark = "skipped, no kubectl" if problems is None else "ok" if not problems else f"{len(problems)} wrong"
            sys.stdout.write(f"  {name:<40} {mark}\n" + "".join(f"      {problem}\n" for problem in problems or ()))
            wrong += len(problems or ())
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
