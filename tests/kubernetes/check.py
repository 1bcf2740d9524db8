#!/usr/bin/env python3
"""Checks a manifest against the schemas of the Kubernetes API, and that its times add up.

`check.py MANIFEST`; needs kubernetes-validate from PyPI.
"""

import copy
import re
import sys

import kubernetes_validate
import yaml

VERSION = kubernetes_validate.latest_version()
EXPECTED = ["Deployment", "PodDisruptionBudget", "Service"]


def seconds(text):
    return int(re.fullmatch(r"(\d+)s", text)[1])


def main():
    with open(sys.argv[1], encoding="utf-8") as manifest:
        objects = {each["kind"]: each for each in yaml.safe_load_all(manifest)}
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
    for selector in [
        objects["Deployment"]["spec"]["selector"]["matchLabels"],
        objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        objects["Service"]["spec"]["selector"],
    ]:
        assert selector.items() <= labels, f"{selector} selects no pod"

    pod = template["spec"]
    [container] = pod["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"

    _, deadline, lame_duck = container["args"]
    needed, given = seconds(lame_duck) + seconds(deadline), pod["terminationGracePeriodSeconds"]
    sum_ = f"lame duck {lame_duck} + deadline {deadline} = {needed}s"
    assert given > needed, f"{sum_}, but Kubernetes kills after {given}s"
    print(f"{sum_}, and Kubernetes kills after {given}s")


if __name__ == "__main__":
    main()
