"""The Kubernetes manifests keep the policy, and each of its rules can fail."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from common import migrate
from paddock.broker import OperatorSettings
from paddock.documents import settings_class

ROOT = Path(__file__).parents[2]
K8S = ROOT / "deploy/k8s"

Document = dict[str, Any]
Change = Callable[[Document], object]


@pytest.fixture(scope="module")
def check() -> Iterator[ModuleType]:
    """Import the script with what stands beside it."""
    sys.path.insert(0, str(K8S))
    try:
        spec = importlib.util.spec_from_file_location("k8s_check", K8S / "check.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(K8S))


@pytest.fixture(scope="module")
def rendered(check: ModuleType) -> list[Document]:
    documents: list[Document] = check.render(K8S / "base")
    return documents


def test_the_base_is_valid_and_keeps_every_rule() -> None:
    ended = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, K8S / "check.py"], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "wrong" not in ended.stdout


def test_a_folder_that_breaks_a_rule_ends_the_check_with_an_error(tmp_path: Path) -> None:
    for file in (K8S / "base").iterdir():
        text = (
            file.read_text(encoding="utf-8").replace("replicas: 2", "replicas: 1").replace("minReady", "minimumReady")
        )
        (tmp_path / file.name).write_text(text, encoding="utf-8")
    ended = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, K8S / "check.py", tmp_path], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 1
    assert "Deployment/auth has fewer than two replicas" in ended.stdout
    assert "minimumReadySeconds" in ended.stdout, "an unknown field passed the strict schema"


def pod(document: Document) -> Document:
    spec: Document = document["spec"]["template"]["spec"]
    return spec


def container(document: Document) -> Document:
    first: Document = pod(document)["containers"][0]
    return first


def confinement(document: Document) -> Document:
    context: Document = container(document)["securityContext"]
    return context


def secret_of(document: Document) -> Document:
    found: Document = next(volume["secret"] for volume in pod(document)["volumes"] if "secret" in volume)
    return found


CREDENTIALS = {"name": "NATS_CREDS_FILE", "value": "/nats/nats.creds"}

BROKEN: list[tuple[str, str, Change]] = [
    ("by_number", "Deployment/auth", lambda it: pod(it)["securityContext"].update(runAsUser=0)),
    ("by_number", "Deployment/auth", lambda it: pod(it)["securityContext"].pop("runAsUser")),
    ("by_number", "Job/migrate", lambda it: pod(it)["securityContext"].update(runAsNonRoot=False)),
    ("by_number", "Deployment/auth", lambda it: confinement(it).update(runAsNonRoot=False)),
    (
        "by_number",
        "Deployment/auth",
        lambda it: pod(it).update(
            initContainers=[{"name": "auth", "image": "x:1", "securityContext": {"runAsNonRoot": False}}]
        ),
    ),
    ("confined", "Deployment/gateway", lambda it: confinement(it).update(capabilities={"drop": []})),
    (
        "confined",
        "Deployment/gateway",
        lambda it: confinement(it).update(capabilities={"drop": ["ALL"], "add": ["NET_ADMIN"]}),
    ),
    ("confined", "Deployment/gateway", lambda it: confinement(it).update(allowPrivilegeEscalation=True)),
    ("confined", "Deployment/gateway", lambda it: pod(it)["securityContext"].pop("seccompProfile")),
    ("read_only", "Deployment/ingest", lambda it: confinement(it).pop("readOnlyRootFilesystem")),
    ("read_only", "Deployment/ingest", lambda it: pod(it).update(volumes=[{"name": "tmp", "emptyDir": {}}])),
    ("known_to_nats", "Deployment/ingest", lambda it: pod(it).update(volumes=pod(it)["volumes"][:1])),
    ("known_to_nats", "Deployment/ingest", lambda it: secret_of(it).update(secretName="paddock-nats-paddock")),
    ("known_to_nats", "Job/migrate", lambda it: container(it)["env"].remove(CREDENTIALS)),
    ("read_only", "Job/migrate", lambda it: pod(it).update(volumes=[{"name": "tmp", "hostPath": {"path": "/"}}])),
    ("apart_from_the_node", "Deployment/auth", lambda it: pod(it).update(hostNetwork=True)),
    ("apart_from_the_node", "Deployment/auth", lambda it: container(it)["ports"][0].update(hostPort=80)),
    ("no_cluster_identity", "Deployment/auth", lambda it: pod(it).pop("automountServiceAccountToken")),
    ("no_cluster_identity", "Deployment/auth", lambda it: pod(it).pop("serviceAccountName")),
    ("no_cluster_identity", "ServiceAccount/auth", lambda it: it.pop("automountServiceAccountToken")),
    ("bounded", "Deployment/scoring", lambda it: container(it)["resources"].pop("limits")),
    ("bounded", "Job/migrate", lambda it: container(it)["resources"]["requests"].pop("cpu")),
    (
        "probed",
        "Deployment/leagues",
        lambda it: container(it)["livenessProbe"]["httpGet"].update(path="/health/ready"),
    ),
    ("probed", "Deployment/leagues", lambda it: container(it).pop("startupProbe")),
    ("pinned", "Deployment/auth", lambda it: container(it).update(image="paddock-auth")),
    ("pinned", "Deployment/auth", lambda it: container(it).update(image="registry.example:5000/paddock-auth:latest")),
    ("available", "Deployment/auth", lambda it: it["spec"].update(replicas=1)),
    (
        "available",
        "Deployment/auth",
        lambda it: it["spec"]["strategy"]["rollingUpdate"].update(maxUnavailable=1),
    ),
    ("available", "Deployment/auth", lambda it: pod(it)["topologySpreadConstraints"].pop()),
    ("graceful", "Deployment/auth", lambda it: pod(it).pop("terminationGracePeriodSeconds")),
    ("graceful", "Deployment/auth", lambda it: container(it).pop("lifecycle")),
    ("budgeted", "PodDisruptionBudget/auth", lambda it: it["spec"].update(maxUnavailable=0)),
    ("budgeted", "PodDisruptionBudget/auth", lambda it: it["spec"].update(selector={"matchLabels": {"a": "b"}})),
    ("connected", "ConfigMap/paddock", lambda it: it["data"].update(DATABASE_POOL_SIZE="10")),
    ("connected", "Deployment/auth", lambda it: it["spec"].update(replicas=5)),
    ("selected", "Service/auth", lambda it: it["spec"]["selector"].update({"app.kubernetes.io/name": "other"})),
    ("selected", "Deployment/auth", lambda it: it["metadata"].update(name="login")),
    ("no_secrets", "ConfigMap/paddock", lambda it: it.update(kind="Secret")),
    ("no_secrets", "Deployment/auth", lambda it: container(it)["env"].append({"name": "DATABASE_URL", "value": "x"})),
    ("migrated_once", "Job/migrate", lambda it: it["metadata"].update(name="again")),
    ("migrated_once", "Job/migrate", lambda it: it["spec"].pop("backoffLimit")),
    (
        "migrated_once",
        "Deployment/auth",
        lambda it: container(it)["env"][0]["valueFrom"]["secretKeyRef"].update(name="paddock-migrate"),
    ),
    ("closed", "NetworkPolicy/default-deny", lambda it: it["spec"].update(policyTypes=["Ingress"])),
    ("closed", "Namespace/paddock", lambda it: it["metadata"].pop("labels")),
    ("closed", "Service/gateway", lambda it: it["spec"].update(type="NodePort")),
    ("flows", "NetworkPolicy/leagues", lambda it: it["spec"]["egress"].pop()),
    ("flows", "NetworkPolicy/auth", lambda it: it["spec"]["ingress"][0].pop("from")),
    ("flows", "NetworkPolicy/analytics", lambda it: it["spec"]["egress"].append({"to": [{"ipBlock": {}}]})),
]


@pytest.mark.parametrize(("rule", "name", "change"), BROKEN)
def test_a_manifest_that_breaks_a_rule_is_told(
    check: ModuleType, rendered: list[Document], rule: str, name: str, change: Change
) -> None:
    documents = deepcopy(rendered)
    change(next(document for document in documents if check.policy.title(document) == name))
    broken = next(found for found in check.policy.RULES if found.__name__ == rule)
    assert list(broken(rendered)) == []
    assert list(broken(documents)) != []


def test_every_rule_has_a_manifest_that_breaks_it(check: ModuleType) -> None:
    assert {rule for rule, _, _ in BROKEN} == {rule.__name__ for rule in check.policy.RULES}


def test_what_kubectl_would_render_otherwise_is_told(check: ModuleType, rendered: list[Document]) -> None:
    others = deepcopy(rendered)
    others[-1]["metadata"]["name"] = "other"
    assert list(check.different(rendered, others)) != []


def test_an_overlay_places_labels_and_names_images_on_top_of_the_base(check: ModuleType, tmp_path: Path) -> None:
    overlay = {
        "namespace": "races",
        "resources": [str(K8S / "base")],
        "labels": [{"pairs": {"stage": "test"}}],
        "images": [{"name": "paddock-auth", "newName": "registry.example/auth", "digest": "sha256:" + "0" * 64}],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    auth = next(it for it in check.render(tmp_path) if check.policy.title(it) == "Deployment/auth")
    assert auth["metadata"]["namespace"] == "races"
    assert auth["metadata"]["labels"]["stage"] == "test"
    assert container(auth)["image"] == "registry.example/auth@sha256:" + "0" * 64


def test_what_the_renderer_does_not_know_is_an_error(check: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("patches: []\n", encoding="utf-8")
    with pytest.raises(check.RenderError, match="patches"):
        check.render(tmp_path)


@pytest.mark.parametrize("deployable", [*migrate.SERVICES, "gateway"])
def test_a_deployable_starts_in_production_on_what_its_pod_is_given(rendered: list[Document], deployable: str) -> None:
    shared = next(it["data"] for it in rendered if it["kind"] == "ConfigMap")
    every = {item for name in ("gateway", "auth") for item in _variables(name)}
    assert set(shared) <= every
    deployment = next(it for it in rendered if it["kind"] == "Deployment" and it["metadata"]["name"] == deployable)
    own = [item["name"] for item in container(deployment)["env"]]
    own.remove(CREDENTIALS["name"])  # a file that is mounted in a pod
    assert set(own) <= _variables(deployable)
    settings = settings_class(deployable).load(shared | dict.fromkeys(own, "x" * 40))
    assert settings.paddock_env == "production"


def test_the_keeper_starts_in_production_on_what_its_pod_is_given(rendered: list[Document]) -> None:
    shared = next(it["data"] for it in rendered if it["kind"] == "ConfigMap")
    deployment = next(it for it in rendered if it["kind"] == "Deployment" and it["metadata"]["name"] == "keeper")
    own = [item["name"] for item in container(deployment)["env"]]
    assert own == ["NATS_URL", "NATS_CREDS_FILE"]
    settings = OperatorSettings.load(shared | {"NATS_URL": "nats://nats:4222"})
    assert settings.paddock_env == "production"
    assert container(deployment)["args"] == ["keep"]


def test_the_migration_is_given_the_password_of_every_role(rendered: list[Document]) -> None:
    job = next(it for it in rendered if it["kind"] == "Job")
    given = {item["name"] for item in container(job)["env"]}
    assert {f"PADDOCK_DB_PASSWORD_{service.upper()}" for service in migrate.SERVICES} <= given


def test_the_operators_pod_keeps_the_policy_and_is_given_what_auth_is(check: ModuleType) -> None:
    job = yaml.safe_load((K8S / "operator.yaml").read_text(encoding="utf-8"))
    policy = check.policy
    rules = (policy.by_number, policy.confined, policy.read_only, policy.apart_from_the_node)
    assert [problem for rule in rules for problem in rule([job])] == []
    assert container(job)["envFrom"] == [{"configMapRef": {"name": "paddock"}}, {"secretRef": {"name": "paddock-auth"}}]
    assert job["spec"]["activeDeadlineSeconds"] <= 3600  # it holds every secret of auth


def _variables(deployable: str) -> set[str]:
    return {variable for _, variable, _ in settings_class(deployable).variables()}
