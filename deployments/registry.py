"""Work pool, deployments and automations on the server.

What exists already keeps everything that a person can set in the UI. Only what follows from the code is
refreshed.
"""

import sys
import time
from collections.abc import Mapping
from typing import Any, Final, cast
from uuid import UUID

import yaml
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import (
    DeploymentScheduleCreate,
    DeploymentUpdate,
    WorkPoolCreate,
    WorkPoolUpdate,
)
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from deployments.settings import POOL, ROOT, project_file

BLOCK: Final = "nightly-alarm"
"""Name of the webhook block that the automations for nightly runs use."""
_START_SECONDS: Final = 300.0
_TOLD_SECONDS: Final = 5.0
_PLACEHOLDER: Final = "https://example.invalid/put-the-address-of-your-webhook-here"
# Without command, env and working_dir, who can start a run still cannot choose what it executes.
_JOB_TEMPLATE: Final[dict[str, Any]] = {
    "job_configuration": {"stream_output": "{{ stream_output }}"},
    "variables": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "stream_output": {
                "type": "boolean",
                "default": True,
                "title": "Stream output",
                "description": "Write the run's output to the worker's, too.",
            }
        },
    },
}


def deploy(*, reset: bool = False) -> None:
    """Create what is missing on the server, and refresh what exists.

    Args:
        reset: set what exists to what the files say, and lose what a person set.
    """
    with get_client(sync_client=True) as client:
        _wait_for_server(client)
        _ensure_pool(client)
        for entry in yaml.safe_load(project_file("prefect.yaml").read_text())["deployments"]:
            _ensure_deployment(client, entry, reset=reset)
        _ensure_automations(client, reset=reset)


def _wait_for_server(client: SyncPrefectClient) -> None:
    began = told = time.monotonic()
    while error := client.api_healthcheck():
        now = time.monotonic()
        if now - began > _START_SECONDS:
            sys.exit(f"The server at {client.api_url} does not answer: {error}. See its log.")
        if now - told > _TOLD_SECONDS:
            told = now
            _say(f"Waiting for the server, for {now - began:.0f} s until now ...")
        time.sleep(0.2)


def _ensure_pool(client: SyncPrefectClient) -> None:
    try:
        client.read_work_pool(POOL)
        client.update_work_pool(POOL, WorkPoolUpdate(base_job_template=_JOB_TEMPLATE))
    except ObjectNotFound:
        description = "Runs on this host, one at a time."
        client.create_work_pool(
            WorkPoolCreate(
                name=POOL, type="process", description=description, base_job_template=_JOB_TEMPLATE
            )
        )


def _ensure_deployment(client: SyncPrefectClient, entry: Mapping[str, Any], *, reset: bool) -> None:
    flow: Flow[..., Any] = load_flow_from_entrypoint(entry["entrypoint"])
    name = f"{flow.name}/{entry['name']}"
    code = {
        "entrypoint": entry["entrypoint"],
        "version": flow.version,
        "parameter_openapi_schema": parameter_schema(flow).model_dump_for_openapi(),
        "pull_steps": [{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}],
    }
    try:
        found = None if reset else client.read_deployment_by_name(name)
    except ObjectNotFound:
        found = None
    if found:
        client.update_deployment(found.id, DeploymentUpdate.model_validate(code))
    else:
        client.create_deployment(
            flow_id=client.create_flow(flow),
            name=entry["name"],
            description=entry["description"],
            parameters=entry.get("parameters"),
            tags=entry["tags"],
            schedules=[_schedule(one) for one in entry.get("schedules", [])],
            work_pool_name=entry["work_pool"]["name"],
            enforce_parameter_schema=True,
            **code,
        )
    _say(f"{name}: {'refreshed' if found else 'deployed as in prefect.yaml'}")


def _schedule(entry: Mapping[str, Any]) -> DeploymentScheduleCreate:
    timing = {key: entry[key] for key in ("cron", "timezone")}
    return DeploymentScheduleCreate.model_validate({"schedule": timing, "slug": entry["slug"]})


def _ensure_automations(client: SyncPrefectClient, *, reset: bool) -> None:
    text = (ROOT / "deployments" / "automations.yaml").read_text()
    for entry in yaml.safe_load(text.replace("<block>", str(_ensure_block(client)))):
        wanted = AutomationCore.model_validate(entry)
        found = client.read_automations_by_name(wanted.name)
        if not found:
            client.create_automation(wanted)
        elif reset:
            client.update_automation(found[0].id, wanted)


def _ensure_block(client: SyncPrefectClient) -> UUID:
    kind = CustomWebhookNotificationBlock.get_block_type_slug()
    try:
        return client.read_block_document_by_name(BLOCK, kind).id
    except ObjectNotFound:
        block = CustomWebhookNotificationBlock.model_validate(
            {"name": BLOCK, "url": _PLACEHOLDER, "json_data": {"text": "{{subject}}\n{{body}}"}}
        )
        return cast(UUID, block.save(BLOCK))  # a coroutine only where there is an event loop


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
