"""On-demand jobs of the Unstructured Platform, as `schemas/openapi/unstructured.json` describes them.

How a job goes is said in the settings of its nodes: SANDBOX_QUEUED, SANDBOX_SECONDS and SANDBOX_EXIT as everywhere, and
SANDBOX_FAILED_FILES with the names of files that fail, separated by commas. A template's job goes as usual.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO

from jobform.model.values import Json, digest
from jobform.sandbox.openapi import Contract, Matched
from jobform.sandbox.wire import Call, Refused, Reply
from jobform.sandbox.world import Course, Job, State, World

KEY = "unstructured-sandbox"

SECOND_KEY = f"{KEY}-second"
STRANGERS_KEY = f"{KEY}-of-a-stranger"

ACCOUNTS: Mapping[str, str] = {KEY: "sandbox", SECOND_KEY: "sandbox", STRANGERS_KEY: "stranger"}
"""Each key's account: nothing that is served tells it."""

MOST_FILES = 10
MOST_BYTES = 50_000_000

_STATES: Mapping[State, str] = {
    State.QUEUED: "SCHEDULED", State.RUNNING: "IN_PROGRESS", State.CANCELLING: "IN_PROGRESS", State.SUCCEEDED: "COMPLETED",
    State.FAILED: "FAILED", State.CANCELLED: "STOPPED",
}

_PARTITION: dict[str, Json] = {"name": "Partitioner", "type": "partition", "subtype": "unstructured_api", "settings": None}
_ENRICH: dict[str, Json] = {"name": "Summarizer", "type": "prompter", "subtype": "openai_image_description", "settings": None}
_TEMPLATES: Mapping[str, list[Json]] = {"hi_res_partition": [_PARTITION], "hi_res_and_enrichment": [_PARTITION, _ENRICH]}


@dataclass(frozen=True, slots=True)
class _Upload:
    """What a multipart body holds. files: name and bytes of each."""

    request_data: str
    files: list[tuple[str, bytes]] = field(repr=False)


class Unstructured:
    """The service `unstructured`. interval: seconds between two creates below which the second is refused; 0.0 takes them all."""

    name = "unstructured"

    def __init__(self) -> None:
        self._contract = Contract.of("unstructured")
        self._last = float("-inf")
        self.interval = 0.0

    def variables(self, url: str) -> Mapping[str, str]:
        return {"UNSTRUCTURED_API_URL": url, "UNSTRUCTURED_API_KEY": KEY}

    def open(self, world: World, services: Mapping[str, str]) -> None:
        del services
        self._world = world

    def answer(self, call: Call) -> Reply:
        if _account(call) is None:
            raise Refused(401, "API key is missing or invalid")
        matched = self._contract.match(call, invalid=422)
        reply = self._operation(matched, call)
        self._contract.check_reply(matched, reply)
        return reply

    def refusal(self, error: Refused) -> Reply:
        if error.status != 422:
            return Reply(error.status, {"detail": error.message})
        loc: list[Json] = list((error.code or "query").split("."))
        return Reply(422, {"detail": [{"loc": loc, "msg": error.message, "type": "value_error"}]})

    def _operation(self, matched: Matched, call: Call) -> Reply:
        match matched.id:
            case "create_job":
                return Reply(200, _shown(self._create(call)))
            case "list_jobs":
                return Reply(200, self._list(call))
            case "list_templates":
                return Reply(200, [_template(name) for name in _TEMPLATES])
            case "get_template":
                name = matched.path["template_id"]
                if name not in _TEMPLATES:
                    raise Refused(404, "Template not found")
                return Reply(200, {**_template(name), "nodes": _TEMPLATES[name]})
        job = self._world.jobs.get(matched.path["job_id"])
        if job is None or job.extra["account"] != _account(call):
            raise Refused(404, "Job not found")
        match matched.id:
            case "cancel_job":
                self._world.cancel(job)
                return Reply(200, {"id": job.id, "status": "cancelled", "message": "Job successfully cancelled."})
            case "get_job_details":
                return Reply(200, _details(job))
            case "get_job_failed_files":
                return Reply(200, {"failed_files": [{"document": name, "error": "as asked"} for name in _failed(job)]})
            case "download_job_output":
                return Reply(200, _output(job, call.first("file_id"), call.first("node_id")))
        return Reply(200, _shown(job))

    def _list(self, call: Call) -> Json:
        wanted, workflow = call.first("status"), call.first("workflow_id")
        jobs: list[Json] = [
            _shown(job) for job in self._world.newest_first()
            if job.extra["account"] == _account(call) and wanted in ("", _STATES[job.state])
            and workflow in ("", job.body["workflow_id"])
        ]
        return jobs

    def _create(self, call: Call) -> Job:
        now = self._world.now()
        if now - self._last < self.interval:
            raise Refused(429, "Rate limit exceeded")
        upload = _upload(call)
        wanted = self._request(upload.request_data)
        self._last = now
        template, given = wanted.get("template_id"), wanted.get("job_nodes")
        nodes = _TEMPLATES[str(template)] if template is not None else given
        assert isinstance(nodes, list)
        hints: dict[str, Json] = {}
        for node in nodes:
            assert isinstance(node, dict)
            settings = node.get("settings")
            hints |= settings if isinstance(settings, dict) else {}
        names = [name for name, _ in upload.files]
        run = str(uuid.uuid4())
        body: dict[str, Json] = {
            "id": run, "workflow_id": str(uuid.uuid4()), "workflow_name": f"job-{run[:8]}", "input_file_ids": list(names),
            "job_type": "template" if template is not None else "ephemeral",
        }
        job = self._world.add(run, digest([dict(wanted), names])[:16], body, Course.of(hints))
        job.extra = {
            "account": _account(call),
            "nodes": [{**node, "id": node.get("id") or str(uuid.uuid4())} for node in nodes if isinstance(node, dict)],
            "failing": [name for name in str(hints.get("SANDBOX_FAILED_FILES", "")).split(",") if name in names],
            "texts": {name: data.decode("utf-8", "replace") for name, data in upload.files},
        }
        return job

    def _request(self, text: str) -> dict[str, Json]:
        try:
            wanted = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Refused(422, f"request_data is not valid JSON: {error}", "body.request_data") from error
        try:
            self._contract.check_schema(wanted, "RequestData", "request_data", 422)
        except Refused as refused:
            raise Refused(422, refused.message, "body.request_data") from refused
        assert isinstance(wanted, dict)
        if "template_id" in wanted and wanted["template_id"] not in _TEMPLATES:
            raise Refused(404, "Template not found")
        return wanted


def _account(call: Call) -> str | None:
    return ACCOUNTS.get(call.headers.get("unstructured-api-key", ""))


def _upload(call: Call) -> _Upload:
    """The parts of a create. Raises Refused."""
    from werkzeug.formparser import FormDataParser
    from werkzeug.http import parse_options_header

    kind, options = parse_options_header(call.headers.get("content-type", ""))
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise Refused(422, "Field required", "body.request_data")
    try:
        parser = FormDataParser(stream_factory=lambda *_sizes, **_kinds: BytesIO(), silent=False)
        _, form, files = parser.parse(BytesIO(call.body), kind, len(call.body), options)
    except ValueError as error:
        raise Refused(422, f"the body cannot be read: {error}", "body") from error
    given = form.getlist("request_data")
    if len(given) != 1:
        raise Refused(422, "Field required" if not given else "it is given twice", "body.request_data")
    if odd := {*form.keys()} - {"request_data"} | {*files.keys()} - {"input_files", "input_files[]"}:
        raise Refused(422, f"unknown part {min(odd)!r}", "body")
    parts = [*files.getlist("input_files"), *files.getlist("input_files[]")]
    found = [(part.filename or "", part.read()) for part in parts]
    if len(found) > MOST_FILES:
        raise Refused(422, f"at most {MOST_FILES} files are allowed", "body.input_files")
    if any(not name or "/" in name for name, _ in found):
        raise Refused(422, "a file has no name", "body.input_files")
    if any(len(data) > MOST_BYTES for _, data in found):
        raise Refused(422, f"a file is larger than {MOST_BYTES} bytes", "body.input_files")
    return _Upload(given[0], found)


def _shown(job: Job) -> dict[str, Json]:
    ran = job.ended - job.started if job.ended is not None and job.started is not None else None
    return {
        **job.body, "status": _STATES[job.state], "created_at": datetime.fromtimestamp(job.created, UTC).isoformat(),
        "runtime": f"PT{round(ran)}S" if ran is not None else None,
        "output_node_files": _node_files(job) if job.state is State.SUCCEEDED else None,
    }


def _node_files(job: Job) -> list[Json]:
    failed = _failed(job)
    return [
        {"node_id": node["id"], "file_id": name, "node_type": node["type"], "node_subtype": node["subtype"]}
        for node in _nodes(job) for name in _names(job) if name not in failed
    ]


def _details(job: Job) -> dict[str, Json]:
    """The first node has the files that wait or fail; what has not failed is everywhere once the job has succeeded."""
    failed, files = len(_failed(job)), len(_names(job))
    status = {State.SUCCEEDED: "COMPLETED_WITH_ERRORS" if failed else "SUCCESS"}.get(job.state, _STATES[job.state])
    stats: list[Json] = []
    for number, node in enumerate(_nodes(job)):
        first, done = number == 0, job.state is State.SUCCEEDED
        broken = (files if job.state is State.FAILED else failed if done else 0) if first else 0
        stats.append({
            "node_name": node["name"], "node_type": node["type"], "node_subtype": node["subtype"],
            "ready": files if first and job.state is State.QUEUED else 0,
            "in_progress": files if first and job.state in (State.RUNNING, State.CANCELLING) else 0,
            "success": files - failed if done else 0, "failure": broken,
        })
    message = f"the sandbox ended it with {job.exit}" if job.state is State.FAILED else None
    return {"id": job.id, "processing_status": status, "node_stats": stats, "message": job.reason or message}


def _failed(job: Job) -> list[str]:
    if job.state is State.FAILED:
        return _names(job)
    failing = job.extra["failing"]
    assert isinstance(failing, list)
    return [str(name) for name in failing] if job.state is State.SUCCEEDED else []


def _output(job: Job, file: str, node: str) -> list[Json]:
    """An element for each line of a file; of the last node, or of the one that is named."""
    texts = job.extra["texts"]
    assert isinstance(texts, dict)
    known = [each["id"] for each in _nodes(job)]
    if job.state is not State.SUCCEEDED or file not in texts or file in _failed(job) or (node and node not in known):
        raise Refused(404, "Output file not found")
    return [
        {
            "type": "NarrativeText", "element_id": digest([file, number])[:32], "text": line,
            "metadata": {"filename": file, "languages": ["eng"]},
        }
        for number, line in enumerate(str(texts[file]).splitlines())
    ]


def _nodes(job: Job) -> list[dict[str, Json]]:
    nodes = job.extra["nodes"]
    assert isinstance(nodes, list)
    return [node for node in nodes if isinstance(node, dict)]


def _names(job: Job) -> list[str]:
    names = job.body["input_file_ids"]
    assert isinstance(names, list)
    return [str(name) for name in names]


def _template(name: str) -> dict[str, Json]:
    return {
        "id": name, "name": name.replace("_", " ").title(), "description": "A template of the sandbox.", "version": "1.0.0",
        "last_updated": "2026-01-01T00:00:00Z",
    }
