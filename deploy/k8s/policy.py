# noqa: INP001 - scripts of their own
"""What every manifest must keep: each rule yields one sentence for each place where it is broken.

The rules are those of the Pod Security Standard `restricted`, and what a rolling restart without an error needs.
"""

from collections.abc import Callable, Iterator
from typing import Any

from common import migrate
from common.app import GRACE_SECONDS
from common.messaging import STOP_SECONDS

Document = dict[str, Any]
Rule = Callable[[list[Document]], Iterator[str]]

MARGIN_SECONDS = 5
LOWEST_UID = 10_000
CONNECTIONS = 97
"""What PostgreSQL leaves by default to roles that are no superusers."""
OWN_CONNECTIONS = {"ingest": 2, "scoring": 2}
"""Outside the pool: 1 of the relay, and those of the poller and of the scorer."""
PLAIN = {"PADDOCK_ENV", "NATS_CREDS_FILE"}
"""Variables whose value is no secret: the second names a file."""
USERS = {"migrate": "paddock", "keeper": "paddock"}
"""Who is known to NATS by another name than its own: the operator's commands."""
NAME = "app.kubernetes.io/name"
COMPONENT = "app.kubernetes.io/component"
APPS = migrate.SERVICES
DEPLOYABLES = (*APPS, "keeper", "gateway")

FLOWS = {
    "auth": {
        *("database:5432", "broker:4222", "internet:443", "internet:465", "internet:587"),
        *("ingest:8000", "leagues:8000", "webhooks:8000"),
    },
    "ingest": {"database:5432", "broker:4222", "internet:443"},
    "leagues": {"database:5432", "broker:4222", "auth:8000"},
    "scoring": {"database:5432", "broker:4222", "auth:8000"},
    "analytics": {"database:5432", "broker:4222"},
    "webhooks": {"database:5432", "broker:4222", "auth:8000", "internet:443", "internet:8443"},
    "gateway": {"cache:6379", "broker:4222", *(f"{app}:8000" for app in APPS)},
    "keeper": {"broker:4222"},
    "migrate": {"database:5432", "broker:4222"},
    "ingress": {"gateway:8000"},
    "monitoring": {f"{name}:8000" for name in DEPLOYABLES},
}
"""Who may open a connection to whom; names are asked of the cluster's DNS besides."""


def of_kind(documents: list[Document], *kinds: str) -> Iterator[Document]:
    """Yield the documents of a kind."""
    return (document for document in documents if document["kind"] in kinds)


def title(document: Document) -> str:
    """Name a document as kubectl does."""
    return f"{document['kind']}/{document['metadata']['name']}"


def pods(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    """Yield every pod's spec with the name of what makes it."""
    for document in of_kind(documents, "Deployment", "Job"):
        yield title(document), document["spec"]["template"]["spec"]


def containers(documents: list[Document]) -> Iterator[tuple[str, Document, Document]]:
    """Yield name, pod and container, of containers and those that go before them."""
    for name, pod in pods(documents):
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            yield f"{name} {container['name']}", pod, container


def by_number(documents: list[Document]) -> Iterator[str]:
    """A process is no root and has a number that belongs to nobody on the node."""
    for name, pod, container in containers(documents):
        context = pod.get("securityContext", {}) | container.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or context.get("runAsUser", 0) < LOWEST_UID:
            yield f"{name} may run as root or a user of the node"


def confined(documents: list[Document]) -> Iterator[str]:
    """A process keeps no capability, gains none, and is under the runtime's seccomp profile."""
    for name, pod, container in containers(documents):
        own = container.get("securityContext", {})
        context = pod.get("securityContext", {}) | own
        if own.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{name} keeps capabilities"
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            yield f"{name} may gain privileges"
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{name} has no seccomp profile"


def read_only(documents: list[Document]) -> Iterator[str]:
    """A root file system is read-only; what may be written is small and empty at the start; a Secret is only read."""
    for name, pod, container in containers(documents):
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield f"{name} writes to its root"
        for volume in pod.get("volumes", []):
            if not volume.get("emptyDir", {}).get("sizeLimit") and "secret" not in volume:
                yield f"{name} mounts {volume['name']}, which is no emptyDir with a limit"


def known_to_nats(documents: list[Document]) -> Iterator[str]:
    """A process has the NATS credentials of its own user, as a file, and nobody else's."""
    for document in of_kind(documents, "Deployment", "Job"):
        name, pod = document["metadata"]["name"], document["spec"]["template"]["spec"]
        mounted = [volume["secret"]["secretName"] for volume in pod.get("volumes", []) if "secret" in volume]
        if mounted != [f"paddock-nats-{USERS.get(name, name)}"]:
            yield f"{title(document)} mounts {mounted}, not the credentials of its own NATS user"
        for container in pod["containers"]:
            files = [entry.get("value") for entry in container.get("env", []) if entry["name"] == "NATS_CREDS_FILE"]
            if files != ["/nats/nats.creds"]:
                yield f"{title(document)} is not told where its NATS credentials are"


def apart_from_the_node(documents: list[Document]) -> Iterator[str]:
    """A pod shares nothing with its node."""
    for name, pod in pods(documents):
        if any(pod.get(word) for word in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{name} shares the node"
    for name, _, container in containers(documents):
        if any("hostPort" in port for port in container.get("ports", [])):
            yield f"{name} takes a port of the node"


def no_cluster_identity(documents: list[Document]) -> Iterator[str]:
    """A pod has an account of its own and no token of it: nothing here calls the API server."""
    accounts = {document["metadata"]["name"]: document for document in of_kind(documents, "ServiceAccount")}
    for name, pod in pods(documents):
        account = accounts.get(pod.get("serviceAccountName", "default"))
        if account is None or account.get("automountServiceAccountToken") is not False:
            yield f"{name} has no account of its own without a token"
        if pod.get("automountServiceAccountToken") is not False or pod.get("enableServiceLinks") is not False:
            yield f"{name} mounts a token or takes variables from services"


def bounded(documents: list[Document]) -> Iterator[str]:
    """A container asks for what it needs and cannot eat the node's memory."""
    for name, _, container in containers(documents):
        resources = container.get("resources", {})
        if not {"cpu", "memory"} <= set(resources.get("requests", {})) or "memory" not in resources.get("limits", {}):
            yield f"{name} has no requests or no memory limit"


def probed(documents: list[Document]) -> Iterator[str]:
    """Start and life touch nothing outside, readiness asks the database: an outage restarts nobody."""
    for document in of_kind(documents, "Deployment"):
        for container in document["spec"]["template"]["spec"]["containers"]:
            paths = [
                container.get(f"{probe}Probe", {}).get("httpGet", {}).get("path")
                for probe in ("startup", "liveness", "readiness")
            ]
            if paths != ["/health/live", "/health/live", "/health/ready"]:
                yield f"{title(document)} is asked {paths}"


def pinned(documents: list[Document]) -> Iterator[str]:
    """An image has a version or a digest."""
    for name, _, container in containers(documents):
        image = container["image"].rpartition("/")[2]
        if "@sha256:" not in image and (":" not in image or image.endswith(":latest")):
            yield f"{name} has the image {image} of no version"


def available(documents: list[Document]) -> Iterator[str]:
    """Two replicas apart from each other, and a rollout that takes none away before its successor is ready."""
    for document in of_kind(documents, "Deployment"):
        spec = document["spec"]
        keys = {rule["topologyKey"] for rule in spec["template"]["spec"].get("topologySpreadConstraints", [])}
        if spec.get("replicas", 1) < 2:  # noqa: PLR2004 - the least that outlives one
            yield f"{title(document)} has fewer than two replicas"
        if spec.get("strategy", {}).get("rollingUpdate", {}).get("maxUnavailable") != 0:
            yield f"{title(document)} takes replicas away before others are ready"
        if keys != {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}:
            yield f"{title(document)} is not spread over nodes and zones"


def graceful(documents: list[Document]) -> Iterator[str]:
    """Endpoints go first; then there is time for what the code says it may take to stop."""
    for document in of_kind(documents, "Deployment"):
        pod = document["spec"]["template"]["spec"]
        for container in pod["containers"]:
            sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            needed = sleep + GRACE_SECONDS + STOP_SECONDS + MARGIN_SECONDS
            if not sleep or pod.get("terminationGracePeriodSeconds", 30) < needed:
                yield f"{title(document)} is killed after less than {needed} s, or stops before its endpoints are gone"


def budgeted(documents: list[Document]) -> Iterator[str]:
    """A drained node takes one replica at a time, and a broken one never blocks it."""
    budgets = [document["spec"] for document in of_kind(documents, "PodDisruptionBudget")]
    for document in of_kind(documents, "Deployment"):
        own = [budget for budget in budgets if budget["selector"] == document["spec"]["selector"]]
        if [(b.get("maxUnavailable"), b.get("unhealthyPodEvictionPolicy")) for b in own] != [(1, "AlwaysAllow")]:
            yield f"{title(document)} has no disruption budget of one"


def connected(documents: list[Document]) -> Iterator[str]:
    """PostgreSQL has a connection for everybody, in the middle of a rollout too."""
    settings = next(of_kind(documents, "ConfigMap"))["data"]
    wanted = sum(
        (document["spec"]["replicas"] + document["spec"]["strategy"]["rollingUpdate"]["maxSurge"])
        * (int(settings["DATABASE_POOL_SIZE"]) + OWN_CONNECTIONS.get(document["metadata"]["name"], 1))
        for document in of_kind(documents, "Deployment")
        if document["metadata"]["name"] in APPS
    )
    if wanted > CONNECTIONS:
        yield f"{wanted} connections are wanted, PostgreSQL has {CONNECTIONS}"


def selected(documents: list[Document]) -> Iterator[str]:
    """A Service and a Deployment select the pods that are there."""
    labels = {
        document["metadata"]["name"]: document["spec"]["template"]["metadata"]["labels"]
        for document in of_kind(documents, "Deployment")
    }
    for document in of_kind(documents, "Service", "Deployment"):
        selector = document["spec"]["selector"]
        wanted = selector.get("matchLabels", selector)
        if not wanted.items() <= labels.get(document["metadata"]["name"], {}).items():
            yield f"{title(document)} selects no pod of its own"
    if missing := {*DEPLOYABLES} - set(labels):
        yield f"no Deployment for {', '.join(sorted(missing))}"


def no_secrets(documents: list[Document]) -> Iterator[str]:
    """Secrets are named, never written: not as a Secret, not as a plain value."""
    for document in of_kind(documents, "Secret"):
        yield f"{title(document)} is in the manifests"
    for name, _, container in containers(documents):
        for variable in container.get("env", []):
            if "value" in variable and variable["name"] not in PLAIN:
                yield f"{name} has {variable['name']} in plain sight"


def migrated_once(documents: list[Document]) -> Iterator[str]:
    """One job migrates, gives up in the end, and only it knows more than one role."""
    jobs = list(of_kind(documents, "Job"))
    if [job["metadata"]["name"] for job in jobs] != ["migrate"]:
        yield "there is not exactly one Job, migrate"
    for job in jobs:
        if job["spec"].get("backoffLimit", 6) > 3 or not job["spec"].get("activeDeadlineSeconds"):  # noqa: PLR2004
            yield f"{title(job)} tries for too long"
    for name, _, container in containers(documents):
        sources = {
            item["valueFrom"]["secretKeyRef"]["name"] for item in container.get("env", []) if "valueFrom" in item
        }
        if sources != {f"paddock-{container['name']}"}:
            yield f"{name} reads the secrets of {', '.join(sorted(sources)) or 'nobody'}"


def closed(documents: list[Document]) -> Iterator[str]:
    """Nothing is reachable that no policy names, and the namespace admits restricted pods only."""
    policies = [document["spec"] for document in of_kind(documents, "NetworkPolicy")]
    if {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} not in policies:
        yield "nothing denies by default"
    for space in of_kind(documents, "Namespace"):
        if space["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
            yield f"{title(space)} admits any pod"
    for document in of_kind(documents, "Service"):
        if document["spec"].get("type", "ClusterIP") != "ClusterIP":
            yield f"{title(document)} is open to the outside"


def flows(documents: list[Document]) -> Iterator[str]:
    """Who may connect to whom is what the table says."""
    found = reachable(documents)
    for source in sorted(FLOWS.keys() | found.keys()):
        for target in sorted(FLOWS.get(source, set()) ^ found.get(source, set())):
            yield f"{source} to {target} is {'missing' if target in FLOWS.get(source, set()) else 'open'}"


def reachable(documents: list[Document]) -> dict[str, set[str]]:
    """Compute the connections that the policies allow, from both ends where both ends are ours."""
    out: dict[str, set[str]] = {}
    into: dict[str, set[str]] = {}
    for policy in of_kind(documents, "NetworkPolicy"):
        name = policy["spec"]["podSelector"].get("matchLabels", {}).get(NAME)
        if name is None:
            continue
        for rule in policy["spec"].get("egress", []):
            ends = {f"{_end(peer)}:{port['port']}" for peer in rule.get("to", [{}]) for port in _ports(rule)}
            out.setdefault(name, set()).update(ends)
        for rule in policy["spec"].get("ingress", []):
            for peer in rule.get("from", [{}]):
                into.setdefault(_end(peer), set()).update(f"{name}:{port['port']}" for port in _ports(rule))
    ours = {title(document).partition("/")[2] for document in of_kind(documents, "Deployment", "Job")}
    found = {source: ends for source, ends in into.items() if source not in ours}
    for source, ends in out.items():
        found[source] = {end for end in ends if end.partition(":")[0] not in ours or end in into.get(source, set())}
    return found


def _ports(rule: Document) -> list[Document]:
    ports: list[Document] = rule.get("ports", [{"port": "any"}])
    return ports


def _end(peer: Document) -> str:
    """Name one end of a flow."""
    if "ipBlock" in peer:
        return "internet"
    labels = {**peer.get("podSelector", {}).get("matchLabels", {})}
    space = peer.get("namespaceSelector", {}).get("matchLabels", {})
    names = [key.removeprefix("paddock-") for key, value in space.items() if value == "allowed"]
    return labels.get(NAME) or labels.get(COMPONENT) or (names[0] if names else "anybody")


RULES: tuple[Rule, ...] = (
    by_number,
    confined,
    read_only,
    known_to_nats,
    apart_from_the_node,
    no_cluster_identity,
    bounded,
    probed,
    pinned,
    available,
    graceful,
    budgeted,
    connected,
    selected,
    no_secrets,
    migrated_once,
    closed,
    flows,
)
