# SPDX-License-Identifier: Apache-2.0
"""The manifests of deploy/kubernetes: the schemas of Kubernetes accept them, the daemon accepts its
arguments, and references between objects are correct."""
import copy
import os
import re
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("RANKD_BUILD", ROOT / "build")).resolve()
FOLDER = ROOT / "deploy/kubernetes"
VERSIONS = ("1.29", "1.33")
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
OBJECTS = [(name, one) for name in KUSTOMIZATION["resources"] for one in yaml.safe_load_all((FOLDER / name).read_text())]
WORKLOADS = [one for _, one in OBJECTS if one["kind"] in ("Deployment", "DaemonSet", "StatefulSet")]
PATHS = re.findall(r"^  (/\S*):", (ROOT / "proto/openapi.yaml").read_text(), re.M)


def name_of(one):
    return f"{one['kind']}-{one['metadata']['name']}"


def container(workload):
    (only,) = workload["spec"]["template"]["spec"]["containers"]
    return only


def test_kustomize_takes_every_file_of_the_folder():
    assert {path.name for path in FOLDER.iterdir()} == {"kustomization.yaml", *KUSTOMIZATION["resources"]}
    assert [one["kind"] for _, one in OBJECTS].count("Namespace") == 1 and KUSTOMIZATION["namespace"] == "rankd"
    assert {one["kind"] for one in WORKLOADS} == {"Deployment", "DaemonSet", "StatefulSet"}
    assert {image["name"] for image in KUSTOMIZATION["images"]} == {container(w)["image"] for w in WORKLOADS}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("one", [one for _, one in OBJECTS], ids=name_of)
def test_the_schema_of_kubernetes_accepts_it_and_no_unknown_member(one, version):
    kubernetes_validate.validate(one, version, strict=True)
    spoiled = copy.deepcopy(one)
    spoiled["metadata"]["nmae"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(spoiled, version, strict=True)


def milliseconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|min|)", text).groups()
    return int(number) * {"": 1, "ms": 1, "s": 1000, "min": 60_000}[unit]


@pytest.mark.parametrize("workload", WORKLOADS, ids=name_of)
def test_the_daemon_accepts_its_arguments_and_has_time_to_stop(workload, tmp_path):
    arguments = [a.replace("/run/rankd", str(tmp_path)).replace("/var/lib/rankd", str(tmp_path))
                 for a in container(workload)["args"]]
    # As the image sets it.
    environment = {**os.environ, "RANKD_DATA": "/var/lib/rankd", "RANKD_SOCKET": "/run/rankd/rankd.sock"}
    done = subprocess.run([BUILD / "rankd", *arguments, "--check-config"], env=environment, capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done.stderr
    settings = dict(re.findall(r"^([a-z-]+) *= *(.*)$", done.stdout, re.M))
    limit = workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert 1000 * limit >= milliseconds(settings["shutdown-delay"]) + milliseconds(settings["drain-timeout"]) + 5000
    keeps = settings["data"].strip('"') != ""
    assert keeps == (workload["kind"] == "StatefulSet"), settings["data"]


@pytest.mark.parametrize("workload", WORKLOADS, ids=name_of)
def test_ports_probes_and_volumes_are_there(workload):
    pod, daemon = workload["spec"]["template"]["spec"], container(workload)
    listening = {port["name"]: port["containerPort"] for port in daemon.get("ports", [])}
    for probe in (daemon[name] for name in ("readinessProbe", "livenessProbe", "startupProbe") if name in daemon):
        if "httpGet" in probe:
            assert probe["httpGet"]["port"] in listening and probe["httpGet"]["path"] in PATHS
            assert f"--http=0.0.0.0:{listening['http']}" in daemon["args"]
        else:
            assert set(probe["exec"]["command"][1:-1]) <= set(daemon["args"]) and probe["exec"]["command"][-1] == "--health"
    volumes = {v["name"] for v in pod.get("volumes", [])} | {c["metadata"]["name"]
                                                             for c in workload["spec"].get("volumeClaimTemplates", [])}
    assert {mount["name"] for mount in daemon.get("volumeMounts", [])} == volumes
    assert daemon["securityContext"]["capabilities"] == {"drop": ["ALL"]} and daemon["securityContext"]["readOnlyRootFilesystem"]


@pytest.mark.parametrize("one", [one for _, one in OBJECTS if one["kind"] in ("Service", "PodDisruptionBudget", "NetworkPolicy")],
                         ids=name_of)
def test_what_selects_pods_selects_those_of_one_workload(one):
    spec = one["spec"]
    wanted = spec["selector"] if one["kind"] == "Service" else spec.get("selector", spec.get("podSelector"))["matchLabels"]
    (found,) = [w for w in WORKLOADS if wanted.items() <= w["spec"]["template"]["metadata"]["labels"].items()]
    assert wanted.items() <= found["spec"]["selector"]["matchLabels"].items()
    ports = {port["name"] for port in container(found)["ports"]}
    if one["kind"] == "Service":
        assert {port["targetPort"] for port in spec["ports"]} <= ports
    if found["kind"] == "StatefulSet" and one["kind"] == "Service":
        assert found["spec"]["serviceName"] == one["metadata"]["name"]
