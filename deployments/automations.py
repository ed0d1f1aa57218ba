"""Automations of the server: runs that fell silent are Crashed, and a nightly run that fails is told of."""

from datetime import timedelta
from typing import Final, cast
from uuid import UUID

from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from deployments.settings import HEARTBEAT_SECONDS, TAG

SILENT: Final = "Runs without heartbeat are Crashed"
FAILED: Final = "Tell of a nightly run that failed"
MISSED: Final = "Tell of a nightly run that did not begin"
Labels = dict[str, str | list[str]]

BLOCK: Final = "nightly-alarm"
"""Name of the notification block that a person fills in."""
NIGHTLY: Final = "nightly"
"""Name of the deployment in prefect.yaml."""
_MISSED_BEATS: Final = 3
_PATIENCE: Final = timedelta(hours=1)
_PLACEHOLDER: Final = "https://example.invalid/put-the-address-of-your-webhook-here"
_EACH_RUN: Final = {"prefect.resource.id"}
_ANY_RUN: Final[Labels] = {"prefect.resource.id": "prefect.flow-run.*"}
_ENDED: Final = frozenset(
    f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Crashed", "Cancelled", "TimedOut")
)


def ensure(client: SyncPrefectClient) -> None:
    """Have the automations on the server.

    What a person may change stays as it is: whether an automation is on, the block, and all of the two that
    tell of nightly runs, which begin switched off.
    """
    _ensure_silent(client)
    block = _ensure_block(client)
    for automation in (failed(block), missed(block)):
        if not client.read_automations_by_name(automation.name):
            client.create_automation(automation)


def silent(window: timedelta = timedelta(seconds=_MISSED_BEATS * HEARTBEAT_SECONDS)) -> AutomationCore:
    """Runs of our deployments become Crashed when nothing was heard of them for so long.

    Heartbeats end with the process, whatever it died of. A run that waits to start has none yet, and is
    not watched before it is Running.
    """
    beat = "prefect.flow-run.heartbeat"
    return AutomationCore(
        name=SILENT,
        description="A run whose process, worker or host is gone would say Running for ever.",
        trigger=EventTrigger(
            posture=Posture.Proactive,
            match=_ANY_RUN,
            match_related={"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"},
            for_each=_EACH_RUN,
            after={beat, "prefect.flow-run.Running"},
            expect={beat, *_ENDED},
            threshold=1,
            within=window,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                name="Crashed",
                message=f"expected a heartbeat within {window.total_seconds():.0f} s, found none: its "
                "process, worker or host is gone; run it again, what is done already is kept",
                force=False,
            )
        ],
    )


def failed(block: UUID) -> AutomationCore:
    """Tell of a nightly run that ended badly."""
    return AutomationCore(
        name=FAILED,
        description=f"Fill in the block {BLOCK}, then switch this on.",
        enabled=False,
        trigger=EventTrigger(
            posture=Posture.Reactive,
            match=_ANY_RUN,
            match_related=_of_nightly(),
            for_each=_EACH_RUN,
            expect={f"prefect.flow-run.{state}" for state in ("Failed", "Crashed", "TimedOut")},
            threshold=1,
        ),
        actions=[_notification(block, "{{ flow_run.name }} is {{ flow_run.state.name }}")],
    )


def missed(block: UUID) -> AutomationCore:
    """Tell of a nightly run that is late by an hour, and neither begun nor waiting for another one."""
    went_on = {f"prefect.flow-run.{state}" for state in ("Pending", "Running", "Waiting")}
    return AutomationCore(
        name=MISSED,
        description=f"Fill in the block {BLOCK}, then switch this on. It needs a server that runs at night.",
        enabled=False,
        trigger=EventTrigger(
            posture=Posture.Proactive,
            match=_ANY_RUN,
            match_related=_of_nightly(),
            for_each=_EACH_RUN,
            after={"prefect.flow-run.Late"},
            expect={*went_on, *_ENDED},
            threshold=1,
            within=_PATIENCE,
        ),
        actions=[_notification(block, "{{ flow_run.name }} did not begin; is there a worker?")],
    )


def _ensure_silent(client: SyncPrefectClient) -> None:
    wanted = silent()
    found = client.read_automations_by_name(wanted.name)
    if not found:
        client.create_automation(wanted)
    elif _essence(found[0]) != _essence(wanted):  # of another edition of this project
        client.update_automation(found[0].id, wanted.model_copy(update={"enabled": found[0].enabled}))


def _essence(automation: AutomationCore) -> str:
    core = AutomationCore.model_validate(automation.model_dump(mode="json"))
    return core.model_dump_json(exclude={"enabled", "tags", "owner_resource"})


def _ensure_block(client: SyncPrefectClient) -> UUID:
    kind = CustomWebhookNotificationBlock.get_block_type_slug()
    try:
        return client.read_block_document_by_name(BLOCK, kind).id
    except ObjectNotFound:
        block = CustomWebhookNotificationBlock.model_validate(
            {"name": BLOCK, "url": _PLACEHOLDER, "json_data": {"text": "{{subject}}\n{{body}}"}}
        )
        return cast(UUID, block.save(BLOCK))  # a coroutine only where there is an event loop


def _of_nightly() -> Labels:
    return {"prefect.resource.role": "deployment", "prefect.resource.name": NIGHTLY}


def _notification(block: UUID, subject: str) -> SendNotification:
    return SendNotification(
        block_document_id=block,
        subject=subject,
        body="{{ flow_run.state.message }}\n{{ flow_run|ui_url }}",
    )
