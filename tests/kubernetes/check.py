#!/usr/bin/env python3
"""Checks a manifest against the schemas of the Kubernetes API, that its times add up, and that its pod has few rights.

`check.py MANIFEST`; needs kubernetes-validate from PyPI. The Dockerfile is the one beside the manifest. Each setting of
RIGHTS, RESOURCES and IMAGE is also taken out of a copy, to show that the check misses it.
"""

import copy
import json
import re
import sys
from pathlib import Path

import kubernetes_validate
import yaml

VERSION = kubernetes_validate.latest_version()
EXPECTED = ["Deployment", "PodDisruptionBudget", "Service"]

# What the restricted profile of Kubernetes' pod security standards asks for, and a root file system that can't be
# written. Paths in the pod; 0 is its only container.
RIGHTS = {
    "automountServiceAccountToken": False,
    "securityContext.runAsNonRoot": True,
    "securityContext.seccompProfile.type": "RuntimeDefault",
    "containers.0.securityContext.allowPrivilegeEscalation": False,
    "containers.0.securityContext.readOnlyRootFilesystem": True,
    "containers.0.securityContext.capabilities.drop": ["ALL"],
}
# Set to anything.
RESOURCES = [
    "containers.0.resources.requests.cpu",
    "containers.0.resources.requests.memory",
    "containers.0.resources.limits.memory",
]
# Seconds: how long a server that is late has to say so, as in examples/common/mod.rs, and what `docker stop` waits.
MARGIN = 1
DOCKER = 10
# Lines of the Dockerfile's last stage.
IMAGE = {
    "a numeric user that is not root": r"USER [1-9]\d*(:[1-9]\d*)?",
    "no shell between the signal and the server": r'ENTRYPOINT \["/.*"\]',
}


def seconds(text):
    return int(re.fullmatch(r"(\d+)s", text)[1])


def at(path, value, *, remove=False):
    """Returns what stands at a path, or None. With `remove` takes it out."""
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in parents:
        value = value[key] if isinstance(key, int) else value.get(key, {})
    return value.pop(last, None) if remove else value.get(last)


def lacking_rights(pod):
    """Yields each setting that the pod lacks."""
    for path, expected in RIGHTS.items():
        if at(path, pod) != expected:
            yield path
    yield from (path for path in RESOURCES if at(path, pod) is None)


def lacking_image(dockerfile):
    """Yields each property that the image lacks."""
    last_stage = re.split(r"^FROM .*$", dockerfile, flags=re.MULTILINE)[-1]
    for what, line in IMAGE.items():
        if not re.search(rf"^{line}$", last_stage, re.MULTILINE):
            yield what


def check_rights(pod, dockerfile):
    lacking = [*lacking_rights(pod), *lacking_image(dockerfile)]
    assert not lacking, f"not as expected: {', '.join(lacking)}"
    for path in [*RIGHTS, *RESOURCES]:
        without = copy.deepcopy(pod)
        at(path, without, remove=True)
        assert list(lacking_rights(without)) == [path], f"{path} is not missed"
    for what, line in IMAGE.items():
        without = re.sub(rf"^{line}$", "", dockerfile, flags=re.MULTILINE)
        assert list(lacking_image(without)) == [what], f"{what} is not missed"
    root = re.sub(r"^USER .*$", "USER 0", dockerfile, flags=re.MULTILINE)
    assert list(lacking_image(root)), "an image that runs as root passes"
    print(f"the pod has the {len(RIGHTS)} restrictions and {len(RESOURCES)} resources, and each is missed if taken out")


def check_times(arguments, given, killer):
    """Checks that the server with these arguments ends before it is killed."""
    _, deadline, lame_duck = arguments
    needed = seconds(lame_duck) + seconds(deadline) + MARGIN
    sum_ = f"lame duck {lame_duck} + deadline {deadline} + margin {MARGIN}s = {needed}s"
    assert given > needed, f"{sum_}, but {killer} kills after {given}s"
    print(f"{sum_}, and {killer} kills after {given}s")


def main():
    manifest = Path(sys.argv[1])
    objects = {each["kind"]: each for each in yaml.safe_load_all(manifest.read_text("utf-8"))}
    assert sorted(objects) == EXPECTED, f"{sorted(objects)} in place of {EXPECTED}"

    for kind, each in objects.items():
        kubernetes_validate.validate(each, VERSION, strict=True)
        # A schema that takes everything would prove nothing.
        broken = copy.deepcopy(each)
        broken["spec"]["nonsense"] = True
        try:
            kubernetes_validate.validate(broken, VERSION, strict=True)
        except kubernetes_validate.ValidationError:
            print(f"{kind}: conforms to Kubernetes {VERSION}")
        else:
            raise AssertionError(f"{kind}: nonsense conforms too")

    template = objects["Deployment"]["spec"]["template"]
    labels = template["metadata"]["labels"].items()
    budget = objects["PodDisruptionBudget"]["spec"]
    for selector in [
        objects["Deployment"]["spec"]["selector"]["matchLabels"],
        budget["selector"]["matchLabels"],
        objects["Service"]["spec"]["selector"],
    ]:
        assert selector.items() <= labels, f"{selector} selects no pod"
    replicas = objects["Deployment"]["spec"]["replicas"]
    assert 0 < budget["maxUnavailable"] < replicas, "the budget stops every pod at once, or lets no node drain"

    pod = template["spec"]
    [container] = pod["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    dockerfile = (manifest.parent / "Dockerfile").read_text("utf-8")
    check_rights(pod, dockerfile)
    check_times(container["args"], pod["terminationGracePeriodSeconds"], "Kubernetes")
    command = re.search(r"^CMD (.*)$", dockerfile, flags=re.MULTILINE)[1]
    check_times(json.loads(command), DOCKER, "docker stop")


if __name__ == "__main__":
    main()
