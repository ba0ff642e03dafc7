"""The ClaimX REST API of a world (domain page, section 2)."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, ClassVar

import orjson

from claimx.sandbox.entities import MediaFile, Project
from claimx.sandbox.exchange import Answer, Exchange, json_answer
from claimx.sandbox.faults import FaultPlan
from claimx.sandbox.forms import LONE_SURROGATE
from claimx.sandbox.http import Service
from claimx.sandbox.media import MediaHost
from claimx.sandbox.world import World

BASE = "/service/cxedirest"
_PROJECT = re.compile(r"/export/project/(\d+)(?:/(media|contacts|conversations))?$")
_TASK = re.compile(r"/customTasks/assignment/(\d+)$")
_DIGITS = re.compile(r"\d+")
_SURROGATE = orjson.dumps(LONE_SURROGATE)[1:-1]
_NO_VIDEO: dict[str, Any] = {
    "none:{}": {},
    "none:[]": [],
    "none:null": None,
    "none:data": {"data": []},
}


class ClaimXApi(Service):
    """Answers all calls; *token* is what must follow ``Basic``, exactly."""

    name: ClassVar[str] = "api"

    def __init__(
        self,
        world: World,
        media: MediaHost,
        token: str,
        faults: FaultPlan | None = None,
        *,
        latency: tuple[float, float] = (0.0, 0.0),
        media_filter: str = "mediaIds",
    ) -> None:
        super().__init__(faults, latency)
        self.world = world
        self.media = media
        self.token = token
        self.media_filter = media_filter
        self._encoded: dict[int, bytes] = {}
        self._asked: Counter[int] = Counter()
        self._linked: Counter[int] = Counter()

    @property
    def base_url(self) -> str:
        """What ``CLAIMX_API_URL`` must be."""
        return self.url + BASE

    def pattern(self, exchange: Exchange) -> str:
        """Fold the ids of the path."""
        return f"{exchange.method} {_DIGITS.sub('{id}', exchange.path.removeprefix(BASE))}"

    def fault_key(self, exchange: Exchange) -> str:
        """Tell the video reports of different projects apart."""
        if exchange.method == "POST":
            found = _DIGITS.search(exchange.body.decode(errors="replace"))
            return f"{exchange.path}#{found.group() if found else ''}"
        return exchange.path

    async def answer(self, exchange: Exchange) -> Answer | None:  # noqa: PLR0911 - one a route
        """Check the token and route."""
        if exchange.headers.get("Authorization", "") != f"Basic {self.token}":
            return _error(401, "the token is not accepted")
        path = exchange.path.removeprefix(BASE)
        if path == exchange.path:
            return _error(404, "unknown path")
        if exchange.method == "POST" and path == "/data":
            return self._video_report(exchange)
        if exchange.method != "GET":
            return _error(405, "only GET here")
        if path == "/export/project/projectId":
            return self._project_number(exchange.query.get("projectNumber", ""))
        if found := _PROJECT.match(path):
            return self._project(int(found[1]), found[2], exchange)
        if found := _TASK.match(path):
            return self._task(int(found[1]), full=exchange.query.get("full") == "true")
        return _error(404, "unknown path")

    def _project_number(self, number: str) -> Answer:
        project = self.world.by_number.get(number)
        if project is None:
            return _error(404, "no project of that number")
        forms: tuple[Any, ...] = (
            project.project_id,
            {"projectId": project.project_id},
            {"id": project.project_id},
        )
        return json_answer(forms[project.project_id % 3])

    def _project(self, number: int, part: str | None, exchange: Exchange) -> Answer:
        project = self.world.projects.get(number)
        if project is None:
            return _error(404, "no such project")
        if project.status != 200:
            return _error(project.status, "not for you")
        match part:
            case "media":
                return self._media(project, exchange)
            case "contacts":
                people = [
                    {"projectId": number, "emailAddress": email, "type": kind}
                    for email, kind in project.contacts
                ]
                return json_answer({"contacts": people} if project.wrapped else people)
            case "conversations":
                return json_answer({"conversations": []} if project.wrapped else [])
            case _:
                return Answer(body=self._project_body(project))

    def _project_body(self, project: Project) -> bytes:
        body = self._encoded.get(project.project_id)
        if body is None:
            raw = project.raw
            if project.answers_as is not None:
                raw = {**raw, "project": {**raw["project"], "projectId": project.answers_as}}
            body = orjson.dumps({"data": raw} if project.wrapped else raw)
            body = body.replace(_SURROGATE, b"\\ud800")
            self._encoded[project.project_id] = body
        return body

    def _media(self, project: Project, exchange: Exchange) -> Answer:
        wanted: set[str] | None = None
        if self.media_filter in exchange.query and project.honours_filter:
            wanted = {one.strip() for one in exchange.query[self.media_filter].split(",")}
        items = [
            self._item(item)
            for item in project.media
            if (wanted is None or item.key in wanted) and self._there(item)
        ]
        shaped = items if project.media_shape == "list" else {project.media_shape: items}
        return json_answer(shaped)

    def _there(self, item: MediaFile) -> bool:
        """Eventual consistency: the first answers do not know the item yet."""
        if not item.absent:
            return True
        self._asked[item.media_id] += 1
        return self._asked[item.media_id] > item.absent

    def _item(self, item: MediaFile) -> dict[str, Any]:
        raw = dict(item.raw)
        if item.link is None:
            raw["fullDownloadLink"] = None
            return raw
        spoilt = False
        if item.link.spoilt:
            self._linked[item.media_id] += 1
            spoilt = self._linked[item.media_id] <= item.link.spoilt
        raw["fullDownloadLink"] = self.media.link(item, spoilt=spoilt)
        return raw

    def _task(self, number: int, *, full: bool) -> Answer:
        task = self.world.tasks.get(number)
        if task is None:
            return _error(404, "no such assignment")
        if full:
            return json_answer(task.raw)
        extra = ("customTask", "externalLinkData", "response")
        return json_answer({name: value for name, value in task.raw.items() if name not in extra})

    def _video_report(self, exchange: Exchange) -> Answer:
        try:
            body = exchange.json()
        except ValueError:
            return _error(400, "the body is not JSON")
        if not isinstance(body, dict) or body.get("reportType") != "VIDEO_COLLABORATION":
            return _error(400, "reportType must be VIDEO_COLLABORATION")
        number = body.get("projectId")
        if not isinstance(number, int) or isinstance(number, bool):
            return _error(400, "projectId must be an integer")
        if "senderUsername" not in body:
            return _error(400, "senderUsername is missing")
        project = self.world.projects.get(number)
        if project is None or project.status != 200:
            return _error(404, "no such project")
        return json_answer(shaped_videos(project))


def shaped_videos(project: Project) -> Any:
    """Return the project's videos in one of the listed forms."""
    shape, items = project.video_shape, [video.raw for video in project.videos]
    if shape in _NO_VIDEO:
        return _NO_VIDEO[shape]
    if shape == "list":
        return items
    if shape in {"object", "videoCollaboration"} and len(items) == 1:
        return items[0] if shape == "object" else {"videoCollaboration": items[0]}
    if shape == "object":
        return {"data": items}
    return {shape: items}


def _error(status: int, message: str) -> Answer:
    return json_answer({"error": message, "status": status}, status)
