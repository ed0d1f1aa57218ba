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
from prefect.client.schemas import actions
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


def deploy(*, reset: bool = False) -> None:
    """Create what is missing on the server, and refresh what exists; `reset`: as the files say."""
    with get_client(sync_client=True) as client:
        _wait_for_server(client)
        _ensure_pool(client)
        for entry in _read("prefect.yaml")["deployments"]:
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
            print(f"Waiting for the server, for {now - began:.0f} s until now ...", flush=True)
        time.sleep(0.2)


def _ensure_pool(client: SyncPrefectClient) -> None:
    wanted = actions.WorkPoolCreate.model_validate(_read("deployments/work_pool.yaml"))
    try:
        client.read_work_pool(POOL)
        client.update_work_pool(POOL, actions.WorkPoolUpdate(base_job_template=wanted.base_job_template))
    except ObjectNotFound:
        client.create_work_pool(wanted)


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
        client.update_deployment(found.id, actions.DeploymentUpdate.model_validate(code))
    else:
        client.create_deployment(
            flow_id=client.create_flow(flow),
            name=entry["name"],
            description=entry["description"],
            parameters=entry.get("parameters"),
            schedules=[
                actions.DeploymentScheduleCreate.model_validate({"slug": one.pop("slug"), "schedule": one})
                for one in entry.get("schedules", [])
            ],
            work_pool_name=entry["work_pool"]["name"],
            enforce_parameter_schema=True,
            **code,
        )
    print(f"{name}: {'refreshed' if found else 'deployed as in prefect.yaml'}", flush=True)


def _ensure_automations(client: SyncPrefectClient, *, reset: bool) -> None:
    for entry in _read("deployments/automations.yaml", str(_ensure_block(client))):
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


def _read(file: str, block: str = "") -> Any:
    return yaml.safe_load(project_file(file).read_text("utf-8").replace("<block>", block))
